//! `cargo xtask test`: every check and suite in turn, and one line at the end that counts them.
//! A suite that fails does not stop the others.

mod count;
mod machines;
mod table;

use std::path::Path;
use std::process::Command;

use anyhow::bail;

use crate::build::{self, Profile};
use crate::setup::{self, Purpose};
use crate::{bench, sh, tidy};
use count::Count;

/// How much to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What every change has to pass.
    Usual,
    /// Long repetitions too.
    Full,
}

/// Runs everything and fails where anything did.
pub(crate) fn run(workspace: &Path, extent: Extent) -> anyhow::Result<()> {
    setup::run(Purpose::Test)?;
    let mut count = Count::default();
    sh::step("tidy, format, clippy");
    count.suite("tidy, format, clippy", |count| {
        count.check("tidy", tidy::run(workspace));
        count.check("format", sh::run(sh::cargo(workspace).args(["fmt", "--all", "--check"])));
        let clippy = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"];
        count.check("clippy", sh::run(sh::cargo(workspace).args(clippy)));
    });
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
    let mut tested = Ok(());
    count.suite("unit, integration and end-to-end tests", |count| {
        tested = cargo_tests(workspace, &environment, count);
    });
    tested?;
    for (suite, program, arguments) in own_suites() {
        sh::step(&format!("{suite}: {program} {}", arguments.join(" ")));
        let mut command = sh::command(workspace, bin.join(program));
        environment(command.args(arguments));
        count.suite(suite, |count| match sh::tee(&mut command) {
            Ok(seen) => count.read_own(suite, &seen),
            Err(error) => count.check(suite, Err(error)),
        });
    }
    let mut spent = Ok(());
    count.suite("budget", |count| spent = budget(workspace, count));
    spent?;
    machines::run(workspace, &bin, extent, &mut count)?;
    print!("{}", table::table(&count));
    if extent == Extent::Full {
        table::write(workspace, &count)?;
    }
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
        count.read_junit(&text);
        if !seen.status.success() && !text.contains("<failure") {
            count.failed.push(format!("cargo nextest: {}", seen.status));
        }
    } else {
        sh::step("unit, integration and end-to-end tests (cargo test: nextest is not installed)");
        let arguments = ["test", "--workspace", "--no-fail-fast", "--", "--show-output"];
        let seen = sh::tee(cargo.args(arguments))?;
        count.read_libtest(&seen.lines);
        if !seen.status.success() && count.failed.is_empty() {
            count.failed.push(format!("cargo test: {}", seen.status));
        }
    }
    Ok(())
}
