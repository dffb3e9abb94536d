//! Where things that tests make are kept.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// The root of the workspace.
#[must_use]
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

/// Cargo's target folder.
#[must_use]
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => workspace().join(folder),
        None => workspace().join("target"),
    }
}

/// The folder with the five programs and the probe, as `cargo xtask build` fills it.
/// `LOADLINE_BIN_DIR` names another.
#[must_use]
pub fn programs() -> PathBuf {
    std::env::var_os("LOADLINE_BIN_DIR")
        .map_or_else(|| target().join("loadline/bin"), PathBuf::from)
}

/// The folder of the program that runs.
#[must_use]
pub fn own() -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.parent()?.to_owned())
}

/// The folder for what is slow to make.
///
/// # Errors
/// Where it can't be made.
pub fn cache() -> anyhow::Result<PathBuf> {
    let folder = target().join("loadline/cache");
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    Ok(folder)
}

/// Runs `make` unless `made` exists, one process at a time. `make` gets a path beside `made` to
/// fill, which is then renamed: what exists is whole.
///
/// # Errors
/// Where `make` fails, or its file can't be put in place.
pub fn once(made: &Path, make: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let _alone = lock(made)?;
    if made.exists() {
        return Ok(());
    }
    let part = made.with_extension("part");
    make(&part)?;
    std::fs::rename(&part, made).with_context(|| format!("put {} in place", made.display()))
}

/// Keeps other processes from making `made` until it is dropped.
///
/// # Errors
/// Where the lock's file can't be made.
pub fn lock(made: &Path) -> anyhow::Result<File> {
    let path = made.with_extension("lock");
    let lock = File::create(&path).with_context(|| format!("make {}", path.display()))?;
    lock.lock().with_context(|| format!("lock {}", path.display()))?;
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_exists_is_not_made_again_and_what_failed_is() {
        let folder = tempfile::tempdir().unwrap();
        let made = folder.path().join("thing");
        assert!(once(&made, |_| anyhow::bail!("no")).is_err());
        once(&made, |part| Ok(std::fs::write(part, "1")?)).unwrap();
        once(&made, |part| Ok(std::fs::write(part, "2")?)).unwrap();
        assert_eq!(std::fs::read_to_string(made).unwrap(), "1");
    }
}
