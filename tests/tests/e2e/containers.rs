//! What a container of a task is: its environment, user, limits, and its end.

use std::path::Path;

use loadline_fixtures::debian;
use loadline_tests::api::why_stopped;
use loadline_tests::require::Facility;
use loadline_tests::{kernel, require};
use serde_json::{Value, json};

use crate::world::{cluster, end, ready, trapped};

#[test]
fn a_container_gets_what_its_definition_says_and_nothing_more() {
    require!("a_container_gets_what_its_definition_says_and_nothing_more": Facility::Root);
    let cluster = cluster(1024);
    let container = json!({
        "environment": [{ "name": "GREETING", "value": "good morning" }],
        "workingDirectory": "/var/tmp", "user": "1000:1001", "readonlyRootFilesystem": true
    });
    let verbs = ["facts", "--", "try-open", "/file", "wc"];
    let definition = cluster.define("facts", &verbs, json!({ "memory": "64" }), container).unwrap();
    let tasks = cluster.api.run(&definition, 1).unwrap();
    let state = cluster.api.until(&tasks, "STOPPED").unwrap();
    assert_eq!(state[0]["containers"][0]["exitCode"], 0, "{}", why_stopped(&state[0]));
    // Lines longer than 16 KiB come in pieces.
    let said = cluster.api.logs(&tasks[0]).unwrap().concat();
    let mut told = serde_json::Deserializer::from_str(&said).into_iter::<Value>();
    let (facts, open) = (told.next().unwrap().unwrap(), told.next().unwrap().unwrap());
    assert_eq!(facts["env"]["GREETING"], "good morning");
    assert_eq!(facts["env"]["FROM_IMAGE"], "yes");
    assert_eq!(facts["env"]["LOADLINE_BIN_DIR"], Value::Null, "the agent's environment leaks in");
    assert_eq!((&facts["uid"], &facts["gid"]), (&json!(1000), &json!(1001)));
    assert_eq!(facts["cwd"], "/var/tmp");
    assert_eq!(facts["caps"]["inheritable"], json!([]));
    let fds: Vec<&String> = facts["fds"].as_object().unwrap().keys().collect();
    assert_eq!(fds, ["0", "1", "2"], "{}", facts["fds"]);
    assert_eq!(open["errno"], "EROFS");
    let own = u64::from(std::process::id());
    for kind in ["pid", "net", "mnt", "ipc", "uts"] {
        assert_ne!(facts["ns"][kind], json!(kernel::namespace(own, kind).unwrap()), "{kind}");
    }
    end(cluster);
}

#[test]
fn a_task_that_ignores_sigterm_is_killed_after_its_stop_timeout() {
    require!("a_task_that_ignores_sigterm_is_killed_after_its_stop_timeout": Facility::Root);
    let cluster = cluster(1024);
    let container = json!({ "stopTimeout": 2 });
    let verbs = ["ignore", "TERM"];
    let definition = cluster.define("deaf", &verbs, json!({ "memory": "32" }), container).unwrap();
    let tasks = cluster.api.run(&definition, 1).unwrap();
    cluster.api.until(&tasks, "RUNNING").unwrap();
    let input = json!({ "task": tasks[0], "reason": "enough" });
    cluster.api.ecs("StopTask", &input).unwrap();
    let state = cluster.api.until(&tasks, "STOPPED").unwrap();
    assert_eq!(state[0]["containers"][0]["exitCode"], 137, "{}", why_stopped(&state[0]));
    assert_eq!(
        (&state[0]["stopCode"], &state[0]["stoppedReason"]),
        (&json!("UserInitiated"), &json!("enough"))
    );
    end(cluster);
}

#[test]
fn a_container_that_passes_its_memory_is_killed_and_says_so() {
    require!("a_container_that_passes_its_memory_is_killed_and_says_so": Facility::Root);
    let cluster = cluster(1024);
    let container = json!({ "memory": 32 });
    let verbs = ["eat-memory", "128", "60"];
    let definition = cluster.define("greedy", &verbs, json!({}), container).unwrap();
    let tasks = cluster.api.run(&definition, 1).unwrap();
    let state = cluster.api.until(&tasks, "STOPPED").unwrap();
    let container = &state[0]["containers"][0];
    assert_eq!(container["exitCode"], 137, "{}", why_stopped(&state[0]));
    assert!(container["reason"].to_string().contains("OutOfMemoryError"), "{container}");
    end(cluster);
}

#[test]
fn a_killed_child_of_a_container_that_lives_on_is_told() {
    require!("a_killed_child_of_a_container_that_lives_on_is_told": Facility::Root);
    let cluster = cluster(1024);
    let container = json!({ "memory": 32 });
    let verbs = ["oom-child", "128", "2"];
    let definition = cluster.define("parent", &verbs, json!({}), container).unwrap();
    let tasks = cluster.api.run(&definition, 1).unwrap();
    let state = cluster.api.until(&tasks, "STOPPED").unwrap();
    let container = &state[0]["containers"][0];
    assert_eq!(container["exitCode"], 0, "{}", why_stopped(&state[0]));
    assert!(container["reason"].to_string().contains("OutOfMemoryError"), "{container}");
    end(cluster);
}

#[test]
fn an_essential_container_that_ends_takes_the_task_with_it() {
    require!("an_essential_container_that_ends_takes_the_task_with_it": Facility::Root);
    let cluster = cluster(1024);
    let second = json!([
        { "name": "main", "image": "probe:latest", "command": ["exit", "4"], "memory": 32 },
        {
            "name": "side", "image": "probe:latest", "command": ["trap", "TERM", "5"],
            "memory": 32, "essential": false
        }
    ]);
    let task = json!({ "containerDefinitions": second });
    let definition = cluster.define("pair", &[], task, json!({})).unwrap();
    let tasks = cluster.api.run(&definition, 1).unwrap();
    let state = cluster.api.until(&tasks, "STOPPED").unwrap();
    assert_eq!(state[0]["stopCode"], "EssentialContainerExited", "{}", why_stopped(&state[0]));
    assert_eq!(state[0]["stoppedReason"], "Essential container in task exited");
    let codes: Vec<_> = state[0]["containers"].as_array().unwrap().iter().collect();
    let code = |name: &str| codes.iter().find(|c| c["name"] == name).unwrap()["exitCode"].clone();
    assert_eq!(code("main"), 4);
    // It may be asked to stop before it traps the signal: then it dies of it.
    assert!([json!(5), json!(143), json!(137)].contains(&code("side")), "{}", code("side"));
    end(cluster);
}

#[test]
fn a_debian_container_runs_apt_get_and_id() {
    require!(
        "a_debian_container_runs_apt_get_and_id": Facility::Root,
        Facility::Program("debootstrap"),
    );
    let image = match debian::image("debian:bookworm") {
        Ok(image) => image,
        Err(error) => {
            eprintln!("{error:#}");
            eprintln!("\nSKIPPED a_debian_container_runs_apt_get_and_id: needs a Debian mirror");
            return;
        }
    };
    let cluster = cluster(1024);
    cluster.import(0, &image).unwrap();
    let container = json!({
        "image": "debian:bookworm", "command": ["sh", "-c", "apt-get --version && id"]
    });
    let definition = cluster.define("apt", &[], json!({ "memory": "256" }), container).unwrap();
    let tasks = cluster.api.run(&definition, 1).unwrap();
    let state = cluster.api.until(&tasks, "STOPPED").unwrap();
    let said = cluster.api.logs(&tasks[0]).unwrap();
    let why = why_stopped(&state[0]);
    assert_eq!(state[0]["containers"][0]["exitCode"], 0, "{why}: {said:?}");
    assert!(said[0].starts_with("apt 2."), "{said:?}");
    let last = said.last().unwrap();
    assert!(last.starts_with("uid=0(root) gid=0(root)"), "{said:?}");
    end(cluster);
}

/// Fields of proc_pid_stat(5) after the name, which is the second.
fn stat(file: &Path) -> Option<(String, Vec<String>)> {
    // A thread that has ended meanwhile tells nothing.
    let text = std::fs::read_to_string(file).ok()?;
    let (name, rest) = text.rsplit_once(") ")?;
    let name = name.split_once('(')?.1.to_owned();
    Some((name, rest.split(' ').map(str::to_owned).collect()))
}

/// The name and niceness of each thread of a process.
fn threads(pid: u64) -> Vec<(String, i32)> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let read = threads.filter_map(|thread| stat(&thread.unwrap().path().join("stat")));
    read.map(|(name, fields)| (name, fields[16].parse().unwrap())).collect()
}

#[test]
fn the_agents_own_threads_come_first_and_nothing_that_it_starts_does() {
    require!("the_agents_own_threads_come_first_and_nothing_that_it_starts_does": Facility::Root);
    let cluster = cluster(1024);
    let tasks = trapped(&cluster, 1);
    let started = ready(&cluster, &tasks);
    let agent = threads(cluster.nodes[0].agent.as_ref().unwrap().id().into());
    for raised in ["loadline-agent", "worker", "session", "ledger"] {
        let mut of_name = agent.iter().filter(|(name, _)| name == raised).peekable();
        assert!(of_name.peek().is_some(), "no {raised} in {agent:?}");
        assert!(of_name.all(|(_, nice)| *nice == -10), "{raised} of {agent:?}");
    }
    let mut blocking = agent.iter().filter(|(name, _)| name.starts_with("blocking"));
    assert!(blocking.all(|(_, nice)| *nice == 0), "{agent:?}");
    let container = started.values().next().unwrap()[0];
    let (_, fields) = stat(Path::new(&format!("/proc/{container}/stat"))).unwrap();
    let supervisor: u64 = fields[1].parse().unwrap();
    for pid in [container, supervisor] {
        let threads = threads(pid);
        assert!(threads.iter().all(|(_, nice)| *nice == 0), "process {pid}: {threads:?}");
    }
    end(cluster);
}
