//! Attacks of the past, each by a hostile bundle or process: all must be contained. A refusal with
//! words counts as contained, where a good bundle is shown to run beside it.
//! Source: the CVE entries that the cases name.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::Context as _;
use loadline_fixtures::Bundle;
use serde_json::{Value, json};

use super::world::{Outcome, path_text};
use super::{Verdict, World, cases, claim};

cases!("escapes":
    the_runtime_can_not_be_overwritten_from_inside,
    a_working_directory_can_not_be_a_descriptor_of_the_runtime,
    a_link_for_dev_null_does_not_unmask,
    a_link_for_proc_is_not_followed,
    a_mount_over_proc_is_refused,
    dots_in_a_destination_lead_nowhere_outside,
    a_link_in_a_volume_does_not_mount_outside,
    a_link_for_a_masked_path_does_not_mask_outside,
    the_release_agent_can_not_be_written,
    settings_of_the_kernel_can_not_be_written,
    a_disk_of_the_host_can_not_be_opened,
    groups_of_the_caller_do_not_come_along,
    a_device_folder_link_makes_nothing_outside,
);

/// The attack's outcome. Refused with words is contained if a good bundle runs.
fn attack(w: &World, bundle: &Bundle) -> anyhow::Result<Option<Outcome>> {
    let outcome = w.run(bundle)?;
    if outcome.code == 0 && !outcome.stdout.is_empty() {
        return Ok(Some(outcome));
    }
    let good = w.run(&w.bundle(&["exit", "5"])?)?;
    claim!(good.code == 5, "a good bundle: exit {}: {}", good.code, good.stderr);
    claim!(!outcome.stderr.trim().is_empty(), "refused without a word: exit {}", outcome.code);
    Ok(None)
}

fn facts_of(outcome: &Outcome) -> Vec<Value> {
    outcome.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn push_mount(config: &mut Value, mount: Value) {
    if let Some(mounts) = config["mounts"].as_array_mut() {
        mounts.push(mount);
    }
}

fn drop_mounts(config: &mut Value, destination: &str) {
    if let Some(mounts) = config["mounts"].as_array_mut() {
        mounts.retain(|mount| {
            !mount["destination"].as_str().unwrap_or_default().starts_with(destination)
        });
    }
}

/// CVE-2019-5736, CVE-2016-9962. A container that is created waits as a process of the runtime;
/// another one in its pid namespace reaches for that process's executable.
fn the_runtime_can_not_be_overwritten_from_inside(w: &World) -> anyhow::Result<Verdict> {
    let before = w.runtime_bytes()?;
    let holder = w.create(&w.bundle(&["sleep"])?)?;
    let path = format!("/proc/{}/ns/pid", holder.pid);
    let verbs = ["write", "/proc/1/exe", "overwritten", "--", "try-open", "/proc/1/exe", "w"];
    let bundle = w.bundle(&verbs)?.change(|config| {
        for namespace in config["linux"]["namespaces"].as_array_mut().into_iter().flatten() {
            if namespace["type"] == "pid" {
                namespace["path"] = json!(path);
            }
        }
        let caps = json!(["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE"]);
        config["process"]["capabilities"] =
            json!({ "bounding": caps, "permitted": caps, "effective": caps });
        config["linux"]["cgroupsPath"] = json!(format!("{}-attack", w.cgroup()));
    })?;
    let id = format!("{}-attack", w.id());
    let attacker = w.create_as(&bundle, &id, &[])?;
    w.ok(&["start", &attacker.id])?;
    w.until_status(&attacker.id, "stopped")?;
    let said = w.said(&attacker.id)?;
    claim!(said.contains("error"), "the executable was written: {said}");
    claim!(w.runtime_bytes()? == before, "the runtime was overwritten");
    w.ok(&["delete", "--force", &id])?;
    w.ok(&["start", &holder.id])?;
    Ok(Verdict::Pass)
}

/// CVE-2024-21626.
fn a_working_directory_can_not_be_a_descriptor_of_the_runtime(
    w: &World,
) -> anyhow::Result<Verdict> {
    for fd in 3..12 {
        let bundle = w.bundle(&["ls", ".", "--", "ls", "../../../.."])?.change(|config| {
            config["process"]["cwd"] = json!(format!("/proc/self/fd/{fd}"));
        })?;
        let Some(outcome) = attack(w, &bundle)? else { continue };
        for facts in facts_of(&outcome) {
            let names = facts["names"].as_array().cloned().unwrap_or_default();
            let host = names.iter().any(|name| name == "boot" || name == "cgroup.procs");
            claim!(!host, "fd {fd} is a folder of the host: {facts}");
        }
    }
    Ok(Verdict::Pass)
}

/// CVE-2025-31133: what hides a file is the image's own /dev/null.
fn a_link_for_dev_null_does_not_unmask(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["cat", "/secret"])?;
    fs::write(bundle.rootfs().join("secret"), "secret").context("write a file")?;
    fs::write(bundle.rootfs().join("shown"), "shown").context("write a file")?;
    symlink("/shown", bundle.rootfs().join("dev/null")).context("make a link")?;
    let bundle = bundle.change(|config| {
        drop_mounts(config, "/dev");
        config["linux"]["maskedPaths"] = json!(["/secret"]);
    })?;
    if let Some(outcome) = attack(w, &bundle)? {
        let facts = outcome.facts()?;
        claim!(facts["text"] == "", "the masked file says {}", facts["text"]);
    }
    Ok(Verdict::Pass)
}

/// CVE-2019-19921, CVE-2023-27561.
fn a_link_for_proc_is_not_followed(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["mounts"])?;
    fs::remove_dir(bundle.rootfs().join("proc")).context("remove a folder")?;
    fs::create_dir(bundle.rootfs().join("fake")).context("make a folder")?;
    symlink("/fake", bundle.rootfs().join("proc")).context("make a link")?;
    if let Some(outcome) = attack(w, &bundle)? {
        let facts = outcome.facts()?;
        let mounts = facts["mounts"].as_array().cloned().unwrap_or_default();
        let real = mounts.iter().any(|m| m["target"] == "/proc" && m["type"] == "proc");
        claim!(real, "/proc is none: {}", facts["mounts"]);
    }
    Ok(Verdict::Pass)
}

/// CVE-2019-16884: files of /proc replaced, through which labels are written.
fn a_mount_over_proc_is_refused(w: &World) -> anyhow::Result<Verdict> {
    let fake = w.folder().join("fake");
    fs::create_dir_all(fake.join("attr")).context("make a folder")?;
    let bundle = w.bundle(&["mounts"])?.change(|config| {
        push_mount(
            config,
            json!({
                "destination": "/proc/self", "type": "bind", "source": fake,
                "options": ["rbind"]
            }),
        );
    })?;
    let outcome = attack(w, &bundle)?;
    claim!(outcome.is_none(), "a folder was mounted over /proc/self");
    Ok(Verdict::Pass)
}

fn dots_in_a_destination_lead_nowhere_outside(w: &World) -> anyhow::Result<Verdict> {
    let outside = "../../../up";
    let bundle = w.bundle(&["mounts"])?.change(|config| {
        push_mount(
            config,
            json!({ "destination": format!("/{outside}"), "type": "tmpfs", "source": "tmpfs" }),
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

/// CVE-2021-30465: a volume that two containers share holds a link, and a mount goes through it.
fn a_link_in_a_volume_does_not_mount_outside(w: &World) -> anyhow::Result<Verdict> {
    let (volume, outside) = (w.folder().join("volume"), w.folder().join("outside"));
    fs::create_dir(&volume).context("make a folder")?;
    fs::create_dir(&outside).context("make a folder")?;
    symlink(&outside, volume.join("link")).context("make a link")?;
    let bundle = w.bundle(&["write", "/volume/link/mark", "x", "--", "mounts"])?;
    let bundle = bundle.change(|config| {
        let options = ["rbind"];
        push_mount(
            config,
            json!({
                "destination": "/volume", "type": "bind", "source": volume, "options": options
            }),
        );
        push_mount(
            config,
            json!({ "destination": "/volume/link", "type": "tmpfs", "source": "tmpfs" }),
        );
    })?;
    attack(w, &bundle)?;
    let made = outside.read_dir().context("list a folder")?.count();
    claim!(made == 0, "something was made outside of the root");
    w.no_mount_left()?;
    Ok(Verdict::Pass)
}

fn a_link_for_a_masked_path_does_not_mask_outside(w: &World) -> anyhow::Result<Verdict> {
    let outside = w.folder().join("outside");
    fs::write(&outside, "kept").context("write a file")?;
    let bundle = w.bundle(&["mounts"])?;
    symlink(&outside, bundle.rootfs().join("masked")).context("make a link")?;
    let bundle = bundle.change(|c| c["linux"]["maskedPaths"] = json!(["/masked"]))?;
    if let Some(outcome) = attack(w, &bundle)? {
        let text = path_text(&outside)?;
        claim!(!outcome.stdout.contains(text), "the host's file is a mount point");
    }
    claim!(fs::read_to_string(&outside).context("read a file")? == "kept", "it was changed");
    Ok(Verdict::Pass)
}

/// CVE-2022-0492 and its like.
fn the_release_agent_can_not_be_written(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["mounts"])?.change(|config| {
        push_mount(
            config,
            json!({
                "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]
            }),
        );
        let file = "/sys/fs/cgroup/memory/release_agent";
        let other = "/sys/fs/cgroup/cgroup.subtree_control";
        config["process"]["args"] = json!([
            "/bin/probe",
            "try-open",
            file,
            "w",
            "--",
            "try-open",
            other,
            "w",
            "--",
            "mounts"
        ]);
    })?;
    let outcome = w.run(&bundle)?;
    let facts = facts_of(&outcome);
    claim!(facts.len() == 3, "exit {}: {} {}", outcome.code, outcome.stderr, outcome.stdout);
    for open in &facts[..2] {
        claim!(open["ok"] == false, "it can be written: {open}");
    }
    Ok(Verdict::Pass)
}

fn settings_of_the_kernel_can_not_be_written(w: &World) -> anyhow::Result<Verdict> {
    let files =
        ["/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/vm/swappiness"];
    let verbs: Vec<&str> = files.iter().flat_map(|file| ["try-open", file, "w", "--"]).collect();
    let outcome = w.run(&w.bundle(&verbs)?)?;
    let facts = facts_of(&outcome);
    claim!(facts.len() == files.len(), "exit {}: {}", outcome.code, outcome.stderr);
    for (file, open) in files.iter().zip(&facts) {
        claim!(open["ok"] == false, "{file} can be written");
    }
    Ok(Verdict::Pass)
}

fn a_disk_of_the_host_can_not_be_opened(w: &World) -> anyhow::Result<Verdict> {
    // 1:1 is /dev/mem, 10:200 /dev/net/tun; any of them made by a privileged image.
    let verbs =
        [["try-mknod", "/tmp/mem", "1", "1", "--"], ["try-open", "/tmp/mem", "r", "--", "true"]];
    let verbs = verbs.concat();
    let bundle = w.bundle(&verbs)?.change(|config| {
        let caps = json!(["CAP_MKNOD", "CAP_SYS_RAWIO", "CAP_DAC_OVERRIDE"]);
        config["process"]["capabilities"] =
            json!({ "bounding": caps, "permitted": caps, "effective": caps });
    })?;
    let outcome = w.run(&bundle)?;
    let facts = facts_of(&outcome);
    claim!(facts.len() == 2, "exit {}: {}", outcome.code, outcome.stderr);
    claim!(facts[1]["ok"] == false, "{}", outcome.stdout);
    Ok(Verdict::Pass)
}

/// CVE-2022-29162's neighbourhood: what the caller of the runtime has must not come along.
fn groups_of_the_caller_do_not_come_along(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["ids", "--", "caps"])?;
    let inner = w.command(&["run", "--bundle", path_text(&bundle.path)?, &w.id()]);
    let mut outer = std::process::Command::new("setpriv");
    outer.args(["--groups", "27,100", "--inh-caps", "+net_raw,+sys_admin"]);
    outer.arg(inner.get_program()).args(inner.get_args()).stdin(std::process::Stdio::null());
    let ran = crate::program::run(w.folder(), &mut outer)?.succeeded()?;
    let outcome = Outcome { code: 0, stdout: ran.stdout, stderr: ran.stderr };
    let facts = outcome.facts()?;
    claim!(facts["groups"] == json!([]), "groups {}", facts["groups"]);
    claim!(facts["caps"]["inheritable"] == json!([]), "{}", facts["caps"]["inheritable"]);
    Ok(Verdict::Pass)
}

/// CVE-2025-52565's neighbourhood: the folder in which devices are made is a link outward.
fn a_device_folder_link_makes_nothing_outside(w: &World) -> anyhow::Result<Verdict> {
    let outside = w.folder().join("outside");
    fs::create_dir(&outside).context("make a folder")?;
    let bundle = w.bundle(&["mounts"])?;
    fs::remove_dir(bundle.rootfs().join("dev")).context("remove a folder")?;
    symlink(&outside, bundle.rootfs().join("dev")).context("make a link")?;
    let bundle = bundle.change(|config| drop_mounts(config, "/dev"))?;
    attack(w, &bundle)?;
    let made: Vec<_> = outside.read_dir().context("list a folder")?.flatten().collect();
    claim!(made.is_empty(), "made outside of the root: {made:?}");
    Ok(Verdict::Pass)
}
