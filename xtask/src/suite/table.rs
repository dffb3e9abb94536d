//! The table of a run, suite by suite; and the page that keeps the newest row of each suite.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use super::count::Count;
use crate::sh;

/// Where the newest rows of whole runs are kept.
const FILE: &str = "docs/full-run.md";
const HEAD: &str = "| suite | passed | failed | skipped | took | day | commit |\n\
                    | --- | ---: | ---: | ---: | ---: | --- | --- |\n";
/// How the note of a test that failed begins.
pub(super) const FAILED: &str = "failed: ";
/// Longest name of a test that is told.
const NAME_CHARS_MAX: usize = 160;

/// What a suite found, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) suite: String,
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) skipped: usize,
    pub(super) took: Duration,
    pub(super) day: String,
    pub(super) commit: String,
    /// `failed: NAME` and `skipped: NAME`.
    pub(super) notes: Vec<String>,
}

impl Row {
    pub(super) fn new(workspace: &Path, suite: &str, count: &Count, took: Duration) -> Self {
        let ask = |program, arguments: &[&str]| sh::ask(program, arguments).unwrap_or_default();
        let folder = workspace.to_string_lossy();
        let failed = count.failed.iter().map(|name| format!("{FAILED}{}", plain(name)));
        let skipped = count.skipped.iter().map(|name| format!("skipped: {}", plain(name)));
        Self {
            suite: suite.to_owned(),
            passed: count.passed,
            failed: count.failed.len(),
            skipped: count.skipped.len(),
            took,
            day: ask("date", &["-u", "+%Y-%m-%d"]),
            commit: ask("git", &["-C", &folder, "rev-parse", "--short", "HEAD"]),
            notes: failed.chain(skipped).collect(),
        }
    }

    /// A row as [`table`] writes it, without its notes.
    fn read(line: &str) -> Option<Self> {
        let inner = line.strip_prefix("| ")?.strip_suffix(" |")?;
        let cells: Vec<&str> = inner.split(" | ").collect();
        let [suite, passed, failed, skipped, took, day, commit] = cells[..] else { return None };
        let seconds = took.strip_suffix(" s")?.parse().ok()?;
        Some(Self {
            suite: suite.to_owned(),
            passed: passed.parse().ok()?,
            failed: failed.parse().ok()?,
            skipped: skipped.parse().ok()?,
            took: Duration::from_secs(seconds),
            day: day.to_owned(),
            commit: commit.to_owned(),
            notes: Vec::new(),
        })
    }
}

/// How many passed, failed and were skipped in all suites.
pub(super) fn sums(rows: &[Row]) -> (usize, usize, usize) {
    let add = |(passed, failed, skipped), row: &Row| {
        (passed + row.passed, failed + row.failed, skipped + row.skipped)
    };
    rows.iter().fold((0, 0, 0), add)
}

/// The table in Markdown, the sum in its last row.
pub(super) fn table(rows: &[Row]) -> String {
    let mut text = String::from(HEAD);
    for row in rows {
        let Row { suite, passed, failed, skipped, took, day, commit, .. } = row;
        let seconds = took.as_secs();
        let _ = writeln!(
            text,
            "| {suite} | {passed} | {failed} | {skipped} | {seconds} s | {day} | {commit} |"
        );
    }
    let (passed, failed, skipped) = sums(rows);
    let _ = writeln!(text, "| all | {passed} | {failed} | {skipped} | | | |");
    text
}

/// Puts the rows, each in place of the older one of its suite, into the documents. `order` has all
/// suites that there are; a row of another is dropped.
pub(super) fn write(workspace: &Path, order: &[String], rows: &[Row]) -> anyhow::Result<()> {
    let path = workspace.join(FILE);
    let old = std::fs::read_to_string(&path).unwrap_or_default();
    let rows = merged(&read(&old), rows, order);
    let ask = |program, arguments: &[&str]| sh::ask(program, arguments).unwrap_or_default();
    let machine = format!("Linux {}, {} processors", ask("uname", &["-r"]), ask("nproc", &[]));
    std::fs::write(&path, page(&machine, order, &rows))
        .with_context(|| format!("write {}", path.display()))?;
    println!("{} is written", path.display());
    Ok(())
}

fn page(machine: &str, order: &[String], rows: &[Row]) -> String {
    let mut text = format!(
        "# The whole run, suite by suite\n\nWritten by `cargo xtask test --full`, which runs every \
         suite; `--suite NAME` runs those with\nNAME in their names and replaces only their rows. \
         {machine}.\n\n{}",
        table(rows)
    );
    let missing: Vec<&str> = order
        .iter()
        .filter(|suite| !rows.iter().any(|row| row.suite == **suite))
        .map(String::as_str)
        .collect();
    if !missing.is_empty() {
        let _ = writeln!(text, "\nNot run yet: {}.", missing.join("; "));
    }
    if rows.iter().any(|row| !row.notes.is_empty()) {
        text.push_str("\n## What failed and what was skipped\n\n");
    }
    for row in rows {
        for note in &row.notes {
            let _ = writeln!(text, "- {}: {note}", row.suite);
        }
    }
    text
}

/// The rows of a page, with their notes.
fn read(page: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = page.lines().filter_map(Row::read).collect();
    for line in page.lines().filter_map(|line| line.strip_prefix("- ")) {
        // The name of a suite may begin as another's does.
        let of = |row: &&mut Row| {
            let rest = line.strip_prefix(row.suite.as_str());
            let words = [": failed: ", ": skipped: "];
            rest.is_some_and(|rest| words.iter().any(|word| rest.starts_with(word)))
        };
        if let Some(row) = rows.iter_mut().find(of) {
            row.notes.push(line[row.suite.len() + 2..].to_owned());
        }
    }
    rows
}

/// The newer row of each suite, in the suites' order.
fn merged(old: &[Row], new: &[Row], order: &[String]) -> Vec<Row> {
    let find = |rows: &[Row], suite: &String| rows.iter().find(|row| row.suite == *suite).cloned();
    order.iter().filter_map(|suite| find(new, suite).or_else(|| find(old, suite))).collect()
}

/// Without the folders of this machine, and short.
fn plain(name: &str) -> String {
    let words = name.split(' ').map(|word| match word.rsplit_once('/') {
        Some((folder, file)) if folder.starts_with('/') => file,
        _ => word,
    });
    words.collect::<Vec<_>>().join(" ").chars().take(NAME_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(suite: &str, passed: usize, failed: &[&str]) -> Row {
        Row {
            suite: suite.to_owned(),
            passed,
            failed: failed.len(),
            skipped: 0,
            took: Duration::from_secs(3),
            day: "2026-01-02".to_owned(),
            commit: "abc".to_owned(),
            notes: failed.iter().map(|name| format!("failed: {name}")).collect(),
        }
    }

    #[test]
    fn the_table_has_a_row_for_each_suite_and_their_sum() {
        let text = table(&[row("one", 2, &["a"]), row("two", 1, &[])]);
        assert!(text.contains("| one | 2 | 1 | 0 | 3 s | 2026-01-02 | abc |"), "{text}");
        assert!(text.contains("| all | 3 | 1 | 0 | | | |"), "{text}");
    }

    #[test]
    fn a_suite_that_is_run_alone_replaces_only_its_row() {
        let order = ["one", "one: more", "two", "three"].map(str::to_owned);
        let before = [row("one", 2, &["a: b"]), row("one: more", 7, &["c"]), row("two", 1, &[])];
        let kept = read(&page("Linux", &order, &before));
        assert_eq!(kept, before);
        let after = merged(&kept, &[row("one: more", 8, &[]), row("three", 1, &[])], &order);
        let seen: Vec<_> = after.iter().map(|row| (row.suite.as_str(), row.passed)).collect();
        assert_eq!(seen, [("one", 2), ("one: more", 8), ("two", 1), ("three", 1)]);
        let page = page("Linux", &order, &after[..3]);
        assert!(page.contains("Not run yet: three.\n") && page.contains("- one: failed: a: b\n"));
        assert!(!page.contains("- one: more: failed"), "{page}");
    }

    #[test]
    fn no_folder_of_the_machine_is_told() {
        assert_eq!(plain("vm /a/b/c: failed in src/x"), "vm c: failed in src/x");
    }
}
