//! The suites' programs in folders of their own, and runtimes that are scripts.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use loadline_tests::program;

pub(crate) const CONFORMANCE: &str = env!("CARGO_BIN_EXE_loadline-conformance");
pub(crate) const ENGINES: &str = env!("CARGO_BIN_EXE_loadline-engines");

/// A case that takes a moment, and needs a probe.
pub(crate) const CASE: &str = "create_does_not_run_the_process";

/// A program that a shell runs.
pub(crate) fn script(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// The suite as it is installed: with a runtime that refuses everything, and the probe.
pub(crate) fn installed(folder: &Path) -> PathBuf {
    let tool = folder.join("loadline-conformance");
    fs::create_dir_all(folder).unwrap();
    fs::copy(CONFORMANCE, &tool).unwrap();
    fs::copy(loadline_fixtures::probe::probe().unwrap(), folder.join("loadline-probe")).unwrap();
    script(&folder.join("loadline-runtime"), "echo no >&2; exit 1");
    tool
}

/// A call of it that finds nothing of this build, neither programs nor cargo.
pub(crate) fn call(tool: &Path, arguments: &[&str]) -> Command {
    let mut command = program::command(tool);
    command.args(arguments).env_remove("LOADLINE_BIN_DIR").env("CARGO", "/bin/false");
    command
}
