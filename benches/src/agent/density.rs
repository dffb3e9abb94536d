//! One node filled with idle tasks: is the last launch as fast as the first, what do they cost?

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use loadline_bench::times::Times;
use serde::Serialize;

use super::launch;
use super::loadline::{Loadline, define};
use super::memory::{cpu_s, pss_kib, rss_kib};
use super::place::Place;
use super::subject::{Launcher, Network, Subject as _};

/// Memory that each task reserves: the least that ECS advises.
const TASK_MIB: u64 = 6;

/// Launches one by one, of which the percentiles are made, at the start and at the end.
const SAMPLES: usize = 100;

/// How many are launched at once in between.
const FILLERS: usize = 8;

/// How long the full node is watched.
const REST_S: u64 = 10;

/// A node filled.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    pub(crate) network: Network,
    pub(crate) tasks: usize,
    /// The first launches, one by one.
    pub(crate) first_ms: Times,
    /// The last ones.
    pub(crate) last_ms: Times,
    /// Of those in between, several at once.
    pub(crate) fill_per_second: f64,
    pub(crate) supervisor_pss_kib: f64,
    pub(crate) agent_rss_empty_mib: f64,
    pub(crate) agent_rss_mib: f64,
    pub(crate) controller_rss_mib: f64,
    /// Of one processor, while nothing happens.
    pub(crate) agent_rest_cpu_percent: f64,
    /// Until all have stopped and nothing is left, in seconds.
    pub(crate) stopped_s: f64,
}

/// Fills a new node.
pub(crate) fn fill(
    place: &Place,
    programs: &Path,
    network: Network,
    tasks: usize,
) -> anyhow::Result<Row> {
    eprintln!("{tasks} idle tasks, {network:?}");
    let node = Loadline::start(place, programs)?;
    let (agent, controller) = node.pids();
    let agent_rss_empty_mib = mib(rss_kib(agent));
    define(&mut node.client()?, "idle", network, 0, TASK_MIB)?;
    let launchers = |count: usize| {
        let each = (0..count).map(|_| Ok(Box::new(node.launcher_of("idle")?) as Box<dyn Launcher>));
        each.collect::<anyhow::Result<Vec<_>>>()
    };
    let samples = SAMPLES.min(tasks / 2);
    let (first, _) = launch::run(launchers(1)?, samples).context("the first tasks")?;
    let between = tasks.saturating_sub(2 * samples);
    let (_, fill_s) = launch::run(launchers(FILLERS)?, between).context("the tasks between")?;
    let (last, _) = launch::run(launchers(1)?, samples).context("the last tasks")?;
    let before = cpu_s(agent);
    std::thread::sleep(Duration::from_secs(REST_S));
    let agent_rest_cpu_percent = (cpu_s(agent) - before) / REST_S as f64 * 100.0;
    let supervisor_pss_kib = pss_kib("loadline-superv") as f64 / tasks as f64;
    let (agent_rss_mib, controller_rss_mib) = (mib(rss_kib(agent)), mib(rss_kib(controller)));
    let began = Instant::now();
    node.clear()?;
    Ok(Row {
        network,
        tasks,
        first_ms: Times::of(first),
        last_ms: Times::of(last),
        fill_per_second: between as f64 / fill_s,
        supervisor_pss_kib,
        agent_rss_empty_mib,
        agent_rss_mib,
        controller_rss_mib,
        agent_rest_cpu_percent,
        stopped_s: began.elapsed().as_secs_f64(),
    })
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
