//! Nodes that fall silent, one by one, in a crowd, for a while and again and again (law 9).

use std::process::Child;
use std::time::{Duration, Instant};

use loadline_tests::api::Client;
use loadline_tests::cluster::{Cluster, NodeOptions};
use loadline_tests::demo::Network;
use loadline_tests::netns::ip;
use loadline_tests::program::{self, until};
use loadline_tests::require;
use loadline_tests::require::Facility;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::world::{end, processes};

/// How long the node is cut off once its task is replaced, in seconds.
const CUT_S: u64 = 5;
/// As [`CUT_S`], with `LOADLINE_TEST_FULL=1`.
const CUT_S_FULL: u64 = 60;
/// The controller's grace after its start, and after many nodes fell silent at once.
const GRACE: Duration = Duration::from_secs(30);

fn service(cluster: &Cluster, name: &str) {
    let spread = json!([{ "type": "spread", "field": "instanceId" }]);
    let input = json!({
        "serviceName": "s", "taskDefinition": name, "desiredCount": 4, "placementStrategy": spread,
    });
    cluster.api.ecs("CreateService", &input).unwrap();
    running(&cluster.api, 4);
}

/// The service's tasks, once this many run and no more are wanted.
fn running(api: &Client, count: usize) -> Vec<Value> {
    until(&format!("{count} tasks run"), || {
        let listed = api.ecs("ListTasks", &json!({ "serviceName": "s" }))?;
        let arns: Vec<String> = serde_json::from_value(listed["taskArns"].clone())?;
        let tasks = api.tasks(&arns)?;
        let run = tasks.iter().filter(|task| task["lastStatus"] == "RUNNING").count();
        Ok((run == count && tasks.len() == count).then_some(tasks))
    })
    .unwrap()
}

fn arns(tasks: &[Value]) -> Vec<&str> {
    let mut arns: Vec<&str> = tasks.iter().filter_map(|task| task["taskArn"].as_str()).collect();
    arns.sort_unstable();
    arns
}

fn nodes(api: &Client) -> Vec<Value> {
    let listed = api.ecs("ListContainerInstances", &json!({})).unwrap();
    let input = json!({ "containerInstances": listed["containerInstanceArns"] });
    let answer = api.ecs("DescribeContainerInstances", &input).unwrap();
    answer["containerInstances"].as_array().cloned().unwrap()
}

/// The nodes that count as lost or quarantined, with the reason.
fn reasons(api: &Client) -> Vec<String> {
    let nodes = nodes(api);
    nodes.iter().filter_map(|node| node["statusReason"].as_str().map(str::to_owned)).collect()
}

fn delete(cluster: &Cluster) {
    let listed = cluster.api.ecs("ListTasks", &json!({})).unwrap();
    let tasks: Vec<String> = serde_json::from_value(listed["taskArns"].clone()).unwrap();
    let input = json!({ "service": "s", "force": true });
    cluster.api.ecs("DeleteService", &input).unwrap();
    cluster.api.until(&tasks, "STOPPED").unwrap();
}

#[test]
fn a_node_that_was_cut_off_overlaps_and_stops_what_was_replaced_before_it_takes_more() {
    require!(
        "a_node_that_was_cut_off_overlaps_and_stops_what_was_replaced_before_it_takes_more":
        Facility::Root, Facility::Program("ip")
    );
    let network = Network::new().unwrap();
    let mut cluster = Cluster::start_on(&network.host_address).unwrap();
    let memory_mib = Some(512);
    let netns = Some(network.name.clone());
    cluster.add_node(&NodeOptions { memory_mib, netns, ..NodeOptions::default() }).unwrap();
    for _ in 1..4 {
        cluster.add_node(&NodeOptions { memory_mib, ..NodeOptions::default() }).unwrap();
    }
    let size = json!({ "memory": "32" });
    let definition = cluster.define("s", &["trap", "TERM", "0"], size, json!({})).unwrap();
    service(&cluster, &definition);
    let before = running(&cluster.api, 4);
    let old = arns(&before).into_iter().find(|task| !processes(&cluster, task).is_empty());
    let old = old.expect("one task is on the first node").to_owned();
    let node = before.iter().find(|task| task["taskArn"] == old.as_str()).unwrap();
    let node = node["containerInstanceArn"].clone();
    let pids = processes(&cluster, &old);

    ip(&["-n", &network.name, "link", "set", "eth0", "down"]).unwrap();
    until("the task of the node that was cut off counts as stopped", || {
        Ok((cluster.api.task(&old)?["lastStatus"] == "STOPPED").then_some(()))
    })
    .unwrap();
    let after = running(&cluster.api, 4);
    assert!(!arns(&after).contains(&old.as_str()));
    assert!(after.iter().all(|task| task["containerInstanceArn"] != node), "it takes no tasks");
    let full = std::env::var_os("LOADLINE_TEST_FULL").is_some_and(|value| value == "1");
    std::thread::sleep(Duration::from_secs(if full { CUT_S_FULL } else { CUT_S }));
    assert_eq!(processes(&cluster, &old), pids, "old and replacement overlap");
    assert_eq!(arns(&running(&cluster.api, 4)), arns(&after));

    ip(&["-n", &network.name, "link", "set", "eth0", "up"]).unwrap();
    let input = json!({ "taskDefinition": definition, "containerInstances": [node] });
    let new = until("the node takes tasks again", || {
        let answer = cluster.api.ecs("StartTask", &input)?;
        Ok(answer["tasks"][0]["taskArn"].as_str().map(str::to_owned))
    })
    .unwrap();
    let new = cluster.api.until(&[new], "RUNNING").unwrap().remove(0);
    assert!(processes(&cluster, &old).is_empty(), "what was replaced was stopped first");
    let old = cluster.api.task(&old).unwrap();
    let ended = old["executionStoppedAt"].as_f64().expect("the node told of its end");
    assert!(ended <= new["startedAt"].as_f64().unwrap(), "{old} {new}");
    assert_eq!(old["stopCode"], "InfrastructureHealth", "{old}");
    assert_eq!(arns(&running(&cluster.api, 4)), arns(&after), "the replacements stay");
    cluster.api.ecs("StopTask", &json!({ "task": new["taskArn"] })).unwrap();
    cluster.api.until(&[new["taskArn"].as_str().unwrap().to_owned()], "STOPPED").unwrap();
    delete(&cluster);
    end(cluster);
}

/// A simulated node in a process of its own.
fn hollow(cluster: &Cluster, n: usize) -> Child {
    let token = cluster.folder.path().join(format!("hollow-token{n}"));
    std::fs::write(&token, cluster.token().unwrap()).unwrap();
    let mut agent = program::command(&program::find("loadline-agent").unwrap());
    agent.args(["hollow", "--count", "1", "--controller", &cluster.agent_address]);
    agent.arg("--state-dir").arg(cluster.folder.path().join(format!("hollow{n}")));
    agent.arg("--join-token-file").arg(token);
    let log = std::fs::File::create(cluster.folder.path().join(format!("hollow{n}.log")));
    let child = agent.stderr(log.unwrap()).spawn().unwrap();
    cluster.until_connected(n + 1).unwrap();
    child
}

fn signal(node: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(node.id()).unwrap()), signal).unwrap();
}

/// Silences the nodes until `lost` of all count as lost; how long that took.
fn until_lost(api: &Client, silenced: &[&Child], lost: usize) -> Duration {
    let began = Instant::now();
    silenced.iter().for_each(|node| signal(node, Signal::SIGSTOP));
    until("the silent nodes are lost", || Ok((reasons(api).len() == lost).then_some(()))).unwrap();
    began.elapsed()
}

fn back(cluster: &Cluster, silenced: &[&Child]) {
    silenced.iter().for_each(|node| signal(node, Signal::SIGCONT));
    cluster.until_connected(4).unwrap();
}

#[test]
fn silence_is_judged_by_grace_share_and_repetition() {
    require!("silence_is_judged_by_grace_share_and_repetition": Facility::Root);
    let mut cluster = Cluster::start().unwrap();
    let agents: Vec<Child> = (0..4).map(|n| hollow(&cluster, n)).collect();
    let container = json!({ "name": "main", "image": "hollow", "memory": 32 });
    let input = json!({ "family": "s", "containerDefinitions": [container] });
    cluster.api.ecs("RegisterTaskDefinition", &input).unwrap();
    service(&cluster, "s");

    // A node that is silent when the controller comes back may only have had no time to say so.
    let before = running(&cluster.api, 4);
    cluster.kill_controller().unwrap();
    let started = Instant::now();
    signal(&agents[0], Signal::SIGSTOP);
    cluster.start_controller().unwrap();
    until("the silent node is lost", || Ok((reasons(&cluster.api).len() == 1).then_some(())))
        .unwrap();
    assert!(GRACE <= started.elapsed(), "it was lost within the grace after a start");
    let after = running(&cluster.api, 4);
    let stayed = arns(&after).iter().filter(|task| arns(&before).contains(task)).count();
    assert_eq!(stayed, 3, "one task was replaced, and no other");
    back(&cluster, &[&agents[0]]);

    // Two of four at once are more likely the network's fault, or ours.
    let before = running(&cluster.api, 4);
    let crowd = [&agents[1], &agents[2]];
    let took = until_lost(&cluster.api, &crowd, 2);
    assert!(GRACE <= took, "more than a third were lost within the grace: {took:?}");
    let after = running(&cluster.api, 4);
    assert_ne!(arns(&after), arns(&before), "in the end they are replaced");
    back(&cluster, &crowd);

    // One that comes and goes costs its tasks a replacement each time, until it is left alone.
    let took = until_lost(&cluster.api, &[&agents[0]], 1);
    println!("one node's loss was noticed after {took:?}");
    back(&cluster, &[&agents[0]]);
    until_lost(&cluster.api, &[&agents[0]], 1);
    back(&cluster, &[&agents[0]]);
    let reason = reasons(&cluster.api).pop().expect("the flapping node is quarantined");
    assert!(reason.contains("it was lost 3 times within 10 minutes"), "{reason}");
    let flapping = nodes(&cluster.api).into_iter().find(|node| node["statusReason"].is_string());
    let flapping = flapping.unwrap()["containerInstanceArn"].clone();
    let input = json!({ "taskDefinition": "s", "containerInstances": [flapping] });
    let refused = cluster.api.ecs("StartTask", &input).unwrap();
    assert_eq!(refused["tasks"], json!([]), "{refused}");
    assert!(refused["failures"][0]["reason"].is_string(), "{refused}");
    running(&cluster.api, 4);
    delete(&cluster);
    for mut agent in agents {
        agent.kill().unwrap();
        agent.wait().unwrap();
    }
    end(cluster);
}
