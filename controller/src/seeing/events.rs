//! What happened to tasks, nodes and services, newest last, in a ring in memory: a start of the
//! controller begins a new one.
//!
//! ```text
//!   engine.commits() ─▶ derive (pure: the state before, what was written) ─▶ ring ─▶ readers
//! ```

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use loadline_model::{DesiredStatus, InstanceArn, TaskStatus};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use crate::engine::{Commit, Engine, Written};
use crate::state::{ClusterName, Node, NodeEntry, NodeStatus, Service, Task, View, Write};

/// Most events that are remembered; a reader that comes later is told how many it missed.
pub const EVENTS_MAX: usize = 20_000;

/// What kind of thing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A task's `lastStatus` or `desiredStatus`.
    Task,
    /// A container instance's status, its agent's connection, its loss, its quarantine.
    Node,
    /// A service's own event, in ECS's words.
    Service,
}

impl Kind {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Node => "node",
            Self::Service => "service",
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it was decided, Unix milliseconds.
    pub at_ms: u64,
    /// Of what kind.
    pub kind: Kind,
    /// In which cluster.
    pub cluster: ClusterName,
    /// The task's or node's ARN, the service's name.
    pub subject: String,
    /// The new status: ECS's word, or CONNECTED, DISCONNECTED, LOST, RETURNED, QUARANTINED,
    /// RELEASED of a node, or EVENT of a service.
    pub status: String,
    /// Of a task: what it shall be.
    pub desired_status: Option<DesiredStatus>,
    /// Of a task: its group.
    pub group: Option<String>,
    /// Of a task: its node.
    pub node: Option<InstanceArn>,
    /// Why, where there is a reason.
    pub reason: Option<String>,
}

/// A part of the stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In the order in which they happened.
    pub events: Vec<Event>,
    /// Where to read on.
    pub next: String,
    /// How many the cursor's owner missed because the ring holds no more.
    pub missed: u64,
    /// Whether the cursor was of an earlier life of this controller, whose events are gone.
    pub restarted: bool,
}

/// What a reader asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Of an earlier [`Page`]; empty for the oldest that is remembered.
    pub cursor: String,
    /// Only of this cluster.
    pub cluster: Option<ClusterName>,
    /// Only from this time on, Unix milliseconds.
    pub since_ms: u64,
    /// At most so many.
    pub events_max: usize,
}

/// The ring; clones share it.
#[derive(Clone, Debug)]
pub struct Events {
    ring: Arc<Mutex<Ring>>,
    newest: watch::Sender<u64>,
}

impl Default for Events {
    fn default() -> Self {
        let life = hex::encode(rand::random::<[u8; 4]>());
        let ring = Ring { life, first: 0, events: VecDeque::new() };
        Self { ring: Arc::new(Mutex::new(ring)), newest: watch::Sender::new(0) }
    }
}

#[derive(Debug)]
struct Ring {
    /// Tells cursors of different lives of the controller apart.
    life: String,
    /// The number of `events[0]`.
    first: u64,
    events: VecDeque<Event>,
}

impl Events {
    /// Follows an engine for as long as it lives.
    pub async fn follow(self, engine: Engine) {
        // What is there at the beginning did not happen now.
        let mut seen = engine.snapshot();
        let mut commits = engine.commits();
        loop {
            let commit = match commits.recv().await {
                Ok(commit) => commit,
                // The next one tells what it begins with.
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return,
            };
            let mut events = Vec::new();
            if !Arc::ptr_eq(&seen, &commit.before) {
                let at_ms = commit.changes.first().map_or(0, |change| change.at_ms);
                events = differences(&seen, &commit.before, at_ms);
            }
            events.extend(derive(&commit));
            seen = Arc::clone(&commit.view);
            self.add(events);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        let mut ring = self.lock();
        ring.events.extend(events);
        let surplus = ring.events.len().saturating_sub(EVENTS_MAX);
        ring.events.drain(..surplus);
        ring.first += surplus as u64;
        let newest = ring.first + ring.events.len() as u64;
        drop(ring);
        self.newest.send_replace(newest);
    }

    /// What there is from the cursor on. Where that is nothing, waits for it up to `patience`.
    pub async fn read(&self, query: &Query, patience: Duration) -> Page {
        let mut newest = self.newest.subscribe();
        let until = tokio::time::Instant::now() + patience;
        loop {
            let page = self.lock().page(query);
            if !page.events.is_empty() || page.restarted {
                return page;
            }
            newest.borrow_and_update();
            let again = self.lock().page(query);
            if !again.events.is_empty() {
                return again;
            }
            if tokio::time::timeout_at(until, newest.changed()).await.is_err() {
                return again;
            }
        }
    }
}

impl Ring {
    fn page(&self, query: &Query) -> Page {
        let parsed =
            query.cursor.split_once('.').and_then(|(life, n)| Some((life, n.parse().ok()?)));
        let (from, restarted) = match parsed {
            Some((life, n)) if life == self.life => (n, false),
            _ => (self.first, !query.cursor.is_empty()),
        };
        let missed = self.first.saturating_sub(from);
        let skip = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let (mut next, mut events) = (from.max(self.first), Vec::new());
        for event in self.events.iter().skip(skip) {
            if query.events_max <= events.len() {
                break;
            }
            next += 1;
            let is_of_it = query.cluster.as_ref().is_none_or(|cluster| *cluster == event.cluster);
            if is_of_it && query.since_ms <= event.at_ms {
                events.push(event.clone());
            }
        }
        Page { events, next: format!("{}.{next}", self.life), missed, restarted }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NodeSeen {
    status: NodeStatus,
    connected: bool,
    lost: bool,
    quarantined: bool,
}

impl NodeSeen {
    fn of(entry: &NodeEntry) -> Self {
        Self {
            status: entry.record.status,
            connected: entry.agent_connected(),
            lost: entry.record.lost_at_ms.is_some(),
            quarantined: entry.record.quarantined_until_ms.is_some(),
        }
    }
}

/// What came to be between two states, of which nothing else is known. Looks at everything.
fn differences(before: &View, after: &View, at_ms: u64) -> Vec<Event> {
    let mut events = Vec::new();
    for (arn, task) in &after.tasks {
        let was = before.tasks.get(arn);
        if was.is_none_or(|was| !Arc::ptr_eq(was, task)) {
            events.extend(task_event(was.map(|was| standing(was)), task, at_ms));
        }
    }
    for arn in after.nodes.keys() {
        node_events(before, after, arn, at_ms, &mut events);
    }
    for (key, entry) in &after.services {
        let told = before.service(key).and_then(|entry| newest(&entry.record));
        service_events(told, &entry.record, &mut events);
    }
    events
}

/// What a commit's commands did, in their order.
fn derive(commit: &Commit) -> Vec<Event> {
    let Commit { changes, before, view } = commit;
    let mut events = Vec::new();
    let (mut tasks, mut nodes, mut services) =
        (HashMap::new(), HashSet::new(), HashMap::<_, Option<String>>::new());
    for Written { at_ms, writes } in changes {
        for write in writes {
            match write {
                Write::Task(task) => {
                    let was = tasks.insert(&task.arn, standing(task));
                    let was = was.or_else(|| before.task(&task.arn).map(|was| standing(was)));
                    events.extend(task_event(was, task, *at_ms));
                }
                Write::Node(node) if nodes.insert(&node.arn) => {
                    node_events(before, view, &node.arn, *at_ms, &mut events);
                }
                Write::Connection(arn, _) if nodes.insert(arn) => {
                    node_events(before, view, arn, *at_ms, &mut events);
                }
                Write::Service(service) => {
                    let before = || {
                        let entry = before.service(&service.key)?;
                        newest(&entry.record).map(str::to_owned)
                    };
                    let told = services.entry(&service.key).or_insert_with(before);
                    service_events(told.as_deref(), service, &mut events);
                    *told = newest(service).map(str::to_owned);
                }
                _ => {}
            }
        }
    }
    events
}

fn standing(task: &Task) -> (TaskStatus, DesiredStatus) {
    (task.last_status, task.desired)
}

fn task_event(was: Option<(TaskStatus, DesiredStatus)>, task: &Task, at_ms: u64) -> Option<Event> {
    (was != Some(standing(task))).then(|| Event {
        at_ms,
        kind: Kind::Task,
        cluster: task.cluster.clone(),
        subject: task.arn.to_string(),
        status: task.last_status.as_str().to_owned(),
        desired_status: Some(task.desired),
        group: Some(task.group.to_string()),
        node: Some(task.node.clone()),
        reason: task.stopped_reason.clone().map(String::from),
    })
}

fn node_events(
    before: &View,
    after: &View,
    arn: &InstanceArn,
    at_ms: u64,
    events: &mut Vec<Event>,
) {
    let Some(entry) = after.node(arn) else { return };
    let record = &entry.record;
    let (was, now) = (before.node(arn).map(NodeSeen::of), NodeSeen::of(entry));
    let mut tell = |status: &str, reason: Option<String>| {
        events.push(node_event(record, at_ms, status, reason));
    };
    if was.map(|was| was.status) != Some(now.status) {
        tell(now.status.as_str(), None);
    }
    let was = was.unwrap_or(NodeSeen { connected: false, lost: false, ..now });
    if was.connected != now.connected {
        tell(if now.connected { "CONNECTED" } else { "DISCONNECTED" }, None);
    }
    if was.lost != now.lost {
        tell(if now.lost { "LOST" } else { "RETURNED" }, None);
    }
    if was.quarantined != now.quarantined {
        let reason = record.quarantine_reason();
        tell(if now.quarantined { "QUARANTINED" } else { "RELEASED" }, reason);
    }
}

/// The id of a service's newest event.
fn newest(service: &Service) -> Option<&str> {
    service.events.first().map(|event| event.id.as_str())
}

fn service_events(told: Option<&str>, service: &Service, events: &mut Vec<Event>) {
    let new = service.events.iter().take_while(|event| told != Some(event.id.as_str()));
    let new: Vec<_> = new.collect();
    events.extend(new.into_iter().rev().map(|event| Event {
        at_ms: event.at_ms,
        kind: Kind::Service,
        cluster: service.key.cluster.clone(),
        subject: service.key.name.to_string(),
        status: "EVENT".to_owned(),
        desired_status: None,
        group: None,
        node: None,
        reason: Some(event.message.clone()),
    }));
}

fn node_event(node: &Node, at_ms: u64, status: &str, reason: Option<String>) -> Event {
    Event {
        at_ms,
        kind: Kind::Node,
        cluster: node.cluster.clone(),
        subject: node.arn.to_string(),
        status: status.to_owned(),
        desired_status: None,
        group: None,
        node: None,
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::testing::{
        World, cluster, connect, definition, node_arn, register, report, run,
    };
    use crate::command::{Command, TaskReports};

    fn words(events: &[Event]) -> Vec<String> {
        let words = events.iter().map(|event| format!("{} {}", event.kind.as_str(), event.status));
        words.collect()
    }

    /// What a commit of these commands tells.
    fn commit(world: &mut World, commands: Vec<Command>) -> Commit {
        let before = Arc::new(world.state.view.clone());
        let written = commands.into_iter().map(|command| {
            let (writes, _) = world.writes(command).unwrap();
            Written { at_ms: 7, writes }
        });
        let changes = written.collect();
        Commit { changes, before, view: Arc::new(world.state.view.clone()) }
    }

    fn told(world: &mut World, command: impl Into<Command>) -> Vec<String> {
        words(&derive(&commit(world, vec![command.into()])))
    }

    #[test]
    fn each_change_is_told_once_and_in_order() {
        let mut world = World::new();
        let nothing = world.state.view.clone();
        world.must(definition("web", 10, 10));
        assert_eq!(told(&mut world, register("n1", 100, 100)), ["node ACTIVE"]);
        assert_eq!(told(&mut world, connect("n1", "r")), ["node CONNECTED"]);
        assert_eq!(told(&mut world, run("web", 1)), ["task PENDING"]);
        let arn = world.state.view.tasks.keys().next().unwrap().clone();
        let reports = |version, status| TaskReports {
            node: node_arn("n1"),
            reports: vec![report(&arn, version, status)],
        };
        let running = reports(1, TaskStatus::Running);
        assert_eq!(told(&mut world, running.clone()), ["task RUNNING"]);
        assert_eq!(told(&mut world, running), [""; 0]);
        let stopped = reports(2, TaskStatus::Stopped);
        assert_eq!(told(&mut world, stopped), ["task STOPPED"]);
        let now = &world.state.view;
        let missed = words(&differences(&nothing, now, 8));
        assert_eq!(missed, ["task STOPPED", "node ACTIVE", "node CONNECTED"]);
        assert!(differences(now, now, 8).is_empty(), "nothing is left to tell");
    }

    #[test]
    fn what_one_commit_changed_twice_is_told_twice() {
        let mut world = World::new();
        world.must(definition("web", 10, 10));
        let commands = vec![register("n1", 100, 100).into(), connect("n1", "r").into()];
        let node = words(&derive(&commit(&mut world, commands)));
        assert_eq!(node, ["node ACTIVE", "node CONNECTED"]);
        let arn = world.run(run("web", 1)).tasks[0].arn.clone();
        let says = |version, status| {
            let reports = vec![report(&arn, version, status)];
            TaskReports { node: node_arn("n1"), reports }.into()
        };
        let both = vec![says(1, TaskStatus::Running), says(2, TaskStatus::Stopped)];
        assert_eq!(words(&derive(&commit(&mut world, both))), ["task RUNNING", "task STOPPED"]);
    }

    fn event(n: u64) -> Event {
        Event {
            at_ms: n,
            kind: Kind::Node,
            cluster: cluster(),
            subject: n.to_string(),
            status: "ACTIVE".into(),
            desired_status: None,
            group: None,
            node: None,
            reason: None,
        }
    }

    #[tokio::test]
    async fn a_cursor_goes_on_says_what_it_missed_and_knows_its_own_life() {
        let (events, none) = (Events::default(), Duration::ZERO);
        events.add((0..5).map(event).collect());
        let mut query = Query { events_max: 3, ..Query::default() };
        let first = events.read(&query, none).await;
        assert_eq!((first.events.len(), first.missed, first.restarted), (3, 0, false));
        query.cursor = first.next;
        let second = events.read(&query, none).await;
        assert_eq!(second.events, [event(3), event(4)]);
        query.cursor.clone_from(&second.next);
        assert_eq!(events.read(&query, none).await, Page { events: vec![], ..second.clone() });
        events.add((5..5 + EVENTS_MAX as u64 + 10).map(event).collect());
        let late = events.read(&query, none).await;
        assert_eq!((late.missed, late.events[0].at_ms), (10, 15));
        let other = Events::default();
        other.add(vec![event(1)]);
        assert!(other.read(&query, none).await.restarted);
    }

    #[tokio::test]
    async fn a_reader_that_waits_gets_what_comes() {
        let events = Events::default();
        let (query, long) = (Query { events_max: 9, ..Query::default() }, Duration::from_secs(60));
        let (page, ()) = tokio::join!(events.read(&query, long), async {
            tokio::task::yield_now().await;
            events.add(vec![event(1)]);
        });
        assert_eq!(page.events, [event(1)]);
    }
}
