//! The probe program, built once for all tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, bail};

use crate::folders;

const NAME: &str = "loadline-probe";

/// The static probe program: the one in `LOADLINE_BIN_DIR` where `cargo xtask` set that, else the
/// one beside this program, else built now (a fraction of a second where nothing changed).
///
/// # Errors
/// Where cargo can't build it.
pub fn probe() -> anyhow::Result<PathBuf> {
    static PROBE: OnceLock<PathBuf> = OnceLock::new();
    if let Some(path) = PROBE.get() {
        return Ok(path.clone());
    }
    let given = std::env::var_os("LOADLINE_BIN_DIR").map(|_| folders::programs());
    let given = given.map(|folder| folder.join(NAME)).filter(|path| path.exists());
    let beside = || folders::own().map(|folder| folder.join(NAME)).filter(|path| is_static(path));
    let path = match given.or_else(beside) {
        Some(ready) => ready,
        None => build()?,
    };
    Ok(PROBE.get_or_init(|| path).clone())
}

/// Whether this is a program of 64 bits that names no loader. The probe that cargo puts beside the
/// tools of `cargo run` names one, and containers have none.
fn is_static(path: &Path) -> bool {
    const NAMES_A_LOADER: [u8; 4] = 3_u32.to_le_bytes();
    let Ok(bytes) = std::fs::read(path) else { return false };
    let number = |at: usize, size: usize| {
        let part = bytes.get(at..at.saturating_add(size)).unwrap_or_default();
        part.iter().rev().fold(0_usize, |sum, byte| (sum << 8) | usize::from(*byte))
    };
    let (headers, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    let mut starts = (0..count).map(|at| headers.saturating_add(at * size));
    bytes.starts_with(b"\x7fELF\x02\x01")
        && starts.all(|at| bytes.get(at..at.saturating_add(4)).is_some_and(|k| k != NAMES_A_LOADER))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_needs_a_loader_is_not_static() {
        assert!(is_static(&build().unwrap()));
        assert!(!is_static(&std::env::current_exe().unwrap()));
        assert!(!is_static(Path::new("/etc/passwd")) && !is_static(Path::new("/nonexistent")));
    }
}
