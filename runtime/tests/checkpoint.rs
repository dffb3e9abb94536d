//! checkpoint and restore, by the program's command line. What needs a criu that works on this
//! kernel is skipped where there is none; how failures end is tested everywhere.

#![cfg(test)]

mod world;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use world::{World, wait_for};

/// Counts in a file of the container, for ever.
const COUNT: &str = "i=0; while :; do i=$((i + 1)); echo $i > /tmp/i; sleep 0.05; done";

fn writable(config: &mut Value) {
    config["root"]["readonly"] = json!(false);
}

/// A world with a criu that works, or `None` and a line that says why not.
fn with_criu(test: &str) -> Option<World> {
    let world = World::new(test)?;
    let check = Command::new("criu").arg("check").output();
    if !check.is_ok_and(|check| check.status.success()) {
        eprintln!("SKIPPED {test}: needs a criu that works on this kernel");
        return None;
    }
    Some(world)
}

/// Does a verb that a container outlives: nothing of it leads to files of the host.
fn quiet(world: &World, verb: &[&str], output: impl Into<Stdio>) {
    let log = world.path("log");
    let args = [&["--log", log.to_str().unwrap()], verb].concat();
    let mut command = world.command(&args);
    command.stdin(Stdio::null()).stdout(output).stderr(Stdio::null());
    let status = command.status().unwrap();
    let said = || fs::read_to_string(&log).unwrap_or_default();
    assert!(status.success(), "{verb:?}: {}", said());
}

fn start(world: &World, output: impl Into<Stdio>) {
    let bundle = world.bundle();
    quiet(world, &["run", "--detach", "--bundle", bundle.to_str().unwrap(), &world.id], output);
}

fn checkpoint(world: &World, images: &str, flags: &[&str]) {
    let images = world.path(images);
    let verb = ["checkpoint", "--image-path", images.to_str().unwrap()];
    quiet(world, &[&verb[..], flags, &[&world.id]].concat(), Stdio::null());
}

fn restore(world: &World, images: &str, output: impl Into<Stdio>) {
    let (bundle, images) = (world.bundle(), world.path(images));
    let paths = ["--bundle", bundle.to_str().unwrap(), "--image-path", images.to_str().unwrap()];
    quiet(world, &[&["restore", "--detach"], &paths[..], &[&world.id]].concat(), output);
}

/// How far the container has counted.
fn count(world: &World) -> u64 {
    let text = fs::read_to_string(world.rootfs().join("tmp/i")).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

fn end(world: &World) {
    assert_eq!(world.runtime(&["delete", "--force", &world.id]).code, 0);
    world.assert_nothing_is_left();
}

#[test]
fn a_container_goes_on_where_it_was() {
    let Some(world) = with_criu("a_container_goes_on_where_it_was") else { return };
    world.script(COUNT, writable);
    start(&world, Stdio::null());
    wait_for("a count", || count(&world) > 3);
    checkpoint(&world, "images", &[]);
    world.assert_nothing_is_left();
    let reached = count(&world);
    restore(&world, "images", Stdio::null());
    assert_eq!(world.status(), "running");
    wait_for("a higher count", || count(&world) > reached);
    let ran = world.runtime(&["exec", &world.id, "cat", "/proc/1/comm"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "sh\n"), "{ran:?}");
    assert!(!world.left_cgroups().is_empty(), "it has no cgroup of its own");
    end(&world);
}

#[test]
fn leave_running_leaves_it_running() {
    let Some(world) = with_criu("leave_running_leaves_it_running") else { return };
    world.script(COUNT, writable);
    start(&world, Stdio::null());
    wait_for("a count", || count(&world) > 3);
    checkpoint(&world, "images", &["--leave-running"]);
    let reached = count(&world);
    wait_for("a higher count", || count(&world) > reached);
    assert_eq!(world.status(), "running");
    end(&world);
}

#[test]
fn a_pre_dump_is_the_parent_of_the_checkpoint() {
    let Some(world) = with_criu("a_pre_dump_is_the_parent_of_the_checkpoint") else { return };
    world.script(COUNT, writable);
    start(&world, Stdio::null());
    wait_for("a count", || count(&world) > 3);
    checkpoint(&world, "first", &["--pre-dump"]);
    assert_eq!(world.status(), "running");
    checkpoint(&world, "second", &["--parent-path", "../first"]);
    assert!(world.path("second/parent").is_symlink());
    let reached = count(&world);
    restore(&world, "second", Stdio::null());
    wait_for("a higher count", || count(&world) > reached);
    end(&world);
}

/// A pipe of which the container has one end.
fn pipe() -> (BufReader<std::io::PipeReader>, std::io::PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    (BufReader::new(reader), writer)
}

fn next_number(from: &mut impl BufRead) -> u64 {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    line.trim().parse().unwrap_or_else(|_| panic!("{line:?}"))
}

#[test]
fn a_restored_container_writes_to_the_pipe_of_whoever_restores() {
    let test = "a_restored_container_writes_to_the_pipe_of_whoever_restores";
    let Some(world) = with_criu(test) else { return };
    let script = "i=0; while :; do i=$((i + 1)); echo $i; sleep 0.05; done";
    world.script(script, |_| {});
    let (mut reader, writer) = pipe();
    start(&world, writer);
    let reached = (0..3).map(|_| next_number(&mut reader)).max().unwrap();
    checkpoint(&world, "images", &[]);
    let (mut reader, writer) = pipe();
    restore(&world, "images", writer);
    assert!(next_number(&mut reader) > reached);
    end(&world);
}

/// Holds a network namespace; killed on drop.
struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_was_outside_is_outside_again() {
    let Some(world) = with_criu("what_was_outside_is_outside_again") else { return };
    let holder = Command::new("unshare").args(["--net", "sleep", "1000"]).spawn().unwrap();
    let holder = Holder(holder);
    let network = format!("/proc/{}/ns/net", holder.0.id());
    let of = |path: &str| fs::read_link(path).unwrap();
    wait_for("a network namespace", || of(&network) != of("/proc/self/ns/net"));
    let data = world.path("data");
    fs::create_dir(&data).unwrap();
    world.script("while :; do echo x >> /data/x; sleep 0.05; done", |config| {
        let source = data.to_str().unwrap();
        let options = json!(["rbind", "rw"]);
        world::push(
            &mut config["mounts"],
            json!({ "destination": "/data", "type": "bind", "source": source, "options": options }),
        );
        for namespace in config["linux"]["namespaces"].as_array_mut().unwrap() {
            if namespace["type"] == "network" {
                namespace["path"] = json!(network);
            }
        }
    });
    let length = || fs::metadata(data.join("x")).map_or(0, |metadata| metadata.len());
    start(&world, Stdio::null());
    wait_for("data", || length() > 0);
    checkpoint(&world, "images", &[]);
    let reached = length();
    restore(&world, "images", Stdio::null());
    wait_for("more data", || length() > reached);
    let ran = world.runtime(&["exec", &world.id, "readlink", "/proc/1/ns/net"]);
    assert_eq!(Path::new(ran.out.trim()), of(&network), "{ran:?}");
    end(&world);
}

#[test]
fn a_restore_in_the_foreground_gives_the_exit_code() {
    let Some(world) = with_criu("a_restore_in_the_foreground_gives_the_exit_code") else { return };
    world.script("until test -e /tmp/go; do sleep 0.05; done; exit 7", |_| {});
    start(&world, Stdio::null());
    checkpoint(&world, "images", &[]);
    fs::write(world.rootfs().join("tmp/go"), "").unwrap();
    let (bundle, images) = (world.bundle(), world.path("images"));
    let paths = ["--bundle", bundle.to_str().unwrap(), "--image-path", images.to_str().unwrap()];
    let mut command = world.command(&[&["restore"], &paths[..], &[&world.id]].concat());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    assert_eq!(command.status().unwrap().code(), Some(7));
    world.assert_nothing_is_left();
}

/// A program in criu's place.
fn fake_criu(world: &World, script: &str) -> String {
    let path = world.path("criu");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_checkpoint_that_fails_leaves_the_container_running() {
    let Some(world) = World::new("a_checkpoint_that_fails_leaves_the_container_running") else {
        return;
    };
    world.script(COUNT, writable);
    start(&world, Stdio::null());
    let images = world.path("images");
    let failing = fake_criu(&world, "exit 1");
    let verb = ["checkpoint", "--image-path", images.to_str().unwrap(), &world.id];
    for (criu, said) in [(failing.as_str(), "criu ended without"), ("/none", "install criu")] {
        let ran = world.runtime(&[&["--criu", criu], &verb[..]].concat());
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.err.contains(said), "{ran:?}");
        assert_eq!(world.status(), "running");
    }
    end(&world);
}

#[test]
fn a_restore_that_fails_leaves_nothing() {
    let Some(world) = World::new("a_restore_that_fails_leaves_nothing") else { return };
    let images = world.path("images");
    fs::create_dir(&images).unwrap();
    fs::write(images.join("descriptors.json"), "[\"/dev/null\",\"pipe:[1]\",\"\"]").unwrap();
    let criu = fake_criu(&world, "exit 1");
    let restore = ["--criu", &criu, "restore", "--image-path", images.to_str().unwrap()];
    let bundle = world.bundle();
    let rest = ["--bundle", bundle.to_str().unwrap(), &world.id];
    let ran = world.runtime(&[&restore[..], &rest].concat());
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("criu ended without an answer"), "{ran:?}");
    world.assert_nothing_is_left();
}

#[test]
fn only_what_runs_can_be_checkpointed() {
    let Some(world) = World::new("only_what_runs_can_be_checkpointed") else { return };
    assert_eq!(world.with_bundle("create", &[]).code, 0);
    let images = world.path("images");
    let ran = world.runtime(&["checkpoint", "--image-path", images.to_str().unwrap(), &world.id]);
    assert!(ran.err.contains("cannot checkpoint a container that has been created"), "{ran:?}");
    assert!(!images.exists());
    end(&world);
}

#[test]
fn what_criu_cannot_restore_into_is_refused_by_name() {
    let Some(world) = World::new("what_criu_cannot_restore_into_is_refused_by_name") else {
        return;
    };
    world.config(|config: &mut Value| {
        let own = json!({ "type": "time", "path": "/proc/self/ns/time" });
        world::push(&mut config["linux"]["namespaces"], own);
    });
    let ran = world.with_bundle("restore", &[]);
    assert!(ran.err.contains("cannot restore into a time namespace that exists"), "{ran:?}");
    world.assert_nothing_is_left();
}
