//! Commands that speak to the controller.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::world::{Asked, World, said};

const NODE: &str = "arn:aws:ecs:us-east-1:000000000000:container-instance/default/aaaa1111bbbb";

fn arn(id: &str) -> String {
    format!("arn:aws:ecs:us-east-1:000000000000:task/default/{id}")
}

fn task(id: &str, last_status: &str, exit_code: Option<i64>) -> Value {
    json!({
        "taskArn": arn(id),
        "taskDefinitionArn": "arn:aws:ecs:us-east-1:000000000000:task-definition/web:3",
        "containerInstanceArn": NODE,
        "lastStatus": last_status, "desiredStatus": last_status,
        "cpu": "256", "memory": "64", "createdAt": 1.5e9,
        "stopCode": exit_code.map(|_| "EssentialContainerExited"),
        "stoppedReason": exit_code.map(|_| "Essential container in task exited"),
        "containers": [{"name": "main", "exitCode": exit_code}],
    })
}

fn log_event(stream: &str, message: &str, partial: bool) -> Value {
    json!({"timestamp": 0, "stream": stream, "message": message, "partial": partial})
}

fn ok(value: &Value) -> (u16, String) {
    (200, value.to_string())
}

fn refuse(code: &str, message: &str) -> (u16, String) {
    (400, json!({"__type": code, "message": message}).to_string())
}

/// A cluster in which the task 1 runs and the task 2 has ended with 7.
fn small_cluster(asked: &Asked) -> (u16, String) {
    let body: Value = serde_json::from_str(&asked.body).unwrap();
    match asked.operation() {
        "ListTasks" => {
            let id = if body["desiredStatus"] == "RUNNING" { "1111" } else { "2222" };
            ok(&json!({ "taskArns": [arn(id)] }))
        }
        "DescribeTasks" => {
            let all = [task("1111", "RUNNING", None), task("2222", "STOPPED", Some(7))];
            let wanted = body["tasks"].as_array().unwrap();
            let found: Vec<_> =
                all.into_iter().filter(|task| wanted.contains(&task["taskArn"])).collect();
            ok(&json!({"tasks": found, "failures": []}))
        }
        "DescribeTaskDefinition" => refuse("ClientException", "no such definition"),
        "RegisterTaskDefinition" => ok(&json!({"taskDefinition": {}})),
        "RunTask" => ok(&json!({"tasks": [task("2222", "PENDING", None)], "failures": []})),
        other => refuse("InvalidAction", other),
    }
}

#[test]
fn tasks_are_listed_as_a_table_or_as_the_api_says_it() {
    let world = World::controller(small_cluster);
    let (code, out, err) = world.type_it(&["ps", "--all"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let lines: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0][..4], ["TASK", "DEFINITION", "STATUS", "NODE"]);
    assert_eq!(lines[1][..6], ["1111", "web:3", "RUNNING", "aaaa1111", "256", "64"]);
    assert_eq!(lines[2][..3], ["2222", "web:3", "STOPPED"]);
    assert!(out.contains("7     Essential container in task exited"), "{out}");

    let (_, out, _) = world.type_it(&["ps", "--output", "json"]);
    let value: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(value["tasks"], json!([task("1111", "RUNNING", None)]));
    let (_, out, _) = world.type_it(&["ps", "--quiet"]);
    assert_eq!(out, "1111\n");
}

#[test]
fn every_request_is_signed_and_no_secret_is_shown() {
    let world = World::controller(small_cluster);
    let (_, out, err) = world.type_it(&["ps"]);
    for asked in world.asked.lock().unwrap().iter() {
        let signed = &asked.headers["authorization"];
        assert!(signed.starts_with("AWS4-HMAC-SHA256 Credential=AKTEST/"), "{signed}");
        assert!(signed.contains("/us-east-1/ecs/aws4_request, SignedHeaders=content-type;host;"));
        assert_eq!(asked.line, "POST / HTTP/1.1");
        assert!(!format!("{asked:?}{out}{err}").contains("SECRET"));
    }
}

#[test]
fn a_refusal_is_printed_once_and_ends_with_1() {
    let world = World::controller(|_| refuse("ClusterNotFoundException", "Cluster not found."));
    let (code, out, err) = world.type_it(&["nodes"]);
    assert_eq!((code, out.as_str()), (1, ""));
    let expected = "error: ListContainerInstances: Cluster not found. (ClusterNotFoundException)\n\
                    hint: see `loadline cluster ls`\n";
    assert_eq!(err, expected);
}

#[test]
fn a_controller_that_is_not_there_ends_with_3_and_says_what_to_do() {
    let world = World::agent(|_| (200, String::new()));
    let (code, _, err) = world.type_it(&["ps"]);
    assert_eq!(code, 3);
    assert!(err.starts_with("error: can't reach the controller at http://127.0.0.1:1: "), "{err}");
    assert!(err.contains("hint: start a cluster on this machine with `loadline up`"), "{err}");
}

#[test]
fn an_answer_that_is_no_json_ends_with_3() {
    let world = World::controller(|_| (502, "<html>".to_owned()));
    let (code, _, err) = world.type_it(&["ps"]);
    assert_eq!(code, 3);
    assert!(err.contains("HTTP 502"), "{err}");
}

#[test]
fn a_missing_key_ends_with_2() {
    let world = World::controller(small_cluster);
    std::fs::remove_file(world.state().join("credentials")).unwrap();
    let (code, _, err) = world.type_it(&["ps"]);
    assert_eq!(code, 2);
    assert!(err.starts_with("error: no access key: "), "{err}");
    let with_key = world
        .command(&["ps", "-q"])
        .env("AWS_ACCESS_KEY_ID", "AK")
        .env("AWS_SECRET_ACCESS_KEY", "S")
        .output();
    assert_eq!(said(with_key.unwrap()).0, 0);
}

#[test]
fn a_task_that_finds_no_room_ends_with_4_and_why() {
    let world = World::controller(|asked| match asked.operation() {
        "RunTask" => {
            let failure = json!({"arn": NODE, "reason": "RESOURCE:MEMORY", "detail": "1 MiB left"});
            ok(&json!({"tasks": [], "failures": [failure]}))
        }
        _ => small_cluster(asked),
    });
    let (code, out, err) = world.type_it(&["run", "--memory", "64", "busybox"]);
    assert_eq!((code, out.as_str()), (4, ""));
    let expected = "error: 1 wanted, 0 placed: RESOURCE:MEMORY: 1 MiB left (node aaaa1111bbbb)\n";
    assert!(err.starts_with(expected), "{err}");
    assert_eq!(
        world.operations(),
        ["DescribeTaskDefinition", "RegisterTaskDefinition", "RunTask"],
        "a definition is registered once"
    );
}

#[test]
fn a_task_that_is_waited_for_gives_its_exit_code() {
    let world = World::controller(small_cluster);
    let (code, out, err) = world.type_it(&["run", "--wait", "busybox", "--", "sh", "-c", "exit 7"]);
    assert_eq!((code, out.as_str()), (7, "2222\n"));
    assert_eq!(err, "task 2222 ended: Essential container in task exited\n");
}

#[test]
fn a_task_is_meant_by_the_beginning_of_its_id() {
    let world = World::controller(small_cluster);
    let (code, out, _) = world.type_it(&["inspect", "22"]);
    let value: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &value[0]["taskArn"]), (0, &json!(arn("2222"))));
    let (code, _, err) = world.type_it(&["stop", "9"]);
    assert_eq!((code, err.as_str()), (1, "error: no task \"9\" in this cluster\n"));
}

#[test]
fn output_and_errors_of_a_container_go_where_it_wrote_them() {
    let world = World::controller(|asked| match asked.operation() {
        "ReadTaskLogs" => {
            let body: Value = serde_json::from_str(&asked.body).unwrap();
            let first = [log_event("stdout", "a", true), log_event("stderr", "e", false)];
            let second = [log_event("stdout", "b", false)];
            match body["cursor"].as_str() {
                None => ok(&json!({"events": first, "nextCursor": "1", "end": false})),
                Some("1") => ok(&json!({"events": second, "nextCursor": "2", "end": true})),
                other => refuse("ClientException", &format!("{other:?}")),
            }
        }
        _ => small_cluster(asked),
    });
    let (code, out, err) = world.type_it(&["logs", "1111"]);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "ab\n", "e\n"));
}

#[test]
fn half_a_key_and_a_wrong_region_are_said_and_not_worked_around() {
    let world = World::controller(|_| {
        let text = "Credential should be scoped to a valid region, not \"x\": this controller's \
                    is \"us-east-1\"";
        refuse("InvalidSignatureException", text)
    });
    let half = world.command(&["ps"]).env("AWS_ACCESS_KEY_ID", "AK").output().unwrap();
    let (code, _, err) = said(half);
    assert_eq!(code, 2);
    assert!(err.contains("AWS_ACCESS_KEY_ID is set, but AWS_SECRET_ACCESS_KEY is not"), "{err}");
    let (_, _, err) = world.type_it(&["--region", "x", "ps"]);
    assert!(err.contains("hint: sign for the controller's region"), "{err}");
}

#[test]
fn a_task_that_never_began_has_no_log_and_says_why() {
    let world = World::controller(|asked| match asked.operation() {
        "ReadTaskLogs" => refuse("ClientException", "this node knows no such container"),
        "DescribeTasks" => {
            let mut never = task("2222", "STOPPED", None);
            never["stopCode"] = json!("TaskFailedToStart");
            never["stoppedReason"] = json!("CannotPullContainerError: no such image");
            ok(&json!({"tasks": [never], "failures": []}))
        }
        _ => small_cluster(asked),
    });
    let (code, _, err) = world.type_it(&["logs", "2222"]);
    assert_eq!(code, 1);
    let expected = "error: task 2222 never began, and wrote nothing: CannotPullContainerError: no \
                    such image\n";
    assert_eq!(err, expected);
}

#[test]
fn a_task_that_is_waited_for_is_shown_as_it_ended() {
    let world = World::controller(small_cluster);
    let (code, out, _) = world.type_it(&["run", "--wait", "-o", "json", "busybox"]);
    let value: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &value["tasks"][0]["lastStatus"]), (7, &json!("STOPPED")));
}

#[test]
fn what_is_typed_by_habit_is_answered_and_nothing_is_asked_for() {
    let world = World::controller(small_cluster);
    for (line, expected) in [
        (&["run", "-d", "busybox"][..], "hint: -d: a task runs in the background"),
        (&["run", "busybox", "echo"], "hint: options come before the image"),
        (&["run", "Busy box"], "its name has other characters"),
        (&["run", "-n", "30", "busybox"], "1 to 10 tasks"),
    ] {
        let (code, _, err) = world.type_it(line);
        assert!(code == 2 && err.contains(expected), "{err}");
        assert!(!err.contains("--state-dir"), "a variable is no option: {err}");
    }
    assert_eq!(world.operations(), [""; 0]);
    let (_, _, err) = world.type_it(&["task-def", "show", "nope"]);
    assert!(err.contains("nope: no such definition"), "{err}");
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let world = World::controller(small_cluster);
    let mut child =
        world.command(&["ps"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let (code, _, err) = said(child.wait_with_output().unwrap());
    assert_eq!((code, err.as_str()), (0, ""));
}

#[test]
fn a_definition_is_registered_from_a_file_or_standard_input() {
    let world = World::controller(|asked| {
        let body: Value = serde_json::from_str(&asked.body).unwrap();
        assert_eq!(body, json!({"family": "f"}));
        ok(&json!({"taskDefinition": {"taskDefinitionArn": "arn:x:task-definition/f:1"}}))
    });
    let file = world.file("f.json", "{\"family\": \"f\"}");
    let (code, out, _) = world.type_it(&["task-def", "register", file.to_str().unwrap()]);
    assert_eq!((code, out.as_str()), (0, "f:1\n"));
    let input = std::fs::File::open(&file).unwrap();
    let piped = world.command(&["task-def", "register", "-"]).stdin(input).output().unwrap();
    assert_eq!(said(piped).1, "f:1\n");
    let broken = world.file("broken.json", "{");
    let (code, _, err) = world.type_it(&["task-def", "register", broken.to_str().unwrap()]);
    assert_eq!(code, 2);
    assert!(err.contains("broken.json is not JSON"), "{err}");
}

#[test]
fn completions_and_manual_pages_name_every_command() {
    let world = World::controller(small_cluster);
    let (_, completions, _) = world.type_it(&["completions", "bash"]);
    let folder = world.state().join("man");
    std::fs::create_dir(&folder).unwrap();
    let (code, _, _) = world.type_it(&["man", "--folder", folder.to_str().unwrap()]);
    assert_eq!(code, 0);
    for command in
        ["up", "run", "ps", "logs", "stop", "inspect", "nodes", "token", "task-def", "service"]
    {
        assert!(completions.contains(command), "{command}");
        assert!(folder.join(format!("loadline-{command}.1")).exists(), "{command}");
    }
    let (_, page, _) = world.type_it(&["man"]);
    assert!(page.contains(".TH loadline 1"), "{page}");
}

#[test]
fn a_roll_that_was_rolled_back_is_a_failure_though_the_service_is_steady_again() {
    let service = |id: &str| {
        json!({
            "serviceName": "web", "status": "ACTIVE", "desiredCount": 1, "runningCount": 1,
            "deployments": [{"id": id, "status": "PRIMARY", "rolloutState": "COMPLETED"}],
        })
    };
    let world = World::controller(move |asked| match asked.operation() {
        "UpdateService" => ok(&json!({ "service": service("new") })),
        "DescribeServices" => ok(&json!({ "services": [service("old")], "failures": [] })),
        other => refuse("InvalidAction", other),
    });
    let (code, out, err) = world.type_it(&["service", "roll", "web", "--wait"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(
        err.contains("deployment new was rolled back or replaced; old took its place"),
        "{err}"
    );
}

#[test]
fn pruning_deletes_what_run_made() {
    let name = |text: &str| format!("arn:aws:ecs:us-east-1:000000000000:task-definition/{text}");
    let made = name("run-probe-0123abcd:2");
    let (before, own) = (name("run-probe-0123abcd:1"), name("w:1"));
    let world = World::controller(move |asked| {
        let body: Value = serde_json::from_str(&asked.body).unwrap();
        match asked.operation() {
            "ListTasks" => ok(&json!({ "taskArns": [] })),
            "ListTaskDefinitions" if body["status"] == "ACTIVE" => {
                ok(&json!({ "taskDefinitionArns": [made, own] }))
            }
            "ListTaskDefinitions" => ok(&json!({ "taskDefinitionArns": [before] })),
            "DeregisterTaskDefinition" if body["taskDefinition"] == made.as_str() => ok(&json!({})),
            "DeleteTaskDefinitions" if body["taskDefinitions"] == json!([made, before]) => {
                ok(&json!({}))
            }
            other => refuse("InvalidAction", other),
        }
    });
    let (code, out, err) = world.type_it(&["task-def", "prune"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(out, "run-probe-0123abcd:2\nrun-probe-0123abcd:1\n");
}

#[test]
fn an_option_names_the_key_before_any_variable_and_a_wrong_key_is_named() {
    let world = World::controller(|_| refuse("UnrecognizedClientException", "The security token"));
    let other = "[default]\naws_access_key_id = AKOTHER\naws_secret_access_key = SECRET\n";
    let other = world.file("other", other);
    let with = |args: &[&str]| {
        let mut command = world.command(args);
        let command = command.env("AWS_SHARED_CREDENTIALS_FILE", &other);
        said(command.env("LOADLINE_CREDENTIALS", &other).output().unwrap()).2
    };
    let named = |by: &str, file: &std::path::Path| {
        format!("it is [default] in {} (by {by})", file.display())
    };
    let err = with(&["ps"]);
    assert!(err.contains(&named("LOADLINE_CREDENTIALS", &other)), "{err}");
    let err = with(&["ps", "--state-dir", world.state().to_str().unwrap()]);
    assert!(err.contains(&named("--state-dir", &world.state().join("credentials"))), "{err}");
}

#[test]
fn what_no_task_can_reserve_is_said_before_anything_is_asked_for() {
    let world = World::controller(small_cluster);
    let refused = |args: &[&str]| {
        let args = [&["run"], args, &["busybox"]].concat();
        let (code, _, err) = world.type_it(&args);
        assert_eq!(code, 2, "{err}");
        err
    };
    let err = refused(&["--cpu", "100", "--memory", "128"]);
    assert!(err.contains("--cpu 100: a task reserves 128 to 196608 CPU units"), "{err}");
    let err = refused(&["--cpu", "-5"]);
    assert!(err.contains("CPU units (1024 are one vCPU), as in 256"), "{err}");
    let err = refused(&["--memory", "-1"]);
    assert!(err.contains("MiB, as in 128"), "{err}");
    let err = refused(&["--memory", "3"]);
    assert!(err.contains("a task needs 4 MiB or more"), "{err}");
    assert_eq!(world.operations(), [""; 0]);
    let (code, _, err) = world.type_it(&["run", "--cpu", "100", "--burst", "busybox"]);
    assert_eq!(code, 0, "{err}");
}

#[test]
fn a_definition_is_deregistered_by_the_name_that_other_things_are_removed_by() {
    let gone = json!({"taskDefinition": {"taskDefinitionArn": "arn:x:task-definition/web:3"}});
    let world = World::controller(move |_| ok(&gone));
    let (code, out, err) = world.type_it(&["task-def", "rm", "web:3"]);
    assert_eq!((code, out.as_str()), (0, "web:3\n"), "{err}");
    assert_eq!(world.operations(), ["DeregisterTaskDefinition"]);
}

#[test]
fn every_node_whose_agent_is_away_is_removed_and_no_other() {
    const PREFIX: &str = "arn:aws:ecs:us-east-1:000000000000:container-instance/default/";
    let world = World::controller(|asked| {
        let body: Value = serde_json::from_str(&asked.body).unwrap();
        let node = |id: &str, connected: bool, version: &str| {
            json!({
                "containerInstanceArn": format!("{PREFIX}{id}"), "agentConnected": connected,
                "versionInfo": {"agentVersion": version},
            })
        };
        match asked.operation() {
            "ListContainerInstances" => ok(&json!({"containerInstanceArns": [PREFIX]})),
            "DescribeContainerInstances" => {
                let all = [("here", true, "1"), ("gone", false, "1"), ("busy", false, "1")];
                let mut all: Vec<_> = all.map(|(id, up, of)| node(id, up, of)).into();
                all.push(node("agentless", false, ""));
                ok(&json!({"containerInstances": all, "failures": []}))
            }
            _ if body["containerInstance"] == format!("{PREFIX}busy") && body["force"] == false => {
                refuse("InvalidParameterException", "Found running tasks on the instance.")
            }
            _ => ok(&json!({"containerInstance": {
                "containerInstanceArn": body["containerInstance"],
            }})),
        }
    });
    let (code, out, err) = world.type_it(&["nodes", "rm", "--away"]);
    assert_eq!((code, out.as_str()), (1, "gone\n"));
    assert!(err.contains("not removed: busy: Found running tasks"), "{err}");
    assert!(err.contains("hint: --force gives up"), "{err}");
    let (code, out, _) = world.type_it(&["nodes", "rm", "--away", "--force", "--output", "json"]);
    assert_eq!(code, 0);
    let out: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(out["containerInstances"].as_array().map(Vec::len), Some(2));
    let (code, _, err) = world.type_it(&["nodes", "rm"]);
    assert_eq!(code, 2, "{err}");
}
