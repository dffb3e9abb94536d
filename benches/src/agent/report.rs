//! The results: ratios, goals, and tables of them.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::{density, launch, memory};

/// What the others are compared with.
pub(crate) const OURS: &str = "loadline";

/// All that is reported.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    pub(crate) kernel: String,
    pub(crate) cpus: usize,
    /// /proc/loadavg before anything was started.
    pub(crate) load_before: String,
    pub(crate) launches: Vec<launch::Row>,
    pub(crate) memory: Vec<memory::Row>,
    pub(crate) density: Vec<density::Row>,
    /// Peers that could not be started, and why.
    pub(crate) missing: Vec<String>,
    pub(crate) goals: Vec<Goal>,
}

/// Something that was promised.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Goal {
    pub(crate) what: String,
    pub(crate) bound: f64,
    pub(crate) is_upper: bool,
    pub(crate) seen: f64,
    pub(crate) is_met: bool,
}

impl Summary {
    pub(crate) fn of(
        load_before: &str,
        launches: Vec<launch::Row>,
        memory: Vec<memory::Row>,
        density: Vec<density::Row>,
        missing: Vec<String>,
    ) -> Self {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let mut summary = Self {
            kernel: kernel.trim().to_owned(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            load_before: load_before.trim().to_owned(),
            launches,
            memory,
            density,
            missing,
            goals: Vec::new(),
        };
        summary.goals = goals(&summary);
        summary
    }

    /// Loadline's row of the same scenario.
    pub(crate) fn ours(&self, row: &launch::Row) -> Option<&launch::Row> {
        let is_same = |other: &&launch::Row| {
            other.subject == OURS && other.network == row.network && other.at_once == row.at_once
        };
        self.launches.iter().find(is_same).filter(|row| row.missing.is_none())
    }

    /// How many times this one's rate Loadline launches.
    pub(crate) fn times_the_rate(&self, row: &launch::Row) -> Option<f64> {
        let ours = self.ours(row).filter(|_| row.missing.is_none())?;
        Some(ours.per_second / row.per_second)
    }
}

fn goals(summary: &Summary) -> Vec<Goal> {
    let mut goals = Vec::new();
    let mut add = |what: String, bound: f64, is_upper: bool, seen: f64| {
        let is_met = if is_upper { seen <= bound } else { bound <= seen };
        goals.push(Goal { what, bound, is_upper, seen, is_met });
    };
    for row in summary.launches.iter().filter(|row| row.subject == "docker run -d") {
        if let Some(times) = summary.times_the_rate(row) {
            let (network, at_once) = (row.network.name(), row.at_once);
            let what = format!("launches/s, {at_once} at once, {network}: times docker run -d");
            add(what, 10.0, false, times);
        }
    }
    for row in summary.memory.iter().filter(|row| row.subject == OURS) {
        add("supervision of a container, PSS in KiB".to_owned(), 512.0, true, row.pss_kib);
        add("agent at rest, RSS in MiB".to_owned(), 15.0, true, row.daemons_rss_mib);
    }
    for row in &summary.density {
        let (network, tasks) = (row.network.name(), row.tasks);
        let times = row.last_ms.p99 / row.first_ms.p99;
        let what = format!("p99 of a launch at {tasks}, {network}: times that at first");
        add(what, 2.0, true, times);
        let what = format!("supervision of a container at {tasks}, {network}, PSS in KiB");
        add(what, 512.0, true, row.supervisor_pss_kib);
    }
    goals
}

/// Tables.
pub(crate) fn text(summary: &Summary) -> String {
    let Summary { kernel, cpus, load_before, .. } = summary;
    let mut text = format!("Linux {kernel}, {cpus} processors, load before: {load_before}\n\n");
    let _ = writeln!(text, "{}\n", launches(summary));
    let _ = writeln!(text, "{}\n", costs(summary));
    if !summary.density.is_empty() {
        let _ = writeln!(text, "{}\n", densities(summary));
    }
    let _ = writeln!(text, "{}", met(summary));
    let unmeasured = summary.launches.iter().filter_map(|row| {
        let why = row.missing.as_ref()?;
        Some(format!("{}, {} at once, {}: {why}", row.subject, row.at_once, row.network.name()))
    });
    for missing in summary.missing.iter().cloned().chain(unmeasured) {
        let _ = writeln!(text, "NOT MEASURED: {missing}");
    }
    text
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_header(header.to_vec());
    table
}

fn right(mut table: Table, from: usize) -> Table {
    for column in table.column_iter_mut().skip(from) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn launches(summary: &Summary) -> Table {
    let mut table = table(&[
        "network",
        "at once",
        "subject",
        "per s",
        "p50 ms",
        "p99 ms",
        "loadline's rate is",
    ]);
    for row in summary.launches.iter().filter(|row| row.missing.is_none()) {
        let times = summary.times_the_rate(row).filter(|_| row.subject != OURS);
        table.add_row([
            row.network.name().to_owned(),
            row.at_once.to_string(),
            row.subject.to_owned(),
            format!("{:.1}", row.per_second),
            format!("{:.1}", row.launch_ms.p50),
            format!("{:.1}", row.launch_ms.p99),
            times.map_or_else(String::new, |times| format!("{times:.1} x")),
        ]);
    }
    right(table, 3)
}

fn costs(summary: &Summary) -> Table {
    let mut table = table(&["subject", "beside each container", "PSS KiB", "daemons RSS MiB"]);
    for row in &summary.memory {
        table.add_row([
            row.subject.to_owned(),
            row.process.to_owned(),
            format!("{:.0}", row.pss_kib),
            format!("{:.1}", row.daemons_rss_mib),
        ]);
    }
    right(table, 2)
}

fn densities(summary: &Summary) -> Table {
    let mut table = table(&[
        "network",
        "tasks",
        "first p50 ms",
        "p99",
        "last p50 ms",
        "p99",
        "fill per s",
        "supervisor PSS KiB",
        "agent RSS MiB empty",
        "full",
        "rest cpu %",
        "stopped s",
    ]);
    for row in &summary.density {
        table.add_row([
            row.network.name().to_owned(),
            row.tasks.to_string(),
            format!("{:.1}", row.first_ms.p50),
            format!("{:.1}", row.first_ms.p99),
            format!("{:.1}", row.last_ms.p50),
            format!("{:.1}", row.last_ms.p99),
            format!("{:.0}", row.fill_per_second),
            format!("{:.0}", row.supervisor_pss_kib),
            format!("{:.1}", row.agent_rss_empty_mib),
            format!("{:.1}", row.agent_rss_mib),
            format!("{:.1}", row.agent_rest_cpu_percent),
            format!("{:.1}", row.stopped_s),
        ]);
    }
    right(table, 1)
}

fn met(summary: &Summary) -> Table {
    let mut table = table(&["goal", "bound", "seen", ""]);
    for Goal { what, bound, is_upper, seen, is_met } in &summary.goals {
        let sign = if *is_upper { "<=" } else { ">=" };
        let verdict = if *is_met { "met" } else { "missed" };
        let (bound, seen) = (format!("{sign} {bound}"), format!("{seen:.1}"));
        table.add_row([what.clone(), bound, seen, verdict.to_owned()]);
    }
    table
}

#[cfg(test)]
mod tests {
    use loadline_bench::times::Times;

    use super::*;
    use crate::subject::Network;

    fn row(subject: &'static str, per_second: f64) -> launch::Row {
        let launch_ms = Times::of(vec![1.0]);
        let network = Network::None;
        launch::Row { network, at_once: 8, subject, per_second, launch_ms, missing: None }
    }

    fn summary(rows: Vec<launch::Row>) -> Summary {
        Summary::of("", rows, Vec::new(), Vec::new(), Vec::new())
    }

    #[test]
    fn a_goal_is_missed_where_the_peer_is_too_close() {
        let rows = vec![row(OURS, 90.0), row("docker run -d", 10.0), row("docker API", 9.0)];
        let summary = summary(rows);
        let [goal] = &summary.goals[..] else { panic!("{:?}", summary.goals) };
        assert!(!goal.is_met && (goal.seen - 9.0).abs() < 1e-9, "{goal:?}");
        assert!(text(&summary).contains("9.0 x"));
    }

    #[test]
    fn what_could_not_be_measured_is_said_and_gives_no_ratio() {
        let mut lost = row("docker run -d", f64::NAN);
        lost.missing = Some("no bridge".to_owned());
        let summary = summary(vec![row(OURS, 9.0), lost]);
        assert!(summary.goals.is_empty());
        assert!(text(&summary).contains("NOT MEASURED: docker run -d, 8 at once, none: no bridge"));
    }
}
