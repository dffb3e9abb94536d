//! Images on this node: imported, verified, unpacked once, shared.
//!
//! ```text
//!  archive or folder ─▶ source ─▶ layout (documents) ─▶ blob (digests) ─▶ unpack ─▶ store
//!  registry ─▶ partial ────────────▲
//! ```
//!
//! Invariants:
//! - A layer is kept unpacked only, once for all images that have it, under its diff id, and never
//!   changes: containers mount it read-only below their own upper directory.
//! - What is in the store was verified against its digest, whole; what could not be is not in it.
//! - A crash at any moment leaves the store as it was before or after, and scratch that the next
//!   [`ImageStore::open`] removes.
//! - The API blocks; async callers run it on a thread for blocking work.

mod blob;
mod cleanup;
mod digest;
mod document;
mod error;
mod layout;
mod reference;
mod refs;
pub mod registry;
mod source;
mod store;
mod tar;
mod unpack;

pub use cleanup::CleanupRules;
pub use digest::{Digest, InvalidDigest};
pub use document::{ImageConfig, LAYERS_MAX};
pub use error::ImageError;
pub use layout::IMAGES_PER_ARCHIVE_MAX;
pub use reference::{InvalidReference, NAME_BYTES_MAX, Reference, TAG_BYTES_MAX, Target};
pub use refs::IMAGES_MAX;
pub use store::{Freed, Image, ImageStore, Imported, Progress, Summary};
pub use tar::TarError;
pub use unpack::{Limits, Refusal, UnpackError, Unpacked};

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
