//! The options of mounts, one by one, and devices of every type. Source: OCI runtime-spec 1.3,
//! config.md "Linux mount options", config-linux.md "Devices", "Rootfs Mount Propagation".

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use anyhow::Context as _;
use loadline_fixtures::Bundle;
use serde_json::{Value, json};

use super::mounts::{add_mount, has, mount_at};
use super::world::path_text;
use super::{Verdict, World, cases, claim};

cases!("mounts":
    the_root_has_the_propagation_asked_for,
    a_mount_has_the_propagation_asked_for,
    recursive_options_cover_mounts_below,
    recursive_options_are_taken_back_below,
    access_times_are_kept_as_asked,
    no_link_is_followed_where_asked,
    options_reach_the_file_system,
    a_tmpfs_belongs_to_whom_it_says,
    a_recursive_id_map_covers_mounts_below,
    devices_of_every_type_are_made,
);

fn tags(mount: &Value) -> Vec<&str> {
    mount["propagation"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn the_root_has_the_propagation_asked_for(w: &World) -> anyhow::Result<Verdict> {
    for (word, tag) in [("shared", "shared:"), ("unbindable", "unbindable"), ("private", "")] {
        let bundle = w.bundle(&["mounts"])?;
        let bundle = bundle.change(|c| c["linux"]["rootfsPropagation"] = json!(word))?;
        let facts = w.facts(&bundle).with_context(|| word.to_owned())?;
        let tags = tags(mount_at(&facts, "/")?);
        let right = match tag {
            "" => tags.is_empty(),
            tag => tags.iter().any(|seen| seen.starts_with(tag)),
        };
        claim!(right, "{word}: {tags:?}");
    }
    Ok(Verdict::Pass)
}

fn a_mount_has_the_propagation_asked_for(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["mounts"])?.change(|config| {
        for word in ["shared", "private", "unbindable"] {
            add_mount(
                config,
                json!({
                    "destination": format!("/{word}"), "type": "tmpfs", "source": "tmpfs",
                    "options": ["nodev", word]
                }),
            );
        }
    })?;
    let facts = w.facts(&bundle)?;
    let shared = tags(mount_at(&facts, "/shared")?);
    claim!(shared.iter().any(|tag| tag.starts_with("shared:")), "shared: {shared:?}");
    let private = tags(mount_at(&facts, "/private")?);
    claim!(private.is_empty(), "private: {private:?}");
    let unbindable = tags(mount_at(&facts, "/unbindable")?);
    claim!(unbindable == ["unbindable"], "unbindable: {unbindable:?}");
    Ok(Verdict::Pass)
}

/// Runs a bundle whose `/data` is bound from a folder that has a tmpfs with `below` as its options
/// mounted in it, in a mount namespace of its own.
fn with_one_below(w: &World, bundle: &Bundle, source: &Path, below: &str) -> anyhow::Result<Value> {
    let inner = w.command(&["run", "--bundle", path_text(&bundle.path)?, &w.id()]);
    let script =
        "mount -t tmpfs -o \"$1\" tmpfs \"$0\" && touch \"$0/file\" && shift && exec \"$@\"";
    let mut outer = std::process::Command::new("unshare");
    outer.args(["--mount", "sh", "-c", script]).arg(source.join("below")).arg(below);
    outer.arg(inner.get_program()).args(inner.get_args()).stdin(std::process::Stdio::null());
    let ran = crate::program::run(w.folder(), &mut outer)?;
    serde_json::from_str(ran.stdout.trim()).with_context(|| format!("read: {}", ran.said()))
}

fn bound_from(w: &World, options: &[&str]) -> anyhow::Result<(Bundle, std::path::PathBuf)> {
    let source = w.folder().join("source");
    fs::create_dir_all(source.join("below")).context("make a folder")?;
    let bundle = w.bundle(&["mounts"])?.change(|config| {
        add_mount(
            config,
            json!({
                "destination": "/data", "type": "bind", "source": source, "options": options
            }),
        );
    })?;
    Ok((bundle, source))
}

fn recursive_options_cover_mounts_below(w: &World) -> anyhow::Result<Verdict> {
    let asked = ["rbind", "rnosuid", "rnodev", "rnoexec", "rnoatime"];
    let (bundle, source) = bound_from(w, &asked)?;
    let facts = with_one_below(w, &bundle, &source, "mode=755")?;
    for target in ["/data", "/data/below"] {
        let mount = mount_at(&facts, target)?;
        for option in ["nosuid", "nodev", "noexec", "noatime"] {
            claim!(has(&mount["options"], option), "{target}: no {option}: {}", mount["options"]);
        }
    }
    Ok(Verdict::Pass)
}

fn recursive_options_are_taken_back_below(w: &World) -> anyhow::Result<Verdict> {
    let (bundle, source) = bound_from(w, &["rbind", "rsuid", "rdev", "rexec"])?;
    let facts = with_one_below(w, &bundle, &source, "nosuid,nodev,noexec")?;
    let mount = mount_at(&facts, "/data/below")?;
    for option in ["nosuid", "nodev", "noexec"] {
        claim!(!has(&mount["options"], option), "{option} is left: {}", mount["options"]);
    }
    Ok(Verdict::Pass)
}

fn access_times_are_kept_as_asked(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["mounts"])?.change(|config| {
        for words in ["noatime", "relatime", "strictatime", "nodiratime"] {
            add_mount(
                config,
                json!({
                    "destination": format!("/{words}"), "type": "tmpfs", "source": "tmpfs",
                    "options": [words]
                }),
            );
        }
    })?;
    let facts = w.facts(&bundle)?;
    for option in ["noatime", "relatime", "nodiratime"] {
        let mount = mount_at(&facts, &format!("/{option}"))?;
        claim!(has(&mount["options"], option), "no {option}: {}", mount["options"]);
    }
    let strict = mount_at(&facts, "/strictatime")?;
    for option in ["noatime", "relatime"] {
        claim!(!has(&strict["options"], option), "strictatime: {}", strict["options"]);
    }
    Ok(Verdict::Pass)
}

fn no_link_is_followed_where_asked(w: &World) -> anyhow::Result<Verdict> {
    let source = w.folder().join("source");
    fs::create_dir(&source).context("make a folder")?;
    fs::write(source.join("file"), "x").context("write a file")?;
    std::os::unix::fs::symlink("file", source.join("link")).context("make a link")?;
    let bundle = w.bundle(&["try-open", "/data/link", "r"])?.change(|config| {
        add_mount(
            config,
            json!({
                "destination": "/data", "type": "bind", "source": source,
                "options": ["bind", "nosymfollow"]
            }),
        );
    })?;
    let facts = w.facts(&bundle)?;
    claim!(facts["errno"] == "ELOOP", "{facts}");
    Ok(Verdict::Pass)
}

/// `sync` and `dirsync` are of the file system, not of the mount.
fn options_reach_the_file_system(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["mounts"])?.change(|config| {
        add_mount(
            config,
            json!({
                "destination": "/scratch", "type": "tmpfs", "source": "named",
                "options": ["sync", "dirsync", "nr_inodes=77"]
            }),
        );
    })?;
    let facts = w.facts(&bundle)?;
    let mount = mount_at(&facts, "/scratch")?;
    for option in ["sync", "dirsync", "nr_inodes=77"] {
        claim!(has(&mount["super"], option), "no {option}: {}", mount["super"]);
    }
    claim!(mount["source"] == "named", "source {}", mount["source"]);
    Ok(Verdict::Pass)
}

fn a_tmpfs_belongs_to_whom_it_says(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["stat", "/scratch"])?.change(|config| {
        add_mount(
            config,
            json!({
                "destination": "/scratch", "type": "tmpfs", "source": "tmpfs",
                "options": ["uid=1234", "gid=2345", "mode=750"]
            }),
        );
    })?;
    let facts = w.facts(&bundle)?;
    let seen = (&facts["uid"], &facts["gid"], &facts["mode"]);
    claim!(seen == (&json!(1234), &json!(2345), &json!("750")), "{facts}");
    Ok(Verdict::Pass)
}

/// The file of the mount below belongs to root there, and to 3000 in the container.
fn a_recursive_id_map_covers_mounts_below(w: &World) -> anyhow::Result<Verdict> {
    let source = w.folder().join("source");
    fs::create_dir_all(source.join("below")).context("make a folder")?;
    chown(&source, Some(0), Some(0)).context("chown")?;
    let bundle = w.bundle(&["stat", "/data/below/file"])?.change(|config| {
        let map = json!([{ "containerID": 0, "hostID": 3000, "size": 10 }]);
        add_mount(
            config,
            json!({
                "destination": "/data", "type": "bind", "source": source,
                "options": ["rbind", "ridmap"], "uidMappings": map, "gidMappings": map
            }),
        );
    })?;
    let facts = match with_one_below(w, &bundle, &source, "mode=755") {
        Err(error) if format!("{error:#}").to_lowercase().contains("invalid argument") => {
            return Ok(Verdict::Needs("id-mapped mounts on this file system".to_owned()));
        }
        facts => facts?,
    };
    let owner = (&facts["uid"], &facts["gid"]);
    claim!(owner == (&json!(3000), &json!(3000)), "{facts}");
    Ok(Verdict::Pass)
}

fn devices_of_every_type_are_made(w: &World) -> anyhow::Result<Verdict> {
    // Type, the word of the probe, and numbers.
    let table = [
        ("c", "character", 1, 5),
        ("u", "character", 1, 7),
        ("b", "block", 7, 200),
        ("p", "fifo", 0, 0),
    ];
    for (kind, word, major, minor) in table {
        let bundle = w.bundle(&["stat", "/dev/mine"])?.change(|config| {
            let mut device = json!({ "path": "/dev/mine", "type": kind, "fileMode": 0o640 });
            if kind != "p" {
                device["major"] = json!(major);
                device["minor"] = json!(minor);
            }
            config["linux"]["devices"] = json!([device]);
        })?;
        let facts = w.facts(&bundle).with_context(|| format!("type {kind}"))?;
        claim!(facts["type"] == word, "type {kind}: {facts}");
        claim!(facts["mode"] == "640", "type {kind}: mode {}", facts["mode"]);
        let seen = (&facts["major"], &facts["minor"]);
        claim!(seen == (&json!(major), &json!(minor)), "type {kind}: {facts}");
    }
    Ok(Verdict::Pass)
}
