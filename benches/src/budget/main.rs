//! `loadline-budget`: what the runtime may cost, in numbers that a busy machine does not change:
//! system calls and instructions of fixed runs, counted by tracing (`benches/c/count.c`), against
//! `benches/budget.json`.
//!
//! Invariants: the runs are the same on every machine, as far as a kernel allows it: cgroup v2
//! alone, in a mount namespace; an environment of two variables; a configuration that names only
//! paths that every kernel has; what is counted is the second start. What can't be counted here is
//! said as a skip.

#![forbid(unsafe_code)]

mod clock;
mod count;
mod judge;
mod order;
mod world;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;

use clock::Clock;
use count::{Counter, What};
use judge::{Budget, Counts};
use world::{Scenario, World};

#[derive(Debug, Parser)]
#[command(about = "Counts what the runtime does in fixed runs; as root")]
struct Arguments {
    /// Where count, floor and noop lie.
    #[arg(long)]
    tools: PathBuf,
    /// The runtime.
    #[arg(long)]
    runtime: PathBuf,
    /// The budget; without one, numbers are only shown.
    #[arg(long)]
    budget: Option<PathBuf>,
    /// Another runtime to show beside it: its system calls, and its instructions with --by-clock,
    /// because millions of single steps take minutes.
    #[arg(long)]
    peer: Vec<PathBuf>,
    /// Writes the order of the runtime's functions there, and does nothing else.
    #[arg(long)]
    order: Option<PathBuf>,
    /// Count instructions of all by a clock that counts them, the kernel's among them: in the
    /// virtual machine of `cargo xtask bench counts --vm`.
    #[arg(long, conflicts_with = "budget")]
    by_clock: bool,
}

/// How much is counted of a runtime.
#[derive(Clone, Copy, Debug)]
enum Extent {
    Calls,
    /// And instructions in user mode, by single steps.
    Steps,
    /// And instructions of the program and of the kernel.
    Clock(Clock),
}

impl Extent {
    fn instructions(self, counter: &Counter, command: &[OsString]) -> anyhow::Result<Option<u64>> {
        match self {
            Self::Calls => Ok(None),
            Self::Steps => counter.count(What::Instructions, command).map(Some),
            Self::Clock(clock) => clock.instructions(command).map(Some),
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("loadline-budget: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    if !nix::unistd::geteuid().is_root() {
        println!("SKIPPED counts: needs root");
        println!("0 passed, 0 failed, 1 skipped");
        return Ok(true);
    }
    if let Some(path) = &arguments.order {
        return write_order(arguments, path).map(|()| true);
    }
    let programs = [&arguments.tools, &arguments.runtime].into_iter().chain(&arguments.peer);
    let programs: Vec<PathBuf> = programs.filter_map(|path| path.canonicalize().ok()).collect();
    if let Err(error) = world::isolate(&programs) {
        println!("SKIPPED counts: needs a cgroup2 mount in a mount namespace: {error:#}");
        println!("0 passed, 0 failed, 1 skipped");
        return Ok(true);
    }
    let counter = Counter { program: arguments.tools.join("count") };
    let (extent, of_peers) = if arguments.by_clock {
        let clock = Clock::prove(&arguments.tools)?;
        (Extent::Clock(clock), Extent::Clock(clock))
    } else {
        (Extent::Steps, Extent::Calls)
    };
    let ours = measure(arguments, &counter, &arguments.runtime, extent)?;
    let shown =
        if arguments.peer.is_empty() { Vec::new() } else { floor(arguments, &counter, extent)? };
    for (name, counts) in &shown {
        println!("{name:<24} {counts}");
    }
    for peer in &arguments.peer {
        println!("{}", peer.display());
        match measure(arguments, &counter, peer, of_peers) {
            Ok(seen) => seen
                .iter()
                .for_each(|(scenario, counts)| println!("  {:<22} {counts}", scenario.name())),
            // Such as a raised limit that this machine's root may not raise.
            Err(error) => println!("  does not run here: {error:#}"),
        }
    }
    println!("{}", arguments.runtime.display());
    for (scenario, counts) in &ours {
        println!("  {:<22} {counts}", scenario.name());
    }
    let Some(path) = &arguments.budget else { return Ok(true) };
    let text = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    let budget: Budget =
        serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))?;
    let seen: Vec<_> = ours.iter().map(|(scenario, counts)| (scenario.name(), *counts)).collect();
    let verdict = judge::judge(&budget, &seen);
    print!("{}", verdict.text);
    println!("{} passed, {} failed, 0 skipped", verdict.passed, verdict.failed);
    Ok(verdict.failed == 0)
}

/// On the host's own cgroups, whatever they are.
fn write_order(arguments: &Arguments, path: &std::path::Path) -> anyhow::Result<()> {
    let counter = Counter { program: arguments.tools.join("count") };
    let functions = order::functions(&arguments.runtime)?;
    let world = World::make(&arguments.tools, &arguments.runtime, &arguments.runtime)?;
    let mut addresses = Vec::new();
    for scenario in Scenario::ALL {
        let command = world.command(scenario)?;
        counter.count(What::Calls, &command)?;
        addresses.extend(counter.addresses(&command)?);
    }
    world.end();
    std::fs::write(path, order::script(&functions, &addresses))
        .with_context(|| format!("write {}", path.display()))
}

fn measure(
    arguments: &Arguments,
    counter: &Counter,
    runtime: &std::path::Path,
    extent: Extent,
) -> anyhow::Result<Vec<(Scenario, Counts)>> {
    let world = World::make(&arguments.tools, &arguments.runtime, runtime)?;
    let each = Scenario::ALL.into_iter().map(|scenario| {
        let command = world.command(scenario)?;
        // The first start fills the cache of filters.
        counter.count(What::Calls, &command)?;
        let system_calls = counter.count(What::Calls, &command)?;
        let instructions = extent.instructions(counter, &command)?;
        Ok((scenario, Counts { system_calls, instructions }))
    });
    let counts = each.collect();
    world.end();
    counts
}

fn floor(
    arguments: &Arguments,
    counter: &Counter,
    extent: Extent,
) -> anyhow::Result<Vec<(String, Counts)>> {
    let world = World::make(&arguments.tools, &arguments.runtime, &arguments.runtime)?;
    let command = world.floor(&arguments.tools);
    let system_calls = counter.count(What::Calls, &command)?;
    let instructions = extent.instructions(counter, &command)?;
    world.end();
    Ok(vec![("floor".to_owned(), Counts { system_calls, instructions })])
}
