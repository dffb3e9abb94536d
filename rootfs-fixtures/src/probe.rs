//! The probe program, built once for all tests.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, bail};

use crate::folders;

/// The static probe program: the one in `LOADLINE_BIN_DIR` where `cargo xtask` set that, else built
/// now (a fraction of a second where nothing changed).
///
/// # Errors
/// Where cargo can't build it.
pub fn probe() -> anyhow::Result<PathBuf> {
    static PROBE: OnceLock<PathBuf> = OnceLock::new();
    if let Some(path) = PROBE.get() {
        return Ok(path.clone());
    }
    let given = std::env::var_os("LOADLINE_BIN_DIR").map(|_| folders::programs());
    let path = match given.map(|folder| folder.join("loadline-probe")).filter(|p| p.exists()) {
        Some(ready) => ready,
        None => build()?,
    };
    Ok(PROBE.get_or_init(|| path).clone())
}

fn build() -> anyhow::Result<PathBuf> {
    let made = folders::cache()?.join("loadline-probe");
    let _alone = folders::lock(&made)?;
    // A folder of its own: this may run inside `cargo test`, whose cargo may hold the usual one.
    let target = folders::target().join("loadline/probe");
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["rustc", "--quiet", "--package", "loadline-fixtures", "--bin"])
        .args(["loadline-probe", "--target-dir"])
        .arg(&target)
        .args(["--", "-C", "target-feature=+crt-static", "-C", "strip=symbols"])
        .current_dir(folders::workspace())
        .output()
        .context("start cargo to build the probe")?;
    if !output.status.success() {
        bail!("build the probe: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let built = target.join("debug/loadline-probe");
    let bytes = std::fs::read(&built).with_context(|| format!("read {}", built.display()))?;
    // Another test may be running the old one, so it is replaced and never written over.
    if std::fs::read(&made).ok().is_none_or(|old| old != bytes) {
        let part = made.with_extension("part");
        std::fs::copy(&built, &part).with_context(|| format!("copy {}", built.display()))?;
        std::fs::rename(&part, &made).context("put the probe in place")?;
    }
    Ok(made)
}
