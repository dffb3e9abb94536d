//! Services on real nodes: an update within its limits, and a node that dies and comes back
//! (law 9): what it had is replaced, and it stops that before anything else.

use loadline_tests::cluster::{Cluster, NodeOptions};
use loadline_tests::program::until;
use loadline_tests::require::Facility;
use loadline_tests::{kernel, require};
use serde_json::{Value, json};

use crate::world::{cluster, end, processes};

/// A definition whose container ends at SIGTERM.
fn define(cluster: &Cluster) -> String {
    let command = ["echo", "started", "--", "trap", "TERM", "0"];
    cluster.define("served", &command, json!({}), json!({ "memoryReservation": 32 })).unwrap()
}

fn create(cluster: &Cluster, more: Value) {
    let definition = define(cluster);
    let mut input = json!({ "serviceName": "s", "taskDefinition": definition });
    for (key, value) in more.as_object().unwrap() {
        input[key] = value.clone();
    }
    cluster.api.ecs("CreateService", &input).unwrap();
    steady(cluster, input["desiredCount"].as_u64().unwrap());
}

fn describe(cluster: &Cluster) -> Value {
    let answer = cluster.api.ecs("DescribeServices", &json!({ "services": ["s"] })).unwrap();
    answer["services"][0].clone()
}

/// Waits until one deployment has this many tasks and is completed.
fn steady(cluster: &Cluster, count: u64) {
    let settled = until("the service is steady", || {
        let service = describe(cluster);
        let alone = service["deployments"].as_array().map(Vec::len) == Some(1);
        let completed = service["deployments"][0]["rolloutState"] == "COMPLETED";
        let counted = service["runningCount"] == count && service["pendingCount"] == 0;
        Ok((alone && completed && counted).then_some(()))
    });
    settled.unwrap_or_else(|error| panic!("{error:#}: {:#}", describe(cluster)));
}

fn tasks(cluster: &Cluster, desired: &str) -> Vec<String> {
    let input = json!({ "serviceName": "s", "desiredStatus": desired });
    let answer = cluster.api.ecs("ListTasks", &input).unwrap();
    let arns = answer["taskArns"].as_array().unwrap().iter();
    arns.map(|arn| arn.as_str().unwrap().to_owned()).collect()
}

/// Ends the service, and waits until it is INACTIVE.
fn delete(cluster: &Cluster) {
    cluster.api.ecs("DeleteService", &json!({ "service": "s", "force": true })).unwrap();
    until("the service is gone", || Ok((describe(cluster)["status"] == "INACTIVE").then_some(())))
        .unwrap();
}

#[test]
fn a_service_scales_and_replaces_what_ends() {
    require!("a_service_scales_and_replaces_what_ends": Facility::Root);
    let cluster = cluster(2048);
    create(&cluster, json!({ "desiredCount": 2 }));
    let first = tasks(&cluster, "RUNNING");
    cluster.api.ecs("StopTask", &json!({ "task": first[0] })).unwrap();
    let replaced = until("the stopped task is replaced", || {
        let now = tasks(&cluster, "RUNNING");
        Ok((now.len() == 2 && !now.contains(&first[0])).then_some(now))
    });
    assert!(replaced.unwrap().contains(&first[1]), "the other one was left alone");
    steady(&cluster, 2);
    cluster.api.ecs("UpdateService", &json!({ "service": "s", "desiredCount": 4 })).unwrap();
    steady(&cluster, 4);
    cluster.api.ecs("UpdateService", &json!({ "service": "s", "desiredCount": 1 })).unwrap();
    steady(&cluster, 1);
    delete(&cluster);
    end(cluster);
}

#[test]
fn a_dead_nodes_task_is_replaced_and_stopped_when_the_node_returns() {
    require!("a_dead_nodes_task_is_replaced_and_stopped_when_the_node_returns": Facility::Root);
    // One of four may fall silent without counting as an outage of the network.
    let mut cluster = cluster(512);
    for _ in 1..4 {
        let memory_mib = Some(512);
        cluster.add_node(&NodeOptions { memory_mib, ..NodeOptions::default() }).unwrap();
    }
    let spread = json!([{ "type": "spread", "field": "instanceId" }]);
    create(&cluster, json!({ "desiredCount": 4, "placementStrategy": spread }));
    let before = tasks(&cluster, "RUNNING");
    let on_first = |task: &&String| !processes(&cluster, task).is_empty();
    let old = before.iter().find(on_first).expect("one task is on the first node").clone();
    cluster.kill_agent(0).unwrap();
    let stopped = until("the lost task counts as stopped", || {
        let stopped = tasks(&cluster, "STOPPED");
        Ok((!stopped.is_empty()).then_some(stopped))
    });
    assert_eq!(stopped.unwrap(), std::slice::from_ref(&old), "only the dead node's task");
    assert_eq!(cluster.api.task(&old).unwrap()["stopCode"], "InfrastructureHealth");
    steady(&cluster, 4);
    let processes_then = processes(&cluster, &old);
    assert!(processes_then.iter().any(|pid| kernel::lives(*pid)), "nobody is there to stop it");
    cluster.start_agent(0).unwrap();
    until("the returned node stops what was replaced", || {
        Ok(processes(&cluster, &old).is_empty().then_some(()))
    })
    .unwrap();
    cluster.until_connected(4).unwrap();
    steady(&cluster, 4);
    delete(&cluster);
    end(cluster);
}
