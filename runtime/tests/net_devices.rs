//! `linux.netDevices`: interfaces that a container gets, from a network namespace of the test's.

#![cfg(test)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod world;

use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use world::{Ran, World};

const SETUP: &str = "ip link add v0 type veth peer name p0 && ip link set p0 up &&
    ip addr add 10.9.8.7/24 dev v0 && ip addr add fd00:9::7/64 dev v0 nodad &&
    ip link set v0 up && ip link add v1 type veth peer name p1 || exit 99";

fn world(test: &str, devices: Value, change: impl FnOnce(&mut Value)) -> Option<World> {
    let world = World::new(test)?;
    symlink("busybox", world.rootfs().join("bin/ip")).unwrap();
    world.script("ip addr show; sleep 0", |config| {
        config["linux"]["netDevices"] = devices;
        change(config);
    });
    Some(world)
}

/// Runs a container and then a script, both in a network namespace with two interfaces. `None`
/// (said on stderr) where none can be made.
fn run(world: &World, flags: &[&str], then: &str) -> Option<Ran> {
    let run = world.command(&["run", "-b", world.bundle().to_str().unwrap()]);
    let script = format!("{SETUP}; \"$@\"; code=$?; {then}; exit $code");
    let mut command = Command::new("unshare");
    command.args(["-n", "sh", "-c", &script, "sh"]).arg(run.get_program()).args(run.get_args());
    command.args(flags).arg(&world.id).stdin(Stdio::null());
    let output = command.output().unwrap();
    let code = output.status.code().unwrap_or(255);
    if code == 99 {
        let err = String::from_utf8_lossy(&output.stderr);
        eprintln!("SKIPPED {}: needs iproute2 and veth: {err}", world.id);
        return None;
    }
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    Some(Ran { code, out: world::text(&output), err })
}

#[test]
fn interfaces_arrive_with_their_addresses_and_other_names() {
    let devices = json!({ "v0": { "name": "web0" }, "v1": { "name": "eth%d" } });
    let Some(world) = world("netdev", devices, |_| {}) else { return };
    let Some(ran) = run(&world, &[], "ip -br link") else { return };
    assert_eq!(ran.code, 0, "{ran:?}");
    for part in ["inet 10.9.8.7/24", "inet6 fd00:9::7/64", "web0@", "eth0@", "web0"] {
        assert!(ran.out.contains(part), "expected {part}: {ran:?}");
    }
    let up = ran.out.lines().filter(|line| line.contains("web0@") || line.contains("eth0@"));
    assert!(up.clone().count() == 2 && { up }.all(|line| line.contains("UP")), "{ran:?}");
    // Virtual interfaces end with the namespace, and their peers with them.
    let after = ran.out.rsplit("lo ").next().unwrap();
    assert!(!after.contains("v0"), "{ran:?}");
    world.assert_nothing_is_left();
}

#[test]
fn a_step_that_fails_gives_the_interface_back() {
    let Some(world) = world("netback", json!({ "v0": { "name": "web0" } }), |_| {}) else { return };
    let plan = world.with_bundle("run", &["--dry-run"]).out;
    let last = plan.lines().rfind(|line| !line.is_empty()).unwrap().trim();
    let (number, _) = last.split_once(' ').unwrap();
    // The kernel tells the state of a link that is up a moment later.
    let shown = "until ip addr show v0 | grep -q 'state UP' || [ $((n += 1)) = 600 ]; do
        sleep 0.1; done; ip addr show v0";
    let Some(ran) = run(&world, &["--fail-step", number], shown) else { return };
    assert!(ran.code == 1 && ran.err.contains("failure injected by a test"), "{ran:?}");
    for part in ["v0@p0", "state UP", "inet 10.9.8.7/24", "inet6 fd00:9::7/64"] {
        assert!(ran.out.contains(part), "expected {part}: {ran:?}");
    }
    world.assert_nothing_is_left();
}

/// While the container was made, somebody else took the interface's name.
#[test]
fn an_interface_that_cannot_go_back_is_named() {
    let devices = json!({ "v0": { "name": "web0" } });
    let hook = |config: &mut Value| {
        let script = "ip link add v0 type veth peer name other; exit 3";
        let (args, env) = (json!(["sh", "-c", script]), json!(["PATH=/sbin:/usr/sbin:/bin"]));
        config["hooks"]["createRuntime"] = json!([{ "path": "/bin/sh", "args": args, "env": env }]);
    };
    let Some(world) = world("netlost", devices, hook) else { return };
    let Some(ran) = run(&world, &[], "true") else { return };
    let told = "[not undone: interface v0 is not back from the container, where it is web0: ";
    assert!(ran.code == 1 && ran.err.contains(told), "{ran:?}");
    assert!(ran.err.contains("exit status 3"), "{ran:?}");
    world.assert_nothing_is_left();
}

#[test]
fn a_name_that_is_taken_is_refused() {
    let Some(world) = world("nettaken", json!({ "v0": { "name": "lo" } }), |_| {}) else { return };
    let Some(ran) = run(&world, &[], "ip -br addr show v0") else { return };
    assert!(ran.code == 1 && ran.err.contains("move interface v0 in as lo"), "{ran:?}");
    assert!(ran.err.contains("has an interface of this name"), "{ran:?}");
    assert!(ran.out.contains("10.9.8.7/24"), "{ran:?}");
    let other = json!({ "nosuch": {} });
    let Some(world) = self::world("netnone", other, |_| {}) else { return };
    let Some(ran) = run(&world, &[], "true") else { return };
    assert!(ran.err.contains("has no such interface"), "{ran:?}");
    world.assert_nothing_is_left();
}

#[test]
fn what_cannot_be_moved_is_refused_by_name() {
    for (device, expected) in [
        (json!({ "a b": {} }), "linux.netDevices.a b is no name of an interface"),
        (json!({ "v0": { "name": "%d%d" } }), "linux.netDevices.v0.name is no name"),
        (json!({ "v0": {} }), "linux.netDevices needs a network namespace"),
    ] {
        let change = |config: &mut Value| {
            if expected.contains("namespace") {
                let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
                namespaces.retain(|namespace| namespace["type"] != "network");
            }
        };
        let Some(world) = world("netrefused", device, change) else { return };
        let ran = world.run();
        assert!(ran.code == 1 && ran.err.contains(expected), "expected {expected}: {ran:?}");
    }
}
