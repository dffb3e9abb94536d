//! A controller in a folder of its own, and the processes with its simulated nodes. Dropping it
//! ends them.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::json;
use tempfile::TempDir;

use loadline_bench::client::{Client, ECS, Key, OWN};

/// How long all nodes may take to be there, in seconds.
const JOIN_S_MAX: u64 = 900;
/// Names as many nodes as one page of a list has.
const PAGE: usize = 100;

#[derive(Debug)]
pub(crate) struct Cluster {
    folder: TempDir,
    agent: PathBuf,
    controller: Child,
    agents: Vec<Child>,
    pub(crate) api: String,
    agent_port: String,
    pub(crate) key: Key,
    pub(crate) started: Instant,
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) resident_bytes: u64,
    cpu_s: f64,
}

impl Usage {
    /// Of one processor.
    pub(crate) fn cpu_percent_since(&self, before: &Self, seconds: u64) -> f64 {
        (self.cpu_s - before.cpu_s) / seconds.max(1) as f64 * 100.0
    }
}

impl Cluster {
    pub(crate) fn start(controller: &Path, agent: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("loadline-bench-").tempdir();
        let folder = folder.context("make a folder")?;
        let log = File::create(folder.path().join("controller.log")).context("make a log")?;
        let mut child = Command::new(controller)
            .arg("--state-dir")
            .arg(folder.path())
            .args(["--api-listen", "127.0.0.1:0", "--agent-listen", "127.0.0.1:0"])
            .env("LOADLINE_LOG", "warn")
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", controller.display()))?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("the controller has no output")?;
        BufReader::new(stdout).read_line(&mut line).context("hear the controller")?;
        let word = |name: &str| {
            let word = line.split_whitespace().find_map(|word| word.strip_prefix(name));
            word.map(str::to_owned).with_context(|| format!("the controller said {line:?}"))
        };
        let (api, agent_port) = (word("api=")?, word("agents=")?);
        let key = Key::read(&folder.path().join("credentials"))?;
        let (agent, agents, started) = (agent.to_owned(), Vec::new(), Instant::now());
        Ok(Self { folder, agent, controller: child, agents, api, agent_port, key, started })
    }

    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        Client::connect(&self.api, &self.key)
    }

    /// Joins simulated nodes, and waits until all have a session; how long that took, in seconds.
    pub(crate) fn join(&mut self, nodes: u32) -> anyhow::Result<f64> {
        let began = Instant::now();
        self.add_agents(nodes, &[])?;
        while self.connected(nodes as usize)? < nodes as usize {
            ensure!(
                began.elapsed() < Duration::from_secs(JOIN_S_MAX),
                "not all of {nodes} nodes had joined after {JOIN_S_MAX} s"
            );
            std::thread::sleep(Duration::from_millis(500));
        }
        Ok(began.elapsed().as_secs_f64())
    }

    /// Starts one process with so many nodes; its number.
    pub(crate) fn add_agents(&mut self, nodes: u32, more: &[&str]) -> anyhow::Result<usize> {
        let made = self.client()?.call(OWN, "CreateJoinToken", &json!({ "uses": nodes }))?;
        let at = self.agents.len();
        let token = self.folder.path().join(format!("token{at}"));
        std::fs::write(&token, made["token"].as_str().unwrap_or_default()).context("keep it")?;
        let log = File::create(self.folder.path().join(format!("agents{at}.log")));
        let child = Command::new(&self.agent)
            .args(["hollow", "--count", &nodes.to_string(), "--controller", &self.agent_port])
            .arg("--join-token-file")
            .arg(token)
            .arg("--state-dir")
            .arg(self.folder.path().join(format!("agents{at}")))
            .args(more)
            .env("LOADLINE_LOG", "warn")
            .stdout(Stdio::null())
            .stderr(log.context("make a log")?)
            .spawn()
            .with_context(|| format!("start {}", self.agent.display()))?;
        self.agents.push(child);
        Ok(at)
    }

    /// How many nodes have a session, counted up to `enough`.
    pub(crate) fn connected(&self, enough: usize) -> anyhow::Result<usize> {
        let mut client = self.client()?;
        let mut request = json!({ "filter": "agentConnected == true", "maxResults": PAGE });
        let mut count = 0;
        loop {
            let answer = client.call(ECS, "ListContainerInstances", &request)?;
            count += answer["containerInstanceArns"].as_array().map_or(0, Vec::len);
            match answer["nextToken"].as_str() {
                Some(token) if count < enough => request["nextToken"] = json!(token),
                _ => return Ok(count),
            }
        }
    }

    /// A process of simulated nodes.
    pub(crate) fn agents_pid(&self, at: usize) -> Option<i32> {
        self.agents.get(at).and_then(|child| i32::try_from(child.id()).ok())
    }

    /// Of the controller.
    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        let pid = self.controller.id();
        let read = |name: &str| {
            let path = format!("/proc/{pid}/{name}");
            std::fs::read_to_string(&path).with_context(|| format!("read {path}"))
        };
        let status = read("status")?;
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = kib.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
        // proc_pid_stat(5): fields 14 and 15, in ticks of 1/100 s on every Linux of ours.
        let stat = read("stat")?;
        let after_name = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
        let mut fields = after_name.split_whitespace().skip(11);
        let mut ticks = || fields.next().and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
        let cpu_s = (ticks() + ticks()) / 100.0;
        let kib = kib.context("the controller has no resident set: it ended")?;
        Ok(Usage { resident_bytes: kib * 1024, cpu_s })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.agents.iter_mut().chain([&mut self.controller]) {
            // One that was stopped ends by this too; an error means that it has ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
