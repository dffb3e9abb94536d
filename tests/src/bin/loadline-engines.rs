//! `loadline-engines`: runs real container engines on a runtime and tells which of the claims hold.
//! As root; everything that the engines make lies in namespaces and a folder of the suite's own.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Parser;
use loadline_tests::engines::{Claim, World, all, run};
use loadline_tests::{kernel, output, program, stop};

const PROGRAM: &str = "loadline-engines";

/// Runs docker, podman, buildah and containerd on an OCI runtime.
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version)]
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
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    patience: Option<u64>,
}

/// Most characters that are shown of a command line that was left.
const LEFT_SHOWN_MAX: usize = 100;

fn main() -> ExitCode {
    match suite(&Arguments::parse()) {
        Ok(passed) => ExitCode::from(stop::code().unwrap_or(u8::from(!passed))),
        Err(error) => {
            output::tell(&format!("{PROGRAM}: {error:#}\n"));
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
        let names: String = claims.iter().map(|claim| format!("{claim:?}\n")).collect();
        return Ok(output::did(PROGRAM, output::print(&names)));
    }
    if !kernel::is_root() {
        bail!("engines of its own need root: start this as root");
    }
    if let Some(seconds) = arguments.patience {
        program::set_patience(Duration::from_secs(seconds));
    }
    let runtime = program::runtime(arguments.runtime.as_deref())?;
    output::tell(&format!("{PROGRAM}: the runtime is {}\n", runtime.display()));
    stop::listen(PROGRAM, "claims")?;
    let begun = Instant::now();
    let world = World::new(runtime)?;
    let ((passed, failed, skipped), told) = run(&world, &claims, arguments.at_once.max(1));
    let mut closing = String::new();
    for process in world.leave() {
        let start: String = process.chars().take(LEFT_SHOWN_MAX).collect();
        closing += &format!("left at the end, and killed: {start}\n");
    }
    closing += &format!("in {} s\n", begun.elapsed().as_secs());
    closing += &format!("{passed} passed, {failed} failed, {skipped} skipped\n");
    let told = output::did(PROGRAM, told.and_then(|()| output::print(&closing)));
    Ok(told && failed == 0)
}
