//! What containers use: measured every few seconds, told to the controller, to Prometheus and to
//! the tasks themselves.
//!
//! ```text
//!  cgroups, /proc/net/dev ─▶ meter ─▶ newest ─▶ session ─▶ controller
//!                                        └────▶ GET /metrics
//! ```
//!
//! Invariants: measuring never waits for anybody and nobody waits for it; nothing of it is on a
//! disk; a container whose group is gone is left out.

pub mod links;
pub mod meter;
pub mod page;

pub use links::LinkCounters;
pub use meter::{Measured, Meter};
