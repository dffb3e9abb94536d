//! Links in the image or in a volume, on the way to where a runtime mounts, makes or writes.

use serde_json::json;

use super::race::race;
use super::{
    Verdict, World, attack, cases, claim, fs, holds_only, make_folder, make_link, outside,
    path_text, push_bind, push_mount, says, write,
};

cases!("escapes":
    cve_2019_18837_a_link_in_the_image_takes_no_mount_out,
    cve_2021_30465_a_swapped_link_takes_no_mount_out,
    cve_2024_45310_a_swapped_link_lets_nothing_be_made_outside,
    cve_2025_24965_a_link_for_a_handlers_file_is_not_written_through,
    cve_2022_23648_a_copy_of_the_image_takes_nothing_of_the_host,
    dots_in_a_destination_lead_nowhere_outside,
    a_link_in_a_volume_does_not_mount_outside,
);

/// The place of a mount goes through an absolute and a relative link to the host; nothing may be
/// made there.
fn cve_2019_18837_a_link_in_the_image_takes_no_mount_out(w: &World) -> anyhow::Result<Verdict> {
    let outside = outside(w)?;
    for target in [path_text(&outside)?, "../../outside"] {
        let bundle = w.bundle(&["mounts"])?;
        make_link(target, &bundle.rootfs().join("link"))?;
        let bundle = bundle.change(|config| {
            let place = "/link/sub";
            push_mount(config, json!({ "destination": place, "type": "tmpfs", "source": "tmpfs" }));
        })?;
        if let Some(outcome) = attack(w, &bundle)? {
            let facts = outcome.facts()?;
            let mounts = facts["mounts"].as_array().cloned().unwrap_or_default();
            let inside = mounts.iter().filter_map(|mount| mount["target"].as_str());
            let inside = inside.filter(|target| target.ends_with("/sub")).count();
            claim!(inside == 1, "the mount is not in the container: {}", facts["mounts"]);
        }
        holds_only(&outside, &[])?;
    }
    w.no_mount_left()?;
    Ok(Verdict::Pass)
}

/// A folder of a shared volume, on which something is mounted, changes places with a link to the
/// host while the runtime works: the mount must be in the container.
fn cve_2021_30465_a_swapped_link_takes_no_mount_out(w: &World) -> anyhow::Result<Verdict> {
    let (volume, outside) = (w.folder().join("volume"), outside(w)?);
    make_folder(&volume.join("place"))?;
    make_link(&outside, &volume.join("swap"))?;
    let bundle = w.bundle(&["mounts"])?.change(|config| {
        push_bind(config, &volume, "/volume");
        let options = ["nosuid", "nodev"];
        push_mount(
            config,
            json!({
                "destination": "/volume/place", "type": "tmpfs", "source": "payload",
                "options": options
            }),
        );
    })?;
    race(w, &bundle, (&volume.join("place"), &volume.join("swap")), &mut |outcome| {
        if outcome.code == 0 {
            let facts = outcome.facts()?;
            let mounts = facts["mounts"].as_array().cloned().unwrap_or_default();
            let inside = mounts.iter().any(|mount| mount["source"] == "payload");
            claim!(inside, "it was mounted outside of the container: {}", facts["mounts"]);
        }
        holds_only(&outside, &[])
    })?;
    Ok(Verdict::Pass)
}

/// The way to a place that is missing goes through a folder that changes places with a link to the
/// host: what is made for the mount must not be made there.
fn cve_2024_45310_a_swapped_link_lets_nothing_be_made_outside(
    w: &World,
) -> anyhow::Result<Verdict> {
    let (volume, outside) = (w.folder().join("volume"), outside(w)?);
    make_folder(&volume.join("place"))?;
    make_link(&outside, &volume.join("swap"))?;
    let payload = w.folder().join("payload");
    write(&payload, "payload")?;
    let bundle = w.bundle(&["true", "--", "echo", "up"])?.change(|config| {
        push_bind(config, &volume, "/volume");
        push_bind(config, &payload, "/volume/place/a/b/file");
        let folder = "/volume/place/c/d";
        push_mount(config, json!({ "destination": folder, "type": "tmpfs", "source": "tmpfs" }));
    })?;
    race(w, &bundle, (&volume.join("place"), &volume.join("swap")), &mut |_| {
        holds_only(&outside, &[])?;
        // So that the next round has to make them again. One of the two is the link.
        for folder in ["place/a", "swap/a", "place/c", "swap/c"] {
            drop(fs::remove_dir_all(volume.join(folder)));
        }
        Ok(())
    })?;
    Ok(Verdict::Pass)
}

/// The image holds a link under the name of a file that a handler of the runtime writes: the file
/// of the host that it leads to stays as it is.
fn cve_2025_24965_a_link_for_a_handlers_file_is_not_written_through(
    w: &World,
) -> anyhow::Result<Verdict> {
    let target = outside(w)?.join("file");
    write(&target, "kept")?;
    let bundle = w.bundle(&["echo", "up"])?;
    make_link(&target, &bundle.rootfs().join(".krun_config.json"))?;
    let bundle = bundle.change(|config| {
        config["annotations"] = json!({ "run.oci.handler": "krun" });
    })?;
    attack(w, &bundle)?;
    says(&target, "kept")?;
    Ok(Verdict::Pass)
}

/// What the image has at the place of a tmpfs is copied into it, and this is a link to the host:
/// nothing of the host may be in the copy.
fn cve_2022_23648_a_copy_of_the_image_takes_nothing_of_the_host(
    w: &World,
) -> anyhow::Result<Verdict> {
    let outside = outside(w)?;
    write(&outside.join("secret"), "of the host")?;
    for target in [path_text(&outside)?, "../../outside"] {
        let bundle = w.bundle(&["ls", "/data", "--", "true"])?;
        make_link(target, &bundle.rootfs().join("data"))?;
        let bundle = bundle.change(|config| {
            push_mount(
                config,
                json!({
                    "destination": "/data", "type": "tmpfs", "source": "tmpfs",
                    "options": ["tmpcopyup"]
                }),
            );
        })?;
        if let Some(outcome) = attack(w, &bundle)? {
            claim!(!outcome.stdout.contains("secret"), "copied: {}", outcome.stdout);
        }
    }
    Ok(Verdict::Pass)
}

/// A destination climbs above the root: nothing is made there.
fn dots_in_a_destination_lead_nowhere_outside(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["mounts"])?.change(|config| {
        let destination = "/../../up";
        push_mount(
            config,
            json!({ "destination": destination, "type": "tmpfs", "source": "tmpfs" }),
        );
    })?;
    if let Some(outcome) = attack(w, &bundle)? {
        let facts = outcome.facts()?;
        let mounts = facts["mounts"].as_array().cloned().unwrap_or_default();
        claim!(mounts.iter().any(|m| m["target"] == "/up"), "not inside: {}", facts["mounts"]);
    }
    claim!(!w.folder().join("up").exists(), "made outside of the root");
    claim!(!std::path::Path::new("/up").exists(), "made in the host's root");
    Ok(Verdict::Pass)
}

/// A volume holds a link to the host, and the next mount goes through it.
fn a_link_in_a_volume_does_not_mount_outside(w: &World) -> anyhow::Result<Verdict> {
    let (volume, outside) = (w.folder().join("volume"), outside(w)?);
    make_folder(&volume)?;
    make_link(&outside, &volume.join("link"))?;
    let bundle = w.bundle(&["mounts"])?.change(|config| {
        push_bind(config, &volume, "/volume");
        let place = "/volume/link";
        push_mount(config, json!({ "destination": place, "type": "tmpfs", "source": "payload" }));
    })?;
    if let Some(outcome) = attack(w, &bundle)? {
        let facts = outcome.facts()?;
        let mounts = facts["mounts"].as_array().cloned().unwrap_or_default();
        let inside = mounts.iter().any(|mount| mount["source"] == "payload");
        claim!(inside, "it was mounted outside of the container: {}", facts["mounts"]);
    }
    holds_only(&outside, &[])?;
    w.no_mount_left()?;
    Ok(Verdict::Pass)
}
