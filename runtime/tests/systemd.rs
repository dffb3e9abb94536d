//! The systemd driver, where systemd runs: scopes over D-Bus.

#![cfg(test)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use world::World;

mod world;

fn is_booted_by_systemd() -> bool {
    std::fs::read_to_string("/proc/1/comm").is_ok_and(|name| name == "systemd\n")
}

/// A world on a host that systemd has started.
fn world(test: &str) -> Option<World> {
    if !is_booted_by_systemd() {
        eprintln!("SKIPPED {test}: needs systemd as process 1");
        return None;
    }
    World::new(test)
}

fn systemctl(arguments: &[&str]) -> String {
    let output = Command::new("systemctl").args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Runs the program with the systemd driver.
fn runtime(world: &World, words: &[&str]) -> world::Ran {
    let mut all = vec!["--systemd-cgroup"];
    all.extend(words);
    world.runtime(&all)
}

fn run(world: &World) -> world::Ran {
    let bundle = world.bundle();
    runtime(world, &["run", "--detach", "--bundle", bundle.to_str().unwrap(), &world.id])
}

fn sleeping(world: &World, change: impl FnOnce(&mut Value)) {
    world.config(|config| {
        config["process"]["args"] = json!(["sleep", "1000"]);
        change(config);
    });
}

#[test]
fn a_container_is_a_scope_with_its_limits() {
    let Some(world) = world("systemd-scope") else { return };
    let slice = format!("rt{}-a.slice", std::process::id());
    sleeping(&world, |config| {
        config["linux"]["cgroupsPath"] = json!(format!("{slice}:rt:{}", world.id));
        config["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
        config["linux"]["resources"]["pids"] = json!({"limit": 20});
        config["linux"]["resources"]["cpu"] = json!({"quota": 50_000, "period": 100_000});
        config["annotations"] = json!({
            "org.systemd.property.TimeoutStopSec": "1.5",
            "org.systemd.property.CollectMode": "'inactive-or-failed'",
            "org.systemd.property.Documentation": "['man:a(1)', 'man:b(1)']",
        });
    });
    let ran = run(&world);
    assert_eq!(ran.code, 0, "{ran:?}");
    let unit = format!("rt-{}.scope", world.id);
    let property = |name| systemctl(&["show", "--value", "--property", name, &unit]);
    assert_eq!(property("ActiveState"), "active");
    assert_eq!(property("Slice"), slice);
    assert_eq!(property("MemoryMax"), (64 << 20).to_string());
    assert_eq!(property("TasksMax"), "20");
    assert_eq!(property("CPUQuotaPerSecUSec"), "500ms");
    // Zeroes follow, as many as this systemd likes.
    assert!(property("TimeoutStopUSec").starts_with("1.500"), "{}", property("TimeoutStopUSec"));
    assert_eq!(property("CollectMode"), "inactive-or-failed");
    assert_eq!(property("Documentation").replace('"', ""), "man:a(1) man:b(1)");
    let group = world.runtime(&["exec", &world.id, "cat", "/proc/self/cgroup"]).out;
    assert!(group.contains(&format!("/{slice}/{unit}")), "{group}");
    let file = |name: &str| {
        let top = slice.replace("-a.slice", ".slice");
        let path = PathBuf::from("/sys/fs/cgroup").join(top).join(&slice).join(&unit).join(name);
        std::fs::read_to_string(&path).unwrap().trim().to_owned()
    };
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        assert_eq!(file("memory.max"), (64 << 20).to_string());
        assert_eq!(file("cpu.max"), "50000 100000");
    }
    let updated = runtime(&world, &["update", "--memory", "128m", &world.id]);
    assert_eq!(updated.code, 0, "{updated:?}");
    assert_eq!(property("MemoryMax"), (128 << 20).to_string());
    systemctl(&["daemon-reload"]);
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        assert_eq!(file("memory.max"), (128 << 20).to_string());
    }
    assert_eq!(runtime(&world, &["delete", "--force", &world.id]).code, 0);
    assert_ne!(property("ActiveState"), "active");
    world.assert_nothing_is_left();
    systemctl(&["stop", &slice]);
}

/// systemd starts a scope there, whose process would stand still, and with it whoever waits for it.
#[test]
fn a_slice_that_is_frozen_takes_no_container() {
    let Some(world) = world("systemd-frozen") else { return };
    let slice = format!("rtf{}.slice", std::process::id());
    sleeping(&world, |config| {
        config["linux"]["cgroupsPath"] = json!(format!("{slice}:rt:{}", world.id));
    });
    systemctl(&["start", &slice]);
    let (v1, v2) = (Path::new("/sys/fs/cgroup/freezer"), Path::new("/sys/fs/cgroup"));
    let (file, still, moving) = match v1.exists() {
        true => (v1.join(&slice).join("freezer.state"), "FROZEN", "THAWED"),
        false => (v2.join(&slice).join("cgroup.freeze"), "1", "0"),
    };
    drop(std::fs::create_dir(file.parent().unwrap()));
    std::fs::write(&file, still).unwrap();
    let ran = run(&world);
    std::fs::write(&file, moving).unwrap();
    assert!(ran.code == 1 && ran.err.contains("cgroup unexpectedly frozen"), "{ran:?}");
    world.assert_nothing_is_left();
    let ran = run(&world);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(runtime(&world, &["delete", "--force", &world.id]).code, 0);
    systemctl(&["stop", &slice]);
    drop(std::fs::remove_dir(file.parent().unwrap()));
    world.assert_nothing_is_left();
}

#[test]
fn the_same_id_can_be_used_again() {
    let Some(world) = world("systemd-again") else { return };
    sleeping(&world, |_| {});
    for _ in 0..3 {
        let ran = run(&world);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(runtime(&world, &["kill", &world.id, "KILL"]).code, 0);
        world.await_status("stopped");
        let deleted = runtime(&world, &["delete", &world.id]);
        assert_eq!(deleted.code, 0, "{deleted:?}");
    }
    let unit = format!("loadline-{}.scope", world.id);
    assert_eq!(systemctl(&["show", "--value", "--property", "LoadState", &unit]), "not-found");
}

/// systemd removes the group of a scope when its last process has ended, which is at the same time
/// as `run` does: whoever comes second finds nothing, and that is fine.
#[test]
fn a_run_whose_scope_systemd_removes_too_ends_well() {
    const RUNS: usize = 8;
    let Some(world) = world("systemd-race") else { return };
    world.config(|config| config["process"]["args"] = json!(["true"]));
    let bundle = world.bundle();
    for round in 0..RUNS {
        let ran = runtime(&world, &["run", "--bundle", bundle.to_str().unwrap(), &world.id]);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "round {round}: {ran:?}");
        assert_eq!(world.left_cgroups(), Vec::<String>::new(), "round {round}");
    }
    world.assert_nothing_is_left();
}

/// By the user's own manager, which has the controllers that it was given.
#[test]
fn an_ordinary_users_container_is_a_scope_of_the_users_manager() {
    const NOBODY: u32 = 65534;
    let Some(world) = world("systemd-user") else { return };
    let skip = |what: &str| eprintln!("SKIPPED {}: needs {what}", world.id);
    if !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        return skip("cgroup v2");
    }
    let manager = format!("user@{NOBODY}.service");
    let started = Command::new("systemctl").args(["start", &manager]).output().unwrap();
    let runtime_dir = PathBuf::from(format!("/run/user/{NOBODY}"));
    if !runtime_dir.join("systemd/private").exists() {
        eprintln!("systemctl start {manager}: {started:?}");
        return skip("a systemd that manages users (logind)");
    }
    assert!(started.status.success(), "systemctl start {manager}: {started:?}");
    world::copy_program(env!("CARGO_BIN_EXE_loadline-runtime"), &world.path("runtime"));
    let as_user = |words: &[&str]| {
        let output = Command::new("setpriv")
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all"])
            .arg(world.path("runtime"))
            .arg("--systemd-cgroup")
            .args(words)
            .env("XDG_RUNTIME_DIR", &runtime_dir)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        world::Ran { code: output.status.code().unwrap_or(255), out: world::text(&output), err }
    };
    let bundle = world.bundle();
    let config = bundle.join("config.json");
    std::fs::remove_file(&config).unwrap();
    let owned = Command::new("chown").args(["-R", "65534:65534"]).arg(world.path("")).status();
    assert!(owned.unwrap().success());
    let spec = as_user(&["spec", "--rootless", "--bundle", bundle.to_str().unwrap()]);
    assert_eq!(spec.code, 0, "{spec:?}");
    let mut written: Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
    written["process"]["terminal"] = json!(false);
    written["process"]["args"] = json!(["cat", "/proc/self/cgroup"]);
    written["linux"]["resources"] = json!({ "memory": { "limit": 64 << 20 } });
    std::fs::write(&config, written.to_string()).unwrap();
    let ran = as_user(&["run", "--bundle", bundle.to_str().unwrap(), &world.id]);
    let expected = format!("/{manager}/user.slice/loadline-{}.scope", world.id);
    if ran.code != 0 || !ran.out.contains(&expected) || !ran.err.is_empty() {
        panic!("no {expected} in {ran:?}\n{}", journal(&manager));
    }
    assert_eq!(world.left_cgroups(), Vec::<String>::new());
    systemctl(&["stop", &manager]);
}

/// What systemd and a user's manager said: what a failure of one of them is understood by.
fn journal(manager: &str) -> String {
    let wanted = ["--no-pager", "--lines", "60", "--unit", manager, "--unit", "dbus.service"];
    let seen = Command::new("journalctl").args(wanted).output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&seen.stdout), String::from_utf8_lossy(&seen.stderr))
}

#[test]
fn a_path_that_is_no_scope_and_a_property_that_is_none_are_refused() {
    let Some(world) = world("systemd-refused") else { return };
    sleeping(&world, |config| config["linux"]["cgroupsPath"] = json!("/a/b"));
    let ran = run(&world);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("slice:prefix:name"), "{ran:?}");
    sleeping(&world, |config| {
        config["annotations"] = json!({ "org.systemd.property.TimeoutStopSec": "soon" });
    });
    let ran = run(&world);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("annotations.org.systemd.property.TimeoutStopSec: "), "{ran:?}");
    world.assert_nothing_is_left();
}

#[test]
fn without_systemd_the_driver_says_so() {
    if is_booted_by_systemd() {
        eprintln!("SKIPPED without_systemd_the_driver_says_so: needs a host without systemd");
        return;
    }
    let Some(world) = World::new("systemd-none") else { return };
    sleeping(&world, |_| {});
    let ran = run(&world);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("no D-Bus socket of systemd can be reached"), "{ran:?}");
    world.assert_nothing_is_left();
}
