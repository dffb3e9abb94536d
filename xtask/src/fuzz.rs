//! `cargo xtask fuzz [TARGET]`: the fuzz targets under libFuzzer, on the stable compiler: coverage
//! is a pass of LLVM that `-C` options ask for, and only sanitizers would need a nightly one.

use std::path::Path;

use anyhow::{Context as _, bail};

use crate::setup::{self, Purpose};
use crate::{build, sh};

/// The targets, as `fuzz/src/lib.rs` names them.
const TARGETS: &[&str] = &["plan", "seccomp", "record", "layout", "words"];

/// What cargo-fuzz asks of the compiler as well, without a sanitizer.
const FLAGS: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
];

/// For which the program is built: named, so that build scripts are built without the flags.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// Longest input, in bytes.
const INPUT_BYTES_MAX: u32 = 64 * 1024;

/// How long one input may take, in seconds, and how much memory, in MiB.
const INPUT_TIME_MAX_S: u32 = 20;
const MEMORY_MIB_MAX: u32 = 1024;

/// How long a target is fuzzed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// So many inputs.
    Runs(u64),
    /// So many seconds.
    Seconds(u64),
}

impl Until {
    fn argument(self) -> String {
        match self {
            Self::Runs(runs) => format!("-runs={runs}"),
            Self::Seconds(seconds) => format!("-max_total_time={seconds}"),
        }
    }
}

/// Runs one target, or each in turn. What they find new is kept below the target folder, and is
/// where the next run begins.
pub(crate) fn run(workspace: &Path, target: Option<&str>, until: Until) -> anyhow::Result<()> {
    if let Some(name) = target.filter(|name| !TARGETS.contains(name)) {
        bail!("no fuzz target {name:?}; there are {}", TARGETS.join(", "));
    }
    setup::run(Purpose::Fuzz)?;
    let folder = build::target(workspace).join("fuzz");
    sh::step("build the fuzz targets");
    let mut cargo = sh::cargo(workspace);
    cargo.args(["build", "--quiet", "--profile", "fuzz", "--package", "loadline-fuzz"]);
    cargo.args(["--features", "libfuzzer", "--target", TRIPLE]);
    sh::run(cargo.env("CARGO_TARGET_DIR", &folder).env("RUSTFLAGS", FLAGS.join(" ")))?;
    let program = folder.join(TRIPLE).join("fuzz/loadline-fuzz");
    for name in TARGETS.iter().filter(|name| target.is_none_or(|target| target == **name)) {
        sh::step(&format!("fuzz {name}, {until:?}"));
        let found = folder.join("found").join(name);
        std::fs::create_dir_all(&found).with_context(|| format!("make {}", found.display()))?;
        let mut command = sh::command(workspace, &program);
        command.env("LOADLINE_FUZZ_TARGET", name).env("RUST_BACKTRACE", "1");
        command.arg(&found).arg(workspace.join("fuzz/corpus").join(name)).args([
            until.argument(),
            format!("-max_len={INPUT_BYTES_MAX}"),
            format!("-timeout={INPUT_TIME_MAX_S}"),
            format!("-rss_limit_mb={MEMORY_MIB_MAX}"),
            "-print_final_stats=1".to_owned(),
            format!("-artifact_prefix={}/", folder.join("found").display()),
        ]);
        sh::run(&mut command)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_targets_are_those_of_the_crate() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
        let entries = folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name());
        let mut there: Vec<String> =
            entries.map(|name| name.to_string_lossy().into_owned()).collect();
        let mut known: Vec<String> = TARGETS.iter().map(|name| (*name).to_owned()).collect();
        there.sort();
        known.sort();
        assert_eq!(there, known);
    }
}
