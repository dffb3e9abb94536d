//! The single owner of the cluster's state, and the handle by which everyone else talks to it.
//!
//! ```text
//!   submit ─▶ inbox ─▶ owner thread: apply, apply, … ─▶ one store commit (fsync) ─▶ publish view,
//!                                                          wake watchers, answer every caller
//! ```
//!
//! Commands that arrive while a commit is under way share the next one. Readers take the newest
//! published [`View`], which is of a whole commit, never of half of one (law 12).

use std::sync::Arc;

use loadline_model::{Assignment, InstanceArn, TaskArn};
use tokio::sync::{broadcast, mpsc};

use crate::command::{Command, Operation, Refusal, Reply};
use crate::state::{SessionId, View};

/// A handle; clones speak to the same owner.
#[derive(Clone, Debug)]
pub struct Engine {
    _inner: Arc<()>,
}

/// Why a command has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// It was refused; nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Too many commands wait; nothing was changed, try again. AWS: ThrottlingException.
    #[error("the controller's inbox is full ({max} commands wait): try again")]
    Busy {
        /// The inbox's bound.
        max: usize,
    },
    /// The store could not commit it. The state is as before, unless the failure came so late that
    /// it is on disk all the same: a repeated call with the same client token finds out.
    /// AWS: ServerException.
    #[error("the store failed: {0}")]
    Store(String),
    /// The controller is stopping. AWS: ServerException; gRPC: UNAVAILABLE.
    #[error("the controller is stopping")]
    Stopped,
}

/// A node's desired state: where it stood when the watch began, and what changed since.
#[derive(Debug)]
pub struct NodeWatch {
    /// The generation of `assignments`.
    pub generation: u64,
    /// All of it.
    pub assignments: Vec<Assignment>,
    /// Every change from `generation` on, without a gap. Ends (`None`) where the watcher fell more
    /// than [`NODE_CHANGES_MAX`] behind, or the state was read anew from the store: watch again.
    pub changes: mpsc::Receiver<NodeChange>,
}

/// Most changes that wait for one watcher.
pub const NODE_CHANGES_MAX: usize = 1024;

/// One step of a node's generation.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeChange {
    /// The generation before: always `generation - 1`.
    pub base_generation: u64,
    /// The generation after.
    pub generation: u64,
    /// New tasks, or ones with a changed desired status.
    pub assignments: Vec<Assignment>,
    /// Tasks whose STOPPED is durable: the node may forget them.
    pub forget: Vec<TaskArn>,
}

impl Engine {
    /// Carries out a command and gives its answer, which is durable by then.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn call<O: Operation>(&self, operation: O) -> Result<O::Answer, CallError> {
        let reply = self.submit(operation.into()).await?;
        O::answer(reply).ok_or(CallError::Stopped)
    }

    /// [`Engine::call`] without types.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn submit(&self, _command: Command) -> Result<Reply, CallError> {
        Err(CallError::Stopped)
    }

    /// The newest committed state. Cheap.
    #[must_use]
    pub fn snapshot(&self) -> Arc<View> {
        unreachable!("being built")
    }

    /// A node's desired state, and its changes from there on; `None` where the node has not
    /// registered or was removed.
    #[must_use]
    pub fn watch_node(&self, _node: &InstanceArn) -> Option<NodeWatch> {
        None
    }

    /// A sign of life (heartbeat, or any other message) of a session: renews the node's lease.
    /// Needs no commit, so it costs next to nothing. `false` where the session is no longer the
    /// node's own: the caller then ends it.
    #[must_use]
    pub fn heard(&self, _node: &InstanceArn, _session: SessionId) -> bool {
        false
    }

    /// Every commit from now on, in order. A receiver that lags loses the oldest.
    #[must_use]
    pub fn commits(&self) -> broadcast::Receiver<Arc<View>> {
        broadcast::channel(1).1
    }
}
