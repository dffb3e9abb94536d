//! What one controller bears: hollow agents over the real protocol, and clients over the real API.
//! Each round is a new controller with more nodes than the one before.
//!
//! ```text
//!   controller ◀─ agents (one process, N simulated nodes) ─▶ joined ─▶ load for a while ─▶ a node
//!       ▲                                                                  dies ─▶ replaced
//!       └── clients, one connection each: RunTask of 10 tasks; one reader: DescribeClusters
//! ```

#![forbid(unsafe_code)]

mod cluster;
mod death;
mod load;
mod plot;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;

use crate::cluster::Cluster;
use crate::report::Round;

/// Measures one controller with a growing number of simulated nodes.
#[derive(Debug, Parser)]
#[command(name = "loadline-bench-controller")]
struct Options {
    /// The controller's program.
    #[arg(long, value_name = "PATH")]
    controller: PathBuf,
    /// The agent's program.
    #[arg(long, value_name = "PATH")]
    agent: PathBuf,
    /// Where controller.json and controller.svg go.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// How many nodes, round by round.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [100, 1_000, 10_000])]
    nodes: Vec<u32>,
    /// How long each load lasts, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    seconds: u64,
    /// Tasks that each load places at least, however long it takes.
    #[arg(long, value_name = "N", default_value_t = 0)]
    tasks: u64,
    /// Clients that run tasks at once.
    #[arg(long, value_name = "N", default_value_t = 64)]
    clients: usize,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    std::fs::create_dir_all(&options.out)
        .with_context(|| format!("make {}", options.out.display()))?;
    let mut rounds = Vec::new();
    for nodes in &options.nodes {
        eprintln!("{nodes} nodes");
        rounds.push(round(&options, *nodes)?);
    }
    println!("{}", report::table(&rounds));
    let json = options.out.join("controller.json");
    std::fs::write(&json, report::json(&rounds, options.clients)?)
        .with_context(|| format!("write {}", json.display()))?;
    let svg = options.out.join("controller.svg");
    std::fs::write(&svg, plot::svg(&rounds)).with_context(|| format!("write {}", svg.display()))?;
    println!("{} and {}", json.display(), svg.display());
    Ok(())
}

fn round(options: &Options, nodes: u32) -> anyhow::Result<Round> {
    let mut cluster = Cluster::start(&options.controller, &options.agent)?;
    let joined_s = cluster.join(nodes)?;
    let idle = cluster.usage()?;
    std::thread::sleep(Duration::from_secs(REST_S));
    let rest_cpu_percent = cluster.usage()?.cpu_percent_since(&idle, REST_S);
    let before = cluster.usage()?;
    let how_long = Duration::from_secs(options.seconds);
    let extent = load::Extent { how_long, tasks: options.tasks };
    let loaded = load::run(&cluster, options.clients, extent)?;
    let resident_bytes = cluster.usage()?.resident_bytes;
    let replaced_ms = death::measure(&mut cluster)?;
    Ok(Round {
        nodes,
        joined_s,
        rest_cpu_percent,
        load_cpu_percent: loaded.usage.cpu_percent_since(&before, loaded.took.as_secs()),
        placements: loaded.placements,
        placements_per_s: loaded.placements as f64 / loaded.took.as_secs_f64(),
        run_task_ms: loaded.run_task_ms,
        read_ms: loaded.read_ms,
        resident_mib: resident_bytes as f64 / MIB,
        mib_per_100k_tasks: loaded.bytes_per_task * 100_000.0 / MIB,
        replaced_ms,
    })
}

/// How long the rest is watched.
const REST_S: u64 = 5;
const MIB: f64 = 1024.0 * 1024.0;
