//! Attacks through what the image has in /dev.

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::json;

use super::race::{Progress, Racer, race, rounds};
use super::{
    Bundle, Outcome, Verdict, World, attack, cases, claim, drop_mounts, fs, good, holds_only,
    lines, make_link, outside, path_text, replace_by_link, says, write,
};
use crate::conformance::console::Console;
use anyhow::Context as _;

cases!("escapes":
    cve_2026_41579_a_link_for_dev_removes_and_makes_nothing_outside,
    cve_2026_47766_a_link_for_dev_makes_no_device_outside,
    cve_2025_31133_a_link_for_dev_null_unmasks_nothing,
    cve_2025_31133_a_swapped_dev_null_unmasks_nothing,
    cve_2025_52565_a_link_for_the_console_is_not_mounted_over,
    cve_2025_52565_a_swapped_console_is_not_mounted_over,
);

/// The image's /dev is a link to a folder of the host, which holds a file named `ptmx`: the file
/// stays as it is, and no links are made beside it.
fn cve_2026_41579_a_link_for_dev_removes_and_makes_nothing_outside(
    w: &World,
) -> anyhow::Result<Verdict> {
    let outside = outside(w)?;
    write(&outside.join("ptmx"), "kept")?;
    let bundle = w.bundle(&["true", "--", "echo", "up"])?;
    replace_by_link(&outside, &bundle.rootfs().join("dev"))?;
    let bundle = bundle.change(|config| drop_mounts(config, "/dev"))?;
    attack(w, &bundle)?;
    holds_only(&outside, &["ptmx"])?;
    says(&outside.join("ptmx"), "kept")?;
    Ok(Verdict::Pass)
}

/// The same by a relative link, with devices to be made: none of them is made outside.
fn cve_2026_47766_a_link_for_dev_makes_no_device_outside(w: &World) -> anyhow::Result<Verdict> {
    let outside = outside(w)?;
    let bundle = w.bundle(&["true", "--", "echo", "up"])?;
    replace_by_link("../../outside", &bundle.rootfs().join("dev"))?;
    let bundle = bundle.change(|config| {
        drop_mounts(config, "/dev");
        config["linux"]["devices"] =
            json!([{ "path": "/dev/evil", "type": "c", "major": 1, "minor": 3 }]);
    })?;
    attack(w, &bundle)?;
    holds_only(&outside, &[])?;
    Ok(Verdict::Pass)
}

/// An image without a mount at /dev: its own null is what hides `/secret`, if anything of it is.
fn with_own_null(w: &World) -> anyhow::Result<Bundle> {
    let bundle = w.bundle(&["cat", "/secret"])?;
    write(&bundle.rootfs().join("secret"), "secret")?;
    write(&bundle.rootfs().join("shown"), "shown")?;
    bundle.change(|config| {
        drop_mounts(config, "/dev");
        config["linux"]["maskedPaths"] = json!(["/secret"]);
    })
}

/// What a masked file says must be nothing, and what the image's null leads to must not be written.
fn masked(bundle: &Bundle, outcome: &Outcome) -> anyhow::Result<()> {
    says(&bundle.rootfs().join("shown"), "shown").context("the image's null was used")?;
    for facts in lines(outcome) {
        claim!(facts["text"] == "", "the masked file says {facts}");
    }
    Ok(())
}

/// The image's /dev/null is a link to another file, which a mask must not show instead.
fn cve_2025_31133_a_link_for_dev_null_unmasks_nothing(w: &World) -> anyhow::Result<Verdict> {
    let bundle = with_own_null(w)?;
    make_link("../shown", &bundle.rootfs().join("dev/null"))?;
    if let Some(outcome) = attack(w, &bundle)? {
        masked(&bundle, &outcome)?;
        claim!(!lines(&outcome).is_empty(), "no facts: {}", outcome.stderr);
    }
    Ok(Verdict::Pass)
}

/// As before, but the link changes places with a true /dev/null while the runtime works.
fn cve_2025_31133_a_swapped_dev_null_unmasks_nothing(w: &World) -> anyhow::Result<Verdict> {
    let bundle = with_own_null(w)?;
    let dev = bundle.rootfs().join("dev");
    let mode = Mode::from_bits_truncate(0o666);
    mknod(&dev.join("null"), SFlag::S_IFCHR, mode, makedev(1, 3)).context("make a null")?;
    make_link("../shown", &dev.join("swap"))?;
    race(w, &bundle, (&dev.join("null"), &dev.join("swap")), &mut |outcome| {
        masked(&bundle, outcome)
    })?;
    Ok(Verdict::Pass)
}

/// Creates a container with a terminal, whose /dev is the image's; gives its mount points once it
/// is created, none where that is refused with words.
fn mounts_with_terminal(w: &World, bundle: &Bundle) -> anyhow::Result<Option<Vec<String>>> {
    // A socket's path has at most 108 bytes.
    let folder = tempfile::Builder::new().prefix("c").tempdir().context("make a folder")?;
    let socket = folder.path().join("s");
    let console = Console::listen(&socket)?;
    let options = ["--console-socket", path_text(&socket)?];
    let mounts = match w.create_as(bundle, &w.id(), &options) {
        Ok(created) => {
            console.accept()?;
            let path = format!("/proc/{}/mountinfo", created.pid);
            // It may end by itself where its program can't be used, and tells nothing then.
            let text = fs::read_to_string(&path).unwrap_or_default();
            let points = text.lines().filter_map(|line| line.split(' ').nth(4));
            Some(points.map(str::to_owned).collect())
        }
        Err(error) if format!("{error:#}").starts_with("create: ") => None,
        Err(error) => return Err(error),
    };
    drop(w.call_again(&["delete", "--force", &w.id()]));
    Ok(mounts)
}

/// An image with its own /dev, in which only the terminals are mounted.
fn with_own_console(w: &World) -> anyhow::Result<Bundle> {
    let bundle = w.bundle(&["sleep"])?;
    write(&bundle.rootfs().join("victim"), "kept")?;
    for name in ["null", "ptmx"] {
        write(&bundle.rootfs().join("dev").join(name), "")?;
        fs::remove_file(bundle.rootfs().join("dev").join(name)).context("remove a file")?;
    }
    bundle.change(|config| {
        config["process"]["terminal"] = json!(true);
        if let Some(mounts) = config["mounts"].as_array_mut() {
            mounts.retain(|mount| mount["destination"] != "/dev");
        }
    })
}

/// The terminal lies on /dev/console or nowhere: never on what a link there leads to.
fn console_is_in_place(bundle: &Bundle, mounts: Option<&[String]>) -> anyhow::Result<()> {
    says(&bundle.rootfs().join("victim"), "kept")?;
    let over = mounts.into_iter().flatten().find(|point| point.ends_with("/victim"));
    claim!(over.is_none(), "the terminal was mounted over {over:?}");
    Ok(())
}

/// The image's /dev/console is a link: what it leads to is neither emptied nor mounted over, and
/// nothing is made on the host.
fn cve_2025_52565_a_link_for_the_console_is_not_mounted_over(w: &World) -> anyhow::Result<Verdict> {
    let outside = outside(w)?;
    for target in ["../victim", path_text(&outside.join("made"))?] {
        let bundle = with_own_console(w)?;
        make_link(target, &bundle.rootfs().join("dev/console"))?;
        let mounts = mounts_with_terminal(w, &bundle)?;
        console_is_in_place(&bundle, mounts.as_deref())?;
        holds_only(&outside, &[])?;
    }
    good(w)?;
    Ok(Verdict::Pass)
}

/// As before, but the link changes places with an ordinary file while the runtime works.
fn cve_2025_52565_a_swapped_console_is_not_mounted_over(w: &World) -> anyhow::Result<Verdict> {
    let bundle = with_own_console(w)?;
    let dev = bundle.rootfs().join("dev");
    write(&dev.join("console"), "")?;
    make_link("../victim", &dev.join("swap"))?;
    let racer = Racer::start(w, &dev.join("console"), &dev.join("swap"))?;
    let mut progress = Progress::begin();
    for round in 0..rounds() {
        let mounts = mounts_with_terminal(w, &bundle)?;
        console_is_in_place(&bundle, mounts.as_deref())
            .with_context(|| format!("round {round}"))?;
        progress.tell(w, round);
    }
    let exchanges = racer.stop()?;
    claim!(u64::from(rounds()) < exchanges, "no race: {exchanges} exchanges");
    good(w)?;
    Ok(Verdict::Pass)
}
