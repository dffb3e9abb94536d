//! Simulated nodes over the real protocol: `loadline-agent hollow --count N`. Each joins, registers
//! and keeps a session as a real one does; only its containers are imagined. For the study of
//! registration and scheduling, and for tests of the controller's size.
//!
//! Between the nodes and the controller there may be a slow and lossy network ([`relay`]). What
//! happened is written as CSV, and drawn by `hollow-plot` ([`plot`]).
//!
//! Absent on purpose: a ledger. A hollow node that is started again holds no task, and stops being
//! the node that ran one.

pub mod plot;
mod relay;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use loadline_model::{
    ContainerName, ContainerStatus, HealthStatus, Line, Resources, Right, StopCode, TaskArn,
    TaskSpec, TaskStatus,
};
use loadline_proto::convert::Attribute;
use rand::Rng as _;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use self::relay::Weather;
use crate::board::Board;
use crate::clock::now_ms;
use crate::exec::{ExecPlace, ExecPlaces, Execs};
use crate::host::HostFacts;
use crate::node::desired::{Standing, plan};
use crate::node::{Event, Handle, Status, Update};
use crate::options::HollowOptions;
use crate::session::link::{LogPlace, LogPlaces};
use crate::session::{self, Identity, JoinToken, Link, enrol, token};
use crate::task::record::{Health, Pull, Stop, Task};

/// The first lines of the files of results.
const TASKS_HEADER: &str = "node,task,assigned_ms,running_ms,stopped_ms,stop_code";
const NODES_HEADER: &str = "node,began_ms,joined_ms,cpu_units,memory_mib";

/// What a node registers where no size is given.
const NODE_CPU_UNITS: u64 = 4096;
const NODE_MEMORY_MIB: u64 = 8192;

/// Nodes that join at once.
const JOINERS_MAX: usize = 256;

/// With more losses nothing would come through.
const LOSS_PERCENT_MAX: u32 = 50;

/// Nodes in one process.
pub const NODES_MAX: u32 = 20_000;

/// Where the results go, one line for each task that has stopped.
type Results = Arc<Mutex<Option<std::fs::File>>>;

/// Runs the simulated nodes until it is told to end.
///
/// # Errors
/// What keeps the first of them from joining.
pub async fn run(options: HollowOptions) -> anyhow::Result<()> {
    anyhow::ensure!(
        (1..=NODES_MAX).contains(&options.count),
        "--count {} is not within 1 to {NODES_MAX}",
        options.count
    );
    anyhow::ensure!(
        options.loss_percent <= LOSS_PERCENT_MAX,
        "--loss-percent {} is above {LOSS_PERCENT_MAX}",
        options.loss_percent
    );
    crate::daemon::raise_open_files();
    let token = Arc::new(read_token(&options)?);
    let results = open_csv(options.results.as_deref(), TASKS_HEADER)?;
    let nodes = open_csv(options.nodes.as_deref(), NODES_HEADER)?;
    let weather = Weather {
        latency_ms: options.latency_ms,
        jitter_ms: options.jitter_ms,
        loss_percent: options.loss_percent,
    };
    let mut options = options;
    if !weather.is_fair() {
        options.controller = relay::start(options.controller, weather).await?;
    }
    let joiners = Arc::new(Semaphore::new(options.join_at_once.clamp(1, JOINERS_MAX)));
    let mut joining = JoinSet::new();
    for n in 0..options.count {
        let permit = Arc::clone(&joiners).acquire_owned().await.context("take turns to join")?;
        let (options, token) = (options.clone(), Arc::clone(&token));
        let (results, nodes) = (Arc::clone(&results), Arc::clone(&nodes));
        joining.spawn(async move {
            let began_ms = now_ms();
            let (dir, identity) = join(n, &options, &token).await?;
            drop(permit);
            let size = size_of(n, &options);
            let Resources { cpu_units, memory_mib } = size;
            note(&nodes, format_args!("{n},{began_ms},{},{cpu_units},{memory_mib}", now_ms()));
            tokio::spawn(live(n, options, dir, identity, results));
            anyhow::Ok(())
        });
        while let Some(joined) = joining.try_join_next() {
            joined.context("join")??;
        }
    }
    while let Some(joined) = joining.join_next().await {
        joined.context("join")??;
    }
    tracing::info!(count = options.count, "all hollow nodes have joined");
    tokio::signal::ctrl_c().await.context("listen for SIGINT")
}

/// Joins as this node, or finds that it has joined before.
async fn join(
    n: u32,
    options: &HollowOptions,
    token: &JoinToken,
) -> anyhow::Result<(PathBuf, Identity)> {
    let dir = options.state_dir.join(format!("hollow-{n}"));
    std::fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
    let identity = match Identity::load(&dir)? {
        Some(identity) => identity,
        None => enrol::enrol(&options.controller, token, &dir)
            .await
            .with_context(|| format!("join as hollow node {n}"))?,
    };
    Ok((dir, identity))
}

/// What a node registers: the sizes take turns.
fn size_of(n: u32, options: &HollowOptions) -> Resources {
    let turn = |sizes: &[u64], default: u64| {
        let at = usize::try_from(n).unwrap_or_default().checked_rem(sizes.len());
        at.map_or(default, |at| sizes[at])
    };
    Resources {
        cpu_units: turn(&options.node_cpu_units, NODE_CPU_UNITS),
        memory_mib: turn(&options.node_memory_mib, NODE_MEMORY_MIB),
    }
}

/// Adds a line to a file of results.
fn note(file: &Results, line: std::fmt::Arguments<'_>) {
    let mut results = file.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(file) = results.as_mut() else { return };
    if let Err(error) = writeln!(file, "{line}") {
        tracing::error!(%error, "the results can't be written any more");
        *results = None;
    }
}

fn read_token(options: &HollowOptions) -> anyhow::Result<JoinToken> {
    let text = match (&options.join_token, &options.join_token_file) {
        (Some(token), _) => token.clone(),
        (None, Some(path)) => token::read_file(path)?,
        (None, None) => anyhow::bail!("hollow nodes need --join-token-file, with enough uses"),
    };
    JoinToken::parse(&text).context("read the join token")
}

fn open_csv(path: Option<&Path>, header: &str) -> anyhow::Result<Results> {
    let Some(path) = path else { return Ok(Arc::default()) };
    let mut file =
        std::fs::File::create(path).with_context(|| format!("create {}", path.display()))?;
    writeln!(file, "{header}").with_context(|| format!("write {}", path.display()))?;
    Ok(Arc::new(Mutex::new(Some(file))))
}

/// One node's life: its simulated containers, and a link that is cut now and then if so wished.
async fn live(n: u32, options: HollowOptions, dir: PathBuf, identity: Identity, results: Results) {
    let (handle, inbox) = Handle::new();
    let board = Arc::new(Board::default());
    let resources = size_of(n, &options);
    let node = HollowNode::new(n, options.clone(), Arc::clone(&board), resources, results);
    tokio::spawn(node.run(inbox));
    let mut attributes = HostFacts::read().map(|facts| facts.attributes).unwrap_or_default();
    attributes.extend(Right::ALL.map(|right| {
        let name = right.attribute().to_owned();
        Attribute { name, value: None }
    }));
    let settings = session::Settings {
        controller: options.controller.clone(),
        state_dir: dir.clone(),
        resources,
        attributes,
        run_id: hex::encode(rand::rng().random::<[u8; 16]>()),
        logs: Arc::new(NoLogs),
        credentials: Arc::default(),
        questions: Arc::default(),
        usage: None,
        secrets: Arc::default(),
        execs: Arc::new(Execs::new(Arc::new(NoContainers))),
        token: None,
    };
    let mut identity = Some(identity);
    while let Some(now) = identity.take() {
        let link = Link::new(settings.clone(), now, handle.clone(), Arc::clone(&board));
        if options.cut_every_s == 0 {
            link.run().await;
            return;
        }
        let base = Duration::from_secs(options.cut_every_s);
        let until_cut = base.mul_f64(0.5 + rand::rng().random::<f64>());
        // Elapsing is the cut; the next link begins with what is on disk.
        let _ = tokio::time::timeout(until_cut, link.run()).await;
        identity = Identity::load(&dir).ok().flatten();
    }
}

#[derive(Debug)]
struct NoLogs;

impl LogPlaces for NoLogs {
    fn find(&self, _task_arn: &str, _container_name: &str) -> Option<LogPlace> {
        None
    }
}

#[derive(Debug)]
struct NoContainers;

impl ExecPlaces for NoContainers {
    fn find(&self, _: &TaskArn, _: &ContainerName) -> Result<ExecPlace, String> {
        Err("the containers of a hollow node are only imagined: nothing runs in them".to_owned())
    }
}

/// What happens to a task next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Runs,
    Ends,
}

struct Imagined {
    task: Task,
    assigned_ms: u64,
}

struct HollowNode {
    number: u32,
    options: HollowOptions,
    board: Arc<Board>,
    line: Line,
    generation: u64,
    tasks: BTreeMap<TaskArn, Imagined>,
    schedule: BTreeMap<(u64, TaskArn), Next>,
    results: Results,
}

impl HollowNode {
    fn new(
        number: u32,
        options: HollowOptions,
        board: Arc<Board>,
        resources: Resources,
        results: Results,
    ) -> Self {
        Self {
            number,
            options,
            board,
            line: Line::new(resources),
            generation: 0,
            tasks: BTreeMap::new(),
            schedule: BTreeMap::new(),
            results,
        }
    }

    async fn run(mut self, mut inbox: mpsc::Receiver<Event>) {
        loop {
            let next_ms = self.schedule.keys().next().map(|(at_ms, _)| *at_ms);
            let wait = next_ms.map(|at_ms| Duration::from_millis(at_ms.saturating_sub(now_ms())));
            tokio::select! {
                event = inbox.recv() => match event {
                    Some(Event::Update { update, done }) => {
                        // A link that was cut does not wait for the answer.
                        let _ = done.send(self.update(&update));
                    }
                    Some(Event::Status(asker)) => drop(asker.send(self.status())),
                    None => return,
                },
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => {
                    self.happen();
                }
            }
        }
    }

    fn status(&self) -> Status {
        let live = self.tasks.values().filter(|held| !held.task.is_stopped()).count();
        Status {
            registered: self.line.registered(),
            reserved: self.line.reserved(),
            generation: self.generation,
            live,
            kept: self.tasks.len() - live,
            waiting: 0,
        }
    }

    fn update(&mut self, update: &Update) -> Result<(), crate::node::Refused> {
        let standing = |held: &Imagined| match (held.task.is_stopped(), &held.task.stop) {
            (true, _) => Standing::Stopped,
            (false, Some(_)) => Standing::Stopping,
            (false, None) => Standing::Live,
        };
        let here = match update.asks_about() {
            Some(asked) => {
                let held = |arn| self.tasks.get_key_value(arn);
                let here = asked.into_iter().filter_map(held);
                here.map(|(arn, held)| (arn.clone(), standing(held))).collect()
            }
            None => self.tasks.iter().map(|(arn, held)| (arn.clone(), standing(held))).collect(),
        };
        let plan = plan(self.generation, &here, update)?;
        self.generation = update.generation();
        let now = now_ms();
        let stop = |reason: Option<String>| Stop {
            code: StopCode::UserInitiated,
            reason: reason.unwrap_or_else(|| "Task stopped".to_owned()),
            at_ms: now,
            given_up: false,
        };
        for assignment in plan.stop {
            self.stop(&assignment.task.arn, stop(assignment.stop_reason));
        }
        for arn in plan.stop_unnamed {
            self.stop(&arn, stop(None));
        }
        for arn in plan.forget {
            self.board.retract(&arn);
            self.tasks.remove(&arn);
        }
        for arn in plan.show_again {
            self.show(&arn);
        }
        for assignment in plan.never_begin {
            let stop = stop(assignment.stop_reason);
            self.take(Task::never_begun(assignment.task, "hollow", stop), now);
        }
        for assignment in plan.begin {
            self.begin(assignment.task, now);
        }
        Ok(())
    }

    fn begin(&mut self, spec: TaskSpec, now: u64) {
        match self.line.reserve(&spec.arn, spec.reservation()) {
            Ok(()) => {
                let at_ms = now + self.options.start_ms;
                self.schedule.insert((at_ms, spec.arn.clone()), Next::Runs);
                self.take(Task::accepted(spec, "hollow"), now);
            }
            Err(refusal) => {
                let code = StopCode::TaskFailedToStart;
                let stop = Stop { code, reason: refusal.to_string(), at_ms: now, given_up: false };
                self.take(Task::never_begun(spec, "hollow", stop), now);
            }
        }
    }

    fn take(&mut self, task: Task, assigned_ms: u64) {
        let arn = task.spec.arn.clone();
        self.tasks.insert(arn.clone(), Imagined { task, assigned_ms });
        self.show(&arn);
    }

    fn show(&self, arn: &TaskArn) {
        if let Some(held) = self.tasks.get(arn) {
            self.board.publish(held.task.report());
        }
    }

    fn stop(&mut self, arn: &TaskArn, stop: Stop) {
        let Some(held) = self.tasks.get_mut(arn) else { return };
        self.schedule.insert((stop.at_ms + self.options.stop_ms, arn.clone()), Next::Ends);
        held.task.stop = Some(stop);
        held.task.version += 1;
        held.task.status = TaskStatus::Stopping;
        self.show(arn);
    }

    fn happen(&mut self) {
        let now = now_ms();
        while let Some(((at_ms, arn), next)) = self.schedule.pop_first() {
            if now < at_ms {
                self.schedule.insert((at_ms, arn), next);
                return;
            }
            match next {
                Next::Runs => self.runs(&arn, now),
                Next::Ends => self.ends(&arn, now),
            }
        }
    }

    fn runs(&mut self, arn: &TaskArn, now: u64) {
        let Some(held) = self.tasks.get_mut(arn) else { return };
        // A stop may have come first.
        if held.task.status != TaskStatus::Pending {
            return;
        }
        held.task.status = TaskStatus::Running;
        held.task.started_at_ms = Some(now);
        held.task.version += 1;
        for (container, spec) in held.task.containers.iter_mut().zip(&held.task.spec.containers) {
            container.runs = 1;
            container.pull = Some(Pull { began_at_ms: now, ended_at_ms: now });
            container.status = ContainerStatus::Running;
            container.started_at_ms = Some(now);
            // What is imagined is well.
            container.health = spec.health_check.as_ref().map(|_| Health {
                status: HealthStatus::Healthy,
                since_ms: now,
                exit_code: Some(0),
                output: String::new(),
            });
        }
        if 0 < self.options.run_s {
            let at_ms = now + self.options.run_s * 1000;
            self.schedule.insert((at_ms, arn.clone()), Next::Ends);
        }
        self.show(arn);
    }

    fn ends(&mut self, arn: &TaskArn, now: u64) {
        let fails = rand::rng().random_range(0..100) < self.options.fail_percent;
        let Some(held) = self.tasks.get_mut(arn) else { return };
        if held.task.is_stopped() {
            return;
        }
        held.task.version += 1;
        held.task.stop.get_or_insert_with(|| Stop {
            code: StopCode::EssentialContainerExited,
            reason: "Essential container in task exited".to_owned(),
            at_ms: now,
            given_up: false,
        });
        held.task.status = TaskStatus::Stopped;
        held.task.stopped_at_ms = Some(now);
        for container in &mut held.task.containers {
            container.status = ContainerStatus::Stopped;
            container.exit_code = (0 < container.runs).then_some(i32::from(fails));
            container.finished_at_ms = container.started_at_ms.map(|_| now);
        }
        self.line.release(arn);
        self.note(arn);
        self.show(arn);
    }

    /// Adds a line to the results.
    fn note(&self, arn: &TaskArn) {
        let Some(held) = self.tasks.get(arn) else { return };
        let time = |at_ms: Option<u64>| at_ms.map_or_else(String::new, |at_ms| at_ms.to_string());
        let Task { started_at_ms, stopped_at_ms, stop, .. } = &held.task;
        note(
            &self.results,
            format_args!(
                "{},{},{},{},{},{}",
                self.number,
                arn.id(),
                held.assigned_ms,
                time(*started_at_ms),
                time(*stopped_at_ms),
                stop.as_ref().map_or("", |stop| stop.code.as_str()),
            ),
        );
    }
}
