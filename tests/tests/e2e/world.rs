//! The cluster of one test.

use std::collections::BTreeMap;

use loadline_tests::cluster::{Cluster, NodeOptions};
use loadline_tests::kernel;
use serde_json::json;

/// A controller and one node with this much memory.
pub(crate) fn cluster(memory_mib: u64) -> Cluster {
    let mut cluster = Cluster::start().unwrap();
    let memory_mib = Some(memory_mib);
    cluster.add_node(&NodeOptions { memory_mib, ..NodeOptions::default() }).unwrap();
    cluster
}

/// Stops everything in the orderly way, and claims that nothing is left.
pub(crate) fn end(mut cluster: Cluster) {
    cluster.stop().unwrap();
    let left = cluster.leftovers();
    assert!(left.is_empty(), "left behind: {left:#?}");
}

/// The processes in a task's cgroup, of all its containers.
pub(crate) fn processes(cluster: &Cluster, task: &str) -> Vec<u64> {
    let mut found = Vec::new();
    let hierarchy = if kernel::is_unified() { "" } else { "pids" };
    let mut folders = vec![kernel::cgroup(hierarchy, &cluster.cgroup(0, task))];
    while let Some(folder) = folders.pop() {
        let text = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        found.extend(text.lines().filter_map(|pid| pid.parse::<u64>().ok()));
        let entries = folder.read_dir().into_iter().flatten().flatten();
        folders.extend(entries.map(|entry| entry.path()).filter(|path| path.is_dir()));
    }
    found.retain(|pid| kernel::lives(*pid));
    found.sort_unstable();
    found
}

/// Tasks that say "started" and end with the code that is their value at SIGTERM.
pub(crate) fn trapped(cluster: &Cluster, count: u8) -> BTreeMap<String, u8> {
    let reserved = json!({ "memoryReservation": 32 });
    let definition = cluster.define("trapped", &["true"], json!({}), reserved).unwrap();
    let run = |code: u8| {
        let code_text = code.to_string();
        let command = ["echo", "started", "--", "trap", "TERM", &code_text];
        let overrides = json!({ "containerOverrides": [{ "name": "main", "command": command }] });
        let input = json!({ "taskDefinition": definition, "overrides": overrides });
        let answer = cluster.api.ecs("RunTask", &input).unwrap();
        assert_eq!(answer["failures"], json!([]));
        (answer["tasks"][0]["taskArn"].as_str().unwrap().to_owned(), code)
    };
    (1..=count).map(run).collect()
}

/// Waits until every task has said that it is ready, and gives its processes.
pub(crate) fn ready(cluster: &Cluster, tasks: &BTreeMap<String, u8>) -> BTreeMap<String, Vec<u64>> {
    let arns: Vec<String> = tasks.keys().cloned().collect();
    cluster.api.until(&arns, "RUNNING").unwrap();
    for task in &arns {
        loadline_tests::program::until("the task is ready", || {
            let answer = cluster.api.own("ReadTaskLogs", &json!({ "task": task }))?;
            Ok(answer["events"].to_string().contains("ready").then_some(()))
        })
        .unwrap();
    }
    arns.into_iter().map(|task| (task.clone(), processes(cluster, &task))).collect()
}

/// How often the task said "started".
pub(crate) fn starts(cluster: &Cluster, task: &str) -> usize {
    cluster.api.logs(task).unwrap().iter().filter(|line| *line == "started").count()
}
