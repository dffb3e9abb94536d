//! `cargo xtask VERB`: what the people who build Loadline repeat. One verb, one module; every verb
//! can be typed on a fresh machine and says what it does, and what to do where it can't.

#![forbid(unsafe_code)]

mod bench;
mod build;
mod fuzz;
mod node;
mod peers;
mod python;
mod setup;
mod sh;
mod suite;
mod tidy;
mod vm;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use setup::Purpose;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "What the people who build Loadline repeat")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Installs what the other verbs need and this machine lacks (Debian packages; as root).
    Setup,
    /// Builds all programs into target/loadline/bin (or target/loadline/dist).
    Build {
        /// How they are compiled.
        #[arg(long, value_enum, default_value_t)]
        profile: build::Profile,
    },
    /// Starts a cluster on this machine and shows what it claims, with a table at the end.
    Demo,
    /// Runs every check and every suite, and counts them at the end.
    Test {
        /// Long repetitions too; writes docs/full-run.md.
        #[arg(long)]
        full: bool,
        /// Only the suite of this name, or those with it in theirs. May be given several times.
        #[arg(long)]
        suite: Vec<String>,
    },
    /// Checks the style rules: one line for each finding, exit 0 where there is none.
    Tidy,
    /// Runs the conformance suite on OCI runtimes; `-- --help` tells its options.
    Conformance {
        /// For example `--runtime /usr/sbin/runc --peer crun`; youki is built where it is named.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Measures, and compares with others. Results are ratios within one run.
    Bench {
        #[command(subcommand)]
        what: bench::What,
    },
    /// Measures which functions of the runtime a start uses, and writes their order into
    /// runtime/order.ld. After larger changes, as root.
    Order,
    /// Runs the fuzz targets under libFuzzer: config.json, seccomp, records, mounts, command lines.
    Fuzz {
        /// Only this one.
        target: Option<String>,
        /// How many inputs each gets.
        #[arg(long, default_value_t = 200_000)]
        runs: u64,
        /// How long each runs instead.
        #[arg(long, conflicts_with = "runs")]
        seconds: Option<u64>,
    },
    /// Runs a command in a virtual machine with cgroup v2, or v1 alone, on this machine's files.
    Vm {
        /// What runs as process 1.
        #[arg(long, value_enum, default_value_t)]
        init: vm::Init,
        /// Which cgroups it has.
        #[arg(long, value_enum, default_value_t)]
        cgroups: vm::Cgroups,
        /// Memory of the machine.
        #[arg(long, default_value_t = vm::Options::default().memory_mib)]
        memory_mib: u32,
        /// Processors of the machine.
        #[arg(long, default_value_t = vm::Options::default().cpus)]
        cpus: u32,
        /// Minutes from the machine's start after which it is ended.
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=1440))]
        minutes: u64,
        /// The program and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> anyhow::Result<()> {
    let workspace = workspace()?;
    match verb {
        Verb::Setup => setup::run(Purpose::Test),
        Verb::Build { profile } => {
            setup::run(Purpose::Build)?;
            let folder = build::run(&workspace, profile)?;
            println!("{}", folder.display());
            Ok(())
        }
        Verb::Demo => {
            setup::run(Purpose::Demo)?;
            let bin = build::run(&workspace, build::Profile::Dev)?;
            sh::run(sh::command(&workspace, bin.join("loadline-demo")).env("LOADLINE_BIN_DIR", bin))
        }
        Verb::Test { full, suite } => {
            let extent = if full { suite::Extent::Full } else { suite::Extent::Usual };
            suite::run(&workspace, extent, &suite)
        }
        Verb::Tidy => tidy::run(&workspace),
        Verb::Conformance { arguments } => {
            setup::run(Purpose::Build)?;
            let bin = build::conformance(&workspace)?;
            let peers = peers::ready(&workspace, &arguments)?;
            let path = std::env::var_os("PATH").unwrap_or_default();
            let path = std::env::join_paths(std::env::split_paths(&path).chain([peers]))
                .context("add the peers to PATH")?;
            let mut suite = sh::command(&workspace, bin.join("loadline-conformance"));
            sh::run(suite.args(arguments).env("LOADLINE_BIN_DIR", bin).env("PATH", path))
        }
        Verb::Bench { what } => bench::run(&workspace, what),
        Verb::Order => bench::order(&workspace),
        Verb::Fuzz { target, runs, seconds } => {
            let until = seconds.map_or(fuzz::Until::Runs(runs), fuzz::Until::Seconds);
            fuzz::run(&workspace, target.as_deref(), until)
        }
        Verb::Vm { init, cgroups, memory_mib, cpus, minutes, command } => {
            let timeout = Duration::from_secs(60 * minutes);
            let machine = vm::Options { init, cgroups, memory_mib, ..vm::Options::default() };
            let options = vm::Options { cpus, timeout, ..machine };
            vm::run(&workspace, &command, &options)
        }
    }
}

/// The root of the workspace: the folder above this crate.
fn workspace() -> anyhow::Result<PathBuf> {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .context("CARGO_MANIFEST_DIR is not set: start this as `cargo xtask`")?;
    let parent = Path::new(&manifest).parent().context("the xtask crate has no folder above")?;
    Ok(parent.to_owned())
}
