//! Runtimes to compare with that Debian does not have: built from crates.io once, where asked for.

use std::path::{Path, PathBuf};

use crate::setup::{self, Purpose};
use crate::{build, sh};

/// The crate, what building it needs, and the features with which it runs on this kind of machine
/// too and does what the others do: without its feature `seccomp`, youki applies no filter.
const CRATES: &[(&str, Purpose, &[&str])] =
    &[("youki", Purpose::Youki, &["--features", "v1,seccomp"])];

/// The folder of the peers' programs. Those that `arguments` name and that are not installed are
/// built.
pub(crate) fn ready(workspace: &Path, arguments: &[String]) -> anyhow::Result<PathBuf> {
    let root = build::target(workspace).join("peers");
    let bin = root.join("bin");
    for (name, purpose, features) in CRATES {
        let asked = arguments.iter().any(|argument| argument == name);
        if !asked || sh::find(name).is_some() || bin.join(name).exists() {
            continue;
        }
        setup::run(*purpose)?;
        sh::step(&format!("build {name} from crates.io, once"));
        let mut cargo = sh::cargo(workspace);
        cargo.args(["install", "--quiet", "--locked", name]).args(*features);
        cargo.arg("--root").arg(&root).env("CARGO_TARGET_DIR", root.join("target"));
        sh::run(&mut cargo)?;
        // Only the program is of use, and the rest is large.
        drop(std::fs::remove_dir_all(root.join("target")));
    }
    Ok(bin)
}
