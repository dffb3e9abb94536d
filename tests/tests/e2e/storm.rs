//! A controller that is killed again and again while everybody talks to it (laws 8, 9, 10 and 12):
//! `kill -9` at random moments, 200 times with `LOADLINE_TEST_FULL=1`.
//!
//! ```text
//!   callers ─▶ RunTask, StopTask, CreateCluster, … ─▶ controller ◀─ kill -9, start, kill -9, …
//!      │ what was acknowledged                            │
//!      └──────────── compared at the end with ◀───────────┼─▶ simulated nodes, their own record
//!                                                         └─▶ a real node, which notices nothing
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
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
    /// Those of the tasks that it has not stopped yet, and those that it has.
    running: VecDeque<String>,
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
                known.running.extend(placed.iter().map(|(task, _)| task.clone()));
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
    let Some(task) = known.running.front() else { return Ok(()) };
    api.ecs("StopTask", &json!({ "cluster": CROWD, "task": task }))?;
    known.stopped.extend(known.running.pop_front());
    Ok(())
}

/// All names of a list, page by page.
fn listed(api: &Client, operation: &str, mut input: Value, field: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    loop {
        let page = api.ecs(operation, &input).unwrap();
        all.extend(serde_json::from_value::<Vec<String>>(page[field].clone()).unwrap());
        match page["nextToken"].as_str() {
            Some(next) => input["nextToken"] = json!(next),
            None => return all,
        }
    }
}

/// What the controller says of one task. All that it says of tens of thousands would be too much.
#[derive(Debug)]
struct Told {
    node: String,
    started_by: String,
    /// What it shall be, and is.
    desired: String,
    last: String,
    /// Whether it ever ran.
    ran: bool,
}

impl Told {
    fn has_stopped(&self) -> bool {
        self.last == "STOPPED"
    }
}

/// Those of the tasks that the controller knows.
fn described<'a>(
    api: &Client,
    arns: impl IntoIterator<Item = &'a String>,
) -> BTreeMap<String, Told> {
    let arns: Vec<_> = arns.into_iter().collect();
    let mut all = BTreeMap::new();
    for some in arns.chunks(100) {
        let input = json!({ "cluster": CROWD, "tasks": some });
        let answer = api.ecs("DescribeTasks", &input).unwrap();
        for task in answer["tasks"].as_array().unwrap() {
            let text = |field: &str| task[field].as_str().unwrap_or_default().to_owned();
            let told = Told {
                node: text("containerInstanceArn"),
                started_by: text("startedBy"),
                desired: text("desiredStatus"),
                last: text("lastStatus"),
                ran: task["startedAt"].is_number(),
            };
            all.insert(text("taskArn"), told);
        }
    }
    all
}

/// Every task of any status, listed once: a list for each call would take far longer than the
/// storm. Nobody calls any more, so a task can only go from the first list to the second.
fn all_tasks(api: &Client) -> BTreeMap<String, Told> {
    let list = |desired: &str| {
        let input = json!({ "cluster": CROWD, "desiredStatus": desired });
        listed(api, "ListTasks", input, "taskArns")
    };
    let mut arns = list("RUNNING");
    arns.extend(list("STOPPED"));
    described(api, &arns)
}

/// Waits until each task that was told to stop has; gives all tasks then.
fn tasks_at_rest(api: &Client) -> BTreeMap<String, Told> {
    let mut left: BTreeSet<String> = all_tasks(api).into_keys().collect();
    until("all that was stopped has stopped", || {
        let now = described(api, &left);
        left.retain(|arn| {
            now.get(arn).is_some_and(|task| task.desired == "STOPPED" && !task.has_stopped())
        });
        Ok(left.is_empty().then_some(()))
    })
    .unwrap();
    all_tasks(api)
}

/// Everything that was acknowledged is there, by the controller's own words, and once.
fn is_all_there(api: &Client, known: &[Acknowledged], tasks: &BTreeMap<String, Told>) {
    let clusters = listed(api, "ListClusters", json!({}), "clusterArns");
    let clusters: BTreeSet<&str> =
        clusters.iter().filter_map(|arn| arn.rsplit('/').next()).collect();
    let definitions = listed(api, "ListTaskDefinitions", json!({}), "taskDefinitionArns");
    let mut calls: BTreeMap<&str, BTreeSet<&String>> = BTreeMap::new();
    for (arn, task) in tasks {
        calls.entry(&task.started_by).or_default().insert(arn);
    }
    for known in known {
        for name in &known.clusters {
            let there = clusters.contains(name.as_str());
            assert!(there, "the cluster {name} was acknowledged and is gone");
        }
        for definition in &known.definitions {
            let there = definitions.contains(definition);
            assert!(there, "{definition} was acknowledged and is gone");
        }
        for (call, answered) in &known.calls {
            let now = calls.remove(call.as_str()).unwrap_or_default();
            let answered: BTreeSet<&String> = answered.iter().collect();
            assert_eq!(now, answered, "{call} was made more than once, or its tasks are gone");
        }
    }
}

/// Each task is on the node that its answer named, and those that were stopped are stopped.
fn tasks_are_where_they_were(known: &[Acknowledged], tasks: &BTreeMap<String, Told>) {
    for known in known {
        for (arn, node) in &known.tasks {
            let task = tasks.get(arn).unwrap_or_else(|| panic!("{arn} was acknowledged, and gone"));
            assert_eq!(task.node, *node, "{arn} has moved");
        }
        for arn in &known.stopped {
            assert_eq!(tasks[arn].desired, "STOPPED", "the stop of {arn} was acknowledged");
        }
    }
}

/// No node was ever asked for more than it has: by the tasks that it holds, added up here.
fn lines_hold(api: &Client, tasks: &BTreeMap<String, Told>) {
    for node in connected(api).unwrap() {
        let arn = node["containerInstanceArn"].as_str().unwrap();
        let held = tasks.values().filter(|task| task.node == arn && !task.has_stopped());
        let held = held.count() as u64 * TASK_MIB;
        assert!(held <= NODE_MIB, "{arn} holds {held} MiB of {NODE_MIB}");
    }
}

/// What the nodes wrote down: each task ended once, on the node that it was given to.
fn nodes_agree(results: &Path, tasks: &BTreeMap<String, Told>) {
    let text = std::fs::read_to_string(results).unwrap();
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for line in text.lines().skip(1) {
        let mut fields = line.split(',');
        let (node, task) = (fields.next().unwrap(), fields.next().unwrap());
        let before = seen.insert(task, node);
        assert_eq!(before, None, "{task} ended twice: {line}");
    }
    let mut numbers: BTreeMap<&str, &str> = BTreeMap::new();
    for (arn, task) in tasks {
        let told = seen.get(arn.rsplit('/').next().unwrap()).copied();
        // One that was stopped before its node heard of it never ran.
        let ran = task.has_stopped() && task.ran;
        assert!(told.is_some() || !ran, "no node told of the end of {arn}");
        if let Some(number) = told {
            let same = *numbers.entry(number).or_insert(&task.node);
            assert_eq!(same, task.node, "{arn} ran on another node than the one it was given to");
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
    let tasks = tasks_at_rest(&cluster.api);
    is_all_there(&cluster.api, &known, &tasks);
    tasks_are_where_they_were(&known, &tasks);
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
