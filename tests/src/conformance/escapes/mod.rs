//! Attacks of the past, each by a hostile bundle, image or process: all must be contained. A
//! refusal with words counts as contained, where a good bundle is shown to run beside it. What an
//! attack would change is always a file of the test's own.
//!
//! A case is named by the CVE that it plays again; its first line says what the attack does and
//! what is looked at. docs/escapes.md lists them, with what is known of other runtimes.

mod devices;
mod host;
mod identity;
mod links;
mod procfs;
mod programs;
mod race;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use loadline_fixtures::Bundle;
use serde_json::{Value, json};

use super::world::{Outcome, path_text};
use super::{Case, Verdict, World, cases, claim};

/// The cases, in the order in which they are shown.
pub(super) const GROUPS: [&[Case]; 6] =
    [links::CASES, devices::CASES, procfs::CASES, programs::CASES, identity::CASES, host::CASES];

/// The attack's outcome where the container ran. Refused with words is contained, and none, if a
/// good bundle runs.
fn attack(w: &World, bundle: &Bundle) -> anyhow::Result<Option<Outcome>> {
    let outcome = w.run(bundle)?;
    if !outcome.stdout.is_empty() {
        return Ok(Some(outcome));
    }
    // One that ran may have written elsewhere, where the attack took its output away.
    let said = outcome.code == 0 || !outcome.stderr.trim().is_empty();
    claim!(said, "refused without a word: exit {}", outcome.code);
    good(w)?;
    Ok((outcome.code == 0).then_some(outcome))
}

/// A runtime that refuses everything, or does nothing, proves nothing.
fn good(w: &World) -> anyhow::Result<()> {
    let good = w.run(&w.bundle(&["echo", "good", "--", "exit", "5"])?)?;
    let ran = good.code == 5 && good.stdout == "good\n";
    claim!(ran, "a good bundle: exit {}: {}", good.code, good.stderr);
    Ok(())
}

/// Every line of JSON that the probe said.
fn lines(outcome: &Outcome) -> Vec<Value> {
    outcome.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn push_mount(config: &mut Value, mount: Value) {
    if let Some(mounts) = config["mounts"].as_array_mut() {
        mounts.push(mount);
    }
}

fn push_bind(config: &mut Value, source: &Path, destination: &str) {
    let mount = json!({
        "destination": destination, "type": "bind", "source": source, "options": ["rbind", "rw"]
    });
    push_mount(config, mount);
}

fn drop_mounts(config: &mut Value, destination: &str) {
    if let Some(mounts) = config["mounts"].as_array_mut() {
        mounts.retain(|mount| {
            !mount["destination"].as_str().unwrap_or_default().starts_with(destination)
        });
    }
}

fn capabilities(config: &mut Value, names: &[&str]) {
    config["process"]["capabilities"] =
        json!({ "bounding": names, "permitted": names, "effective": names });
}

/// A new folder beside the bundle, which stands for the host.
fn outside(w: &World) -> anyhow::Result<PathBuf> {
    let outside = w.folder().join("outside");
    fs::create_dir(&outside).context("make a folder")?;
    Ok(outside)
}

/// Fails where the folder holds something else than `expected`.
fn holds_only(folder: &Path, expected: &[&str]) -> anyhow::Result<()> {
    let entries = folder.read_dir().context("list a folder")?.flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let more: Vec<String> = names.filter(|name| !expected.contains(&name.as_str())).collect();
    claim!(more.is_empty(), "made outside of the root: {more:?}");
    Ok(())
}

/// Fails where the file says something else than `text`.
fn says(file: &Path, text: &str) -> anyhow::Result<()> {
    let seen = fs::read_to_string(file);
    let seen = seen.with_context(|| format!("{} was changed: read it", file.display()))?;
    claim!(seen == text, "{} was changed: {seen:?}", file.display());
    Ok(())
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(file, text).with_context(|| format!("write {}", file.display()))
}

fn make_folder(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))
}

fn make_link(target: impl AsRef<Path>, link: &Path) -> anyhow::Result<()> {
    symlink(target, link).with_context(|| format!("make the link {}", link.display()))
}

/// Puts a link where the bundle's root has a folder.
fn replace_by_link(target: impl AsRef<Path>, folder: &Path) -> anyhow::Result<()> {
    fs::remove_dir(folder).with_context(|| format!("remove {}", folder.display()))?;
    make_link(target, folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::Runtime;

    /// What the leaky runtime gets right, and why.
    const CONTAINED: &[(&str, &str)] = &[(
        "cve_2025_52881_a_setting_is_not_written_through_a_swapped_mount",
        "the link leads to the host's settings for it; crun 1.8.1 is seen to fail",
    )];

    #[test]
    fn every_attack_succeeds_on_a_leaky_runtime() {
        if !crate::kernel::is_root() {
            eprintln!("SKIPPED every_attack_succeeds_on_a_leaky_runtime: needs root");
            return;
        }
        let Ok(leaky) = Runtime::new(Some("loadline-leaky-runtime")) else {
            let test = "every_attack_succeeds_on_a_leaky_runtime";
            eprintln!("SKIPPED {test}: needs loadline-leaky-runtime (cargo xtask build)");
            return;
        };
        let mut contained = Vec::new();
        for case in GROUPS.into_iter().flatten() {
            let verdict = World::new(&leaky, case.name).and_then(|world| (case.run)(&world));
            match verdict {
                Err(error) => eprintln!("{}: {error:#}", case.name),
                Ok(_) => contained.push(case.name),
            }
        }
        let expected: Vec<&str> = CONTAINED.iter().map(|(name, _)| *name).collect();
        assert_eq!(contained, expected, "an attack that can't succeed shows nothing");
    }
}
