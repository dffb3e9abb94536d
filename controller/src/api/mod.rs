//! The API that clients speak: AWS's ECS protocol over HTTP/1.1, and Loadline's own operations.
//!
//! ```text
//!   server (bounds, timeouts) ─▶ dispatch: auth::Gate ─▶ target ─▶ ecs | own
//!             └▶ exec: a session with a program in a container (WebSocket, by token)
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
mod exec;
mod guard;
mod holders;
mod iam;
pub(crate) mod logs;
mod own;
mod query;
mod reply;
mod server;
mod sts;
pub(crate) mod vault;
mod wire;

#[cfg(test)]
mod mutations;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::engine::Engine;
use crate::keyring::Keyring;
use crate::logs::LogStore;
use crate::nodes::{ExecCaller, LogsRelay};
use crate::seeing::Seeing;
use crate::state::Sha256Hash;

pub use self::auth::{AccessKeys, Gate};
pub use self::error::{ApiError, Code};
pub use self::guard::Asker;
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
    /// Opens what is kept sealed.
    pub keyring: Arc<Keyring>,
    /// Keeps log events.
    pub logs: LogStore,
    /// Signatures that were seen.
    pub replays: Arc<auth::Replays>,
    /// Events and the audit log.
    pub seeing: Seeing,
    /// Who makes the call that is answered, and nobody between two calls.
    pub caller: ExecCaller,
    /// The same, for a call that finds out only on its way what it needs.
    pub asker: Option<Asker>,
    /// At which host and port the caller reached the API, where a call says so.
    pub authority: Option<String>,
    /// Of the CA that nodes shall trust: goes into join tokens.
    pub ca_hash: Sha256Hash,
}

impl Api {
    /// The ARN of whoever makes the call, for the operations that are about them.
    fn caller_arn(&self) -> Option<String> {
        Some(self.caller.who.clone()).filter(|arn| !arn.is_empty())
    }
}
