//! What RegisterTaskDefinition takes and what it refuses, by name.

use serde_json::{Value, json};

use super::shapes::RegisterTaskDefinitionRequest;
use super::{read, show};
use crate::api::wire::{Path, Wire as _};
use crate::state::{DefinitionBody, DefinitionStatus, PlacementConstraint, Scope, TaskDefinition};

/// A definition of container `a` with `one` laid over it, and container `b` with `two`.
fn request(task: &Value, one: &Value, two: &Value) -> Value {
    let mut containers = [("a", one), ("b", two)].map(|(name, over)| {
        let mut container = json!({ "name": name, "image": "i", "memory": 64 });
        lay_over(&mut container, over);
        container
    });
    containers[1]["essential"] = json!(false);
    let mut request = json!({ "family": "f", "containerDefinitions": containers });
    lay_over(&mut request, task);
    request
}

fn lay_over(under: &mut Value, over: &Value) {
    for (name, value) in over.as_object().unwrap() {
        under[name] = value.clone();
    }
}

fn body(task: &Value, one: &Value, two: &Value) -> Result<DefinitionBody, String> {
    let request = request(task, one, two);
    let decoded = RegisterTaskDefinitionRequest::decode(request, Path::Root);
    decoded
        .map_err(|error| error.to_string())
        .and_then(|request| read::definition(&scope(), request).map_err(|error| error.message))
}

fn scope() -> Scope {
    Scope { partition: "aws".into(), region: "r".into(), account: "1".into() }
}

#[track_caller]
fn refused(task: &Value, one: &Value, two: &Value, expected: &str) {
    let error = body(task, one, two).unwrap_err();
    assert!(error.contains(expected), "{error}");
}

fn shown(body: DefinitionBody) -> Value {
    let record = TaskDefinition {
        body,
        revision: 1,
        status: DefinitionStatus::Active,
        registered_at_ms: 0,
        registered_by: None,
        deregistered_at_ms: None,
        delete_requested_at_ms: None,
    };
    serde_json::to_value(show::definition(&scope(), &record)).unwrap()
}

/// A container with something of everything.
fn everything() -> Value {
    json!({
        "dependsOn": [{ "containerName": "b", "condition": "SUCCESS" }],
        "healthCheck": { "command": ["CMD-SHELL", "true"] },
        "restartPolicy": { "enabled": true, "ignoredExitCodes": [0] },
        "mountPoints": [{ "sourceVolume": "own", "containerPath": "/data", "readOnly": true }],
        "volumesFrom": [{ "sourceContainer": "b" }],
        "privileged": true,
        "ulimits": [{ "name": "nofile", "softLimit": 64, "hardLimit": -1 }],
        "linuxParameters": {
            "capabilities": { "add": ["NET_ADMIN"], "drop": ["MKNOD"] },
            "devices": [{ "hostPath": "/dev/fuse", "permissions": ["read", "write"] }],
            "sharedMemorySize": 128,
            "tmpfs": [{ "containerPath": "/run", "size": 16, "mountOptions": ["noexec"] }],
            "maxSwap": 64,
            "initProcessEnabled": true,
        },
        "systemControls": [{ "namespace": "net.core.somaxconn", "value": "1024" }],
        "portMappings": [
            { "containerPort": 80, "hostPort": 8080, "protocol": "tcp", "name": "web",
              "appProtocol": "http2" },
            { "containerPortRange": "9000-9002", "protocol": "udp" },
            { "containerPort": 81, "hostPort": 0, "protocol": "tcp" },
        ],
        "dockerSecurityOptions": ["no-new-privileges"],
    })
}

#[test]
fn what_is_taken_is_shown_again_with_ecss_defaults() {
    let task = json!({
        "pidMode": "host",
        "volumes": [
            { "name": "own", "host": {} },
            { "name": "etc", "host": { "sourcePath": "/etc" } },
            { "name": "all", "dockerVolumeConfiguration": {
                "scope": "shared", "autoprovision": true, "driver": "local",
                "labels": { "k": "v" },
            } },
        ],
    });
    let one = everything();
    let two = json!({ "startTimeout": 20, "stopTimeout": 5 });
    let seen = shown(body(&task, &one, &two).unwrap());
    let (a, b) = (&seen["containerDefinitions"][0], &seen["containerDefinitions"][1]);
    for (name, value) in one.as_object().unwrap() {
        match name.as_str() {
            "healthCheck" => assert_eq!(
                a[name],
                json!({
                    "command": ["CMD-SHELL", "true"], "interval": 30, "timeout": 5, "retries": 3,
                })
            ),
            "restartPolicy" => assert_eq!(
                a[name],
                json!({
                    "enabled": true, "ignoredExitCodes": [0], "restartAttemptPeriod": 300,
                })
            ),
            _ => assert_eq!(&a[name], value, "{name}"),
        }
    }
    assert_eq!((&b["startTimeout"], &seen["volumes"]), (&json!(20), &task["volumes"]));
    let names: Vec<&str> = seen["requiresAttributes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attribute| attribute["name"].as_str().unwrap())
        .collect();
    let expected = [
        "ecs.capability.container-ordering",
        "ecs.capability.container-health-check",
        "ecs.capability.container-restart-policy",
        "loadline.capability.init-process",
        "loadline.capability.swap",
        "com.amazonaws.ecs.capability.privileged-container",
        "loadline.capability.host-path",
        "loadline.capability.host-pid",
        "loadline.capability.devices",
        "loadline.capability.capabilities",
    ];
    assert_eq!(names, expected);
}

#[test]
fn a_definition_that_names_no_network_gets_a_bridge_and_ranges_are_ports() {
    let none = json!({});
    let range = json!({ "portMappings": [{ "containerPortRange": "9000-9002", "name": "many" }] });
    let made = body(&none, &range, &none).unwrap();
    let ports: Vec<u16> =
        made.containers[0].network.ports.iter().map(|port| port.container_port).collect();
    assert_eq!(ports, [9000, 9001, 9002]);
    let offered = "attribute:loadline.without-task-networks !exists".to_owned();
    assert!(made.requires.contains(&PlacementConstraint::MemberOf(offered)));
    let shared = json!({ "pidMode": "task", "ipcMode": "none", "networkMode": "none" });
    let seen = shown(body(&shared, &none, &none).unwrap());
    assert_eq!((&seen["pidMode"], &seen["ipcMode"]), (&json!("task"), &json!("none")));
    assert_eq!(shown(made)["networkMode"], "bridge");
    let check = |mapping: Value, expected: &str| {
        refused(&none, &json!({ "portMappings": [mapping] }), &none, expected);
    };
    check(json!({ "containerPortRange": "9-8" }), "containerPortRange must be FIRST-LAST");
    check(json!({ "containerPortRange": "1-101" }), "at most 100 items");
    check(
        json!({ "containerPortRange": "1-2", "containerPort": 1 }),
        "can't be used with containerPort",
    );
    check(json!({ "containerPort": 1, "name": "a b" }), "name must have 1 to 64");
    check(
        json!({ "containerPort": 1, "appProtocol": "http", "protocol": "udp" }),
        "appProtocol needs protocol tcp",
    );
    refused(&none, &range, &range, "the name \"many\" is used more than once");
}

#[test]
fn nobody_is_linked_to_a_container_without_a_network() {
    let none = json!({});
    let linked = json!({ "links": ["b:db"] });
    assert!(body(&none, &linked, &none).is_ok());
    let why = "containerDefinitions[0].links[0]: container b has disableNetworking";
    refused(&none, &linked, &json!({ "disableNetworking": true }), why);
}

#[test]
fn dependencies_health_and_restarts_out_of_their_bounds_are_refused_by_name() {
    let none = json!({});
    let check = |one: Value, expected: &str| refused(&none, &one, &none, expected);
    let on = |name: &str, condition: &str| {
        let dependency = json!({ "containerName": name, "condition": condition });
        json!({ "dependsOn": [dependency] })
    };
    check(on("c", "START"), "container 'a' depends on 'c', which the task does not have");
    check(on("b", "SOON"), "containerDefinitions[0].dependsOn[0].condition has no value \"SOON\"");
    check(on("b", "HEALTHY"), "which has no health check");
    let circle = "the containers 'a' -> 'b' -> 'a' wait for each other in a circle";
    refused(&none, &on("b", "START"), &on("a", "START"), circle);
    refused(&none, &none, &on("a", "SUCCESS"), "waits for SUCCESS of 'a', which is essential");
    let health = |value: Value| json!({ "healthCheck": value });
    check(health(json!({ "command": ["true"] })), "must begin with CMD or CMD-SHELL");
    for (field, low, high) in
        [("interval", 5, 300), ("timeout", 2, 60), ("retries", 1, 10), ("startPeriod", 0, 300)]
    {
        for wrong in [low - 1, high + 1] {
            let value = json!({ "command": ["CMD", "x"], field: wrong });
            let said = format!("healthCheck.{field} must be between {low} and {high}, not {wrong}");
            check(health(value), &said);
        }
        for right in [low, high] {
            let value = health(json!({ "command": ["CMD", "x"], field: right }));
            assert!(body(&none, &value, &none).is_ok(), "{field} {right}");
        }
    }
    let policy = json!({ "restartPolicy": { "enabled": true, "restartAttemptPeriod": 59 } });
    check(policy, "restartPolicy.restartAttemptPeriod must be between 60 and 1800, not 59");
}

#[test]
fn volumes_and_mounts_that_can_not_be_are_refused_by_name() {
    let none = json!({});
    let mount = |volume: &str, path: &str| {
        let mount = json!({ "sourceVolume": volume, "containerPath": path });
        json!({ "mountPoints": [mount] })
    };
    let own = json!({ "volumes": [{ "name": "own" }] });
    refused(&own, &mount("other", "/x"), &none, "Unknown volume 'other'.");
    refused(&own, &mount("own", "x"), &none, "must be an absolute path without ..");
    refused(&own, &mount("own", "/"), &none, "must not be the root directory");
    let twice = json!({ "mountPoints": [
        { "sourceVolume": "own", "containerPath": "/x" },
        { "sourceVolume": "own", "containerPath": "/x/" },
    ] });
    refused(&own, &twice, &none, "Duplicate mount point: container 'a' has");
    let volume = |value: Value| json!({ "volumes": [value] });
    let check = |value: Value, expected: &str| refused(&volume(value), &none, &none, expected);
    check(json!({ "name": "a/b" }), "volumes[0].name must have 1 to 255 letters");
    check(json!({ "name": "v", "host": { "sourcePath": "x" } }), "volumes[0].host.sourcePath");
    let efs = json!({ "name": "v", "efsVolumeConfiguration": { "fileSystemId": "fs-1" } });
    check(efs, "volumes[0].efsVolumeConfiguration is not supported yet");
    let docker = |value: Value| json!({ "name": "v", "dockerVolumeConfiguration": value });
    check(docker(json!({ "driver": "rexray" })), "driver rexray is not supported yet");
    check(docker(json!({ "autoprovision": true })), "autoprovision needs the scope shared");
    let from = json!({ "volumesFrom": [{ "sourceContainer": "z" }] });
    refused(&none, &from, &none, "container 'a' depends on 'z', which the task does not have");
}

#[test]
fn what_the_kernel_would_not_do_for_a_container_is_refused_by_name() {
    let none = json!({});
    let check = |one: Value, expected: &str| refused(&none, &one, &none, expected);
    let linux = |value: Value| json!({ "linuxParameters": value });
    check(linux(json!({ "capabilities": { "add": ["FLY"] } })), "has no value \"FLY\"");
    check(linux(json!({ "swappiness": 101 })), "swappiness must be at least 0 and at most 100");
    check(linux(json!({ "tmpfs": [{ "containerPath": "/t", "size": 0 }] })), "size must be at");
    let limit = |soft: i32, hard: i32| {
        let limit = json!({ "name": "nofile", "softLimit": soft, "hardLimit": hard });
        json!({ "ulimits": [limit] })
    };
    check(limit(9, 8), "softLimit 9 is above hardLimit 8");
    check(limit(-1, 8), "softLimit -1 is above hardLimit 8");
    check(json!({ "dockerSecurityOptions": ["label:type:x"] }), "label:type:x");
    let control = |name: &str| json!({ "systemControls": [{ "namespace": name, "value": "1" }] });
    check(control("vm.swappiness"), "is no sysctl of a container's own namespaces");
    check(control("net.ipv4/../../kernel/core_pattern"), "is no sysctl of a container's own");
    let host = json!({ "networkMode": "host" });
    refused(&host, &control("net.core.somaxconn"), &none, "can't be set with this networkMode");
    let ipc = json!({ "ipcMode": "host" });
    refused(&ipc, &control("kernel.shmmax"), &none, "can't be set with this ipcMode");
    let ipc = json!({ "ipcMode": "task" });
    refused(&ipc, &control("kernel.shmmax"), &none, "they are not the container's own");
    refused(&json!({ "pidMode": "pod" }), &none, &none, "pidMode has no value");
}
