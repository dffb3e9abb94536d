//! Loadline: a controller and one node. A launch is RunTask, until the controller tells RUNNING.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use loadline_bench::client::{Client, ECS, Key, OWN};
use serde_json::json;

use super::http;
use super::place::{Daemon, Place};
use super::subject::{CPU_UNITS, IMAGE, Launcher, MEMORY_MIB, Network, PROGRAM, Subject};
use super::watch::Watch;

const API: &str = "127.0.0.1:7070";
const AGENTS: &str = "127.0.0.1:7071";

/// How long the end of all tasks may take.
const END_S_MAX: u64 = 300;

/// Names that one DescribeTasks or a page of a list has.
pub(crate) const PAGE: usize = 100;

/// A controller and a node. Dropped in this order.
#[derive(Debug)]
pub(crate) struct Loadline {
    agent: Daemon,
    controller: Daemon,
    key: Key,
    watch: Arc<Watch>,
}

impl Loadline {
    /// Starts both in new folders, with the image, and defines what is run on each network.
    pub(crate) fn start(place: &Place, programs: &Path) -> anyhow::Result<Self> {
        let folder = place.make("loadline")?;
        // Of a node before this one.
        std::fs::remove_dir_all(&folder).context("empty the folder")?;
        let state = place.make("loadline/controller")?;
        let mut command = Command::new(programs.join("loadline-controller"));
        command.arg("--state-dir").arg(&state).env("LOADLINE_LOG", "warn");
        command.args(["--api-listen", API, "--agent-listen", AGENTS]);
        let credentials = state.join("credentials");
        let ready = || Key::read(&credentials).is_ok() && std::net::TcpStream::connect(API).is_ok();
        let controller = place.daemon(&mut command, "controller.log", ready)?;
        let key = Key::read(&credentials)?;
        let mut client = Client::connect(API, &key)?;
        let made = client.call(OWN, "CreateJoinToken", &json!({}))?;
        let token = folder.join("token");
        let text = made["token"].as_str().context("no token")?;
        std::fs::write(&token, text).context("write the token")?;
        let socket = folder.join("node/agent.sock");
        let mut command = Command::new(programs.join("loadline-agent"));
        command.args(["run", "--controller", AGENTS, "--cgroup-parent", &place.cgroup]);
        command.arg("--state-dir").arg(folder.join("node")).env("LOADLINE_LOG", "warn");
        command.arg("--join-token-file").arg(&token);
        let ready = || std::os::unix::net::UnixStream::connect(&socket).is_ok();
        let agent = place.daemon(&mut command, "agent.log", ready)?;
        let archive = json!({ "path": place.image()? });
        let said = http::post(&socket, "/v1/images/import", &archive.to_string())?;
        ensure!(said.contains("\"imported\""), "import the image: {said}");
        let watch = Arc::new(Watch::start(Client::connect(API, &key)?));
        let node = Self { agent, controller, key, watch };
        for network in [Network::None, Network::Bridge] {
            define(&mut client, network.name(), network, CPU_UNITS, MEMORY_MIB)?;
        }
        Ok(node)
    }

    /// The agent's and the controller's processes.
    pub(crate) fn pids(&self) -> (u32, u32) {
        (self.agent.pid(), self.controller.pid())
    }

    /// A way to start tasks of a definition.
    pub(crate) fn launcher_of(&self, family: &str) -> anyhow::Result<Launch> {
        let (client, watch) = (self.client()?, Arc::clone(&self.watch));
        Ok(Launch { client, family: family.to_owned(), watch })
    }

    /// A connection to the API.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        Client::connect(API, &self.key)
    }
}

/// Registers a task definition of one container.
pub(crate) fn define(
    client: &mut Client,
    family: &str,
    network: Network,
    cpu_units: u64,
    memory_mib: u64,
) -> anyhow::Result<()> {
    // `sleep` as process 1 does not hear SIGTERM.
    let container = json!({
        "name": "main", "image": IMAGE, "command": PROGRAM, "cpu": cpu_units,
        "memory": memory_mib, "stopTimeout": 2,
    });
    let input = json!({
        "family": family, "networkMode": network.name(), "containerDefinitions": [container],
    });
    client.call(ECS, "RegisterTaskDefinition", &input).map(drop).context("define what is run")
}

impl Subject for Loadline {
    fn name(&self) -> &'static str {
        "loadline"
    }

    fn launcher(&self, network: Network) -> anyhow::Result<Box<dyn Launcher>> {
        Ok(Box::new(self.launcher_of(network.name())?))
    }

    fn clear(&self) -> anyhow::Result<()> {
        let mut client = self.client()?;
        let until = Instant::now() + Duration::from_secs(END_S_MAX);
        let mut asked = BTreeSet::new();
        loop {
            let running = list(&mut client, "RUNNING")?;
            for arn in running.iter().filter(|arn| !asked.contains(*arn)) {
                client.call(ECS, "StopTask", &json!({ "task": arn }))?;
            }
            asked.extend(running.iter().cloned());
            // One that was asked for has the desired status STOPPED before it has stopped.
            let ended = list(&mut client, "STOPPED")?;
            let stopping = unfinished(&mut client, &ended)?;
            if running.is_empty() && stopping == 0 {
                return Ok(());
            }
            ensure!(Instant::now() < until, "{stopping} tasks do not end");
            sleep(Duration::from_millis(50));
        }
    }

    fn beside(&self) -> Option<&'static str> {
        Some("loadline-superv")
    }

    fn daemons(&self) -> Vec<u32> {
        vec![self.agent.pid()]
    }
}

/// The ARNs of all tasks with a desired status.
fn list(client: &mut Client, desired: &str) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut input = json!({ "desiredStatus": desired, "maxResults": PAGE });
    loop {
        let listed = client.call(ECS, "ListTasks", &input)?;
        let arns = listed["taskArns"].as_array().into_iter().flatten();
        found.extend(arns.filter_map(|arn| arn.as_str().map(str::to_owned)));
        match listed["nextToken"].as_str() {
            Some(token) => input["nextToken"] = json!(token),
            None => return Ok(found),
        }
    }
}

/// How many of these tasks have not stopped yet.
fn unfinished(client: &mut Client, arns: &[String]) -> anyhow::Result<usize> {
    let mut count = 0;
    for page in arns.chunks(PAGE) {
        let told = client.call(ECS, "DescribeTasks", &json!({ "tasks": page }))?;
        let tasks = told["tasks"].as_array().into_iter().flatten();
        count += tasks.filter(|task| task["lastStatus"] != "STOPPED").count();
    }
    Ok(count)
}

/// Starts tasks over a connection that it keeps.
pub(crate) struct Launch {
    client: Client,
    family: String,
    watch: Arc<Watch>,
}

impl Launcher for Launch {
    fn launch(&mut self) -> anyhow::Result<()> {
        let input = json!({ "taskDefinition": self.family });
        let answer = self.client.call(ECS, "RunTask", &input)?;
        let arn = answer["tasks"][0]["taskArn"].as_str();
        self.watch.until_running(arn.with_context(|| format!("RunTask: {}", answer["failures"]))?)
    }
}
