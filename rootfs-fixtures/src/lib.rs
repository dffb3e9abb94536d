//! What containers in tests run, built on demand and never kept in git: the static probe program,
//! bundles around it, images of it, and a Debian root file system.
//!
//! Everything lies below the build's target folder (`loadline/bin` for programs, `loadline/cache`
//! for what is slow to make), so `cargo clean` removes it.

#![forbid(unsafe_code)]

pub mod bundle;
pub mod debian;
pub mod folders;
pub mod image;
pub mod probe;
pub mod python;

pub use bundle::{Bundle, base_config};
pub use image::Image;
