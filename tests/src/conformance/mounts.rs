//! The file system of a container: mounts with their options, devices, masked and read-only paths.
//! Source: OCI runtime-spec, config.md "Mounts", config-linux.md "Default Devices", "Devices",
//! "Masked Paths", "Readonly Paths", "Rootfs Mount Propagation"; runc's words for options.

use std::fs;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::world::path_text;
use super::{Verdict, World, cases, claim};
use crate::kernel;

cases!("mounts":
    the_mounts_of_an_ordinary_container_are_there,
    a_tmpfs_has_its_size_and_mode,
    a_bind_mount_shows_the_source,
    a_file_can_be_bound,
    a_bind_of_the_hosts_root_shows_the_host,
    a_bind_mount_can_be_read_only,
    a_read_only_bind_covers_only_its_own_mount,
    a_mount_point_is_made_where_missing,
    later_mounts_lie_over_earlier_ones,
    a_link_in_the_rootfs_leads_nowhere_outside,
    propagation_is_private_unless_asked_for,
    a_slave_mount_sees_what_the_host_mounts,
    a_read_only_root_can_not_be_written,
    masked_paths_show_nothing,
    read_only_paths_can_not_be_written,
    missing_masked_paths_are_no_error,
    the_usual_devices_are_there,
    the_usual_links_are_there,
    a_device_is_made_as_asked,
    the_host_root_is_gone,
    a_recursive_read_only_bind_covers_mounts_below,
    an_id_mapped_mount_shows_other_owners,
    what_is_below_a_tmpfs_is_copied_up_where_asked,
);

pub(super) fn add_mount(config: &mut Value, mount: Value) {
    if let Some(mounts) = config["mounts"].as_array_mut() {
        mounts.push(mount);
    }
}

pub(super) fn mount_at<'a>(facts: &'a Value, target: &str) -> anyhow::Result<&'a Value> {
    let mounts = facts["mounts"].as_array().context("the probe told no mounts")?;
    let found = mounts.iter().rev().find(|mount| mount["target"] == target);
    found.with_context(|| format!("nothing is mounted at {target}"))
}

pub(super) fn has(list: &Value, word: &str) -> bool {
    list.as_array().is_some_and(|list| list.contains(&json!(word)))
}

fn the_mounts_of_an_ordinary_container_are_there(w: &World) -> anyhow::Result<Verdict> {
    let facts = w.facts(&w.bundle(&["mounts"])?)?;
    let expected: &[(&str, &str, &[&str])] = &[
        ("/proc", "proc", &["rw"]),
        ("/dev", "tmpfs", &["rw", "nosuid"]),
        ("/dev/pts", "devpts", &["nosuid", "noexec"]),
        ("/dev/shm", "tmpfs", &["nosuid", "nodev", "noexec"]),
        ("/dev/mqueue", "mqueue", &["nosuid", "nodev", "noexec"]),
        ("/sys", "sysfs", &["ro", "nosuid", "nodev", "noexec"]),
    ];
    for (target, kind, options) in expected {
        let mount = mount_at(&facts, target)?;
        claim!(mount["type"] == *kind, "{target} is {}", mount["type"]);
        for option in *options {
            claim!(has(&mount["options"], option), "{target}: no {option} in {mount}");
        }
    }
    Ok(Verdict::Pass)
}

fn a_tmpfs_has_its_size_and_mode(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["mounts", "--", "stat", "/scratch"])?.change(|config| {
        let options = ["size=1024k", "mode=1711", "noexec", "nosuid", "nodev"];
        add_mount(
            config,
            json!({
                "destination": "/scratch", "type": "tmpfs", "source": "tmpfs", "options": options
            }),
        );
    })?;
    let facts = w.facts(&bundle)?;
    let mount = mount_at(&facts, "/scratch")?;
    claim!(has(&mount["super"], "size=1024k"), "{mount}");
    claim!(has(&mount["options"], "noexec"), "{mount}");
    claim!(facts["mode"] == "1711", "mode {}", facts["mode"]);
    Ok(Verdict::Pass)
}

/// A bundle with `source` of the host bound at `/data`, whose process is the probe with `verbs`.
fn bound(w: &World, source: &str, options: &[&str], verbs: &[&str]) -> anyhow::Result<Value> {
    let bundle = w.bundle(verbs)?.change(|config| {
        add_mount(
            config,
            json!({
                "destination": "/data", "type": "bind", "source": source, "options": options
            }),
        );
    })?;
    w.facts(&bundle)
}

fn a_bind_mount_shows_the_source(w: &World) -> anyhow::Result<Verdict> {
    let source = w.folder().join("source");
    fs::create_dir(&source).context("make a folder")?;
    fs::write(source.join("file"), "of the host").context("write a file")?;
    let verbs = ["cat", "/data/file", "--", "write", "/data/back", "from inside"];
    let facts = bound(w, path_text(&source)?, &["rbind", "rw"], &verbs)?;
    claim!(facts["text"] == "of the host", "{facts}");
    let back = fs::read_to_string(source.join("back")).context("read what came back")?;
    claim!(back == "from inside", "{back:?}");
    Ok(Verdict::Pass)
}

fn a_file_can_be_bound(w: &World) -> anyhow::Result<Verdict> {
    let source = w.folder().join("source");
    fs::write(&source, "one file").context("write a file")?;
    let facts = bound(w, path_text(&source)?, &["bind", "ro"], &["cat", "/data"])?;
    claim!(facts["text"] == "one file", "{facts}");
    Ok(Verdict::Pass)
}

fn a_bind_of_the_hosts_root_shows_the_host(w: &World) -> anyhow::Result<Verdict> {
    let marker = w.folder().join("marker");
    fs::write(&marker, "of the host").context("write a file")?;
    let inside = format!("/data{}", path_text(&marker)?);
    let facts = bound(w, "/", &["rbind", "ro"], &["cat", &inside])?;
    claim!(facts["text"] == "of the host", "{facts}");
    Ok(Verdict::Pass)
}

fn a_bind_mount_can_be_read_only(w: &World) -> anyhow::Result<Verdict> {
    let source = w.folder().join("source");
    fs::create_dir(&source).context("make a folder")?;
    let options = ["rbind", "ro", "nosuid", "nodev", "noexec"];
    let verbs = ["mounts", "--", "try-open", "/data/file", "wc"];
    let facts = bound(w, path_text(&source)?, &options, &verbs)?;
    let mount = mount_at(&facts, "/data")?;
    for option in ["ro", "nosuid", "nodev", "noexec"] {
        claim!(has(&mount["options"], option), "no {option}: {mount}");
    }
    claim!(facts["errno"] == "EROFS", "{facts}");
    claim!(!source.join("file").exists(), "the file was made");
    Ok(Verdict::Pass)
}

fn a_read_only_bind_covers_only_its_own_mount(w: &World) -> anyhow::Result<Verdict> {
    let verbs = ["try-open", "/tmp/file", "wc"];
    let facts = bound(w, path_text(w.folder())?, &["rbind", "ro"], &verbs)?;
    claim!(facts["ok"] == true, "the root became read only too: {facts}");
    Ok(Verdict::Pass)
}

fn a_mount_point_is_made_where_missing(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["mounts"])?.change(|config| {
        add_mount(
            config,
            json!({ "destination": "/a/new/place", "type": "tmpfs", "source": "tmpfs" }),
        );
    })?;
    mount_at(&w.facts(&bundle)?, "/a/new/place")?;
    Ok(Verdict::Pass)
}

fn later_mounts_lie_over_earlier_ones(w: &World) -> anyhow::Result<Verdict> {
    let (one, two) = (w.folder().join("one"), w.folder().join("two"));
    for (folder, text) in [(&one, "1"), (&two, "2")] {
        fs::create_dir(folder).context("make a folder")?;
        fs::write(folder.join("file"), text).context("write a file")?;
    }
    let bundle = w.bundle(&["cat", "/data/file"])?.change(|config| {
        for source in [&one, &two] {
            add_mount(
                config,
                json!({
                    "destination": "/data", "type": "bind", "source": source, "options": ["bind"]
                }),
            );
        }
    })?;
    let facts = w.facts(&bundle)?;
    claim!(facts["text"] == "2", "{facts}");
    Ok(Verdict::Pass)
}

fn a_link_in_the_rootfs_leads_nowhere_outside(w: &World) -> anyhow::Result<Verdict> {
    let outside = w.folder().join("outside");
    fs::create_dir(&outside).context("make a folder")?;
    let bundle = w.bundle(&["mounts", "--", "write", "/link/sub/mark", "x"])?;
    std::os::unix::fs::symlink(&outside, bundle.rootfs().join("link")).context("make a link")?;
    let bundle = bundle.change(|config| {
        add_mount(
            config,
            json!({ "destination": "/link/sub", "type": "tmpfs", "source": "tmpfs" }),
        );
    })?;
    // Either the link is resolved inside the root, or it is refused; never is it followed out.
    let outcome = w.run(&bundle)?;
    let made: Vec<_> = outside.read_dir().context("list a folder")?.collect();
    claim!(made.is_empty(), "something was made outside of the root");
    claim!(outcome.code == 0 || !outcome.stderr.is_empty(), "refused without a word");
    if outcome.code == 0 {
        outcome.facts()?;
    } else {
        // A runtime that refuses everything proves nothing.
        let good = w.run(&w.bundle(&["exit", "5"])?)?;
        claim!(good.code == 5, "a good bundle: exit {}: {}", good.code, good.stderr);
    }
    Ok(Verdict::Pass)
}

fn propagation_is_private_unless_asked_for(w: &World) -> anyhow::Result<Verdict> {
    let facts = w.facts(&w.bundle(&["mounts"])?)?;
    for mount in facts["mounts"].as_array().context("no mounts are told")? {
        let shared = mount["propagation"].as_array().into_iter().flatten();
        let shared = shared.filter_map(Value::as_str).any(|tag| tag.starts_with("shared:"));
        claim!(!shared, "{mount}");
    }
    Ok(Verdict::Pass)
}

fn a_slave_mount_sees_what_the_host_mounts(w: &World) -> anyhow::Result<Verdict> {
    let source = w.folder().join("source");
    fs::create_dir_all(source.join("sub")).context("make a folder")?;
    let facts = {
        // A mount namespace of our own, where the source is a shared mount.
        let bundle = w.bundle(&["mounts"])?.change(|config| {
            config["linux"]["rootfsPropagation"] = json!("rslave");
            add_mount(
                config,
                json!({
                    "destination": "/data", "type": "bind", "source": source,
                    "options": ["rbind", "rslave"]
                }),
            );
        })?;
        let inner = w.command(&["run", "--bundle", path_text(&bundle.path)?, &w.id()]);
        let script = "mount --bind \"$0\" \"$0\" && mount --make-shared \"$0\" && exec \"$@\"";
        let mut outer = std::process::Command::new("unshare");
        outer.args(["--mount", "sh", "-c", script]).arg(&source);
        outer.arg(inner.get_program()).args(inner.get_args()).stdin(std::process::Stdio::null());
        let ran = crate::program::run(w.folder(), &mut outer)?.succeeded()?;
        serde_json::from_str::<Value>(ran.stdout.trim()).context("read the facts")?
    };
    let mount = mount_at(&facts, "/data")?;
    let tags = mount["propagation"].as_array().cloned().unwrap_or_default();
    let slave = tags.iter().filter_map(Value::as_str).any(|tag| tag.starts_with("master:"));
    claim!(slave, "{mount}");
    Ok(Verdict::Pass)
}

fn a_read_only_root_can_not_be_written(w: &World) -> anyhow::Result<Verdict> {
    let verbs = ["try-open", "/file", "wc", "--", "mounts"];
    let bundle = w.bundle(&verbs)?.change(|c| c["root"]["readonly"] = json!(true))?;
    let facts = w.facts(&bundle)?;
    claim!(facts["errno"] == "EROFS", "{}", facts["errno"]);
    claim!(!bundle.rootfs().join("file").exists(), "the file was made");
    let dev = mount_at(&facts, "/dev")?;
    claim!(has(&dev["options"], "rw"), "/dev became read only: {dev}");
    Ok(Verdict::Pass)
}

fn masked_paths_show_nothing(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["cat", "/secret/file", "--", "ls", "/hidden"])?;
    for (folder, file) in [("secret", "file"), ("hidden", "file")] {
        let folder = bundle.rootfs().join(folder);
        fs::create_dir(&folder).context("make a folder")?;
        fs::write(folder.join(file), "secret").context("write a file")?;
    }
    let bundle = bundle.change(|config| {
        config["linux"]["maskedPaths"] = json!(["/secret/file", "/hidden"]);
    })?;
    let facts = w.facts(&bundle)?;
    claim!(facts["text"] == "", "a masked file says {}", facts["text"]);
    claim!(facts["names"] == json!([]), "a masked folder holds {}", facts["names"]);
    Ok(Verdict::Pass)
}

fn read_only_paths_can_not_be_written(w: &World) -> anyhow::Result<Verdict> {
    let verbs = ["try-open", "/kept/file", "wc", "--", "try-open", "/kept/file", "w"];
    let bundle = w.bundle(&verbs)?;
    let kept = bundle.rootfs().join("kept");
    fs::create_dir(&kept).context("make a folder")?;
    fs::write(kept.join("file"), "old").context("write a file")?;
    let bundle = bundle.change(|c| c["linux"]["readonlyPaths"] = json!(["/kept"]))?;
    let outcome = w.run(&bundle)?;
    let refused = outcome.stdout.matches("EROFS").count();
    claim!(refused == 2, "{:?} {:?}", outcome.stdout, outcome.stderr);
    Ok(Verdict::Pass)
}

fn missing_masked_paths_are_no_error(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["exit", "4"])?.change(|config| {
        config["linux"]["maskedPaths"] = json!(["/no/such", "/proc/no/such"]);
        config["linux"]["readonlyPaths"] = json!(["/not/there"]);
    })?;
    let outcome = w.run(&bundle)?;
    claim!(outcome.code == 4, "exit {}: {}", outcome.code, outcome.stderr);
    Ok(Verdict::Pass)
}

fn the_usual_devices_are_there(w: &World) -> anyhow::Result<Verdict> {
    let verbs = ["devices", "--", "try-open", "/dev/null", "rw", "--", "try-open", "/dev/tty", "r"];
    let outcome = w.run(&w.bundle(&verbs)?)?;
    let facts: Value = serde_json::from_str(outcome.stdout.lines().next().unwrap_or_default())
        .with_context(|| format!("read the facts: {}", outcome.stderr))?;
    let expected =
        [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9)];
    for (name, major, minor) in expected.into_iter().chain([("tty", 5, 0)]) {
        let device = &facts["devices"][format!("/dev/{name}")];
        claim!(device["type"] == "character", "/dev/{name}: {device}");
        claim!(device["major"] == major && device["minor"] == minor, "/dev/{name}: {device}");
        claim!(device["mode"] == "666", "/dev/{name}: mode {}", device["mode"]);
    }
    claim!(outcome.stdout.contains("\"ok\":true"), "/dev/null can't be opened");
    Ok(Verdict::Pass)
}

fn the_usual_links_are_there(w: &World) -> anyhow::Result<Verdict> {
    let expected = [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
        ("/dev/ptmx", "pts/ptmx"),
    ];
    let verbs: Vec<&str> = expected.iter().flat_map(|(path, _)| ["link", path, "--"]).collect();
    let outcome = w.run(&w.bundle(&verbs)?)?;
    let seen: Vec<Value> =
        outcome.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    claim!(seen.len() == expected.len(), "{:?} {}", outcome.stdout, outcome.stderr);
    for ((path, target), seen) in expected.iter().zip(&seen) {
        let told = seen["target"].as_str().unwrap_or_default();
        claim!(told.ends_with(target), "{path} leads to {seen}");
    }
    Ok(Verdict::Pass)
}

fn a_device_is_made_as_asked(w: &World) -> anyhow::Result<Verdict> {
    let verbs = ["stat", "/dev/mine", "--", "try-open", "/dev/mine", "r"];
    let bundle = w.bundle(&verbs)?.change(|config| {
        config["linux"]["devices"] = json!([{
            "path": "/dev/mine", "type": "c", "major": 1, "minor": 5,
            "fileMode": 0o604, "uid": 12, "gid": 34
        }]);
        config["linux"]["resources"]["devices"] = json!([
            { "allow": false, "access": "rwm" },
            { "allow": true, "type": "c", "major": 1, "minor": 5, "access": "r" }
        ]);
    })?;
    let facts = w.facts(&bundle)?;
    let seen = (&facts["major"], &facts["minor"], &facts["uid"], &facts["gid"]);
    claim!(seen == (&json!(1), &json!(5), &json!(12), &json!(34)), "{facts}");
    claim!(facts["mode"] == "604", "mode {}", facts["mode"]);
    claim!(facts["ok"] == true, "it can't be opened: {facts}");
    Ok(Verdict::Pass)
}

fn the_host_root_is_gone(w: &World) -> anyhow::Result<Verdict> {
    let facts = w.facts(&w.bundle(&["ls", "/", "--", "mounts"])?)?;
    let names = facts["names"].as_array().cloned().unwrap_or_default();
    claim!(has(&facts["names"], "bin"), "{names:?}");
    claim!(!has(&facts["names"], "boot"), "the host's root: {names:?}");
    let folder = path_text(w.folder())?;
    for mount in facts["mounts"].as_array().into_iter().flatten() {
        let target = mount["target"].as_str().unwrap_or_default();
        claim!(!target.contains(folder), "a mount of the host is left: {target}");
    }
    claim!(kernel::mounts().iter().all(|mount| !mount.starts_with(folder)), "a mount leaked out");
    Ok(Verdict::Pass)
}

fn a_recursive_read_only_bind_covers_mounts_below(w: &World) -> anyhow::Result<Verdict> {
    let source = w.folder().join("source");
    fs::create_dir_all(source.join("below")).context("make a folder")?;
    let bundle = w.bundle(&["try-open", "/data/below/file", "wc"])?.change(|config| {
        add_mount(
            config,
            json!({
                "destination": "/data", "type": "bind", "source": source,
                "options": ["rbind", "rro"]
            }),
        );
    })?;
    // Something is mounted below the source, in a mount namespace of our own.
    let inner = w.command(&["run", "--bundle", path_text(&bundle.path)?, &w.id()]);
    let script = "mount -t tmpfs tmpfs \"$0\" && exec \"$@\"";
    let mut outer = std::process::Command::new("unshare");
    outer.args(["--mount", "sh", "-c", script]).arg(source.join("below"));
    outer.arg(inner.get_program()).args(inner.get_args()).stdin(std::process::Stdio::null());
    let ran = crate::program::run(w.folder(), &mut outer)?;
    let facts: Value =
        serde_json::from_str(ran.stdout.trim()).with_context(|| format!("read: {}", ran.said()))?;
    claim!(facts["errno"] == "EROFS", "{facts}");
    Ok(Verdict::Pass)
}

fn an_id_mapped_mount_shows_other_owners(w: &World) -> anyhow::Result<Verdict> {
    let source = w.folder().join("source");
    fs::create_dir(&source).context("make a folder")?;
    fs::write(source.join("file"), "x").context("write a file")?;
    std::os::unix::fs::chown(source.join("file"), Some(1000), Some(1000)).context("chown")?;
    let bundle = w.bundle(&["stat", "/data/file"])?.change(|config| {
        let map = json!([{ "containerID": 1000, "hostID": 3000, "size": 10 }]);
        add_mount(
            config,
            json!({
                "destination": "/data", "type": "bind", "source": source,
                "options": ["bind", "idmap"], "uidMappings": map, "gidMappings": map
            }),
        );
    })?;
    let outcome = w.run(&bundle)?;
    if outcome.stderr.contains("invalid argument") || outcome.stderr.contains("Invalid argument") {
        return Ok(Verdict::Needs("id-mapped mounts on this file system".to_owned()));
    }
    let facts = outcome.facts()?;
    let owner = (&facts["uid"], &facts["gid"]);
    claim!(owner == (&json!(3000), &json!(3000)), "{facts}");
    Ok(Verdict::Pass)
}

fn what_is_below_a_tmpfs_is_copied_up_where_asked(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["cat", "/data/file", "--", "write", "/data/file", "new"])?;
    fs::create_dir(bundle.rootfs().join("data")).context("make a folder")?;
    fs::write(bundle.rootfs().join("data/file"), "of the image").context("write a file")?;
    let bundle = bundle.change(|config| {
        add_mount(
            config,
            json!({
                "destination": "/data", "type": "tmpfs", "source": "tmpfs",
                "options": ["tmpcopyup", "mode=755"]
            }),
        );
    })?;
    let facts = w.facts(&bundle)?;
    claim!(facts["text"] == "of the image", "{facts}");
    let below = fs::read_to_string(bundle.rootfs().join("data/file")).context("read a file")?;
    claim!(below == "of the image", "the image was written: {below:?}");
    Ok(Verdict::Pass)
}
