//! One task on this node: its record, the decision what to do next, and the actor that does it.
//!
//! ```text
//!  events ─▶ actor: what is seen ─▶ reconcile(task, seen, now) ─▶ record in the ledger ─▶ act
//!              ▲                                                                          │
//!              └──────── prepared, created, running, ended, cleaned up ◀──────────────────┘
//! ```
//!
//! Invariants: one actor owns one task. A container's run is in the ledger before its supervisor
//! exists, and is never begun a second time. A report is in the ledger before it is shown.
//! Progress is monotonic. Nothing of a stopped task is left but its log.

pub mod actor;
mod calls;
pub(crate) mod execed;
mod gate;
pub mod groups;
pub mod health;
mod init;
mod logging;
mod probe;
pub mod reconcile;
pub mod record;
mod shared;
pub mod signal;
pub mod workshop;

pub mod upgrade;
mod watch;

#[cfg(test)]
pub(crate) mod testing;

pub use record::{Container, Health, Pull, Stop, Task};
