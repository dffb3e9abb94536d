//! Files that are there whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// How much a write must survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The death of any process: the page cache is enough.
    Process,
    /// Loss of power: the file and its folder are fsynced.
    Power,
}

/// Replaces `dir/name` with `bytes`, mode 0600, by writing a temporary file and renaming it.
///
/// # Errors
/// Of the file system; `dir/name` is then as it was.
pub fn replace(dir: &Path, name: &str, bytes: &[u8], durability: Durability) -> io::Result<()> {
    let temporary = dir.join(format!(".{name}.new"));
    let written = write_new(&temporary, bytes, durability)
        .and_then(|()| std::fs::rename(&temporary, dir.join(name)));
    if let Err(error) = written {
        // What could not be finished is of no use to anybody; the first error is the one to tell.
        let _ = std::fs::remove_file(&temporary);
        return Err(error);
    }
    if durability == Durability::Power {
        sync_dir(dir)?;
    }
    Ok(())
}

/// Makes the names in a folder survive a loss of power.
///
/// # Errors
/// Of the file system.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn write_new(path: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    if durability == Durability::Power {
        file.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_holds_the_new_bytes_and_no_temporary_is_left() {
        let dir = tempfile::tempdir().unwrap();
        for (text, durability) in [("one", Durability::Process), ("two", Durability::Power)] {
            replace(dir.path(), "f", text.as_bytes(), durability).unwrap();
            assert_eq!(std::fs::read_to_string(dir.path().join("f")).unwrap(), text);
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn a_failed_replacement_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("taken")).unwrap();
        std::fs::write(dir.path().join("taken/x"), "old").unwrap();
        assert!(replace(dir.path(), "taken", b"new", Durability::Process).is_err());
        assert_eq!(std::fs::read_to_string(dir.path().join("taken/x")).unwrap(), "old");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
