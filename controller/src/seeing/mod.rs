//! Seeing what goes on: the events stream, why something waits, the audit log, and numbers.
//!
//! Invariants: nothing here changes the cluster's state or holds a commit up; everything is
//! bounded, and what a bound drops is said.

pub mod audit;
pub mod events;
pub mod metrics;
pub mod port;
pub mod usage;
pub mod why;

use std::path::PathBuf;

pub use audit::Audit;
pub use events::Events;
pub use metrics::Calls;
pub use usage::UsageBoard;

/// What the API shows of it. The default has no audit log, and events that nobody fills.
#[derive(Clone, Debug, Default)]
pub struct Seeing {
    /// What happened.
    pub events: Events,
    /// Who asked for what.
    pub audit: Audit,
    /// How often what was called, and how long it took.
    pub calls: Calls,
    /// What containers use.
    pub usage: UsageBoard,
    /// The controller's folder, in which backups are made.
    pub folder: Option<PathBuf>,
    /// The file of the account's own access keys, for backups.
    pub credentials: Option<PathBuf>,
}
