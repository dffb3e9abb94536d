//! `cargo xtask bench WHAT`: what is measured, each by a program of its own in benches/.

use std::path::Path;

use crate::setup::{self, Purpose};
use crate::{build, sh};

/// What is measured.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum What {
    /// OCI runtimes: a floor, loadline, crun, runc and, where it is installed, youki.
    Runtime {
        /// Installs youki from crates.io into the target folder before (a few minutes, once).
        #[arg(long)]
        youki: bool,
        /// For example `--quick`; `-- --help` tells all.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

/// Builds what is measured and what measures, and runs it.
pub(crate) fn run(workspace: &Path, what: What) -> anyhow::Result<()> {
    setup::run(Purpose::Bench)?;
    match what {
        What::Runtime { youki, arguments } => runtime(workspace, youki, &arguments),
    }
}

fn runtime(workspace: &Path, youki: bool, arguments: &[String]) -> anyhow::Result<()> {
    let runtime = build::runtime(workspace)?;
    let tools = build::bench(workspace)?;
    if youki {
        sh::step("build: youki, from crates.io");
        let mut cargo = sh::cargo(workspace);
        cargo.args(["install", "--quiet", "--locked", "youki", "--root"]).arg(&tools);
        cargo.args(["--no-default-features", "--features", "v1,v2,seccomp"]);
        sh::run(&mut cargo)?;
    }
    // Above everything of the machine that has no priority of its own.
    let mut bench = sh::command(workspace, "nice");
    bench.args(["-n", "-10"]).arg(tools.join("loadline-bench-runtime"));
    bench.arg("--tools").arg(&tools).arg("--runtime").arg(runtime);
    sh::run(bench.args(arguments))
}
