//! What happened to tasks, nodes and services, newest last, in a ring in memory: a start of the
//! controller begins a new one.
//!
//! ```text
//!   engine.commits() ─▶ derive (pure: what is known, what was written) ─▶ ring ─▶ readers
//! ```

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use loadline_model::{DesiredStatus, InstanceArn, TaskArn, TaskStatus};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use crate::engine::Engine;
use crate::state::{ClusterName, Node, NodeStatus, Service, ServiceKey, Task, View, Write};

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
        let mut commits = engine.commits();
        let mut known = Known::default();
        // What is there at the beginning did not happen now.
        let _ = known.whole(&engine.snapshot(), 0);
        loop {
            let events = match commits.recv().await {
                Ok(commit) => known.derive(&commit.view, &commit.writes, commit.at_ms),
                Err(RecvError::Lagged(_)) => {
                    let now_ms = crate::engine::Clock::unix_ms(&crate::engine::SystemClock::new());
                    known.whole(&engine.snapshot(), now_ms)
                }
                Err(RecvError::Closed) => return,
            };
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

/// How things stood when they were last looked at: an event is a difference.
#[derive(Debug, Default)]
struct Known {
    tasks: HashMap<TaskArn, (TaskStatus, DesiredStatus)>,
    nodes: HashMap<InstanceArn, NodeSeen>,
    /// The newest event of each service that was told.
    services: HashMap<ServiceKey, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NodeSeen {
    status: NodeStatus,
    connected: bool,
    lost: bool,
    quarantined: bool,
}

impl Known {
    /// Everything that differs from what is known.
    fn whole(&mut self, view: &View, at_ms: u64) -> Vec<Event> {
        let mut events = Vec::new();
        self.tasks.retain(|arn, _| view.tasks.contains_key(arn));
        view.tasks.values().for_each(|task| events.extend(self.task(task, at_ms)));
        view.nodes.keys().for_each(|arn| self.node(view, arn, at_ms, &mut events));
        view.services.values().for_each(|entry| self.service(&entry.record, &mut events));
        events
    }

    fn derive(&mut self, view: &View, writes: &[Write], at_ms: u64) -> Vec<Event> {
        let mut events = Vec::new();
        for write in writes {
            match write {
                Write::Task(task) => events.extend(self.task(task, at_ms)),
                Write::ForgetTask(arn) => drop(self.tasks.remove(arn)),
                Write::Node(node) => self.node(view, &node.arn, at_ms, &mut events),
                Write::Connection(arn, _) => self.node(view, arn, at_ms, &mut events),
                Write::ForgetNode(arn) => drop(self.nodes.remove(arn)),
                Write::Service(service) => self.service(service, &mut events),
                _ => {}
            }
        }
        events
    }

    fn task(&mut self, task: &Task, at_ms: u64) -> Option<Event> {
        let now = (task.last_status, task.desired);
        if self.tasks.insert(task.arn.clone(), now) == Some(now) {
            return None;
        }
        Some(Event {
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

    fn node(&mut self, view: &View, arn: &InstanceArn, at_ms: u64, events: &mut Vec<Event>) {
        let Some(entry) = view.node(arn) else { return };
        let record = &entry.record;
        let now = NodeSeen {
            status: record.status,
            connected: entry.agent_connected(),
            lost: record.lost_at_ms.is_some(),
            quarantined: record.quarantined_until_ms.is_some(),
        };
        let before = self.nodes.insert(arn.clone(), now);
        let mut tell = |status: &str, reason: Option<String>| {
            events.push(node_event(record, at_ms, status, reason));
        };
        if before.map(|before| before.status) != Some(now.status) {
            tell(now.status.as_str(), None);
        }
        let was = before.unwrap_or(NodeSeen { connected: false, lost: false, ..now });
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

    fn service(&mut self, service: &Service, events: &mut Vec<Event>) {
        let Some(newest) = service.events.first() else { return };
        let told = self.services.insert(service.key.clone(), newest.id.clone());
        let new = service.events.iter().take_while(|event| told.as_ref() != Some(&event.id));
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

    fn told(known: &mut Known, world: &mut World, command: impl Into<Command>) -> Vec<String> {
        let (writes, _) = world.writes(command).unwrap();
        let events = known.derive(&world.state.view, &writes, 7);
        events
            .into_iter()
            .map(|event| format!("{} {}", event.kind.as_str(), event.status))
            .collect()
    }

    #[test]
    fn each_change_is_told_once_and_in_order() {
        let (mut world, mut known) = (World::new(), Known::default());
        world.must(definition("web", 10, 10));
        assert_eq!(told(&mut known, &mut world, register("n1", 100, 100)), ["node ACTIVE"]);
        assert_eq!(told(&mut known, &mut world, connect("n1", "r")), ["node CONNECTED"]);
        assert_eq!(told(&mut known, &mut world, run("web", 1)), ["task PENDING"]);
        let arn = world.state.view.tasks.keys().next().unwrap().clone();
        let reports = |version, status| TaskReports {
            node: node_arn("n1"),
            reports: vec![report(&arn, version, status)],
        };
        let running = reports(1, TaskStatus::Running);
        assert_eq!(told(&mut known, &mut world, running.clone()), ["task RUNNING"]);
        assert_eq!(told(&mut known, &mut world, running), [""; 0]);
        let stopped = reports(2, TaskStatus::Stopped);
        assert_eq!(told(&mut known, &mut world, stopped), ["task STOPPED"]);
        assert!(known.whole(&world.state.view, 8).is_empty(), "nothing is left to tell");
        let mut late = Known::default();
        assert_eq!(late.whole(&world.state.view, 8).len(), 3, "one that knew nothing tells all");
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
