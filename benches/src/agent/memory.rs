//! What a container and what nothing at all costs in memory, as the kernel counts it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

use super::launch;
use super::subject::{Network, Subject};

/// Containers over which the cost of one is told.
const CONTAINERS: usize = 20;

/// How long daemons are left alone before what they hold at rest is looked at: who gives memory
/// back does so after a while.
const REST_S: u64 = 25;

/// One subject.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    pub(crate) subject: &'static str,
    /// The process beside each container.
    pub(crate) process: &'static str,
    /// Its proportional set, on average.
    pub(crate) pss_kib: f64,
    /// The resident set of the daemons after all launches, without a container.
    pub(crate) daemons_rss_mib: f64,
}

/// Every subject that has a process beside its containers; why one could not be measured goes to
/// `missing`.
pub(crate) fn compare(
    subjects: &[Box<dyn Subject>],
    missing: &mut Vec<String>,
) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for subject in subjects {
        let Some(process) = subject.beside() else { continue };
        match measure(subject.as_ref(), process) {
            Ok(row) => rows.push(row),
            Err(error) => missing.push(format!("memory of {}: {error:#}", subject.name())),
        }
        subject.clear().with_context(|| format!("clear {}", subject.name()))?;
    }
    Ok(rows)
}

fn measure(subject: &dyn Subject, process: &'static str) -> anyhow::Result<Row> {
    std::thread::sleep(Duration::from_secs(REST_S));
    let daemons: u64 = subject.daemons().into_iter().map(rss_kib).sum();
    launch::run(vec![subject.launcher(Network::None)?], CONTAINERS)?;
    Ok(Row {
        subject: subject.name(),
        process,
        pss_kib: pss_kib(process) as f64 / CONTAINERS as f64,
        daemons_rss_mib: daemons as f64 / 1024.0,
    })
}

/// The proportional sets of all processes of that name in this network namespace, together.
pub(crate) fn pss_kib(comm: &str) -> u64 {
    let own = fs::read_link("/proc/self/ns/net").ok();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_it = |path: &Path| {
        fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim_end() == comm)
            && fs::read_link(path.join("ns/net")).ok() == own
    };
    let ours = processes.map(|entry| entry.path()).filter(|path| is_it(path));
    ours.map(|path| field(&path.join("smaps_rollup"), "Pss:")).sum()
}

/// The resident set of a process; 0 of one that is gone.
pub(crate) fn rss_kib(pid: u32) -> u64 {
    field(Path::new(&format!("/proc/{pid}/status")), "VmRSS:")
}

fn field(path: &Path, name: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Seconds of processor time that a process has used.
pub(crate) fn cpu_s(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    // proc_pid_stat(5): fields 14 and 15, in ticks of 1/100 s on every Linux of ours.
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks.filter_map(|text| text.parse::<f64>().ok()).sum::<f64>() / 100.0
}
