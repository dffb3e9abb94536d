//! Growth as a picture: six small diagrams over the number of nodes, which is drawn by powers.

use std::fmt::Write as _;

use crate::report::Round;

const WIDTH: f64 = 380.0;
const HEIGHT: f64 = 220.0;
const MARGIN: f64 = 46.0;

type Value = fn(&Round) -> f64;

/// An SVG document.
pub(crate) fn svg(rounds: &[Round]) -> String {
    let panels: [(&str, Value); 6] = [
        ("durable placements a second", |round| round.placements_per_s),
        ("RunTask of 10 tasks, p99 in ms", |round| round.run_task_ms.p99),
        ("processor at rest, % of one", |round| round.rest_cpu_percent),
        ("node's death to replacement, ms", |round| round.replaced_ms),
        ("DescribeClusters under load, p99 in ms", |round| round.read_ms.p99),
        ("MiB for each 100,000 tasks", |round| round.mib_per_100k_tasks),
    ];
    let mut body = String::new();
    for (n, (title, value)) in panels.into_iter().enumerate() {
        let (x, y) = ((n % 2) as f64 * WIDTH, (n / 2) as f64 * HEIGHT);
        let _ = writeln!(body, r#"<g transform="translate({x} {y})">"#);
        panel(&mut body, title, rounds, value);
        body.push_str("</g>\n");
    }
    let (width, height) = (2.0 * WIDTH, 3.0 * HEIGHT);
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}">
<style>text {{ font: 11px sans-serif; fill: #222 }} .b {{ font-weight: bold }}</style>
<rect width="100%" height="100%" fill="#fff"/>
{body}</svg>
"##
    )
}

fn panel(body: &mut String, title: &str, rounds: &[Round], value: Value) {
    let _ = writeln!(body, r#"<text x="{MARGIN}" y="18" class="b">{title}</text>"#);
    let log = |round: &Round| f64::from(round.nodes.max(1)).log10();
    let (low, high) = rounds
        .iter()
        .map(log)
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
    let most = rounds.iter().map(value).fold(1.0, f64::max);
    let (right, bottom) = (WIDTH - MARGIN, HEIGHT - MARGIN);
    let across = |round: &Round| {
        let share = if low < high { (log(round) - low) / (high - low) } else { 0.5 };
        MARGIN + share * (right - MARGIN)
    };
    let up = |round: &Round| bottom - value(round) / most * (bottom - 34.0);
    let _ =
        writeln!(body, r##"<path d="M{MARGIN} 30V{bottom}H{right}" fill="none" stroke="#999"/>"##);
    let points: Vec<String> =
        rounds.iter().map(|round| format!("{:.1},{:.1}", across(round), up(round))).collect();
    let points = points.join(" ");
    let _ = writeln!(
        body,
        r##"<polyline points="{points}" fill="none" stroke="#1b6ca8" stroke-width="2"/>"##
    );
    for round in rounds {
        let (x, y, below) = (across(round), up(round), bottom + 16.0);
        let _ = writeln!(body, r##"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="#1b6ca8"/>"##);
        let (nodes, shown, above) = (round.nodes, value(round), y - 7.0);
        let _ = writeln!(
            body,
            r#"<text x="{x:.1}" y="{above:.1}" text-anchor="middle">{shown:.0}</text>"#
        );
        let _ =
            writeln!(body, r#"<text x="{x:.1}" y="{below}" text-anchor="middle">{nodes}</text>"#);
    }
}
