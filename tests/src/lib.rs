//! The suites that run on a real kernel: conformance for any OCI runtime, and whole clusters.
//!
//! Everything here stands outside the product: it starts the programs as a user does and reads what
//! the kernel says. Nothing of the workspace depends on this crate.

#![forbid(unsafe_code)]

pub mod api;
pub mod cluster;
pub mod conformance;
pub mod demo;
pub mod engines;
pub mod http;
pub mod kernel;
pub mod netns;
pub mod output;
pub mod program;
pub mod registry;
pub mod require;
mod service_manager;
pub mod sigv4;
pub mod stop;
