//! A real distribution's root file system, made by debootstrap once and kept as a tar file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::{Image, folders};

/// The release: what the project's own CI runs on.
const RELEASE: &str = "bookworm";

/// An image of `debootstrap --variant=minbase`, under `reference`.
///
/// # Errors
/// Where the root file system can't be made: no debootstrap, no root, no Debian mirror.
pub fn image(reference: &str) -> anyhow::Result<Image> {
    Ok(Image::new(reference)
        .layer(rootfs_tar()?)
        .config("Cmd", serde_json::json!(["/bin/sh"]))
        .config("Env", serde_json::json!(["PATH=/usr/sbin:/usr/bin:/sbin:/bin"])))
}

/// The tar file of the root file system.
///
/// # Errors
/// As [`image`].
pub fn rootfs_tar() -> anyhow::Result<PathBuf> {
    let made = folders::cache()?.join(format!("debian-{RELEASE}-minbase.tar"));
    folders::once(&made, |part| {
        eprintln!("fixtures: making a Debian {RELEASE} root file system (a minute, once)");
        let folder = tempfile::Builder::new()
            .prefix("debian-")
            .tempdir_in(folders::cache()?)
            .context("make a folder for debootstrap")?;
        let root = folder.path().join("root");
        bootstrap(&root)?;
        // debootstrap leaves the packages that it installed.
        let archives = root.join("var/cache/apt/archives");
        for entry in archives.read_dir().into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|ending| ending == "deb") {
                fs::remove_file(entry.path()).context("remove an installed package")?;
            }
        }
        pack(&root, part)
    })?;
    Ok(made)
}

fn bootstrap(root: &Path) -> anyhow::Result<()> {
    let log_path = root.with_extension("log");
    let log = File::create(&log_path).context("make debootstrap's log")?;
    let status = Command::new("debootstrap")
        .args(["--variant=minbase", RELEASE])
        .arg(root)
        .stdin(Stdio::null())
        .stderr(log.try_clone().context("share debootstrap's log")?)
        .stdout(log)
        .status()
        .context("start debootstrap (apt-get install debootstrap)")?;
    if !status.success() {
        let text = fs::read_to_string(&log_path).unwrap_or_default();
        let end: Vec<&str> = text.lines().rev().take(3).collect();
        bail!("debootstrap {RELEASE}: {status}: {}", end.join(" | "));
    }
    Ok(())
}

/// tar, and not the tar crate: it keeps hard links, devices and extended attributes.
fn pack(root: &Path, file: &Path) -> anyhow::Result<()> {
    let status = Command::new("tar")
        .args(["--create", "--numeric-owner", "--xattrs", "--sort=name", "--file"])
        .arg(file)
        .arg("--directory")
        .arg(root)
        .arg(".")
        .status()
        .context("start tar")?;
    if !status.success() {
        bail!("pack {}: {status}", root.display());
    }
    Ok(())
}
