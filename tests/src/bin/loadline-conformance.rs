//! `loadline-conformance`: runs the conformance suite on OCI runtimes and prints a matrix. As root;
//! containers, cgroups and mounts are its own and are removed.

#![forbid(unsafe_code)]

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Parser;
use loadline_tests::conformance::report::{Report, Result, Seen};
use loadline_tests::conformance::{Case, Runtime, World, all};
use loadline_tests::{kernel, output, stop};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

const PROGRAM: &str = "loadline-conformance";

/// Runs the conformance suite on OCI runtimes and prints a matrix.
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version)]
struct Arguments {
    /// A runtime under test: a path, or a program in PATH. May be given several times. [default:
    /// the loadline-runtime beside this program, else that in PATH]
    #[arg(long)]
    runtime: Vec<String>,
    /// A runtime to compare with: shown in the matrix, its failures are not counted.
    #[arg(long)]
    peer: Vec<String>,
    /// Only cases whose `group/name` contains this. May be given several times.
    #[arg(long)]
    filter: Vec<String>,
    /// Cgroups by systemd: each runtime gets `--systemd-cgroup`, and each bundle a scope of
    /// system.slice. Needs systemd.
    #[arg(long)]
    systemd_cgroup: bool,
    /// How long one call of a runtime may take, in seconds: less than usual helps where one hangs.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
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
    /// Writes tables into this page, in place of what follows its line `<!-- matrix -->`.
    #[arg(long)]
    markdown: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(passed) => ExitCode::from(stop::code().unwrap_or(u8::from(!passed))),
        Err(error) => {
            output::tell(&format!("{PROGRAM}: {error:#}\n"));
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
        let names: String = cases.iter().map(|case| format!("{case:?}\n")).collect();
        return Ok(output::did(PROGRAM, output::print(&names)));
    }
    if !kernel::is_root() {
        bail!("containers with cgroups and mounts need root: start this as root");
    }
    if let Some(seconds) = arguments.patience {
        loadline_tests::program::set_patience(Duration::from_secs(seconds));
    }
    for path in arguments.tap.iter().chain(&arguments.junit).chain(&arguments.markdown) {
        let mut open = std::fs::OpenOptions::new();
        let opened = open.append(true).create(Some(path) != arguments.markdown.as_ref()).open(path);
        opened.with_context(|| format!("write {}", path.display()))?;
    }
    // What a runtime leaves behind comes to us and not to a process 1 that may not reap.
    nix::sys::prctl::set_child_subreaper(true).context("become a subreaper")?;
    let own = arguments.runtime.iter().map(|name| Some(name.as_str()));
    let usual = arguments.runtime.is_empty().then_some(None);
    let peers = arguments.peer.iter().map(|name| Some(name.as_str()));
    let given = own.chain(usual).chain(peers);
    let runtimes: Vec<Runtime> = given.map(Runtime::new).collect::<anyhow::Result<_>>()?;
    let columns = runtimes.len() - arguments.peer.len();
    for (at, runtime) in runtimes.iter().enumerate() {
        let part = if at < columns { "the runtime is" } else { "a peer is" };
        output::tell(&format!("{PROGRAM}: {part} {}\n", runtime.path().display()));
    }
    let runtimes: Vec<Runtime> = if arguments.systemd_cgroup {
        if !Path::new("/run/systemd/system").is_dir() {
            bail!("--systemd-cgroup needs a host that systemd manages (sd_booted(3))");
        }
        runtimes.into_iter().map(Runtime::by_systemd).collect()
    } else {
        runtimes
    };
    stop::listen(PROGRAM, "cases")?;
    let rows = rows(&cases, &runtimes);
    if let Some(signal) = stop::asked() {
        let (seen, all) = (rows.len(), cases.len());
        output::tell(&format!("{PROGRAM}: ended by {signal} after {seen} of {all} cases\n"));
    }
    let versions: Vec<String> = runtimes.iter().map(Runtime::version).collect();
    let report = Report { runtimes: names(&runtimes), rows };
    let mut told = finish(arguments, &report, columns);
    // A page of some cases would tell less than the one that it replaces.
    if let Some(path) = arguments.markdown.as_ref().filter(|_| stop::asked().is_none()) {
        told &= output::did(PROGRAM, put(path, &versions, &report));
    }
    Ok(told)
}

/// The names of the columns: file names, and the paths of those that share one.
fn names(runtimes: &[Runtime]) -> Vec<String> {
    let shared = |name: &str| runtimes.iter().filter(|runtime| runtime.name == name).count() > 1;
    let name = |runtime: &Runtime| match shared(&runtime.name) {
        true => runtime.path().display().to_string(),
        false => runtime.name.clone(),
    };
    runtimes.iter().map(name).collect()
}

/// Runs the cases, until a signal asks for an end.
fn rows(cases: &[Case], runtimes: &[Runtime]) -> Vec<(Case, Vec<Seen>)> {
    let mut rows = Vec::new();
    let shown = std::io::stderr().is_terminal();
    for (at, case) in cases.iter().enumerate().take_while(|_| stop::asked().is_none()) {
        if shown {
            output::tell(&format!("\r\x1b[K[{}/{}] {}", at + 1, cases.len(), case.name));
        }
        let results = runtimes.iter().map(|runtime| {
            let begun = Instant::now();
            let result = if stop::asked().is_some() {
                Result::Skipped("a run that is not asked to end".to_owned())
            } else {
                let verdict = World::new(runtime, case.name).and_then(|world| (case.run)(&world));
                reap();
                Result::from(verdict)
            };
            Seen { result, took: begun.elapsed() }
        });
        rows.push((*case, results.collect()));
    }
    if shown {
        output::tell("\r\x1b[K");
    }
    rows
}

/// Tells the results: whether nothing failed, and everything was told.
fn finish(arguments: &Arguments, report: &Report, columns: usize) -> bool {
    let (passed, failed, skipped) = report.count(columns);
    let counted = format!("{passed} passed, {failed} failed, {skipped} skipped\n");
    let text = report.matrix() + &report.reasons(columns) + &counted;
    let mut told = output::did(PROGRAM, output::print(&text));
    let write = |path: &Path, text: String| {
        let written = std::fs::write(path, text);
        output::did(PROGRAM, written.with_context(|| format!("write {}", path.display())))
    };
    if let Some(path) = &arguments.tap {
        told &= write(path, report.tap(columns));
    }
    if let Some(path) = &arguments.junit {
        told &= write(path, report.junit(columns));
    }
    told && failed == 0
}

/// Puts the tables into a page, with the day and the machine.
fn put(path: &Path, versions: &[String], report: &Report) -> anyhow::Result<()> {
    const MARK: &str = "<!-- matrix -->\n";
    let page = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let at = page.find(MARK).with_context(|| format!("{} has no line {MARK}", path.display()))?;
    let day = Command::new("date").args(["-u", "+%Y-%m-%d"]).output().context("ask for the day")?;
    let day = String::from_utf8_lossy(&day.stdout).trim().to_owned();
    let linux = kernel::read(Path::new("/proc/sys/kernel/osrelease"))?;
    let cgroups = kernel::cgroups_kind();
    let text = format!(
        "{}{MARK}\nSeen on {day}, Linux {linux}, cgroups {cgroups}: {}. A cell counts cases: \
         passed / failed / skipped.\n\n{}",
        &page[..at],
        versions.join(", "),
        report.markdown()
    );
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// Zombies of containers whose parents are gone.
fn reap() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            return;
        }
    }
}
