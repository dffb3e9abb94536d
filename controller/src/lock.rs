//! One controller for one state folder.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, bail};

/// Held as long as the process lives: the kernel gives it back, however the process ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Makes the folder where it is missing, and takes the lock in it.
    ///
    /// # Errors
    /// Where the folder can't be written, or another controller holds the lock.
    pub(crate) fn take(folder: &Path) -> anyhow::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(|| {
            format!("make the state folder {}: run as root, or choose --state-dir", show(folder))
        })?;
        // One that an older version, or a person, made: keys and the state are for nobody else.
        let closed = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(folder, closed)
            .with_context(|| format!("close the state folder {} to others", show(folder)))?;
        let path = folder.join("lock");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).with_context(|| {
            format!(
                "write to the state folder {}: run as root, or choose --state-dir",
                show(folder)
            )
        })?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Only to name it; an unreadable one has no name.
                let _ = file.take(32).read_to_string(&mut holder);
                let holder = holder.trim();
                bail!(
                    "another controller (process {holder}) uses {}: end it, or choose another \
                     --state-dir",
                    show(folder)
                );
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("lock {}", show(&path)));
            }
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .with_context(|| format!("write {}", show(&path)))?;
        Ok(Self { _file: file })
    }
}

fn show(path: &Path) -> std::path::Display<'_> {
    path.display()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_controller_on_one_folder_is_refused_and_told_who_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("deep/controller");
        let first = Lock::take(&folder).unwrap();
        let refused = Lock::take(&folder).unwrap_err().to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        drop(first);
        Lock::take(&folder).unwrap();
    }

    #[test]
    fn a_folder_that_others_could_read_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("controller");
        std::fs::create_dir(&folder).unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        let _lock = Lock::take(&folder).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&folder.join("lock"))), (0o700, 0o600));
    }

    #[test]
    fn a_folder_that_can_not_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let folder = file.path().join("controller");
        let refused = Lock::take(&folder).unwrap_err().to_string();
        assert!(refused.contains(&folder.display().to_string()), "{refused}");
    }
}
