//! Networks of tasks on a real node, in a network namespace of the test's own: nothing is leaked
//! whenever the agent dies, and credentials are told to their own task only.

use std::io::{Read as _, Write as _};
use std::process::Command;

use loadline_model::network::{NetworkMode, PortMapping, Protocol};
use loadline_model::{TaskReport, TaskSpec, TaskStatus};
use loadline_proto::v1;
use loadline_proto::v1::controller_message::Kind;
use serde_json::Value;

use super::world::{World, can_run, container};

/// Runs the test with everything that it starts in a new network namespace, if this host can.
fn in_own_network(name: &str, test: impl Future<Output = ()>) {
    if !can_run(name) {
        return;
    }
    for program in ["nft", "ip"] {
        if Command::new(program).arg("-V").output().is_err() {
            eprintln!("SKIPPED {name}: needs {program}");
            return;
        }
    }
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    said(&["ip", "link", "set", "lo", "up"]);
    // Its threads are children of this one, and so in the same network.
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap().block_on(test);
}

fn said(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What any task has of the network: links, routes, neighbours, elements of sets, namespaces.
fn of_tasks(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    for words in [&["ip", "link"][..], &["ip", "route"], &["ip", "neigh"], &["ip", "-6", "route"]] {
        let text = said(words);
        let ours = text.lines().filter(|line| line.contains("loadline-"));
        found.extend(ours.map(|line| format!("{words:?}: {line}")));
    }
    let rules = said(&["nft", "list", "ruleset"]);
    let elements = rules.lines().filter(|line| line.contains("elements"));
    found.extend(elements.map(str::to_owned));
    let pins = world.dir.join("netns").read_dir().into_iter().flatten().flatten();
    found.extend(pins.map(|pin| pin.path().display().to_string()));
    found
}

fn is_stopped(report: &TaskReport) -> bool {
    report.status == TaskStatus::Stopped
}

fn is_running(report: &TaskReport) -> bool {
    report.status == TaskStatus::Running
}

fn published(mut spec: TaskSpec, host_port: Option<u16>) -> TaskSpec {
    spec.network_mode = NetworkMode::Bridge;
    let mapping = PortMapping { container_port: 80, host_port, protocol: Protocol::Tcp };
    spec.containers[0].network.ports = vec![mapping];
    spec
}

/// What a web server of the probe says; none where nobody answers.
fn get(port: u16) -> Option<String> {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.contains("200 OK").then_some(text)
}

#[test]
fn killed_at_every_step_of_the_network_nothing_of_it_is_leaked() {
    let name = "killed_at_every_step_of_the_network_nothing_of_it_is_leaked";
    in_own_network(name, async {
        let mut world = World::start("netsweep").await;
        world.kill_agent();
        for name in loadline_agent::failpoint::NETWORK {
            let spec = world.task(&format!("at-{name}"), &["echo", "started"]);
            let spec = published(spec, Some(8080));
            let arn = spec.arn.as_str().to_owned();
            world.start_agent_that_may_die(&[("LOADLINE_FAILPOINT", name)]);
            world.fake.assign(spec);
            world.wait_for_agents_death();
            world.start_agent(&[], &[]);
            let report = world.fake.wait(&arn, is_stopped).await;
            assert_eq!(report.containers[0].exit_code, Some(0), "{name}: {report:#?}");
            assert_eq!(world.fake.logs(&arn, "main").await.len(), 1, "{name}: started once");
            assert_eq!(of_tasks(&world), [""; 0], "{name}");
            world.assert_clean();
            world.fake.let_go(&arn);
            world.kill_agent();
        }
        // One that ends in order takes the rest along.
        world.start_agent(&[], &[]);
        world.end_agent();
        assert_eq!(said(&["nft", "list", "tables"]), "");
        assert!(!said(&["ip", "link"]).contains("loadline"));
    });
}

#[test]
fn a_published_port_outlives_the_agent_and_its_address_is_kept() {
    let name = "a_published_port_outlives_the_agent_and_its_address_is_kept";
    in_own_network(name, async {
        let mut world = World::start("netlives").await;
        let spec = published(world.task("web", &["serve", "80", "hi"]), None);
        let arn = spec.arn.as_str().to_owned();
        world.fake.assign(spec);
        let before = world.fake.wait(&arn, is_running).await.containers[0].clone();
        let port = before.network_bindings[0].host_port;
        world.until("an answer", |_| get(port));
        world.kill_agent();
        assert!(get(port).is_some(), "nobody has to be there for it");
        world.start_agent(&[], &[]);
        world.until("an answer", |_| get(port));
        let after = world.fake.wait(&arn, is_running).await.containers[0].clone();
        assert_eq!(after.addresses, before.addresses);
        let has_ipv6 = std::fs::read_to_string("/proc/sys/net/ipv6/conf/all/disable_ipv6")
            .is_ok_and(|off| off.trim() == "0");
        assert_eq!(before.addresses.unwrap().ipv6.is_some(), has_ipv6);
        assert_eq!(after.network_bindings, before.network_bindings);
        // The address and the port are still taken.
        let other = published(world.task("other", &["echo"]), Some(port));
        let other_arn = other.arn.as_str().to_owned();
        world.fake.assign(other);
        let refused = world.fake.wait(&other_arn, is_stopped).await.stopped_reason.unwrap();
        assert!(refused.starts_with("RESOURCE:PORTS: "), "{refused}");
        world.fake.stop(&arn);
        world.fake.wait(&arn, is_stopped).await;
        assert_eq!(get(port), None);
        assert_eq!(of_tasks(&world), [""; 0]);
        world.assert_clean();
    });
}

#[test]
fn a_port_that_a_program_of_the_host_has_is_refused() {
    let name = "a_port_that_a_program_of_the_host_has_is_refused";
    in_own_network(name, async {
        let world = World::start("nettaken").await;
        let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let spec = published(world.task("web", &["echo"]), Some(port));
        let arn = spec.arn.as_str().to_owned();
        world.fake.assign(spec);
        let report = world.fake.wait(&arn, is_stopped).await;
        let reason = report.stopped_reason.unwrap();
        assert_eq!(reason, format!("RESOURCE:PORTS: port {port}/tcp is in use on the host"));
        assert_eq!(said(&["nft", "list", "tables"]), "", "nothing was made for it");
        world.assert_clean();
    });
}

/// Asks for its credentials until they are there, shows them, and waits to be stopped.
fn asking(world: &World, id: &str, mode: NetworkMode) -> TaskSpec {
    let mut spec = world.task(id, &["fetch-until-200", "$CREDENTIALS", "--", "trap", "TERM", "0"]);
    spec.network_mode = mode;
    spec.task_role_arn = Some("arn:aws:iam::000000000000:role/reader".into());
    spec
}

fn credentials(arn: &str) -> Kind {
    Kind::TaskCredentials(v1::TaskCredentials {
        task_arn: arn.to_owned(),
        role_arn: "arn:aws:iam::000000000000:role/reader".into(),
        access_key_id: format!("ASIA-{arn}"),
        secret_access_key: "secret".into(),
        session_token: "token".into(),
        expires_at_ms: 4_000_000_000_000,
    })
}

/// The first line of a container's output, as JSON.
async fn first(world: &World, arn: &str, container: &str) -> Value {
    loop {
        let chunk = world.fake.read_logs(arn, container, String::new(), 1_000).await;
        if let Some(event) = chunk.events.first() {
            return serde_json::from_slice(&event.message).unwrap();
        }
    }
}

#[test]
fn a_task_gets_its_own_credentials_and_no_other_task_can() {
    let name = "a_task_gets_its_own_credentials_and_no_other_task_can";
    in_own_network(name, async {
        let world = World::start("netcreds").await;
        let mut arns = Vec::new();
        for (id, mode) in [
            ("bridge", NetworkMode::Bridge),
            ("awsvpc", NetworkMode::Awsvpc),
            ("host", NetworkMode::Host),
        ] {
            let spec = asking(&world, id, mode);
            let arn = spec.arn.as_str().to_owned();
            world.fake.assign(spec);
            world.fake.say(credentials(&arn)).await;
            let told = first(&world, &arn, "main").await;
            assert_eq!(told["body"]["AccessKeyId"], format!("ASIA-{arn}"), "{id}: {told}");
            assert_eq!(told["body"]["Token"], "token", "{id}");
            assert_eq!(told["body"]["Expiration"], "2096-10-02T07:06:40Z", "{id}");
            arns.push((arn, told["url"].as_str().unwrap().to_owned()));
        }
        // Each of the others' addresses, from each kind of network.
        for (id, mode) in [
            ("thief", NetworkMode::Bridge),
            ("vpcthief", NetworkMode::Awsvpc),
            ("hostthief", NetworkMode::Host),
        ] {
            for (n, (_, url)) in arns.iter().enumerate() {
                let mut spec = world.task(&format!("{id}{n}"), &["fetch", url]);
                spec.network_mode = mode;
                let arn = spec.arn.as_str().to_owned();
                world.fake.assign(spec);
                world.fake.wait(&arn, is_stopped).await;
                let told = first(&world, &arn, "main").await;
                assert!(told["status"] == 404 || told["error"].is_string(), "{id} {url}: {told}");
                assert!(!told.to_string().contains("ASIA"), "{id} {url}: {told}");
            }
        }
        // Nor a program of the host, which knows the address of a task on its network.
        let (_, url) = &arns[2];
        let status = said(&["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", url]);
        assert_eq!(status, "404");
        for (arn, _) in &arns {
            world.fake.stop(arn);
            world.fake.wait(arn, is_stopped).await;
        }
        assert_eq!(of_tasks(&world), [""; 0]);
        world.assert_clean();
    });
}

#[test]
fn containers_of_a_task_share_a_network_with_awsvpc_and_find_each_other_with_links() {
    let name = "containers_of_a_task_share_a_network_with_awsvpc_and_find_each_other_with_links";
    in_own_network(name, async {
        let world = World::start("netshare").await;
        for (id, mode, url) in [
            ("vpc", NetworkMode::Awsvpc, "http://127.0.0.1:80/"),
            ("linked", NetworkMode::Bridge, "http://web:80/"),
        ] {
            let mut spec = world.task(id, &["serve", "80", id]);
            spec.network_mode = mode;
            let mut asks = container("asks", &["fetch-until-200", url]);
            asks.essential = false;
            if mode == NetworkMode::Bridge {
                let link =
                    loadline_model::network::Link { container: "main".into(), alias: "web".into() };
                asks.network.links = vec![link];
                asks.network.hostname = Some("asker".into());
            }
            spec.containers.push(asks);
            let arn = spec.arn.as_str().to_owned();
            world.fake.assign(spec);
            let told = first(&world, &arn, "asks").await;
            assert_eq!(told["body"]["text"], id, "{told}");
            world.fake.stop(&arn);
            let report = world.fake.wait(&arn, is_stopped).await;
            let (one, two) = (&report.containers[0].addresses, &report.containers[1].addresses);
            assert_eq!(one == two, mode == NetworkMode::Awsvpc);
        }
        assert_eq!(of_tasks(&world), [""; 0]);
        world.assert_clean();
    });
}
