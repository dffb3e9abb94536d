//! Measures.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use loadline_model::usage::{BlockUsage, ContainerUsage, NetworkUsage, TaskUsage};
use loadline_model::{ContainerStatus, NetworkMode};
use loadline_runtime::cgroup::{IoEntry, Stats};
use tokio::sync::watch;

use super::LinkCounters;
use crate::cgroups::CgroupsError;
use crate::clock::now_ms;
use crate::metadata::Directory;
use crate::task::Task;
use crate::task::workshop::Workshop;
use crate::text::chain;

/// A vCPU in CPU units.
const UNITS: u128 = 1024;
/// Page cache that nobody used lately: v1's line is of the group and all below it.
const CACHE: [&str; 2] = ["total_inactive_file", "inactive_file"];
/// Total time of the host's CPUs, in the kernel's ticks (100 a second for programs).
const STAT: &str = "/proc/stat";
const TICK_NS: u64 = 10_000_000;

/// One measurement of everything that runs.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// In the order of their ARNs.
    pub tasks: Vec<TaskUsage>,
    /// What was measured before, of each container by its runtime id.
    pub before: BTreeMap<String, Sample>,
}

/// What a rate is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When, Unix milliseconds.
    pub at_ms: u64,
    /// When, by the clock that nobody sets.
    pub at: Instant,
    /// CPU time since the container's start, in nanoseconds.
    pub cpu_ns: u64,
    /// CPU time of the whole host, in nanoseconds.
    pub host_cpu_ns: u64,
    /// Of its network.
    pub network: Option<NetworkUsage>,
}

/// Measures all containers, again and again.
#[derive(Debug)]
pub struct Meter {
    directory: Arc<Directory>,
    workshop: Arc<Workshop>,
    newest: watch::Sender<Arc<Measured>>,
    /// Samples from before, for rates.
    before: Mutex<BTreeMap<String, Sample>>,
}

impl Meter {
    /// One that has measured nothing yet.
    #[must_use]
    pub fn new(directory: Arc<Directory>, workshop: Arc<Workshop>) -> Self {
        let (newest, _) = watch::channel(Arc::default());
        Self { directory, workshop, newest, before: Mutex::default() }
    }

    /// The newest measurement, now and from now on.
    #[must_use]
    pub fn newest(&self) -> watch::Receiver<Arc<Measured>> {
        self.newest.subscribe()
    }

    /// Measures for ever.
    pub async fn run(self: Arc<Self>, every: Duration) {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let own = Arc::clone(&self);
            match tokio::task::spawn_blocking(move || own.measure()).await {
                Ok(measured) => drop(self.newest.send_replace(Arc::new(measured))),
                Err(error) => tracing::error!(%error, "the use of containers is not measured"),
            }
        }
    }

    /// Measures once. Blocking.
    #[must_use]
    pub fn measure(&self) -> Measured {
        let links = LinkCounters::read().unwrap_or_else(|error| {
            tracing::warn!(%error, "the counters of links can't be read");
            LinkCounters::default()
        });
        let host_cpu_ns = host_cpu_ns();
        let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        let mut measured = Measured { tasks: Vec::new(), before: before.clone() };
        let mut samples = BTreeMap::new();
        for task in self.directory.all() {
            let mut containers = Vec::new();
            for (at, known) in task.containers.iter().enumerate() {
                if known.status != ContainerStatus::Running {
                    continue;
                }
                let Some(stats) = self.workshop.stats(&task, at) else { continue };
                let network = self.network(&task, at, &links);
                let now = Sample {
                    at_ms: now_ms(),
                    at: Instant::now(),
                    cpu_ns: stats.cpu.usage_ns.unwrap_or(0),
                    host_cpu_ns,
                    network,
                };
                let id = task.runtime_id(at);
                let cpu_units = before.get(&id).and_then(|then| units(*then, now));
                samples.insert(id, now);
                containers.push(usage(&task, at, &stats, cpu_units, network));
            }
            if !containers.is_empty() {
                measured.tasks.push(TaskUsage {
                    task: task.spec.arn.clone(),
                    at_ms: now_ms(),
                    shares_network: task.spec.network_mode == NetworkMode::Awsvpc,
                    containers,
                });
            }
        }
        // Those of containers that have gone are forgotten.
        *before = samples;
        measured
    }

    /// What a container's network has counted, where it has one of its own.
    #[must_use]
    pub fn network(&self, task: &Task, at: usize, links: &LinkCounters) -> Option<NetworkUsage> {
        let place = task.network.attachment(task.network_mode(at), at)?;
        links.behind(&self.workshop.link_of(place))
    }

    /// A sample from before the newest measurement, of a container's runtime id.
    #[must_use]
    pub fn sample(&self, id: &str) -> Option<Sample> {
        self.newest.borrow().before.get(id).copied()
    }
}

/// CPU units on average between two samples; `None` where the later one is of a newer start.
fn units(then: Sample, now: Sample) -> Option<u64> {
    let took_ns = now.at.checked_duration_since(then.at)?.as_nanos();
    let used_ns = u128::from(now.cpu_ns.checked_sub(then.cpu_ns)?);
    u64::try_from((used_ns * UNITS).checked_div(took_ns)?).ok()
}

/// CPU time of the whole host: busy and idle.
#[must_use]
pub fn host_cpu_ns() -> u64 {
    let text = std::fs::read_to_string(STAT).unwrap_or_default();
    // user, nice, system, idle, iowait, irq, softirq, steal; guests are in user (proc_stat(5)).
    let line = text.lines().next().unwrap_or_default();
    let ticks = line.split_ascii_whitespace().skip(1).take(8).flat_map(str::parse::<u64>);
    ticks.fold(0, u64::saturating_add).saturating_mul(TICK_NS)
}

/// Page cache that nobody used lately.
#[must_use]
pub fn cache_bytes(stats: &Stats) -> u64 {
    let found = CACHE.iter().find_map(|name| stats.memory.stat.get(*name));
    found.copied().unwrap_or(0)
}

fn usage(
    task: &Task,
    at: usize,
    stats: &Stats,
    cpu_units: Option<u64>,
    network: Option<NetworkUsage>,
) -> ContainerUsage {
    let sum = |entries: &[IoEntry], operation: &str| {
        let own = entries.iter().filter(|entry| entry.operation == operation);
        own.map(|entry| entry.value).fold(0, u64::saturating_add)
    };
    let memory_bytes = stats.memory.usage_bytes.unwrap_or(0);
    ContainerUsage {
        name: task.spec.containers[at].name.clone(),
        cpu_ns: stats.cpu.usage_ns.unwrap_or(0),
        cpu_units,
        memory_bytes,
        cache_bytes: cache_bytes(stats),
        memory_peak_bytes: stats.memory.usage_bytes_max.unwrap_or(memory_bytes),
        memory_limit_bytes: stats.memory.limit_bytes,
        processes: stats.pids.current.unwrap_or(0),
        network,
        block: BlockUsage {
            read_bytes: sum(&stats.io.bytes, "Read"),
            write_bytes: sum(&stats.io.bytes, "Write"),
            reads: sum(&stats.io.operations, "Read"),
            writes: sum(&stats.io.operations, "Write"),
        },
    }
}

/// What a group has used, or nothing where it can't be read, with a word to the log.
pub(crate) fn or_none(stats: Result<Option<Stats>, CgroupsError>) -> Option<Stats> {
    stats.unwrap_or_else(|error| {
        // A container that ends while it is measured is no news.
        tracing::debug!(error = chain(&error), "a container's use can't be read");
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_two_samples_of_the_same_start() {
        let at = Instant::now();
        let sample = |later_ms, cpu_ns| Sample {
            at_ms: 0,
            at: at + Duration::from_millis(later_ms),
            cpu_ns,
            host_cpu_ns: 0,
            network: None,
        };
        let second = 1_000_000_000;
        assert_eq!(units(sample(0, 0), sample(1000, second)), Some(1024));
        assert_eq!(units(sample(0, second), sample(2000, second + second / 2)), Some(256));
        assert_eq!(units(sample(0, 5), sample(1000, 4)), None, "it was started again");
        assert_eq!(units(sample(0, 0), sample(0, 5)), None);
    }

    #[test]
    fn the_host_has_spent_time() {
        assert!(0 < host_cpu_ns());
    }
}
