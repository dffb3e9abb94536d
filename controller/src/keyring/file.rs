//! The key on disk: 64 hex digits and a newline, readable by its owner only.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::Keyring;

/// Permission bits that nobody but the owner may have.
const OTHERS: u32 = 0o077;
/// The file has 65 bytes.
const FILE_BYTES_MAX: u64 = 1024;

/// The key file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// Reading or writing failed.
    #[error("can't {step} {path}")]
    Io {
        /// What was being done.
        step: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Others can read the key.
    #[error(
        "{path} is open to others (mode {mode:03o}): it opens every stored secret; run chmod 600"
    )]
    Mode {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not what we wrote.
    #[error("{path} does not hold 64 hex digits; restore it from a backup")]
    Content {
        /// Which file.
        path: PathBuf,
    },
}

/// Reads the key from `path`, or makes one there at the first start.
///
/// # Errors
/// [`KeyringError`]
pub fn load_or_create(path: &Path) -> Result<Keyring, KeyringError> {
    match OpenOptions::new().read(true).open(path) {
        Ok(file) => load(path, file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(path),
        Err(error) => Err(failed("open", path)(error)),
    }
}

fn failed(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyringError {
    let path = path.to_owned();
    move |source| KeyringError::Io { step, path, source }
}

fn load(path: &Path, file: File) -> Result<Keyring, KeyringError> {
    let mode = file.metadata().map_err(failed("look at", path))?.mode() & 0o777;
    if mode & OTHERS != 0 {
        return Err(KeyringError::Mode { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed("read", path))?;
    let mut master = [0; 32];
    hex::decode_to_slice(text.trim_end(), &mut master)
        .map_err(|_| KeyringError::Content { path: path.to_owned() })?;
    Ok(Keyring::new(&master))
}

/// Whole or not at all: written and synced under another name, then moved to its own.
fn create(path: &Path) -> Result<Keyring, KeyringError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(failed("make the folder", folder))?;
    let master: [u8; 32] = rand::random();
    let draft = path.with_extension("new");
    write_durably(&draft, &format!("{}\n", hex::encode(master)))
        .map_err(failed("write", &draft))?;
    std::fs::rename(&draft, path).map_err(failed("move into place", path))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync", folder))?;
    Ok(Keyring::new(&master))
}

fn write_durably(path: &Path, text: &str) -> io::Result<()> {
    // A draft that a crash left behind was never used.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_private_and_read_again_and_refused_where_others_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("controller").join("secrets.key");
        let first = load_or_create(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(load_or_create(&path).unwrap().id(), first.id());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(load_or_create(&path), Err(KeyringError::Mode { mode: 0o644, .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "no key").unwrap();
        assert!(matches!(load_or_create(&path), Err(KeyringError::Content { .. })));
    }
}
