//! `cargo xtask demo`: one cluster on this machine, and each claim of the README shown on it. The
//! programs are started as a user starts them; what is seen is read from the API and the kernel.

mod network;
mod processor;
mod table;

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::api::why_stopped;
use crate::cluster::{Cluster, NodeOptions};
use crate::{kernel, program};
pub use network::Network;
pub use processor::{Spinners, prefer, use_over};
pub use table::Table;

/// Memory of the first node: small, so that it can be filled.
const FIRST_NODE_MIB: u64 = 1024;

/// Memory of the second node: more than the first has, so that a large task fits only there.
const SECOND_NODE_MIB: u64 = 2048;

/// How long processor use is counted: two hundred periods of the quota.
const WATCH: Duration = Duration::from_secs(20);

/// Runs the demo and says whether every claim was seen to hold.
///
/// # Errors
/// Where the cluster itself can't be started or reached.
pub fn run() -> anyhow::Result<bool> {
    if !kernel::is_root() {
        bail!("cgroups and mounts need root: start this as root");
    }
    let before = Audit::now();
    let mut table = Table::default();
    println!(
        "\u{25b6} starting a controller and a node of {FIRST_NODE_MIB} MiB, importing an image"
    );
    let network = Network::new()?;
    let mut cluster = Cluster::start_on(&network.host_address)?;
    // A controller has a machine of its own, as a rule. This one answers for a node beside it whose
    // tasks have reserved all processors there are.
    if let Err(error) = prefer(cluster.controller_pid()?) {
        println!("    the controller has to share the processors with the tasks: {error:#}");
    }
    let memory_mib = Some(FIRST_NODE_MIB);
    cluster.add_node(&NodeOptions { memory_mib, ..NodeOptions::default() })?;
    output_and_exit_code(&cluster, &mut table)?;
    quota(&cluster, &mut table)?;
    floor(&cluster, &mut table)?;
    memory(&cluster, &mut table)?;
    let running = refusals(&cluster, &mut table)?;
    second_node(&mut cluster, &network, &mut table)?;
    stop(&cluster, &running)?;
    println!("\u{25b6} stopping everything");
    cluster.stop()?;
    let leftovers = cluster.leftovers();
    drop(cluster);
    let name = network.name.clone();
    drop(network);
    clean(&before, leftovers, &name, &mut table);
    println!("\n{}", table.text());
    let (agree, differ) = table.count();
    println!("{agree} passed, {differ} failed, 0 skipped");
    Ok(table.agrees())
}

fn stop(cluster: &Cluster, tasks: &[String]) -> anyhow::Result<()> {
    for task in tasks {
        cluster.api.ecs("StopTask", &json!({ "task": task, "reason": "shown" }))?;
    }
    cluster.api.until(tasks, "STOPPED")?;
    Ok(())
}

fn output_and_exit_code(cluster: &Cluster, table: &mut Table) -> anyhow::Result<()> {
    println!("\u{25b6} a task that prints a line and exits with 7");
    let verbs = ["echo", "hello from a container", "--", "exit", "7"];
    let task = cluster.define("hello", &verbs, json!({ "memory": "64" }), json!({}))?;
    let tasks = cluster.api.run(&task, 1)?;
    let done = cluster.api.until(&tasks, "STOPPED")?;
    let exit = &done[0]["containers"][0]["exitCode"];
    let said = cluster.api.logs(&tasks[0])?;
    let agrees = *exit == 7 && said == ["hello from a container"];
    let seen = if agrees {
        format!("printed {:?}, exit code {exit}", said[0])
    } else {
        format!("printed {said:?}, exit code {exit}: {}", why_stopped(&done[0]))
    };
    table.add("a", "a task's output and exit code are told", &seen, agrees);
    Ok(())
}

fn quota(cluster: &Cluster, table: &mut Table) -> anyhow::Result<()> {
    println!("\u{25b6} a task of 0.25 vCPU that spins on two threads");
    let size = json!({ "cpu": "256", "memory": "64" });
    let task = cluster.define("quarter", &["spin", "2"], size, json!({ "stopTimeout": 1 }))?;
    let tasks = cluster.api.run(&task, 1)?;
    cluster.api.until(&tasks, "RUNNING")?;
    let used = use_over(&[cluster.cgroup(0, &tasks[0])], WATCH)?[0];
    let agrees = (used - 0.25).abs() <= 0.03;
    let seen = format!("it used {used:.3} of a CPU for {} s", WATCH.as_secs());
    table.add("b", "a task of 0.25 vCPU is held to 0.25 \u{b1} 0.03 of a CPU", &seen, agrees);
    stop(cluster, &tasks)
}

/// The node's CPU units, filled with tasks of 256 that all spin, beside four processes of the host
/// that spin.
fn floor(cluster: &Cluster, table: &mut Table) -> anyhow::Result<()> {
    let node = &cluster.until_connected(1)?[0];
    let count = u32::try_from(resource(node, "remainingResources", "CPU")? / 256)?;
    println!(
        "\u{25b6} a full node, {count} tasks of 0.25 vCPU, and 4 host processes, all spinning"
    );
    let size = json!({ "cpu": "256", "memory": "32" });
    let task = cluster.define("full", &["spin", "2"], size, json!({ "stopTimeout": 1 }))?;
    let mut tasks = Vec::new();
    while tasks.len() < count as usize {
        let some = (count - u32::try_from(tasks.len())?).min(10);
        tasks.extend(cluster.api.run(&task, some)?);
    }
    cluster.api.until(&tasks, "RUNNING")?;
    let cgroups: Vec<String> = tasks.iter().map(|task| cluster.cgroup(0, task)).collect();
    let spinners = Spinners::start(&program::find("loadline-probe")?, 4)?;
    let used = use_over(&cgroups, WATCH)?;
    drop(spinners);
    let least = used.iter().copied().fold(f64::INFINITY, f64::min) / 0.25;
    let sum: f64 = used.iter().sum();
    let shares: Vec<String> = used.iter().map(|used| format!("{:.2}", used / 0.25)).collect();
    println!("    of their shares they got {}", shares.join(" "));
    let seen = format!("the worst of {count} got {least:.2} of its share (all: {sum:.2} CPUs)");
    table.add("b2", "on a full, busy node a task gets >= 0.9 of its share", &seen, 0.9 <= least);
    stop(cluster, &tasks)
}

fn resource(node: &Value, list: &str, name: &str) -> anyhow::Result<u64> {
    let found = node[list].as_array().into_iter().flatten().find(|one| one["name"] == name);
    let value = found.and_then(|one| one["integerValue"].as_u64());
    value.with_context(|| format!("the node tells no {name} among its {list}: {node}"))
}

fn memory(cluster: &Cluster, table: &mut Table) -> anyhow::Result<()> {
    println!("\u{25b6} a task of 32 MiB that touches 128");
    let verbs = ["eat-memory", "128", "60"];
    let task = cluster.define("greedy", &verbs, json!({ "memory": "32" }), json!({}))?;
    let tasks = cluster.api.run(&task, 1)?;
    let done = cluster.api.until(&tasks, "STOPPED")?;
    let container = &done[0]["containers"][0];
    let reason = container["reason"].as_str().unwrap_or_default();
    let agrees = container["exitCode"] == 137 && reason.contains("OutOfMemoryError");
    let seen = format!("exit code {}, reason {reason:?}", container["exitCode"]);
    table.add("c", "a task that passes its memory is killed and says so", &seen, agrees);
    Ok(())
}

/// Two tasks that run, and two that can't be placed beside them; gives those that run.
fn refusals(cluster: &Cluster, table: &mut Table) -> anyhow::Result<Vec<String>> {
    println!(
        "\u{25b6} two tasks that fit, then one with too much memory and one with too much CPU"
    );
    let task =
        cluster.define("fits", &["trap", "TERM", "0"], json!({ "memory": "256" }), json!({}))?;
    let running = cluster.api.run(&task, 2)?;
    cluster.api.until(&running, "RUNNING")?;
    let mut reasons = Vec::new();
    for (family, size) in [
        ("wide", json!({ "memory": (FIRST_NODE_MIB - 256).to_string() })),
        ("fast", json!({ "memory": "64", "cpu": "131072" })),
    ] {
        let task = cluster.define(family, &["sleep"], size, json!({}))?;
        let answer = cluster.api.ecs("RunTask", &json!({ "taskDefinition": task }))?;
        let placed = answer["tasks"].as_array().is_some_and(|tasks| !tasks.is_empty());
        let reason = answer["failures"][0]["reason"].as_str().unwrap_or("no reason");
        reasons.push(if placed { "placed".to_owned() } else { reason.to_owned() });
    }
    let tasks = cluster.api.tasks(&running)?;
    let on = tasks.iter().filter(|task| task["lastStatus"] == "RUNNING").count();
    let agrees = reasons == ["RESOURCE:MEMORY", "RESOURCE:CPU"] && on == 2;
    let seen = format!("{}; {on} of 2 run on", reasons.join(", "));
    table.add("d", "what does not fit is refused with the reason", &seen, agrees);
    Ok(running)
}

fn second_node(cluster: &mut Cluster, network: &Network, table: &mut Table) -> anyhow::Result<()> {
    println!("\u{25b6} a second node in the network namespace {} joins with a token", network.name);
    // As the README says it: `loadline token create` here, `loadline-agent run` there.
    let said = cluster.cli(&["token", "create"])?;
    let token = said.split_whitespace().find(|word| word.starts_with("loadline1."));
    let options = NodeOptions {
        token: Some(token.with_context(|| format!("no token in {said:?}"))?.to_owned()),
        memory_mib: Some(SECOND_NODE_MIB),
        netns: Some(network.name.clone()),
        ..NodeOptions::default()
    };
    let at = cluster.add_node(&options)?;
    let size = json!({ "memory": (FIRST_NODE_MIB + 128).to_string() });
    let task = cluster.define(
        "large",
        &["echo", "over here", "--", "trap", "TERM", "0"],
        size,
        json!({}),
    )?;
    let tasks = cluster.api.run(&task, 1)?;
    let running = cluster.api.until(&tasks, "RUNNING")?;
    let processes = kernel::cgroups_named(&cluster.cgroup(at, &tasks[0]));
    let nodes = cluster.until_connected(2)?;
    let placed =
        nodes.iter().find(|n| n["containerInstanceArn"] == running[0]["containerInstanceArn"]);
    let memory = placed.map_or(Ok(0), |node| resource(node, "registeredResources", "MEMORY"))?;
    let agrees = !processes.is_empty() && memory == SECOND_NODE_MIB;
    let seen = format!("{} nodes; the large task runs on the one of {memory} MiB", nodes.len());
    table.add("d2", "a second node joins with a token and takes a task", &seen, agrees);
    Ok(())
}

/// What a demo must not change on the machine.
#[derive(Debug, PartialEq, Eq)]
struct Audit {
    mounts: Vec<String>,
    networks: Vec<String>,
    cgroups: Vec<String>,
}

impl Audit {
    fn now() -> Self {
        let list = |folder: &str| -> Vec<String> {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            let ours = entries.map(|entry| entry.path().to_string_lossy().into_owned());
            let mut names: Vec<String> = ours.filter(|path| path.contains("loadline")).collect();
            names.sort();
            names
        };
        let hierarchies = std::fs::read_dir(kernel::CGROUPS).into_iter().flatten().flatten();
        let folders = hierarchies.map(|entry| entry.path()).chain([kernel::CGROUPS.into()]);
        let cgroups = folders.flat_map(|folder| list(&folder.to_string_lossy())).collect();
        let mounts = kernel::mounts().into_iter().filter(|mount| mount.contains("loadline"));
        Self { mounts: mounts.collect(), networks: list("/run/netns"), cgroups }
    }

    /// What is there now and was not before.
    fn grown(before: &Self) -> Vec<String> {
        let now = Self::now();
        let pairs = [
            (&now.mounts, &before.mounts, "mount"),
            (&now.networks, &before.networks, "network namespace"),
            (&now.cgroups, &before.cgroups, "cgroup"),
        ];
        let new = |(now, before, kind): (&Vec<String>, &Vec<String>, &str)| {
            let new = now.iter().filter(|one| !before.contains(one));
            new.map(|one| format!("{kind} {one}")).collect::<Vec<_>>()
        };
        pairs.into_iter().flat_map(new).collect()
    }
}

fn clean(before: &Audit, leftovers: Vec<String>, network: &str, table: &mut Table) {
    let own = |what: &String| what.contains("loadline-test-") || what.contains(network);
    let grown = Audit::grown(before).into_iter().filter(|what| {
        // Another demo or test may begin or end meanwhile: what carries our number counts.
        own(what) && what.contains(&std::process::id().to_string())
    });
    let left: Vec<String> = leftovers.into_iter().chain(grown).collect();
    let seen = if left.is_empty() {
        "no process, cgroup, mount or network namespace is left".to_owned()
    } else {
        format!("left: {} things, such as {}", left.len(), left[0])
    };
    table.add("e", "everything is cleaned up", &seen, left.is_empty());
}
