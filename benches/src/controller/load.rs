//! The load: clients that run tasks as fast as they get answers, and one that reads meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;

use crate::client::{Client, ECS};
use crate::cluster::Cluster;
use crate::report::Times;

/// Tasks of one RunTask: as many as ECS allows.
const TASKS_PER_CALL: u64 = 10;
/// As little memory as a container may have, in MiB.
const TASK_MIB: u64 = 4;

pub(crate) struct Loaded {
    pub(crate) placements: u64,
    pub(crate) took: Duration,
    pub(crate) run_task_ms: Times,
    pub(crate) read_ms: Times,
}

pub(crate) fn run(cluster: &Cluster, clients: usize, how_long: Duration) -> anyhow::Result<Loaded> {
    define(&mut cluster.client()?, "load", 1, TASK_MIB)?;
    let connections: Vec<Client> =
        (0..clients).map(|_| cluster.client()).collect::<anyhow::Result<_>>()?;
    let reader = cluster.client()?;
    let over = AtomicBool::new(false);
    let began = Instant::now();
    let (callers, read) = thread::scope(|scope| {
        let over = &over;
        let callers: Vec<_> =
            connections.into_iter().map(|client| scope.spawn(|| place(client, over))).collect();
        let reader = scope.spawn(|| look(reader, over));
        thread::sleep(how_long);
        over.store(true, Ordering::Relaxed);
        (callers.into_iter().map(join).collect::<Vec<_>>(), join(reader))
    });
    let took = began.elapsed();
    let (mut placements, mut times) = (0, Vec::new());
    for caller in callers {
        let (placed, of) = caller?;
        placements += placed;
        times.extend(of);
    }
    let (run_task_ms, read_ms) = (Times::of(times), Times::of(read?));
    Ok(Loaded { placements, took, run_task_ms, read_ms })
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
fn place(mut client: Client, over: &AtomicBool) -> anyhow::Result<(u64, Vec<f64>)> {
    let input = json!({ "taskDefinition": "load", "count": TASKS_PER_CALL });
    let (mut placed, mut times) = (0, Vec::new());
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        let answer = client.call(ECS, "RunTask", &input)?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
        placed += answer["tasks"].as_array().map_or(0, Vec::len) as u64;
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
