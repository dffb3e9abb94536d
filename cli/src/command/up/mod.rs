//! `loadline up`: a controller and an agent on this machine, in the foreground.
//!
//! ```text
//!   controller ready ─▶ join token ─▶ agent ─▶ node connected ─▶ …
//!   … signal ─▶ tasks stop ─▶ agent ends ─▶ controller ends
//! ```

mod child;
mod node;
mod signals;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use self::child::Child;
use self::signals::Signals;
use crate::api::Client;
use crate::failure::Failure;
use crate::options::{Context, Global, STATE_DIR_DEFAULT};

/// Run a whole one-machine cluster in the foreground: a controller and an agent
///
/// State is kept in the state folder (--state-dir): the next `loadline up` goes on with it. On
/// Ctrl-C or SIGTERM the tasks of this machine are stopped, then agent and controller end; with
/// --keep-tasks the tasks run on, and the next `loadline up` takes them over.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Up {
    /// Where clients reach the API
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7070")]
    api_listen: SocketAddr,
    /// Where agents reach the controller; other machines need an address that they can reach
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7071")]
    agent_listen: SocketAddr,
    /// Let tasks run on when this command ends
    #[arg(long)]
    keep_tasks: bool,
    /// Memory of this machine that tasks can't reserve, MiB [default: the agent's]
    #[arg(long, value_name = "MIB")]
    reserved_memory_mib: Option<u64>,
    /// CPU of this machine that tasks can't reserve, CPU units [default: the agent's]
    #[arg(long, value_name = "UNITS")]
    reserved_cpu_units: Option<u64>,
    /// The OCI runtime that runs containers [default: loadline-runtime]
    #[arg(long, value_name = "PATH")]
    runtime: Option<PathBuf>,
    /// Parent of the tasks' cgroups [default: the agent's]
    #[arg(long, value_name = "NAME")]
    cgroup_parent: Option<String>,
    /// Print what controller and agent do, not only what goes wrong
    #[arg(long, short)]
    verbose: bool,
}

const EXAMPLES: &str = "\
Examples:
  sudo loadline up
  sudo loadline --state-dir /tmp/try up --api-listen 127.0.0.1:0 --agent-listen 127.0.0.1:0

It needs root, for cgroups and mounts. LOADLINE_LOG sets what controller and agent log, for
example LOADLINE_LOG=debug.";

impl Up {
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        if !nix::unistd::geteuid().is_root() {
            let text = "containers need root on this machine: run it with sudo";
            return Err(Failure::Usage(text.to_owned()));
        }
        let mut signals = Signals::new()?;
        let global = &context.global;
        let mut controller = self.start_controller(global)?;
        let ready = controller.ready(&mut signals).await?;
        let client = Client {
            endpoint: format!("http://{}", reachable(ready.api))
                .parse()
                .map_err(|e| Failure::Child(format!("the controller's API address: {e}")))?,
            ..local_client(global)?
        };
        let joined = self.join(context, &client, ready.agents, &mut signals).await;
        let (mut agent, node) = match joined {
            Ok(joined) => joined,
            Err(failure) => {
                controller.end().await;
                return Err(failure);
            }
        };
        if let Err(failure) = print_usage(context, &client, &node) {
            // Nobody reads; the cluster is up all the same.
            eprintln!("loadline: {failure}");
        }
        let (why, code) = tokio::select! {
            () = signals.next() => ("stopping", 0),
            text = agent.ended() => (text, 1),
            text = controller.ended() => (text, 1),
        };
        eprintln!("loadline: {why}");
        if code != 0 {
            eprintln!("loadline: tasks run on; the next `loadline up` takes them over");
        }
        let stop = code == 0 && !self.keep_tasks;
        if stop {
            tokio::select! {
                stopped = node::stop_tasks(&client, context.cluster(), &node) => {
                    tell("tasks may run on", stopped);
                }
                () = signals.next() => node::tell_left(&client, context.cluster(), &node).await,
            }
        }
        agent.end().await;
        if stop {
            let active = node::activate(&client, context.cluster(), &node).await;
            tell("the node stays DRAINING", active);
        }
        controller.end().await;
        Ok(code)
    }

    fn start_controller(&self, global: &Global) -> Result<Child, Failure> {
        let mut args = vec![
            "--state-dir".into(),
            global.state_dir().into_os_string(),
            "--api-listen".into(),
            self.api_listen.to_string().into(),
            "--agent-listen".into(),
            self.agent_listen.to_string().into(),
            "--region".into(),
            global.region().into(),
        ];
        if let Some(file) = global.credentials_file() {
            args.extend(["--credentials-file".into(), file.into_os_string()]);
        }
        Child::start("loadline-controller", args, self.verbose)
    }

    /// Starts the agent with a join token and waits until its node is connected.
    async fn join(
        &self,
        context: &Context,
        client: &Client,
        agents: SocketAddr,
        signals: &mut Signals,
    ) -> Result<(Child, String), Failure> {
        let request = json!({"cluster": context.cluster(), "expiresInSeconds": 600, "uses": 1});
        let token = client.own("CreateJoinToken", request).await?;
        let file = TokenFile::write(&context.global.state_dir(), &token)?;
        let mut agent = self.start_agent(context, agents, &file.path)?;
        let node = tokio::select! {
            node = node::connected(context, client) => node,
            text = agent.ended() => Err(Failure::Child(text.to_owned())),
            () = signals.next() => Err(Failure::Interrupted),
        };
        let node = match node {
            Ok(node) => node,
            Err(failure) => {
                agent.end().await;
                return Err(failure);
            }
        };
        // An agent that was enrolled already did not use it.
        let id = &token["tokenId"];
        client.own("RevokeJoinToken", json!({ "tokenId": id })).await?;
        Ok((agent, node))
    }

    fn start_agent(
        &self,
        context: &Context,
        agents: SocketAddr,
        token: &Path,
    ) -> Result<Child, Failure> {
        let mut args = vec![
            "run".into(),
            "--state-dir".into(),
            context.global.state_dir().join("agent").into_os_string(),
            "--controller".into(),
            reachable(agents).to_string().into(),
            "--join-token-file".into(),
            token.as_os_str().to_owned(),
        ];
        let mut add = |name: &str, value: Option<std::ffi::OsString>| {
            args.extend(value.into_iter().flat_map(|value| [name.into(), value]));
        };
        add("--reserved-memory-mib", self.reserved_memory_mib.map(|n| n.to_string().into()));
        add("--reserved-cpu-units", self.reserved_cpu_units.map(|n| n.to_string().into()));
        add("--runtime", self.runtime.clone().map(PathBuf::into_os_string));
        add("--cgroup-parent", self.cgroup_parent.clone().map(Into::into));
        Child::start("loadline-agent", args, self.verbose)
    }
}

/// Says what follows where something at the end went wrong; the end goes on.
fn tell(what: &str, done: Result<(), Failure>) {
    if let Err(failure) = done {
        eprintln!("loadline: {what}: {failure}");
    }
}

/// An address on which a listener of this machine answers.
fn reachable(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}

/// The key of the controller that was just started, not of another one in the environment.
fn local_client(global: &Global) -> Result<Client, Failure> {
    let beside = || global.state_dir().join("credentials");
    let named = Some(global.credentials_file().unwrap_or_else(beside));
    let sources = crate::api::credentials::Sources { named, ..Default::default() };
    Ok(Client {
        endpoint: crate::options::ENDPOINT_DEFAULT.parse().map_err(Failure::Usage)?,
        region: global.region(),
        credentials: sources.find()?,
    })
}

fn print_usage(context: &Context, client: &Client, node: &str) -> Result<(), Failure> {
    let global = &context.global;
    let state_dir = global.state_dir();
    let file = global.credentials_file().unwrap_or_else(|| state_dir.join("credentials"));
    let (endpoint, region, file) = (&client.endpoint, &client.region, file.display());
    let mut exports = String::new();
    if state_dir != Path::new(STATE_DIR_DEFAULT) {
        exports.push_str(&format!("\x20 export LOADLINE_STATE_DIR={}\n", state_dir.display()));
    }
    let text = format!(
        "The cluster is up; its node is {node}. In another terminal:\n\
         \n\
         {exports}\
         \x20 export AWS_ENDPOINT_URL_ECS={endpoint} AWS_REGION={region}\n\
         \x20 export AWS_SHARED_CREDENTIALS_FILE={file}\n\
         \x20 aws ecs list-container-instances\n\
         \n\
         \x20 loadline image import busybox.tar    # from `docker save`; or let it be pulled\n\
         \x20 loadline run --follow busybox -- echo hello\n\
         \x20 loadline nodes\n\
         \n\
         Ctrl-C ends it."
    );
    let value = json!({
        "endpoint": endpoint.to_string(), "region": region, "credentialsFile": file.to_string(),
        "containerInstanceArn": node, "stateDir": state_dir,
    });
    context.output.either(&value, &text)
}

/// The join token in a file of root's, so that no list of processes shows it.
#[derive(Debug)]
struct TokenFile {
    path: PathBuf,
}

impl TokenFile {
    fn write(folder: &Path, token: &Value) -> Result<Self, Failure> {
        use std::io::Write as _;
        let path = folder.join(format!("join-token.{}", std::process::id()));
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let failed = |e| Failure::io("write", &path, e);
        let mut file = options.open(&path).map_err(failed)?;
        let text = token["token"].as_str().unwrap_or_default();
        file.write_all(text.as_bytes()).map_err(failed)?;
        Ok(Self { path })
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            eprintln!("loadline: can't remove {}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_every_address_is_reached_on_loopback() {
        let check = |listener: &str, expected: &str| {
            assert_eq!(reachable(listener.parse().unwrap()).to_string(), expected);
        };
        check("0.0.0.0:7071", "127.0.0.1:7071");
        check("[::]:7071", "[::1]:7071");
        check("10.0.0.1:7071", "10.0.0.1:7071");
    }

    #[test]
    fn a_token_file_is_for_root_alone_and_goes_away() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let file = TokenFile::write(folder.path(), &json!({"token": "loadline1.x"})).unwrap();
        let path = file.path.clone();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "loadline1.x");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(file);
        assert!(!path.exists());
    }
}
