//! The summary as a picture: for each scenario a bar a subject, as multiples of Loadline's middle.

use std::fmt::Write as _;

use crate::subject::{FLOOR, OURS};
use crate::summary::{Row, Summary};

const LEFT: f64 = 190.0;
const BAR: f64 = 15.0;
const GAP: f64 = 12.0;
const TOP: f64 = 56.0;
const WIDTH: f64 = 860.0;
/// Room for a bar's label.
const RIGHT: f64 = 150.0;

/// An SVG document.
pub(crate) fn svg(summary: &Summary) -> String {
    let bars: Vec<(&Row, f64)> =
        summary.rows.iter().filter_map(|row| Some((row, of(row)?))).collect();
    let highest = bars.iter().map(|(_, multiple)| *multiple).fold(1.0, f64::max);
    let mut body = String::new();
    let (mut y, mut scenario) = (TOP, "");
    for (row, multiple) in bars {
        if row.scenario != scenario {
            y += GAP;
            scenario = row.scenario;
            let base = y + BAR - 3.0;
            let _ = writeln!(body, r#"<text x="8" y="{base}" class="b">{scenario}</text>"#);
        }
        let (width, color) = ((WIDTH - LEFT - RIGHT) * multiple / highest, color(&row.subject));
        let (base, height, end) = (y + BAR - 3.0, BAR - 3.0, LEFT + width + 6.0);
        let (name, p50) = (&row.subject, row.wall_ms.p50);
        let _ = writeln!(
            body,
            r#"<rect x="{LEFT}" y="{y}" width="{width:.1}" height="{height}" fill="{color}"/>"#
        );
        let _ = writeln!(
            body,
            r#"<text x="{end:.1}" y="{base}">{name} {multiple:.2} ({p50:.2} ms)</text>"#
        );
        y += BAR;
    }
    let height = y + GAP;
    let (kernel, cpus) = (&summary.kernel, summary.cpus);
    let noise = if summary.noise.doubts.is_empty() { "" } else { "; NOISY machine" };
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}">
<style>text {{ font: 11px sans-serif; fill: #222 }} .b {{ font-weight: bold }}</style>
<rect width="100%" height="100%" fill="#fff"/>
<text x="8" y="20" class="b">Middle wall time as multiples of Loadline's; shorter is better</text>
<text x="8" y="38">Linux {kernel}, {cpus} processors{noise}</text>
{body}</svg>
"##
    )
}

/// How many times Loadline's time this subject takes.
fn of(row: &Row) -> Option<f64> {
    if row.subject == OURS { Some(1.0) } else { row.loadline_share.map(|share| 1.0 / share.median) }
}

fn color(subject: &str) -> &'static str {
    match subject {
        FLOOR => "#999999",
        OURS => "#1b6ca8",
        "crun" => "#e08e45",
        "runc" => "#b5523b",
        _ => "#7a9e7e",
    }
}
