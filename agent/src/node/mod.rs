//! The node: which tasks are here, what the controller wants of them, and the line (law 7).
//!
//! ```text
//!  session ─▶ Snapshot, Change ─▶ plan (pure) ─▶ ledger ─▶ stop, admit or refuse, forget
//!  actors  ─▶ a task has stopped ─▶ its reservation is given back, what waited for it goes on
//! ```
//!
//! Invariants: one task owns all of this and takes one event at a time. Desired state never goes
//! backwards. What the controller gave up while the node was away is stopped, and has stopped,
//! before anything new begins: that may be its replacement. Else a task begins as soon as it fits
//! beside what still holds resources. The line holds whatever the controller asks.

pub mod desired;
pub mod keeper;

pub use desired::{Refused, Update};
pub use keeper::{Keeper, Status};

use tokio::sync::{mpsc, oneshot};

/// Events that wait for the node.
const INBOX_MAX: usize = 64;

/// What the node reacts to.
#[derive(Debug)]
pub enum Event {
    /// The controller's desired state, whole or changed.
    Update {
        /// What it says.
        update: Update,
        /// Gets the answer, once what was accepted is on disk.
        done: oneshot::Sender<Result<(), Refused>>,
    },
    /// Somebody wants to know.
    Status(oneshot::Sender<Status>),
}

/// The way to a node, real or simulated.
#[derive(Clone, Debug)]
pub struct Handle {
    events: mpsc::Sender<Event>,
}

impl Handle {
    /// A way to whoever takes events from the other end.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Event>) {
        let (events, inbox) = mpsc::channel(INBOX_MAX);
        (Self { events }, inbox)
    }

    /// Applies desired state; returns once what was accepted is on disk.
    ///
    /// # Errors
    /// [`Refused`] where it was not applied.
    pub async fn apply(&self, update: Update) -> Result<(), Refused> {
        let (done, answer) = oneshot::channel();
        let sent = self.events.send(Event::Update { update, done }).await;
        sent.map_err(|_| Refused::Ending)?;
        answer.await.map_err(|_| Refused::Ending)?
    }

    /// What the node holds now; `None` where it is ending.
    pub async fn status(&self) -> Option<Status> {
        let (asker, answer) = oneshot::channel();
        self.events.send(Event::Status(asker)).await.ok()?;
        answer.await.ok()
    }
}
