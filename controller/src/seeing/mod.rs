//! Seeing what goes on: the events stream, the audit log, and (with `metrics`) numbers.
//!
//! Invariants: nothing here changes the cluster's state or holds a commit up; everything is
//! bounded, and what a bound drops is said.

pub mod audit;
pub mod events;
pub mod why;

use std::path::PathBuf;

pub use audit::Audit;
pub use events::Events;

/// What the API shows of it. The default has no audit log, and events that nobody fills.
#[derive(Clone, Debug, Default)]
pub struct Seeing {
    /// What happened.
    pub events: Events,
    /// Who asked for what.
    pub audit: Audit,
    /// The controller's folder, in which backups are made.
    pub folder: Option<PathBuf>,
}
