//! What the owner shows to everyone: the view, watches of nodes, commits; and the table of what
//! sessions say that needs no commit, which goes the other way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use loadline_model::{Assignment, DesiredStatus, InstanceArn, TaskArn};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{broadcast, mpsc};

use super::Clock;
use crate::state::{Connection, NodeStatus, SessionId, Task, TaskDefinition, View, Write};

/// Most changes that wait for one watcher of a node.
pub const NODE_CHANGES_MAX: usize = 1024;
/// Most commits that a slow receiver may lag, each of up to [`super::BATCH_MAX`] commands.
const COMMITS_MAX: usize = 64;

/// A node's desired state: where it stood when the watch began, and what changed since.
#[derive(Debug)]
pub struct NodeWatch {
    /// The generation of `assignments`.
    pub generation: u64,
    /// All of it.
    pub assignments: Vec<Assignment>,
    /// Every change from `generation` on, without a gap. Ends (`None`) where the watcher fell more
    /// than [`NODE_CHANGES_MAX`] behind, the state was read anew from the store, another watch of
    /// the node began, or the node was removed: watch again.
    pub changes: mpsc::Receiver<NodeChange>,
}

/// One step of a node's generation.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeChange {
    /// The generation before: always `generation - 1`.
    pub base_generation: u64,
    /// The generation after.
    pub generation: u64,
    /// New tasks, or ones with a changed desired status.
    pub assignments: Vec<Told>,
    /// Tasks whose STOPPED is durable: the node may forget them.
    pub forget: Vec<TaskArn>,
}

/// A task that a node shall know of. It is spelled out where it is sent: not by the owner of the
/// state, for whom everybody waits.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    task: Arc<Task>,
    definition: Arc<TaskDefinition>,
}

impl Told {
    /// The task as its node is told about it.
    #[must_use]
    pub fn assignment(&self) -> Assignment {
        self.definition.assignment(&self.task)
    }
}

/// What the commands of one commit of the store changed, once it is durable.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Command by command, in order.
    pub changes: Vec<Written>,
    /// The state before them.
    pub before: Arc<View>,
    /// The state with them.
    pub view: Arc<View>,
}

/// What one command wrote.
#[derive(Clone, Debug)]
pub struct Written {
    /// When it was decided, Unix milliseconds.
    pub at_ms: u64,
    /// The records' new values.
    pub writes: Vec<Write>,
}

#[derive(Debug)]
pub(super) struct Shared {
    view: RwLock<Arc<View>>,
    /// Locked whenever the view changes, so that a watch begins exactly between two commits.
    watchers: Mutex<HashMap<InstanceArn, mpsc::Sender<NodeChange>>>,
    hearts: Mutex<Hearts>,
    /// A sign of life takes the time by itself: the owner may be waiting for a disk.
    clock: Arc<dyn Clock>,
    commits: broadcast::Sender<Arc<Commit>>,
}

/// When each node was last heard, in hearing time, and what it said it has applied.
#[derive(Debug, Default)]
pub(super) struct Hearts {
    by_node: HashMap<InstanceArn, Heart>,
}

#[derive(Debug)]
struct Heart {
    session: Option<SessionId>,
    heard_ms: u64,
    applied_generation: u64,
}

impl Hearts {
    pub(super) fn heard_ms(&self, node: &InstanceArn) -> Option<u64> {
        self.by_node.get(node).map(|heart| heart.heard_ms)
    }

    /// A session began (`Some`) or ended.
    pub(super) fn session(
        &mut self,
        node: &InstanceArn,
        connection: Option<&Connection>,
        now_ms: u64,
    ) {
        if let Some(connection) = connection {
            let (session, applied_generation) =
                (Some(connection.session), connection.applied_generation);
            let heart = Heart { session, heard_ms: now_ms, applied_generation };
            self.by_node.insert(node.clone(), heart);
        } else if let Some(heart) = self.by_node.get_mut(node) {
            heart.session = None;
        }
    }
}

/// A poisoned lock means a panic elsewhere while these plain tables were whole; they still are.
fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(view: View, clock: Arc<dyn Clock>) -> Self {
        Self {
            view: RwLock::new(Arc::new(view)),
            watchers: Mutex::default(),
            hearts: Mutex::default(),
            clock,
            commits: broadcast::Sender::new(COMMITS_MAX),
        }
    }

    pub(super) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The view before.
    fn set_view(&self, view: Arc<View>) -> Arc<View> {
        let mut shown = self.view.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut shown, view)
    }

    pub(super) fn watch_node(&self, node: &InstanceArn) -> Option<NodeWatch> {
        let mut watchers = locked(&self.watchers);
        let view = self.view();
        if view.node(node)?.record.status == NodeStatus::Inactive {
            return None;
        }
        let (generation, assignments) = view.desired_state(node)?;
        let (sender, changes) = mpsc::channel(NODE_CHANGES_MAX);
        watchers.insert(node.clone(), sender);
        Some(NodeWatch { generation, assignments, changes })
    }

    pub(super) fn heard(&self, node: &InstanceArn, session: SessionId) -> bool {
        let now_ms = self.clock.hearing_ms();
        match locked(&self.hearts).by_node.get_mut(node) {
            Some(heart) if heart.session == Some(session) => {
                heart.heard_ms = now_ms;
                true
            }
            _ => false,
        }
    }

    pub(super) fn applied(&self, node: &InstanceArn, session: SessionId, generation: u64) {
        let mut hearts = locked(&self.hearts);
        let heart = hearts.by_node.get_mut(node).filter(|heart| heart.session == Some(session));
        if let Some(heart) = heart {
            heart.applied_generation = heart.applied_generation.max(generation);
        }
    }

    pub(super) fn applied_generation(&self, node: &InstanceArn) -> Option<u64> {
        let hearts = locked(&self.hearts);
        let heart = hearts.by_node.get(node).filter(|heart| heart.session.is_some())?;
        Some(heart.applied_generation)
    }

    pub(super) fn silence_ms(&self, node: &InstanceArn, session: SessionId) -> Option<u64> {
        let now_ms = self.clock.hearing_ms();
        let hearts = locked(&self.hearts);
        let heart = hearts.by_node.get(node).filter(|heart| heart.session == Some(session))?;
        Some(now_ms.saturating_sub(heart.heard_ms))
    }

    pub(super) fn commits(&self) -> broadcast::Receiver<Arc<Commit>> {
        self.commits.subscribe()
    }

    pub(super) fn hearts(&self) -> MutexGuard<'_, Hearts> {
        locked(&self.hearts)
    }

    /// Shows a commit: first the view, then what changed, command by command. Where nothing did,
    /// the view stays the one that it is: who follows the commits knows by that what they missed.
    pub(super) fn publish(&self, view: &View, changes: Vec<Written>) {
        if changes.is_empty() {
            return;
        }
        let view = Arc::new(view.clone());
        let mut watchers = locked(&self.watchers);
        let before = self.set_view(Arc::clone(&view));
        let mut told: HashMap<TaskArn, DesiredStatus> = HashMap::new();
        for Written { writes, .. } in &changes {
            for change in node_changes(&view, &before, writes, &mut told) {
                tell(&mut watchers, change);
            }
            for write in writes {
                if let Write::Node(node) = write
                    && node.status == NodeStatus::Inactive
                {
                    watchers.remove(&node.arn);
                }
            }
        }
        drop(watchers);
        // An error means that nobody listens.
        let _ = self.commits.send(Arc::new(Commit { changes, before, view }));
    }

    /// Shows a state that was read anew: every watch has to begin again.
    pub(super) fn republish(&self, view: View) {
        let mut watchers = locked(&self.watchers);
        self.set_view(Arc::new(view));
        watchers.clear();
    }
}

/// A watcher that is gone or too far behind is dropped: it sees its channel end.
fn tell(
    watchers: &mut HashMap<InstanceArn, mpsc::Sender<NodeChange>>,
    (node, change): (InstanceArn, NodeChange),
) {
    let Some(watcher) = watchers.get(&node) else { return };
    if let Err(TrySendError::Full(_) | TrySendError::Closed(_)) = watcher.try_send(change) {
        watchers.remove(&node);
    }
}

/// What one command's writes mean for the nodes whose generation they move. `told` is what earlier
/// commands of the same commit said.
pub(crate) fn node_changes(
    view: &View,
    before: &View,
    writes: &[Write],
    told: &mut HashMap<TaskArn, DesiredStatus>,
) -> Vec<(InstanceArn, NodeChange)> {
    let mut changes = Vec::new();
    for write in writes {
        let Write::Generation(node, generation) = write else { continue };
        let mut change = NodeChange {
            base_generation: generation.saturating_sub(1),
            generation: *generation,
            assignments: Vec::new(),
            forget: Vec::new(),
        };
        for write in writes {
            let Write::Task(task) = write else { continue };
            if task.node != *node {
                continue;
            }
            if !task.held {
                change.forget.push(task.arn.clone());
                continue;
            }
            let earlier = told.get(&task.arn).copied();
            let earlier = earlier.or_else(|| before.task(&task.arn).map(|task| task.desired));
            if earlier != Some(task.desired) {
                told.insert(task.arn.clone(), task.desired);
                // There is one: the state's invariants exclude a task without its definition.
                let definition = view.definitions.get(&task.definition).cloned();
                let told = |definition| Told { task: Arc::clone(task), definition };
                change.assignments.extend(definition.map(told));
            }
        }
        changes.push((node.clone(), change));
    }
    changes
}
