//! An agent by the letter of the protocol: a ledger, a line, and reports until acknowledged.

use std::collections::{BTreeMap, VecDeque};

use loadline_model::{Assignment, DesiredStatus, Line, Resources, TaskArn, TaskReport, TaskStatus};

use crate::apply::testing::report;
use crate::command::REPORTS_MAX;
use crate::engine::{NodeChange, Told};
use crate::state::SessionId;

/// From the controller, in a session.
#[derive(Clone, Debug)]
pub(super) enum Down {
    Snapshot(u64, Vec<Assignment>),
    Change(NodeChange),
    Acks(Vec<(TaskArn, u64)>),
}

/// What the agent keeps of one task.
#[derive(Clone, Debug)]
struct Held {
    desired: DesiredStatus,
    status: TaskStatus,
    version: u64,
    acked: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Agent {
    pub(super) run: u32,
    pub(super) session: Option<SessionId>,
    pub(super) inbox: VecDeque<Down>,
    pub(super) generation: u64,
    line: Line,
    held: BTreeMap<TaskArn, Held>,
    /// Every task that was ever started here.
    started: Vec<TaskArn>,
}

impl Agent {
    pub(super) fn new(resources: Resources) -> Self {
        Self {
            run: 0,
            session: None,
            inbox: VecDeque::new(),
            generation: 0,
            line: Line::new(resources),
            held: BTreeMap::new(),
            started: Vec::new(),
        }
    }

    /// The session is gone with what was under way in it.
    pub(super) fn disconnect(&mut self) {
        self.session = None;
        self.inbox.clear();
    }

    /// Takes the next message; `true` where it has to ask for a snapshot.
    pub(super) fn take(&mut self) -> bool {
        match self.inbox.pop_front() {
            Some(Down::Snapshot(generation, assignments)) => {
                assert!(self.generation <= generation, "a snapshot from the past");
                self.generation = generation;
                let named: Vec<_> = assignments.iter().map(|a| a.task.arn.clone()).collect();
                for (arn, held) in &mut self.held {
                    if !named.contains(arn) {
                        held.desired = DesiredStatus::Stopped;
                    }
                }
                self.assign(assignments);
            }
            Some(Down::Change(change)) => {
                if change.base_generation != self.generation {
                    return true;
                }
                self.generation = change.generation;
                for arn in &change.forget {
                    self.forget(arn);
                }
                self.assign(change.assignments.iter().map(Told::assignment).collect());
            }
            Some(Down::Acks(acks)) => {
                for (arn, version) in acks {
                    if let Some(held) = self.held.get_mut(&arn) {
                        held.acked = held.acked.max(version);
                    }
                    self.forget(&arn);
                }
            }
            None => {}
        }
        false
    }

    /// Only a STOPPED that was acknowledged may be forgotten.
    fn forget(&mut self, arn: &TaskArn) {
        let done = |held: &Held| held.status == TaskStatus::Stopped && held.version <= held.acked;
        if self.held.get(arn).is_some_and(done) {
            self.held.remove(arn);
        }
    }

    fn assign(&mut self, assignments: Vec<Assignment>) {
        // What is to stop comes first: its room may be what the new tasks count on.
        let (new, old): (Vec<_>, Vec<_>) =
            assignments.into_iter().partition(|a| !self.held.contains_key(&a.task.arn));
        for assignment in old {
            if let Some(held) = self.held.get_mut(&assignment.task.arn)
                && assignment.desired == DesiredStatus::Stopped
            {
                held.desired = DesiredStatus::Stopped;
            }
        }
        for assignment in new {
            let arn = assignment.task.arn.clone();
            let mut held = Held {
                desired: assignment.desired,
                status: TaskStatus::Pending,
                version: 0,
                acked: 0,
            };
            if self.started.contains(&arn) || assignment.desired == DesiredStatus::Stopped {
                // Forgotten here and not yet there, or never begun: it is over in any case.
                (held.status, held.version) = (TaskStatus::Stopped, u64::from(u32::MAX));
            } else {
                let need = assignment.task.reservation();
                self.line.reserve(&arn, need).expect("the controller knows what the node has");
            }
            self.held.insert(arn, held);
        }
    }

    /// One of its tasks goes on: starts, ends by itself, or stops as it was asked to.
    pub(super) fn work(&mut self, task: usize, ends: bool) {
        let open = self.held.iter_mut().filter(|(_, held)| held.status != TaskStatus::Stopped);
        let open: Vec<_> = open.collect();
        let count = open.len();
        let Some((arn, held)) = open.into_iter().nth(task % count.max(1)) else { return };
        let before = held.status;
        held.status = match (held.desired, held.status) {
            (DesiredStatus::Stopped, _) => TaskStatus::Stopped,
            (DesiredStatus::Running, TaskStatus::Pending) => {
                assert!(!self.started.contains(arn), "{arn} was started twice");
                self.started.push(arn.clone());
                TaskStatus::Running
            }
            (DesiredStatus::Running, _) if ends => TaskStatus::Stopped,
            (DesiredStatus::Running, status) => status,
        };
        held.version += u64::from(held.status != before);
        if held.status == TaskStatus::Stopped {
            self.line.release(arn);
        }
    }

    /// The newest states that were not acknowledged.
    pub(super) fn reports(&self) -> Vec<TaskReport> {
        let news = self.held.iter().filter(|(_, held)| held.acked < held.version);
        news.map(|(arn, held)| report(arn, held.version, held.status)).take(REPORTS_MAX).collect()
    }

    /// Its tasks and what is wanted of them, but for those that are over.
    pub(super) fn tasks(&self) -> Vec<(TaskArn, TaskStatus)> {
        self.held.iter().map(|(arn, held)| (arn.clone(), held.status)).collect()
    }
}
