//! `cargo xtask bench WHAT`: what is measured, each by a program of its own in benches/.

use std::path::Path;

use anyhow::Context as _;

use crate::setup::{self, Purpose};
use crate::{build, peers, sh, vm};

/// What is measured.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum What {
    /// OCI runtimes: a floor, loadline, crun, runc and, where it is installed, youki.
    Runtime {
        /// Builds youki from crates.io before, unless it is there (a few minutes, once).
        #[arg(long)]
        youki: bool,
        /// For example `--quick`; `-- --help` tells all.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// System calls and instructions of fixed runs, which a busy machine does not change, beside
    /// the floor's and the peers'; with --vm on cgroup v2.
    Counts {
        /// In a virtual machine with unified cgroups whose clock counts instructions, so that those
        /// of all are told, the kernel's among them.
        #[arg(long)]
        vm: bool,
    },
    /// A node beside docker and podman: launches, memory, and many idle tasks.
    Agent {
        /// For example `--launches 24 --idle 0`; `-- --help` tells all.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// One controller with 100, 1,000 and 10,000 simulated nodes.
    Controller {
        /// For example `--nodes 100,1000 --seconds 5`; `-- --help` tells all.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

/// Builds what is measured and what measures, and runs it.
pub(crate) fn run(workspace: &Path, what: What) -> anyhow::Result<()> {
    setup::run(Purpose::Bench)?;
    match what {
        What::Runtime { youki, arguments } => runtime(workspace, youki, &arguments),
        What::Counts { vm } => counts(workspace, vm),
        What::Agent { arguments } => agent(workspace, &arguments),
        What::Controller { arguments } => controller(workspace, &arguments),
    }
}

/// Controller and agent as they are shipped; what makes the load is optimized too, because it takes
/// processors from what bears it.
fn agent(workspace: &Path, arguments: &[String]) -> anyhow::Result<()> {
    let programs = build::node(workspace)?;
    let program = "loadline-bench-agent";
    let tools = build::released(workspace, &[(build::BENCH, program)])?;
    let mut bench = sh::command(workspace, tools.join(program));
    bench.arg("--programs").arg(programs);
    bench.arg("--out").arg(build::target(workspace).join("loadline/bench"));
    sh::run(bench.args(arguments))
}

/// As [`agent`].
fn controller(workspace: &Path, arguments: &[String]) -> anyhow::Result<()> {
    let programs = build::node(workspace)?;
    let program = "loadline-bench-controller";
    let tools = build::released(workspace, &[(build::BENCH, program)])?;
    let mut bench = sh::command(workspace, tools.join(program));
    bench.arg("--controller").arg(programs.join("loadline-controller"));
    bench.arg("--agent").arg(programs.join("loadline-agent"));
    bench.arg("--out").arg(build::target(workspace).join("loadline/bench"));
    sh::run(bench.args(arguments))
}

fn runtime(workspace: &Path, youki: bool, arguments: &[String]) -> anyhow::Result<()> {
    let runtime = build::runtime(workspace)?;
    let tools = build::bench(workspace)?;
    let asked: Vec<String> = youki.then(|| "youki".to_owned()).into_iter().collect();
    let peers = peers::ready(workspace, &asked)?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::env::split_paths(&path).chain([peers]))
        .context("add the peers to PATH")?;
    // Above everything of the machine that has no priority of its own.
    let mut bench = sh::command(workspace, "nice");
    bench.args(["-n", "-10"]).arg(tools.join("loadline-bench-runtime"));
    bench.arg("--tools").arg(&tools).arg("--runtime").arg(runtime).env("PATH", path);
    sh::run(bench.args(arguments))
}

/// The command that compares with the budget.
pub(crate) fn budget(workspace: &Path) -> anyhow::Result<std::process::Command> {
    let runtime = build::runtime(workspace)?;
    let tools = build::bench(workspace)?;
    let mut budget = sh::command(workspace, tools.join("loadline-budget"));
    budget.arg("--tools").arg(&tools).arg("--runtime").arg(runtime);
    budget.args(["--budget", "benches/budget.json"]);
    Ok(budget)
}

/// Measures the order of the runtime's functions.
pub(crate) fn order(workspace: &Path) -> anyhow::Result<()> {
    let tools = build::bench(workspace)?;
    let runtime = build::runtime_with_symbols(workspace)?;
    let mut budget = sh::command(workspace, tools.join("loadline-budget"));
    budget.arg("--tools").arg(&tools).arg("--runtime").arg(runtime);
    sh::run(budget.args(["--order", build::ORDER]))
}

fn counts(workspace: &Path, in_vm: bool) -> anyhow::Result<()> {
    let runtime = build::runtime(workspace)?;
    let tools = build::bench(workspace)?;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut command = vec![text(&tools.join("loadline-budget")), "--tools".to_owned()];
    command.extend([text(&tools), "--runtime".to_owned(), text(&runtime)]);
    for peer in ["crun", "runc"].into_iter().filter_map(sh::find) {
        command.extend(["--peer".to_owned(), text(&peer)]);
    }
    if in_vm {
        command.push("--by-clock".to_owned());
        let options = vm::Options { counting_clock: true, ..vm::Options::default() };
        return vm::run(workspace, &command, &options);
    }
    sh::run(sh::command(workspace, &command[0]).args(&command[1..]))
}
