//! `cargo xtask test`: every check and suite in turn, and one line at the end that counts them.
//! A suite that fails does not stop the others.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::build::{self, Profile};
use crate::setup::{self, Purpose};
use crate::{bench, sh, tidy, vm};

/// How much to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What every change has to pass.
    Usual,
    /// Long repetitions too.
    Full,
}

/// What the suites found.
#[derive(Debug, Default)]
struct Count {
    passed: usize,
    /// By name.
    failed: Vec<String>,
    /// The text after `SKIPPED `.
    skipped: BTreeSet<String>,
}

/// What a test prints that can't run here: `SKIPPED <test>: needs <facility>`.
const SKIPPED: &str = "SKIPPED ";

impl Count {
    /// One check that either passes or fails.
    fn check(&mut self, name: &str, result: anyhow::Result<()>) {
        match result {
            Ok(()) => self.passed += 1,
            Err(error) => {
                eprintln!("FAILED {name}: {error:#}");
                self.failed.push(name.to_owned());
            }
        }
    }

    /// The lines of one of our own suites: `SKIPPED …`, `FAILED …` and the closing line.
    fn read_own(&mut self, suite: &str, seen: &sh::Seen) {
        let closing = seen.lines.iter().rev().find_map(|line| closing_line(line));
        let mut failed = 0;
        for line in &seen.lines {
            if let Some(skipped) = line.strip_prefix(SKIPPED) {
                self.skipped.insert(format!("{suite} {skipped}"));
            } else if let Some(name) = line.strip_prefix("FAILED ") {
                self.failed.push(format!("{suite} {name}"));
                failed += 1;
            }
        }
        match closing {
            Some((passed, _)) => self.passed += passed,
            None => self.failed.push(format!("{suite}: ended without its closing line")),
        }
        if !seen.status.success() && failed == 0 && closing.is_some() {
            self.failed.push(format!("{suite}: {}", seen.status));
        }
    }

    fn print(&self) {
        for skipped in &self.skipped {
            println!("skipped: {skipped}");
        }
        for failed in &self.failed {
            println!("failed: {failed}");
        }
        let (failed, skipped) = (self.failed.len(), self.skipped.len());
        println!("{} passed, {failed} failed, {skipped} skipped", self.passed);
    }
}

/// Reads `N passed, N failed, N skipped`: passed and failed.
fn closing_line(line: &str) -> Option<(usize, usize)> {
    let mut parts = line.split(", ");
    let passed = parts.next()?.strip_suffix(" passed")?.parse().ok()?;
    let failed = parts.next()?.strip_suffix(" failed")?.parse().ok()?;
    parts.next()?.strip_suffix(" skipped")?;
    Some((passed, failed))
}

/// Runs everything and fails where anything did.
pub(crate) fn run(workspace: &Path, extent: Extent) -> anyhow::Result<()> {
    setup::run(Purpose::Test)?;
    let mut count = Count::default();
    sh::step("tidy, format, clippy");
    count.check("tidy", tidy::run(workspace));
    count.check("format", sh::run(sh::cargo(workspace).args(["fmt", "--all", "--check"])));
    let clippy = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"];
    count.check("clippy", sh::run(sh::cargo(workspace).args(clippy)));
    let bin = build::run(workspace, Profile::Dev)?;
    let python = crate::python::ready(workspace);
    let environment = |command: &mut Command| {
        command.env("LOADLINE_BIN_DIR", &bin).env("RUST_BACKTRACE", "1");
        if let Some(python) = &python {
            command.env("LOADLINE_PYTHON", python);
        }
        if extent == Extent::Full {
            command.env("LOADLINE_TEST_FULL", "1");
        }
    };
    cargo_tests(workspace, &environment, &mut count)?;
    for (suite, program, arguments) in own_suites() {
        sh::step(&format!("{suite}: {program} {}", arguments.join(" ")));
        let mut command = sh::command(workspace, bin.join(program));
        environment(command.args(arguments));
        count.read_own(suite, &sh::tee(&mut command)?);
    }
    budget(workspace, &mut count)?;
    virtual_machine(workspace, &bin, extent, &mut count)?;
    count.print();
    if !count.failed.is_empty() {
        bail!("{} failed", count.failed.len());
    }
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
    sh::step("budget: system calls and instructions of the runtime");
    count.read_own("budget", &sh::tee(&mut command)?);
    Ok(())
}

fn own_suites() -> Vec<(&'static str, &'static str, Vec<&'static str>)> {
    vec![
        ("conformance", "loadline-conformance", vec!["--runtime", "loadline-runtime"]),
        ("engines", "loadline-engines", vec!["--runtime", "loadline-runtime"]),
        ("demo", "loadline-demo", vec![]),
    ]
}

/// The unit, integration and end-to-end tests, by nextest where it is installed.
fn cargo_tests(
    workspace: &Path,
    environment: &dyn Fn(&mut Command),
    count: &mut Count,
) -> anyhow::Result<()> {
    let nextest = sh::cargo(workspace)
        .args(["nextest", "--version"])
        .output()
        .is_ok_and(|output| output.status.success());
    let mut cargo = sh::cargo(workspace);
    environment(&mut cargo);
    if nextest {
        sh::step("unit, integration and end-to-end tests (cargo nextest)");
        // nextest keeps its store in the workspace, wherever cargo's target folder is.
        let report = workspace.join("target/nextest/default/junit.xml");
        // A report of an earlier run must not be taken for this one's.
        drop(std::fs::remove_file(&report));
        let seen = sh::tee(cargo.args(["nextest", "run", "--workspace", "--no-fail-fast"]))?;
        let text = std::fs::read_to_string(&report).unwrap_or_default();
        if text.is_empty() {
            count.failed.push(format!("cargo nextest: no report in {}", report.display()));
        }
        read_junit(&text, count);
        if !seen.status.success() && !text.contains("<failure") {
            count.failed.push(format!("cargo nextest: {}", seen.status));
        }
    } else {
        sh::step("unit, integration and end-to-end tests (cargo test: nextest is not installed)");
        let arguments = ["test", "--workspace", "--no-fail-fast", "--", "--show-output"];
        let seen = sh::tee(cargo.args(arguments))?;
        read_libtest(&seen.lines, count);
        if !seen.status.success() && count.failed.is_empty() {
            count.failed.push(format!("cargo test: {}", seen.status));
        }
    }
    Ok(())
}

/// The report of nextest. Skips are lines in the output of tests that passed.
fn read_junit(text: &str, count: &mut Count) {
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
        let tag = ["<system-out>", "<system-err>"].into_iter().find_map(|t| line.strip_prefix(t));
        let shown = tag.unwrap_or(line);
        if let Some(text) = shown.strip_prefix(SKIPPED) {
            skipped.insert(text.split('<').next().unwrap_or_default().to_owned());
        }
    }
    failed.dedup();
    count.passed += tests - failed.len() - skipped.len().min(tests - failed.len());
    count.failed.extend(failed);
    count.skipped.extend(skipped);
}

/// The output of `cargo test -- --show-output`.
fn read_libtest(lines: &[String], count: &mut Count) {
    let mut skipped = BTreeSet::new();
    for line in lines {
        if let Some(text) = line.strip_prefix(SKIPPED) {
            skipped.insert(text.to_owned());
        } else if let Some(test) = line.strip_prefix("test ") {
            if line.ends_with(" ... ok") {
                count.passed += 1;
            } else if let Some(name) = test.strip_suffix(" ... FAILED") {
                count.failed.push(name.to_owned());
            }
        }
    }
    count.passed -= skipped.len().min(count.passed);
    count.skipped.extend(skipped);
}

/// Tests that run in a machine: the name of cargo's test target, what is process 1, and which of
/// its tests. Those of `e2e` are about cgroups and processes, and so differ on version 2; all of
/// them would take too long under emulation. With `--full` only: an emulated machine on a busy host
/// can be so slow that its agent loses its lease again and again.
const IN_MACHINES: &[(&str, vm::Init, &[&str])] = &[
    ("e2e", vm::Init::Script, &["containers::", "agent_death::tasks", "--skip", "debian"]),
    ("checkpoint", vm::Init::Script, &[]),
    ("systemd", vm::Init::Systemd, &[]),
    ("units", vm::Init::Systemd, &[]),
];

/// The conformance suite and some tests again, on unified cgroups and with systemd.
fn virtual_machine(
    workspace: &Path,
    bin: &Path,
    extent: Extent,
    count: &mut Count,
) -> anyhow::Result<()> {
    if let Some(why) = vm::missing() {
        count.skipped.insert(format!("vm conformance, e2e and systemd: needs {why}"));
        return Ok(());
    }
    let options = vm::Options { bin: Some(bin.to_owned()), ..vm::Options::default() };
    sh::step("conformance on cgroup v2, in a virtual machine");
    let suite = bin.join("loadline-conformance");
    let suite = suite.to_str().context("the path of the suite is no text")?;
    let command = [suite, "--runtime", "loadline-runtime"].map(str::to_owned);
    match vm::run_seen(workspace, &command, &options) {
        Ok(seen) => count.read_own("vm conformance", &seen),
        Err(error) => count.check("vm conformance", Err(error)),
    }
    if extent != Extent::Full {
        println!("the tests of e2e, systemd and units in a virtual machine are part of --full");
        return Ok(());
    }
    for (target, init, tests) in IN_MACHINES {
        sh::step(&format!("tests of {target} on cgroup v2, in a virtual machine"));
        let mut command = vec![test_program(workspace, target)?];
        let options_of_libtest = ["--test-threads", "1", "--color", "never", "--show-output"];
        command.extend(options_of_libtest.iter().chain(*tests).map(|word| (*word).to_owned()));
        let failed = count.failed.len();
        let options = vm::Options { init: *init, ..options.clone() };
        match vm::run_seen(workspace, &command, &options) {
            Ok(seen) => {
                read_libtest(&seen.lines, count);
                if !seen.status.success() && count.failed.len() == failed {
                    count.failed.push(format!("vm {target}: {}", seen.status));
                }
            }
            Err(error) => count.check(&format!("vm {target}"), Err(error)),
        }
    }
    Ok(())
}

/// The program of a test target, built where it is not. The whole workspace is named, as for
/// nextest: for one package alone, cargo may choose other features and compile everything again.
fn test_program(workspace: &Path, target: &str) -> anyhow::Result<String> {
    let mut cargo = sh::cargo(workspace);
    cargo.args(["test", "--quiet", "--workspace", "--test", target, "--no-run"]);
    cargo.args(["--message-format", "json"]);
    let output = cargo.output().context("start cargo to build the tests")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str(line).ok());
    let program = messages
        .filter(|message: &serde_json::Value| message["target"]["name"] == target)
        .find_map(|message| message["executable"].as_str().map(str::to_owned));
    program.with_context(|| String::from_utf8_lossy(&output.stderr).trim().to_owned())
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
        read_junit(text, &mut count);
        assert_eq!((count.passed, count.failed), (1, vec!["a two".to_owned()]));
        assert!(count.skipped.contains("three: needs root"));
    }

    #[test]
    fn the_output_of_libtest_is_counted() {
        let lines = ["test a ... ok", "test b ... FAILED", "test c ... ok", "SKIPPED c: needs x"];
        let mut count = Count::default();
        read_libtest(&lines.map(str::to_owned), &mut count);
        assert_eq!((count.passed, count.failed.len(), count.skipped.len()), (1, 1, 1));
    }
}
