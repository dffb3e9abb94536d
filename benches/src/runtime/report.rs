//! The summary as text.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};

use crate::stats::Ratio;
use crate::summary::{Goal, Row, Summary, Verdict};

/// Tables and what is to be doubted about them.
pub(crate) fn text(summary: &Summary) -> String {
    let mut text = String::new();
    let Summary { kernel, cpus, .. } = summary;
    let _ = writeln!(text, "Linux {kernel}, {cpus} processors; ratios are middles of all blocks,");
    let _ = writeln!(text, "in brackets the lowest and the highest block\n");
    let _ = writeln!(text, "{}\n", rows(summary));
    let _ = writeln!(text, "{}\n", subjects(summary));
    let _ = writeln!(text, "{}", goals(summary));
    for doubt in &summary.noise.doubts {
        let _ = writeln!(text, "NOISY: {doubt}; repeat on a quiet machine");
    }
    text
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header.to_vec());
    table
}

fn rows(summary: &Summary) -> Table {
    let mut table = table(&[
        "scenario",
        "subject",
        "p50 ms",
        "p90",
        "p99",
        "per s",
        "user ms",
        "sys ms",
        "RSS KiB",
        "x floor",
        "loadline is",
    ]);
    let mut scenario = "";
    for row in &summary.rows {
        let Row { wall_ms, per_second, user_ms, system_ms, .. } = row;
        let shown = if row.scenario == scenario { "" } else { row.scenario };
        scenario = row.scenario;
        let is_ours = row.subject == crate::subject::OURS;
        table.add_row(vec![
            shown.to_owned(),
            row.subject.clone(),
            format!("{:.2}", wall_ms.p50),
            format!("{:.2}", wall_ms.p90),
            format!("{:.2}", wall_ms.p99),
            format!("{per_second:.0}"),
            format!("{user_ms:.2}"),
            format!("{system_ms:.2}"),
            row.peak_rss_kib.to_string(),
            ratio(row.to_floor),
            if is_ours { String::new() } else { ratio(row.loadline_share) },
        ]);
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn subjects(summary: &Summary) -> Table {
    let mut table = table(&["subject", "version", "smallest memory limit that starts, KiB"]);
    for subject in &summary.subjects {
        let limit = subject.memory_limit_kib.map_or_else(|| "-".to_owned(), |kib| kib.to_string());
        table.add_row(vec![subject.name.clone(), subject.version.clone(), limit]);
    }
    table
}

fn goals(summary: &Summary) -> Table {
    let mut table = table(&["goal", "bound", "seen", ""]);
    for Goal { what, bound, is_upper, seen, verdict } in &summary.goals {
        let sign = if *is_upper { "<=" } else { ">=" };
        let verdict = match verdict {
            Verdict::Met => "met",
            Verdict::Missed => "missed",
            Verdict::TooNoisyToTell => "too noisy to tell",
            Verdict::NotMeasured => "not measured",
        };
        table.add_row(vec![
            what.clone(),
            format!("{sign} {bound}"),
            ratio(*seen),
            verdict.to_owned(),
        ]);
    }
    table
}

fn ratio(ratio: Option<Ratio>) -> String {
    match ratio {
        None => "-".to_owned(),
        Some(Ratio { median, lowest, highest }) if lowest == highest => format!("{median:.2}"),
        Some(Ratio { median, lowest, highest }) => {
            format!("{median:.2} ({lowest:.2}-{highest:.2})")
        }
    }
}
