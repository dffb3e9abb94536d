//! An ordinary user runs containers, without any right to cgroups.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod world;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use world::{Ran, World, wait_for};

/// The user `nobody` of every Linux.
const NOBODY: u32 = 65534;

/// A world whose files are nobody's, with a copy of the program that nobody can reach.
fn nobody_s_world(test: &str) -> Option<World> {
    let world = World::new(test)?;
    if Command::new("setpriv").arg("--version").output().is_err() {
        eprintln!("SKIPPED {test}: needs setpriv(1)");
        return None;
    }
    let limit = fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap_or_default();
    if limit.trim() == "0" {
        eprintln!("SKIPPED {test}: needs user namespaces (sysctl user.max_user_namespaces)");
        return None;
    }
    world::copy_program(env!("CARGO_BIN_EXE_loadline-runtime"), &world.path("runtime"));
    let top = world.path("");
    fs::set_permissions(&top, fs::Permissions::from_mode(0o755)).unwrap();
    give_away(&top);
    Some(world)
}

fn give_away(path: &Path) {
    std::os::unix::fs::lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path).unwrap() {
            give_away(&entry.unwrap().path());
        }
    }
}

fn as_nobody(world: &World, args: &[&str]) -> Ran {
    let output = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all"])
        .arg(world.path("runtime"))
        .args(args)
        .env("XDG_RUNTIME_DIR", world.path(""))
        .output()
        .unwrap();
    Ran {
        code: output.status.code().unwrap_or(255),
        out: world::text(&output),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The configuration that `spec --rootless` writes, without a terminal, changed.
fn configure(world: &World, change: impl FnOnce(&mut Value)) {
    let path = world.bundle().join("config.json");
    fs::remove_file(&path).unwrap();
    let bundle = world.bundle();
    let ran = as_nobody(world, &["spec", "--rootless", "--bundle", bundle.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["process"]["terminal"] = json!(false);
    change(&mut config);
    fs::write(&path, config.to_string()).unwrap();
    chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
}

#[test]
fn an_ordinary_user_is_root_of_its_container_only() {
    let Some(world) = nobody_s_world("rootless") else { return };
    configure(&world, |config| {
        config["process"]["args"] = json!(["sh", "-c", "id -u; cat /proc/self/uid_map"]);
    });
    let bundle = world.bundle();
    let ran = as_nobody(&world, &["run", "--bundle", bundle.to_str().unwrap(), &world.id]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let words: Vec<_> = ran.out.split_whitespace().collect();
    assert_eq!(words, ["0", "0", "65534", "1"]);
    world.assert_nothing_is_left();
}

/// CVE-2023-25809: parts of the host's cgroups may be the user's own.
#[test]
fn an_ordinary_user_s_container_sees_cgroups_read_only() {
    let Some(world) = nobody_s_world("rootcg") else { return };
    let bundle = world.bundle();
    for own_mount in [false, true] {
        configure(&world, |config| {
            config["process"]["args"] = json!(["grep", " /sys/fs/cgroup", "/proc/self/mountinfo"]);
            if own_mount {
                let mount = json!({
                    "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                    "options": ["nosuid", "noexec", "nodev", "ro"],
                });
                world::push(&mut config["mounts"], mount);
            }
        });
        let ran = as_nobody(&world, &["run", "--bundle", bundle.to_str().unwrap(), &world.id]);
        for line in ran.out.lines() {
            let attributes = line.split(' ').nth(5).unwrap_or_default();
            assert!(attributes.split(',').any(|word| word == "ro"), "{line}");
        }
    }
    world.assert_nothing_is_left();
}

#[test]
fn an_ordinary_user_s_container_lives_and_is_deleted() {
    lives_and_is_deleted("rootlife", |_| {});
}

/// Neither a cgroup nor a pid namespace tells what belongs to it, but its first process does.
#[test]
fn a_container_without_cgroup_and_pid_namespace_is_killed() {
    lives_and_is_deleted("rootpids", |config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "pid");
        // Only the owner of a pid namespace may mount a procfs of it.
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["type"] != "proc");
    });
}

fn lives_and_is_deleted(test: &str, change: impl FnOnce(&mut Value)) {
    let Some(world) = nobody_s_world(test) else { return };
    configure(&world, |config| {
        config["process"]["args"] = json!(["sleep", "1000"]);
        change(config);
    });
    let bundle = world.bundle();
    let id = world.id.as_str();
    // Detached by `create` and `start`, so that no pipe of the test is kept open: to a file.
    let line = format!(
        "{0} create --bundle {1} {id} </dev/null >/dev/null 2>&1 && {0} start {id}",
        world.path("runtime").display(),
        bundle.display(),
    );
    let status = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "sh", "-c", &line])
        .env("XDG_RUNTIME_DIR", world.path(""))
        .status();
    assert!(status.unwrap().success());
    let state = |world: &World| as_nobody(world, &["state", id]).out;
    assert!(state(&world).contains("running"), "{}", state(&world));
    assert_eq!(as_nobody(&world, &["kill", id, "KILL"]).code, 0);
    wait_for("stopped", || state(&world).contains("stopped"));
    assert_eq!(as_nobody(&world, &["delete", id]).code, 0);
    world.assert_nothing_is_left();
}

#[test]
fn an_ordinary_user_without_a_runtime_folder_is_told_what_to_set() {
    let Some(world) = nobody_s_world("runtime-dir") else { return };
    configure(&world, |_| {});
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all"]);
    command.arg(world.path("runtime")).args(["run", "-b", world.bundle().to_str().unwrap(), "x"]);
    let output = command.env_remove("XDG_RUNTIME_DIR").output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    let told = "make the folder of records /run/loadline-runtime [XDG_RUNTIME_DIR is not set: ";
    assert!(err.contains(told) && output.status.code() == Some(1), "{output:?}");
}

#[test]
fn an_ordinary_user_without_a_user_namespace_is_told_so() {
    let Some(world) = nobody_s_world("rootno") else { return };
    configure(&world, |config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "user");
        config["linux"].as_object_mut().unwrap().remove("uidMappings");
        config["linux"].as_object_mut().unwrap().remove("gidMappings");
    });
    let bundle = world.bundle();
    let ran = as_nobody(&world, &["run", "--bundle", bundle.to_str().unwrap(), &world.id]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("needs a user namespace when an ordinary user"), "{ran:?}");
    world.assert_nothing_is_left();
}

/// A file in the place of the folder, so that the error of `list` names it.
#[test]
fn root_of_a_user_namespace_keeps_records_in_the_session_s_folder() {
    let Some(world) = nobody_s_world("rootlessfolder") else { return };
    fs::write(world.path("loadline-runtime"), "").unwrap();
    let list = |user: &str| {
        let output = Command::new("setpriv")
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all"])
            .args(["unshare", "--user", "--map-root-user"])
            .arg(world.path("runtime"))
            .arg("list")
            .env("XDG_RUNTIME_DIR", world.path(""))
            .env("USER", user)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let session = world.path("loadline-runtime").display().to_string();
    let (ordinary, root) = (list("somebody"), list("root"));
    assert!(ordinary.contains(&session), "{ordinary}");
    assert!(!root.contains(&session), "{root}");
}
