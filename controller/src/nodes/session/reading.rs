//! Environment files on their way: read beside the session, a few tasks at a time, and sent when
//! they are there.
//!
//! A task that is about to start waits for its files. One that runs already needs them only should
//! a container of it start again, so it waits behind those, never takes all places, and is told
//! nothing of a fault that may pass: its files are read again, a while later.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use loadline_model::{TaskArn, TaskStatus};
use loadline_proto::convert::TaskSecrets;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::talk::now_s;
use crate::nodes::AgentPort;
use crate::nodes::environment::{self, Contents, FileFault};
use crate::nodes::private::{self, Found};
use crate::objects::{ObjectName, Waiter};
use crate::state::View;

/// Most tasks of a node whose files are read, or wait to be sent, at once: they lie in memory.
const TASKS_AT_ONCE_MAX: usize = 8;
/// Most of these that run already.
const RUNNING_AT_ONCE_MAX: usize = 4;
/// Most tasks of a node that are waited for: as many as a node takes.
const AWAITED_MAX: usize = 20_000;
/// Before the files of a task that runs are read again; then twice as long each time.
const AGAIN_FIRST: Duration = Duration::from_secs(5);
/// A container that starts again is waited for by its node for two minutes: within that time its
/// files are read again.
const AGAIN_MAX: Duration = Duration::from_secs(60);

/// Whether a task runs already.
pub(super) fn runs(view: &View, task: &TaskArn) -> bool {
    view.task(task).is_some_and(|task| task.last_status == TaskStatus::Running)
}

/// A task whose files are awaited.
#[derive(Debug)]
struct Awaited {
    task: TaskArn,
    /// The log groups that were missing when it came.
    missing: Arc<BTreeSet<String>>,
    runs: bool,
    /// How often its files could not be had.
    failed: u32,
}

impl Awaited {
    fn waiter(&self) -> Waiter {
        if self.runs { Waiter::RunningTask } else { Waiter::StartingTask }
    }
}

/// Who is next. Pure.
#[derive(Debug, Default)]
struct Queue {
    starting: VecDeque<Awaited>,
    running: VecDeque<Awaited>,
    /// When the files of these are read again.
    later: BTreeMap<(Instant, TaskArn), Awaited>,
    /// All of them, and those whose files are being read.
    tasks: BTreeSet<TaskArn>,
}

impl Queue {
    /// Whether there is room. A task that is awaited already is not awaited twice.
    fn push(&mut self, awaited: Awaited) -> bool {
        if self.tasks.contains(&awaited.task) {
            return true;
        }
        let has_room = self.tasks.len() < AWAITED_MAX;
        if has_room {
            self.tasks.insert(awaited.task.clone());
            self.line(awaited);
        }
        has_room
    }

    fn line(&mut self, awaited: Awaited) {
        let line = if awaited.runs { &mut self.running } else { &mut self.starting };
        line.push_back(awaited);
    }

    /// Whose files to read now, while those of so many tasks are being read, of which so many run.
    fn next(&mut self, under_way: usize, running: usize) -> Option<Awaited> {
        if TASKS_AT_ONCE_MAX <= under_way {
            return None;
        }
        match self.starting.pop_front() {
            None if running < RUNNING_AT_ONCE_MAX => self.running.pop_front(),
            starting => starting,
        }
    }

    /// The files of a task that runs could not be had, and shall be read again.
    fn again(&mut self, mut awaited: Awaited, now: Instant) {
        awaited.runs = true;
        let doubled = AGAIN_FIRST.saturating_mul(2_u32.saturating_pow(awaited.failed));
        awaited.failed = awaited.failed.saturating_add(1);
        let at = now + doubled.min(AGAIN_MAX);
        self.later.insert((at, awaited.task.clone()), awaited);
    }

    /// When the first is to be read again.
    fn due(&self) -> Option<Instant> {
        self.later.first_key_value().map(|((at, _), _)| *at)
    }

    fn wake(&mut self, now: Instant) {
        while self.due().is_some_and(|at| at <= now)
            && let Some((_, awaited)) = self.later.pop_first()
        {
            self.line(awaited);
        }
    }
}

/// How a reading ended.
#[derive(Debug)]
enum Read {
    /// With what is to be told; `None` where the task awaits nothing any more.
    Done(TaskArn, Option<TaskSecrets>),
    /// With a fault that may pass.
    Again(Awaited),
}

/// A session's tasks whose files are awaited. What is under way ends with it.
#[derive(Debug, Default)]
pub(super) struct Reading {
    queue: Queue,
    under_way: JoinSet<(bool, Read)>,
    /// Of those under way.
    running: usize,
}

impl Reading {
    /// Whether there was room.
    pub(super) fn push(
        &mut self,
        task: TaskArn,
        missing: Arc<BTreeSet<String>>,
        runs: bool,
    ) -> bool {
        self.queue.push(Awaited { task, missing, runs, failed: 0 })
    }

    pub(super) fn is_idle(&self) -> bool {
        self.queue.tasks.is_empty()
    }

    /// The next task's secrets; `None` for one that awaits none any more. Nothing is lost where
    /// the caller stops waiting.
    pub(super) async fn next(&mut self, port: &AgentPort) -> Option<TaskSecrets> {
        loop {
            self.queue.wake(Instant::now());
            while let Some(awaited) = self.queue.next(self.under_way.len(), self.running) {
                let runs = awaited.runs;
                self.running += usize::from(runs);
                let reading = secrets(port.clone(), awaited);
                self.under_way.spawn(async move { (runs, reading.await) });
            }
            let due = self.queue.due();
            let alarm = async {
                match due {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let ended = tokio::select! {
                Some(ended) = self.under_way.join_next() => ended,
                () = alarm => continue,
            };
            let (runs, read) = match ended {
                Ok(ended) => ended,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // Nobody cancels one before the session ends.
                    Err(_) => return None,
                },
            };
            self.running -= usize::from(runs);
            match read {
                Read::Again(awaited) => self.queue.again(awaited, Instant::now()),
                Read::Done(task, secrets) => {
                    self.queue.tasks.remove(&task);
                    return secrets;
                }
            }
        }
    }
}

async fn secrets(port: AgentPort, awaited: Awaited) -> Read {
    let AgentPort { engine, keyring, .. } = &port;
    let task = &awaited.task;
    // By the time that it is this task's turn it may be over, or its role may be another.
    let names = private::files(&engine.snapshot(), keyring, task, now_s());
    let files = match names {
        Ok(names) if names.is_empty() => return Read::Done(awaited.task, None),
        Ok(names) => read(&port, names, awaited.waiter()).await,
        Err(fault) => Err(fault),
    };
    let view = engine.snapshot();
    if let Err(fault) = &files
        && fault.may_pass()
        && runs(&view, task)
    {
        tracing::debug!(%task, "its environment files are read again later: {fault}");
        return Read::Again(awaited);
    }
    let found = Found { missing: Arc::clone(&awaited.missing), files };
    let secrets = private::secrets(&view, keyring, task, found, now_s());
    Read::Done(awaited.task, secrets)
}

async fn read(
    port: &AgentPort,
    names: Vec<ObjectName>,
    waiter: Waiter,
) -> Result<Contents, FileFault> {
    let store = port.objects.as_ref().ok_or(FileFault::NoStore)?;
    environment::read(store, names, waiter).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn awaited(n: usize, runs: bool) -> Awaited {
        let task = TaskArn::parse(&format!("arn:aws:ecs:r:1:task/default/{n}")).unwrap();
        Awaited { task, missing: Arc::default(), runs, failed: 0 }
    }

    fn id(awaited: &Awaited) -> usize {
        awaited.task.id().parse().unwrap()
    }

    #[test]
    fn a_task_that_starts_is_never_held_up_by_those_that_run_already() {
        let mut queue = Queue::default();
        // As a session begins, and tasks are placed a moment later; some are named twice.
        for n in (0..20).chain(0..20) {
            assert!(queue.push(awaited(n, true)));
        }
        let (mut under_way, mut running) = (0, 0);
        let mut next = |queue: &mut Queue| {
            let next = queue.next(under_way, running)?;
            (under_way, running) = (under_way + 1, running + usize::from(next.runs));
            Some(id(&next))
        };
        let first: Vec<_> = std::iter::from_fn(|| next(&mut queue)).collect();
        assert_eq!(first, [0, 1, 2, 3], "places are kept for those that start");
        for n in (20..30).chain(20..30) {
            assert!(queue.push(awaited(n, false)));
        }
        let then: Vec<_> = std::iter::from_fn(|| next(&mut queue)).collect();
        assert_eq!(then, [20, 21, 22, 23]);
        let rest: Vec<_> = std::iter::from_fn(|| queue.next(0, 0)).map(|one| id(&one)).collect();
        assert_eq!(rest, (24..30).chain(4..20).collect::<Vec<_>>(), "each once");
    }

    #[test]
    fn no_more_tasks_are_awaited_than_a_node_takes() {
        let mut queue = Queue::default();
        assert!((0..AWAITED_MAX).all(|n| queue.push(awaited(n, true))));
        assert!(!queue.push(awaited(AWAITED_MAX, false)));
        assert!(queue.push(awaited(0, true)), "it is awaited already");
    }

    #[test]
    fn files_of_a_task_that_runs_are_read_again_ever_later_up_to_a_minute() {
        let (mut queue, mut now) = (Queue::default(), Instant::now());
        queue.push(awaited(1, true));
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let read = queue.next(0, 0).unwrap();
            queue.again(read, now);
            queue.push(awaited(1, true));
            assert!(queue.next(0, 0).is_none(), "it is not its time yet");
            let due = queue.due().unwrap();
            pauses.push((due - now).as_secs());
            queue.wake(due);
            now = due;
        }
        assert_eq!(pauses, [5, 10, 20, 40, 60, 60]);
    }
}
