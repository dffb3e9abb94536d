//! `loadline up`, as a person uses it: one command makes a cluster, others use it, Ctrl-C ends it.

#![forbid(unsafe_code)]

#[cfg(test)]
mod world;

use loadline_tests::require::Facility;
use loadline_tests::{kernel, require};
use nix::sys::signal::Signal;

use crate::world::{Gives as _, World};

#[test]
fn a_person_runs_a_task_and_sees_its_output_and_exit_code() {
    require!("a_person_runs_a_task_and_sees_its_output_and_exit_code": Facility::Root);
    let mut world = World::new();
    let said = world.up(&[]);
    assert!(said.contains("\"containerInstanceArn\":\"arn:aws:ecs:"), "{said}");
    let layout = world.image("probe:latest");
    world.types(&["image", "import", &layout]).gives(0, "docker.io/library/probe:latest\n");
    let echo = ["run", "--follow", "probe:latest", "--", "echo", "hello", "there"];
    world.types(&echo).gives(0, "hello there\n");
    world.types(&["run", "--follow", "probe:latest", "--", "exit", "7"]).gives(7, "");
    let nowhere = world.types(&["run", "--memory", "900g", "probe:latest"]);
    assert_eq!(nowhere.code(), 4);
    assert!(nowhere.stderr.contains("RESOURCE:MEMORY"), "{}", nowhere.stderr);
    let nodes = world.types(&["nodes"]);
    assert!(nodes.stdout.contains("ACTIVE  connected"), "{}", nodes.stdout);
    let tokens = world.types(&["token", "ls"]);
    assert!(!tokens.stdout.contains("good"), "no join token is left: {}", tokens.stdout);
    assert_eq!(world.end(Signal::SIGINT), 0);
    world.left_nothing();
}

#[test]
fn the_end_stops_the_tasks_of_this_machine() {
    require!("the_end_stops_the_tasks_of_this_machine": Facility::Root);
    let mut world = World::new();
    world.up(&[]);
    let layout = world.image("probe:latest");
    world.types(&["image", "import", &layout]);
    let started =
        world.types(&["run", "-n", "3", "--stop-timeout", "2", "probe:latest", "--", "sleep"]);
    assert_eq!((started.code(), started.stdout.lines().count()), (0, 3));
    world.until_running(3);
    assert_eq!(world.end(Signal::SIGTERM), 0);
    world.left_nothing();
}

#[test]
fn the_end_is_final_for_a_services_tasks_and_the_next_up_starts_them_again() {
    require!("the_end_is_final_for_a_services_tasks_and_the_next_up_starts_them_again":
        Facility::Root);
    let mut world = World::new();
    world.up(&[]);
    let layout = world.image("probe:latest");
    world.types(&["image", "import", &layout]);
    let container = r#"{"name": "w", "image": "probe:latest", "command": ["sleep"],
        "stopTimeout": 2, "memory": 32}"#;
    let definition = format!(r#"{{"family": "w", "containerDefinitions": [{container}]}}"#);
    let file = world.file("w.json", &definition);
    world.types(&["task-def", "register", &file]).gives(0, "w:1\n");
    let create = ["service", "create", "w", "--task-def", "w", "--count", "2", "--wait"];
    world.types(&create).gives(0, "w\n");
    assert_eq!(world.end(Signal::SIGINT), 0);
    world.left_nothing();
    world.up(&[]);
    world.until_running(2);
    world.types(&["service", "rm", "w", "--force"]).gives(0, "w\n");
    assert_eq!(world.end(Signal::SIGINT), 0);
    world.left_nothing();
}

#[test]
fn kept_tasks_run_on_and_the_next_up_takes_them_over() {
    require!("kept_tasks_run_on_and_the_next_up_takes_them_over": Facility::Root);
    let mut world = World::new();
    world.up(&["--keep-tasks"]);
    let layout = world.image("probe:latest");
    world.types(&["image", "import", &layout]);
    let sleep =
        ["run", "--stop-timeout", "2", "probe:latest", "--", "echo", "awake", "--", "sleep"];
    let task = world.types(&sleep).stdout.trim().to_owned();
    world.until_running(1);
    let supervisors = || {
        let all = kernel::processes().into_iter().filter(|(_, line)| line.contains(&task));
        all.map(|(pid, _)| pid).collect::<Vec<u64>>()
    };
    let before = supervisors();
    assert!(!before.is_empty());
    assert_eq!(world.end(Signal::SIGINT), 0);
    assert_eq!(supervisors(), before, "it runs on");
    world.up(&[]);
    world.until_running(1);
    assert_eq!(supervisors(), before, "and is not started again");
    world.types(&["logs", &task]).gives(0, "awake\n");
    assert_eq!(world.end(Signal::SIGINT), 0);
    world.left_nothing();
}

#[test]
fn a_second_up_on_the_same_state_is_refused_and_harms_nothing() {
    require!("a_second_up_on_the_same_state_is_refused_and_harms_nothing": Facility::Root);
    let mut world = World::new();
    world.up(&[]);
    let listen = ["--api-listen", "127.0.0.1:0", "--agent-listen", "127.0.0.1:0"];
    let second = world.types(&[&["up"][..], &listen].concat());
    assert_eq!(second.code(), 1);
    assert!(second.stderr.contains("another controller (process "), "{}", second.stderr);
    let nodes = world.types(&["nodes"]);
    assert!(nodes.stdout.contains("ACTIVE  connected"), "{}", nodes.stdout);
    assert_eq!(world.end(Signal::SIGINT), 0);
    world.left_nothing();
}
