//! `cargo xtask build`: all programs into one folder, where they find each other. Those that live
//! in containers' neighbourhood (runtime, supervisor, probe) are static: one file, no libraries to
//! load at each start.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::sh;

/// How the programs are compiled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Profile {
    /// Fast to compile.
    #[default]
    Dev,
    /// What is measured and shipped.
    Dist,
}

impl Profile {
    const fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Dist => "dist",
        }
    }

    /// Where cargo puts what it built.
    const fn cargo_folder(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Dist => "dist",
        }
    }

    /// Where we put it, below the target folder.
    const fn folder(self) -> &'static str {
        match self {
            Self::Dev => "loadline/bin",
            Self::Dist => "loadline/dist",
        }
    }
}

/// Programs linked with the machine's libraries: package and program.
const DYNAMIC: &[(&str, &str)] = &[
    ("loadline-agent", "loadline-agent"),
    ("loadline-controller", "loadline-controller"),
    ("loadline", "loadline"),
];

/// Programs of the tests.
const TESTS: &[(&str, &str)] = &[
    ("loadline-tests", "loadline-conformance"),
    ("loadline-tests", "loadline-engines"),
    ("loadline-tests", "loadline-demo"),
];

/// Programs that are one file.
const STATIC: &[(&str, &str)] = &[
    ("loadline-runtime", "loadline-runtime"),
    ("loadline-agent", "loadline-supervisor"),
    ("loadline-fixtures", "loadline-probe"),
];

/// Cargo's target folder.
pub(crate) fn target(workspace: &Path) -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => workspace.join(folder),
        None => workspace.join("target"),
    }
}

/// Builds everything and gives the folder with the programs.
pub(crate) fn run(workspace: &Path, profile: Profile) -> anyhow::Result<PathBuf> {
    let target = target(workspace);
    let folder = target.join(profile.folder());
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let built = target.join(profile.cargo_folder());
    sh::step(&format!("build ({}): agent, controller, cli, tests", profile.name()));
    let mut cargo = sh::cargo(workspace);
    cargo.args(["build", "--quiet", "--profile", profile.name()]);
    for (package, program) in DYNAMIC.iter().chain(TESTS) {
        cargo.args(["--package", package, "--bin", program]);
    }
    sh::run(&mut cargo)?;
    for (_, program) in DYNAMIC.iter().chain(TESTS) {
        put(&built.join(program), &folder.join(program))?;
    }
    for (package, program) in STATIC {
        sh::step(&format!("build ({}): {program}, static", profile.name()));
        let mut cargo = sh::cargo(workspace);
        cargo.args(["rustc", "--quiet", "--profile", profile.name()]);
        cargo.args(["--package", package, "--bin", program]);
        // For the last crate only: the others are the same in a static and a dynamic program, and
        // are compiled once.
        cargo.args(["--", "-C", "target-feature=+crt-static", "-C", "strip=symbols"]);
        // At a fixed address there is nothing to relocate at the start: 50 page faults fewer.
        cargo.args(["-C", "relocation-model=static"]);
        sh::run(&mut cargo)?;
        put(&built.join(program), &folder.join(program))?;
    }
    Ok(folder)
}

/// Replaces `to` where `from` differs; never writes over a program that may be running.
fn put(from: &Path, to: &Path) -> anyhow::Result<()> {
    let bytes = fs::read(from).with_context(|| format!("read {}", from.display()))?;
    if fs::read(to).ok().is_some_and(|old| old == bytes) {
        return Ok(());
    }
    let part = to.with_extension("part");
    fs::copy(from, &part).with_context(|| format!("copy {}", from.display()))?;
    fs::rename(&part, to).with_context(|| format!("put {} in place", to.display()))
}
