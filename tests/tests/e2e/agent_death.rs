//! kill -9 of the agent: no task is lost, none is started twice, every exit code is told (law 8).

use loadline_tests::api::why_stopped;
use loadline_tests::require::Facility;
use loadline_tests::{kernel, require};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::world::{cluster, end, processes, ready, starts, trapped};

#[test]
fn twenty_tasks_survive_the_death_of_the_agent() {
    require!("twenty_tasks_survive_the_death_of_the_agent": Facility::Root);
    let mut cluster = cluster(2048);
    let tasks = trapped(&cluster, 20);
    let before = ready(&cluster, &tasks);
    cluster.kill_agent(0).unwrap();
    for (task, pids) in &before {
        assert!(!pids.is_empty(), "{task} has no process");
        assert!(pids.iter().all(|pid| kernel::lives(*pid)), "{task} died with the agent");
    }
    // Half of them end while nobody watches.
    let (ended, kept): (Vec<_>, Vec<_>) = tasks.iter().partition(|(_, code)| **code <= 10);
    for (task, _) in &ended {
        let pid = *before[*task].first().unwrap();
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGTERM).unwrap();
    }
    cluster.start_agent(0).unwrap();
    cluster.until_connected(1).unwrap();
    let arns: Vec<String> = ended.iter().map(|(task, _)| (*task).clone()).collect();
    for task in cluster.api.until(&arns, "STOPPED").unwrap() {
        let code = tasks[task["taskArn"].as_str().unwrap()];
        assert_eq!(task["containers"][0]["exitCode"], json!(code), "{}", why_stopped(&task));
    }
    for (task, code) in &kept {
        assert_eq!(processes(&cluster, task), before[*task], "the processes of {task} changed");
        let state = cluster.api.task(task).unwrap();
        assert_eq!(state["lastStatus"], "RUNNING", "{}", why_stopped(&state));
        cluster.api.ecs("StopTask", &json!({ "task": task })).unwrap();
        let state = cluster.api.until(&[(*task).clone()], "STOPPED").unwrap();
        let seen = &state[0]["containers"][0]["exitCode"];
        assert_eq!(*seen, json!(code), "{}", why_stopped(&state[0]));
    }
    for task in tasks.keys() {
        assert_eq!(starts(&cluster, task), 1, "{task}");
    }
    end(cluster);
}

#[test]
fn an_agent_that_dies_while_it_starts_tasks_starts_none_twice() {
    require!("an_agent_that_dies_while_it_starts_tasks_starts_none_twice": Facility::Root);
    let mut cluster = cluster(2048);
    let tasks = trapped(&cluster, 10);
    cluster.kill_agent(0).unwrap();
    cluster.start_agent(0).unwrap();
    let arns: Vec<String> = tasks.keys().cloned().collect();
    // Each either runs, started once, or was given up and says so.
    let settled = loadline_tests::program::until("the tasks settle", || {
        let states = cluster.api.tasks(&arns)?;
        let settled = states
            .iter()
            .all(|task| task["lastStatus"] == "RUNNING" || task["lastStatus"] == "STOPPED");
        Ok((settled && states.len() == arns.len()).then_some(states))
    });
    for state in settled.unwrap() {
        let task = state["taskArn"].as_str().unwrap();
        let lives = processes(&cluster, task).len();
        let running = state["lastStatus"] == "RUNNING";
        assert_eq!(lives, usize::from(running), "{task}: {}", why_stopped(&state));
        assert!(running || state["stoppedReason"].is_string(), "{state}");
        if running {
            cluster.api.ecs("StopTask", &json!({ "task": task })).unwrap();
            cluster.api.until(&[task.to_owned()], "STOPPED").unwrap();
            assert_eq!(starts(&cluster, task), 1, "{task}");
        }
    }
    end(cluster);
}

#[test]
fn tasks_that_were_stopped_while_the_agent_was_away_are_stopped() {
    require!("tasks_that_were_stopped_while_the_agent_was_away_are_stopped": Facility::Root);
    let mut cluster = cluster(1024);
    let tasks = trapped(&cluster, 1);
    ready(&cluster, &tasks);
    cluster.kill_agent(0).unwrap();
    let (task, code) = tasks.first_key_value().unwrap();
    cluster.api.ecs("StopTask", &json!({ "task": task })).unwrap();
    cluster.start_agent(0).unwrap();
    let state = cluster.api.until(std::slice::from_ref(task), "STOPPED").unwrap();
    assert_eq!(state[0]["containers"][0]["exitCode"], json!(code), "{}", why_stopped(&state[0]));
    assert_eq!(state[0]["stopCode"], "UserInitiated");
    end(cluster);
}
