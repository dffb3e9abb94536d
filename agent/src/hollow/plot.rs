//! The results of one or more runs as a picture: how fast tasks are assigned and run, and how
//! evenly they lie.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;

use crate::options::PlotOptions;

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 260.0;
const MARGIN: f64 = 48.0;

/// One after the other, for as many runs as there are.
const COLORS: [&str; 6] = ["#1b6ca8", "#e08e45", "#7a9e7e", "#b5523b", "#7b5ea7", "#999999"];

/// What one run left in its CSV file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Run {
    name: String,
    /// Unix milliseconds, of each task.
    assigned_ms: Vec<u64>,
    running_ms: Vec<u64>,
    /// How many tasks each node had.
    per_node: Vec<u64>,
}

/// Points of a line, x and y.
type Points = Vec<(f64, f64)>;

/// Reads every file and writes the picture.
///
/// # Errors
/// Where a file can't be read, is no result, or can't be written.
pub fn run(options: &PlotOptions) -> anyhow::Result<()> {
    let runs = options.results.iter().map(|(name, path)| read(name, path));
    let runs = runs.collect::<anyhow::Result<Vec<_>>>()?;
    std::fs::write(&options.out, svg(&runs))
        .with_context(|| format!("write {}", options.out.display()))
}

fn read(name: &str, path: &Path) -> anyhow::Result<Run> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    parse(name, &text).with_context(|| format!("{} is no result of hollow", path.display()))
}

fn parse(name: &str, text: &str) -> anyhow::Result<Run> {
    let mut lines = text.lines();
    anyhow::ensure!(lines.next() == Some(super::TASKS_HEADER), "its first line is another one");
    let (mut run, mut nodes) = (Run { name: name.to_owned(), ..Run::default() }, BTreeMap::new());
    for (number, line) in lines.enumerate() {
        let fields: Vec<&str> = line.split(',').collect();
        let [node, _task, assigned, running, ..] = fields[..] else {
            anyhow::bail!("line {} has {} fields", number + 2, fields.len());
        };
        let time = |text: &str| {
            text.parse::<u64>().with_context(|| format!("line {}: {text:?}", number + 2))
        };
        run.assigned_ms.push(time(assigned)?);
        if !running.is_empty() {
            run.running_ms.push(time(running)?);
        }
        *nodes.entry(node.to_owned()).or_default() += 1;
    }
    run.per_node = nodes.into_values().collect();
    for times in [&mut run.assigned_ms, &mut run.running_ms, &mut run.per_node] {
        times.sort_unstable();
    }
    Ok(run)
}

/// An SVG document.
fn svg(runs: &[Run]) -> String {
    let since_first = |run: &Run, times: &[u64]| {
        let first = run.assigned_ms.first().copied().unwrap_or_default();
        growth(times.iter().map(|at_ms| at_ms.saturating_sub(first) as f64 / 1e3))
    };
    let spread = |run: &Run| {
        let count = run.per_node.len().max(2) - 1;
        let at = |(n, tasks): (usize, &u64)| (n as f64 / count as f64 * 100.0, *tasks as f64);
        run.per_node.iter().enumerate().map(at).collect()
    };
    let assigned = runs.iter().map(|run| since_first(run, &run.assigned_ms)).collect();
    let running = runs.iter().map(|run| since_first(run, &run.running_ms)).collect();
    let panels: [(&str, &str, Vec<Points>); 3] = [
        ("tasks assigned", "seconds since the first", assigned),
        ("tasks running", "seconds since the first was assigned", running),
        ("tasks of a node", "% of the nodes that had any", runs.iter().map(spread).collect()),
    ];
    let mut body = String::new();
    for (n, (title, across, lines)) in panels.iter().enumerate() {
        let _ = writeln!(body, r#"<g transform="translate({} 0)">"#, n as f64 * WIDTH);
        panel(&mut body, title, across, lines);
        body.push_str("</g>\n");
    }
    for (n, run) in runs.iter().enumerate() {
        let (y, color) = (HEIGHT + 14.0 * n as f64, COLORS[n % COLORS.len()]);
        let (name, tasks) = (escaped(&run.name), run.assigned_ms.len());
        let _ = writeln!(
            body,
            r#"<text x="{MARGIN}" y="{y}" fill="{color}">{name}: {tasks} tasks</text>"#
        );
    }
    let (width, height) = (3.0 * WIDTH, HEIGHT + 14.0 * runs.len() as f64);
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}">
<style>text {{ font: 11px sans-serif }} .b {{ font-weight: bold }}</style>
<rect width="100%" height="100%" fill="#fff"/>
{body}</svg>
"##
    )
}

/// How many there are at each time.
fn growth(times: impl Iterator<Item = f64>) -> Points {
    std::iter::once((0.0, 0.0)).chain(times.zip(1..).map(|(x, n)| (x, f64::from(n)))).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn panel(body: &mut String, title: &str, across: &str, lines: &[Points]) {
    let all = || lines.iter().flatten();
    let x_max = all().map(|(x, _)| *x).fold(1e-3, f64::max);
    let y_max = all().map(|(_, y)| *y).fold(1.0, f64::max);
    let (right, bottom) = (WIDTH - 16.0, HEIGHT - MARGIN);
    let x = |value: f64| MARGIN + value / x_max * (right - MARGIN);
    let y = |value: f64| bottom - value / y_max * (bottom - 34.0);
    let _ = writeln!(body, r#"<text x="{MARGIN}" y="18" class="b">{title}</text>"#);
    let _ =
        writeln!(body, r##"<path d="M{MARGIN} 30V{bottom}H{right}" fill="none" stroke="#999"/>"##);
    let (below, left) = (bottom + 15.0, MARGIN - 6.0);
    let _ = writeln!(
        body,
        r#"<text x="{left}" y="38" text-anchor="end">{y_max:.0}</text>
<text x="{right}" y="{below}" text-anchor="end">{x_max:.1} {across}</text>"#
    );
    for (n, points) in lines.iter().enumerate() {
        let color = COLORS[n % COLORS.len()];
        let points: Vec<String> =
            points.iter().map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value))).collect();
        let points = points.join(" ");
        let _ = writeln!(
            body,
            r#"<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.5"/>"#
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "node,task,assigned_ms,running_ms,stopped_ms,stop_code\n\
                        0,a,1000,1100,,\n1,b,1010,1200,9000,UserInitiated\n1,c,1020,,1030,X\n";

    #[test]
    fn a_run_is_read_and_drawn() {
        let run = parse("calm <1>", TEXT).unwrap();
        assert_eq!(run.assigned_ms, [1000, 1010, 1020]);
        assert_eq!((run.running_ms.clone(), run.per_node.clone()), (vec![1100, 1200], vec![1, 2]));
        let text = svg(&[run]);
        assert!(text.contains("calm &lt;1>: 3 tasks"), "{text}");
        assert_eq!(text.matches("<polyline").count(), 3);
    }

    #[test]
    fn what_is_no_result_is_refused_with_its_line() {
        let error = |text: &str| format!("{:#}", parse("x", text).unwrap_err());
        assert!(error("a,b\n").contains("its first line is another one"));
        assert!(error(&TEXT.replace("1010", "soon")).contains("line 3: \"soon\""));
    }
}
