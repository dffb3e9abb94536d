//! The awslogs log driver: what containers write goes into log streams. A node keeps its
//! containers' output on its own disk and is asked for it, as it is for `loadline logs`, so a
//! controller that is away misses nothing; where reading goes on is stored with the events, in one
//! commit.
//!
//! One follower a container, from the task's placement until its output has ended.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use loadline_model::{ContainerName, TaskArn};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, watch};

use super::relay::{EVENTS_MAX, LogLine, LogPage, LogQuery, LogsError as RelayError, LogsRelay};
use crate::engine::Engine;
use crate::logs::{LogStore, LogsError, NewEvent, Refusal, Write, Written};
use crate::state::{AwsLogs, Task, View, Write as Record};

/// Pause before a container is asked again that had nothing new, or could not be asked.
const AGAIN: Duration = Duration::from_secs(2);
/// How long after its end a task's node is still asked for the rest, in milliseconds.
const REST_MS: u64 = 10 * 60 * 1000;
/// Most questions at once, over all nodes: none of them waits for lines that may come.
const ASKED_AT_ONCE_MAX: usize = 256;

/// What followers work with.
#[derive(Clone, Debug)]
pub struct Shipper {
    engine: Engine,
    relay: LogsRelay,
    store: LogStore,
    followed: Arc<Mutex<BTreeSet<(TaskArn, ContainerName)>>>,
    room: Arc<Semaphore>,
}

impl Shipper {
    /// Ships nothing yet.
    #[must_use]
    pub fn new(engine: Engine, relay: LogsRelay, store: LogStore) -> Self {
        let room = Arc::new(Semaphore::new(ASKED_AT_ONCE_MAX));
        Self { engine, relay, store, followed: Arc::default(), room }
    }

    /// Follows every container that has the driver until `closing` turns true.
    pub async fn run(self, mut closing: watch::Receiver<bool>) {
        let mut commits = self.engine.commits();
        self.follow_all(&self.engine.snapshot());
        loop {
            let commit = tokio::select! {
                commit = commits.recv() => commit,
                _ = closing.wait_for(|closing| *closing) => return,
            };
            match commit {
                Ok(commit) => {
                    let writes = commit.changes.iter().flat_map(|change| &change.writes);
                    let tasks = writes.filter_map(|write| match write {
                        Record::Task(task) if task.version == 1 => Some(task),
                        _ => None,
                    });
                    tasks.for_each(|task| self.follow(&commit.view, task));
                }
                Err(RecvError::Lagged(_)) => self.follow_all(&self.engine.snapshot()),
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn follow_all(&self, view: &View) {
        view.tasks.values().for_each(|task| self.follow(view, task));
    }

    fn follow(&self, view: &View, task: &Arc<Task>) {
        let Some(definition) = view.definitions.get(&task.definition) else { return };
        let over = |at: u64| at.saturating_add(REST_MS) < now_ms();
        if definition.body.logs.is_empty() || task.stopped_at_ms.is_some_and(over) {
            return;
        }
        for (container, logs) in &definition.body.logs {
            let key = (task.arn.clone(), container.clone());
            let new = self.locked().insert(key.clone());
            if new {
                let follower = Follower {
                    shipper: self.clone(),
                    task: Arc::clone(task),
                    container: container.clone(),
                    stream: stream_name(task, container, logs),
                    logs: logs.clone(),
                };
                tokio::spawn(async move {
                    follower.run().await;
                    follower.shipper.locked().remove(&key);
                });
            }
        }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, BTreeSet<(TaskArn, ContainerName)>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `PREFIX/CONTAINER/TASK_ID`; without a prefix the container's own id.
pub(super) fn stream_name(task: &Task, container: &ContainerName, logs: &AwsLogs) -> String {
    let own = task.containers.iter().find(|have| have.name == *container);
    match &logs.stream_prefix {
        Some(prefix) => format!("{prefix}/{container}/{}", task.arn.id()),
        None => own.map_or_else(|| task.arn.id().to_owned(), |own| own.id.to_string()),
    }
}

struct Follower {
    shipper: Shipper,
    task: Arc<Task>,
    container: ContainerName,
    stream: String,
    logs: AwsLogs,
}

/// How far a follower is.
#[derive(Default)]
struct Reading {
    /// Where reading goes on; `None` until the stream is known to be there.
    cursor: Option<String>,
    /// Whether it was told that there is no stream.
    told: bool,
}

/// Whether to go on at once, later, or not at all.
enum Next {
    Now,
    Later,
    Done,
}

impl Follower {
    async fn run(&self) {
        let mut at = Reading::default();
        loop {
            match self.step(&mut at).await {
                Next::Now => {}
                Next::Later => tokio::time::sleep(AGAIN).await,
                Next::Done => return,
            }
        }
    }

    /// Asks once.
    async fn step(&self, at: &mut Reading) -> Next {
        let from = match at.cursor.clone() {
            Some(from) => from,
            None => match self.stream().await {
                Ok(from) => from,
                Err(error) => return self.no_place(at, &error),
            },
        };
        *at = Reading { cursor: Some(from.clone()), told: false };
        let page = match self.ask(from.clone()).await {
            Ok(page) => page,
            Err(RelayError::Agent(why)) => {
                tracing::debug!(task = %self.task.arn, "no output yet: {why}");
                return self.later();
            }
            Err(_) => return self.later(),
        };
        let (next, end) = (page.next_cursor, page.end);
        let events: Vec<NewEvent> = page.events.into_iter().filter_map(event).collect();
        let none = events.is_empty();
        // Nothing new costs no commit.
        if !none || next != from {
            let (group, stream) = (self.logs.group.clone(), self.stream.clone());
            let put = Write::Put { group, stream, events, cursor: Some(next.clone()) };
            if let Err(error) = self.shipper.store.write(put, now_ms()).await {
                tracing::warn!(task = %self.task.arn, "output is not kept, trying again: {error}");
                // Somebody may have deleted the stream.
                at.cursor = None;
                return self.later();
            }
            at.cursor = Some(next);
        }
        match (end, none) {
            (true, _) if self.ended_at_ms().is_some() => Next::Done,
            (false, false) => Next::Now,
            _ => self.later(),
        }
    }

    /// There is no stream to write to. It is told once, and again after it was better.
    fn no_place(&self, at: &mut Reading, error: &LogsError) -> Next {
        let (task, group) = (&self.task.arn, &self.logs.group);
        if !std::mem::replace(&mut at.told, true) {
            tracing::warn!(%task, group, "no place for a container's output, trying: {error}");
        }
        let gone = matches!(error, LogsError::Refused(Refusal::NotFound(_)));
        if gone && self.ended_at_ms().is_some() { Next::Done } else { self.later() }
    }

    async fn ask(&self, cursor: String) -> Result<LogPage, RelayError> {
        let query = LogQuery {
            task: self.task.arn.clone(),
            container: self.container.clone(),
            cursor,
            events_max: EVENTS_MAX,
            wait_ms: 0,
            since_ms: 0,
        };
        // Nobody closes it.
        let _permit = self.shipper.room.acquire().await;
        self.shipper.relay.read(&self.task.node, query).await
    }

    /// Later, but for a task that ended so long ago that nothing more will come.
    fn later(&self) -> Next {
        let over = self.ended_at_ms().is_some_and(|at| at.saturating_add(REST_MS) < now_ms());
        if over { Next::Done } else { Next::Later }
    }

    /// When the task had ended; a forgotten one has long ago.
    fn ended_at_ms(&self) -> Option<u64> {
        let view = self.shipper.engine.snapshot();
        view.task(&self.task.arn).map_or(Some(0), |task| task.stopped_at_ms)
    }

    /// The stream, made where it is missing; where its reading goes on.
    async fn stream(&self) -> Result<String, LogsError> {
        let group = self.logs.group.clone();
        if self.logs.create_group {
            let name = group.clone();
            let made = Write::CreateGroup { name, tags: Default::default(), may_exist: true };
            self.shipper.store.write(made, now_ms()).await?;
        }
        let made = Write::CreateStream { group, name: self.stream.clone(), may_exist: true };
        match self.shipper.store.write(made, now_ms()).await? {
            Written::Stream(stream) => Ok(stream.cursor.unwrap_or_default()),
            Written::Done => Err(LogsError::Refused(Refusal::NotFound("stream"))),
        }
    }
}

/// Empty lines are no events, as with the driver elsewhere.
fn event(line: LogLine) -> Option<NewEvent> {
    let message = String::from_utf8_lossy(&line.message).into_owned();
    (!message.is_empty()).then_some(NewEvent { timestamp_ms: line.timestamp_ms, message })
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
