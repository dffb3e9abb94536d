//! The launches as a picture: for each scenario a bar a subject, launches per second.

use std::fmt::Write as _;

use super::launch::Row;
use super::report::{OURS, Summary};

const LEFT: f64 = 150.0;
const BAR: f64 = 15.0;
const GAP: f64 = 12.0;
const TOP: f64 = 48.0;
const WIDTH: f64 = 860.0;
/// Room for a bar's label.
const RIGHT: f64 = 260.0;

/// An SVG document.
pub(crate) fn svg(summary: &Summary) -> String {
    let rows = || summary.launches.iter().filter(|row| row.missing.is_none());
    let highest = rows().map(|row| row.per_second).fold(1.0, f64::max);
    let mut body = String::new();
    let (mut y, mut before) = (TOP, None);
    for row in rows() {
        let scenario = (row.network.name(), row.at_once);
        if before != Some(scenario) {
            y += GAP;
            before = Some(scenario);
            let (base, (network, at_once)) = (y + BAR - 3.0, scenario);
            let _ = writeln!(
                body,
                r#"<text x="8" y="{base}" class="b">{network}, {at_once} at once</text>"#
            );
        }
        bar(&mut body, row, y, (WIDTH - LEFT - RIGHT) * row.per_second / highest);
        y += BAR;
    }
    let height = y + GAP;
    let Summary { kernel, cpus, load_before, .. } = summary;
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}">
<style>text {{ font: 11px sans-serif; fill: #222 }} .b {{ font-weight: bold }}</style>
<rect width="100%" height="100%" fill="#fff"/>
<text x="8" y="20" class="b">Containers launched per second; longer is better</text>
<text x="8" y="36">Linux {kernel}, {cpus} processors, load before {load_before}</text>
{body}</svg>
"##
    )
}

fn bar(body: &mut String, row: &Row, y: f64, width: f64) {
    let color = if row.subject == OURS { "#1b6ca8" } else { "#e08e45" };
    let (base, height, end) = (y + BAR - 3.0, BAR - 3.0, LEFT + width + 6.0);
    let (name, rate, p99) = (row.subject, row.per_second, row.launch_ms.p99);
    let _ = writeln!(
        body,
        r#"<rect x="{LEFT}" y="{y}" width="{width:.1}" height="{height}" fill="{color}"/>"#
    );
    let _ = writeln!(
        body,
        r#"<text x="{end:.1}" y="{base}">{name}: {rate:.1}/s, p99 {p99:.0} ms</text>"#
    );
}
