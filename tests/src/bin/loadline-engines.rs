//! `loadline-engines`: runs real container engines on a runtime and tells which of the claims hold.
//! As root; everything that the engines make lies in namespaces and a folder of the suite's own.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Parser;
use loadline_tests::engines::{Claim, World, all, run};
use loadline_tests::{kernel, program, stop};

/// Runs docker, podman, buildah and containerd on an OCI runtime.
#[derive(Debug, Parser)]
#[command(name = "loadline-engines")]
struct Arguments {
    /// The runtime: a path, or a program in PATH. [default: the loadline-runtime beside this
    /// program, else that in PATH]
    #[arg(long)]
    runtime: Option<String>,
    /// Only claims whose `engine/name` contains this. May be given several times.
    #[arg(long)]
    filter: Vec<String>,
    /// Only the names of the claims.
    #[arg(long)]
    list: bool,
    /// How many claims run at a time.
    #[arg(long, default_value_t = 4)]
    at_once: usize,
    /// How many seconds one call of an engine may take, for machines that are emulated.
    #[arg(long)]
    patience: Option<u64>,
}

/// Most characters that are shown of a command line that was left.
const LEFT_SHOWN_MAX: usize = 100;

fn main() -> ExitCode {
    match suite(&Arguments::parse()) {
        Ok(passed) => ExitCode::from(stop::code().unwrap_or(u8::from(!passed))),
        Err(error) => {
            eprintln!("loadline-engines: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn suite(arguments: &Arguments) -> anyhow::Result<bool> {
    let wanted = |claim: &Claim| {
        let name = format!("{claim:?}");
        arguments.filter.is_empty() || arguments.filter.iter().any(|part| name.contains(part))
    };
    let claims: Vec<Claim> = all().into_iter().filter(wanted).collect();
    if claims.is_empty() {
        bail!("no claim has {} in its name: --list has the names", arguments.filter.join(" or "));
    }
    if arguments.list {
        claims.iter().for_each(|claim| println!("{claim:?}"));
        return Ok(true);
    }
    if !kernel::is_root() {
        bail!("engines of its own need root: start this as root");
    }
    if let Some(seconds) = arguments.patience {
        program::set_patience(Duration::from_secs(seconds));
    }
    let runtime = program::runtime(arguments.runtime.as_deref())?;
    eprintln!("loadline-engines: the runtime is {}", runtime.display());
    stop::listen("loadline-engines", "claims")?;
    let begun = Instant::now();
    let world = World::new(runtime)?;
    let (passed, failed, skipped) = run(&world, &claims, arguments.at_once.max(1));
    for process in world.leave() {
        let start: String = process.chars().take(LEFT_SHOWN_MAX).collect();
        println!("left at the end, and killed: {start}");
    }
    println!("in {} s", begun.elapsed().as_secs());
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    Ok(failed == 0)
}
