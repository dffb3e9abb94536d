//! What one suite found, read from its output: its own lines, nextest's report, libtest's lines.

use std::collections::BTreeSet;

use crate::sh;

/// What one suite found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) passed: usize,
    /// By name.
    pub(super) failed: Vec<String>,
    /// The text after `SKIPPED `.
    pub(super) skipped: BTreeSet<String>,
}

/// What a test prints that can't run here: `SKIPPED <test>: needs <facility>`.
pub(super) const SKIPPED: &str = "SKIPPED ";

/// What a script prints that has ended a test program: which test it was, the test's own line says,
/// which has no end.
pub(super) const ENDED: &str = "ENDED ";

impl Count {
    /// One check that either passes or fails.
    pub(super) fn check(&mut self, name: &str, result: anyhow::Result<()>) {
        match result {
            Ok(()) => self.passed += 1,
            Err(error) => {
                eprintln!("FAILED {name}: {error:#}");
                self.failed.push(name.to_owned());
            }
        }
    }

    /// The lines of one of our own suites: `SKIPPED …`, `FAILED …` and the closing line.
    pub(super) fn read_own(&mut self, seen: &sh::Seen) {
        let closing = seen.lines.iter().rev().find_map(|line| closing_line(line));
        let mut failed = 0;
        for line in &seen.lines {
            if let Some(skipped) = line.strip_prefix(SKIPPED) {
                self.skipped.insert(skipped.to_owned());
            } else if let Some(name) = line.strip_prefix("FAILED ") {
                self.failed.push(name.to_owned());
                failed += 1;
            }
        }
        match closing {
            Some((passed, _)) => self.passed += passed,
            None => self.failed.push("it ended without its closing line".to_owned()),
        }
        if !seen.status.success() && failed == 0 && closing.is_some() {
            self.failed.push(seen.status.to_string());
        }
    }

    /// The report of nextest. Skips are lines in the output of tests that passed.
    pub(super) fn read_junit(&mut self, text: &str) {
        let (mut tests, mut failed, mut skipped) = (0, Vec::new(), BTreeSet::new());
        let mut current = String::new();
        for line in text.lines() {
            let line = line.trim();
            if line.starts_with("<testcase ") {
                tests += 1;
                let attribute = |name: &str| {
                    let start = format!(" {name}=\"");
                    line.split_once(&start).and_then(|(_, rest)| rest.split('"').next())
                };
                let (class, name) = (attribute("classname"), attribute("name"));
                current = format!("{} {}", class.unwrap_or_default(), name.unwrap_or_default());
            } else if line.contains("<failure") || line.contains("<error") {
                failed.push(current.clone());
            }
            // The output of a test begins on the line of its tag.
            let tag =
                ["<system-out>", "<system-err>"].into_iter().find_map(|t| line.strip_prefix(t));
            let shown = tag.unwrap_or(line);
            if let Some(text) = shown.strip_prefix(SKIPPED) {
                skipped.insert(text.split('<').next().unwrap_or_default().to_owned());
            }
        }
        failed.dedup();
        self.passed += tests - failed.len() - skipped.len().min(tests - failed.len());
        self.failed.extend(failed);
        self.skipped.extend(skipped);
    }

    /// The output of `cargo test -- --show-output`.
    pub(super) fn read_libtest(&mut self, lines: &[String]) {
        let mut skipped = BTreeSet::new();
        let mut begun = None;
        for line in lines {
            if let Some(text) = line.strip_prefix(SKIPPED) {
                skipped.insert(text.to_owned());
            } else if let Some(test) = line.strip_prefix("test ") {
                if line.ends_with(" ... ok") {
                    self.passed += 1;
                } else if let Some(name) = test.strip_suffix(" ... FAILED") {
                    self.failed.push(name.to_owned());
                } else if let Some(name) = test.trim_end().strip_suffix(" ...") {
                    begun = Some(name);
                }
            } else if let Some(why) = line.strip_prefix(ENDED) {
                let name = begun.take().unwrap_or("a program of tests");
                self.failed.push(format!("{name}: {why}"));
            }
        }
        self.passed -= skipped.len().min(self.passed);
        self.skipped.extend(skipped);
    }
}

/// Reads `N passed, N failed, N skipped`: passed and failed.
pub(super) fn closing_line(line: &str) -> Option<(usize, usize)> {
    let mut parts = line.split(", ");
    let passed = parts.next()?.strip_suffix(" passed")?.parse().ok()?;
    let failed = parts.next()?.strip_suffix(" failed")?.parse().ok()?;
    parts.next()?.strip_suffix(" skipped")?;
    Some((passed, failed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_line_of_a_suite_is_read() {
        assert_eq!(closing_line("12 passed, 3 failed, 1 skipped"), Some((12, 3)));
        assert_eq!(closing_line("12 passed"), None);
        assert_eq!(closing_line("test result: ok. 1 passed, 0 failed, 0 skipped"), None);
    }

    #[test]
    fn a_report_of_nextest_is_counted() {
        let text = r#"<testsuites name="nextest-run" tests="3" failures="1">
            <testsuite name="a" tests="3">
            <testcase name="one" classname="a" time="0.1"/>
            <testcase name="two" classname="a" time="0.1">
                <failure type="test failure">panicked</failure>
                <rerun/>
            </testcase>
            <testcase name="three" classname="a" time="0.1">
                <system-err>SKIPPED three: needs root</system-err>
            </testcase></testsuite></testsuites>"#;
        let mut count = Count::default();
        count.read_junit(text);
        assert_eq!((count.passed, count.failed), (1, vec!["a two".to_owned()]));
        assert!(count.skipped.contains("three: needs root"));
    }

    #[test]
    fn a_test_that_hangs_is_named() {
        let lines = ["test a ... ok", "test b ... ", "ENDED after 600 s: /x/e2e", "test c ... ok"];
        let mut count = Count::default();
        count.read_libtest(&lines.map(str::to_owned));
        assert_eq!((count.passed, count.failed), (2, vec!["b: after 600 s: /x/e2e".to_owned()]));
    }

    #[test]
    fn the_output_of_libtest_is_counted() {
        let lines = ["test a ... ok", "test b ... FAILED", "test c ... ok", "SKIPPED c: needs x"];
        let mut count = Count::default();
        count.read_libtest(&lines.map(str::to_owned));
        assert_eq!((count.passed, count.failed.len(), count.skipped.len()), (1, 1, 1));
    }
}
