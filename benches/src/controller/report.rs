//! What was measured, as a table and as JSON.

use anyhow::Context as _;
use loadline_bench::times::Times;
use serde::Serialize;
use serde_json::json;

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
