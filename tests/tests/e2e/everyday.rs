//! Fields that everyday task definitions use, on the real kernel: an init, shared namespaces, swap,
//! published ports, and what containers use.

use loadline_fixtures::Image;
use loadline_tests::api::why_stopped;
use loadline_tests::cluster::{Cluster, NodeOptions, PROBE};
use loadline_tests::program::until;
use loadline_tests::require::Facility;
use loadline_tests::{http, require};
use serde_json::{Value, json};

use crate::networks::get;
use crate::world::end;
use crate::{networks, world};

const BUSYBOX: &str = "busybox:latest";

/// A cluster of one node with busybox; `more` are options of its agent.
fn cluster(more: &[&str]) -> Cluster {
    let mut cluster = Cluster::start().unwrap();
    let more = more.iter().map(|&word| word.to_owned()).collect();
    let options = NodeOptions { memory_mib: Some(1024), more, ..NodeOptions::default() };
    cluster.add_node(&options).unwrap();
    cluster.import(0, &Image::busybox(BUSYBOX).unwrap()).unwrap();
    cluster
}

/// A container that runs a script.
fn shell(name: &str, script: &str) -> Value {
    json!({ "name": name, "image": BUSYBOX, "memory": 32, "command": ["sh", "-c", script],
        "stopTimeout": 20 })
}

/// Registers and runs a task without a network.
fn run(cluster: &Cluster, task: Value, containers: &[Value]) -> String {
    let mut input = json!({ "family": "f", "networkMode": "none",
        "containerDefinitions": containers });
    for (name, value) in task.as_object().unwrap() {
        input[name] = value.clone();
    }
    let made = cluster.api.ecs("RegisterTaskDefinition", &input).unwrap();
    let definition = made["taskDefinition"]["taskDefinitionArn"].as_str().unwrap();
    cluster.api.run(definition, 1).unwrap().remove(0)
}

/// What a container has said so far.
fn said(cluster: &Cluster, task: &str, container: &str) -> String {
    let input = json!({ "task": task, "containerName": container });
    let answer = cluster.api.own("ReadTaskLogs", &input).unwrap_or_default();
    let events = answer["events"].as_array().cloned().unwrap_or_default();
    events.iter().filter_map(|e| e["message"].as_str()).collect::<Vec<_>>().join("\n")
}

/// The same, once it has said `word`.
fn once(cluster: &Cluster, task: &str, container: &str, word: &str) -> String {
    until(&format!("{container} says {word}"), || {
        let text = said(cluster, task, container);
        let state = cluster.api.task(task)?;
        assert_ne!(state["lastStatus"], "STOPPED", "{}: {text}", why_stopped(&state));
        Ok(text.contains(word).then_some(text))
    })
    .unwrap()
}

fn stop(cluster: &Cluster, task: &str) -> Value {
    cluster.api.ecs("StopTask", &json!({ "task": task })).unwrap();
    cluster.api.until(&[task.to_owned()], "STOPPED").unwrap().remove(0)
}

#[test]
fn an_init_reaps_passes_signals_on_and_ends_as_its_program_ends() {
    let name = "an_init_reaps_passes_signals_on_and_ends_as_its_program_ends";
    require!("an_init_reaps_passes_signals_on_and_ends_as_its_program_ends":
        Facility::Root, Facility::Program("busybox"));
    let cluster = cluster(&[]);
    let node = cluster.until_connected(1).unwrap().remove(0);
    if !node["attributes"].to_string().contains("loadline.capability.init-process") {
        eprintln!("\nSKIPPED {name}: needs a static loadline-supervisor (cargo xtask build)");
        return end(cluster);
    }
    let script = "echo first=$(tr '\\0' ' ' </proc/1/cmdline); (sleep 0.2 &); sleep 1; \
                  echo zombies=$(grep -l 'State:.Z' /proc/[0-9]*/status | wc -l); \
                  trap 'exit 7' TERM; echo is-''up; while :; do sleep 0.1; done";
    let mut one = shell("main", script);
    one["linuxParameters"] = json!({ "initProcessEnabled": true });
    let task = run(&cluster, json!({}), std::slice::from_ref(&one));
    let text = once(&cluster, &task, "main", "is-up");
    assert!(text.contains("first=/sbin/docker-init -- sh -c"), "{text}");
    assert!(text.contains("zombies=0"), "{text}");
    let state = stop(&cluster, &task);
    assert_eq!(state["containers"][0]["exitCode"], 7, "{}", why_stopped(&state));
    one["command"] = json!(["/nobody"]);
    let task = run(&cluster, json!({}), &[one]);
    let state = cluster.api.until(std::slice::from_ref(&task), "STOPPED").unwrap();
    assert_eq!(state[0]["containers"][0]["exitCode"], 127, "{}", why_stopped(&state[0]));
    assert!(said(&cluster, &task, "main").contains("docker-init: start /nobody: No such file"));
    end(cluster);
}

#[test]
fn containers_of_a_task_share_processes_and_memory_where_it_says_so() {
    require!("containers_of_a_task_share_processes_and_memory_where_it_says_so":
        Facility::Root, Facility::Program("busybox"));
    let mut cluster = cluster(&[]);
    let spaces = "for k in pid ipc; do echo $k=$(readlink /proc/self/ns/$k); done";
    let wait = "trap 'exit 0' TERM; while :; do sleep 0.1; done";
    let first = shell("one", &format!("{spaces}; echo hi >/dev/shm/note; echo ready; {wait}"));
    let look = "until [ -s /dev/shm/note ]; do sleep 0.1; done; echo note=$(cat /dev/shm/note); \
                ps | grep -q 'hi >/dev/shm/not[e]' && echo it is seen";
    let second = shell("two", &format!("{spaces}; {look}; echo ready; {wait}"));
    let task = run(&cluster, json!({ "pidMode": "task", "ipcMode": "task" }), &[first, second]);
    let (one, two) = (once(&cluster, &task, "one", "ready"), once(&cluster, &task, "two", "ready"));
    assert_eq!(one.lines().take(2).collect::<Vec<_>>(), two.lines().take(2).collect::<Vec<_>>());
    assert_eq!(
        two.lines().skip(2).collect::<Vec<_>>(),
        ["note=hi", "it is seen", "ready"],
        "{two}"
    );
    let host = loadline_tests::kernel::namespace(u64::from(std::process::id()), "ipc").unwrap();
    assert!(!one.contains(&host), "it is not the host's: {one}");
    // The namespaces do not depend on the agent.
    cluster.kill_agent(0).unwrap();
    cluster.start_agent(0).unwrap();
    cluster.until_connected(1).unwrap();
    assert!(3 <= world::processes(&cluster, &task).len());
    let state = stop(&cluster, &task);
    for container in state["containers"].as_array().unwrap() {
        assert_eq!(container["exitCode"], 0, "{}", why_stopped(&state));
    }
    let none = shell("main", "ls -d /dev/shm; echo done");
    let task = run(&cluster, json!({ "ipcMode": "none" }), &[none]);
    cluster.api.until(std::slice::from_ref(&task), "STOPPED").unwrap();
    let text = said(&cluster, &task, "main");
    assert!(text.contains("/dev/shm: No such file") && text.contains("done"), "{text}");
    end(cluster);
}

#[test]
fn a_container_swaps_as_much_as_it_asks_for_where_the_node_allows_it() {
    require!("a_container_swaps_as_much_as_it_asks_for_where_the_node_allows_it":
        Facility::Root, Facility::Program("busybox"));
    let mut cluster = cluster(&[]);
    let script = "cd /sys/fs/cgroup; cat memory/memory.memsw.limit_in_bytes 2>/dev/null || \
                  cat memory.swap.max 2>/dev/null || echo uncounted";
    let mut one = shell("main", script);
    one["linuxParameters"] = json!({ "maxSwap": 16, "swappiness": 40 });
    let input = json!({ "family": "f", "networkMode": "none", "containerDefinitions": [one] });
    cluster.api.ecs("RegisterTaskDefinition", &input).unwrap();
    let answer = cluster.api.ecs("RunTask", &json!({ "taskDefinition": "f" })).unwrap();
    let why = "MemberOf placement constraint unsatisfied.";
    assert_eq!(answer["failures"][0]["reason"], why, "{answer}");
    cluster.kill_agent(0).unwrap();
    cluster.add_arguments(0, &["--allow-swap"]);
    cluster.start_agent(0).unwrap();
    let task = until("the node allows swap", || {
        let answer = cluster.api.ecs("RunTask", &json!({ "taskDefinition": "f" }))?;
        Ok(answer["tasks"][0]["taskArn"].as_str().map(str::to_owned))
    })
    .unwrap();
    let state = cluster.api.until(std::slice::from_ref(&task), "STOPPED").unwrap();
    let text = said(&cluster, &task, "main");
    let most = [(32 + 16) << 20, 16 << 20].map(|bytes: u64| bytes.to_string());
    if text.trim() == "uncounted" {
        eprintln!("\nSKIPPED a_container_swaps_as_much_as_it_asks_for: needs a kernel with swap");
    } else {
        assert!(most.iter().any(|most| most == text.trim()), "{text} {}", why_stopped(&state[0]));
    }
    end(cluster);
}

#[test]
fn a_published_port_is_typed_in_one_line_and_what_it_moves_is_counted() {
    require!("a_published_port_is_typed_in_one_line_and_what_it_moves_is_counted":
        Facility::Root, Facility::Program("nft"));
    loadline_tests::netns::enter().unwrap();
    let mut cluster = Cluster::start().unwrap();
    let more = ["--usage-interval-s", "1"].map(str::to_owned).to_vec();
    let options = NodeOptions { memory_mib: Some(1024), more, ..NodeOptions::default() };
    cluster.add_node(&options).unwrap();
    let line = ["run", "--publish", "8080:80", "--memory", "32", PROBE, "--", "serve", "80", "hi"];
    let id = cluster.cli(&line).unwrap().trim().to_owned();
    assert_eq!(get("127.0.0.1:8080")["text"], "hi");
    let spin = ["run", "--cpu", "256", "--memory", "32", PROBE, "--", "spin", "600"];
    let spinning = cluster.cli(&spin).unwrap().trim().to_owned();
    let counted = until("both are measured", || {
        get("127.0.0.1:8080");
        let told = cluster.cli(&["--output", "json", "stats"])?;
        let told: Value = serde_json::from_str(&told)?;
        let all = told["tasks"].as_array().cloned().unwrap_or_default();
        let of = |id: &str| {
            let is_it = |task: &&Value| task["taskArn"].as_str().is_some_and(|a| a.ends_with(id));
            all.iter().find(is_it).map(|task| task["containers"][0].clone())
        };
        let (Some(web), Some(spin)) = (of(&id), of(&spinning)) else { return Ok(None) };
        let moved = web["network"]["rxBytes"].as_u64().unwrap_or(0);
        let used = spin["cpuUnits"].as_u64().unwrap_or(0);
        Ok((1_000 < moved && 0 < used).then_some((web, spin)))
    });
    let (web, spin) = counted.unwrap();
    assert_eq!(web["memoryLimitBytes"], 32 << 20, "{web}");
    assert!(web["network"]["txBytes"].as_u64() > Some(100), "{web}");
    assert!(spin["network"].is_null() && spin["processes"].as_u64() >= Some(1), "{spin}");
    let table = cluster.cli(&["stats", &id]).unwrap();
    assert!(table.starts_with("TASK") && table.contains(&id), "{table}");
    let socket = cluster.nodes[0].state.join("agent.sock");
    let page = http::unix(&socket, "GET /metrics", b"").unwrap();
    let page = String::from_utf8(page.body).unwrap();
    let labels = format!("{{cluster=\"default\",task=\"{id}\",container=\"probe\"}}");
    let moved = format!("loadline_container_network_receive_bytes_total{labels} ");
    assert!(page.contains(&moved) && !page.contains(&format!("{moved}0\n")), "{page}");
    networks::end(cluster);
}
