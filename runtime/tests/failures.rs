//! A failure at any step is named, and nothing is left of the steps before it.

#![cfg(test)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod world;

use std::fs;
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use serde_json::{Value, json};
use world::{Ran, World, push};

/// A configuration that needs nearly every kind of step.
fn rich(world: &World, config: &mut Value) {
    config["process"]["oomScoreAdj"] = json!(100);
    config["process"]["user"] = json!({ "uid": 1000, "gid": 1000, "additionalGids": [5] });
    config["process"]["cwd"] = json!("/tmp");
    config["process"]["ioPriority"] = json!({ "class": "IOPRIO_CLASS_BE", "priority": 4 });
    config["hostname"] = json!("rich");
    config["domainname"] = json!("rich.example");
    let linux = &mut config["linux"];
    let namespaces = &mut linux["namespaces"];
    push(namespaces, json!({ "type": "cgroup" }));
    push(namespaces, json!({ "type": "user" }));
    push(namespaces, json!({ "type": "time" }));
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
    linux["uidMappings"] = map.clone();
    linux["gidMappings"] = map;
    linux["timeOffsets"] = json!({ "boottime": { "secs": 100 } });
    linux["sysctl"] = json!({ "net.ipv4.ip_forward": "1" });
    linux["resources"]["memory"] = json!({ "limit": 64 * 1024 * 1024 });
    linux["resources"]["pids"] = json!({ "limit": 100 });
    linux["personality"] = json!({ "domain": "LINUX" });
    linux["rootfsPropagation"] = json!("private");
    let host = world.path("host");
    fs::create_dir_all(&host).unwrap();
    push(
        &mut config["mounts"],
        json!({
            "destination": "/data", "type": "bind", "source": host,
            "options": ["rbind", "rro", "nosuid", "rprivate"],
        }),
    );
    let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", "cat >/dev/null"] }]);
    config["hooks"] = json!({
        "prestart": hook, "createRuntime": hook, "createContainer": hook,
        "startContainer": hook, "poststart": hook, "poststop": hook,
    });
}

/// The same for root: nodes of devices, a terminal, a filter, an interface.
fn rich_for_root(world: &World, config: &mut Value) {
    rich(world, config);
    config["process"]["terminal"] = json!(true);
    let limit = |name: &str, n: u64| json!({ "type": name, "soft": n, "hard": n });
    config["process"]["rlimits"] = json!([limit("RLIMIT_NOFILE", 40), limit("RLIMIT_CORE", 0)]);
    config["root"]["readonly"] = json!(true);
    let linux = &mut config["linux"];
    linux["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != "user");
    linux.as_object_mut().unwrap().remove("uidMappings");
    linux.as_object_mut().unwrap().remove("gidMappings");
    linux["netDevices"] = json!({ "v0": { "name": "web0" } });
    linux["devices"] = json!([{ "path": "/dev/pipe", "type": "p", "uid": 1, "gid": 2 }]);
    linux["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        { "names": ["swapon"], "action": "SCMP_ACT_KILL_PROCESS" }]});
    linux["rootfsPropagation"] = json!("rshared");
    push(
        &mut config["mounts"],
        json!({ "destination": "/etc", "type": "tmpfs", "options": ["tmpcopyup", "size=1m"] }),
    );
    push(
        &mut config["mounts"],
        json!({ "destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["ro"] }),
    );
}

/// Runs a verb of the bundle in a network namespace with an interface, which must be there
/// afterwards, as it was, when the verb fails.
fn in_network(world: &World, flags: &[&str]) -> Ran {
    let run = world.command(&["run", "-b", world.bundle().to_str().unwrap()]);
    let script = "ip link add v0 type veth peer name p0 && ip addr add 10.9.8.7/24 dev v0 &&
        ip link set v0 up || exit 99; \"$@\"; code=$?; [ $code = 0 ] ||
        ip -o addr show dev v0 up | grep -q 10.9.8.7/24 || exit 98; exit $code";
    let mut command = Command::new("unshare");
    command.args(["-n", "sh", "-c", script, "sh"]).arg(run.get_program()).args(run.get_args());
    let output = command.args(flags).arg(&world.id).stdin(Stdio::null()).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    Ran { code: output.status.code().unwrap_or(255), out: world::text(&output), err }
}

/// Takes what is sent to a socket, and lets it go.
fn sink(path: &Path) {
    let listener = UnixListener::bind(path).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.unwrap().read(&mut [0; 64]);
        }
    });
}

fn steps(plan: &str) -> Vec<(&str, &str)> {
    let lines = plan.lines().filter_map(|line| line.trim_start().split_once(' '));
    lines.filter(|(number, _)| number.parse::<usize>().is_ok()).collect()
}

fn assert_named(ran: &Ran, number: &str, step: &str) {
    // Of the program the name alone: its arguments are nobody's business.
    let told = match step.split(' ').collect::<Vec<&str>>()[..] {
        ["exec", program, ..] => format!("exec {program}"),
        _ => step.to_owned(),
    };
    let named = format!("step {number} ({told})");
    assert!(ran.err.contains(&named), "expected {named:?} in {ran:?}");
    assert!(ran.err.contains("failure injected by a test"), "{ran:?}");
}

#[test]
fn a_failing_nth_step_is_named_and_leaves_nothing() {
    let Some(world) = World::new("nth") else { return };
    world.script("true", |config| rich(&world, config));
    // The owner of the tree is the container's root, which may then make mount points in it.
    let chown = Command::new("chown")
        .args(["-R", "100000:100000", world.bundle().to_str().unwrap()])
        .status();
    assert!(chown.unwrap().success());
    let ran = world.run();
    assert_eq!(ran.code, 0, "{ran:?}");
    let plan = world.with_bundle("run", &["--dry-run"]).out;
    let steps = steps(&plan);
    assert!(steps.len() > 60, "{plan}");
    for (number, step) in steps {
        let ran = world.with_bundle("run", &["--fail-step", number]);
        assert_eq!(ran.code, 1, "step {number} ({step}): {ran:?}");
        assert_named(&ran, number, step);
        world.assert_nothing_is_left();
    }
}

#[test]
fn a_failing_nth_step_of_a_plain_run_leaves_no_file_with_its_pid() {
    let Some(world) = World::new("nthplain") else { return };
    world.script("true", |_| {});
    let pid_file = world.path("pid");
    let flags = ["--pid-file", pid_file.to_str().unwrap()];
    let plan = world.with_bundle("run", &[&flags[..], &["--dry-run"]].concat()).out;
    for (number, step) in steps(&plan) {
        let ran = world.with_bundle("run", &[&flags[..], &["--fail-step", number]].concat());
        assert_eq!(ran.code, 1, "step {number} ({step}): {ran:?}");
        assert_named(&ran, number, step);
        assert!(!pid_file.exists(), "step {number} ({step})");
        world.assert_nothing_is_left();
    }
    assert_eq!(world.with_bundle("run", &flags).code, 0);
    assert!(pid_file.exists());
}

#[test]
fn a_failing_nth_step_for_root_is_named_and_leaves_nothing() {
    let Some(world) = World::new("nthroot") else { return };
    world.script("true", |config| rich_for_root(&world, config));
    let (console, pidfd) = (world.path("console.sock"), world.path("pidfd.sock"));
    sink(&console);
    sink(&pidfd);
    let flags = ["--detach", "--console-socket", console.to_str().unwrap(), "--pidfd-socket"];
    let flags = [&flags[..], &[pidfd.to_str().unwrap()]].concat();
    let ran = in_network(&world, &flags);
    if ran.code == 99 {
        eprintln!("SKIPPED nthroot: needs iproute2 and veth: {}", ran.err);
        return;
    }
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(world.runtime(&["delete", "--force", &world.id]).code, 0);
    let plan = world.with_bundle("run", &[&flags[..], &["--dry-run"]].concat()).out;
    let steps = steps(&plan);
    for kind in ["move interface", "send the first", "open terminal", "make node", "tmpcopyup"] {
        assert!(steps.iter().any(|(_, step)| step.contains(kind)), "{kind}: {plan}");
    }
    for (number, step) in steps {
        let ran = in_network(&world, &[&flags[..], &["--fail-step", number]].concat());
        assert_eq!(ran.code, 1, "step {number} ({step}): {ran:?}");
        assert_named(&ran, number, step);
        world.assert_nothing_is_left();
    }
}

#[test]
fn a_failing_nth_step_of_exec_is_named_and_leaves_the_container() {
    let Some(world) = World::new("nthexec") else { return };
    world.script("sleep 1000", |config| {
        config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
        config["process"]["execCPUAffinity"] = json!({ "initial": "0" });
    });
    assert_eq!(world.with_bundle("run", &["--detach"]).code, 0);
    let exec = |number: &str| world.runtime(&["exec", "--fail-step", number, &world.id, "true"]);
    assert_eq!(exec("1000").code, 0);
    let processes = || world.runtime(&["ps", "-f", "json", &world.id]).out;
    let before = processes();
    let mut failed = 0;
    for number in 1.. {
        let ran = exec(&number.to_string());
        if ran.code == 0 {
            break;
        }
        failed += 1;
        assert!(ran.err.contains(&format!("step {number} (")), "step {number}: {ran:?}");
        world::wait_for("the end of what was executed", || processes() == before);
        assert_eq!(world.status(), "running");
    }
    assert!(failed > 20, "{failed}");
    assert_eq!(world.runtime(&["delete", "--force", &world.id]).code, 0);
    world.assert_nothing_is_left();
}

fn refused(test: &str, expected: &[&str], change: impl FnOnce(&World, &mut Value)) {
    let Some(world) = World::new(test) else { return };
    world.script("true", |config| change(&world, config));
    let ran = world.run();
    assert_eq!(ran.code, 1, "{ran:?}");
    for part in expected {
        assert!(ran.err.contains(part), "expected {part:?} in {ran:?}");
    }
    assert_eq!(ran.err.lines().count(), 1, "an error is told once: {ran:?}");
    world.assert_nothing_is_left();
}

#[test]
fn all_violations_are_told_at_once() {
    let expected = [
        "process.args is empty",
        "process.cwd is not absolute",
        "linux.sysctl.kernel.core_pattern belongs to no namespace",
        "linux.sysctl.kernel.hostname is what hostname is for",
        "windows is not supported",
    ];
    refused("violations", &expected, |_, config| {
        config["process"]["args"] = json!([]);
        config["process"]["cwd"] = json!("relative");
        config["linux"]["sysctl"] = json!({
            "kernel.core_pattern": "|/evil", "kernel.hostname": "box",
        });
        config["windows"] = json!({ "layerFolders": ["c"] });
    });
}

#[test]
fn a_missing_program_is_told_in_the_words_that_engines_know() {
    let expected = ["exec: \"nosuch\"", "executable file not found in $PATH"];
    refused("noprogram", &expected, |_, config| config["process"]["args"] = json!(["nosuch"]));
    let expected = ["exec: \"/nosuch\"", "no such file or directory"];
    refused("nofile", &expected, |_, config| config["process"]["args"] = json!(["/nosuch"]));
    let expected = ["exec: \"/etc/passwd\"", "permission denied"];
    refused("noexec", &expected, |_, config| {
        config["process"]["args"] = json!(["/etc/passwd"]);
    });
}

#[test]
fn a_missing_rootfs_is_named() {
    refused("norootfs", &["nowhere", "no such file or directory"], |_, config| {
        config["root"]["path"] = json!("nowhere");
    });
}

#[test]
fn a_missing_source_of_a_mount_is_named() {
    refused("nosource", &["open mount /nosuch", "no such file"], |_, config| {
        push(
            &mut config["mounts"],
            json!({
                "destination": "/x", "type": "bind", "source": "/nosuch", "options": ["bind"],
            }),
        );
    });
}

#[test]
fn a_broken_configuration_is_named_with_its_line() {
    let Some(world) = World::new("broken") else { return };
    fs::write(world.bundle().join("config.json"), "{ \"ociVersion\": ").unwrap();
    let ran = world.run();
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("config.json: EOF while parsing"), "{ran:?}");
    fs::remove_file(world.bundle().join("config.json")).unwrap();
    assert!(world.run().err.contains("config.json: No such file or directory"));
    world.assert_nothing_is_left();
}

#[test]
fn a_failing_hook_undoes_the_container() {
    let expected = ["run createRuntime hooks /bin/sh", "it wrote \"oh no\"", "exit status 3"];
    refused("hook", &expected, |_, config| {
        config["hooks"] = json!({ "createRuntime": [
            { "path": "/bin/sh", "args": ["sh", "-c", "echo oh no >&2; exit 3"] },
        ]});
    });
}

#[test]
fn a_hook_that_takes_too_long_is_killed() {
    refused("slowhook", &["took longer than its timeout"], |_, config| {
        config["hooks"] = json!({ "createContainer": [
            { "path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1 },
        ]});
    });
}

#[test]
fn a_namespace_of_another_kind_is_not_joined() {
    refused("otherns", &["the file is no namespace of this kind"], |_, config| {
        for namespace in config["linux"]["namespaces"].as_array_mut().unwrap() {
            if namespace["type"] == "ipc" {
                namespace["path"] = json!("/proc/self/ns/net");
            }
        }
    });
}

#[test]
fn kernel_parameters_of_a_joined_namespace_cannot_be_the_hosts() {
    let expected = ["check that network namespace", "it is the host's"];
    refused("hostsysctl", &expected, |_, config| {
        config["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1" });
        for namespace in config["linux"]["namespaces"].as_array_mut().unwrap() {
            if namespace["type"] == "network" {
                namespace["path"] = json!("/proc/self/ns/net");
            }
        }
    });
}

#[test]
fn what_this_kernel_lacks_is_named() {
    let selinux = Path::new("/sys/fs/selinux/status").exists();
    let apparmor = Path::new("/sys/kernel/security/apparmor").exists();
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    for (is_there, field, value) in [
        (selinux, "process.selinuxLabel", json!("a:b:c:s0")),
        (selinux, "linux.mountLabel", json!("a:b:c:s0")),
        (apparmor, "process.apparmorProfile", json!("web")),
        (mounts.contains(" resctrl "), "linux.intelRdt", json!({ "closID": "a" })),
    ] {
        if is_there {
            eprintln!("SKIPPED {field}: needs a kernel without it");
            continue;
        }
        refused("lacks", &[&format!("config.json: {field} needs ")], |_, config| {
            let (part, name) = field.split_once('.').unwrap();
            config[part][name] = value;
        });
    }
}

#[test]
fn a_limit_that_no_kernel_honours_is_left_out_with_a_warning() {
    let Some(world) = World::new("leftout") else { return };
    world.script("true", |config| {
        config["linux"]["resources"]["memory"] = json!({ "kernel": 1 << 20, "kernelTCP": 1 << 20 });
    });
    let create = world.with_bundle("create", &[]);
    assert_eq!(world.runtime(&["delete", &world.id]).code, 0);
    for ran in [create, world.run()] {
        for field in ["kernel", "kernelTCP"] {
            let told = format!("warning: left out linux.resources.memory.{field}: kernels since");
            assert!(ran.code == 0 && ran.err.contains(&told), "{ran:?}");
        }
    }
    world.assert_nothing_is_left();
}

#[test]
fn a_capability_that_no_kernel_has_is_left_out_with_a_warning() {
    let Some(world) = World::new("capability") else { return };
    world.script("grep CapBnd /proc/self/status", |config| {
        let sets = json!({ "bounding": ["CAP_KILL", "CAP_NEXT"], "permitted": ["CAP_NEXT"] });
        config["process"]["capabilities"] = sets;
    });
    let ran = world.run();
    let told = "warning: process.capabilities has what is no capability: CAP_NEXT\n";
    assert!(ran.code == 0 && ran.err.ends_with(told), "{ran:?}");
    assert_eq!(ran.out.trim(), "CapBnd:\t0000000000000020");
    world.assert_nothing_is_left();
}

#[test]
fn a_capability_that_the_runtime_lacks_is_not_granted_and_that_is_told() {
    let Some(world) = World::new("withheld") else { return };
    world.script("grep CapEff /proc/self/status", |config| {
        let both = json!(["CAP_KILL", "CAP_NET_RAW"]);
        config["process"]["capabilities"] =
            json!({ "bounding": both, "permitted": both, "effective": both });
    });
    let run = world.command(&["run", "-b", world.bundle().to_str().unwrap(), &world.id]);
    let mut command = Command::new("setpriv");
    command.arg("--bounding-set=-net_raw").arg(run.get_program()).args(run.get_args());
    let ran = command.output().unwrap();
    let err = String::from_utf8_lossy(&ran.stderr);
    let told = "warning: process.capabilities: not granted, as the runtime itself lacks them: \
                CAP_NET_RAW\n";
    assert!(ran.status.success() && err.ends_with(told), "{ran:?}");
    assert_eq!(world::text(&ran).trim(), "CapEff:\t0000000000000020");
    world.assert_nothing_is_left();
}

#[test]
fn a_capability_that_cannot_be_ambient_is_told() {
    let Some(world) = World::new("ambient") else { return };
    world.script("grep CapAmb /proc/self/status", |config| {
        let both = json!(["CAP_KILL", "CAP_NET_RAW"]);
        config["process"]["capabilities"] = json!({ "bounding": both, "permitted": both,
            "effective": both, "inheritable": ["CAP_KILL"], "ambient": both });
    });
    let ran = world.run();
    let told = "loadline-runtime: warning: process.capabilities.ambient: not granted, as they are \
                not both permitted and inheritable: CAP_NET_RAW\n";
    assert_eq!((ran.code, ran.err.as_str()), (0, told));
    assert_eq!(ran.out.trim(), "CapAmb:\t0000000000000020");
}

#[test]
fn a_configuration_that_is_read_twice_is_as_strict_the_second_time() {
    let Some(world) = World::new("twice") else { return };
    world.script("true", |config| {
        config["process"]["capabilities"] = json!({ "bounding": ["CAP_NEXT"] });
    });
    let path = world.bundle().join("config.json");
    let text = fs::read_to_string(&path).unwrap();
    let doubled = text.trim_end().strip_suffix('}').unwrap().to_owned();
    fs::write(&path, doubled + ", \"hostname\": \"a\", \"hostname\": \"b\" }").unwrap();
    let ran = world.run();
    assert!(ran.code == 1 && ran.err.contains("duplicate field `hostname`"), "{ran:?}");
    fs::write(&path, "[]").unwrap();
    let ran = world.run();
    assert!(ran.code == 1 && ran.err.contains("config.json: it is no JSON object"), "{ran:?}");
    world.assert_nothing_is_left();
}

#[test]
fn unknown_properties_are_refused_only_where_that_is_asked_for() {
    let Some(world) = World::new("strict") else { return };
    world.script("true", |config| {
        config["process"]["argz"] = json!(["x"]);
        config["mounts"][0]["sauce"] = json!("x");
    });
    assert_eq!(world.run().code, 0);
    let ran = world.with_bundle("run", &["--strict"]);
    let told = "config.json: the specification does not know mounts[0].sauce, process.argz\n";
    assert!(ran.code == 1 && ran.err.ends_with(told), "{ran:?}");
    world.script("true", |_| {});
    assert_eq!(world.with_bundle("run", &["--strict"]).code, 0);
    world.assert_nothing_is_left();
}

/// What the step makes is not what there is no place for.
#[test]
fn a_folder_of_records_that_is_full_is_named() {
    let Some(world) = World::new("full") else { return };
    world.script("true", |_| {});
    let records = world.path("records");
    fs::create_dir(&records).unwrap();
    let run = world.command(&["run", "-b", world.bundle().to_str().unwrap(), &world.id]);
    // Its root, the container's folder, and nothing more.
    let script = "mount -t tmpfs -o nr_inodes=2 full \"$1\" || exit 99; shift; \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, "sh"]).arg(&records);
    command.arg(run.get_program()).args(run.get_args());
    let output = command.stdin(Stdio::null()).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    let named = format!("make {}/", records.join(&world.id).display());
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains(&named) && err.contains("No space left"), "{err}");
    world.assert_nothing_is_left();
}
