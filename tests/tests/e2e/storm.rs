//! A controller that is killed again and again while everybody talks to it (laws 8, 9, 10 and 12):
//! `kill -9` at random moments, 200 times with `LOADLINE_TEST_FULL=1`.
//!
//! ```text
//!   callers ─▶ RunTask, StopTask, CreateCluster, … ─▶ controller ◀─ kill -9, start, kill -9, …
//!      │ what was acknowledged                            │
//!      └──────────── compared at the end with ◀───────────┼─▶ simulated nodes, their own record
//!                                                         └─▶ a real node, which notices nothing
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use loadline_tests::api::{Client, Refused};
use loadline_tests::cluster::Cluster;
use loadline_tests::program::{self, until};
use loadline_tests::require;
use loadline_tests::require::Facility;
use rand::Rng as _;
use serde_json::{Value, json};

use crate::world::{cluster, end, processes, ready, starts, trapped};

/// How often the controller is killed.
const KILLS: usize = 6;
/// As [`KILLS`], with `LOADLINE_TEST_FULL=1`.
const KILLS_FULL: usize = 200;
/// Callers at once.
const CALLERS: u64 = 4;
/// Simulated nodes, and the memory of each in MiB: the callers ask for more than there is.
const NODES: u64 = 5;
const NODE_MIB: u64 = 256;
/// Memory of one of their tasks in MiB.
const TASK_MIB: u64 = 16;
/// The cluster of the simulated nodes.
const CROWD: &str = "crowd";

/// What the controller has acknowledged to one caller.
#[derive(Debug, Default)]
struct Acknowledged {
    clusters: Vec<String>,
    definitions: Vec<String>,
    /// Each task with its node.
    tasks: BTreeMap<String, String>,
    stopped: BTreeSet<String>,
    /// What a client token's call was answered, by its `startedBy`.
    calls: BTreeMap<String, BTreeSet<String>>,
    unanswered: u64,
}

fn kills() -> usize {
    let full = std::env::var_os("LOADLINE_TEST_FULL").is_some_and(|value| value == "1");
    if full { KILLS_FULL } else { KILLS }
}

/// Simulated nodes in a cluster of their own, which write down what they ran.
fn crowd(cluster: &Cluster, results: &Path) -> Child {
    cluster.api.ecs("CreateCluster", &json!({ "clusterName": CROWD })).unwrap();
    let input = json!({ "cluster": CROWD, "uses": NODES });
    let token = cluster.api.own("CreateJoinToken", &input).unwrap();
    let file = cluster.folder.path().join("crowd-token");
    std::fs::write(&file, token["token"].as_str().unwrap()).unwrap();
    let mut agents = program::command(&program::find("loadline-agent").unwrap());
    agents.args(["hollow", "--controller", &cluster.agent_address, "--start-ms", "20"]);
    agents.args(["--count", &NODES.to_string(), "--node-memory-mib", &NODE_MIB.to_string()]);
    agents.arg("--state-dir").arg(cluster.folder.path().join("crowd"));
    agents.arg("--join-token-file").arg(file).arg("--results").arg(results);
    let log = std::fs::File::create(cluster.folder.path().join("crowd.log")).unwrap();
    agents.stderr(log).spawn().unwrap()
}

fn crowd_is_connected(api: &Client) {
    let count = usize::try_from(NODES).unwrap();
    until("the simulated nodes are connected", || {
        Ok((connected(api)?.len() == count).then_some(()))
    })
    .unwrap();
}

fn connected(api: &Client) -> anyhow::Result<Vec<Value>> {
    let listed = api.ecs("ListContainerInstances", &json!({ "cluster": CROWD }))?;
    let arns = &listed["containerInstanceArns"];
    if arns.as_array().is_none_or(Vec::is_empty) {
        return Ok(Vec::new());
    }
    let input = json!({ "cluster": CROWD, "containerInstances": arns });
    let answer = api.ecs("DescribeContainerInstances", &input)?;
    let mut nodes = answer["containerInstances"].as_array().cloned().unwrap_or_default();
    nodes.retain(|node| node["agentConnected"] == true);
    Ok(nodes)
}

/// One caller: any call, until it is over. A call without an answer is made again with the same
/// client token until it has one.
fn caller(api: &Client, number: u64, serial: &AtomicU64, over: &AtomicBool) -> Acknowledged {
    let mut known = Acknowledged::default();
    while !over.load(Ordering::Relaxed) {
        let n = serial.fetch_add(1, Ordering::Relaxed);
        let done = match rand::rng().random_range(0..10) {
            0 => create_cluster(api, n, &mut known),
            1 => define(api, n, &mut known),
            2..=5 => stop(api, &mut known),
            _ => run(api, number, n, &mut known, over),
        };
        if let Err(error) = done {
            // A refusal in the API's own words would be a mistake of the controller.
            if let Some(refused) = error.downcast_ref::<Refused>() {
                assert!(refused.status >= 500, "{refused}");
            }
            known.unanswered += 1;
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    known
}

fn create_cluster(api: &Client, n: u64, known: &mut Acknowledged) -> anyhow::Result<()> {
    let name = format!("c{n}");
    api.ecs("CreateCluster", &json!({ "clusterName": name }))?;
    known.clusters.push(name);
    Ok(())
}

fn define(api: &Client, n: u64, known: &mut Acknowledged) -> anyhow::Result<()> {
    let answer = api.ecs("RegisterTaskDefinition", &definition(&format!("f{n}")))?;
    let arn = answer["taskDefinition"]["taskDefinitionArn"].as_str().unwrap_or_default();
    known.definitions.push(arn.to_owned());
    Ok(())
}

fn definition(family: &str) -> Value {
    let container = json!({ "name": "main", "image": "hollow", "memory": TASK_MIB });
    json!({ "family": family, "networkMode": "none", "containerDefinitions": [container] })
}

fn run(
    api: &Client,
    number: u64,
    n: u64,
    known: &mut Acknowledged,
    over: &AtomicBool,
) -> anyhow::Result<()> {
    let started_by = format!("caller{number}-{n}");
    let input = json!({
        "cluster": CROWD, "taskDefinition": "crowd", "count": 2, "clientToken": started_by,
        "startedBy": started_by,
    });
    loop {
        match api.ecs("RunTask", &input) {
            Ok(answer) => {
                let tasks = answer["tasks"].as_array().cloned().unwrap_or_default();
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let placed = tasks
                    .iter()
                    .map(|task| (text(&task["taskArn"]), text(&task["containerInstanceArn"])));
                let placed: Vec<_> = placed.collect();
                let arns = placed.iter().map(|(task, _)| task.clone()).collect();
                known.calls.insert(started_by, arns);
                known.tasks.extend(placed);
                return Ok(());
            }
            Err(error) if over.load(Ordering::Relaxed) => return Err(error),
            Err(error) => {
                if let Some(refused) = error.downcast_ref::<Refused>() {
                    assert!(refused.status >= 500, "{refused}");
                }
                known.unanswered += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

fn stop(api: &Client, known: &mut Acknowledged) -> anyhow::Result<()> {
    let Some(task) = known.tasks.keys().find(|task| !known.stopped.contains(*task)).cloned() else {
        return Ok(());
    };
    api.ecs("StopTask", &json!({ "cluster": CROWD, "task": task }))?;
    known.stopped.insert(task);
    Ok(())
}

/// Everything that was acknowledged is there, by the controller's own words.
fn is_all_there(api: &Client, known: &[Acknowledged]) {
    let mut clusters = BTreeSet::new();
    let mut input = json!({});
    loop {
        let listed = api.ecs("ListClusters", &input).unwrap();
        let arns = listed["clusterArns"].as_array().cloned().unwrap_or_default();
        clusters.extend(arns.iter().filter_map(|arn| Some(arn.as_str()?.to_owned())));
        let Some(next) = listed["nextToken"].as_str() else { break };
        input = json!({ "nextToken": next });
    }
    for known in known {
        for name in &known.clusters {
            let there = clusters.iter().any(|arn| arn.ends_with(&format!("cluster/{name}")));
            assert!(there, "the cluster {name} was acknowledged and is gone");
        }
        for definition in &known.definitions {
            let input = json!({ "taskDefinition": definition });
            api.ecs("DescribeTaskDefinition", &input).unwrap();
        }
        for (call, tasks) in &known.calls {
            let now = started_by(api, call);
            assert_eq!(now, *tasks, "{call} was made more than once, or its tasks are gone");
        }
    }
}

/// Every task, of any status, that a call started.
fn started_by(api: &Client, call: &str) -> BTreeSet<String> {
    let list = |desired: &str| {
        let input = json!({ "cluster": CROWD, "startedBy": call, "desiredStatus": desired });
        let listed = api.ecs("ListTasks", &input).unwrap();
        serde_json::from_value::<Vec<String>>(listed["taskArns"].clone()).unwrap()
    };
    list("RUNNING").into_iter().chain(list("STOPPED")).collect()
}

/// Each task is on the node that its answer named, and those that were stopped are stopped.
fn tasks_are_where_they_were(api: &Client, known: &[Acknowledged]) -> Vec<Value> {
    let arns: Vec<String> = known.iter().flat_map(|known| known.tasks.keys().cloned()).collect();
    let mut found = Vec::new();
    for some in arns.chunks(100) {
        let input = json!({ "cluster": CROWD, "tasks": some });
        let answer = api.ecs("DescribeTasks", &input).unwrap();
        assert_eq!(answer["failures"], json!([]), "acknowledged tasks are gone");
        found.extend(answer["tasks"].as_array().cloned().unwrap_or_default());
    }
    assert_eq!(found.len(), arns.len());
    for task in &found {
        let arn = task["taskArn"].as_str().unwrap();
        let known = known.iter().find(|known| known.tasks.contains_key(arn)).unwrap();
        assert_eq!(task["containerInstanceArn"], json!(known.tasks[arn]), "{arn} has moved");
        if known.stopped.contains(arn) {
            assert_eq!(task["desiredStatus"], "STOPPED", "the stop of {arn} was acknowledged");
        }
    }
    found
}

/// No node was ever asked for more than it has: by the tasks that it holds, added up here.
fn lines_hold(api: &Client, tasks: &[Value]) {
    for node in connected(api).unwrap() {
        let arn = &node["containerInstanceArn"];
        let held = tasks
            .iter()
            .filter(|task| task["containerInstanceArn"] == *arn && task["lastStatus"] != "STOPPED");
        let held = held.count() as u64 * TASK_MIB;
        assert!(held <= NODE_MIB, "{arn} holds {held} MiB of {NODE_MIB}");
    }
}

/// What the nodes wrote down: each task ended once, on the node that it was given to.
fn nodes_agree(results: &Path, tasks: &[Value]) {
    let text = std::fs::read_to_string(results).unwrap();
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for line in text.lines().skip(1) {
        let mut fields = line.split(',');
        let (node, task) = (fields.next().unwrap(), fields.next().unwrap());
        let before = seen.insert(task, node);
        assert_eq!(before, None, "{task} ended twice: {line}");
    }
    let mut numbers: BTreeMap<&str, &str> = BTreeMap::new();
    for task in tasks {
        let arn = task["taskArn"].as_str().unwrap();
        let node = task["containerInstanceArn"].as_str().unwrap();
        let told = seen.get(arn.rsplit('/').next().unwrap()).copied();
        // One that was stopped before its node heard of it never ran.
        let ran = task["lastStatus"] == "STOPPED" && task["startedAt"].is_number();
        assert!(told.is_some() || !ran, "no node told of the end of {arn}");
        if let Some(number) = told {
            let same = *numbers.entry(number).or_insert(node);
            assert_eq!(same, node, "{arn} ran on another node than the one it was given to");
        }
    }
    assert!(!seen.is_empty(), "no task ended");
}

#[test]
fn what_was_acknowledged_survives_kills_at_random_under_load() {
    require!("what_was_acknowledged_survives_kills_at_random_under_load": Facility::Root);
    let mut cluster = cluster(512);
    let results = cluster.folder.path().join("crowd.csv");
    let mut agents = crowd(&cluster, &results);
    cluster.api.ecs("RegisterTaskDefinition", &definition("crowd")).unwrap();
    let real = trapped(&cluster, 3);
    let before = ready(&cluster, &real);
    crowd_is_connected(&cluster.api);
    let (api, over, serial) = (cluster.api.clone(), AtomicBool::new(false), AtomicU64::new(0));
    let known: Vec<Acknowledged> = std::thread::scope(|scope| {
        let (api, over, serial) = (&api, &over, &serial);
        let callers: Vec<_> =
            (0..CALLERS).map(|n| scope.spawn(move || caller(api, n, serial, over))).collect();
        for _ in 0..kills() {
            std::thread::sleep(Duration::from_millis(rand::rng().random_range(0..1500)));
            cluster.kill_controller().unwrap();
            cluster.start_controller().unwrap();
        }
        over.store(true, Ordering::Relaxed);
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    let calls: usize = known.iter().map(|known| known.calls.len()).sum();
    let unanswered: u64 = known.iter().map(|known| known.unanswered).sum();
    println!("{calls} calls of RunTask were acknowledged, {unanswered} calls had no answer");
    assert!(0 < calls && 0 < unanswered, "the storm passed by");
    cluster.until_connected(1).unwrap();
    crowd_is_connected(&cluster.api);
    is_all_there(&cluster.api, &known);
    until("all that was stopped has stopped", || {
        let tasks = tasks_are_where_they_were(&cluster.api, &known);
        let left = tasks
            .iter()
            .filter(|task| task["desiredStatus"] == "STOPPED" && task["lastStatus"] != "STOPPED");
        Ok((left.count() == 0).then_some(()))
    })
    .unwrap();
    let tasks = tasks_are_where_they_were(&cluster.api, &known);
    lines_hold(&cluster.api, &tasks);
    nodes_agree(&results, &tasks);
    for (task, pids) in &before {
        assert_eq!(processes(&cluster, task), *pids, "{task} noticed");
        cluster.api.ecs("StopTask", &json!({ "task": task })).unwrap();
        let state = cluster.api.until(std::slice::from_ref(task), "STOPPED").unwrap();
        assert_eq!(state[0]["containers"][0]["exitCode"], json!(real[task]), "{}", state[0]);
        assert_eq!(starts(&cluster, task), 1, "{task}");
    }
    agents.kill().unwrap();
    agents.wait().unwrap();
    end(cluster);
}
