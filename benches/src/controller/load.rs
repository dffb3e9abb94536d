//! The load: clients that run tasks as fast as they get answers, and one that reads meanwhile.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;

use crate::cluster::{Cluster, Usage};
use loadline_bench::client::{Client, ECS};
use loadline_bench::times::Times;

/// Tasks of one RunTask: as many as ECS allows.
const TASKS_PER_CALL: u64 = 10;
/// As little memory as a container may have, in MiB.
const TASK_MIB: u64 = 4;

pub(crate) struct Loaded {
    pub(crate) placements: u64,
    pub(crate) took: Duration,
    /// Of the controller at the end.
    pub(crate) usage: Usage,
    pub(crate) run_task_ms: Times,
    pub(crate) read_ms: Times,
    /// What the controller's resident set grew by for each task of the second half: what a store
    /// and an allocator keep in any case is there by then.
    pub(crate) bytes_per_task: f64,
}

/// How long a load lasts: both must be reached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) how_long: Duration,
    pub(crate) tasks: u64,
}

/// How often it is looked how far a load is.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long the nodes may take to report what they were given, before the memory is read.
const REPORT: Duration = Duration::from_secs(5);

pub(crate) fn run(cluster: &Cluster, clients: usize, extent: Extent) -> anyhow::Result<Loaded> {
    define(&mut cluster.client()?, "load", 1, TASK_MIB)?;
    let connections: Vec<Client> =
        (0..clients).map(|_| cluster.client()).collect::<anyhow::Result<_>>()?;
    let reader = cluster.client()?;
    let (over, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let began = Instant::now();
    let (callers, read, half) = thread::scope(|scope| {
        let (over, count) = (&over, &count);
        let callers: Vec<_> = connections
            .into_iter()
            .map(|client| scope.spawn(|| place(client, over, count)))
            .collect();
        let reader = scope.spawn(|| look(reader, over));
        let half = wait(cluster, extent, count, began);
        over.store(true, Ordering::Relaxed);
        (callers.into_iter().map(join).collect::<Vec<_>>(), join(reader), half)
    });
    let (took, usage) = (began.elapsed(), cluster.usage()?);
    let (half_tasks, half_bytes) = half?;
    let (mut placements, mut times) = (0, Vec::new());
    for caller in callers {
        let (placed, of) = caller?;
        placements += placed;
        times.extend(of);
    }
    let (run_task_ms, read_ms) = (Times::of(times), Times::of(read?));
    thread::sleep(REPORT);
    let grown = cluster.usage()?.resident_bytes.saturating_sub(half_bytes);
    let bytes_per_task = grown as f64 / placements.saturating_sub(half_tasks).max(1) as f64;
    Ok(Loaded { placements, took, usage, run_task_ms, read_ms, bytes_per_task })
}

/// Waits for the end; how many tasks there were at half of it, and the resident set then.
fn wait(
    cluster: &Cluster,
    extent: Extent,
    count: &AtomicU64,
    began: Instant,
) -> anyhow::Result<(u64, u64)> {
    let mut half = None;
    loop {
        let (tasks, elapsed) = (count.load(Ordering::Relaxed), began.elapsed());
        if half.is_none() && extent.tasks <= tasks * 2 && extent.how_long <= elapsed * 2 {
            half = Some((tasks, cluster.usage()?.resident_bytes));
        }
        if extent.tasks <= tasks && extent.how_long <= elapsed {
            return half.context("the load ended before its half");
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// The panic of a thread is that of the program.
fn join<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Registers a task definition of one container.
pub(crate) fn define(
    client: &mut Client,
    family: &str,
    cpu_units: u64,
    memory_mib: u64,
) -> anyhow::Result<()> {
    let container =
        json!({ "name": "main", "image": "hollow", "cpu": cpu_units, "memory": memory_mib });
    let input = json!({ "family": family, "containerDefinitions": [container] });
    client.call(ECS, "RegisterTaskDefinition", &input).map(drop).context("define what is run")
}

/// How many tasks one client placed, and how long each call took, in milliseconds.
fn place(
    mut client: Client,
    over: &AtomicBool,
    count: &AtomicU64,
) -> anyhow::Result<(u64, Vec<f64>)> {
    let input = json!({ "taskDefinition": "load", "count": TASKS_PER_CALL });
    let (mut placed, mut times) = (0, Vec::new());
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        let answer = client.call(ECS, "RunTask", &input)?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
        let tasks = answer["tasks"].as_array().map_or(0, Vec::len) as u64;
        placed += tasks;
        count.fetch_add(tasks, Ordering::Relaxed);
    }
    Ok((placed, times))
}

fn look(mut client: Client, over: &AtomicBool) -> anyhow::Result<Vec<f64>> {
    let mut times = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        client.call(ECS, "DescribeClusters", &json!({ "clusters": ["default"] }))?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
        thread::sleep(Duration::from_millis(5));
    }
    Ok(times)
}
