//! systemd's readiness protocol (sd_notify(3)), with a service manager that the tests are.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod world;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::json;
use world::{PATIENCE, World, wait_for};

/// Says what it was given, and stays until it is told to end.
const PROGRAM: &str = "echo $NOTIFY_SOCKET >/tmp/said; until test -e /tmp/end; do sleep 0.1; done";

struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn of(world: &World) -> Manager {
        let path = world.path("manager");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Manager { socket, path }
    }

    fn hear(&self) -> String {
        let mut bytes = [0; 256];
        let length = self.socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    /// Starts a verb with `NOTIFY_SOCKET`.
    fn spawn(&self, world: &World, verb: &[&str]) -> Child {
        let mut command = world.command(verb);
        command.env("NOTIFY_SOCKET", &self.path).stdin(Stdio::null()).stdout(Stdio::null());
        command.arg(&world.id).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Starts `run` with these flags.
    fn run(&self, world: &World, flags: &[&str]) -> Child {
        let bundle = world.bundle();
        self.spawn(world, &[&["run", "--bundle", bundle.to_str().unwrap()], flags].concat())
    }

    fn create(&self, world: &World) {
        let bundle = world.bundle();
        let created = self.spawn(world, &["create", "--bundle", bundle.to_str().unwrap()]);
        // Its standard error is the container's, too, and open as long.
        assert!({ created }.wait().unwrap().success());
    }
}

fn world(test: &str) -> Option<World> {
    let world = World::new(test)?;
    world.script(PROGRAM, |config| config["root"]["readonly"] = json!(false));
    Some(world)
}

fn pid(world: &World) -> u64 {
    let state = world.runtime(&["state", &world.id]);
    serde_json::from_str::<serde_json::Value>(&state.out).unwrap()["pid"].as_u64().unwrap()
}

/// Says something from where the container is.
fn say(world: &World, text: &str) {
    wait_for("the program to run", || world.rootfs().join("tmp/said").exists());
    let path = format!("/proc/{}/root/run/notify/notify.sock", pid(world));
    UnixDatagram::unbound().unwrap().send_to(text.as_bytes(), path).unwrap();
}

fn end(world: &World) {
    assert_eq!(world.runtime(&["delete", "--force", &world.id]).code, 0);
    world.assert_nothing_is_left();
}

#[test]
fn start_returns_when_the_container_is_ready() {
    let Some(world) = world("readystart") else { return };
    let manager = Manager::of(&world);
    manager.create(&world);
    let mut start = manager.spawn(&world, &["start"]);
    say(&world, "STATUS=soon\nMAINPID=1\nREADY=0");
    assert!(start.try_wait().unwrap().is_none());
    say(&world, "STATUS=now\nREADY=1\nMAINPID=1");
    assert_eq!(manager.hear(), format!("READY=1\nMAINPID={}", pid(&world)));
    assert_eq!(manager.hear(), "BARRIER=1");
    assert!(start.wait().unwrap().success());
    let said = fs::read_to_string(world.rootfs().join("tmp/said")).unwrap();
    assert_eq!(said, "/run/notify/notify.sock\n");
    end(&world);
}

#[test]
fn other_verbs_work_while_a_start_awaits_its_container() {
    let Some(world) = world("readyothers") else { return };
    let manager = Manager::of(&world);
    manager.create(&world);
    let start = manager.spawn(&world, &["start"]);
    say(&world, "STATUS=soon");
    assert_eq!(world.runtime(&["kill", &world.id, "KILL"]).code, 0);
    let ended = start.wait_with_output().unwrap();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    end(&world);
    manager.socket.set_nonblocking(true).unwrap();
    assert!(manager.socket.recv(&mut [0; 8]).is_err(), "nobody was ready");
}

#[test]
fn a_detached_run_returns_when_the_container_is_ready() {
    let Some(world) = world("readydetached") else { return };
    let manager = Manager::of(&world);
    let mut run = manager.run(&world, &["--detach"]);
    say(&world, "READY=1");
    assert_eq!(manager.hear(), format!("READY=1\nMAINPID={}", pid(&world)));
    assert_eq!(manager.hear(), "BARRIER=1");
    assert!(run.wait().unwrap().success());
    assert_eq!(world.status(), "running");
    end(&world);
}

#[test]
fn a_run_in_the_foreground_is_the_main_process_itself() {
    let Some(world) = world("readyrun") else { return };
    let manager = Manager::of(&world);
    let mut run = manager.run(&world, &[]);
    for _ in 0..2 {
        say(&world, "READY=1");
    }
    assert_eq!(manager.hear(), format!("READY=1\nMAINPID={}", run.id()));
    fs::write(world.rootfs().join("tmp/end"), "").unwrap();
    assert!(run.wait().unwrap().success());
    manager.socket.set_nonblocking(true).unwrap();
    assert!(manager.socket.recv(&mut [0; 8]).is_err(), "told twice");
    world.assert_nothing_is_left();
}

#[test]
fn what_is_said_behind_the_word_holds_nobody_up() {
    let Some(world) = world("readymore") else { return };
    let manager = Manager::of(&world);
    let mut run = manager.run(&world, &[]);
    say(&world, "READY=1");
    assert_eq!(manager.hear(), format!("READY=1\nMAINPID={}", run.id()));
    // Many more than a queue holds.
    for _ in 0..1000 {
        say(&world, "WATCHDOG=1");
    }
    fs::write(world.rootfs().join("tmp/end"), "").unwrap();
    assert!(run.wait().unwrap().success());
    world.assert_nothing_is_left();
}

#[test]
fn a_word_before_the_end_counts() {
    let Some(world) = world("readyend") else { return };
    let manager = Manager::of(&world);
    for round in 0..20 {
        let mut run = manager.run(&world, &[]);
        let stop = |signal: &str| {
            let pid = run.id().to_string();
            assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        };
        wait_for("the program to run", || world.rootfs().join("tmp/said").exists());
        // What is heard, is heard late.
        stop("-STOP");
        let container = pid(&world);
        say(&world, "STATUS=soon");
        say(&world, "READY=1");
        fs::write(world.rootfs().join("tmp/end"), "").unwrap();
        wait_for("its end", || world.status() == "stopped" || !is_alive(container));
        stop("-CONT");
        assert!(run.wait().unwrap().success());
        assert_eq!(manager.hear(), format!("READY=1\nMAINPID={}", run.id()), "{round}");
        for mark in ["tmp/end", "tmp/said"] {
            fs::remove_file(world.rootfs().join(mark)).unwrap();
        }
    }
    world.assert_nothing_is_left();
}

fn is_alive(pid: u64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

#[test]
fn a_service_manager_that_hears_nothing_holds_no_signal_up() {
    let Some(world) = world("readydeaf") else { return };
    let manager = Manager::of(&world);
    let full = UnixDatagram::unbound().unwrap();
    full.set_nonblocking(true).unwrap();
    while full.send_to(b"full", &manager.path).is_ok() {}
    let mut run = manager.run(&world, &[]);
    say(&world, "READY=1");
    say(&world, "STATUS=on");
    assert_eq!(world.runtime(&["kill", &world.id, "KILL"]).code, 0);
    assert_eq!(run.wait().unwrap().code(), Some(137));
    world.assert_nothing_is_left();
}

#[test]
fn without_anybody_who_hears_a_container_runs_and_that_is_told() {
    let Some(world) = world("readynobody") else { return };
    let manager = Manager::of(&world);
    manager.create(&world);
    fs::remove_file(&manager.path).unwrap();
    let bundle = world.bundle();
    fs::write(world.rootfs().join("tmp/end"), "").unwrap();
    for verb in [&["start"][..], &["run", "-b", bundle.to_str().unwrap()]] {
        let ran = manager.spawn(&world, verb).wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        let why = format!("reach NOTIFY_SOCKET {}", manager.path.display());
        assert!(ran.status.success() && said.contains(&why), "{said}");
        assert!(said.contains("warning: nobody is told"), "{said}");
        assert_eq!(world.runtime(&["delete", "--force", &world.id]).code, 0);
    }
    world.assert_nothing_is_left();
}

#[test]
fn a_container_without_a_mount_namespace_has_no_socket_and_says_so() {
    let Some(world) = world("readyhost") else { return };
    let manager = Manager::of(&world);
    world.script("env", |config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "mount");
        config["mounts"] = json!([]);
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
    });
    let ran = manager.run(&world, &[]).wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.success() && said.contains("NOTIFY_SOCKET: not passed on"), "{said}");
    world.assert_nothing_is_left();
}
