//! An image of this machine's Python with boto3: what an AWS program in a container is made of.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{Image, folders};

/// Says which files make a Python with boto3 here: the program, the libraries that the loader
/// finds for it and its modules, its standard library, and boto3's packages. Of botocore's
/// descriptions of services only a few are taken: all of them are more than 100 MB.
const FILES: &str = r#"
import json, os, subprocess, sys, sysconfig
import boto3, botocore, dateutil, jmespath, s3transfer, six, urllib3
program = os.path.realpath(sys.executable)
services = {"ecs", "sts"}
files, sites = {program}, set()
def walk(top, skip=()):
    for folder, inside, names in os.walk(top):
        inside[:] = [one for one in inside if one not in skip and one != "__pycache__"
                     and not one.startswith("config-")]
        files.update(os.path.join(folder, name) for name in names
                     if not name.startswith("_tkinter"))
walk(sysconfig.get_path("stdlib"), {"test", "idlelib", "tkinter", "ensurepip", "site-packages",
                                    "dist-packages", "lib2to3", "turtledemo"})
for module in (boto3, dateutil, jmespath, s3transfer, urllib3):
    walk(os.path.dirname(module.__file__))
    sites.add(os.path.dirname(os.path.dirname(module.__file__)))
core = os.path.dirname(botocore.__file__)
data = os.path.join(core, "data")
walk(core, {"data"})
files.update(os.path.join(data, one) for one in os.listdir(data) if one.endswith(".json"))
for service in services:
    walk(os.path.join(data, service))
files.add(six.__file__)
sites.update({os.path.dirname(core), os.path.dirname(six.__file__)})
linked = [program] + [one for one in files if one.endswith(".so")]
said = subprocess.run(["ldd"] + linked, capture_output=True, text=True).stdout
for line in said.splitlines():
    files.update(word for word in line.split() if word.startswith("/") and os.path.isfile(word))
files = sorted(one for one in files if os.path.isfile(one))
print(json.dumps({"program": program, "sites": sorted(sites), "files": files,
                  "version": [sys.version, boto3.__version__, botocore.__version__]}))
"#;

/// An image whose entry point is Python, with boto3 for ecs and sts, under `reference`. `python` is
/// the program that has them here.
///
/// # Errors
/// Where it has no boto3, or its files can't be packed.
pub fn image(python: &str, reference: &str) -> anyhow::Result<Image> {
    let told = Command::new(python).args(["-c", FILES]).output();
    let told = told.with_context(|| format!("start {python}"))?;
    if !told.status.success() {
        bail!("{python}: {}", String::from_utf8_lossy(&told.stderr).trim());
    }
    let told: Value =
        serde_json::from_slice(&told.stdout).context("read Python's list of files")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |name: &str| -> Vec<String> {
        told[name].as_array().into_iter().flatten().map(text).collect()
    };
    Ok(Image::new(reference)
        .layer(layer(&told["version"], &list("files"))?)
        .config("Entrypoint", json!([text(&told["program"])]))
        .config("Env", json!([format!("PYTHONPATH={}", list("sites").join(":"))])))
}

fn layer(version: &Value, files: &[String]) -> anyhow::Result<PathBuf> {
    let hash = Sha256::digest(format!("{version}\n{}", files.join("\n")));
    let name = format!("python-{}.tar", &hex::encode(hash)[..16]);
    let made = folders::cache()?.join(name);
    folders::once(&made, |part| {
        let mut tar = Command::new("tar")
            .args(["--create", "--dereference", "--no-recursion", "--numeric-owner", "--file"])
            .arg(part)
            .args(["--directory", "/", "--files-from", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .context("start tar")?;
        let names: String =
            files.iter().map(|file| format!("{}\n", file.trim_start_matches('/'))).collect();
        let mut input = tar.stdin.take().context("tar has no input")?;
        input.write_all(names.as_bytes()).context("name the files for tar")?;
        drop(input);
        let ended = tar.wait().context("wait for tar")?;
        if !ended.success() {
            bail!("pack Python: tar: {ended}");
        }
        Ok(())
    })?;
    Ok(made)
}
