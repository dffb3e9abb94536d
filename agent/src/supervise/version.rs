//! Which supervisor this is, and whether another one can go on with its run.

use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Version of what a supervisor hands over to the next program; each understands its own and all
/// before it.
pub const HANDOVER_VERSION: u32 = 1;

/// What a supervisor writes into its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process.
    pub pid: u32,
    /// The version in which it hands over.
    pub handover: u32,
}

impl Holder {
    /// This process.
    #[must_use]
    pub fn own() -> Self {
        Self { pid: std::process::id(), handover: HANDOVER_VERSION }
    }

    /// Writes it into a lock that this process holds.
    ///
    /// # Errors
    /// Of the file system.
    pub fn write(&self, lock: &std::fs::File) -> io::Result<()> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        lock.set_len(0)?;
        // Not where the program before left off.
        lock.write_all_at(&line, 0)
    }

    /// Who holds the lock of a run; `None` for a supervisor from before there was this.
    #[must_use]
    pub fn read(run_dir: &Path) -> Option<Self> {
        let bytes = std::fs::read(run_dir.join(super::LOCK_FILE)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }
}
