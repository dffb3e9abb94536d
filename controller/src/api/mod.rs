//! The API that clients speak: AWS's ECS protocol over HTTP/1.1, and Loadline's own operations.
//!
//! ```text
//!   server (bounds, timeouts) ─▶ dispatch: auth::Gate ─▶ target ─▶ ecs | own
//!     ecs, own: wire (JSON to types, refusals by name) ─▶ Command ─▶ engine ─▶ answer as JSON
//! ```
//!
//! Invariants: a stranger's body is never read; no operation runs before its signature is verified
//! over the whole body; reading operations answer from one committed view; what AWS has and
//! Loadline does not is refused by name.

pub mod auth;
mod dispatch;
mod ecs;
mod error;
mod own;
mod reply;
mod server;
mod sts;
mod wire;

#[cfg(test)]
mod tests;

use crate::engine::Engine;
use crate::nodes::LogsRelay;
use crate::state::Sha256Hash;

pub use self::auth::{AccessKeys, Gate};
pub use self::error::{ApiError, Code};
pub use self::server::{ServeError, serve};

/// What the API needs.
#[derive(Clone, Debug)]
pub struct Api {
    /// Decides and remembers.
    pub engine: Engine,
    /// Who may come in.
    pub gate: Gate,
    /// Asks nodes for what containers wrote.
    pub relay: LogsRelay,
    /// Of the CA that nodes shall trust: goes into join tokens.
    pub ca_hash: Sha256Hash,
}
