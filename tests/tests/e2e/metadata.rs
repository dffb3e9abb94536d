//! What a program in a container asks its node, and what nobody else gets: boto3 inside a task, and
//! the ways in which another task might come at its credentials.

use loadline_fixtures::{Image, python};
use loadline_tests::api::why_stopped;
use loadline_tests::cluster::{Cluster, NodeOptions};
use loadline_tests::program::until;
use loadline_tests::require::{Facility, python as host_python};
use loadline_tests::{netns, require};
use serde_json::{Value, json};

use crate::networks;

const INSIDE: &str = include_str!("../../clients/inside.py");
const PYTHON: &str = "python:latest";
const BUSYBOX: &str = "busybox:latest";
/// The node's own address in its tasks' network.
const NODE: &str = "10.213.0.1";

/// A controller that tasks can call, a node in a network of its own, and the images.
fn cluster() -> Cluster {
    netns::enter().unwrap();
    let mut cluster = Cluster::start_open().unwrap();
    let options = NodeOptions { memory_mib: Some(2048), ..NodeOptions::default() };
    cluster.add_node(&options).unwrap();
    cluster.import(0, &python::image(&host_python(), PYTHON).unwrap()).unwrap();
    let tools = Image::busybox(BUSYBOX).unwrap().with_probe().unwrap();
    cluster.import(0, &tools).unwrap();
    cluster
}

/// Calls an operation of IAM, which speaks forms.
fn iam(cluster: &Cluster, form: &[(&str, &str)]) {
    cluster.api.form("iam", "2010-05-08", form).unwrap();
}

/// A role that tasks may take, and that may list clusters and protect tasks.
fn role(cluster: &Cluster, name: &str) {
    let trust = json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow",
        "Action": "sts:AssumeRole", "Principal": { "Service": "ecs-tasks.amazonaws.com" } }] });
    let trust = trust.to_string();
    let form = [("Action", "CreateRole"), ("RoleName", name), ("AssumeRolePolicyDocument", &trust)];
    iam(cluster, &form);
    let policy = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Action": ["ecs:ListClusters", "ecs:*TaskProtection"],
          "Resource": "*" }] });
    let policy = policy.to_string();
    let form = [
        ("Action", "PutRolePolicy"),
        ("RoleName", name),
        ("PolicyName", "lists"),
        ("PolicyDocument", &policy),
    ];
    iam(cluster, &form);
}

/// Runs a task; `task` and `container` are fields of the definition and of its container.
fn run(cluster: &Cluster, family: &str, mut task: Value, container: Value) -> String {
    let mut one = json!({ "name": "main", "image": BUSYBOX, "memory": 64, "stopTimeout": 2 });
    merge(&mut one, container);
    merge(&mut task, json!({ "family": family, "containerDefinitions": [one] }));
    cluster.api.ecs("RegisterTaskDefinition", &task).unwrap();
    let tags = json!([{ "key": "team", "value": "blue" }]);
    let input = json!({ "taskDefinition": family, "tags": tags });
    let answer = cluster.api.ecs("RunTask", &input).unwrap();
    assert_eq!(answer["failures"], json!([]), "{answer}");
    answer["tasks"][0]["taskArn"].as_str().unwrap().to_owned()
}

fn merge(into: &mut Value, fields: Value) {
    for (name, value) in fields.as_object().cloned().unwrap_or_default() {
        into[name] = value;
    }
}

/// A task of the role that runs boto3; gives its ARN and what it saw.
fn boto3(cluster: &Cluster, family: &str, mode: &str, role: &str) -> (String, Value) {
    let host = if mode == "host" { "127.0.0.1" } else { NODE };
    let port = cluster.api.address.rsplit(':').next().unwrap();
    let environment = json!([
        { "name": "CONTROLLER", "value": format!("http://{host}:{port}") },
        { "name": "AWS_DEFAULT_REGION", "value": cluster.api.region },
    ]);
    let task = json!({ "networkMode": mode, "taskRoleArn": role });
    let log = json!({ "logDriver": "awslogs", "options": { "awslogs-group": "/inside",
        "awslogs-region": cluster.api.region, "awslogs-create-group": "true",
        "awslogs-stream-prefix": "web" } });
    let container = json!({ "image": PYTHON, "memory": 256, "command": ["-c", INSIDE],
        "environment": environment, "dockerLabels": { "com.example.tier": "web" },
        "logConfiguration": log });
    let arn = run(cluster, family, task, container);
    let told = until("boto3 has said what it saw", || {
        let lines = cluster.api.logs_so_far(&arn).unwrap_or_default().concat();
        let state = cluster.api.task(&arn)?;
        assert_ne!(state["lastStatus"], "STOPPED", "{}: {lines}", why_stopped(&state));
        Ok(serde_json::from_str::<Value>(&lines).ok())
    });
    (arn, told.unwrap())
}

/// Runs a shell's command in a task of its own to its end; gives what it said.
fn shell(cluster: &Cluster, family: &str, script: &str, task: Value, container: Value) -> String {
    let mut one = json!({ "command": ["sh", "-c", script] });
    merge(&mut one, container);
    let arn = run(cluster, family, task, one);
    let state = cluster.api.until(std::slice::from_ref(&arn), "STOPPED").unwrap();
    assert_eq!(state[0]["containers"][0]["exitCode"], 0, "{}", why_stopped(&state[0]));
    cluster.api.logs(&arn).unwrap().join("\n")
}

/// A shell's command that says what a URL answers, or why it does not.
fn ask(url: &str) -> String {
    format!("probe fetch \"{url}\" 2>&1 || echo no: $?;")
}

#[test]
fn boto3_in_a_container_has_its_tasks_role_and_reads_its_own_metadata() {
    require!("boto3_in_a_container_has_its_tasks_role_and_reads_its_own_metadata":
        Facility::Root, Facility::Program("nft"), Facility::Python("boto3"));
    let cluster = cluster();
    for (mode, name) in [("awsvpc", "blue"), ("bridge", "red"), ("host", "green")] {
        role(&cluster, name);
        let (arn, told) = boto3(&cluster, name, mode, name);
        let id = arn.rsplit('/').next().unwrap();
        let identity = format!("arn:aws:sts::000000000000:assumed-role/{name}/{id}");
        assert_eq!(told["identity"], identity, "{mode}: {told:#}");
        assert_eq!(told["clusters"].as_array().map(Vec::len), Some(1), "{told:#}");
        assert_eq!(told["method"], "container-role", "{told:#}");
        assert_eq!((&told["task"], &told["family"]), (&json!(arn), &json!(name)));
        let container = &told["container"];
        assert_eq!(container["Labels"]["com.example.tier"], "web", "{container:#}");
        let shown = cluster.api.task(&arn).unwrap();
        assert_eq!(container["ContainerARN"], shown["containers"][0]["containerArn"], "{told:#}");
        let log = json!({ "awslogs-group": "/inside", "awslogs-region": cluster.api.region,
            "awslogs-create-group": "true", "awslogs-stream": format!("web/main/{id}") });
        assert_eq!((&container["LogDriver"], &container["LogOptions"]), (&json!("awslogs"), &log));
        let network = &told["stats"]["networks"]["eth0"];
        assert_eq!(network["rx_bytes"].as_u64() > Some(0), mode != "host", "{:#}", told["stats"]);
        assert!(told["stats"]["cpu_stats"]["cpu_usage"]["total_usage"].as_u64() > Some(0));
        // Only a task of a service has something to be protected from.
        assert_eq!(told["protection"][0]["failure"]["Reason"], "TASK_NOT_VALID", "{told:#}");
        assert_eq!(told["tagged"]["TaskTags"], json!({ "team": "blue" }), "{:#}", told["tagged"]);
    }
    networks::end(cluster);
}

#[test]
fn a_task_of_a_service_protects_itself_with_the_rights_of_its_role() {
    require!("a_task_of_a_service_protects_itself_with_the_rights_of_its_role":
        Facility::Root, Facility::Program("nft"), Facility::Python("boto3"));
    let cluster = cluster();
    role(&cluster, "blue");
    // The definition alone is wanted of this task.
    let (first, _) = boto3(&cluster, "guarded", "bridge", "blue");
    cluster.api.ecs("StopTask", &json!({ "task": first })).unwrap();
    let service = json!({ "serviceName": "guarded", "taskDefinition": "guarded",
        "desiredCount": 1 });
    cluster.api.ecs("CreateService", &service).unwrap();
    let (task, told) = until("the service's task has said what it saw", || {
        let listed = cluster.api.ecs("ListTasks", &json!({ "serviceName": "guarded" }))?;
        let Some(task) = listed["taskArns"][0].as_str() else { return Ok(None) };
        let lines = cluster.api.logs_so_far(task).unwrap_or_default().concat();
        Ok(serde_json::from_str::<Value>(&lines).ok().map(|told| (task.to_owned(), told)))
    })
    .unwrap();
    let protection = &told["protection"][1]["protection"];
    assert_eq!(protection["ProtectionEnabled"], true, "{told:#}");
    assert_eq!(protection["TaskArn"], json!(task));
    assert!(protection["ExpirationDate"].as_str().is_some_and(|date| date.ends_with('Z')));
    let input = json!({ "cluster": "default", "tasks": [task] });
    let shown = cluster.api.ecs("GetTaskProtection", &input).unwrap();
    assert_eq!(shown["protectedTasks"][0]["protectionEnabled"], true, "{shown}");
    let off = json!({ "cluster": "default", "service": "guarded", "force": true });
    cluster.api.ecs("DeleteService", &off).unwrap();
    cluster.api.until(&[first, task], "STOPPED").unwrap();
    networks::end(cluster);
}

#[test]
fn no_other_task_gets_a_tasks_credentials_whatever_it_sends() {
    require!("no_other_task_gets_a_tasks_credentials_whatever_it_sends":
        Facility::Root, Facility::Program("nft"), Facility::Python("boto3"));
    let cluster = cluster();
    role(&cluster, "blue");
    let (_, bridge) = boto3(&cluster, "victim", "bridge", "blue");
    let (_, host) = boto3(&cluster, "hosted", "host", "blue");
    let urls = [&bridge["metadata_url"], &bridge["credentials_url"]];
    let theirs: String = urls.map(|url| ask(url.as_str().unwrap())).concat();
    let of_host = ask(host["credentials_url"].as_str().unwrap());
    let own = ask("$ECS_CONTAINER_METADATA_URI_V4");
    for mode in ["bridge", "awsvpc"] {
        let script = format!("{own} echo; {theirs}");
        let said = shell(&cluster, mode, &script, json!({ "networkMode": mode }), json!({}));
        assert!(said.contains("DockerId"), "{mode}: its own is answered: {said}");
        assert!(!said.contains("SecretAccessKey") && !said.contains("victim"), "{mode}: {said}");
        assert_eq!(said.matches("\"status\":404").count(), 2, "{mode}: {said}");
    }
    let on_host = json!({ "networkMode": "host" });
    let said = shell(&cluster, "onhost", &format!("{own} echo; {of_host}"), on_host, json!({}));
    assert!(said.contains("DockerId") && said.contains("\"status\":404"), "{said}");
    assert!(!said.contains("SecretAccessKey"), "{said}");

    // With the other's address on its own link it is heard by nobody, and can't even ask for
    // itself until it speaks with its own again.
    let address = bridge["container"]["Networks"][0]["IPv4Addresses"][0].as_str().unwrap();
    let forge = format!(
        "ip addr add {address}/32 dev eth0 && \
         ip route replace default via {NODE} dev eth0 src {address} onlink && \
         ip route; {theirs} {own}"
    );
    let may = json!({ "linuxParameters": { "capabilities": { "add": ["NET_ADMIN"] } } });
    let said = shell(&cluster, "forger", &forge, json!({ "networkMode": "bridge" }), may);
    assert!(said.contains(&format!("src {address}")), "it did forge: {said}");
    assert_eq!(said.matches("\"error\"").count(), 3, "{said}");
    assert!(!said.contains("SecretAccessKey") && !said.contains("DockerId"), "{said}");
    networks::end(cluster);
}

#[test]
fn who_has_the_hosts_root_rights_is_beyond_the_promise_and_an_owner_can_refuse_it() {
    require!("who_has_the_hosts_root_rights_is_beyond_the_promise_and_an_owner_can_refuse_it":
        Facility::Root, Facility::Program("nft"), Facility::Python("boto3"));
    let mut cluster = cluster();
    role(&cluster, "blue");
    let (victim, told) = boto3(&cluster, "victim", "bridge", "blue");
    let pid = crate::world::processes(&cluster, &victim)[0];
    let url = told["credentials_url"].as_str().unwrap();
    let script = format!("nsenter -t {pid} -n {}", ask(url));
    let task = json!({ "networkMode": "none", "pidMode": "host" });
    let said = shell(&cluster, "root", &script, task, json!({ "privileged": true }));
    assert!(said.contains("SecretAccessKey"), "root of the host can do what root can: {said}");
    // Without them the same script reaches nothing.
    let said = shell(&cluster, "plain", &script, json!({ "networkMode": "none" }), json!({}));
    assert!(!said.contains("SecretAccessKey") && !said.contains("\"status\":200"), "{said}");

    // A node whose owner refuses such rights is not even considered for them.
    cluster.kill_agent(0).unwrap();
    cluster.add_arguments(0, &["--refuse", "privileged", "--refuse", "host-pid"]);
    cluster.start_agent(0).unwrap();
    let refused = until("the node refuses them", || {
        let answer = cluster.api.ecs("RunTask", &json!({ "taskDefinition": "root" }))?;
        let reason = answer["failures"][0]["reason"].as_str().map(str::to_owned);
        Ok(reason.filter(|reason| reason != "AGENT"))
    });
    assert_eq!(refused.unwrap(), "MemberOf placement constraint unsatisfied.");
    networks::end(cluster);
}
