//! What the cases found: a matrix for people, TAP and JUnit for programs.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use super::{Case, Verdict};

/// What one case found on one runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Result {
    /// The claim holds.
    Passed,
    /// It does not, for this reason.
    Failed(String),
    /// The machine lacks this.
    Skipped(String),
}

impl From<anyhow::Result<Verdict>> for Result {
    fn from(verdict: anyhow::Result<Verdict>) -> Self {
        match verdict {
            Ok(Verdict::Pass) => Self::Passed,
            Ok(Verdict::Needs(what)) => Self::Skipped(what),
            Err(error) => Self::Failed(format!("{error:#}").replace('\n', " ")),
        }
    }
}

impl Result {
    const fn word(&self) -> &'static str {
        match self {
            Self::Passed => "pass",
            Self::Failed(_) => "FAIL",
            Self::Skipped(_) => "skip",
        }
    }
}

/// What one case found on one runtime, and how long that took.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What it found.
    pub result: Result,
    /// From its start until all is cleaned up.
    pub took: Duration,
}

/// All results: for each case one for each runtime.
#[derive(Debug)]
pub struct Report {
    /// The names of the runtimes, in the order of the columns.
    pub runtimes: Vec<String>,
    /// A row for each case.
    pub rows: Vec<(Case, Vec<Seen>)>,
}

impl Report {
    /// How many passed, failed and were skipped on the runtimes whose columns are below `columns`.
    #[must_use]
    pub fn count(&self, columns: usize) -> (usize, usize, usize) {
        let mut count = (0, 0, 0);
        for seen in self.rows.iter().flat_map(|(_, results)| results.iter().take(columns)) {
            match seen.result {
                Result::Passed => count.0 += 1,
                Result::Failed(_) => count.1 += 1,
                Result::Skipped(_) => count.2 += 1,
            }
        }
        count
    }

    /// A table: a row for each case, a column for each runtime.
    #[must_use]
    pub fn matrix(&self) -> String {
        let widest = self.rows.iter().map(|(case, _)| case.name.len()).max().unwrap_or(0) + 2;
        let mut text = format!("{:widest$}", "");
        let widths: Vec<usize> = self.runtimes.iter().map(|name| name.len().max(4)).collect();
        for (name, width) in self.runtimes.iter().zip(&widths) {
            let _ = write!(text, "  {name:width$}");
        }
        let mut group = "";
        for (case, results) in &self.rows {
            if case.group != group {
                group = case.group;
                let _ = write!(text, "\n{group}");
            }
            let _ = write!(text, "\n  {:1$}", case.name, widest - 2);
            for (seen, width) in results.iter().zip(&widths) {
                let _ = write!(text, "  {:width$}", seen.result.word());
            }
        }
        text.push('\n');
        text
    }

    /// Tables in Markdown: what passed by group, every case that does not pass everywhere, and what
    /// the machine lacks.
    #[must_use]
    pub fn markdown(&self) -> String {
        let names = self.runtimes.join(" | ");
        let rule = "| --- ".repeat(self.runtimes.len());
        let mut text = format!("| group | {names} |\n| --- {rule}|\n");
        let groups: BTreeSet<&str> = self.rows.iter().map(|(case, _)| case.group).collect();
        let mut order: Vec<&str> = self.rows.iter().map(|(case, _)| case.group).collect();
        order.retain({
            let mut left = groups;
            move |group| left.remove(group)
        });
        for group in &order {
            let _ = writeln!(text, "| {group} {}|", self.cells(|case| case.group == *group));
        }
        let _ = writeln!(text, "| all {}|", self.cells(|_| true));
        let _ = writeln!(text, "\n| not everywhere | {names} |\n| --- {rule}|");
        for (case, results) in &self.rows {
            if results.iter().any(|seen| matches!(seen.result, Result::Failed(_))) {
                let words: Vec<&str> = results.iter().map(|seen| seen.result.word()).collect();
                let _ = writeln!(text, "| {}/{} | {} |", case.group, case.name, words.join(" | "));
            }
        }
        text.push_str("\nWhat this machine lacks:\n\n");
        for (case, results) in &self.rows {
            if let Some(Seen { result: Result::Skipped(what), .. }) = results.first() {
                let _ = writeln!(text, "- {}/{}: needs {what}", case.group, case.name);
            }
        }
        text
    }

    /// `| passed / failed / skipped ` for each runtime.
    fn cells(&self, wanted: impl Fn(&Case) -> bool) -> String {
        let mut text = String::new();
        for at in 0..self.runtimes.len() {
            let results =
                self.rows.iter().filter(|(case, _)| wanted(case)).map(|(_, r)| &r[at].result);
            let (mut passed, mut failed, mut skipped) = (0, 0, 0);
            for result in results {
                match result {
                    Result::Passed => passed += 1,
                    Result::Failed(_) => failed += 1,
                    Result::Skipped(_) => skipped += 1,
                }
            }
            let _ = write!(text, "| {passed} / {failed} / {skipped} ");
        }
        text
    }

    /// The reasons of what did not pass, a line each: `FAILED …` and `SKIPPED …`. What failed on a
    /// peer (a column from `columns` on) is told as `PEER …`.
    #[must_use]
    pub fn reasons(&self, columns: usize) -> String {
        let mut text = String::new();
        for (case, results) in &self.rows {
            for (at, (seen, runtime)) in results.iter().zip(&self.runtimes).enumerate() {
                let own = at < columns;
                let _ = match &seen.result {
                    Result::Failed(why) if own => {
                        writeln!(text, "FAILED {} ({runtime}): {why}", case.name)
                    }
                    Result::Failed(why) => writeln!(text, "PEER {} ({runtime}): {why}", case.name),
                    Result::Skipped(what) if own => {
                        writeln!(text, "SKIPPED {} ({runtime}): needs {what}", case.name)
                    }
                    _ => Ok(()),
                };
            }
        }
        text
    }

    /// Version 13 of the Test Anything Protocol. What failed on a peer (a column from `columns` on)
    /// gets the directive that says "not yet", which no reader counts.
    #[must_use]
    pub fn tap(&self, columns: usize) -> String {
        let count = self.rows.len() * self.runtimes.len();
        let mut text = format!("TAP version 13\n1..{count}\n");
        let mut number = 0;
        for (case, results) in &self.rows {
            for (at, (seen, runtime)) in results.iter().zip(&self.runtimes).enumerate() {
                number += 1;
                let name = format!("{runtime} {}/{}", case.group, case.name);
                let _ = match &seen.result {
                    Result::Passed => writeln!(text, "ok {number} - {name}"),
                    Result::Skipped(what) => {
                        writeln!(text, "ok {number} - {name} # SKIP needs {what}")
                    }
                    Result::Failed(why) => {
                        let todo = if at < columns { "" } else { " # TODO a peer" };
                        writeln!(text, "not ok {number} - {name}{todo}\n# {why}")
                    }
                };
            }
        }
        text
    }

    /// The XML that build servers read. What failed on a peer (a column from `columns` on) is
    /// skipped, with its reason, because a failure would be counted.
    #[must_use]
    pub fn junit(&self, columns: usize) -> String {
        let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
        for (at, runtime) in self.runtimes.iter().enumerate() {
            let seen = self.rows.iter().map(|(_, results)| &results[at]);
            let took: Duration = seen.clone().map(|seen| seen.took).sum();
            let count = |wanted: fn(&Result) -> bool| {
                seen.clone().filter(|seen| wanted(&seen.result)).count()
            };
            let bad = count(|result| matches!(result, Result::Failed(_)));
            let skipped = count(|result| matches!(result, Result::Skipped(_)));
            // A peer's failures are skipped, see above.
            let (failures, skipped) =
                if at < columns { (bad, skipped) } else { (0, bad + skipped) };
            let _ = writeln!(
                text,
                "<testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" errors=\"0\" \
                 skipped=\"{skipped}\" time=\"{:.3}\">",
                escaped(runtime),
                self.rows.len(),
                took.as_secs_f64()
            );
            for (case, results) in &self.rows {
                let open = format!(
                    "<testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\"",
                    case.group,
                    case.name,
                    results[at].took.as_secs_f64()
                );
                let _ = match &results[at].result {
                    Result::Passed => writeln!(text, "{open}/>"),
                    Result::Skipped(what) => {
                        writeln!(text, "{open}><skipped message=\"{}\"/></testcase>", escaped(what))
                    }
                    Result::Failed(why) if at >= columns => {
                        let why = escaped(why);
                        writeln!(
                            text,
                            "{open}><skipped message=\"a peer fails: {why}\"/></testcase>"
                        )
                    }
                    Result::Failed(why) => {
                        writeln!(text, "{open}><failure message=\"{}\"/></testcase>", escaped(why))
                    }
                };
            }
            text.push_str("</testsuite>\n");
        }
        text.push_str("</testsuites>\n");
        text
    }
}

fn escaped(text: &str) -> String {
    let plain = text.chars().filter(|c| !c.is_control()).collect::<String>();
    plain.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let case = Case { group: "g", name: "a_claim", run: |_| Ok(Verdict::Pass) };
        let results = vec![
            Result::Passed,
            Result::Failed("a < \"b\"".to_owned()),
            Result::Skipped("luck".to_owned()),
        ];
        let runtimes = ["one", "two", "three"].map(str::to_owned).to_vec();
        let took = Duration::from_millis(250);
        let seen = results.into_iter().map(|result| Seen { result, took }).collect();
        Report { runtimes, rows: vec![(case, seen)] }
    }

    #[test]
    fn the_matrix_has_a_column_for_each_runtime() {
        let expected = "           one   two   three\ng\n  a_claim  pass  FAIL  skip \n";
        assert_eq!(report().matrix(), expected);
    }

    #[test]
    fn only_columns_of_the_subject_count() {
        assert_eq!(report().count(3), (1, 1, 1));
        assert_eq!(report().count(1), (1, 0, 0));
        assert!(report().reasons(1).starts_with("PEER a_claim (two)"));
        assert!(report().reasons(3).contains("SKIPPED a_claim (three): needs luck"));
    }

    #[test]
    fn a_page_has_counts_by_group_and_what_does_not_pass_everywhere() {
        let text = report().markdown();
        let expected = "| group | one | two | three |\n| --- | --- | --- | --- |\n\
                        | g | 1 / 0 / 0 | 0 / 1 / 0 | 0 / 0 / 1 |\n\
                        | all | 1 / 0 / 0 | 0 / 1 / 0 | 0 / 0 / 1 |\n\n\
                        | not everywhere | one | two | three |\n";
        assert!(text.starts_with(expected), "{text}");
        assert!(text.contains("| g/a_claim | pass | FAIL | skip |\n"), "{text}");
    }

    #[test]
    fn machines_read_the_same() {
        let tap = report().tap(3);
        assert!(tap.contains("1..3\nok 1 - one g/a_claim\nnot ok 2 - two g/a_claim\n# a <"));
        assert!(tap.contains("ok 3 - three g/a_claim # SKIP needs luck"));
        assert!(report().junit(3).contains("<failure message=\"a &lt; &quot;b&quot;\"/>"));
    }

    #[test]
    fn a_suite_in_xml_has_its_counts_and_times() {
        let suite = |name: &str, failures: u32, skipped: u32| {
            format!(
                "<testsuite name=\"{name}\" tests=\"1\" failures=\"{failures}\" errors=\"0\" \
                 skipped=\"{skipped}\" time=\"0.250\">\n<testcase classname=\"g\" \
                 name=\"a_claim\" time=\"0.250\""
            )
        };
        let (all, own) = (report().junit(3), report().junit(1));
        for wanted in [suite("one", 0, 0), suite("two", 1, 0), suite("three", 0, 1)] {
            assert!(all.contains(&wanted), "{all}");
        }
        assert!(own.contains(&suite("two", 0, 1)), "{own}");
    }

    #[test]
    fn no_program_counts_the_failures_of_peers() {
        assert!(report().tap(1).contains("not ok 2 - two g/a_claim # TODO a peer\n"));
        assert!(!report().tap(2).contains("TODO"));
        let junit = report().junit(1);
        assert!(
            junit.contains("<skipped message=\"a peer fails: a &lt; ")
                && !junit.contains("<failure")
        );
    }
}
