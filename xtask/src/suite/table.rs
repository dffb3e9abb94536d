//! The table of a whole run, suite by suite.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use super::count::Count;
use crate::sh;

/// Where the table of the last whole run is kept.
const FILE: &str = "docs/full-run.md";

/// What a suite found.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) suite: String,
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) skipped: usize,
    pub(super) took: Duration,
}

/// The table in Markdown, the sum in its last row.
pub(super) fn table(count: &Count) -> String {
    let mut text = String::from(
        "| suite | passed | failed | skipped | took |\n| --- | ---: | ---: | ---: | ---: |\n",
    );
    let mut row = |suite: &str, numbers: [usize; 3], took: Option<Duration>| {
        let [passed, failed, skipped] = numbers;
        // A part of a suite has no time of its own.
        let took = took.map_or(String::new(), |took| format!("{} s", took.as_secs()));
        let _ = writeln!(text, "| {suite} | {passed} | {failed} | {skipped} | {took} |");
    };
    for one in &count.rows {
        let took = Some(one.took).filter(|took| !took.is_zero());
        row(&one.suite, [one.passed, one.failed, one.skipped], took);
    }
    row("all", [count.passed, count.failed.len(), count.skipped.len()], None);
    text
}

/// Writes the table, with the day and the machine, into the documents.
pub(super) fn write(workspace: &Path, count: &Count) -> anyhow::Result<()> {
    let ask = |program, arguments: &[&str]| sh::ask(program, arguments).unwrap_or_default();
    let day = ask("date", &["-u", "+%Y-%m-%d %H:%M"]);
    let commit = ask("git", &["-C", &workspace.to_string_lossy(), "rev-parse", "--short", "HEAD"]);
    let kernel = ask("uname", &["-r"]);
    let processors = ask("nproc", &[]);
    let rounds = std::env::var("LOADLINE_RACE_ROUNDS").unwrap_or_else(|_| "10,000".to_owned());
    let mut text = format!(
        "# The last whole run\n\nWritten by `cargo xtask test --full`: {day} UTC, commit {commit}, \
         Linux {kernel}, {processors} processors.\nEach race of the escape suite had {rounds} \
         rounds.\n\n{}",
        table(count)
    );
    for (what, names) in [
        ("Failed", count.failed.iter().collect::<Vec<_>>()),
        ("Skipped", count.skipped.iter().collect()),
    ] {
        if !names.is_empty() {
            let _ = writeln!(text, "\n{what}:\n");
            for name in names {
                let _ = writeln!(text, "- {}", plain(name));
            }
        }
    }
    let path = workspace.join(FILE);
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    println!("{} is written", path.display());
    Ok(())
}

/// Without the folders of this machine, and short.
fn plain(name: &str) -> String {
    let words = name.split(' ').map(|word| match word.rsplit_once('/') {
        Some((folder, file)) if folder.starts_with('/') => file,
        _ => word,
    });
    words.collect::<Vec<_>>().join(" ").chars().take(160).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_row_for_each_suite_and_their_sum() {
        let mut count = Count::default();
        count.suite("one", |count| {
            count.passed += 2;
            count.failed.push("one a".to_owned());
        });
        count.suite("two", |count| count.passed += 1);
        let text = table(&count);
        assert!(text.contains("| one | 2 | 1 | 0 |") && text.contains("| two | 1 | 0 | 0 |"));
        assert!(text.contains("| all | 3 | 1 | 0 |"), "{text}");
    }

    #[test]
    fn no_folder_of_the_machine_is_told() {
        assert_eq!(plain("vm /a/b/c: failed in src/x"), "vm c: failed in src/x");
    }
}
