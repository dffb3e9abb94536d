//! Seccomp on the real kernel: filters that hold in containers.

#![cfg(test)]

use serde_json::{Value, json};

use world::World;

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

#[test]
fn a_profile_that_cannot_be_had_is_refused_by_name() {
    let Some(world) = World::new("seccomp-refused") else { return };
    world.config(|config| {
        config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_NOTIFY"}]});
    });
    let ran = world.run();
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("linux.seccomp.syscalls[0]"), "{ran:?}");
    world.assert_nothing_is_left();
}
