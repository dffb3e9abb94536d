//! A whole cluster on this machine: a controller and nodes of its own ports, folders and cgroups,
//! so that many can run side by side. Dropping it ends everything that it started.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, bail};
use loadline_fixtures::Image;
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::api::Client;
use crate::program::{self, until};
use crate::sigv4::Key;
use crate::{http, kernel};

static CLUSTERS: AtomicU32 = AtomicU32::new(0);

/// Address at which nodes reach the controller unless said otherwise.
const LOOPBACK: &str = "127.0.0.1";

/// The lease of nodes in an emulated machine.
const SLOW_LEASE_S: &str = "60";

/// The image of the probe on every node.
pub const PROBE: &str = "probe:latest";

/// How a node is started.
#[derive(Clone, Debug, Default)]
pub struct NodeOptions {
    /// Memory that the node registers, in MiB; none for what the machine has.
    pub memory_mib: Option<u64>,
    /// CPU units that the node registers; none for what the machine has.
    pub cpu_units: Option<u64>,
    /// The name of a network namespace (of `ip netns`) to live in.
    pub netns: Option<String>,
    /// The token to join with; none for a new one.
    pub token: Option<String>,
    /// More arguments of the agent.
    pub more: Vec<String>,
}

/// A node: the agent and what it keeps.
#[derive(Debug)]
pub struct Node {
    /// Its state folder.
    pub state: PathBuf,
    /// The agent's process while it runs.
    pub agent: Option<Child>,
    /// Its parent cgroup, without a leading slash.
    pub cgroup_parent: String,
    log: PathBuf,
    arguments: Vec<String>,
    netns: Option<String>,
}

/// See the module.
#[derive(Debug)]
pub struct Cluster {
    /// Everything of the cluster lies here.
    pub folder: TempDir,
    /// A client with the cluster's own key.
    pub api: Client,
    /// The controller's process while it runs.
    pub controller: Option<Child>,
    /// The nodes, in the order in which they were added.
    pub nodes: Vec<Node>,
    /// Where agents connect.
    pub agent_address: String,
    arguments: Vec<String>,
    number: u32,
}

impl Cluster {
    /// A controller without nodes.
    ///
    /// # Errors
    /// Where it can't be started.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_on(LOOPBACK)
    }

    /// A controller whose agent port is open on `address`.
    ///
    /// # Errors
    /// Where it can't be started.
    pub fn start_on(address: &str) -> anyhow::Result<Self> {
        Self::start_with(LOOPBACK, address, &[])
    }

    /// A controller with more options.
    ///
    /// # Errors
    /// Where it can't be started.
    pub fn start_more(more: &[&str]) -> anyhow::Result<Self> {
        Self::start_with(LOOPBACK, LOOPBACK, more)
    }

    /// A controller whose API the machine's other addresses have too: tasks can call it.
    ///
    /// # Errors
    /// Where it can't be started.
    pub fn start_open() -> anyhow::Result<Self> {
        Self::start_with("0.0.0.0", LOOPBACK, &[])
    }

    fn start_with(api: &str, address: &str, more: &[&str]) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("loadline-").tempdir();
        let folder = folder.context("make a folder for the cluster")?;
        let [api_port, agent_port] = free_ports([api, address])?;
        let api_listen = format!("{api}:{api_port}");
        let api_address = format!("{LOOPBACK}:{api_port}");
        let agent_address = format!("{address}:{agent_port}");
        let state = folder.path().join("controller").to_string_lossy().into_owned();
        let credentials = folder.path().join("credentials").to_string_lossy().into_owned();
        let arguments = [
            ("--state-dir", state.as_str()),
            ("--credentials-file", &credentials),
            ("--api-listen", &api_listen),
            ("--agent-listen", &agent_address),
        ];
        let arguments = arguments.iter().flat_map(|(a, b)| [(*a).to_owned(), (*b).to_owned()]);
        let mut arguments: Vec<String> = arguments.collect();
        arguments.extend(more.iter().map(|&word| word.to_owned()));
        if std::env::var_os("LOADLINE_VM").is_some() {
            // An emulated machine on a busy host stands still for seconds.
            arguments.extend(["--node-lease-seconds", SLOW_LEASE_S].map(str::to_owned));
        }
        let key = Key { id: String::new(), secret: String::new() };
        let api = Client { address: api_address, key, region: "us-east-1".to_owned() };
        let number = CLUSTERS.fetch_add(1, Ordering::Relaxed);
        let nodes = Vec::new();
        let mut cluster =
            Self { folder, api, controller: None, nodes, agent_address, arguments, number };
        cluster.start_controller()?;
        Ok(cluster)
    }

    /// The controller's process.
    ///
    /// # Errors
    /// Where there is none.
    pub fn controller_pid(&self) -> anyhow::Result<u32> {
        self.controller.as_ref().map(Child::id).context("the controller does not run")
    }

    /// Starts the controller (again) and waits until it answers.
    ///
    /// # Errors
    /// Where it ends instead.
    pub fn start_controller(&mut self) -> anyhow::Result<()> {
        let log = self.folder.path().join("controller.log");
        let mut command = program::command(&program::find("loadline-controller")?);
        command.args(&self.arguments);
        let mut child = spawn(&mut command, &log)?;
        let credentials = self.folder.path().join("credentials");
        let answered = until("the controller answers", || {
            if let Some(status) = child.try_wait().context("look at the controller")? {
                bail!("the controller ended: {status}: {}", tail(&log));
            }
            if let Ok(text) = fs::read_to_string(&credentials) {
                self.api.key = read_credentials(&text)?;
            }
            Ok(self.api.ecs("ListClusters", &json!({})).ok())
        });
        self.controller = Some(child);
        answered.map(drop).with_context(|| tail(&log))
    }

    /// Ends the controller at once, as a crash does.
    ///
    /// # Errors
    /// Where it does not run.
    pub fn kill_controller(&mut self) -> anyhow::Result<()> {
        end(self.controller.take().context("the controller does not run")?, Signal::SIGKILL)
    }

    /// A call of `loadline`, the program that people type, on this cluster; gives what it says.
    ///
    /// # Errors
    /// Where it fails, with its words.
    pub fn cli(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = program::command(&program::find("loadline")?);
        command.args(["--endpoint", &format!("http://{}", self.api.address)]);
        command.arg("--credentials-file").arg(self.folder.path().join("credentials"));
        let ran = program::run(self.folder.path(), command.args(arguments))?.succeeded()?;
        Ok(ran.stdout)
    }

    /// A join token.
    ///
    /// # Errors
    /// As the call of the API.
    pub fn token(&self) -> anyhow::Result<String> {
        let answer = self.api.own("CreateJoinToken", &json!({}))?;
        let token = answer["token"].as_str().context("the answer has no token")?;
        Ok(token.to_owned())
    }

    /// Adds a node, waits until the controller counts it, and imports the probe's image.
    ///
    /// # Errors
    /// Where any of this fails.
    pub fn add_node(&mut self, options: &NodeOptions) -> anyhow::Result<usize> {
        let at = self.nodes.len();
        let state = self.folder.path().join(format!("node{at}"));
        let token_file = self.folder.path().join(format!("token{at}"));
        let token = options.token.clone().map_or_else(|| self.token(), Ok)?;
        fs::write(&token_file, token).context("write the token")?;
        let parent = format!("loadline-test-{}-{}-{at}", std::process::id(), self.number);
        let mut arguments = vec!["run".to_owned(), "--state-dir".to_owned(), text(&state)];
        arguments.extend(["--controller".to_owned(), self.agent_address.clone()]);
        arguments.extend(["--join-token-file".to_owned(), text(&token_file)]);
        arguments.extend(["--cgroup-parent".to_owned(), parent.clone()]);
        if let Some(memory_mib) = options.memory_mib {
            let reserved = machine_memory_mib()?.saturating_sub(memory_mib);
            arguments.extend(["--reserved-memory-mib".to_owned(), reserved.to_string()]);
        }
        if let Some(cpu_units) = options.cpu_units {
            let reserved = machine_cpu_units()?.saturating_sub(cpu_units);
            arguments.extend(["--reserved-cpu-units".to_owned(), reserved.to_string()]);
        }
        arguments.extend(options.more.iter().cloned());
        let log = self.folder.path().join(format!("node{at}.log"));
        let netns = options.netns.clone();
        let cgroup_parent = parent;
        self.nodes.push(Node { state, agent: None, cgroup_parent, log, arguments, netns });
        self.start_agent(at)?;
        self.until_connected(at + 1)?;
        self.import(at, &Image::probe(PROBE)?)?;
        Ok(at)
    }

    /// Starts the agent of a node (again) and waits for its socket.
    ///
    /// # Errors
    /// Where it ends instead.
    pub fn start_agent(&mut self, at: usize) -> anyhow::Result<()> {
        let node = &mut self.nodes[at];
        let agent = program::find("loadline-agent")?;
        // Not `ip netns exec`: it hides the cgroup mounts behind a new /sys.
        let mut command = match &node.netns {
            Some(name) => {
                let mut command = program::command(Path::new("nsenter"));
                command.arg(format!("--net=/run/netns/{name}")).arg(agent);
                command
            }
            None => program::command(&agent),
        };
        let mut child = spawn(command.args(&node.arguments), &node.log)?;
        let socket = node.state.join("agent.sock");
        let answered = until("the agent answers on its socket", || {
            if let Some(status) = child.try_wait().context("look at the agent")? {
                bail!("the agent ended: {status}: {}", tail(&node.log));
            }
            Ok(http::unix(&socket, "GET /v1/status", b"").ok())
        });
        node.agent = Some(child);
        answered.map(drop).with_context(|| tail(&self.nodes[at].log))
    }

    /// Waits until this many nodes are connected.
    ///
    /// # Errors
    /// Where they are not.
    pub fn until_connected(&self, count: usize) -> anyhow::Result<Vec<Value>> {
        let connected = until(&format!("{count} nodes are connected"), || {
            let listed = self.api.ecs("ListContainerInstances", &json!({}))?;
            if listed["containerInstanceArns"].as_array().is_none_or(Vec::is_empty) {
                return Ok(None);
            }
            let input = json!({ "containerInstances": listed["containerInstanceArns"] });
            let answer = self.api.ecs("DescribeContainerInstances", &input)?;
            let nodes = answer["containerInstances"].as_array().cloned().unwrap_or_default();
            let up: Vec<Value> =
                nodes.into_iter().filter(|node| node["agentConnected"] == true).collect();
            Ok((up.len() == count).then_some(up))
        });
        connected.with_context(|| self.nodes.iter().map(|node| tail(&node.log)).collect::<String>())
    }

    /// Ends an agent at once, as a crash does.
    ///
    /// # Errors
    /// Where it does not run.
    pub fn kill_agent(&mut self, at: usize) -> anyhow::Result<()> {
        end(self.nodes[at].agent.take().context("the agent does not run")?, Signal::SIGKILL)
    }

    /// More arguments of a node's agent, from its next start on.
    pub fn add_arguments(&mut self, at: usize, more: &[&str]) {
        self.nodes[at].arguments.extend(more.iter().map(|&word| word.to_owned()));
    }

    /// Imports an image on a node, as an OCI layout.
    ///
    /// # Errors
    /// Where it can't be made, or the agent refuses it.
    pub fn import(&self, at: usize, image: &Image) -> anyhow::Result<()> {
        let folder = tempfile::tempdir_in(self.folder.path()).context("make a folder")?;
        image.write_oci_layout(folder.path())?;
        self.import_path(at, folder.path())
    }

    /// Imports a file or folder on a node.
    ///
    /// # Errors
    /// With the agent's words where it refuses.
    pub fn import_path(&self, at: usize, path: &Path) -> anyhow::Result<()> {
        let body = json!({ "path": path }).to_string();
        let socket = self.nodes[at].state.join("agent.sock");
        let answer = http::unix(&socket, "POST /v1/images/import", body.as_bytes())?;
        let said = String::from_utf8_lossy(&answer.body).into_owned();
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let last: Value = serde_json::from_str(last)
            .with_context(|| format!("import: {} {said:?}", answer.status))?;
        if !last["imported"].is_array() {
            bail!("import: {}", last["error"].as_str().unwrap_or(&said));
        }
        Ok(())
    }

    /// Registers a task definition with one container of the probe; `task` and `container` are
    /// more fields of each.
    ///
    /// # Errors
    /// As the call of the API.
    pub fn define(
        &self,
        family: &str,
        command: &[&str],
        task: Value,
        container: Value,
    ) -> anyhow::Result<String> {
        let mut main = json!({ "name": "main", "image": PROBE, "command": command });
        merge(&mut main, container);
        let mut input = json!({ "family": family, "networkMode": "none" });
        input["containerDefinitions"] = json!([main]);
        merge(&mut input, task);
        let answer = self.api.ecs("RegisterTaskDefinition", &input)?;
        let arn = answer["taskDefinition"]["taskDefinitionArn"].as_str();
        Ok(arn.context("the answer has no ARN")?.to_owned())
    }

    /// The cgroup of a task on a node.
    #[must_use]
    pub fn cgroup(&self, node: usize, task: &str) -> String {
        let id = task.rsplit('/').next().unwrap_or_default();
        format!("{}/{id}", self.nodes[node].cgroup_parent)
    }

    /// Stops every task, the nodes and the controller in the orderly way.
    ///
    /// # Errors
    /// Where one of them does not stop.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        let listed = self.api.ecs("ListTasks", &json!({ "desiredStatus": "RUNNING" }))?;
        let tasks: Vec<String> = serde_json::from_value(listed["taskArns"].clone())?;
        for task in &tasks {
            self.api.ecs("StopTask", &json!({ "task": task }))?;
        }
        self.api.until(&tasks, "STOPPED")?;
        // Those that a test has asked to stop, and has not awaited.
        let listed = self.api.ecs("ListTasks", &json!({ "desiredStatus": "STOPPED" }))?;
        let tasks: Vec<String> = serde_json::from_value(listed["taskArns"].clone())?;
        self.api.until(&tasks, "STOPPED")?;
        for node in &mut self.nodes {
            if let Some(agent) = node.agent.take() {
                end(agent, Signal::SIGTERM)?;
            }
        }
        match self.controller.take() {
            Some(controller) => end(controller, Signal::SIGTERM),
            None => Ok(()),
        }
    }

    /// What is left of the cluster on the machine: processes, mounts and cgroups.
    #[must_use]
    pub fn leftovers(&self) -> Vec<String> {
        let folder = text(self.folder.path());
        let processes = kernel::processes().into_iter().filter(|(_, line)| line.contains(&folder));
        let mut found: Vec<String> =
            processes.map(|(pid, line)| format!("process {pid}: {line}")).collect();
        let mounts = kernel::mounts().into_iter().filter(|mount| mount.starts_with(&folder));
        found.extend(mounts.map(|mount| format!("mount {mount}")));
        for node in &self.nodes {
            let cgroups = kernel::cgroups_named(&node.cgroup_parent);
            found.extend(cgroups.iter().map(|cgroup| format!("cgroup {}", cgroup.display())));
        }
        found
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // After an orderly stop nothing of this finds anything.
        for child in
            self.nodes.iter_mut().filter_map(|n| n.agent.take()).chain(self.controller.take())
        {
            drop(end(child, Signal::SIGKILL));
        }
        if std::thread::panicking() {
            for node in &self.nodes {
                eprintln!("--- {}\n{}", node.log.display(), tail(&node.log));
            }
            eprintln!("--- controller\n{}", tail(&self.folder.path().join("controller.log")));
        }
        for node in &self.nodes {
            for cgroup in kernel::cgroups_named(&node.cgroup_parent) {
                empty(&cgroup);
            }
        }
        let folder = text(self.folder.path());
        for (pid, line) in kernel::processes() {
            if line.contains(&folder)
                && pid != u64::from(std::process::id())
                && let Ok(pid) = i32::try_from(pid)
            {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        for mount in kernel::mounts().iter().rev().filter(|mount| mount.starts_with(&folder)) {
            let _ = umount2(mount.as_str(), MntFlags::MNT_DETACH);
        }
    }
}

/// Kills what is in a cgroup and removes it, from the leaves on: for tests that failed.
pub fn empty(cgroup: &Path) {
    for entry in cgroup.read_dir().into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            empty(&entry.path());
        }
    }
    let removed = until("a cgroup is empty", || {
        let text = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
        for pid in text.lines().filter_map(|pid| pid.parse().ok()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        Ok((fs::remove_dir(cgroup).is_ok() || !cgroup.exists()).then_some(()))
    });
    if let Err(error) = removed {
        eprintln!("{}: {error:#}", cgroup.display());
    }
}

fn spawn(command: &mut Command, log: &Path) -> anyhow::Result<Child> {
    let file = File::options().create(true).append(true).open(log);
    let file = file.with_context(|| format!("open {}", log.display()))?;
    command.stderr(file.try_clone().context("share a log")?).stdout(file);
    command.spawn().with_context(|| format!("start {}", command.get_program().display()))
}

fn end(mut child: Child, signal: Signal) -> anyhow::Result<()> {
    let pid = i32::try_from(child.id()).context("a pid is no pid")?;
    kill(Pid::from_raw(pid), signal).with_context(|| format!("send {signal} to {pid}"))?;
    let ended = program::wait(&mut child, program::CALL_TIMEOUT)?;
    ended.map(drop).with_context(|| format!("{pid} does not end at {signal}"))
}

fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// One port of each address. Both are held until both are found: else they may be the same.
fn free_ports(addresses: [&str; 2]) -> anyhow::Result<[u16; 2]> {
    let listen = |address| TcpListener::bind((address, 0)).context("find a free port");
    let held = [listen(addresses[0])?, listen(addresses[1])?];
    let port = |held: &TcpListener| held.local_addr().context("ask for the port");
    Ok([port(&held[0])?.port(), port(&held[1])?.port()])
}

fn read_credentials(text: &str) -> anyhow::Result<Key> {
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(name));
        let value = line.and_then(|rest| rest.trim().strip_prefix('='));
        value.map(|value| value.trim().to_owned()).with_context(|| format!("no {name}"))
    };
    Ok(Key { id: value("aws_access_key_id")?, secret: value("aws_secret_access_key")? })
}

fn merge(into: &mut Value, fields: Value) {
    for (name, value) in fields.as_object().cloned().unwrap_or_default() {
        into[name] = value;
    }
}

fn machine_memory_mib() -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("read /proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(kib.context("read MemTotal")? / 1024)
}

fn machine_cpu_units() -> anyhow::Result<u64> {
    let cpus = std::thread::available_parallelism().context("count the processors")?;
    Ok(cpus.get() as u64 * 1024)
}
