//! `loadline-conformance`: runs the conformance suite on OCI runtimes and prints a matrix. As root;
//! containers, cgroups and mounts are its own and are removed.

#![forbid(unsafe_code)]

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Parser;
use loadline_tests::conformance::report::{Report, Result};
use loadline_tests::conformance::{Case, Runtime, World, all};
use loadline_tests::kernel;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

/// Runs the conformance suite on OCI runtimes and prints a matrix.
#[derive(Debug, Parser)]
#[command(name = "loadline-conformance")]
struct Arguments {
    /// A runtime under test: a path, or a program in PATH. May be given several times.
    #[arg(long, default_value = "loadline-runtime")]
    runtime: Vec<String>,
    /// A runtime to compare with: shown in the matrix, its failures are not counted.
    #[arg(long)]
    peer: Vec<String>,
    /// Only cases whose `group/name` contains this. May be given several times.
    #[arg(long)]
    filter: Vec<String>,
    /// How long one call of a runtime may take, in seconds: less than usual helps where one hangs.
    #[arg(long)]
    patience: Option<u64>,
    /// Only the names of the cases.
    #[arg(long)]
    list: bool,
    /// Writes the results here as TAP.
    #[arg(long)]
    tap: Option<PathBuf>,
    /// Writes the results here as JUnit's XML.
    #[arg(long)]
    junit: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("loadline-conformance: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let wanted = |case: &Case| {
        let name = format!("{}/{}", case.group, case.name);
        arguments.filter.is_empty() || arguments.filter.iter().any(|part| name.contains(part))
    };
    let cases: Vec<Case> = all().into_iter().filter(wanted).collect();
    if cases.is_empty() {
        bail!("no case has {} in its name: --list has the names", arguments.filter.join(" or "));
    }
    if arguments.list {
        cases.iter().for_each(|case| println!("{}/{}", case.group, case.name));
        return Ok(true);
    }
    if !kernel::is_root() {
        bail!("containers with cgroups and mounts need root: start this as root");
    }
    if let Some(seconds) = arguments.patience {
        loadline_tests::program::set_patience(std::time::Duration::from_secs(seconds));
    }
    // What a runtime leaves behind comes to us and not to a process 1 that may not reap.
    nix::sys::prctl::set_child_subreaper(true).context("become a subreaper")?;
    let names = arguments.runtime.iter().chain(&arguments.peer);
    let runtimes: Vec<Runtime> =
        names.map(|name| Runtime::new(name)).collect::<anyhow::Result<_>>()?;
    let mut rows = Vec::new();
    let shown = std::io::stderr().is_terminal();
    for (at, case) in cases.iter().enumerate() {
        if shown {
            eprint!("\r\x1b[K[{}/{}] {}", at + 1, cases.len(), case.name);
        }
        let results = runtimes.iter().map(|runtime| {
            let result = World::new(runtime, case.name).and_then(|world| (case.run)(&world));
            reap();
            Result::from(result)
        });
        rows.push((*case, results.collect()));
    }
    if shown {
        eprint!("\r\x1b[K");
    }
    let report = Report { runtimes: runtimes.into_iter().map(|r| r.name).collect(), rows };
    finish(arguments, &report)
}

fn finish(arguments: &Arguments, report: &Report) -> anyhow::Result<bool> {
    print!("{}", report.matrix());
    print!("{}", report.reasons(arguments.runtime.len()));
    let (passed, failed, skipped) = report.count(arguments.runtime.len());
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if let Some(path) = &arguments.tap {
        let text = report.tap(arguments.runtime.len());
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    }
    if let Some(path) = &arguments.junit {
        let text = report.junit(arguments.runtime.len());
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(failed == 0)
}

/// Zombies of containers whose parents are gone.
fn reap() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            return;
        }
    }
}
