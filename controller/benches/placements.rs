//! How many durable placements a second one controller makes, on a growing cluster, against a floor
//! measured in the same run: the same bytes appended to a file and fsynced as often.
//!
//! Then every task is reported as running, and the resident set says what a running task takes.
//! `cargo bench -p loadline-controller` prints the table; `-- TASKS CALLERS [NODES]` changes the
//! load.
//! Quote the ratios, not the figures: they hold for the machine and its load at that moment.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use loadline_controller::command::{
    DefinitionRef, NodeConnected, PropagateTags, REPORTS_MAX, RegisterNode, RegisterTaskDefinition,
    RunTask, TaskReports,
};
use loadline_controller::engine::{Engine, Options};
use loadline_controller::state::{ClusterName, DefinitionBody, Family, Scope};
use loadline_controller::store::RedbStore;
use loadline_model::{
    ContainerName, ContainerReport, ContainerSpec, ContainerStatus, HealthStatus, Resources,
    TaskArn, TaskReport, TaskStatus,
};

/// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Nodes of each round.
const NODES: [u64; 3] = [100, 1_000, 10_000];

fn main() -> Result<()> {
    let numbers: Vec<u64> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let tasks = numbers.first().copied().unwrap_or(20_000);
    let callers = numbers.get(1).copied().unwrap_or(1_000).max(1);
    let runtime = tokio::runtime::Runtime::new().context("start the runtime")?;
    println!("{tasks} tasks, {callers} callers at once");
    println!("| nodes | placements/s | floor/s | ratio | p50 ms | p99 ms | bytes/task | open s |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    let rounds = numbers.get(2).map_or_else(|| NODES.to_vec(), |nodes| vec![*nodes]);
    for nodes in rounds {
        let folder = tempfile::tempdir().context("make a folder")?;
        let round = runtime.block_on(round(folder.path(), nodes, tasks, callers))?;
        let floor = floor(folder.path(), tasks, callers, round.record_bytes)?;
        let ratio = round.per_s / floor;
        println!(
            "| {nodes} | {:.0} | {floor:.0} | {ratio:.2} | {:.1} | {:.1} | {} | {:.2} |",
            round.per_s,
            round.p50.as_secs_f64() * 1e3,
            round.p99.as_secs_f64() * 1e3,
            round.memory_bytes / tasks,
            round.open.as_secs_f64(),
        );
    }
    Ok(())
}

struct Round {
    per_s: f64,
    p50: Duration,
    p99: Duration,
    /// Growth of the resident set over the placements and the reports that follow.
    memory_bytes: u64,
    /// Of one task on disk.
    record_bytes: usize,
    /// Reading everything back.
    open: Duration,
}

async fn round(folder: &Path, nodes: u64, tasks: u64, callers: u64) -> Result<Round> {
    let file = folder.join("store.redb");
    let (engine, owner) = Engine::open(Box::new(RedbStore::open(&file)?), options())?;
    engine.call(definition()?).await?;
    let joins = (0..nodes).map(|n| tokio::spawn(join(engine.clone(), n)));
    for join in joins.collect::<Vec<_>>() {
        join.await.context("a node's join ended early")??;
    }
    let before = resident_bytes()?;
    let start = Instant::now();
    let calls = (0..callers).map(|_| tokio::spawn(caller(engine.clone(), tasks / callers)));
    let mut times = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        times.extend(call.await.context("a caller ended early")??);
    }
    let took = start.elapsed();
    times.sort_unstable();
    ensure!(!times.is_empty(), "fewer tasks than callers: nothing was placed");
    run_all(&engine).await?;
    let memory_bytes = resident_bytes()?.saturating_sub(before);
    let view = engine.snapshot();
    let some = view.tasks_in(&cluster()?, None).next().context("no task was placed")?;
    let record_bytes = serde_json::to_vec(some.as_ref())?.len();
    engine.stop();
    ensure!(owner.join().is_ok(), "the owner panicked");
    drop((engine, view));
    let start = Instant::now();
    let (again, _owner) = Engine::open(Box::new(RedbStore::open(&file)?), options())?;
    let open = start.elapsed();
    let there = again.snapshot().tasks_in(&cluster()?, None).count();
    ensure!(there == times.len(), "{there} of {} tasks came back", times.len());
    Ok(Round {
        per_s: times.len() as f64 / took.as_secs_f64(),
        p50: times[times.len() / 2],
        p99: times[times.len() * 99 / 100],
        memory_bytes,
        record_bytes,
        open,
    })
}

/// Every task is reported as running, as its node would.
async fn run_all(engine: &Engine) -> Result<()> {
    let view = engine.snapshot();
    for node in view.nodes_in(&cluster()?, None) {
        let tasks: Vec<_> = node.tasks.iter().collect();
        for some in tasks.chunks(REPORTS_MAX) {
            let reports = some.iter().map(|arn| running(arn)).collect::<Result<_>>()?;
            let node = node.record.arn.clone();
            engine.call(TaskReports { node, reports }).await?;
        }
    }
    Ok(())
}

fn running(arn: &TaskArn) -> Result<TaskReport> {
    let container = ContainerReport {
        name: ContainerName::parse("main")?,
        runtime_id: Some(format!("{}-main", arn.id())),
        image_digest: Some(format!("sha256:{}", "0a".repeat(32))),
        status: ContainerStatus::Running,
        exit_code: None,
        reason: None,
        started_at_ms: Some(1),
        finished_at_ms: None,
        health: HealthStatus::Unknown,
        restarts: 0,
        network_bindings: Vec::new(),
        addresses: None,
    };
    Ok(TaskReport {
        task: arn.clone(),
        version: 1,
        status: TaskStatus::Running,
        containers: vec![container],
        stop_code: None,
        stopped_reason: None,
        pull_started_at_ms: Some(1),
        pull_stopped_at_ms: Some(1),
        started_at_ms: Some(1),
        stopping_at_ms: None,
        stopped_at_ms: None,
    })
}

async fn caller(engine: Engine, count: u64) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    for _ in 0..count {
        let start = Instant::now();
        let ran = engine.call(run()?).await?;
        ensure!(ran.tasks.len() == 1, "not placed: {:?}", ran.failures);
        times.push(start.elapsed());
    }
    Ok(times)
}

/// The same number of records of the same size, `callers` of them for each fsync. Records a second.
fn floor(folder: &Path, tasks: u64, callers: u64, record_bytes: usize) -> Result<f64> {
    let mut file = File::create(folder.join("floor"))?;
    let batch = vec![b'x'; record_bytes * usize::try_from(callers)?];
    let start = Instant::now();
    for _ in 0..tasks / callers {
        file.write_all(&batch)?;
        file.sync_data()?;
    }
    Ok(tasks as f64 / start.elapsed().as_secs_f64())
}

fn options() -> Options {
    let mut options = Options::new(Scope {
        partition: "aws".into(),
        region: "us-east-1".into(),
        account: "000000000000".into(),
    });
    // Nobody sends signs of life here.
    options.rules.lease_ms = u64::MAX;
    options
}

fn cluster() -> Result<ClusterName> {
    Ok(ClusterName::parse("default")?)
}

async fn join(engine: Engine, n: u64) -> Result<()> {
    let scope = options().scope;
    let node = scope.instance_arn(&cluster()?, &format!("{n:032x}")).context("a node's ARN")?;
    let resources = Resources { cpu_units: 1 << 20, memory_mib: 1 << 20 };
    let agent_version = "bench".into();
    let attributes = Vec::new();
    let register = RegisterNode { node: node.clone(), resources, attributes, agent_version };
    engine.call(register).await?;
    engine.call(NodeConnected { node, run_id: "bench".into(), generation: 0 }).await?;
    Ok(())
}

fn definition() -> Result<RegisterTaskDefinition> {
    let container = ContainerSpec {
        cpu_units: 10,
        memory_mib: Some(10),
        ..ContainerSpec::new(ContainerName::parse("main")?, "probe:latest")
    };
    let body = DefinitionBody::new(Family::parse("web")?, vec![container]);
    Ok(RegisterTaskDefinition { body, by: None })
}

fn run() -> Result<RunTask> {
    Ok(RunTask {
        cluster: cluster()?,
        definition: DefinitionRef { family: Family::parse("web")?, revision: None },
        count: 1,
        overrides: None,
        group: None,
        started_by: None,
        execute_command: false,
        client_token: None,
        tags: Vec::new(),
        propagate_tags: PropagateTags::None,
        constraints: Vec::new(),
        strategy: Vec::new(),
    })
}

/// The resident set of this process, from /proc/self/statm (its second field, in pages).
fn resident_bytes() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").context("read /proc/self/statm")?;
    let pages = text.split(' ').nth(1).context("/proc/self/statm has no second field")?;
    Ok(pages.parse::<u64>()? * 4096)
}
