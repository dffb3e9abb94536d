//! Containers whose mounts lie in a mount namespace that is not theirs: the runtime's, or a joined
//! one. They go with the container, and nothing of the host's is another afterwards.

#![cfg(test)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod world;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use world::{World, push};

/// Without a mount namespace, or in the one at a path; with much that is mounted.
fn among_others(world: &World, config: &mut Value, joined: Option<&str>) {
    let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "mount");
    if let Some(path) = joined {
        namespaces.push(json!({ "type": "mount", "path": path }));
    }
    config["root"]["readonly"] = json!(true);
    let host = world.path("host");
    fs::create_dir_all(&host).unwrap();
    fs::write(host.join("file"), "of the host\n").unwrap();
    let bind =
        json!({ "destination": "/tmp", "type": "bind", "source": host, "options": ["rbind"] });
    push(&mut config["mounts"], bind);
}

/// The mounts of a process's namespace, without their numbers.
fn mounts(process: &str) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{process}/mountinfo")).unwrap();
    let line = |line: &str| line.split(' ').skip(2).collect::<Vec<_>>().join(" ");
    text.lines().map(line).collect()
}

/// The same without those of other tests, which come and go: a namespace that is a copy of the
/// host's loses them with their places.
fn lasting(process: &str, world: &World) -> Vec<String> {
    let (all, own) = (std::env::temp_dir(), world.path(""));
    let is_others = |line: &String| {
        let place = Path::new(line.split(' ').nth(2).unwrap());
        place.starts_with(&all) && !place.starts_with(&own)
    };
    mounts(process).into_iter().filter(|line| !is_others(line)).collect()
}

/// What of all mounts lies in a folder.
fn mounts_in(process: &str, folder: &Path) -> usize {
    let is_in = |line: &&String| line.contains(folder.to_str().unwrap());
    mounts(process).iter().filter(is_in).count()
}

#[test]
fn without_a_mount_namespace_mounts_are_made_and_go_with_the_container() {
    let Some(world) = World::new("nomntns") else { return };
    let before = mounts("self");
    world.script("cat /tmp/file; exec sleep 1000", |config| among_others(&world, config, None));
    let created = world.with_bundle("create", &[]);
    assert_eq!(created.code, 0, "{created:?}");
    assert!(mounts_in("self", &world.rootfs()) > 8, "{:?}", mounts("self"));
    assert_eq!(world.runtime(&["start", &world.id]).code, 0);
    let exec = |script: &str| world.runtime(&["exec", &world.id, "sh", "-c", script]);
    let own = fs::read_link("/proc/self/ns/mnt").unwrap();
    let seen = exec("readlink /proc/self/ns/mnt; cat /tmp/file");
    assert_eq!(seen.out, format!("{}\nof the host\n", own.display()), "{seen:?}");
    for (script, code) in [
        ("touch /made", 1),
        ("touch /dev/made", 0),
        ("test -c /dev/null", 0),
        ("test -s /proc/timer_list", 1),
        ("echo x >/proc/sys/kernel/domainname", 1),
        ("test -e /proc/self/status", 0),
        ("test -e /var/lib", 1),
    ] {
        let ran = exec(script);
        assert_eq!(ran.code, code, "{script}: {ran:?}");
    }
    let deleted = world.runtime(&["delete", "--force", &world.id]);
    assert_eq!(deleted.code, 0, "{deleted:?}");
    world.assert_nothing_is_left();
    // Other tests mount and unmount at the same time, but not these.
    let is_hosts = |line: &&String| {
        let place = line.split(' ').nth(2);
        place.is_some_and(|place| ["/", "/proc", "/sys", "/dev"].contains(&place))
    };
    let hosts = |lines: &[String]| lines.iter().filter(is_hosts).cloned().collect::<Vec<_>>();
    assert!(!hosts(&before).is_empty());
    assert_eq!(hosts(&mounts("self")), hosts(&before));
}

#[test]
fn a_failing_nth_step_takes_its_mounts_away() {
    let Some(world) = World::new("nthnomntns") else { return };
    world.script("true", |config| among_others(&world, config, None));
    let ran = world.run();
    assert_eq!(ran.code, 0, "{ran:?}");
    world.assert_nothing_is_left();
    let plan = world.with_bundle("run", &["--dry-run"]).out;
    let attach = plan.lines().find(|line| line.contains("attach root on a mark")).unwrap();
    let first: usize = attach.trim_start().split(' ').next().unwrap().parse().unwrap();
    let last = plan.lines().filter(|line| !line.trim_start().starts_with('-')).count() - 2;
    for number in (1..=last).filter(|number| *number >= first || *number < 8) {
        let ran = world.with_bundle("run", &["--fail-step", &number.to_string()]);
        assert!(ran.err.contains("failure injected by a test"), "step {number}: {ran:?}");
        world.assert_nothing_is_left();
    }
}

/// A mount namespace of somebody else's, with the propagation that `unshare` gives it.
struct Other(Child);

impl Other {
    fn new(propagation: &str) -> Other {
        let arguments = ["--mount", "--propagation", propagation, "sleep", "1000"];
        let other = Command::new("unshare").args(arguments).stdout(Stdio::null()).spawn().unwrap();
        let own = fs::read_link("/proc/self/ns/mnt").unwrap();
        let path = format!("/proc/{}/ns/mnt", other.id());
        world::wait_for("the namespace", || fs::read_link(&path).is_ok_and(|link| link != own));
        let is_ready = || {
            let line = fs::read(format!("/proc/{}/cmdline", other.id())).unwrap_or_default();
            line.starts_with(b"sleep")
        };
        world::wait_for("its program", is_ready);
        Other(other)
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/mnt", self.0.id())
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn in_a_joined_mount_namespace_mounts_are_made_there_and_go_with_the_container() {
    let Some(world) = World::new("joinedmnt") else { return };
    let other = Other::new("private");
    let (own, before) = (mounts("self").len(), lasting(&other.pid(), &world));
    let joined = other.path();
    world.script("exec sleep 1000", |config| among_others(&world, config, Some(&joined)));
    let ran = world.with_bundle("run", &["--detach"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(mounts_in(&other.pid(), &world.rootfs()) > 8, "{:?}", mounts(&other.pid()));
    assert_eq!(mounts_in("self", &world.rootfs()), 0, "{own}");
    let seen =
        world.runtime(&["exec", &world.id, "sh", "-c", "cat /tmp/file; readlink /proc/1/exe"]);
    assert_eq!(seen.out, "of the host\n/bin/busybox\n", "{seen:?}");
    let deleted = world.runtime(&["delete", "--force", &world.id]);
    assert_eq!(deleted.code, 0, "{deleted:?}");
    assert_eq!(lasting(&other.pid(), &world), before);
    let failed = world.with_bundle("run", &["--fail-step", "60"]);
    assert!(failed.err.contains("failure injected by a test"), "{failed:?}");
    assert_eq!(lasting(&other.pid(), &world), before);
    world.assert_nothing_is_left();
    let ran = world.with_bundle("run", &["--detach"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(world.runtime(&["kill", &world.id, "KILL"]).code, 0);
    world.await_status("stopped");
    // The namespace ends, and its mounts with it.
    drop(other);
    let deleted = world.runtime(&["delete", &world.id]);
    assert_eq!(deleted.code, 0, "{deleted:?}");
    world.assert_nothing_is_left();
}

/// As systemd makes it: all mounts are shared, and there are other namespaces.
#[test]
fn on_a_host_with_shared_mounts_nothing_is_seen_or_left_in_other_namespaces() {
    let Some(world) = World::new("sharedmnt") else { return };
    world.script("mount -t tmpfs none /tmp/below; exec sleep 1000", |config| {
        among_others(&world, config, None);
        for set in ["bounding", "effective", "permitted"] {
            push(&mut config["process"]["capabilities"][set], json!("CAP_SYS_ADMIN"));
        }
    });
    fs::create_dir(world.path("host/below")).unwrap();
    let (bundle, records) = (world.bundle(), world.path("records"));
    let script = "mount --bind \"$1\" \"$1\" && mount --make-rshared / || exit 9
        unshare --mount --propagation unchanged sleep 1000 & peer=$!
        count() { grep -c \" $1/rootfs\" /proc/$2/mountinfo; }
        until grep -q sleep /proc/$peer/cmdline; do :; done
        before=$(count \"$1\" $peer)
        \"$2\" --root \"$3\" run --detach -b \"$1\" \"$4\" || exit 8
        until grep -q \" $1/rootfs/tmp/below\" /proc/self/mountinfo; do :; done
        echo own $(($(count \"$1\" self) > 8)) peer $(($(count \"$1\" $peer) - before))
        grep \"/host/below\" /proc/self/mountinfo | grep -v \" $1/rootfs\"
        \"$2\" --root \"$3\" delete --force \"$4\" || exit 7
        echo own $(count \"$1\" self) peer $(($(count \"$1\" $peer) - before))
        kill $peer";
    let ran = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh", bundle.to_str().unwrap()])
        .args([env!("CARGO_BIN_EXE_loadline-runtime"), records.to_str().unwrap(), &world.id])
        .output()
        .unwrap();
    // A peer sees the place of the mark, where nothing is.
    assert_eq!(world::text(&ran), "own 1 peer 1\nown 0 peer 0\n", "{ran:?}");
    world.assert_nothing_is_left();
}

#[test]
fn what_a_killed_create_has_mounted_is_taken_away_by_a_forced_delete() {
    let Some(world) = World::new("killednomnt") else { return };
    world.script("true", |config| {
        among_others(&world, config, None);
        // It stays until the world's folder goes.
        let world = world.path("");
        let script =
            format!("kill -9 $PPID; while test -e {}; do sleep 0.1; done", world.display());
        let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "timeout": 100 }]);
        config["hooks"] = json!({ "createRuntime": hook });
    });
    let killed = world.with_bundle("create", &[]);
    assert_eq!(killed.code, 255, "{killed:?}");
    // As if it were killed before it wrote a record for the hook.
    let record = world.path("records").join(&world.id).join("container.json");
    fs::remove_file(record).unwrap();
    assert!(mounts_in("self", &world.rootfs()) > 0);
    let deleted = world.runtime(&["delete", "--force", &world.id]);
    assert_eq!(deleted.code, 0, "{deleted:?}");
    assert_eq!(mounts_in("self", &world.rootfs()), 0);
}

/// Runs a script in a mount namespace in which all mounts are shared, as systemd makes them. It
/// gets the folder of the world, the bundle, and as `runtime` the program with its records.
fn on_shared_mounts(world: &World, script: &str) -> String {
    let (folder, bundle) = (world.path(""), world.bundle());
    let begin = "world=$1 bundle=$2 id=$3
        runtime() { \"$program\" --root \"$world/records\" \"$@\"; }
        mount --bind \"$world\" \"$world\" && mount --make-rshared / || exit 99
        count() { grep -c \" $world/$1\" /proc/self/mountinfo; }\n";
    let folder = folder.to_str().unwrap().trim_end_matches('/').to_owned();
    let ran = Command::new("unshare")
        .args(["--mount", "sh", "-c", &format!("{begin}{script}"), "sh"])
        .args([&folder, bundle.to_str().unwrap(), &world.id])
        .env("program", env!("CARGO_BIN_EXE_loadline-runtime"))
        .output()
        .unwrap();
    assert!(ran.status.success(), "{ran:?}");
    world::text(&ran)
}

/// Whatever a step was doing: the clone of a tree must never be a peer of the host's where it is
/// taken away.
#[test]
fn a_set_up_that_fails_between_two_calls_leaves_what_the_host_has_mounted() {
    let Some(world) = World::new("peernomnt") else { return };
    if Command::new("strace").arg("-V").output().is_err() {
        eprintln!("SKIPPED peernomnt: needs strace");
        return;
    }
    world.script("true", |config| {
        among_others(&world, config, None);
        // The last ones are the host's null device, mounted over itself.
        config["linux"]["maskedPaths"] = json!(["/bin/busybox", "/bin/busybox"]);
        config["process"]["args"] = json!(["/tmp/busybox", "true"]);
    });
    fs::create_dir_all(world.path("host/below")).unwrap();
    world::copy_program("/bin/busybox", &world.path("host/busybox"));
    let script = "mount -t tmpfs none \"$world/host/below\"
        hosts() { grep -c -e \" $world/host\" -e ' /dev/null ' /proc/self/mountinfo; }
        for call in mount_setattr move_mount; do for how in error=EIO signal=KILL; do
            for n in $(seq 1 60); do
                strace -f -qq -o \"$world/log\" -e inject=$call:$how:when=$n \\
                    \"$program\" --root \"$world/records\" run -b \"$bundle\" $id \\
                    2>\"$world/err\" && break
                [ $(hosts) = 1 ] && [ $(count bundle/rootfs) = 0 ] ||
                    { echo $call $how $n; cat \"$world/err\"; cat /proc/self/mountinfo; exit; }
            done
            [ $n -gt 3 ] && [ $n -lt 60 ] || { echo $call $how: $n; cat \"$world/err\"; }
        done; done
        echo done";
    assert_eq!(on_shared_mounts(&world, script), "done\n");
    world.assert_nothing_is_left();
}

#[test]
fn a_root_on_which_another_containers_mounts_lie_is_refused_by_name() {
    let Some(world) = World::new("tworoots") else { return };
    let other = world.path("other");
    fs::create_dir(&other).unwrap();
    world.script("exec sleep 1000", |config| among_others(&world, config, None));
    let config = world.bundle().join("config.json");
    let mut second: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    assert_eq!(world.with_bundle("create", &[]).code, 0);
    let before = mounts_in("self", &world.path(""));
    let second_id = format!("{}-b", world.id);
    let mut refused = |change: &dyn Fn(&mut Value)| {
        change(&mut second);
        fs::write(other.join("config.json"), second.to_string()).unwrap();
        let ran = world.runtime(&["create", "-b", other.to_str().unwrap(), &second_id]);
        assert_eq!(ran.code, 1, "{ran:?}");
        for part in ["root.path", "loadline:", "delete that container first"] {
            assert!(ran.err.contains(part), "{part}: {ran:?}");
        }
        assert_eq!(mounts_in("self", &world.path("")), before);
    };
    refused(&|config| config["root"] = json!({ "path": world.rootfs() }));
    refused(&|config| config["root"] = json!({ "path": world.rootfs().join("tmp") }));
    refused(&|config| push(&mut config["linux"]["namespaces"], json!({ "type": "mount" })));
    refused(&|config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "mount");
        (config["mounts"], config["root"]["readonly"]) = (json!([]), json!(false));
    });
    let own = "/proc/self/ns/mnt";
    refused(&|config| {
        push(&mut config["linux"]["namespaces"], json!({ "type": "mount", "path": own }));
    });
    refused(&|config| {
        push(&mut config["mounts"], json!({ "destination": "/proc", "type": "proc" }));
    });
    assert_eq!(world.runtime(&["delete", "--force", &world.id]).code, 0);
    world.assert_nothing_is_left();
}

#[test]
fn two_creates_on_one_root_at_one_moment_give_one_container() {
    let Some(world) = World::new("racedroots") else { return };
    world.script("exec sleep 1000", |config| among_others(&world, config, None));
    for _ in 0..5 {
        let ids: Vec<String> = (0..3).map(|n| format!("{}-{n}", world.id)).collect();
        let bundle = world.bundle();
        let create = |id: &String| {
            let args = ["create", "-b", bundle.to_str().unwrap(), id];
            world.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        };
        let created: Vec<Child> = ids.iter().map(create).collect();
        let created = created.into_iter().map(|mut child| child.wait().unwrap().success());
        assert_eq!(created.filter(|done| *done).count(), 1);
        for id in &ids {
            assert_eq!(world.runtime(&["delete", "--force", id]).code, 0);
        }
        world.assert_nothing_is_left();
    }
}

#[test]
fn exec_finds_its_container_under_what_was_mounted_over_it_and_delete_spares_another_one() {
    let Some(world) = World::new("covered") else { return };
    world.script("exec sleep 1000", |config| among_others(&world, config, None));
    let script = "runtime run --detach -b \"$bundle\" $id || exit 98
        mount -t tmpfs loadline:other:1:2 \"$bundle/rootfs\"
        runtime exec $id cat /tmp/file
        mkdir \"$bundle/rootfs/sub\" && mount -t tmpfs none \"$bundle/rootfs/sub\"
        runtime delete --force $id 2>\"$world/err\" && exit 97
        grep -o 'another container that lies on them' \"$world/err\"
        count bundle/rootfs/sub
        umount \"$bundle/rootfs/sub\" \"$bundle/rootfs\" || exit 96
        mount -t tmpfs none \"$bundle/rootfs\"
        runtime delete --force $id || exit 95
        count bundle/rootfs
        true";
    let expected = "of the host\nanother container that lies on them\n1\n0\n";
    assert_eq!(on_shared_mounts(&world, script), expected);
    world.assert_nothing_is_left();
}

#[test]
fn a_clone_of_what_is_around_a_root_has_nothing_of_the_container() {
    let Some(world) = World::new("unbindable") else { return };
    world.script("exec sleep 1000", |config| among_others(&world, config, None));
    let script = "runtime run --detach -b \"$bundle\" $id || exit 98
        mkdir \"$world/clone\" && mount --rbind \"$bundle\" \"$world/clone\"
        count clone
        runtime delete --force $id";
    assert_eq!(on_shared_mounts(&world, script), "1\n");
    world.assert_nothing_is_left();
}

#[test]
fn delete_from_another_mount_namespace_takes_the_mounts_away_or_fails() {
    let Some(world) = World::new("elsewhere") else { return };
    let other = Other::new("private");
    let before = lasting(&other.pid(), &world);
    world.script("exec sleep 1000", |config| among_others(&world, config, None));
    let (bundle, records) = (world.bundle(), world.path("records"));
    let run = |world: &World| {
        let ran = Command::new("nsenter")
            .args([&format!("--mount={}", other.path()), env!("CARGO_BIN_EXE_loadline-runtime")])
            .args(["--root", records.to_str().unwrap(), "run", "--detach"])
            .args(["-b", bundle.to_str().unwrap(), &world.id])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(ran.success());
        assert!(mounts_in(&other.pid(), &world.rootfs()) > 8);
    };
    run(&world);
    let deleted = world.runtime(&["delete", "--force", &world.id]);
    assert_eq!(deleted.code, 0, "{deleted:?}");
    assert_eq!(lasting(&other.pid(), &world), before);
    world.assert_nothing_is_left();
    run(&world);
    assert_eq!(world.runtime(&["kill", &world.id, "KILL"]).code, 0);
    world.await_status("stopped");
    let program = env!("CARGO_BIN_EXE_loadline-runtime");
    let blind = Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc", program, "--root", records.to_str().unwrap()])
        .args(["delete", &world.id])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&blind.stderr);
    assert!(!blind.status.success() && told.contains("no process that this one sees"), "{told}");
    let deleted = world.runtime(&["delete", "--force", &world.id]);
    assert_eq!(deleted.code, 0, "{deleted:?}");
    assert_eq!(lasting(&other.pid(), &world), before);
    world.assert_nothing_is_left();
}

#[test]
fn what_would_need_a_mount_namespace_of_its_own_is_refused_by_name() {
    let Some(world) = World::new("nomntnsno") else { return };
    let refused = |expected: &str, change: &dyn Fn(&mut Value)| {
        world.script("true", |config| {
            among_others(&world, config, None);
            change(config);
        });
        let ran = world.run();
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.err.contains(expected), "{expected}: {ran:?}");
        world.assert_nothing_is_left();
    };
    refused("linux.rootfsPropagation needs a new mount namespace", &|config| {
        config["linux"]["rootfsPropagation"] = json!("slave");
    });
    refused("mounts[0] needs a new mount namespace", &|config| {
        push(&mut config["linux"]["namespaces"], json!({ "type": "user" }));
        let map = json!([{ "containerID": 0, "hostID": 0, "size": 65536 }]);
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map;
    });
    refused("more than 255 bytes, which needs a new mount namespace", &|config| {
        let option = format!("lowerdir={}", "/a:".repeat(100));
        push(
            &mut config["mounts"],
            json!({
                "destination": "/x", "type": "overlay", "source": "overlay", "options": [option],
            }),
        );
    });
    refused("is id-mapped, which needs a new mount namespace", &|config| {
        let map = json!([{ "containerID": 0, "hostID": 1000, "size": 10 }]);
        let last = config["mounts"].as_array_mut().unwrap().last_mut().unwrap();
        last["uidMappings"] = map.clone();
        last["gidMappings"] = map;
    });
    world.script("true", |config| among_others(&world, config, None));
    let restored = world.with_bundle("restore", &["--image-path", "/nowhere"]);
    assert!(
        restored.err.contains("a config.json without a mount namespace is not"),
        "{restored:?}"
    );
    refused("root.path is the root of a mount namespace that others use", &|config| {
        config["root"] = json!({ "path": PathBuf::from("/") });
    });
}
