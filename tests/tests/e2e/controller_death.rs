//! kill -9 of the controller: what it acknowledged is still there, and tasks never notice (law 12).

use loadline_tests::api::why_stopped;
use loadline_tests::require;
use loadline_tests::require::Facility;
use serde_json::json;

use crate::world::{cluster, end, processes, ready, trapped};

#[test]
fn every_acknowledged_call_survives_the_death_of_the_controller() {
    require!("every_acknowledged_call_survives_the_death_of_the_controller": Facility::Root);
    let mut cluster = cluster(1024);
    let tasks = trapped(&cluster, 5);
    let before = ready(&cluster, &tasks);
    let size = json!({ "memory": "32" });
    let late = cluster.define("late", &["trap", "TERM", "0"], size, json!({})).unwrap();
    cluster.api.ecs("CreateCluster", &json!({ "clusterName": "second" })).unwrap();
    let token = cluster.token().unwrap();
    let latest = cluster.api.run(&late, 1).unwrap();
    cluster.kill_controller().unwrap();
    for (task, pids) in &before {
        assert_eq!(processes(&cluster, task), *pids, "{task} noticed");
    }
    cluster.start_controller().unwrap();
    let listed = cluster.api.ecs("ListClusters", &json!({})).unwrap();
    assert!(listed.to_string().contains("cluster/second"), "{listed}");
    let input = json!({ "taskDefinition": late });
    cluster.api.ecs("DescribeTaskDefinition", &input).unwrap();
    let id = token.split('.').nth(1).unwrap();
    let listed = cluster.api.own("ListJoinTokens", &json!({})).unwrap();
    assert!(listed.to_string().contains(id), "{listed}");
    cluster.until_connected(1).unwrap();
    let arns: Vec<String> = tasks.keys().cloned().chain(latest).collect();
    cluster.api.until(&arns, "RUNNING").unwrap();
    for (task, pids) in &before {
        assert_eq!(processes(&cluster, task), *pids, "{task} was started again");
    }
    for (task, code) in &tasks {
        cluster.api.ecs("StopTask", &json!({ "task": task })).unwrap();
        let state = cluster.api.until(std::slice::from_ref(task), "STOPPED").unwrap();
        let seen = &state[0]["containers"][0]["exitCode"];
        assert_eq!(*seen, json!(code), "{}", why_stopped(&state[0]));
    }
    end(cluster);
}

#[test]
fn a_controller_that_was_stopped_itself_calls_no_node_silent() {
    require!("a_controller_that_was_stopped_itself_calls_no_node_silent": Facility::Root);
    let cluster = cluster(1024);
    let pid = cluster.controller.as_ref().unwrap().id();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
    // Two leases.
    std::thread::sleep(std::time::Duration::from_secs(6));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGCONT).unwrap();
    let nodes = cluster.api.ecs("ListContainerInstances", &json!({})).unwrap();
    let asked = json!({ "containerInstances": nodes["containerInstanceArns"] });
    for _ in 0..40 {
        let seen = cluster.api.ecs("DescribeContainerInstances", &asked).unwrap();
        assert_eq!(seen["containerInstances"][0]["agentConnected"], true, "{seen}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    end(cluster);
}

#[test]
fn what_ends_while_the_controller_is_away_is_told_when_it_returns() {
    require!("what_ends_while_the_controller_is_away_is_told_when_it_returns": Facility::Root);
    let mut cluster = cluster(1024);
    let size = json!({ "memory": "32" });
    let definition = cluster.define("short", &["trap", "TERM", "9"], size, json!({})).unwrap();
    let tasks = cluster.api.run(&definition, 1).unwrap();
    let codes = tasks.iter().map(|task| (task.clone(), 9)).collect();
    let pid = ready(&cluster, &codes)[&tasks[0]][0];
    cluster.kill_controller().unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    loadline_tests::program::until("the task ends", || {
        Ok(processes(&cluster, &tasks[0]).is_empty().then_some(()))
    })
    .unwrap();
    cluster.start_controller().unwrap();
    let state = cluster.api.until(&tasks, "STOPPED").unwrap();
    assert_eq!(state[0]["containers"][0]["exitCode"], 9, "{}", why_stopped(&state[0]));
    end(cluster);
}
