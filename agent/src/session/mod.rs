//! The way to the controller: joining, the node's identity, and the one long-lived stream.
//!
//! ```text
//!  token ─▶ dial (CA pinned by its hash) ─▶ enrol ─▶ identity on disk
//!  identity ─▶ dial (CA pinned, own certificate) ─▶ Renew? ─▶ Register ─▶ Session ─▶ … ─▶ backoff
//! ```
//!
//! Invariants: nothing is sent to a controller whose CA is not the pinned one. The key never
//! leaves the node. A session that ends changes nothing for the tasks: they run on, and the newest
//! report of each is sent in the next one.

pub mod backoff;
pub mod dial;
pub mod enrol;
pub mod identity;
pub mod link;
pub mod stream;
pub mod token;

pub use dial::DialError;
pub use identity::Identity;
pub use link::{Link, Settings};
pub use token::JoinToken;
