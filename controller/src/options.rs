//! The controller's command line.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use loadline_controller::api::auth::credentials;
use loadline_controller::liveness::Rules;
use loadline_controller::objects::{Endpoint, ObjectStore, StoreOptions};
use loadline_controller::state::Scope;

/// Loadline's cluster controller: speaks the AWS ECS API to clients and gRPC to node agents.
///
/// It keeps the cluster's state in a folder and answers an API call only when what the call changed
/// is on disk. At its first start it makes the state, a certificate authority for its nodes, and an
/// access key for clients.
#[derive(Debug, Parser)]
#[command(name = "loadline-controller", version, after_long_help = EXAMPLES)]
#[command(args_conflicts_with_subcommands = false)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,

    /// Where the cluster's state is kept, in DIR/controller; a second controller on it is refused
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "LOADLINE_STATE_DIR",
        default_value = "/var/lib/loadline"
    )]
    state_dir: PathBuf,

    /// Access keys of clients, in the format of an AWS credentials file; made with a fresh key if
    /// missing, refused if others can read it [default: DIR/credentials]
    #[arg(long, value_name = "FILE")]
    credentials_file: Option<PathBuf>,

    /// Where clients reach the API: HTTP/1.1, every request signed (SigV4), not encrypted
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7070")]
    pub(crate) api_listen: SocketAddr,

    /// Where agents reach the controller: gRPC over TLS 1.3. For nodes on other hosts, an address
    /// that they can reach, or 0.0.0.0:7071
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7071")]
    pub(crate) agent_listen: SocketAddr,

    /// How long a node may be silent before it takes no more tasks and its services' tasks are
    /// replaced. More where nodes or the way to them are slow
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 3,
        value_parser = clap::value_parser!(u64).range(1..=NODE_LEASE_S_MAX)
    )]
    node_lease_seconds: u64,

    /// Where Prometheus scrapes /metrics, with the bearer token of DIR/controller/metrics-token;
    /// closed unless it is given
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) metrics_listen: Option<SocketAddr>,

    /// Where environment files of tasks lie: the http or https URL of an S3-compatible store
    /// (MinIO, Ceph, S3), whose buckets are asked for by path
    #[arg(long, value_name = "URL", env = "LOADLINE_S3_ENDPOINT")]
    s3_endpoint: Option<Endpoint>,

    /// The region that requests to that store are signed for
    #[arg(long, value_name = "REGION", env = "LOADLINE_S3_REGION", default_value = "us-east-1",
        value_parser = region)]
    s3_region: String,

    /// The access key for that store, in the format of an AWS credentials file with one profile;
    /// refused if others can read it [default: DIR/s3-credentials]
    #[arg(long, value_name = "FILE", env = "LOADLINE_S3_CREDENTIALS_FILE")]
    s3_credentials_file: Option<PathBuf>,

    /// PEM file of authorities that may sign that store's certificate, besides the host's
    #[arg(long, value_name = "FILE", env = "LOADLINE_S3_CA_FILE")]
    s3_ca_file: Option<PathBuf>,

    /// The region in ARNs; fixed at the first start
    #[arg(long, default_value = "us-east-1", value_parser = region)]
    region: String,

    /// The account in ARNs, twelve digits; fixed at the first start
    #[arg(long, default_value = "000000000000", value_parser = account)]
    account: String,

    /// Take any access key: for development, on loopback only
    #[arg(long)]
    pub(crate) dev: bool,

    /// How to write the log, to standard error; LOADLINE_LOG sets what (for example
    /// `debug`, or `warn,loadline_controller::nodes=trace`)
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
}

/// What to do instead of serving.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Makes the state anew from a backup of `loadline backup`, in an empty state folder
    Restore {
        /// The file
        backup: PathBuf,
    },
    /// Seals every secret, parameter and access key with a new key, while no controller runs
    RotateKey,
}

const EXAMPLES: &str = "\
Examples:
  One machine, everything on loopback:
    loadline-controller --state-dir /var/lib/loadline

  Nodes on other hosts (the API stays on loopback; use ssh -L 7070:127.0.0.1:7070 to reach it):
    loadline-controller --agent-listen 0.0.0.0:7071

  Go on elsewhere, from what `loadline backup` wrote:
    loadline-controller restore --state-dir /var/lib/loadline backup-1795695486900.jsonl

  Then, with the key that the first start made:
    export AWS_SHARED_CREDENTIALS_FILE=/var/lib/loadline/credentials AWS_REGION=us-east-1
    export AWS_ENDPOINT_URL_ECS=http://127.0.0.1:7070
    aws ecs list-container-instances

Signals:
  SIGTERM and SIGINT end it after the calls under way; tasks go on running on their nodes. A second
  one ends it at once. It prints one line to standard output when both ports are open.";

/// How log lines look.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Options {
    /// The folder that only the controller writes.
    pub(crate) fn folder(&self) -> PathBuf {
        self.state_dir.join("controller")
    }

    /// The access keys of clients.
    pub(crate) fn credentials(&self) -> PathBuf {
        let beside = || self.state_dir.join("credentials");
        self.credentials_file.as_deref().map_or_else(beside, Path::to_owned)
    }

    /// The store of environment files, where there is one.
    pub(crate) fn objects(&self) -> anyhow::Result<Option<ObjectStore>> {
        let Some(endpoint) = self.s3_endpoint.clone() else { return Ok(None) };
        let beside = || self.state_dir.join("s3-credentials");
        let file = self.s3_credentials_file.clone().unwrap_or_else(beside);
        let key = credentials::load_one(&file).with_context(|| {
            format!("the access key for {endpoint}: name its file with --s3-credentials-file")
        })?;
        let (region, ca_file) = (self.s3_region.clone(), self.s3_ca_file.clone());
        let options = StoreOptions { endpoint, region, key, ca_file };
        let store = ObjectStore::new(options).context("set up --s3-endpoint and --s3-ca-file")?;
        tracing::info!("environment files from {} as {}", store.endpoint(), store.key_id());
        Ok(Some(store))
    }

    /// Which nodes are silent, and lost.
    pub(crate) fn rules(&self) -> Rules {
        Rules { lease_ms: self.node_lease_seconds * 1_000, ..Rules::default() }
    }

    /// What every ARN begins with.
    pub(crate) fn scope(&self) -> Scope {
        Scope {
            partition: "aws".to_owned(),
            region: self.region.clone(),
            account: self.account.clone(),
        }
    }
}

/// Longest lease of a node, in seconds.
const NODE_LEASE_S_MAX: u64 = 600;

/// Longest region name; AWS's own have at most 14 characters.
const REGION_BYTES_MAX: usize = 32;

fn region(text: &str) -> Result<String, &'static str> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if text.is_empty() || REGION_BYTES_MAX < text.len() || !text.bytes().all(allowed) {
        return Err("1 to 32 lower-case letters, digits and hyphens, as in us-east-1");
    }
    Ok(text.to_owned())
}

fn account(text: &str) -> Result<String, &'static str> {
    if text.len() != 12 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err("twelve digits, as in 000000000000");
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn what_would_break_arns_is_refused() {
        let parse = |option: &str, value: &str| {
            Options::try_parse_from(["loadline-controller", option, value]).is_ok()
        };
        assert!(parse("--region", "eu-central-1"));
        assert!(!parse("--region", "eu:central"));
        assert!(!parse("--region", ""));
        assert!(parse("--account", "123456789012"));
        assert!(!parse("--account", "12345678901"));
        assert!(!parse("--account", "12345678901x"));
    }

    #[test]
    fn the_lease_of_nodes_is_told_in_seconds() {
        let lease_ms = |args: &[&str]| {
            let options = Options::try_parse_from([&["loadline-controller"], args].concat());
            options.ok().map(|options| options.rules().lease_ms)
        };
        assert_eq!(lease_ms(&[]), Some(Rules::default().lease_ms));
        assert_eq!(lease_ms(&["--node-lease-seconds", "60"]), Some(60_000));
        assert_eq!(lease_ms(&["--node-lease-seconds", "0"]), None);
        assert_eq!(lease_ms(&["--node-lease-seconds", "601"]), None);
    }

    #[test]
    fn credentials_are_beside_the_state_unless_told_otherwise() {
        let parse = |args: &[&str]| {
            Options::try_parse_from([&["loadline-controller"], args].concat()).unwrap()
        };
        let options = parse(&["--state-dir", "/s"]);
        assert_eq!(options.credentials(), Path::new("/s/credentials"));
        assert_eq!(options.folder(), Path::new("/s/controller"));
        let options = parse(&["--credentials-file", "/k"]);
        assert_eq!(options.credentials(), Path::new("/k"));
    }
}
