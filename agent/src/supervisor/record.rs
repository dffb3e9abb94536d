//! The final state's place on disk, allocated before there is anything to write.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::supervise::{STATE_FILE, State, disk};

/// Longest error text in a final state, in characters.
pub(super) const ERROR_CHARS_MAX: usize = 1000;

/// Size of the place. A character takes at most 6 bytes as JSON (a control character), and the
/// rest of a state less than 500.
const PLACE_BYTES: usize = 8 * 1024;

/// Its name until it becomes the state file.
const PLACE_FILE: &str = ".state.reserve";

/// A file full of spaces that becomes the final state. JSON allows the spaces that stay.
#[derive(Debug)]
pub(super) struct FinalRecord {
    file: File,
    run_dir: PathBuf,
}

impl FinalRecord {
    /// Allocates the place.
    pub(super) fn allocate(run_dir: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(run_dir.join(PLACE_FILE))?;
        file.write_all_at(&[b' '; PLACE_BYTES], 0)?;
        Ok(Self { file, run_dir: run_dir.to_owned() })
    }

    /// The place that another program allocated.
    pub(super) fn reopen(run_dir: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).open(run_dir.join(PLACE_FILE))?;
        Ok(Self { file, run_dir: run_dir.to_owned() })
    }

    /// Writes the state and puts it in place, durable. May be called again after an error.
    pub(super) fn commit(&self, state: &State) -> io::Result<()> {
        let mut line = state.to_line();
        // The newline goes to the end, behind the spaces.
        line.pop();
        if PLACE_BYTES <= line.len() {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "a state above its bound"));
        }
        line.resize(PLACE_BYTES - 1, b' ');
        line.push(b'\n');
        self.file.write_all_at(&line, 0)?;
        self.file.sync_all()?;
        match std::fs::rename(self.run_dir.join(PLACE_FILE), self.run_dir.join(STATE_FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            // Not found: an earlier attempt got as far as the rename.
            _ => {}
        }
        match disk::sync_dir(&self.run_dir) {
            // The folder was removed, so nobody will ask; what the runtime has of it must go too.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            synced => synced,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervise::FailedStep;

    #[test]
    fn the_longest_error_fits_and_committing_twice_is_no_change() {
        let dir = tempfile::tempdir().unwrap();
        let record = FinalRecord::allocate(dir.path()).unwrap();
        let error = "\u{1}".repeat(ERROR_CHARS_MAX);
        let state = State::Failed { step: FailedStep::Create, error };
        for _ in 0..2 {
            record.commit(&state).unwrap();
            assert_eq!(State::read(dir.path()).unwrap(), Some(state.clone()));
        }
    }

    #[test]
    fn a_folder_that_was_removed_does_not_hold_the_supervisor_back() {
        let dir = tempfile::tempdir().unwrap();
        let record = FinalRecord::allocate(dir.path()).unwrap();
        dir.close().unwrap();
        record.commit(&State::Failed { step: FailedStep::Create, error: "no".into() }).unwrap();
    }
}
