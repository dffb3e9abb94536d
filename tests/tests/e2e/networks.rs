//! Networks of tasks, in a network namespace that the whole cluster has for itself.

use loadline_tests::api::why_stopped;
use loadline_tests::cluster::{Cluster, NodeOptions};
use loadline_tests::netns::{self, Outside};
use loadline_tests::program::until;
use loadline_tests::require::Facility;
use loadline_tests::{http, require};
use serde_json::{Value, json};

/// A controller and a node in a network of their own.
pub(crate) fn cluster() -> Cluster {
    netns::enter().unwrap();
    let mut cluster = Cluster::start().unwrap();
    let memory_mib = Some(1024);
    cluster.add_node(&NodeOptions { memory_mib, ..NodeOptions::default() }).unwrap();
    cluster
}

/// Stops everything, and claims that nothing is left, of the network neither.
pub(crate) fn end(mut cluster: Cluster) {
    cluster.stop().unwrap();
    let mut left = cluster.leftovers();
    left.extend(netns::leftovers(&cluster.nodes[0].state).unwrap());
    assert!(left.is_empty(), "left behind: {left:#?}");
}

/// A container of the probe.
pub(crate) fn probe(name: &str, command: &[&str], more: Value) -> Value {
    let mut container = json!({
        "name": name, "image": "probe:latest", "memory": 32, "command": command
    });
    for (field, value) in more.as_object().cloned().unwrap_or_default() {
        container[field] = value;
    }
    container
}

/// Registers and runs a task; gives its ARN once it is running.
pub(crate) fn run(cluster: &Cluster, family: &str, mode: &str, containers: Value) -> String {
    let task = begin(cluster, family, mode, containers);
    let states = cluster.api.until(std::slice::from_ref(&task), "RUNNING");
    if let Err(error) = states {
        panic!("{error:#}: {}", why_stopped(&cluster.api.task(&task).unwrap()));
    }
    task
}

pub(crate) fn begin(cluster: &Cluster, family: &str, mode: &str, containers: Value) -> String {
    let input =
        json!({ "family": family, "networkMode": mode, "containerDefinitions": containers });
    cluster.api.ecs("RegisterTaskDefinition", &input).unwrap();
    let answer = cluster.api.ecs("RunTask", &json!({ "taskDefinition": family })).unwrap();
    assert_eq!(answer["failures"], json!([]), "{answer}");
    answer["tasks"][0]["taskArn"].as_str().unwrap().to_owned()
}

/// What a web server says, once it says something.
pub(crate) fn get(address: &str) -> Value {
    until(&format!("http://{address}/ answers"), || {
        let answer = http::tcp(address, "GET /", &[("host", address)], b"");
        Ok(answer.ok().and_then(|answer| serde_json::from_slice(&answer.body).ok()))
    })
    .unwrap()
}

/// What a task says as JSON, once it has ended, a value for each verb.
pub(crate) fn said(cluster: &Cluster, task: &str) -> Vec<Value> {
    let state = cluster.api.until(&[task.to_owned()], "STOPPED").unwrap();
    let text = cluster.api.logs(task).unwrap().concat();
    let told = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
    let told: Result<Vec<Value>, _> = told.collect();
    told.unwrap_or_else(|error| panic!("{error}: {text}: {}", why_stopped(&state[0])))
}

#[test]
fn a_published_port_leads_to_its_container_from_everywhere() {
    require!("a_published_port_leads_to_its_container_from_everywhere":
        Facility::Root, Facility::Program("nft"), Facility::Program("curl"));
    let cluster = cluster();
    let outside = Outside::new().unwrap();
    let ports = json!({ "portMappings": [{ "containerPort": 80, "hostPort": 8080 }] });
    let web = run(&cluster, "web", "bridge", json!([probe("web", &["serve", "80", "hi"], ports)]));
    assert_eq!(get("127.0.0.1:8080")["text"], "hi", "over the host's loopback");
    assert_eq!(get(&format!("{}:8080", outside.host_address()))["text"], "hi");
    let url = format!("http://{}:8080/", outside.host_address());
    let from_outside = netns::run(outside.command("curl").args(["-sS", "-m", "10", &url])).unwrap();
    let answer: Value = serde_json::from_str(&from_outside).unwrap();
    assert_eq!(answer["text"], "hi");
    assert_eq!(answer["peer"], outside.address().unwrap(), "it sees who asks");
    let bindings = &cluster.api.task(&web).unwrap()["containers"][0]["networkBindings"];
    let expected =
        json!([{ "bindIP": "0.0.0.0", "containerPort": 80, "hostPort": 8080, "protocol": "tcp" }]);
    assert_eq!(*bindings, expected);
    // Another container, by the host's port, and out to the world with the host's address.
    let verbs = ["fetch", &url, "--", "addresses"];
    let asks = begin(&cluster, "asks", "bridge", json!([probe("asks", &verbs, json!({}))]));
    let told = said(&cluster, &asks);
    assert_eq!(told[0]["body"]["text"], "hi", "{told:?}");
    assert_eq!(told[1]["eth0"][0], "10.213.0.3", "{told:?}");
    end(cluster);
}

#[test]
fn dynamic_ports_and_datagrams_reach_their_container_and_a_fixed_port_has_one_task() {
    require!("dynamic_ports_and_datagrams_reach_their_container_and_a_fixed_port_has_one_task":
        Facility::Root, Facility::Program("nft"));
    let cluster = cluster();
    let ports = json!({ "portMappings": [
        { "containerPort": 53, "protocol": "udp" }, { "containerPort": 53, "hostPort": 5353,
          "protocol": "udp" }
    ] });
    let echo = probe("echo", &["serve-udp", "53", "you said "], ports);
    let task = run(&cluster, "echo", "bridge", json!([echo]));
    let bindings = cluster.api.task(&task).unwrap()["containers"][0]["networkBindings"].clone();
    let ports: Vec<u64> =
        bindings.as_array().unwrap().iter().map(|b| b["hostPort"].as_u64().unwrap()).collect();
    assert!(ports.contains(&5353) && ports.iter().all(|port| 1024 < *port), "{bindings}");
    for port in ports {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
        let answer = until("the datagram's answer", || {
            socket.send_to(b"hi", ("127.0.0.1", u16::try_from(port)?))?;
            let mut buffer = [0; 64];
            let count = socket.recv(&mut buffer);
            Ok(count.ok().map(|count| String::from_utf8_lossy(&buffer[..count]).into_owned()))
        });
        assert_eq!(answer.unwrap(), "you said hi", "port {port}");
    }
    let again = cluster.api.ecs("RunTask", &json!({ "taskDefinition": "echo" })).unwrap();
    assert_eq!(again["failures"][0]["reason"], "RESOURCE:PORTS", "{again}");
    end(cluster);
}

#[test]
fn an_awsvpc_task_is_reached_by_its_own_address_and_a_bridge_task_only_by_its_ports() {
    require!("an_awsvpc_task_is_reached_by_its_own_address_and_a_bridge_task_only_by_its_ports":
        Facility::Root, Facility::Program("nft"), Facility::Program("curl"));
    let cluster = cluster();
    let outside = Outside::new().unwrap();
    outside.add_route("10.213.0.0/16").unwrap();
    let serve = |text| json!([probe("web", &["serve", "80", text], json!({}))]);
    let open = run(&cluster, "open", "awsvpc", serve("open"));
    let closed = run(&cluster, "closed", "bridge", serve("closed"));
    let shown = cluster.api.task(&open).unwrap();
    let address = shown["containers"][0]["networkInterfaces"][0]["privateIpv4Address"].clone();
    assert_eq!(shown["attachments"][0]["details"][0]["value"], address, "{shown}");
    let ask = |address: &str| {
        let url = format!("http://{address}/");
        netns::run(outside.command("curl").args(["-sS", "-m", "5", &url]))
    };
    let address = address.as_str().unwrap();
    assert_eq!(get(&format!("{address}:80"))["text"], "open");
    let seen: Value = serde_json::from_str(&ask(address).unwrap()).unwrap();
    assert_eq!(seen["peer"], outside.address().unwrap());
    // Its address follows the other's.
    assert_eq!(get("10.213.0.3:80")["text"], "closed", "the host itself may");
    assert!(ask("10.213.0.3").is_err(), "{closed} can be reached from outside");
    end(cluster);
}
