//! A Python with what the tests of foreign clients import (boto3, aws-cli, ecs-deploy, grpcio), in
//! a folder of its own below target/.

use std::path::{Path, PathBuf};

use crate::{build, sh};

/// What is installed, with the module that shows that it is.
const MODULES: &[(&str, &str)] = &[
    ("boto3", "boto3"),
    ("awscli", "awscli"),
    ("ecs-deploy", "ecs_deploy"),
    ("grpcio", "grpc"),
    ("grpcio-tools", "grpc_tools"),
    ("grpcio-reflection", "grpc_reflection"),
    ("cryptography", "cryptography"),
];

/// The interpreter, or none (said on stderr) where it can't be had: those tests then skip.
pub(crate) fn ready(workspace: &Path) -> Option<PathBuf> {
    let imports: Vec<&str> = MODULES.iter().map(|(_, module)| *module).collect();
    let check = format!("import {}", imports.join(", "));
    let works = |python: &Path| sh::ask(python.to_str()?, &["-c", &check]).map(|_| ());
    if let Some(python) = sh::find("python3").filter(|python| works(python).is_some()) {
        return Some(python);
    }
    let folder = build::target(workspace).join("loadline/python");
    let python = folder.join("bin/python3");
    if works(&python).is_some() {
        return Some(python);
    }
    sh::step("python: installing AWS clients and grpcio into target/loadline/python");
    let packages = MODULES.iter().map(|(package, _)| *package);
    let made = sh::run(sh::command(workspace, "python3").args(["-m", "venv"]).arg(&folder))
        .and_then(|()| {
            let mut pip = sh::command(workspace, &python);
            pip.args(["-m", "pip", "install", "--quiet", "--retries", "5"]).args(packages);
            sh::run(&mut pip)
        });
    match made {
        Ok(()) => Some(python),
        Err(error) => {
            eprintln!("python: tests of foreign clients will be skipped: {error:#}");
            None
        }
    }
}
