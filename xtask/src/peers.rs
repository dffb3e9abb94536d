//! Runtimes to compare with that Debian does not have: built from crates.io once, where asked for.

use std::path::{Path, PathBuf};

use crate::{build, sh};

/// The crate, and the features with which it runs on this kind of machine too.
const CRATES: &[(&str, &[&str])] = &[("youki", &["--features", "v1"])];

/// The folder of the peers' programs. Those that `arguments` name and that are not installed are
/// built; youki needs the headers of libseccomp (package libseccomp-dev).
pub(crate) fn ready(workspace: &Path, arguments: &[String]) -> anyhow::Result<PathBuf> {
    let root = build::target(workspace).join("peers");
    let bin = root.join("bin");
    for (name, features) in CRATES {
        let asked = arguments.iter().any(|argument| argument == name);
        if !asked || sh::find(name).is_some() || bin.join(name).exists() {
            continue;
        }
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
