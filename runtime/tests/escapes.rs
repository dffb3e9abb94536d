//! Attacks on the runtime by bundles and images: each must end inside of the container or in a
//! refusal.

#![cfg(test)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod world;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::{Value, json};
use world::{Ran, World, push};

fn contained(world: &World, ran: &Ran) {
    let runtime = fs::read(env!("CARGO_BIN_EXE_loadline-runtime")).unwrap();
    assert_eq!(&runtime[..4], b"\x7fELF", "the runtime was overwritten");
    assert!(!world.path("outside").join("made").exists(), "{ran:?}");
    world.assert_nothing_is_left();
}

/// CVE-2019-5736: the container's program is the runtime's own executable.
#[test]
fn the_executable_cannot_be_reached_by_proc_self_exe() {
    let Some(world) = World::new("exe") else { return };
    let script = world.rootfs().join("bin/script");
    fs::write(&script, "#!/proc/self/exe\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    symlink("/proc/self/exe", world.rootfs().join("bin/link")).unwrap();
    for program in ["/proc/self/exe", "/bin/script", "/bin/link"] {
        world.config(|config| config["process"]["args"] = json!([program, "--version"]));
        let ran = world.run();
        assert_eq!(ran.code, 1, "{program}: {ran:?}");
        assert!(ran.err.contains("exec format error"), "{program}: {ran:?}");
        assert_eq!(ran.out, "", "{program}");
        contained(&world, &ran);
    }
}

/// The same through a hook whose file is the container's.
#[test]
fn the_executable_cannot_be_reached_by_a_start_container_hook() {
    let Some(world) = World::new("exehook") else { return };
    let script = world.rootfs().join("bin/script");
    fs::write(&script, "#!/proc/self/exe\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    world.script("true", |config| {
        config["hooks"] = json!({ "startContainer": [{ "path": "/bin/script" }] });
    });
    let ran = world.run();
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("exec format error"), "{ran:?}");
    contained(&world, &ran);
}

/// CVE-2024-21626, CVE-2016-9962: a working directory or a program by a leaked descriptor.
#[test]
fn no_descriptor_of_the_host_is_a_way_out() {
    let Some(world) = World::new("fd") else { return };
    for fd in 3..20 {
        world.script("cat /etc/shadow", |config| {
            config["process"]["cwd"] = json!(format!("/proc/self/fd/{fd}"));
        });
        let ran = world.run();
        assert_ne!(ran.code, 0, "{fd}: {ran:?}");
        assert!(!ran.out.contains("root:"), "{fd}: {ran:?}");
        world.config(|config| {
            let program = format!("/proc/self/fd/{fd}/../../../../bin/busybox");
            config["process"]["args"] = json!([program, "id"]);
        });
        let ran = world.run();
        assert_ne!(ran.code, 0, "{fd}: {ran:?}");
    }
    world.assert_nothing_is_left();
}

#[test]
fn the_program_has_the_standard_descriptors_only() {
    let Some(world) = World::new("fds") else { return };
    let out = world.shell("ls /proc/self/fd | wc -l", |_| {});
    // Three, and the one with which ls reads the directory.
    assert_eq!(out.trim(), "4");
}

/// CVE-2021-30465, CVE-2024-45310 and their like: links in the image where mounts go.
#[test]
fn a_mount_s_place_cannot_lead_out_of_the_root() {
    let Some(world) = World::new("link") else { return };
    fs::create_dir(world.path("outside")).unwrap();
    symlink(world.path("outside"), world.rootfs().join("abs")).unwrap();
    symlink("../../outside", world.rootfs().join("rel")).unwrap();
    for destination in ["/abs/made", "/rel/made", "/abs", "/../../outside/made"] {
        world.script("true", |config| {
            push(
                &mut config["mounts"],
                json!({
                    "destination": destination, "type": "tmpfs", "source": "tmpfs",
                }),
            );
            config["root"]["readonly"] = json!(false);
        });
        let ran = world.run();
        assert_eq!(fs::read_dir(world.path("outside")).unwrap().count(), 0, "{destination}");
        contained(&world, &ran);
    }
}

/// CVE-2023-27561, CVE-2019-19921: /proc is a link, so that masks and labels go elsewhere.
#[test]
fn proc_and_sys_are_not_mounted_through_links() {
    for name in ["proc", "sys"] {
        let Some(world) = World::new(&format!("{name}link")) else { return };
        fs::remove_dir(world.rootfs().join(name)).unwrap();
        symlink("tmp", world.rootfs().join(name)).unwrap();
        world.script("true", |_| {});
        let ran = world.run();
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.err.contains("a symbolic link is in the way"), "{ran:?}");
        contained(&world, &ran);
    }
}

/// CVE-2019-16884, CVE-2025-52881: something is mounted over files of procfs that are trusted.
#[test]
fn nothing_is_mounted_inside_proc() {
    let Some(world) = World::new("inproc") else { return };
    for destination in ["/proc/self/attr", "/proc/sys", "/proc/1"] {
        world.script("true", |config| {
            push(
                &mut config["mounts"],
                json!({
                    "destination": destination, "type": "tmpfs", "source": "tmpfs",
                }),
            );
        });
        let ran = world.run();
        assert_eq!(ran.code, 1, "{destination}: {ran:?}");
        assert!(ran.err.contains("inside proc"), "{destination}: {ran:?}");
        contained(&world, &ran);
    }
    let out = world.shell("cat /proc/uptime", |config| {
        push(
            &mut config["mounts"],
            json!({
                "destination": "/proc/uptime", "type": "bind", "source": "/etc/hostname",
                "options": ["bind"],
            }),
        );
    });
    assert_eq!(out, fs::read_to_string("/etc/hostname").unwrap());
}

/// A volume that holds the container's root holds no mounts of the container: its procfs could be
/// written there, without masks. Hooks have the root attached at that place.
#[test]
fn a_volume_above_the_root_shows_no_second_proc() {
    let Some(world) = World::new("above") else { return };
    let hook = json!([{ "path": "/bin/true" }]);
    for hooks in [json!({}), json!({ "createRuntime": hook }), json!({ "createContainer": hook })] {
        let out = world.shell("ls /above/rootfs/proc; grep -c ' /above' /proc/mounts", |config| {
            let source = world.bundle();
            push(
                &mut config["mounts"],
                json!({
                    "destination": "/above", "type": "bind", "source": source,
                    "options": ["rbind"],
                }),
            );
            config["hooks"] = hooks.clone();
        });
        assert_eq!(out, "1\n", "{hooks}");
    }
    world.assert_nothing_is_left();
}

/// CVE-2025-31133: the image's /dev/null is another file, which masks would then show.
#[test]
fn an_image_s_own_null_is_not_used() {
    let Some(world) = World::new("null") else { return };
    symlink("/etc/passwd", world.rootfs().join("dev/null")).unwrap();
    world.script("true", |config| {
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
        config["root"]["readonly"] = json!(false);
    });
    let ran = world.run();
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("the node there is another device"), "{ran:?}");
    contained(&world, &ran);
}

#[test]
fn masked_and_read_only_paths_are_so() {
    let Some(world) = World::new("masks") else { return };
    fs::create_dir(world.rootfs().join("hidden")).unwrap();
    fs::write(world.rootfs().join("hidden/file"), "x").unwrap();
    fs::write(world.rootfs().join("secret"), "x").unwrap();
    let out = world.shell(
        "ls /hidden | wc -l; cat /secret; touch /hidden/y 2>/dev/null || echo hidden; \
         touch /tmp/y 2>/dev/null || echo read-only; touch /etc/y && echo writable",
        |config| {
            config["root"]["readonly"] = json!(false);
            config["linux"]["maskedPaths"] = json!(["/hidden", "/secret", "/nosuch"]);
            config["linux"]["readonlyPaths"] = json!(["/tmp"]);
        },
    );
    assert_eq!(out, "0\nhidden\nread-only\nwritable\n");
}

/// The cover of a masked file is the host's /dev/null itself.
#[test]
fn a_masked_file_does_not_let_the_host_s_null_be_changed() {
    let Some(world) = World::new("masknull") else { return };
    fs::write(world.rootfs().join("secret"), "x").unwrap();
    let out = world.shell(
        "chmod 666 /secret 2>/dev/null || echo refused; echo x >/secret && echo written",
        |config| config["linux"]["maskedPaths"] = json!(["/secret"]),
    );
    assert_eq!(out, "refused\nwritten\n");
}

#[test]
fn a_path_with_a_nul_byte_is_refused_by_its_name() {
    let Some(world) = World::new("nul") else { return };
    for (pointer, value, field) in [
        ("/root/path", json!("a\0b"), "root.path"),
        (
            "/hooks",
            json!({ "startContainer": [{ "path": "/a\0b" }] }),
            "hooks.startContainer[0].path",
        ),
    ] {
        world.script("true", |config| {
            config["hooks"] = json!({});
            *config.pointer_mut(pointer).unwrap() = value.clone();
        });
        let ran = world.run();
        assert!(ran.err.contains(&format!("{field} contains a NUL byte")), "{ran:?}");
        contained(&world, &ran);
    }
}

/// CVE-2022-29162 and its like: nothing is inheritable that was not asked for.
#[test]
fn capabilities_are_those_that_were_asked_for() {
    let Some(world) = World::new("caps") else { return };
    let sets = |world: &World, change: &dyn Fn(&mut Value)| {
        let out = world.shell("grep ^Cap /proc/self/status", |config| change(config));
        let numbers = out.lines().map(|line| line.split_whitespace().nth(1).unwrap().to_owned());
        numbers.map(|n| u64::from_str_radix(&n, 16).unwrap()).collect::<Vec<_>>()
    };
    // Inheritable, permitted, effective, bounding, ambient.
    let template = sets(&world, &|_| {});
    assert_eq!(template, [0, 0x2000_0420, 0x2000_0420, 0x2000_0420, 0]);
    let none = sets(&world, &|config| config["process"]["capabilities"] = json!({}));
    assert_eq!(none, [0, 0, 0, 0, 0]);
    let ambient = sets(&world, &|config| {
        let kill = json!(["CAP_KILL"]);
        config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
        config["process"]["capabilities"] = json!({
            "bounding": kill, "effective": kill, "inheritable": kill, "permitted": kill,
            "ambient": kill,
        });
    });
    assert_eq!(ambient, [0x20; 5]);
}
