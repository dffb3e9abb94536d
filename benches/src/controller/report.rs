//! What was measured, as a table and as JSON.

use anyhow::Context as _;
use serde::Serialize;
use serde_json::json;

/// Milliseconds of calls.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Times {
    pub(crate) calls: usize,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Times {
    pub(crate) fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        // The nearest rank, so that it is one of the samples.
        let at = |share: f64| {
            let rank = (share * times.len() as f64).ceil() as usize;
            times.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
        };
        Self { calls: times.len(), p50: at(0.5), p99: at(0.99) }
    }
}

/// One controller with so many nodes.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Round {
    pub(crate) nodes: u32,
    /// Until every node had its session, one after the other.
    pub(crate) joined_s: f64,
    /// Of one processor, while nothing but heartbeats comes.
    pub(crate) rest_cpu_percent: f64,
    pub(crate) load_cpu_percent: f64,
    pub(crate) placements: u64,
    pub(crate) placements_per_s: f64,
    /// RunTask of 10 tasks, from many clients.
    pub(crate) run_task_ms: Times,
    /// DescribeClusters, from one client beside them.
    pub(crate) read_ms: Times,
    pub(crate) resident_mib: f64,
    pub(crate) mib_per_100k_tasks: f64,
    /// From a node's silence to its tasks running elsewhere.
    pub(crate) replaced_ms: f64,
}

pub(crate) fn json(rounds: &[Round], clients: usize) -> anyhow::Result<String> {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let all = json!({
        "kernel": kernel.trim(), "cpus": cpus, "clients": clients,
        "loadAverageAtTheEnd": load.split_whitespace().next(), "rounds": rounds,
    });
    serde_json::to_string_pretty(&all).context("write the results as JSON")
}

pub(crate) fn table(rounds: &[Round]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::ASCII_MARKDOWN);
    table.set_header([
        "nodes",
        "joined s",
        "rest cpu %",
        "placements/s",
        "RunTask p50 ms",
        "p99 ms",
        "read p50 ms",
        "p99 ms",
        "load cpu %",
        "RSS MiB",
        "MiB/100k tasks",
        "replaced ms",
    ]);
    for round in rounds {
        table.add_row([
            round.nodes.to_string(),
            format!("{:.1}", round.joined_s),
            format!("{:.0}", round.rest_cpu_percent),
            format!("{:.0}", round.placements_per_s),
            format!("{:.1}", round.run_task_ms.p50),
            format!("{:.1}", round.run_task_ms.p99),
            format!("{:.1}", round.read_ms.p50),
            format!("{:.1}", round.read_ms.p99),
            format!("{:.0}", round.load_cpu_percent),
            format!("{:.0}", round.resident_mib),
            format!("{:.0}", round.mib_per_100k_tasks),
            format!("{:.0}", round.replaced_ms),
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_samples() {
        let times = Times::of((1..=200).rev().map(f64::from).collect());
        assert_eq!((times.calls, times.p50, times.p99), (200, 100.0, 198.0));
        assert!(Times::of(Vec::new()).p50.is_nan());
    }
}
