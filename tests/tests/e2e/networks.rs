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

/// What a container says as JSON, a value for each verb, once it has said so many.
fn told(cluster: &Cluster, task: &str, container: &str, count: usize) -> Vec<Value> {
    until(&format!("{container} says {count} things"), || {
        let input = json!({ "task": task, "containerName": container });
        let answer = cluster.api.own("ReadTaskLogs", &input).unwrap_or_default();
        let events = answer["events"].as_array().cloned().unwrap_or_default();
        let lines = events.iter().filter_map(|event| event["message"].as_str());
        let told: Vec<Value> = lines.filter_map(|line| serde_json::from_str(line).ok()).collect();
        Ok((count <= told.len()).then_some(told))
    })
    .unwrap()
}

/// The IPv6 address that a container has on its link, its only one.
fn ipv6(addresses: &Value) -> String {
    let all = addresses["eth0"].as_array().unwrap().iter().filter_map(Value::as_str);
    let all: Vec<&str> = all.filter(|address| address.contains(':')).collect();
    assert_eq!(all.len(), 1, "{addresses}");
    assert!(all[0].starts_with("fd"), "{addresses}");
    all[0].to_owned()
}

#[test]
fn over_ipv6_tasks_reach_each_other_and_are_reached_also_when_the_agent_was_killed() {
    require!("over_ipv6_tasks_reach_each_other_and_are_reached_also_when_the_agent_was_killed":
        Facility::Root, Facility::Program("nft"), Facility::Program("curl"), Facility::Ipv6);
    let mut cluster = cluster();
    let outside = Outside::new().unwrap();
    let (host, out) = ("fd77::1", "fd77::2");
    outside.add_ipv6(host, out).unwrap();
    let serve = |text, more| json!([probe("web", &["addresses", "--", "serve", "80", text], more)]);
    let ports = json!({ "portMappings": [{ "containerPort": 80, "hostPort": 8080 }] });
    let bridge = run(&cluster, "bridge", "bridge", serve("bridge", ports));
    let bridge = ipv6(&told(&cluster, &bridge, "web", 1)[0]);
    let vpc = run(&cluster, "vpc", "awsvpc", serve("vpc", json!({})));
    let interface = cluster.api.task(&vpc).unwrap()["containers"][0]["networkInterfaces"].clone();
    let vpc = ipv6(&told(&cluster, &vpc, "web", 1)[0]);
    assert_eq!(interface[0]["ipv6Address"], vpc, "the API shows the container's own");

    // What the host itself asks for is not forwarded.
    assert_eq!(get(&format!("[{host}]:8080"))["text"], "bridge", "by the host's address");
    assert_eq!(get(&format!("[{vpc}]:80"))["text"], "vpc", "by the task's own");
    assert!(std::net::TcpStream::connect("[::1]:8080").is_err(), "as documented");

    // The host's owner lets it forward IPv6.
    std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
    outside.add_route_by("fd00::/8", host).unwrap();
    let ask = |url: &str| {
        let answer = netns::run(outside.command("curl").args(["-gsS", "-m", "5", url]));
        answer.map(|answer| serde_json::from_str::<Value>(&answer).unwrap())
    };
    for (url, text) in [(format!("[{host}]:8080"), "bridge"), (format!("[{vpc}]"), "vpc")] {
        let answer = ask(&format!("http://{url}/")).unwrap();
        assert_eq!(answer, json!({ "text": text, "peer": out }), "{url} from outside");
    }
    assert!(ask(&format!("http://[{bridge}]/")).is_err(), "a bridge task has only its ports");
    for mode in ["bridge", "awsvpc"] {
        let verbs = [
            "addresses",
            "--",
            "fetch",
            &format!("http://[{bridge}]/"),
            "--",
            "fetch",
            &format!("http://[{vpc}]/"),
            "--",
            "fetch",
            &format!("http://[{host}]:8080/"),
        ];
        let asks = probe("asks", &verbs, json!({}));
        let told = said(&cluster, &begin(&cluster, "asks", mode, json!([asks])));
        let own = ipv6(&told[0]);
        let bodies: Vec<&Value> = told[1..].iter().map(|answer| &answer["body"]).collect();
        assert_eq!(bodies[0], &json!({ "text": "bridge", "peer": own }), "{mode}: {told:?}");
        assert_eq!(bodies[1], &json!({ "text": "vpc", "peer": own }), "{mode}: {told:?}");
        assert_eq!(bodies[2]["text"], "bridge", "{mode}, by the host's port: {told:?}");
    }

    cluster.kill_agent(0).unwrap();
    assert_eq!(ask(&format!("http://[{host}]:8080/")).unwrap()["text"], "bridge", "without agent");
    cluster.start_agent(0).unwrap();
    cluster.until_connected(1).unwrap();
    for url in [format!("[{host}]:8080"), format!("[{vpc}]:80")] {
        let answer = ask(&format!("http://{url}/")).unwrap();
        assert_eq!(answer["peer"], out, "{url} with the next agent");
    }
    end(cluster);
}

#[test]
fn a_container_with_networking_disabled_has_loopback_alone_beside_one_that_has_more() {
    require!("a_container_with_networking_disabled_has_loopback_alone_beside_one_that_has_more":
        Facility::Root, Facility::Program("nft"));
    let cluster = cluster();
    for mode in ["bridge", "host", "none"] {
        let verbs = ["addresses", "--", "env"];
        let off = probe("off", &verbs, json!({ "disableNetworking": true, "essential": false }));
        // One that waits: the end of an essential container ends its task.
        let after = json!([{ "containerName": "off", "condition": "COMPLETE" }]);
        let on = probe("on", &verbs, json!({ "dependsOn": after }));
        let task = begin(&cluster, mode, mode, json!([off, on]));
        let (off, on) = (told(&cluster, &task, "off", 2), told(&cluster, &task, "on", 2));
        let links: Vec<&String> = off[0].as_object().unwrap().keys().collect();
        assert_eq!(links, ["lo"], "{mode}: {off:?}");
        let has_metadata = |told: &[Value]| told[1].to_string().contains("ECS_CONTAINER_METADATA");
        assert!(!has_metadata(&off), "{mode}: nobody could ask there: {off:?}");
        assert_eq!(has_metadata(&on), mode != "none", "{mode}: {on:?}");
        assert_eq!(on[0]["eth0"].is_array(), mode == "bridge", "{mode}: {on:?}");
        cluster.api.until(&[task], "STOPPED").unwrap();
    }
    let shown = cluster.api.ecs("DescribeTaskDefinition", &json!({ "taskDefinition": "bridge" }));
    let shown = shown.unwrap()["taskDefinition"].clone();
    assert_eq!(shown["containerDefinitions"][0]["disableNetworking"], true, "{shown}");
    assert!(shown["requiresAttributes"].to_string().contains("disable-networking"), "{shown}");
    end(cluster);
}
