//! Seccomp on the real kernel: filters that hold in containers.

#![cfg(test)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::os::unix::net::UnixStream;
use std::process::{Child, Command};

use serde_json::{Value, json};

use world::{World, wait_for};

mod world;

/// Everything is allowed but what the rules say.
fn open_profile(rules: Value) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]})
}

fn deny_mkdir() -> Value {
    open_profile(json!([
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 30}]))
}

#[test]
fn a_filtered_call_fails_as_the_profile_says() {
    let Some(world) = World::new("seccomp-errno") else { return };
    for no_new_privileges in [true, false] {
        let out = world.shell("mkdir /tmp/x 2>&1; grep Seccomp: /proc/self/status", |config| {
            config["linux"]["seccomp"] = deny_mkdir();
            config["process"]["noNewPrivileges"] = json!(no_new_privileges);
            config["root"]["readonly"] = json!(false);
        });
        assert!(out.contains("Read-only file system"), "{out}");
        assert!(out.contains("Seccomp:\t2"), "{out}");
    }
    world.assert_nothing_is_left();
}

#[test]
fn a_filter_binds_an_ordinary_user_too() {
    let Some(world) = World::new("seccomp-user") else { return };
    for no_new_privileges in [true, false] {
        let out = world.shell("id -u; mkdir /tmp/x 2>&1; true", |config| {
            config["linux"]["seccomp"] = deny_mkdir();
            config["process"]["noNewPrivileges"] = json!(no_new_privileges);
            config["process"]["user"] = json!({"uid": 7, "gid": 7});
        });
        assert!(out.starts_with("7\n") && out.contains("Read-only file system"), "{out}");
    }
}

/// Its file is the image's, as the program's is.
#[test]
fn a_hook_in_the_container_has_the_filter() {
    let Some(world) = World::new("seccomp-hook") else { return };
    for no_new_privileges in [true, false] {
        world.script("cat /tmp/said", |config| {
            let script = "mkdir /tmp/x 2>/tmp/said; grep Seccomp: /proc/self/status >>/tmp/said";
            let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
            config["hooks"] = json!({ "startContainer": [hook] });
            config["linux"]["seccomp"] = deny_mkdir();
            config["process"]["noNewPrivileges"] = json!(no_new_privileges);
            config["root"]["readonly"] = json!(false);
        });
        let ran = world.run();
        assert!(ran.out.contains("Read-only file system"), "{ran:?}");
        assert!(ran.out.contains("Seccomp:\t2"), "{ran:?}");
    }
    world.assert_nothing_is_left();
}

#[test]
fn a_killing_filter_kills() {
    let Some(world) = World::new("seccomp-kill") else { return };
    world.script("mkdir /tmp/x", |config| {
        let rules = json!([{"names": ["mkdir"], "action": "SCMP_ACT_KILL_PROCESS"}]);
        config["linux"]["seccomp"] = open_profile(rules);
        config["process"]["args"] = json!(["mkdir", "/tmp/x"]);
    });
    // SIGSYS
    assert_eq!(world.run().code, 128 + 31);
    world.assert_nothing_is_left();
}

#[test]
fn a_profile_that_does_not_allow_the_start_is_named() {
    let Some(world) = World::new("seccomp-nothing") else { return };
    for action in ["SCMP_ACT_KILL_PROCESS", "SCMP_ACT_ERRNO"] {
        world.script("true", |config| {
            config["linux"]["seccomp"] = json!({ "defaultAction": action });
        });
        for flags in [&[][..], &["--detach"]] {
            let ran = world.with_bundle("run", flags);
            assert!(ran.code == 1 && ran.err.contains("linux.seccomp"), "{action}: {ran:?}");
            assert!(!ran.err.contains("memory.limit"), "{action}: {ran:?}");
            world.assert_nothing_is_left();
        }
    }
}

#[test]
fn arguments_decide() {
    let Some(world) = World::new("seccomp-args") else { return };
    // kill(pid, SIGUSR1) is refused, other signals are not.
    let rules = json!([{"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13,
        "args": [{"index": 1, "value": 10, "op": "SCMP_CMP_EQ"}]}]);
    let out = world.shell("kill -USR1 $$ 2>&1; kill -0 $$ && echo probed", |config| {
        config["linux"]["seccomp"] = open_profile(rules);
    });
    assert!(out.contains("Permission denied") && out.ends_with("probed\n"), "{out}");
}

#[test]
fn exec_gets_the_containers_filter() {
    let Some(world) = World::new("seccomp-exec") else { return };
    world.config(|config| {
        config["linux"]["seccomp"] = deny_mkdir();
        config["process"]["args"] = json!(["sleep", "1000"]);
    });
    let run = world.with_bundle("run", &["--detach"]);
    assert_eq!(run.code, 0, "{run:?}");
    let made = world.runtime(&["exec", &world.id, "mkdir", "/tmp/x"]);
    assert_eq!(made.code, 1);
    assert!(made.err.contains("Read-only file system"), "{made:?}");
    assert_eq!(world.runtime(&["delete", "--force", &world.id]).code, 0);
    world.assert_nothing_is_left();
}

#[test]
fn a_distributions_profile_lets_a_shell_work() {
    let Some(world) = World::new("seccomp-distribution") else { return };
    let path = "/usr/share/containers/seccomp.json";
    let Ok(text) = std::fs::read(path) else {
        eprintln!("SKIPPED a_distributions_profile_lets_a_shell_work: needs {path}");
        return;
    };
    let mut profile: Value = serde_json::from_slice(&text).unwrap();
    profile.as_object_mut().unwrap().remove("archMap");
    let script = "id -u | cat; mkdir /tmp/y; ls /tmp; mount -t tmpfs x /tmp 2>&1; true";
    let out = world.shell(script, |config| {
        config["linux"]["seccomp"] = profile;
        config["root"]["readonly"] = json!(false);
    });
    assert!(out.starts_with("0\ny\n"), "{out}");
}

/// Somebody who answers notified calls; ended on drop.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn agent(world: &World) -> Option<Agent> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/notify.py");
    let mut python = Command::new("python3");
    python.args([script.as_ref(), world.path("agent.sock").as_os_str()]).arg(world.path("told"));
    let Ok(child) = python.spawn() else {
        eprintln!("SKIPPED {}: needs python3", world.id);
        return None;
    };
    let agent = Agent(child);
    wait_for("the agent", || UnixStream::connect(world.path("agent.sock")).is_ok());
    Some(agent)
}

/// What the agent was told, but for the empty connection that looked for it.
fn told(world: &World) -> Vec<Value> {
    let text = std::fs::read_to_string(world.path("told")).unwrap();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn notify(world: &World, config: &mut Value, rules: Value) {
    let mut profile = open_profile(rules);
    profile["listenerPath"] = json!(world.path("agent.sock"));
    profile["listenerMetadata"] = json!("a note");
    profile["flags"] = json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]);
    config["linux"]["seccomp"] = profile;
}

#[test]
fn notified_calls_are_answered_by_the_listener() {
    let Some(world) = World::new("notify") else { return };
    let Some(_agent) = agent(&world) else { return };
    let mkdir = || json!([{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY" }]);
    for no_new_privileges in [true, false] {
        let out = world.shell("mkdir /tmp/x 2>&1; echo $?", |config| {
            notify(&world, config, mkdir());
            config["process"]["noNewPrivileges"] = json!(no_new_privileges);
            config["process"]["user"] = json!({ "uid": 7, "gid": 7 });
        });
        assert!(out.contains("No space left on device\n1"), "{out}");
    }
    world.config(|config| {
        notify(&world, config, mkdir());
        config["process"]["args"] = json!(["sleep", "1000"]);
    });
    let pid_file = world.path("pid");
    let flags = ["--pid-file", pid_file.to_str().unwrap()];
    assert_eq!(world.with_bundle("create", &flags).code, 0);
    let started = world.runtime(&["start", &world.id]);
    assert_eq!(started.code, 0, "{started:?}");
    let exec = world.runtime(&["exec", &world.id, "mkdir", "/tmp/x"]);
    assert!(exec.code == 1 && exec.err.contains("No space left on device"), "{exec:?}");
    let told = told(&world);
    let pid: i64 = std::fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    let of = |n: usize, status: &str| {
        let told: &Value = &told[n];
        assert_eq!(told["fds"], json!(["seccompFd"]), "{told}");
        assert_eq!((&told["metadata"], &told["state"]["id"]), (&json!("a note"), &json!(world.id)));
        assert_eq!((&told["state"]["status"], told["pid"].is_i64()), (&json!(status), true));
    };
    ["creating", "creating", "created", "running"].iter().enumerate().for_each(|(n, s)| of(n, s));
    assert_eq!((&told[2]["pid"], &told[2]["state"]["pid"]), (&json!(pid), &json!(pid)));
    assert_eq!(told[3]["state"]["pid"], pid);
    assert_ne!(told[3]["pid"], pid);
    assert_eq!(world.runtime(&["delete", "--force", &world.id]).code, 0);
    world.assert_nothing_is_left();
}

/// The listener is the program's, and is asked for after the hook, which has none.
#[test]
fn a_hook_in_the_container_has_a_filter_that_notifies() {
    let Some(world) = World::new("notifyhook") else { return };
    let Some(_agent) = agent(&world) else { return };
    world.script("cat /tmp/said; mkdir /tmp/x 2>&1", |config| {
        let script = "mkdir /tmp/x 2>/tmp/said; grep Seccomp: /proc/self/status >>/tmp/said";
        let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
        config["hooks"] = json!({ "startContainer": [hook] });
        let rules = json!([{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY" }]);
        notify(&world, config, rules);
        config["root"]["readonly"] = json!(false);
    });
    let ran = world.run();
    for said in ["Function not implemented", "Seccomp:\t2", "No space left on device"] {
        assert!(ran.out.contains(said), "no {said}: {ran:?}");
    }
    world.assert_nothing_is_left();
}

/// The exec itself, and with capabilities to be dropped afterwards the dropping, are notified, and
/// no call is made that nobody answers.
#[test]
fn every_call_may_be_notified() {
    let Some(world) = World::new("notifyall") else { return };
    let Some(_agent) = agent(&world) else { return };
    for no_new_privileges in [true, false] {
        let out = world.shell("echo works | cat", |config| {
            notify(&world, config, json!([]));
            config["linux"]["seccomp"]["defaultAction"] = json!("SCMP_ACT_NOTIFY");
            config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        });
        assert_eq!(out, "works\n");
    }
    world.assert_nothing_is_left();
}

/// The listener is sent by a second thread, for which there must be room and time.
#[test]
fn a_filter_with_notify_and_no_room_for_a_thread_says_what_is_missing() {
    let Some(world) = World::new("notifyroom") else { return };
    let Some(_agent) = agent(&world) else { return };
    let mkdir = || json!([{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }]);
    world.script("true", |config| {
        notify(&world, config, mkdir());
        config["linux"]["resources"]["pids"] = json!({ "limit": 1 });
    });
    let told = "raise linux.resources.pids.limit or RLIMIT_NPROC";
    let ran = world.run();
    assert!(ran.code == 1 && ran.err.contains(told), "{ran:?}");
    world.assert_nothing_is_left();
    assert_eq!(world.with_bundle("create", &[]).code, 0);
    let started = world.runtime(&["start", &world.id]);
    assert!(started.code == 1 && started.err.contains(told), "{started:?}");
    assert_eq!(world.runtime(&["delete", &world.id]).code, 0);
    world.script("true", |config| {
        notify(&world, config, mkdir());
        config["process"]["scheduler"] = json!({ "policy": "SCHED_FIFO", "priority": 1 });
    });
    let ran = world.run();
    let told = "process.scheduler is SCHED_FIFO, which SCMP_ACT_NOTIFY";
    assert!(ran.code == 1 && ran.err.contains(told), "{ran:?}");
    world.assert_nothing_is_left();
}

#[test]
fn without_anybody_who_answers_nothing_runs() {
    let Some(world) = World::new("notifynone") else { return };
    let mkdir = json!([{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }]);
    world.config(|config| {
        notify(&world, config, mkdir);
        config["process"]["args"] = json!(["sleep", "1000"]);
    });
    let ran = world.run();
    assert!(ran.code == 1 && ran.err.contains("send the seccomp listener to"), "{ran:?}");
    world.assert_nothing_is_left();
    assert_eq!(world.with_bundle("create", &[]).code, 0);
    let started = world.runtime(&["start", &world.id]);
    assert!(started.code == 1 && started.err.contains("no such file"), "{started:?}");
    assert_eq!(world.status(), "stopped");
    assert_eq!(world.runtime(&["delete", &world.id]).code, 0);
    world.assert_nothing_is_left();
}

#[test]
fn a_profile_that_cannot_be_had_is_refused_by_name() {
    let Some(world) = World::new("seccomp-refused") else { return };
    let rule = |action: &str| json!({ "names": ["read"], "action": action });
    let with_errno = json!({ "names": ["read"], "action": "SCMP_ACT_ALLOW", "errnoRet": 7 });
    for (profile, expected) in [
        (open_profile(json!([rule("SCMP_ACT_NOTIFY")])), "linux.seccomp.listenerPath is required"),
        (
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x" }),
            "linux.seccomp.listenerMetadata needs listenerPath",
        ),
        (open_profile(json!([with_errno])), "linux.seccomp.syscalls[0] has an errno"),
    ] {
        world.config(|config| config["linux"]["seccomp"] = profile);
        let ran = world.run();
        assert!(ran.code == 1 && ran.err.contains(expected), "expected {expected}: {ran:?}");
    }
    world.assert_nothing_is_left();
}
