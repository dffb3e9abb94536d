//! The single owner of the cluster's state, and the handle by which everyone else talks to it.
//!
//! ```text
//!   submit ─▶ inbox ─▶ owner thread: apply, apply, … ─▶ one store commit (fsync) ─▶ publish view,
//!                                                          wake watchers, answer every caller
//! ```
//!
//! Commands that arrive while a commit is under way share the next one. Readers take the newest
//! published [`View`], which is of a whole commit, never of half of one (law 12).
//!
//! When the store fails, every caller of that commit is told so, the state that readers see stays
//! as it was, and the owner tries to open the store anew and to read the state back from it: only
//! the disk knows whether a failed commit is on it. Until that succeeds every change is refused.

mod clock;
mod owner;
mod publish;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::thread::JoinHandle;

use loadline_model::InstanceArn;
use tokio::sync::{broadcast, oneshot};

use crate::command::{Command, Operation, Refusal, Reply};
use crate::liveness::Rules;
use crate::services::Settings;
use crate::state::{IdSource, Scope, SessionId, View};
use crate::store::{CodecError, Records, Store};

pub use clock::{Clock, PulseClock, RandomIds, SystemClock};
pub use publish::{Commit, NODE_CHANGES_MAX, NodeChange, NodeWatch, Told, Written};

#[cfg(test)]
pub(crate) use publish::node_changes;

use owner::Owner;
use publish::Shared;

/// Most commands that wait for the owner.
pub const INBOX_MAX: usize = 16_384;
/// Most commands that share one commit.
pub const BATCH_MAX: usize = 2_048;

/// How an engine runs.
#[derive(Debug)]
pub struct Options {
    /// What ARNs begin with.
    pub scope: Scope,
    /// When nodes are silent, lost, given up.
    pub rules: Rules,
    /// What of the services' behaviour can be set.
    pub services: Settings,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// New ids.
    pub ids: Box<dyn IdSource + Send>,
    /// How often the owner looks at the time, milliseconds.
    pub tick_ms: u64,
}

impl Options {
    /// The options of a real controller.
    #[must_use]
    pub fn new(scope: Scope) -> Self {
        Self {
            scope,
            rules: Rules::default(),
            services: Settings::default(),
            clock: Arc::new(SystemClock::new()),
            ids: Box::new(RandomIds),
            tick_ms: 200,
        }
    }
}

/// A handle; clones speak to the same owner. The owner ends, with everything committed, when the
/// last handle is gone.
#[derive(Clone, Debug)]
pub struct Engine {
    inbox: SyncSender<Message>,
    shared: Arc<Shared>,
}

/// What the owner's inbox takes.
#[derive(Debug)]
enum Message {
    Command(Box<Command>, oneshot::Sender<Result<Reply, CallError>>),
    Backup(oneshot::Sender<Result<Records, CallError>>),
    Stop,
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
    #[error("the store failed, nothing can be changed until it works again: {0}")]
    Store(String),
    /// The controller is stopping. AWS: ServerException; gRPC: UNAVAILABLE.
    #[error("the controller is stopping")]
    Stopped,
}

/// Why an engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The state can't be read.
    #[error("read the cluster's state")]
    Read(#[from] CodecError),
    /// No thread for the owner.
    #[error("start the thread that owns the state")]
    Thread(#[source] std::io::Error),
}

impl Engine {
    /// Reads the state from the store and starts its owner. A new store gets the cluster
    /// `default`. The handle of the owner's thread is for whoever ends the process: the thread
    /// ends after [`Engine::stop`], or by a panic, which nobody should go on after.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn open(
        mut store: Box<dyn Store>,
        options: Options,
    ) -> Result<(Self, JoinHandle<()>), OpenError> {
        let loaded = crate::store::load(store.as_mut(), &options.scope)?;
        let shared = Arc::new(Shared::new(loaded.state.view.clone(), Arc::clone(&options.clock)));
        let (inbox, commands) = std::sync::mpsc::sync_channel(INBOX_MAX);
        let owner = Owner::new(store, loaded.state, Arc::clone(&shared), options);
        let thread = std::thread::Builder::new()
            .name("state-owner".to_owned())
            .spawn(move || owner.run(&commands, loaded.fresh))
            .map_err(OpenError::Thread)?;
        Ok((Self { inbox, shared }, thread))
    }

    /// Carries out a command and gives its answer, which is durable by then.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn call<O: Operation>(&self, operation: O) -> Result<O::Answer, CallError> {
        let reply = self.submit(operation.into()).await?;
        Ok(O::answer(reply).expect("apply answers each command with its own kind of reply"))
    }

    /// [`Engine::call`] without types.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn submit(&self, command: Command) -> Result<Reply, CallError> {
        let (answer, answered) = oneshot::channel();
        self.inbox.try_send(Message::Command(Box::new(command), answer)).map_err(|error| {
            match error {
                TrySendError::Full(_) => CallError::Busy { max: INBOX_MAX },
                TrySendError::Disconnected(_) => CallError::Stopped,
            }
        })?;
        answered.await.unwrap_or(Err(CallError::Stopped))
    }

    /// Every record of the store as of one commit. Changes wait for as long as reading takes;
    /// readers and the nodes' signs of life do not.
    ///
    /// # Errors
    /// [`CallError`]
    pub async fn records(&self) -> Result<Records, CallError> {
        let (answer, answered) = oneshot::channel();
        self.inbox.try_send(Message::Backup(answer)).map_err(|error| match error {
            TrySendError::Full(_) => CallError::Busy { max: INBOX_MAX },
            TrySendError::Disconnected(_) => CallError::Stopped,
        })?;
        answered.await.unwrap_or(Err(CallError::Stopped))
    }

    /// The newest committed state. Cheap.
    #[must_use]
    pub fn snapshot(&self) -> Arc<View> {
        self.shared.view()
    }

    /// A node's desired state, and its changes from there on; `None` where the node has not
    /// registered or was removed.
    #[must_use]
    pub fn watch_node(&self, node: &InstanceArn) -> Option<NodeWatch> {
        self.shared.watch_node(node)
    }

    /// A sign of life (heartbeat, or any other message) of a session: renews the node's lease.
    /// Needs no commit, so it costs next to nothing. `false` where the session is no longer the
    /// node's own: the caller then ends it.
    #[must_use]
    pub fn heard(&self, node: &InstanceArn, session: SessionId) -> bool {
        self.shared.heard(node, session)
    }

    /// A session's node says that it holds this generation of its desired state. Is asked about,
    /// and decides nothing, so it needs no commit.
    pub fn applied(&self, node: &InstanceArn, session: SessionId, generation: u64) {
        self.shared.applied(node, session, generation);
    }

    /// The newest generation that a node said it holds; `None` where it has no session.
    #[must_use]
    pub fn applied_generation(&self, node: &InstanceArn) -> Option<u64> {
        self.shared.applied_generation(node)
    }

    /// For how long a session was not heard, milliseconds in which this process could hear; `None`
    /// where it is no longer the node's own.
    #[must_use]
    pub fn silence_ms(&self, node: &InstanceArn, session: SessionId) -> Option<u64> {
        self.shared.silence_ms(node, session)
    }

    /// Every commit from now on, in order. A receiver that lags loses the oldest.
    #[must_use]
    pub fn commits(&self) -> broadcast::Receiver<Arc<Commit>> {
        self.shared.commits()
    }

    /// Ends the owner once it has answered what waits; later calls get [`CallError::Stopped`].
    pub fn stop(&self) {
        // A full inbox means that the owner is busy: it drains it, so a blocking send ends soon.
        let _ = self.inbox.send(Message::Stop);
    }
}
