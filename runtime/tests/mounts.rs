//! Mounts and namespaces that ordinary engines seldom ask for.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod world;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use world::{World, push, wait_for};

fn mount(config: &mut Value, mount: Value) {
    push(&mut config["mounts"], mount);
}

#[test]
fn a_recursively_read_only_bind_covers_the_mounts_below() {
    let Some(world) = World::new("rro") else { return };
    let host = world.path("host");
    fs::create_dir_all(host.join("below")).unwrap();
    let script = "touch /data/x 2>&1; touch /data/below/x 2>&1; grep -c /data /proc/self/mountinfo";
    let mut mounted = Command::new("unshare");
    mounted
        .args(["-m", "--propagation", "private", "sh", "-c"])
        .arg(format!(
            "mount -t tmpfs below {0}/below && exec {1} --root {2} run --bundle {3} {4}",
            host.display(),
            env!("CARGO_BIN_EXE_loadline-runtime"),
            world.path("records").display(),
            world.bundle().display(),
            world.id,
        ))
        .stdin(Stdio::null());
    world.script(script, |config| {
        mount(
            config,
            json!({
                "destination": "/data", "type": "bind", "source": host, "options": ["rbind", "rro"],
            }),
        );
    });
    let out = world::text(&mounted.output().unwrap());
    let refusals = out.lines().filter(|line| line.contains("Read-only file system")).count();
    assert_eq!(refusals, 2, "{out}");
    assert!(out.ends_with("2\n"), "{out}");
    world.assert_nothing_is_left();
}

#[test]
fn an_id_mapped_mount_shows_other_owners() {
    let Some(world) = World::new("idmap") else { return };
    let host = world.path("host");
    fs::create_dir(&host).unwrap();
    fs::write(host.join("file"), "x").unwrap();
    chown(host.join("file"), Some(7), Some(8)).unwrap();
    world.script("stat -c '%u %g' /data/file", |config| {
        mount(config, json!({
            "destination": "/data", "type": "bind", "source": host, "options": ["bind", "idmap"],
            "uidMappings": [{ "containerID": 0, "hostID": 5000, "size": 1000 }],
            "gidMappings": [{ "containerID": 0, "hostID": 6000, "size": 1000 }],
        }));
    });
    let ran = world.run();
    if ran.err.contains("idmap") {
        eprintln!("SKIPPED idmap: needs a filesystem that can be id-mapped: {}", ran.err);
        return;
    }
    assert_eq!(ran.out, "5007 6008\n", "{ran:?}");
    assert_eq!(fs::metadata(host.join("file")).unwrap().uid(), 7);
    world.assert_nothing_is_left();
}

/// What vendors of devices do: enter the container's mount namespace from the host, and mount at
/// the path that its root has there. The script's standard input is the container's state.
const MOUNTING_HOOK: &str = r#"
pid=$(sed 's/.*"pid": *\([0-9]*\).*/\1/' | tr -dc 0-9)
exec nsenter -t "$pid" -m sh -ec '
    mkdir -p "$0/mnt/made"
    mount -t tmpfs hook "$0/mnt/made"
    touch "$0/mnt/made/it"
' "$0"
"#;

#[test]
fn a_hook_of_the_host_mounts_in_the_container_by_the_roots_path() {
    let Some(world) = World::new("hookmount") else { return };
    let out = world.shell("stat -f -c %T /mnt/made && ls /mnt/made", |config| {
        let root = world.bundle().join(config["root"]["path"].as_str().unwrap());
        let args = json!(["sh", "-c", MOUNTING_HOOK, root]);
        config["root"]["readonly"] = json!(false);
        config["hooks"] = json!({ "createRuntime": [
            { "path": "/bin/sh", "args": args, "env": ["PATH=/usr/bin:/bin"] },
        ] });
    });
    assert_eq!(out, "tmpfs\nit\n");
    world.assert_nothing_is_left();
}

/// What the bundle calls its root may be a link of the host's, which a hook finds as it is.
#[test]
fn mounts_are_listed_in_the_order_of_config_json() {
    let Some(world) = World::new("order") else { return };
    let host = world.path("host");
    fs::create_dir(&host).unwrap();
    let mut expected = Vec::new();
    let out = world.shell("cat /proc/self/mountinfo", |config| {
        let bind = |place: &str, word: &str| {
            json!({ "destination": place, "type": "bind", "source": host, "options": [word] })
        };
        config["mounts"].as_array_mut().unwrap().insert(1, bind("/first", "rbind"));
        mount(config, bind("/second", "bind"));
        mount(config, json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs" }));
        mount(config, bind("/third", "rbind"));
        for mount in config["mounts"].as_array().unwrap() {
            expected.push(mount["destination"].as_str().unwrap().to_owned());
        }
    });
    let places = out.lines().filter_map(|line| line.split(' ').nth(4)).map(str::to_owned);
    let listed: Vec<String> = places.filter(|place| expected.contains(place)).collect();
    assert_eq!(listed, expected, "{out}");
}

#[test]
fn a_hook_of_create_container_runs_in_the_root() {
    let Some(world) = World::new("hookdir") else { return };
    let script = "mkdir ./by-hook && mount -t tmpfs by-hook ./by-hook";
    let out = world.shell("grep -c by-hook /proc/self/mountinfo", |config| {
        config["root"]["readonly"] = json!(false);
        config["hooks"] = json!({ "createContainer": [
            { "path": "/bin/sh", "args": ["sh", "-c", script] }] });
    });
    assert_eq!(out, "1\n");
}

#[test]
fn hooks_of_the_host_find_a_root_that_is_a_link() {
    let Some(world) = World::new("hooklink") else { return };
    let link = world.bundle().join("link");
    std::os::unix::fs::symlink(world.rootfs(), &link).unwrap();
    let out = world.shell("stat -f -c %T /mnt/made && ls /mnt/made", |config| {
        let args = json!(["sh", "-c", MOUNTING_HOOK, link]);
        config["root"] = json!({ "path": "link" });
        config["hooks"] = json!({ "createRuntime": [
            { "path": "/bin/sh", "args": args, "env": ["PATH=/usr/bin:/bin"] },
        ] });
    });
    assert_eq!(out, "tmpfs\nit\n");
    world.assert_nothing_is_left();
}

/// By its name, by a link and by dots: the container's own root is attached there meanwhile.
#[test]
fn a_bind_of_the_hosts_root_shows_the_host() {
    let Some(world) = World::new("hostroot") else { return };
    let marker = world.path("marker");
    fs::write(&marker, "of the host").unwrap();
    std::os::unix::fs::symlink("/", world.path("link")).unwrap();
    let up = "../".repeat(world.bundle().components().count() + 3);
    let script = format!("cat /host{}", marker.display());
    for source in ["/", world.path("link").to_str().unwrap(), &up] {
        let out = world.shell(&script, |config| {
            mount(
                config,
                json!({ "destination": "/host", "type": "bind", "source": source,
                    "options": ["rbind", "ro"] }),
            );
        });
        assert_eq!(out, "of the host", "{source}");
    }
    // Below the top, where the way back up is not by the root's name.
    let out = world.shell("cat /marker", |config| {
        let source = format!("{up}{}", marker.display());
        mount(
            config,
            json!({ "destination": "/marker", "type": "bind", "source": source,
                "options": ["bind"] }),
        );
    });
    assert_eq!(out, "of the host");
    world.assert_nothing_is_left();
}

#[test]
fn a_tmpfs_can_begin_with_what_it_hides() {
    let Some(world) = World::new("copyup") else { return };
    let out = world.shell("cat /etc/passwd; touch /etc/new && echo writable", |config| {
        mount(
            config,
            json!({
                "destination": "/etc", "type": "tmpfs", "source": "tmpfs",
                "options": ["tmpcopyup", "size=1m"],
            }),
        );
    });
    assert_eq!(out, "root:x:0:0::/root:/bin/sh\nwritable\n");
    assert!(!world.rootfs().join("etc/new").exists());
}

#[test]
fn a_read_only_tmpfs_can_begin_with_what_it_hides() {
    let Some(world) = World::new("copyupro") else { return };
    let script = "cat /etc/passwd; touch /etc/new 2>&1; ls -d /etc/place";
    for below in [false, true] {
        world.script(script, |config| {
            mount(
                config,
                json!({ "destination": "/etc", "type": "tmpfs", "options": ["tmpcopyup", "ro"] }),
            );
            if below {
                mount(config, json!({ "destination": "/etc/place", "type": "tmpfs" }));
            }
        });
        let ran = world.run();
        assert!(ran.out.starts_with("root:x:0:0::/root:/bin/sh\n"), "{ran:?}");
        assert!(ran.out.contains("Read-only file system"), "{ran:?}");
        assert_eq!(ran.code == 0, below, "{ran:?}");
    }
    world.assert_nothing_is_left();
}

/// Where that is, is not seen by the names.
#[test]
fn a_read_only_tmpfs_takes_a_mount_that_a_link_leads_into_it() {
    let Some(world) = World::new("rolink") else { return };
    fs::create_dir(world.rootfs().join("run")).unwrap();
    fs::create_dir(world.rootfs().join("var")).unwrap();
    std::os::unix::fs::symlink("/run", world.rootfs().join("var/run")).unwrap();
    let closed = |config: &mut Value| {
        mount(config, json!({ "destination": "/run", "type": "tmpfs", "options": ["ro"] }));
    };
    let out = world.shell("touch /run/x/y && touch /run/y 2>&1; ls /run", |config| {
        closed(config);
        mount(config, json!({ "destination": "/var/run/x", "type": "tmpfs" }));
    });
    assert!(out.contains("Read-only file system") && out.ends_with("x\n"), "{out}");
    // It is covered: what covers it is another mount, and stays open.
    let out = world.shell("touch /run/y && echo writable", |config| {
        closed(config);
        mount(config, json!({ "destination": "/var/run", "type": "tmpfs" }));
    });
    assert_eq!(out, "writable\n");
    world.assert_nothing_is_left();
}

#[test]
fn a_read_only_tmpfs_takes_a_procfs_and_a_working_directory_that_a_link_leads_into_it() {
    let Some(world) = World::new("roproc") else { return };
    fs::create_dir(world.rootfs().join("run")).unwrap();
    fs::create_dir(world.rootfs().join("var")).unwrap();
    std::os::unix::fs::symlink("/run", world.rootfs().join("var/run")).unwrap();
    let closed = json!({ "destination": "/run", "type": "tmpfs", "options": ["ro"] });
    let out = world.shell("cat /run/x/proc/self/comm; touch /run/y 2>&1 || true", |config| {
        mount(config, closed.clone());
        mount(config, json!({ "destination": "/run/x/proc", "type": "proc" }));
    });
    assert!(out.starts_with("cat\n") && out.contains("Read-only file system"), "{out}");
    // An empty filesystem that it covers has no places for others.
    let out = world.shell("ls /run /run/x; touch /run/y 2>&1 || true", |config| {
        mount(config, json!({ "destination": "/run/x", "type": "tmpfs" }));
        mount(config, closed.clone());
        mount(config, json!({ "destination": "/run/x/y", "type": "tmpfs" }));
    });
    assert!(out.starts_with("/run:\nx\n\n/run/x:\ny\n"), "{out}");
    assert!(out.contains("Read-only file system"), "{out}");
    let out = world.shell("pwd -P; touch here 2>&1 || true", |config| {
        mount(config, closed.clone());
        config["process"]["cwd"] = json!("/var/run/app");
    });
    assert!(out.starts_with("/run/app\n") && out.contains("Read-only file system"), "{out}");
    world.assert_nothing_is_left();
}

#[test]
fn a_user_namespace_maps_several_ranges() {
    let Some(world) = World::new("ranges") else { return };
    let out = world.shell("cat /proc/self/uid_map; stat -c %u /dev/pts/ptmx", |config| {
        push(&mut config["linux"]["namespaces"], json!({ "type": "user" }));
        config["linux"]["uidMappings"] = json!([
            { "containerID": 0, "hostID": 100_000, "size": 10 },
            { "containerID": 10, "hostID": 200_000, "size": 20 },
        ]);
        config["linux"]["gidMappings"] = json!([
            { "containerID": 0, "hostID": 100_000, "size": 1000 },
        ]);
    });
    let words: Vec<_> = out.split_whitespace().collect();
    assert_eq!(words, ["0", "100000", "10", "10", "200000", "20", "0"]);
}

#[test]
fn a_time_namespace_has_its_offsets() {
    let Some(world) = World::new("time") else { return };
    let out = world.shell("cat /proc/self/timens_offsets", |config| {
        push(&mut config["linux"]["namespaces"], json!({ "type": "time" }));
        config["linux"]["timeOffsets"] = json!({
            "boottime": { "secs": 864_000, "nanosecs": 5 }, "monotonic": { "secs": 7 },
        });
    });
    let words: Vec<_> = out.split_whitespace().collect();
    assert_eq!(words, ["monotonic", "7", "0", "boottime", "864000", "5"]);
}

/// A process in namespaces of its own, for others to join.
struct Host(Child);

impl Host {
    fn with(flags: &[&str]) -> Host {
        let child = Command::new("unshare").args(flags).args(["sleep", "1000"]).spawn().unwrap();
        let host = Host(child);
        // Which it executes last, behind the ids of a user namespace.
        wait_for("namespaces", || {
            let line = fs::read(format!("/proc/{}/cmdline", host.0.id())).unwrap_or_default();
            line.starts_with(b"sleep")
        });
        host
    }

    fn namespace(&self, name: &str) -> String {
        format!("/proc/{}/ns/{name}", self.0.id())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn namespaces_are_joined_by_path() {
    let Some(world) = World::new("join") else { return };
    let host = Host::with(&["--net", "--ipc", "--uts"]);
    let out = world.shell("ls -l /proc/self/ns/net /proc/self/ns/ipc", |config| {
        config["linux"]["namespaces"] = json!([
            { "type": "mount" }, { "type": "pid" },
            { "type": "network", "path": host.namespace("net") },
            { "type": "ipc", "path": host.namespace("ipc") },
        ]);
        config["hostname"] = Value::Null;
    });
    for name in ["net", "ipc"] {
        let theirs = fs::read_link(host.namespace(name)).unwrap();
        assert!(out.contains(theirs.to_str().unwrap()), "{out}");
    }
}

#[test]
fn a_user_namespace_is_joined_and_owns_what_is_new() {
    let Some(world) = World::new("joinuser") else { return };
    let host = Host::with(&["--user", "--map-root-user", "--net"]);
    let out = world.shell("ls -l /proc/self/ns; hostname", |config| {
        config["linux"]["namespaces"] = json!([
            { "type": "mount" }, { "type": "pid" }, { "type": "uts" }, { "type": "ipc" },
            { "type": "user", "path": host.namespace("user") },
            { "type": "network", "path": host.namespace("net") },
        ]);
        // Group 5, which owns terminals, is not mapped there.
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| mount["destination"] != "/dev/pts");
    });
    for name in ["user", "net"] {
        let theirs = fs::read_link(host.namespace(name)).unwrap();
        assert!(out.contains(theirs.to_str().unwrap()), "{out}");
    }
    assert!(out.ends_with("loadline\n"), "{out}");
    world.assert_nothing_is_left();
}

#[test]
fn a_new_user_namespace_can_have_a_network_of_the_host_s() {
    let Some(world) = World::new("usernet") else { return };
    let host = Host::with(&["--net"]);
    let out = world.shell("ls -l /proc/self/ns/net; id -u", |config| {
        config["linux"]["namespaces"] = json!([
            { "type": "mount" }, { "type": "pid" }, { "type": "uts" }, { "type": "ipc" },
            { "type": "user" }, { "type": "network", "path": host.namespace("net") },
        ]);
        let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 1000 }]);
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map;
        // The host owns the network, so its sysfs is not the container's to mount.
        config["mounts"]
            .as_array_mut()
            .unwrap()
            .retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/sys"));
    });
    let theirs = fs::read_link(host.namespace("net")).unwrap();
    assert!(out.contains(theirs.to_str().unwrap()) && out.ends_with("0\n"), "{out}");
    world.assert_nothing_is_left();
}

#[test]
fn an_overlay_may_have_many_layers() {
    let Some(world) = World::new("layers") else { return };
    let base = world.path("layers");
    let layers: Vec<_> = (0..20).map(|n| base.join(format!("a-layer-with-a-name-{n}"))).collect();
    for (n, layer) in layers.iter().enumerate() {
        fs::create_dir_all(layer).unwrap();
        fs::write(layer.join(format!("file{n}")), "x").unwrap();
    }
    let script = "ls /data | wc -l; grep -c ' /data .*ro,nosuid' /proc/self/mountinfo; \
                  grep -c overlay /proc/self/mountinfo";
    let out = |length: usize| {
        let lower = layers.iter().take(length).map(|path| path.to_str().unwrap());
        let lower = format!("lowerdir={}", lower.collect::<Vec<_>>().join(":"));
        world.script(script, |config| {
            mount(
                config,
                json!({
                    "destination": "/data", "type": "overlay", "source": "overlay",
                    "options": [lower, "ro", "nosuid"],
                }),
            );
        });
        world.run()
    };
    // The kernel's way for detached mounts, and the one for options of more than 255 bytes.
    for length in [2, 20] {
        let ran = out(length);
        assert_eq!(ran.out, format!("{length}\n1\n1\n"), "{ran:?}");
    }
    world.assert_nothing_is_left();
}

#[test]
fn a_node_of_the_image_is_adopted_only_if_it_is_the_device() {
    let Some(world) = World::new("adopt") else { return };
    let dir = world.rootfs().join("opt");
    fs::create_dir(&dir).unwrap();
    let device = |path: &str| {
        json!([{ "path": path, "type": "c", "major": 1, "minor": 5, "fileMode": 0o640,
            "uid": 7, "gid": 8 }])
    };
    let mknod = |name: &str, minor: &str| {
        let mut mknod = Command::new("mknod");
        mknod.args(["-m", "600"]).arg(dir.join(name)).args(["c", "1", minor]);
        assert!(mknod.status().unwrap().success());
    };
    mknod("zero", "5");
    mknod("other", "3");
    let out = world.shell("stat -c '%a %u %g' /opt/zero", |config| {
        config["linux"]["devices"] = device("/opt/zero");
    });
    assert_eq!(out, "640 7 8\n");
    std::os::unix::fs::symlink("zero", dir.join("link")).unwrap();
    for name in ["/opt/other", "/opt/link"] {
        world.script("true", |config| config["linux"]["devices"] = device(name));
        let ran = world.run();
        assert!(ran.err.contains("the node there is another device"), "{ran:?}");
    }
    world.assert_nothing_is_left();
}

#[test]
fn a_writable_cgroup_belongs_to_the_user_who_runs_in_it() {
    let Some(world) = World::new("cgroupowner") else { return };
    let script = "cd /sys/fs/cgroup && stat -c '%n %u' . cgroup.procs cgroup.subtree_control \
                  cgroup.freeze && mkdir below && echo made && rmdir below";
    for (mode, owner, made) in [("rw", "1000", "made\n"), ("ro", "0", "")] {
        world.script(script, |config| {
            config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
            push(&mut config["linux"]["namespaces"], json!({ "type": "cgroup" }));
            for mount in config["mounts"].as_array_mut().unwrap() {
                if mount["type"] == "cgroup" {
                    mount["options"] = json!([mode, "nosuid", "noexec", "nodev"]);
                }
            }
        });
        // v2 alone, whatever the host has.
        let mut alone = Command::new("unshare");
        let run = world.command(&["run", "-b", world.bundle().to_str().unwrap(), &world.id]);
        alone.args(["-m", "--propagation", "private", "sh", "-c"]);
        alone.arg("mount -t cgroup2 none /sys/fs/cgroup || exit 99; exec \"$@\"").arg("sh");
        alone.arg(run.get_program()).args(run.get_args()).stdin(Stdio::null());
        let output = alone.output().unwrap();
        if output.status.code() == Some(99) {
            eprintln!("SKIPPED cgroupowner: needs cgroup v2 in the kernel");
            return;
        }
        let files = ". cgroup.procs cgroup.subtree_control".replace(' ', &format!(" {owner}\n"));
        let expected = format!("{files} {owner}\ncgroup.freeze 0\n{made}");
        assert_eq!(world::text(&output), expected, "{mode}: {output:?}");
    }
    world.assert_nothing_is_left();
}

/// Its devices, links and mounts have to be made before it is closed.
#[test]
fn a_read_only_dev_is_filled_first() {
    let Some(world) = World::new("rodev") else { return };
    let script = "touch /dev/x 2>&1; echo written >/dev/null && ls -d /dev/pts/ptmx /dev/shm";
    let out = world.shell(script, |config| {
        let dev = config["mounts"].as_array_mut().unwrap();
        let dev = dev.iter_mut().find(|mount| mount["destination"] == "/dev").unwrap();
        push(&mut dev["options"], json!("ro"));
    });
    assert!(out.contains("Read-only file system"), "{out}");
    assert!(out.ends_with("/dev/pts/ptmx\n/dev/shm\n"), "{out}");
    world.assert_nothing_is_left();
}

#[test]
fn a_tmpfs_is_as_open_as_the_directory_that_it_hides() {
    let Some(world) = World::new("tmpmode") else { return };
    let dir = world.rootfs().join("secret");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o710)).unwrap();
    let modes = "stat -c %a /secret /told /new/place";
    let out = world.shell(modes, |config| {
        for (destination, options) in
            [("/secret", json!(["ro"])), ("/told", json!(["mode=0500"])), ("/new/place", json!([]))]
        {
            mount(
                config,
                json!({ "destination": destination, "type": "tmpfs", "options": options }),
            );
        }
    });
    assert_eq!(out, "710\n500\n1777\n");
    world.assert_nothing_is_left();
}

/// Where a whole procfs of the host's is left, the kernel lets a user namespace mount another one,
/// in which nothing is masked.
#[test]
fn without_pivot_no_procfs_of_the_host_is_left() {
    let Some(world) = World::new("nopivot") else { return };
    let attack = "busybox unshare -mrpf sh -c 'mount -t proc none /proc && echo whole' 2>&1; true";
    let arm = |config: &mut Value| {
        for set in ["bounding", "effective", "permitted"] {
            push(&mut config["process"]["capabilities"][set], json!("CAP_SETFCAP"));
        }
    };
    world.script(attack, |config| {
        arm(config);
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
    });
    let unmasked = world.run();
    if unmasked.out != "whole\n" {
        eprintln!("SKIPPED nopivot: needs user namespaces in containers: {unmasked:?}");
        return;
    }
    world.script(attack, arm);
    for flags in [&[][..], &["--no-pivot"]] {
        let ran = world.with_bundle("run", flags);
        assert!(ran.out.contains("permission denied"), "{flags:?}: {ran:?}");
    }
    world.assert_nothing_is_left();
}

#[test]
fn options_of_filesystems_are_ignored_on_a_bind_mount_and_that_is_told() {
    let Some(world) = World::new("bindopts") else { return };
    let bound = |options: &[&str]| {
        let mut all = vec!["bind"];
        all.extend(options);
        world.script("stat -c %a /tmp", |config| {
            let source = world.path("shared");
            fs::create_dir_all(&source).unwrap();
            let mount = json!({ "destination": "/tmp", "source": source, "options": all });
            push(&mut config["mounts"], mount);
        });
        world.run()
    };
    let ran = bound(&["mode=711", "size=64k", "async"]);
    assert_eq!((ran.code, ran.out.trim()), (0, "755"), "{ran:?}");
    let told = "].options: a bind mount has no \"mode=711,size=64k,async\" of its own: ignored";
    assert!(ran.err.trim_end().ends_with(told), "{ran:?}");
    let ran = bound(&["r0"]);
    assert!(ran.code == 1 && ran.err.contains("has \"r0\", which no bind mount has"), "{ran:?}");
}

/// It is made of the host's cgroups as they are.
#[test]
fn options_of_a_filesystem_on_cgroups_are_ignored_with_a_warning() {
    let Some(world) = World::new("cgroupoptions") else { return };
    let with = |option: &str| {
        world.script("true", |config| {
            let mounts = config["mounts"].as_array_mut().unwrap();
            let cgroups = mounts.iter_mut().find(|mount| mount["type"] == "cgroup").unwrap();
            push(&mut cgroups["options"], json!(option));
        });
        world.run()
    };
    let ran = with("nsdelegate");
    let told = "].options: a view of cgroups has no \"nsdelegate\" of its own: ignored";
    assert!(ran.code == 0 && ran.err.trim_end().ends_with(told), "{ran:?}");
    let ran = with("tmpcopyup");
    assert!(ran.code == 1 && ran.err.contains("has tmpcopyup, which is for tmpfs"), "{ran:?}");
    world.assert_nothing_is_left();
}

#[test]
fn a_destination_that_is_not_absolute_is_told() {
    let Some(world) = World::new("relative") else { return };
    world.script("stat -f -c %T /tmp/x", |config| {
        push(
            &mut config["mounts"],
            json!({ "destination": "tmp/x", "type": "tmpfs", "source": "tmpfs" }),
        );
        config["root"]["readonly"] = json!(false);
    });
    let ran = world.run();
    assert_eq!((ran.code, ran.out.as_str()), (0, "tmpfs\n"), "{ran:?}");
    assert!(ran.err.contains("].destination: tmp/x is not absolute"), "{ran:?}");
    world.assert_nothing_is_left();
}
