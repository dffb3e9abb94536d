//! What is printed: a table for people or JSON for programs.

use std::io::{self, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use serde_json::Value;

use crate::failure::Failure;
use crate::options::Format;

/// Standard output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    format: Format,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        Self { format }
    }

    pub(crate) fn is_json(self) -> bool {
        self.format == Format::Json
    }

    /// A line, whatever the format.
    pub(crate) fn line(self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        writeln!(out, "{text}").and_then(|()| out.flush()).map_err(Failure::Output)
    }

    /// JSON, whatever the format.
    pub(crate) fn json(self, value: &Value) -> Result<(), Failure> {
        self.line(&format!("{value:#}"))
    }

    /// `value` where JSON is asked for, else `text`.
    pub(crate) fn either(self, value: &Value, text: &str) -> Result<(), Failure> {
        if self.is_json() { self.json(value) } else { self.line(text) }
    }

    /// `value` where JSON is asked for, else a table.
    pub(crate) fn table(
        self,
        value: &Value,
        header: &[&str],
        rows: Vec<Vec<String>>,
    ) -> Result<(), Failure> {
        if self.is_json() {
            return self.json(value);
        }
        self.line(&render(header, rows))
    }
}

/// A table as text.
pub(crate) fn render(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// How long ago, in the largest unit that fits.
pub(crate) fn age(epoch_s: Option<f64>) -> String {
    epoch_s.map_or_else(|| "-".to_owned(), |then| span(now_s() - then))
}

/// Seconds since the Unix epoch.
pub(crate) fn now_s() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

/// A text of at most so many characters, whose cut shows.
pub(crate) fn clip(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let kept: String = text.chars().take(chars_max.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// A number of seconds in the largest unit that fits.
pub(crate) fn span(seconds: f64) -> String {
    const UNITS: [(f64, &str); 3] = [(86_400.0, "d"), (3_600.0, "h"), (60.0, "m")];
    let seconds = seconds.max(0.0);
    for (size, unit) in UNITS {
        if size <= seconds {
            return format!("{:.0}{unit}", (seconds / size).floor());
        }
    }
    format!("{:.0}s", seconds.floor())
}

/// What is not there.
pub(crate) fn dash(text: Option<impl ToString>) -> String {
    text.map_or_else(|| "-".to_owned(), |text| text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_and_has_no_trailing_spaces() {
        let rows = vec![vec!["a".into(), "b".into()], vec!["long".into(), String::new()]];
        assert_eq!(render(&["X", "YY"], rows), "X     YY\na     b\nlong");
    }

    #[test]
    fn a_text_that_is_cut_shows_it() {
        assert_eq!(clip("hello", 5), "hello");
        assert_eq!(clip("hello world", 7), "hello…");
        assert_eq!(clip("ééééé", 3), "éé…");
    }

    #[test]
    fn ages_are_shown_in_the_largest_unit_that_fits() {
        let shown: Vec<String> =
            [-1.0, 0.0, 59.9, 60.0, 3_599.0, 3_600.0, 86_399.0, 200_000.0].map(span).into();
        assert_eq!(shown, ["0s", "0s", "59s", "1m", "59m", "1h", "23h", "2d"]);
    }
}
