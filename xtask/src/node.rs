//! A folder with the JavaScript SDK of ECS for the tests of foreign clients, below target/.

use std::path::{Path, PathBuf};

use crate::{build, sh};

/// What is installed.
const MODULE: &str = "@aws-sdk/client-ecs";

/// The folder whose `node_modules` has it, or none (said on stderr) where it can't be had: the
/// test of the JavaScript SDK then skips.
pub(crate) fn ready(workspace: &Path) -> Option<PathBuf> {
    let folder = build::target(workspace).join("loadline/node");
    if folder.join("node_modules").join(MODULE).join("package.json").exists() {
        return Some(folder);
    }
    if sh::find("node").is_none() || sh::find("npm").is_none() {
        eprintln!(
            "node: node and npm are not installed, the JavaScript SDK's test will be skipped"
        );
        return None;
    }
    sh::step("node: installing the JavaScript SDK into target/loadline/node");
    let mut npm = sh::command(workspace, "npm");
    npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]).arg(&folder);
    let made = std::fs::create_dir_all(&folder)
        .map_err(anyhow::Error::from)
        .and_then(|()| sh::run(npm.arg(format!("{MODULE}@3"))));
    match made {
        Ok(()) => Some(folder),
        Err(error) => {
            eprintln!("node: the test of the JavaScript SDK will be skipped: {error:#}");
            None
        }
    }
}
