//! `cargo xtask test`: every check and suite in turn, and one line at the end that counts them.
//! A suite that fails does not stop the others, and each can be run alone.

mod count;
mod machines;
mod table;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, bail};

use crate::build::{self, Profile};
use crate::setup::{self, Purpose};
use crate::{bench, sh, tidy};
use count::Count;
use machines::Machine;
use table::Row;

/// How much to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What every change has to pass.
    Usual,
    /// Long repetitions too.
    Full,
}

/// One suite: a row of the table.
struct Suite {
    name: String,
    /// Whether only `--full` runs it.
    extent: Extent,
    what: What,
}

/// What a suite runs.
enum What {
    Style,
    Tests(&'static Tests),
    Own(&'static Own),
    Budget,
    Machine(&'static Machine),
}

/// Tests that cargo finds.
struct Tests {
    /// nextest's expression.
    filter: &'static str,
    /// What says the same to `cargo test`.
    arguments: &'static [&'static str],
}

/// A program of ours that ends with the line that counts.
struct Own {
    program: &'static str,
    arguments: &'static [&'static str],
    /// How many containers each race of the escape suite creates, where it is not the usual number.
    race_rounds: Option<&'static str>,
}

const UNIT: Tests = Tests {
    filter: "not (package(loadline-tests) and kind(test))",
    arguments: &["--workspace", "--exclude", "loadline-tests"],
};
const END_TO_END: Tests = Tests {
    filter: "package(loadline-tests) and kind(test)",
    arguments: &["--package", "loadline-tests"],
};
const CONFORMANCE: Own = Own {
    program: "loadline-conformance",
    arguments: &["--runtime", "loadline-runtime"],
    race_rounds: None,
};
const RACES: Own = Own {
    program: "loadline-conformance",
    arguments: &["--runtime", "loadline-runtime", "--filter", "swapped"],
    race_rounds: Some("10000"),
};
const ENGINES: Own = Own {
    program: "loadline-engines",
    arguments: &["--runtime", "loadline-runtime"],
    race_rounds: None,
};
const DEMO: Own = Own { program: "loadline-demo", arguments: &[], race_rounds: None };

/// All suites, in the order in which they run.
fn all() -> Vec<Suite> {
    let usual = |name: &str, what| Suite { name: name.to_owned(), extent: Extent::Usual, what };
    let mut suites = vec![
        usual("tidy, format, clippy", What::Style),
        usual("unit and integration tests", What::Tests(&UNIT)),
        usual("end-to-end tests", What::Tests(&END_TO_END)),
        usual("conformance", What::Own(&CONFORMANCE)),
        usual("engines", What::Own(&ENGINES)),
        usual("demo", What::Own(&DEMO)),
        usual("budget", What::Budget),
    ];
    suites.extend(machines::MACHINES.iter().map(|machine| Suite {
        name: format!("vm: {}", machine.name),
        extent: machine.extent,
        what: What::Machine(machine),
    }));
    suites.push(Suite { extent: Extent::Full, ..usual("races, 10,000 rounds", What::Own(&RACES)) });
    suites
}

/// What all suites stand on.
struct Ground<'a> {
    workspace: &'a Path,
    bin: PathBuf,
    python: Option<PathBuf>,
    node: Option<PathBuf>,
    extent: Extent,
}

impl Ground<'_> {
    fn prepare(&self, command: &mut Command) {
        command.env("LOADLINE_BIN_DIR", &self.bin).env("RUST_BACKTRACE", "1");
        if let Some(python) = &self.python {
            command.env("LOADLINE_PYTHON", python);
        }
        if let Some(node) = &self.node {
            command.env("LOADLINE_NODE_MODULES", node);
        }
        if self.extent == Extent::Full {
            command.env("LOADLINE_TEST_FULL", "1");
        }
    }
}

/// Runs the suites that have one of `names` in theirs, or all; fails where anything did.
pub(crate) fn run(workspace: &Path, extent: Extent, names: &[String]) -> anyhow::Result<()> {
    let suites = all();
    let order: Vec<String> = suites.iter().map(|suite| suite.name.clone()).collect();
    let suites = chosen(suites, extent, names)?;
    setup::run(Purpose::Test)?;
    let (mut rows, mut ground) = (Vec::new(), None);
    for suite in &suites {
        sh::step(&suite.name);
        let (begun, mut count) = (Instant::now(), Count::default());
        let ran = run_one(workspace, extent, suite, &mut ground, &mut count);
        if let Err(error) = ran {
            count.check("it could not be run", Err(error));
        }
        let row = Row::new(workspace, &suite.name, &count, begun.elapsed());
        if extent == Extent::Full {
            // At once: a run of hours that is broken off has told something.
            table::write(workspace, &order, std::slice::from_ref(&row))?;
        }
        rows.push(row);
    }
    print!("{}", table::table(&rows));
    // What failed comes last: a log is read from its end, and often only that is kept.
    let notes = || rows.iter().flat_map(|row| row.notes.iter().map(move |note| (row, note)));
    let (failures, others): (Vec<_>, Vec<_>) =
        notes().partition(|(_, note)| note.starts_with(table::FAILED));
    for (row, note) in others.iter().chain(&failures) {
        println!("{note} ({})", row.suite);
    }
    let (passed, failed, skipped) = table::sums(&rows);
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed != 0 {
        bail!("{failed} failed");
    }
    Ok(())
}

/// The suites that are asked for: by the whole name, or by a part of names.
fn chosen(suites: Vec<Suite>, extent: Extent, names: &[String]) -> anyhow::Result<Vec<Suite>> {
    let has_it = |name: &String| suites.iter().any(|suite| suite.name == *name);
    let whole: Vec<&String> = names.iter().filter(|name| has_it(name)).collect();
    let means = |name: &String, suite: &Suite| match whole.contains(&name) {
        true => suite.name == *name,
        false => suite.name.contains(name),
    };
    for name in names {
        let of_name: Vec<&Suite> = suites.iter().filter(|s| means(name, s)).collect();
        if of_name.is_empty() {
            let known: Vec<&str> = suites.iter().map(|suite| suite.name.as_str()).collect();
            bail!("no suite has {name:?} in its name; there are: {}", known.join("; "));
        }
        if extent == Extent::Usual && of_name.iter().all(|s| s.extent == Extent::Full) {
            bail!("{:?} takes long, and is part of --full", of_name[0].name);
        }
    }
    let asked = |suite: &Suite| names.is_empty() || names.iter().any(|name| means(name, suite));
    let (run, later): (Vec<Suite>, Vec<Suite>) = suites
        .into_iter()
        .filter(asked)
        .partition(|suite| suite.extent == Extent::Usual || extent == Extent::Full);
    later.iter().for_each(|suite| println!("{} is part of --full", suite.name));
    Ok(run)
}

/// Runs a suite. The programs are built before the first that needs them.
fn run_one<'a>(
    workspace: &'a Path,
    extent: Extent,
    suite: &Suite,
    ground: &mut Option<Ground<'a>>,
    count: &mut Count,
) -> anyhow::Result<()> {
    if matches!(suite.what, What::Style) {
        style(workspace, count);
        return Ok(());
    }
    if matches!(suite.what, What::Budget) {
        return budget(workspace, count);
    }
    if ground.is_none() {
        let bin = build::run(workspace, Profile::Dev)?;
        let (python, node) = (crate::python::ready(workspace), crate::node::ready(workspace));
        *ground = Some(Ground { workspace, bin, python, node, extent });
    }
    let ground = ground.as_ref().context("the programs were built")?;
    match &suite.what {
        What::Tests(tests) => cargo_tests(ground, tests, count),
        What::Own(own) => own_suite(ground, own, count),
        What::Machine(machine) => machines::run(workspace, &ground.bin, machine, count),
        What::Style | What::Budget => Ok(()),
    }
}

fn style(workspace: &Path, count: &mut Count) {
    count.check("tidy", tidy::run(workspace));
    count.check("format", sh::run(sh::cargo(workspace).args(["fmt", "--all", "--check"])));
    let clippy = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"];
    count.check("clippy", sh::run(sh::cargo(workspace).args(clippy)));
}

fn own_suite(ground: &Ground<'_>, own: &Own, count: &mut Count) -> anyhow::Result<()> {
    let mut command = sh::command(ground.workspace, ground.bin.join(own.program));
    ground.prepare(command.args(own.arguments));
    if let Some(rounds) = own.race_rounds {
        command.env("LOADLINE_RACE_ROUNDS", rounds);
    }
    count.read_own(&sh::tee(&mut command)?);
    Ok(())
}

/// What the runtime costs, in numbers that a busy machine does not change. They are of the program
/// that is shipped, and of its C library.
fn budget(workspace: &Path, count: &mut Count) -> anyhow::Result<()> {
    if !build::has_musl(workspace) {
        let needs = "budget: needs Rust's standard library for x86_64-unknown-linux-musl";
        count.skipped.insert(needs.to_owned());
        return Ok(());
    }
    let mut command = bench::budget(workspace)?;
    count.read_own(&sh::tee(&mut command)?);
    Ok(())
}

/// Tests by nextest, where it is installed.
fn cargo_tests(ground: &Ground<'_>, tests: &Tests, count: &mut Count) -> anyhow::Result<()> {
    let workspace = ground.workspace;
    let nextest = sh::cargo(workspace)
        .args(["nextest", "--version"])
        .output()
        .is_ok_and(|output| output.status.success());
    let mut cargo = sh::cargo(workspace);
    ground.prepare(&mut cargo);
    if !nextest {
        sh::step("cargo test: nextest is not installed");
        cargo.args(["test", "--no-fail-fast"]).args(tests.arguments).args(["--", "--show-output"]);
        let seen = sh::tee(&mut cargo)?;
        count.read_libtest(&seen.lines);
        if !seen.status.success() && count.failed.is_empty() {
            count.failed.push(format!("cargo test: {}", seen.status));
        }
        return Ok(());
    }
    // nextest keeps its store in the workspace, wherever cargo's target folder is.
    let report = workspace.join("target/nextest/default/junit.xml");
    // A report of an earlier run must not be taken for this one's.
    drop(std::fs::remove_file(&report));
    cargo.args(["nextest", "run", "--workspace", "--no-fail-fast", "-E", tests.filter]);
    let seen = sh::tee(&mut cargo)?;
    let text = std::fs::read_to_string(&report).unwrap_or_default();
    if text.is_empty() {
        count.failed.push("cargo nextest: no report".to_owned());
    }
    count.read_junit(&text);
    if !seen.status.success() && !text.contains("<failure") {
        count.failed.push(format!("cargo nextest: {}", seen.status));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(extent: Extent, asked: &[&str]) -> anyhow::Result<Vec<String>> {
        let asked: Vec<String> = asked.iter().map(|name| (*name).to_owned()).collect();
        Ok(chosen(all(), extent, &asked)?.into_iter().map(|suite| suite.name).collect())
    }

    #[test]
    fn a_suite_can_be_asked_for_by_a_part_of_its_name() {
        assert_eq!(names(Extent::Full, &["races"]).unwrap(), ["races, 10,000 rounds"]);
        assert_eq!(names(Extent::Full, &["conformance"]).unwrap(), ["conformance"]);
        let both = names(Extent::Usual, &["budget", "demo"]).unwrap();
        assert_eq!(both, ["demo", "budget"]);
        let error = names(Extent::Full, &["nothing"]).unwrap_err().to_string();
        assert!(error.contains("unit and integration tests"), "{error}");
    }

    #[test]
    fn what_takes_long_runs_only_in_full() {
        let usual = names(Extent::Usual, &[]).unwrap();
        let full = names(Extent::Full, &[]).unwrap();
        assert_eq!(full.len(), all().len());
        assert!(usual.len() < full.len() && usual.iter().all(|name| full.contains(name)));
        let error = names(Extent::Usual, &["races"]).unwrap_err().to_string();
        assert!(error.contains("--full"), "{error}");
    }
}
