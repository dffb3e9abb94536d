//! `loadline-bench-agent`: a node and its peers, launch for launch, and what each container costs.
//!
//! ```text
//!  subjects × (network × launches at once) ─▶ launches, in turn ─▶ rates, percentiles, ratios
//!  Loadline alone ─▶ a node filled with idle tasks ─▶ launches at the start and at the end, memory
//! ```
//!
//! Invariants: every subject starts the same program of the same image with the same limits, in one
//! network and mount namespace that only this program has, on the same file system; the subjects
//! take turns; a ratio is made of two numbers of one run. Method: docs/bench-agent.md.

#![forbid(unsafe_code)]

mod density;
mod docker;
mod http;
mod launch;
mod loadline;
mod memory;
mod place;
mod plot;
mod podman;
mod report;
mod subject;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;

use crate::place::Place;
use crate::report::Summary;
use crate::subject::{Network, Subject};

/// Compares an agent with docker and podman on this machine; as root
#[derive(Debug, Parser)]
#[command(name = "loadline-bench-agent")]
struct Options {
    /// Where loadline-controller, loadline-agent, loadline-supervisor and loadline-runtime are.
    #[arg(long, value_name = "FOLDER")]
    programs: PathBuf,
    /// Where agent.json and agent.svg go. What is measured lives on its file system too.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Containers of each scenario.
    #[arg(long, value_name = "N", default_value_t = 64)]
    launches: usize,
    /// How many are launched at once.
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1,8,32")]
    at_once: Vec<usize>,
    /// Idle tasks on one node, for each network; 0 leaves that out.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    idle: usize,
    /// Loadline alone, without peers.
    #[arg(long)]
    alone: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("loadline-bench-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> anyhow::Result<()> {
    std::fs::create_dir_all(&options.out).context("make the folder of the results")?;
    let load_before = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let place = Place::enter(&options.out).context("make namespaces of its own (as root)")?;
    let measured = measure(options, &place);
    place.leave();
    let (rows, memory, density, missing) = measured?;
    let summary = Summary::of(&load_before, rows, memory, density, missing);
    let (json, svg) = (options.out.join("agent.json"), options.out.join("agent.svg"));
    std::fs::write(&json, serde_json::to_string_pretty(&summary)? + "\n")
        .with_context(|| format!("write {}", json.display()))?;
    std::fs::write(&svg, plot::svg(&summary))
        .with_context(|| format!("write {}", svg.display()))?;
    print!("{}", report::text(&summary));
    println!("\n{}\n{}", json.display(), svg.display());
    Ok(())
}

/// All that was measured, and which peers are missing and why.
type Measured = (Vec<launch::Row>, Vec<memory::Row>, Vec<density::Row>, Vec<String>);

fn measure(options: &Options, place: &Place) -> anyhow::Result<Measured> {
    let mut missing = Vec::new();
    let mut subjects: Vec<Box<dyn Subject>> = Vec::new();
    let ours = loadline::Loadline::start(place, &options.programs)?;
    subjects.push(Box::new(ours));
    if !options.alone {
        for (name, started) in [("docker", docker::start(place)), ("podman", podman::start(place))]
        {
            match started {
                Ok(peers) => subjects.extend(peers),
                Err(error) => missing.push(format!("{name}: {error:#}")),
            }
        }
    }
    let mut rows = Vec::new();
    for network in [Network::None, Network::Bridge] {
        for at_once in &options.at_once {
            rows.extend(launch::compare(&subjects, network, *at_once, options.launches)?);
        }
    }
    let memory = memory::compare(&subjects, &mut missing)?;
    drop(subjects);
    let mut density = Vec::new();
    for network in [Network::None, Network::Bridge] {
        if 0 < options.idle {
            density.push(density::fill(place, &options.programs, network, options.idle)?);
        }
    }
    Ok((rows, memory, density, missing))
}
