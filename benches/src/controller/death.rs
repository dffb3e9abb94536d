//! From a node's death to its tasks' replacements: two large nodes take a service whose tasks fit
//! nowhere else, and one of them falls silent as a host does that lost its power.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::load::define;
use loadline_bench::client::{Client, ECS};

/// Of a large node, and of a task that fits nowhere else, in MiB.
const NODE_MIB: &str = "1000000";
const TASK_MIB: u64 = 100_000;
const TASKS: u64 = 6;
/// The controller's grace after its start, and a little more, in seconds.
const START_GRACE_S: u64 = 31;
/// How long anything here may take, in seconds.
const WAIT_S_MAX: u64 = 120;

/// Milliseconds from silence until as many tasks run as before, on the other node.
pub(crate) fn measure(cluster: &mut Cluster) -> anyhow::Result<f64> {
    let options = ["--node-memory-mib", NODE_MIB];
    let before = cluster.connected(usize::MAX)?;
    let victim = cluster.add_agents(1, &options)?;
    cluster.add_agents(1, &options)?;
    until("both large nodes have a session", || {
        Ok((before + 2 <= cluster.connected(usize::MAX)?).then_some(()))
    })?;
    let mut client = cluster.client()?;
    define(&mut client, "large", 1, TASK_MIB)?;
    let input = json!({
        "serviceName": "large", "taskDefinition": "large", "desiredCount": TASKS,
        "placementStrategy": [{"type": "spread", "field": "instanceId"}],
    });
    client.call(ECS, "CreateService", &input)?;
    let nodes = until("the service runs on both large nodes", || {
        let nodes = nodes_of_tasks(&mut client)?;
        let spread = nodes.len() as u64 == TASKS && nodes.iter().any(|node| *node != nodes[0]);
        Ok(spread.then_some(nodes))
    })?;
    // After its start a controller calls no node lost for a while: that is not what is measured.
    let grace = Duration::from_secs(START_GRACE_S);
    std::thread::sleep(grace.saturating_sub(cluster.started.elapsed()));
    let pid = cluster.agents_pid(victim).context("the victim has no pid")?;
    let began = Instant::now();
    kill(Pid::from_raw(pid), Signal::SIGSTOP).context("silence a node")?;
    until("the tasks are replaced", || {
        let now = nodes_of_tasks(&mut client)?;
        let on_one = now.len() as u64 == TASKS && now.iter().all(|node| *node == now[0]);
        Ok((on_one && nodes.contains(&now[0])).then_some(()))
    })?;
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

/// The node of each task of the service that runs.
fn nodes_of_tasks(client: &mut Client) -> anyhow::Result<Vec<String>> {
    let listed = client.call(ECS, "ListTasks", &json!({ "serviceName": "large" }))?;
    let arns = &listed["taskArns"];
    if arns.as_array().is_none_or(Vec::is_empty) {
        return Ok(Vec::new());
    }
    let tasks = client.call(ECS, "DescribeTasks", &json!({ "tasks": arns }))?;
    let running = tasks["tasks"].as_array().cloned().unwrap_or_default();
    let running = running.iter().filter(|task| task["lastStatus"] == "RUNNING");
    let node = |task: &Value| task["containerInstanceArn"].as_str().map(str::to_owned);
    Ok(running.filter_map(node).collect())
}

fn until<T>(what: &str, mut look: impl FnMut() -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
    let began = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        let patience = Duration::from_secs(WAIT_S_MAX);
        ensure!(began.elapsed() < patience, "waited {WAIT_S_MAX} s in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
