//! One everyday task, from images in a registry to its orderly end: an init that must succeed, a
//! web server with a health check and a published port, and a sidecar that waits for HEALTHY.

use loadline_fixtures::Image;
use loadline_tests::api::why_stopped;
use loadline_tests::cluster::{Cluster, NodeOptions};
use loadline_tests::program::until;
use loadline_tests::registry::Registry;
use loadline_tests::require::Facility;
use loadline_tests::{http, netns, require};
use serde_json::{Value, json};

use crate::networks;

/// Where the web server is published.
const ADDRESS: &str = "127.0.0.1:8080";

fn container(name: &str, image: &str, script: &str, more: Value) -> Value {
    let mut one = json!({ "name": name, "image": image, "memory": 32, "stopTimeout": 30,
        "command": ["sh", "-c", script],
        "mountPoints": [{ "sourceVolume": "shared", "containerPath": "/shared" }] });
    for (field, value) in more.as_object().cloned().unwrap_or_default() {
        one[field] = value;
    }
    one
}

/// The definition of the whole task; `shared` is a folder of the host.
fn define(cluster: &Cluster, tools: &str, web: &str, shared: &str) {
    let init = container(
        "init",
        tools,
        "echo made >/shared/page && echo ready",
        json!({
            "essential": false,
        }),
    );
    let serve = "trap 'echo web >>/shared/order; exit 0' TERM; httpd -f -p 80 -h /shared & \
                 while :; do sleep 0.1; done";
    let web = container(
        "web",
        web,
        serve,
        json!({
            "dependsOn": [{ "containerName": "init", "condition": "SUCCESS" }],
            "portMappings": [{ "containerPort": 80, "hostPort": 8080 }],
            "healthCheck": { "interval": 5, "timeout": 5, "retries": 10,
                "command": ["CMD-SHELL", "wget -q -O- http://127.0.0.1/page | grep -q made"] },
        }),
    );
    let watch = "trap 'echo side >>/shared/order; exit 0' TERM; \
                 echo \"the page is $(wget -q -O- http://web/page)\"; \
                 while :; do sleep 0.1; done";
    let side = container(
        "side",
        tools,
        watch,
        json!({
            "dependsOn": [{ "containerName": "web", "condition": "HEALTHY" }], "links": ["web"],
        }),
    );
    let input = json!({ "family": "trio", "networkMode": "bridge",
        "containerDefinitions": [side, web, init],
        "volumes": [{ "name": "shared", "host": { "sourcePath": shared } }] });
    cluster.api.ecs("RegisterTaskDefinition", &input).unwrap();
}

/// Runs it; its ARN.
fn run(cluster: &Cluster) -> String {
    let input = json!({ "taskDefinition": "trio", "enableExecuteCommand": true });
    let answer = cluster.api.ecs("RunTask", &input).unwrap();
    assert_eq!(answer["failures"], json!([]), "{answer}");
    answer["tasks"][0]["taskArn"].as_str().unwrap().to_owned()
}

/// A container of the task, as DescribeTasks tells it.
fn of(task: &Value, name: &str) -> Value {
    let mut containers = task["containers"].as_array().into_iter().flatten();
    containers.find(|one| one["name"] == name).cloned().unwrap()
}

/// What the agent tells Prometheus, once it has measured both containers.
fn metrics(cluster: &Cluster, id: &str) -> String {
    let socket = cluster.nodes[0].state.join("agent.sock");
    until("both containers are measured", || {
        let page = http::unix(&socket, "GET /metrics", b"")?;
        let page = String::from_utf8_lossy(&page.body).into_owned();
        let has = |name: &str| {
            page.contains(&format!(
                "loadline_container_memory_bytes{{cluster=\"default\",task=\"{id}\",\
                 container=\"{name}\"}} "
            ))
        };
        Ok((has("web") && has("side")).then_some(page))
    })
    .unwrap()
}

/// What `loadline logs` prints, once the sidecar has seen the page.
fn logs(cluster: &Cluster, id: &str) {
    until("the sidecar has seen the page", || {
        let said = cluster.cli(&["logs", "--container", "side", id])?;
        Ok((said == "the page is made\n").then_some(()))
    })
    .unwrap();
    // Without a name, all of them, in the order of time.
    let both = "init | ready\nside | the page is made\n";
    assert_eq!(cluster.cli(&["logs", id]).unwrap(), both);
    assert_eq!(cluster.cli(&["logs", "--tail", "1", id]).unwrap(), both);
    let json = cluster.cli(&["--output", "json", "logs", "--tail", "1", id]).unwrap();
    assert!(json.contains("\"containerName\":\"init\""), "{json}");
    assert_eq!(cluster.cli(&["logs", "--tail", "0", id]).unwrap(), "");
}

#[test]
fn a_task_of_init_server_and_sidecar_is_pulled_served_seen_touched_and_stopped_in_order() {
    require!(
        "a_task_of_init_server_and_sidecar_is_pulled_served_seen_touched_and_stopped_in_order":
        Facility::Root, Facility::Program("nft"), Facility::Program("curl"),
        Facility::Program("busybox"));
    netns::enter().unwrap();
    let registry = Registry::start().unwrap();
    let image = Image::busybox("tools").unwrap();
    let (tools, digest) = registry.add("team/tools", "1", &image).unwrap();
    let (web, _) = registry.add("team/web", "2", &image.with_probe().unwrap()).unwrap();
    let mut cluster = Cluster::start().unwrap();
    let more = ["--insecure-registry", registry.address.as_str(), "--usage-interval-s", "1"];
    let more = more.map(str::to_owned).to_vec();
    let options = NodeOptions { memory_mib: Some(1024), more, ..NodeOptions::default() };
    cluster.add_node(&options).unwrap();
    let shared = cluster.folder.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    define(&cluster, &tools, &web, shared.to_str().unwrap());
    let arn = run(&cluster);
    let id = arn.rsplit('/').next().unwrap();

    let task = cluster.api.until(std::slice::from_ref(&arn), "RUNNING").unwrap().remove(0);
    let init = of(&task, "init");
    assert_eq!((&init["lastStatus"], &init["exitCode"]), (&json!("STOPPED"), &json!(0)), "{task}");
    assert_eq!(of(&task, "web")["healthStatus"], "HEALTHY", "{task}");
    assert_eq!(of(&task, "side")["imageDigest"], digest, "{task}");
    let asked = registry.asked();
    for path in ["/v2/team/tools/manifests/1", "/v2/team/web/manifests/2"] {
        assert!(asked.iter().any(|have| have == path), "{path} was not pulled: {asked:?}");
    }

    // Seen: by curl, in the logs, in the metrics. Touched: by a program inside.
    let url = format!("http://{ADDRESS}/page");
    let curl = ["-sS", "-m", "30", "--retry", "5", "--retry-connrefused", url.as_str()];
    let page = netns::run(std::process::Command::new("curl").args(curl)).unwrap();
    assert_eq!(page, "made\n");
    logs(&cluster, id);
    let page = metrics(&cluster, id);
    assert!(page.contains("loadline_container_network_receive_bytes_total"), "{page}");
    let ran = cluster
        .cli(&[
            "exec",
            "--container",
            "web",
            id,
            "--",
            "sh",
            "-c",
            "echo more >>/shared/page; cat /shared/page",
        ])
        .unwrap();
    assert_eq!(ran, "made\nmore\n");
    assert_eq!(netns::run(std::process::Command::new("curl").args(curl)).unwrap(), "made\nmore\n");

    cluster.api.ecs("StopTask", &json!({ "task": arn, "reason": "enough" })).unwrap();
    let task = cluster.api.until(std::slice::from_ref(&arn), "STOPPED").unwrap().remove(0);
    for name in ["init", "web", "side"] {
        assert_eq!(of(&task, name)["exitCode"], 0, "{name}: {}", why_stopped(&task));
    }
    // Who waited for another ends before it.
    assert_eq!(std::fs::read_to_string(shared.join("order")).unwrap(), "side\nweb\n");
    assert!(std::net::TcpStream::connect(ADDRESS).is_err(), "the port is free again");
    networks::end(cluster);
}
