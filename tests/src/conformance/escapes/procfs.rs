//! Attacks on /proc: a runtime writes settings and labels there, and hides parts of it, so whoever
//! puts something else in its place decides what becomes of them.

use serde_json::{Value, json};

use super::race::race;
use super::{
    Bundle, Outcome, PathBuf, Verdict, World, attack, cases, claim, make_folder, make_link,
    push_bind, replace_by_link, says, write,
};
use anyhow::Context as _;

cases!("escapes":
    cve_2019_16884_nothing_is_mounted_over_the_files_that_are_trusted,
    cve_2019_19921_a_link_for_proc_into_a_volume_is_not_followed,
    cve_2023_27561_a_swapped_proc_does_not_lose_its_masks,
    cve_2023_28642_a_link_to_proc_is_no_way_to_mount_over_it,
    cve_2025_52881_a_setting_is_not_written_through_a_mount,
    cve_2025_52881_a_setting_is_not_written_through_a_swapped_mount,
    a_volume_above_the_root_holds_no_second_proc,
);

/// A setting of the network namespace, which a runtime writes below /proc/sys.
const SETTING: &str = "net/ipv4/ip_unprivileged_port_start";

/// A folder that looks like /proc, with files that stay as they are unless they are trusted.
fn fake_proc(w: &World) -> anyhow::Result<PathBuf> {
    let fake = w.folder().join("fake");
    for folder in ["self/attr", "1", "sys/net/ipv4"] {
        make_folder(&fake.join(folder))?;
    }
    for file in ["self/attr/exec", "self/oom_score_adj", "1/oom_score_adj"] {
        write(&fake.join(file), "fake")?;
    }
    write(&fake.join("sys").join(SETTING), "fake")?;
    Ok(fake)
}

/// Nobody wrote into the folder.
fn is_untouched(fake: &std::path::Path) -> anyhow::Result<()> {
    for file in ["self/attr/exec", "self/oom_score_adj", "1/oom_score_adj"] {
        says(&fake.join(file), "fake").context("it was taken for /proc")?;
    }
    says(&fake.join("sys").join(SETTING), "fake").context("it was taken for /proc")
}

fn set_what_is_written_to_proc(config: &mut Value) {
    config["process"]["oomScoreAdj"] = json!(500);
    config["linux"]["sysctl"] = json!({ "net.ipv4.ip_unprivileged_port_start": "77" });
}

/// What is mounted, by the probe's facts; an error where it could not tell.
fn mounts(outcome: &Outcome) -> anyhow::Result<Vec<Value>> {
    let facts = outcome.facts()?;
    facts["mounts"].as_array().cloned().with_context(|| format!("no mounts are told: {facts}"))
}

/// A volume goes over files of /proc through which labels and settings are written. Where such a
/// mount is not refused, the kernel's files must be in place, and the volume's unwritten.
fn cve_2019_16884_nothing_is_mounted_over_the_files_that_are_trusted(
    w: &World,
) -> anyhow::Result<Verdict> {
    let fake = fake_proc(w)?;
    for part in ["self", "self/attr", "1", "sys/net"] {
        let bundle = w.bundle(&["mounts"])?.change(|config| {
            push_bind(config, &fake.join(part), &format!("/proc/{part}"));
            set_what_is_written_to_proc(config);
        })?;
        let outcome = attack(w, &bundle)?;
        claim!(outcome.is_none(), "a folder was mounted over /proc/{part}");
        is_untouched(&fake)?;
    }
    Ok(Verdict::Pass)
}

/// The image's /proc is a link into a volume, where the attacker's files are: they are not taken
/// for the kernel's, and what runs has a true /proc.
fn cve_2019_19921_a_link_for_proc_into_a_volume_is_not_followed(
    w: &World,
) -> anyhow::Result<Verdict> {
    let fake = fake_proc(w)?;
    for first in [true, false] {
        let bundle = w.bundle(&["mounts"])?;
        replace_by_link("volume", &bundle.rootfs().join("proc"))?;
        let bundle = bundle.change(|config| {
            push_bind(config, &fake, "/volume");
            // The volume is there before /proc, or covers it.
            if let Some(mounts) = config["mounts"].as_array_mut().filter(|_| first) {
                mounts.rotate_right(1);
            }
            set_what_is_written_to_proc(config);
        })?;
        if let Some(outcome) = attack(w, &bundle)? {
            // Without a /proc it could not even tell.
            let proc = mounts(&outcome)?.into_iter().rfind(|m| m["target"] == "/proc");
            let real = proc.as_ref().is_some_and(|mount| mount["type"] == "proc");
            claim!(real, "/proc is {proc:?}");
        }
        is_untouched(&fake)?;
    }
    Ok(Verdict::Pass)
}

/// The image's /proc changes places with a link to another folder: procfs must not lie at one, and
/// its masks and read-only parts at the other.
fn cve_2023_27561_a_swapped_proc_does_not_lose_its_masks(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["mounts"])?;
    let root = bundle.rootfs();
    make_folder(&root.join("else"))?;
    make_link("else", &root.join("swap"))?;
    race(w, &bundle, (&root.join("proc"), &root.join("swap")), &mut |outcome| {
        // Where /proc is the link when the probe looks, it has no facts.
        let Ok(mounts) = mounts(outcome) else { return Ok(()) };
        // The folder and the link keep changing their names.
        let at = |part: &str| {
            let places = ["/proc", "/swap", "/else"].map(|place| format!("{place}{part}"));
            mounts.iter().filter(|m| places.iter().any(|place| m["target"] == *place)).count()
        };
        claim!(at("") == 1, "no single /proc: {mounts:?}");
        claim!(at("/sys") == 1, "/proc without its read-only parts: {mounts:?}");
        // Which of these there are depends on the kernel.
        let hidden = at("/kcore") + at("/keys") + at("/timer_list");
        claim!(0 < hidden, "/proc without its masks: {mounts:?}");
        let elsewhere = mounts.iter().any(|mount| mount["target"] == "/else");
        claim!(!elsewhere, "procfs lies where the link leads: {mounts:?}");
        Ok(())
    })?;
    Ok(Verdict::Pass)
}

/// Links of the image lead to /proc and below it, and mounts go through them: none may cover what
/// is trusted.
fn cve_2023_28642_a_link_to_proc_is_no_way_to_mount_over_it(w: &World) -> anyhow::Result<Verdict> {
    let fake = fake_proc(w)?;
    let ways = [("/proc", "/link"), ("/proc/self", "/link/attr"), ("proc/./sys", "/link/net")];
    for (target, destination) in ways {
        let bundle = w.bundle(&["mounts"])?;
        make_link(target, &bundle.rootfs().join("link"))?;
        let bundle = bundle.change(|config| {
            push_bind(config, &fake, destination);
            set_what_is_written_to_proc(config);
        })?;
        if let Some(outcome) = attack(w, &bundle)? {
            let covered = mounts(&outcome)?.into_iter().find(|mount| {
                let target = mount["target"].as_str().unwrap_or_default();
                target.starts_with("/proc") && mount["root"].as_str().unwrap_or("").contains("fake")
            });
            claim!(covered.is_none(), "/proc is covered: {covered:?}");
        }
        is_untouched(&fake)?;
    }
    Ok(Verdict::Pass)
}

/// A container whose volume lies over the settings of the network: the kernel's are set, or it is
/// refused; never is the volume's file written.
fn cve_2025_52881_a_setting_is_not_written_through_a_mount(w: &World) -> anyhow::Result<Verdict> {
    let fake = fake_proc(w)?;
    for way in ["/proc/sys/net/ipv4", "/link", "/proc/sys/../sys/net/ipv4"] {
        let bundle = w.bundle(&["true", "--", "echo", "up"])?;
        make_link("/proc/sys/net/ipv4", &bundle.rootfs().join("link"))?;
        let bundle = bundle.change(|config| {
            push_bind(config, &fake.join("sys/net/ipv4"), way);
            set_what_is_written_to_proc(config);
        })?;
        attack(w, &bundle)?;
        is_untouched(&fake)?;
    }
    Ok(Verdict::Pass)
}

/// The place of the volume changes places with a link to the settings while the runtime works.
fn cve_2025_52881_a_setting_is_not_written_through_a_swapped_mount(
    w: &World,
) -> anyhow::Result<Verdict> {
    let fake = fake_proc(w)?;
    let bundle: Bundle = w.bundle(&["mounts", "--", "echo", "{}"])?;
    let (place, swap) = (bundle.rootfs().join("place"), bundle.rootfs().join("swap"));
    make_folder(&place)?;
    make_link("/proc/sys/net/ipv4", &swap)?;
    let bundle = bundle.change(|config| {
        push_bind(config, &fake.join("sys/net/ipv4"), "/place");
        set_what_is_written_to_proc(config);
    })?;
    race(w, &bundle, (&place, &swap), &mut |outcome| {
        is_untouched(&fake)?;
        let Ok(mounts) = mounts(outcome) else { return Ok(()) };
        let covered = mounts.iter().find(|mount| {
            let target = mount["target"].as_str().unwrap_or_default();
            target.starts_with("/proc/sys/net")
        });
        claim!(covered.is_none(), "settings of the kernel are covered: {covered:?}");
        Ok(())
    })?;
    Ok(Verdict::Pass)
}

/// A volume is the bundle's own folder, above the root filesystem: where a runtime has mounted the
/// container's procfs already, it comes along, and there nothing of it is hidden or closed.
fn a_volume_above_the_root_holds_no_second_proc(w: &World) -> anyhow::Result<Verdict> {
    let hook = json!([{ "path": "/bin/true" }]);
    // Hooks may look for the root at that place.
    for hooks in [json!({}), json!({ "createRuntime": hook })] {
        let bundle = w.bundle(&["mounts"])?;
        let above = bundle.path.clone();
        let bundle = bundle.change(|config| {
            push_bind(config, &above, "/above");
            config["hooks"] = hooks;
        })?;
        let Some(outcome) = attack(w, &bundle)? else { continue };
        let mounts = mounts(&outcome)?;
        let second = mounts.iter().find(|mount| {
            let target = mount["target"].as_str().unwrap_or_default();
            mount["type"] == "proc" && target.starts_with("/above/")
        });
        claim!(second.is_none(), "procfs came along: {second:?}");
    }
    Ok(Verdict::Pass)
}
