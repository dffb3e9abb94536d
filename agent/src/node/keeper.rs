//! The one owner of the node's state.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use loadline_model::report::clip_reason;
use loadline_model::{Assignment, Line, Resources, StopCode, TaskArn, TaskSpec};
use tokio::sync::{mpsc, oneshot};

use super::desired::{Plan, Refused, Standing, Update, plan};
use super::{Event, Handle};
use crate::board::Board;
use crate::clock::now_ms;
use crate::failpoint;
use crate::ledger::{Contents, Entry, Purpose};
use crate::network::{Allotment, Pool, is_free};
use crate::task::actor::{self, Context, EndsWithUs};
use crate::task::record::{Stop, Task};

/// Stopped tasks whose logs are kept; the oldest go first.
pub const KEPT_TASKS_MAX: usize = 2_000;

/// How often what is kept too long is looked for.
const TIDY_EVERY_S: u64 = 15;

/// How long that may take at a time: the controller, and the heartbeats behind its updates, wait.
const TIDY_MS_MAX: u64 = 500;

/// A task that is here.
#[derive(Debug)]
enum Held {
    Live {
        handle: actor::Handle,
        stopping: bool,
    },
    Stopped(Box<Task>),
    /// The controller has let go of it, and its log is kept. As the ledger spells it, which takes
    /// a fraction of the memory.
    Forgotten {
        stopped_at_ms: u64,
        json: Box<[u8]>,
    },
}

impl Held {
    fn over(task: Box<Task>) -> Self {
        if !task.forgotten {
            return Self::Stopped(task);
        }
        let json = serde_json::to_vec(&task).expect("a task has no map with odd keys");
        Self::Forgotten { stopped_at_ms: task.stopped_at_ms.unwrap_or(0), json: json.into() }
    }

    fn standing(&self) -> Standing {
        match self {
            Self::Live { stopping: false, .. } => Standing::Live,
            Self::Live { stopping: true, .. } => Standing::Stopping,
            Self::Stopped(_) => Standing::Stopped,
            Self::Forgotten { .. } => Standing::Forgotten,
        }
    }
}

/// A task whose end others may wait for.
#[derive(Debug)]
enum Departing {
    /// It was asked to stop before, and everybody knew: only what does not fit beside it waits.
    Told,
    /// The controller gave it up while the node was away: whatever is new may be its replacement,
    /// and waits (law 9).
    GivenUp,
}

/// Why a task gets nothing of this node now.
enum NoRoom {
    /// Nor ever.
    Never(String),
    /// What is missing may be free once another task has stopped.
    Now(String),
}

/// What a node holds, for people and for the local API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What it registered.
    pub registered: Resources,
    /// The sum of the reservations of all tasks that have not stopped.
    pub reserved: Resources,
    /// The newest generation applied.
    pub generation: u64,
    /// Tasks that have not stopped.
    pub live: usize,
    /// Tasks that have, and whose logs are kept.
    pub kept: usize,
    /// Tasks that wait until others have stopped.
    pub waiting: usize,
}

/// 128 random bits: what nobody can guess.
fn new_id() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}

/// The node's state and its owner.
#[derive(Debug)]
pub struct Keeper {
    context: Context,
    board: Arc<Board>,
    line: Line,
    generation: u64,
    tasks: BTreeMap<TaskArn, Held>,
    /// What the controller no longer names, or named STOPPED in a snapshot, and what has not
    /// stopped yet.
    departing: BTreeMap<TaskArn, Departing>,
    /// New tasks that wait for those.
    waiting: VecDeque<Assignment>,
    /// The tasks' addresses and ports.
    pool: Pool,
    /// How long a stopped task's log is kept, in milliseconds.
    keep_ms: u64,
}

impl Keeper {
    /// Takes up what the ledger remembers: every task that has not stopped gets its actor again.
    #[must_use]
    pub fn new(
        context: Context,
        registered: Resources,
        pool: Pool,
        contents: Contents,
        keep_ms: u64,
    ) -> Self {
        let mut keeper = Self {
            board: Arc::clone(&context.board),
            context,
            line: Line::new(registered),
            generation: contents.generation,
            tasks: BTreeMap::new(),
            departing: BTreeMap::new(),
            waiting: VecDeque::new(),
            pool,
            keep_ms,
        };
        for (arn, task) in contents.tasks {
            if task.is_stopped() {
                if !task.forgotten {
                    keeper.board.publish(task.report());
                }
                keeper.tasks.insert(arn, Held::over(Box::new(task)));
            } else {
                keeper.line.adopt(&arn, task.spec.reservation());
                keeper.pool.adopt(&arn, task.network.clone());
                let given_up = task.stop.as_ref().is_some_and(|stop| stop.given_up);
                keeper.go_on(task);
                if given_up {
                    keeper.departs(arn, true);
                }
            }
        }
        keeper
    }

    /// Runs until every [`Handle`] is gone.
    pub async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Event>,
        mut stopped: mpsc::Receiver<Box<Task>>,
    ) {
        let _guard = EndsWithUs("the node's keeper");
        let mut tidy = tokio::time::interval(Duration::from_secs(TIDY_EVERY_S));
        loop {
            tokio::select! {
                event = inbox.recv() => match event {
                    Some(Event::Update { update, done }) => self.update(update, done).await,
                    // Whoever asked may have gone.
                    Some(Event::Status(asker)) => drop(asker.send(self.status())),
                    None => return,
                },
                Some(task) = stopped.recv() => self.has_stopped(task).await,
                _ = tidy.tick() => self.tidy().await,
            }
        }
    }

    /// A handle and the receiver for [`Self::run`].
    #[must_use]
    pub fn handle() -> (Handle, mpsc::Receiver<Event>) {
        Handle::new()
    }

    fn status(&self) -> Status {
        let live = self.tasks.values().filter(|held| matches!(held, Held::Live { .. })).count();
        Status {
            registered: self.line.registered(),
            reserved: self.line.reserved(),
            generation: self.generation,
            live,
            kept: self.tasks.len() - live,
            waiting: self.waiting.len(),
        }
    }

    /// Of the tasks that the update asks about.
    fn standings(&self, update: &Update) -> BTreeMap<TaskArn, Standing> {
        if let Some(asked) = update.asks_about() {
            let waits = |arn: &TaskArn| self.waiting.iter().any(|a| a.task.arn == *arn);
            let of_one = |arn: &TaskArn| {
                let held = self.tasks.get(arn).map(Held::standing);
                let one = held.or_else(|| waits(arn).then_some(Standing::Live))?;
                Some((arn.clone(), one))
            };
            return asked.into_iter().filter_map(of_one).collect();
        }
        let waiting = self.waiting.iter().map(|a| (a.task.arn.clone(), Standing::Live));
        let held = self.tasks.iter().map(|(arn, held)| (arn.clone(), held.standing()));
        waiting.chain(held).collect()
    }

    async fn update(&mut self, update: Update, done: oneshot::Sender<Result<(), Refused>>) {
        let generation = update.generation();
        let planned = plan(self.generation, &self.standings(&update), &update);
        let answer = match planned {
            Ok(plan) => {
                self.carry_out(plan, generation).await;
                Ok(())
            }
            Err(refused) => Err(refused),
        };
        // A session that has ended is answered in the next one.
        let _ = done.send(answer);
    }

    async fn carry_out(&mut self, plan: Plan, generation: u64) {
        self.generation = generation;
        for arn in plan.stop_unnamed {
            let reason = "The controller no longer assigns the task to this node".to_owned();
            let code = StopCode::ServiceSchedulerInitiated;
            if self.give_up_waiting(&arn) {
                self.board.retract(&arn);
            } else {
                self.departs(arn.clone(), true);
                self.stop(&arn, Stop { code, reason, at_ms: now_ms(), given_up: true }).await;
            }
        }
        for assignment in plan.stop {
            let given_up = plan.given_up.contains(&assignment.task.arn);
            self.stop_assigned(assignment, given_up).await;
        }
        for arn in plan.departing {
            let given_up = plan.given_up.contains(&arn);
            self.departs(arn, given_up);
        }
        for arn in plan.show_again {
            match self.tasks.get(&arn) {
                Some(Held::Stopped(task)) => self.board.publish(task.report()),
                Some(Held::Forgotten { json, .. }) => match serde_json::from_slice::<Task>(json) {
                    Ok(task) => self.board.publish(task.report()),
                    Err(error) => tracing::error!(task = %arn, %error, "a record can't be read"),
                },
                Some(Held::Live { .. }) | None => {}
            }
        }
        let now = now_ms();
        let boot_id = self.context.boot_id.clone();
        let never: Vec<Task> = plan
            .never_begin
            .into_iter()
            .filter_map(|assignment| {
                let stop = Task::stop_of(&assignment, now)?;
                Some(Task::never_begun(assignment.task, &boot_id, stop))
            })
            .collect();
        self.waiting.extend(plan.begin);
        let new = self.admit();
        self.remember(never.into_iter().chain(new).collect()).await;
        self.forget(plan.forget).await;
    }

    /// From now on others may wait for its end, if it is one that has not stopped.
    fn departs(&mut self, arn: TaskArn, given_up: bool) {
        let Some(Held::Live { .. }) = self.tasks.get(&arn) else { return };
        if given_up {
            self.departing.insert(arn, Departing::GivenUp);
        } else {
            self.departing.entry(arn).or_insert(Departing::Told);
        }
    }

    /// Admits or refuses what waits, but for what waits on. What is refused is a task too, one that
    /// has stopped.
    fn admit(&mut self) -> Vec<Task> {
        let mut departing = self.departing.iter();
        let given_up = departing.find(|(_, departing)| matches!(departing, Departing::GivenUp));
        let given_up = given_up.map(|(arn, _)| arn.clone());
        let mut new = Vec::new();
        for assignment in std::mem::take(&mut self.waiting) {
            let spec = &assignment.task;
            let judged = match &given_up {
                Some(old) => Err(format!("{}, which it may replace", old.id())),
                None => self.judge(spec),
            };
            match judged {
                Ok(task) => new.push(task),
                Err(what) => {
                    self.show_waiting(spec, &what);
                    self.waiting.push_back(assignment);
                }
            }
        }
        new
    }

    /// Tells the controller what a task waits for, which nothing of is in the ledger yet.
    fn show_waiting(&self, spec: &TaskSpec, what: &str) {
        if self.board.get(&spec.arn).is_some() {
            return;
        }
        let mut task = Task::accepted(spec.clone(), &self.context.boot_id);
        let reason = clip_reason(&format!("it waits for the end of task {what}"));
        task.containers.iter_mut().for_each(|container| container.reason = Some(reason.clone()));
        self.board.publish(task.report());
    }

    /// The task, admitted or refused; or what it has to wait for. The controller counts each
    /// departing task either as gone or as here, so all fit once those are gone.
    fn judge(&mut self, spec: &TaskSpec) -> Result<Task, String> {
        let boot_id = self.context.boot_id.clone();
        let reason = match self.reserve(spec) {
            Ok(network) => return Ok(Task { network, ..Task::accepted(spec.clone(), &boot_id) }),
            Err(NoRoom::Never(reason)) => reason,
            Err(NoRoom::Now(reason)) => match self.departing.keys().next() {
                Some(old) => {
                    let more = self.departing.len() - 1;
                    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
                    return Err(format!("{}{more}: {reason}", old.id()));
                }
                None => reason,
            },
        };
        let code = StopCode::TaskFailedToStart;
        let stop = Stop { code, reason, at_ms: now_ms(), given_up: false };
        Ok(Task::never_begun(spec.clone(), &boot_id, stop))
    }

    /// Everything that a task needs of this node, or nothing of it and why.
    fn reserve(&mut self, spec: &TaskSpec) -> Result<Allotment, NoRoom> {
        if let Some(reason) = self.context.workshop.refuses(spec) {
            return Err(NoRoom::Never(reason));
        }
        let refused = self.line.reserve(&spec.arn, spec.reservation());
        refused.map_err(|refusal| NoRoom::Now(refusal.to_string()))?;
        self.pool.reserve(spec, &is_free, &mut new_id).map_err(|no_place| {
            self.line.release(&spec.arn);
            NoRoom::Now(no_place.to_string())
        })
    }

    /// Gives back everything that a task had of this node.
    fn release(&mut self, arn: &TaskArn) {
        self.line.release(arn);
        self.pool.release(arn);
    }

    /// Writes new tasks and the generation, all at once, then begins them. Where the disk is full
    /// they are refused, and nothing has been begun.
    async fn remember(&mut self, mut tasks: Vec<Task>) {
        for task in &mut tasks {
            // What it waited for was told of it.
            let shown = self.board.get(&task.spec.arn).map_or(0, |report| report.version);
            task.version = task.version.max(shown + 1);
        }
        let purpose = if tasks.is_empty() { Purpose::Note } else { Purpose::Admission };
        let mut entries: Vec<Entry> =
            tasks.iter().cloned().map(|task| Entry::Task(Box::new(task))).collect();
        entries.push(Entry::Generation(self.generation));
        failpoint::hit("task-admitted");
        let written = self.context.ledger.write(&entries, purpose).await;
        failpoint::hit("task-accepted");
        for task in tasks {
            match &written {
                Ok(()) => self.go_on(task),
                Err(error) => {
                    let reason = format!("ResourceInitializationError: {error}");
                    tracing::error!(task = %task.spec.arn, %reason, "a task is refused");
                    self.release(&task.spec.arn);
                    let (code, at_ms) = (StopCode::TaskFailedToStart, now_ms());
                    let stop = Stop { code, reason, at_ms, given_up: false };
                    let version = task.version;
                    let never = Task::never_begun(task.spec, &task.boot_id, stop);
                    self.go_on(Task { version, ..never });
                }
            }
        }
    }

    /// Takes a task in: starts its actor, or only shows that it has stopped.
    fn go_on(&mut self, task: Task) {
        let arn = task.spec.arn.clone();
        let held = if task.is_stopped() {
            self.board.publish(task.report());
            Held::Stopped(Box::new(task))
        } else {
            let stopping = task.stop.is_some();
            Held::Live { handle: actor::start(self.context.clone(), task), stopping }
        };
        self.tasks.insert(arn, held);
    }

    /// Drops a task that was never begun; whether it was one.
    fn give_up_waiting(&mut self, arn: &TaskArn) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|assignment| assignment.task.arn != *arn);
        self.waiting.len() < before
    }

    async fn stop_assigned(&mut self, assignment: Assignment, given_up: bool) {
        let Some(stop) = Task::stop_of(&assignment, now_ms()) else { return };
        let stop = Stop { given_up, ..stop };
        if self.give_up_waiting(&assignment.task.arn) {
            let task = Task::never_begun(assignment.task, &self.context.boot_id, stop);
            self.remember(vec![task]).await;
        } else {
            self.stop(&assignment.task.arn, stop).await;
        }
    }

    async fn stop(&mut self, arn: &TaskArn, stop: Stop) {
        if let Some(Held::Live { handle, stopping, .. }) = self.tasks.get_mut(arn) {
            *stopping = true;
            handle.stop(stop).await;
        }
    }

    async fn has_stopped(&mut self, task: Box<Task>) {
        let arn = task.spec.arn.clone();
        self.release(&arn);
        self.tasks.insert(arn.clone(), Held::Stopped(task));
        // Its end is told too; the next snapshot that does not name it lets it be forgotten.
        let was_awaited = self.departing.remove(&arn).is_some();
        if was_awaited && !self.waiting.is_empty() {
            let new = self.admit();
            if !new.is_empty() {
                self.remember(new).await;
            }
        }
    }

    /// Lets go of stopped tasks: they are reported no more, and their logs kept for a while.
    async fn forget(&mut self, arns: Vec<TaskArn>) {
        let mut entries = Vec::new();
        for arn in arns {
            self.board.retract(&arn);
            if let Some(Held::Stopped(task)) = self.tasks.get_mut(&arn) {
                task.forgotten = true;
                let task = task.clone();
                self.tasks.insert(arn, Held::over(task.clone()));
                entries.push(Entry::Task(task));
            }
        }
        if entries.is_empty() {
            return;
        }
        if let Err(error) = self.context.ledger.write(&entries, Purpose::Note).await {
            // After a restart they are shown once more, and let go of again.
            tracing::warn!(%error, "forgotten tasks can't be noted");
        }
    }

    /// Removes what has been kept long enough, or is too much.
    async fn tidy(&mut self) {
        let now = now_ms();
        let mut kept: Vec<(u64, TaskArn)> = Vec::new();
        for (arn, held) in &self.tasks {
            if let Held::Forgotten { stopped_at_ms, .. } = held {
                kept.push((*stopped_at_ms, arn.clone()));
            }
        }
        kept.sort_unstable();
        let surplus = kept.len().saturating_sub(KEPT_TASKS_MAX);
        let is_due = |(n, (stopped_at_ms, _)): &(usize, (u64, TaskArn))| {
            *n < surplus || stopped_at_ms.saturating_add(self.keep_ms) <= now
        };
        let due: Vec<TaskArn> =
            kept.into_iter().enumerate().filter(is_due).map(|(_, (_, arn))| arn).collect();
        let until = Instant::now() + Duration::from_millis(TIDY_MS_MAX);
        for arn in due {
            if until <= Instant::now() {
                return;
            }
            self.remove(&arn).await;
        }
    }

    async fn remove(&mut self, arn: &TaskArn) {
        let workshop = Arc::clone(&self.context.workshop);
        let task = arn.clone();
        let removed = tokio::task::spawn_blocking(move || workshop.remove_task(&task)).await;
        if let Ok(Err(error)) = removed {
            tracing::warn!(task = %arn, %error, "a task's folder can't be removed");
            return;
        }
        let entry = Entry::Remove(arn.clone());
        match self.context.ledger.write(&[entry], Purpose::Note).await {
            Ok(()) => drop(self.tasks.remove(arn)),
            Err(error) => tracing::warn!(task = %arn, %error, "a removal can't be noted"),
        }
    }
}
