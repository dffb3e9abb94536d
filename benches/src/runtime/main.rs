//! `loadline-bench-runtime`: OCI runtimes on equal terms, as ratios to a floor and to each other.
//!
//! ```text
//! subjects × scenarios ─▶ blocks of samples, in turn ─▶ summary (per block, then across) ─▶ report
//! ```
//!
//! Invariants: every sample is started by the same spawner (`benches/c/spawn.c`) on the same bundle
//! in the same mount namespace; within a block the subjects take turns, and a ratio is made of two
//! numbers of one block, so that what else happens on the machine meets both; what the machine was
//! too noisy to tell is said to be so. Method: docs/bench-runtime.md.

#![forbid(unsafe_code)]

mod bundle;
mod limit;
mod measure;
mod noise;
mod plot;
mod profile;
mod report;
mod spawn;
mod stats;
mod subject;
mod summary;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;

#[derive(Debug, Parser)]
#[command(about = "Compares OCI runtimes on this machine; as root")]
struct Arguments {
    /// Where spawn, floor and noop lie; results are written there too.
    #[arg(long)]
    tools: PathBuf,
    /// Loadline's runtime.
    #[arg(long)]
    runtime: PathBuf,
    /// A peer, by path or by its name in PATH; several are possible. Without any: crun, runc and
    /// youki, those of them that are installed.
    #[arg(long)]
    peer: Vec<PathBuf>,
    /// Fewer samples: a first look, in two to five minutes.
    #[arg(long)]
    quick: bool,
    /// Where the profile of system calls is read, in the form of containers-common.
    #[arg(long, default_value = "/usr/share/containers/seccomp.json")]
    seccomp: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("loadline-bench-runtime: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let load_before = noise::load();
    bundle::isolate().context("make a mount namespace of its own (as root)")?;
    let subjects = subject::all(arguments)?;
    let world = bundle::World::make(arguments)?;
    let extent = if arguments.quick { measure::QUICK } else { measure::FULL };
    let spawner = spawn::Spawner { program: arguments.tools.join("spawn"), patience: None };
    let mut left_out = measure::warm_up(&spawner, &world, &subjects)?;
    let blocks = measure::run(&spawner, &world, &subjects, extent, &mut left_out)?;
    let limits = limit::smallest(&spawner, &world, &subjects, &left_out)?;
    let summary = summary::Summary::of(&subjects, &blocks, &limits, load_before);
    let (json, svg) = (arguments.tools.join("runtime.json"), arguments.tools.join("runtime.svg"));
    std::fs::write(&json, serde_json::to_string_pretty(&summary)? + "\n")
        .with_context(|| format!("write {}", json.display()))?;
    std::fs::write(&svg, plot::svg(&summary))
        .with_context(|| format!("write {}", svg.display()))?;
    print!("{}", report::text(&summary));
    println!("\n{}\n{}", json.display(), svg.display());
    Ok(())
}
