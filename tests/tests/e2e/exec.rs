//! Programs in running containers, typed at the command line and asked for by the API.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use loadline_tests::api::Refused;
use loadline_tests::cluster::Cluster;
use loadline_tests::program::{self, until};
use loadline_tests::require;
use loadline_tests::require::Facility;
use serde_json::{Value, json};

use crate::world::{cluster, end, processes};

/// A task that runs until it is stopped; `fields` are RunTask's.
fn running(cluster: &Cluster, fields: Value) -> String {
    let memory = json!({ "memory": "64" });
    let definition = cluster.define("idle", &["trap", "TERM", "0"], memory, json!({})).unwrap();
    let mut input = json!({ "taskDefinition": definition });
    for (name, value) in fields.as_object().unwrap() {
        input[name] = value.clone();
    }
    let answer = cluster.api.ecs("RunTask", &input).unwrap();
    let task = answer["tasks"][0]["taskArn"].as_str().unwrap().to_owned();
    cluster.api.until(std::slice::from_ref(&task), "RUNNING").unwrap();
    task
}

/// `loadline exec` with these words, on a cluster.
fn exec(cluster: &Cluster, words: &[&str]) -> Command {
    let mut command = program::command(&program::find("loadline").unwrap());
    command.args(["--endpoint", &format!("http://{}", cluster.api.address)]);
    command.arg("--credentials-file").arg(cluster.folder.path().join("credentials"));
    command.arg("exec").args(words);
    command
}

fn ran(cluster: &Cluster, command: &mut Command) -> program::Ran {
    program::run(cluster.folder.path(), command).unwrap()
}

/// The same with a terminal around it, in which somebody types what stands in `typed` once the
/// program has said that it is ready (what is typed before is the shell's), and Ctrl-C after that,
/// which would take away what is still unread.
fn at_a_terminal(cluster: &Cluster, words: &[&str], typed: &Path) -> program::Ran {
    const TYPE: &str = r#"out=$1 typed=$2 words=$3
        shows() { until grep -q "$1" "$out"; do sleep 0.05; done; }
        { shows ready; cat "$typed"; shows controlling; printf '\003'; } |
            script --quiet --return --command "$words" /dev/null >"$out"
        code=$?; cat "$out"; exit $code"#;
    let inner = exec(cluster, words);
    let words = std::iter::once(inner.get_program()).chain(inner.get_args());
    let words: Vec<String> = words.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
    let out = cluster.folder.path().join("shown");
    File::create(&out).unwrap();
    let mut script = program::command(Path::new("sh"));
    script.args(["-c", TYPE, "sh"]).arg(out).arg(typed).arg(words.join(" "));
    ran(cluster, &mut script)
}

#[test]
fn a_program_in_a_container_has_its_output_input_and_exit_code_at_the_command_line() {
    require!(
        "a_program_in_a_container_has_its_output_input_and_exit_code_at_the_command_line":
            Facility::Root,
        Facility::Program("script"),
    );
    let cluster = cluster(1024);
    let task = running(&cluster, json!({ "enableExecuteCommand": true }));
    let verbs = ["echo", "out", "--", "echo-err", "err", "--", "exit", "42"];
    let words = [&[task.as_str(), "--", "/bin/probe"][..], &verbs].concat();
    let told = ran(&cluster, &mut exec(&cluster, &words));
    assert_eq!((told.status.code(), &*told.stdout), (Some(42), "out\n"), "{}", told.said());
    assert_eq!(told.stderr, "err\n");
    // More than all that lies between holds, both ways at once.
    let typed = cluster.folder.path().join("typed");
    let line = "x".repeat(99);
    std::fs::write(&typed, format!("{line}\n")).unwrap();
    let words = ["-i", task.as_str(), "--", "/bin/probe", "read-line", "--", "lines", "9000", "99"];
    let mut command = exec(&cluster, &words);
    let told = ran(&cluster, command.stdin(File::open(&typed).unwrap()));
    assert_eq!(told.status.code(), Some(0), "{}", told.said());
    assert!(told.stdout.starts_with(&format!("{{\"line\":\"{line}\"}}\n")));
    assert_eq!(told.stdout.lines().count(), 9001);
    // Return, and Ctrl-C.
    std::fs::write(&typed, "hello\r").unwrap();
    let verbs = ["echo", "ready", "--", "read-line", "--", "tty", "--", "sleep", "999"];
    let words = [&["-it", &task, "--", "/bin/probe"][..], &verbs].concat();
    let told = at_a_terminal(&cluster, &words, &typed);
    assert!(told.stdout.contains("\"controlling\":true"), "{}", told.said());
    assert_eq!(told.status.code(), Some(130), "{}", told.said());
    let told = ran(&cluster, &mut exec(&cluster, &[&task, "--", "/no/such"]));
    assert_eq!(told.status.code(), Some(126), "{}", told.said());
    assert!(told.stderr.contains("/no/such"), "{}", told.said());
    assert_eq!(processes(&cluster, &task).len(), 1, "the task's own is left");
    end(cluster);
}

#[test]
fn who_may_not_run_a_program_in_a_container_is_told_why() {
    require!("who_may_not_run_a_program_in_a_container_is_told_why": Facility::Root);
    let cluster = cluster(1024);
    let open = running(&cluster, json!({ "enableExecuteCommand": true }));
    let closed = running(&cluster, json!({}));
    let ask = |task: &str| json!({ "task": task, "command": "ls -l", "interactive": true });
    let answer = cluster.api.ecs("ExecuteCommand", &ask(&open)).unwrap();
    assert_eq!((&answer["containerName"], &answer["taskArn"]), (&json!("main"), &json!(open)));
    let url = answer["session"]["streamUrl"].as_str().unwrap();
    assert!(url.starts_with(&format!("ws://{}/", cluster.api.address)), "{url}");
    assert_eq!(answer["session"]["tokenValue"].as_str().unwrap().len(), 64);
    let shown = cluster.api.task(&open).unwrap();
    assert_eq!(shown["enableExecuteCommand"], true);
    let refused = |input: &Value| cluster.api.refused("ExecuteCommand", input).unwrap();
    let check = |input: Value, code: &str, text: &str| {
        let Refused { code: found, message, .. } = refused(&input);
        assert!(found == code && message.contains(text), "{found}: {message}");
    };
    check(ask(&closed), "InvalidParameterException", "was not enabled");
    check(ask(&open.replace('a', "b")), "InvalidParameterException", "was not found");
    let with = |name: &str, value: Value| {
        let mut input = ask(&open);
        input[name] = value;
        input
    };
    check(with("interactive", json!(false)), "InvalidParameterException", "Interactive");
    check(with("command", json!("sh -c 'open")), "InvalidParameterException", "quotes");
    check(with("command", json!("")), "InvalidParameterException", "command");
    check(with("container", json!("other")), "InvalidParameterException", "main");
    // Seven more fit besides the one that nobody came for.
    (0..7).for_each(|_| drop(cluster.api.ecs("ExecuteCommand", &ask(&open)).unwrap()));
    check(ask(&open), "ClientException", "8 programs");
    cluster.api.ecs("StopTask", &json!({ "task": open })).unwrap();
    cluster.api.until(std::slice::from_ref(&open), "STOPPED").unwrap();
    check(ask(&open), "InvalidParameterException", "STOPPED");
    end(cluster);
}

#[test]
fn a_session_is_opened_by_its_token_alone_and_once() {
    require!("a_session_is_opened_by_its_token_alone_and_once": Facility::Root);
    let cluster = cluster(1024);
    let task = running(&cluster, json!({ "enableExecuteCommand": true }));
    let key = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let get = |path: &str, headers: &[(&str, &str)]| {
        let line = format!("GET {path}");
        let host = [("host", cluster.api.address.as_str())];
        let headers = [&host[..], headers].concat();
        loadline_tests::http::tcp(&cluster.api.address, &line, &headers, b"").unwrap()
    };
    let unknown = format!("/v1/data-channel/ecs-execute-command-{}", "0".repeat(32));
    assert_eq!(get(&unknown, &key).status, 404);
    let ask = json!({ "task": task, "command": "/bin/probe true", "interactive": true });
    let answer = cluster.api.ecs("ExecuteCommand", &ask).unwrap();
    let id = answer["session"]["sessionId"].as_str().unwrap();
    let path = format!("/v1/data-channel/{id}");
    assert_eq!(get(&path, &[]).status, 400, "no WebSocket");
    let refused = get(&path, &key);
    assert_eq!(refused.status, 400);
    let said = String::from_utf8_lossy(&refused.body).into_owned();
    assert!(said.contains("loadline.exec.v1"), "{said}");
    end(cluster);
}

#[test]
fn a_session_ends_with_its_container_its_agent_and_its_controller() {
    require!(
        "a_session_ends_with_its_container_its_agent_and_its_controller": Facility::Root
    );
    let mut cluster = cluster(1024);
    for (n, text) in
        ["", "agent was lost", "connection to the controller was lost"].into_iter().enumerate()
    {
        let task = running(&cluster, json!({ "enableExecuteCommand": true }));
        let own = processes(&cluster, &task);
        let words = [&task, "--", "/bin/probe", "echo", "ready", "--", "sleep", "999"];
        let mut command = exec(&cluster, &words);
        let [out, err] = ["out", "err"].map(|end| cluster.folder.path().join(format!("{end}{n}")));
        let mut client = command
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&err).unwrap())
            .spawn()
            .unwrap();
        until("the program has spoken", || {
            Ok(std::fs::read_to_string(&out)?.contains("ready").then_some(()))
        })
        .unwrap();
        match n {
            0 => drop(cluster.api.ecs("StopTask", &json!({ "task": task })).unwrap()),
            1 => cluster.kill_agent(0).unwrap(),
            _ => cluster.kill_controller().unwrap(),
        }
        let status = program::wait(&mut client, program::patience()).unwrap().unwrap();
        let said = std::fs::read_to_string(&err).unwrap();
        assert_eq!(status.code(), Some(if n == 0 { 137 } else { 126 }), "{said}");
        assert!(said.contains(text), "{said}");
        if n == 0 {
            cluster.api.until(&[task], "STOPPED").unwrap();
            continue;
        }
        until("the program has ended", || Ok((processes(&cluster, &task) == own).then_some(())))
            .unwrap();
        if n == 1 {
            cluster.start_agent(0).unwrap();
        } else {
            cluster.start_controller().unwrap();
        }
        cluster.until_connected(1).unwrap();
    }
    end(cluster);
}
