//! The command line, as close to the input as possible.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use loadline_model::Right;

use crate::image::registry::PullBehaviour;
use crate::network::options::NetworkOptions;

/// Loadline's node agent: runs the tasks that the controller assigns to this host, and never more
/// than it registered.
#[derive(Clone, Debug, Parser)]
#[command(name = "loadline-agent", version, about, long_about = LONG_ABOUT)]
pub struct Options {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const LONG_ABOUT: &str = "\
Loadline's node agent: runs the tasks that the controller assigns to this host, and never more \
than it registered.

To join a cluster, make a token on the controller with `loadline token create` and start the agent \
with it once. The node then has a certificate of its own in its state folder, and needs no token \
again.

Containers outlive the agent: it can be stopped, killed, upgraded and started again under running \
tasks. With systemd use KillMode=process and Delegate=yes.";

/// What the agent can be asked to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Runs the agent in the foreground, until SIGTERM or SIGINT. Tasks go on running after it.
    Run(Box<RunOptions>),
    /// Joins many simulated nodes to a controller, whose containers are imagined: to study
    /// registration and scheduling, and to see how many nodes a controller bears.
    Hollow(Box<HollowOptions>),
    /// Draws the results of hollow nodes: tasks over time, and how they are spread.
    HollowPlot(PlotOptions),
}

/// Options of `hollow-plot`.
#[derive(Clone, Debug, Args)]
pub struct PlotOptions {
    /// The picture, SVG.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,

    /// The --results of a run and its name in the picture; several are compared.
    #[arg(required = true, value_name = "NAME=FILE", value_parser = parse_named)]
    pub results: Vec<(String, PathBuf)>,
}

fn parse_named(text: &str) -> Result<(String, PathBuf), String> {
    let (name, file) = text.split_once('=').ok_or("it is not NAME=FILE")?;
    Ok((name.to_owned(), PathBuf::from(file)))
}

/// Options of `hollow`.
#[derive(Clone, Debug, Args)]
pub struct HollowOptions {
    /// How many nodes.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub count: u32,

    /// The controller's agent port.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7071")]
    pub controller: String,

    /// A join token that may be used at least N times.
    #[arg(long, value_name = "TOKEN", env = "LOADLINE_JOIN_TOKEN", hide_env_values = true)]
    pub join_token: Option<String>,

    /// A file with the join token in it, or - for standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "join_token")]
    pub join_token_file: Option<PathBuf>,

    /// Where the nodes keep their identities: started again with the same folder, they are the
    /// same nodes.
    #[arg(long, value_name = "DIR")]
    pub state_dir: PathBuf,

    /// CPU units of each node; several sizes take turns [default: 4096].
    #[arg(long, value_name = "UNITS,UNITS", value_delimiter = ',')]
    pub node_cpu_units: Vec<u64>,

    /// Memory of each node, in MiB; several sizes take turns [default: 8192].
    #[arg(long, value_name = "MIB,MIB", value_delimiter = ',')]
    pub node_memory_mib: Vec<u64>,

    /// How many nodes join at once, up to 256.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub join_at_once: usize,

    /// How long everything that nodes and controller say to each other is under way, each way, in
    /// milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub latency_ms: u64,

    /// Added to that at random, up to so many milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub jitter_ms: u64,

    /// How many packets of a hundred are lost, up to 50: TCP sends them again 200 ms later.
    #[arg(long, value_name = "PERCENT", default_value_t = 0)]
    pub loss_percent: u32,

    /// From a task's assignment to its RUNNING, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 100)]
    pub start_ms: u64,

    /// From RUNNING to the task's own end, in seconds; 0 for tasks that run until stopped.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub run_s: u64,

    /// From a stop to STOPPED, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 100)]
    pub stop_ms: u64,

    /// How many of a hundred tasks end with exit code 1 rather than 0.
    #[arg(long, value_name = "PERCENT", default_value_t = 0)]
    pub fail_percent: u32,

    /// Cut each node's connection about this often, in seconds; 0 for never.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub cut_every_s: u64,

    /// A CSV file for the results: a line for each task, with its times in Unix milliseconds.
    #[arg(long, value_name = "FILE")]
    pub results: Option<PathBuf>,

    /// A CSV file for the nodes: when each began to join, and had joined, and its size.
    #[arg(long, value_name = "FILE")]
    pub nodes: Option<PathBuf>,
}

/// Options of `run`.
#[derive(Clone, Debug, Args)]
pub struct RunOptions {
    /// The agent's own folder: identity, ledger, images, tasks, and the socket agent.sock. Made
    /// with mode 0700 where it is missing. One agent at a time uses it [default:
    /// $LOADLINE_STATE_DIR/agent where that variable is set, else /var/lib/loadline/agent].
    #[arg(long, value_name = "DIR", default_value_os_t = state_dir(), hide_default_value = true)]
    pub state_dir: PathBuf,

    /// The controller's agent port.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7071")]
    pub controller: String,

    /// The join token; only read while the node has not joined. Other users of the host see a
    /// command line for a moment, until the agent has taken the token out of it: prefer
    /// --join-token-file.
    #[arg(long, value_name = "TOKEN", env = "LOADLINE_JOIN_TOKEN", hide_env_values = true)]
    pub join_token: Option<String>,

    /// A file with the join token in it, or - for standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "join_token")]
    pub join_token_file: Option<PathBuf>,

    /// The OCI runtime: any program with runc's command line [default: loadline-runtime beside
    /// this program, then in PATH].
    #[arg(long, value_name = "PATH")]
    pub runtime: Option<PathBuf>,

    /// The program that supervises a container [default: loadline-supervisor beside this program,
    /// then in PATH].
    #[arg(long, value_name = "PATH")]
    pub supervisor: Option<PathBuf>,

    /// Memory that tasks can't have, in MiB: for the kernel, the agent and everything else here.
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    pub reserved_memory_mib: u64,

    /// CPU that tasks can't reserve, in units of 1/1024 vCPU.
    #[arg(long, value_name = "UNITS", default_value_t = 0)]
    pub reserved_cpu_units: u64,

    /// An attribute that placement can ask for, besides the built-in ones; may be repeated.
    #[arg(long = "attribute", value_name = "NAME=VALUE")]
    pub attributes: Vec<String>,

    /// What tasks may not ask for on this node, though it reaches beyond what is their own:
    /// privileged, host-path, host-pid, host-ipc, devices, capabilities; may be repeated.
    #[arg(long, value_name = "RIGHT", value_parser = parse_right)]
    pub refuse: Vec<Right>,

    /// Gives tasks the swap that they ask for (maxSwap); no task swaps otherwise.
    #[arg(long)]
    pub allow_swap: bool,

    /// The cgroup below which all tasks run, in every hierarchy. Two agents on one host need two.
    #[arg(long, value_name = "NAME", default_value = "loadline")]
    pub cgroup_parent: String,

    /// When images are pulled from their registry: default (each time; what is here serves where
    /// that fails), always, once or prefer-cached (what is not here), never.
    #[arg(long, value_name = "BEHAVIOUR", default_value = "prefer-cached")]
    pub image_pull: PullBehaviour,

    /// Docker's config.json with names, passwords and credential helpers for registries.
    #[arg(long, value_name = "FILE")]
    pub registry_credentials: Option<PathBuf>,

    /// A registry, as it stands in front of image names, that is spoken to without TLS; may be
    /// repeated. Registries on this host always are.
    #[arg(long = "insecure-registry", value_name = "HOST:PORT")]
    pub insecure_registries: Vec<String>,

    /// Certificate authorities for registries beside this host's own, PEM.
    #[arg(long, value_name = "FILE")]
    pub registry_ca: Option<PathBuf>,

    /// Size at which a container's log file is followed by the next, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 10 * 1024 * 1024)]
    pub log_file_bytes_max: u64,

    /// How many log files each container keeps.
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    pub log_files_max: u32,

    /// How often it is measured what containers use, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub usage_interval_s: u64,

    /// Where the node's journal listens, for the log driver journald.
    #[arg(long, value_name = "SOCKET", default_value = "/run/systemd/journal/socket")]
    pub journal_socket: PathBuf,

    /// How long the log of a stopped task is kept, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 3 * 3600)]
    pub keep_stopped_s: u64,

    /// The tasks' network.
    #[command(flatten)]
    pub network: NetworkOptions,
}

/// Below the folder that the other programs share, where one is named.
fn state_dir() -> PathBuf {
    let shared = std::env::var_os("LOADLINE_STATE_DIR").filter(|dir| !dir.is_empty());
    PathBuf::from(shared.unwrap_or_else(|| "/var/lib/loadline".into())).join("agent")
}

fn parse_right(text: &str) -> Result<Right, String> {
    Right::ALL.into_iter().find(|right| right.as_str() == text).ok_or_else(|| {
        let names: Vec<&str> = Right::ALL.iter().map(|right| right.as_str()).collect();
        format!("one of {}", names.join(", "))
    })
}
