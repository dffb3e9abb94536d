//! Where one run of a container stands, as its supervisor knows it.
//!
//! ```text
//!  Creating ─▶ Created ─▶ Running ─▶ Exited
//!      └──────────┴───────▶ Failed
//! ```

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::disk::{self, Durability};

/// The state of a run. A container that was created and stopped before its start is `Exited`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum State {
    /// The OCI runtime has been or is being called: from here on the run is never begun again.
    Creating,
    /// The container exists and waits for its start.
    Created {
        /// Its init, in the supervisor's pid namespace.
        pid: i32,
    },
    /// The container's program runs.
    Running {
        /// Its init.
        pid: i32,
        /// When it was started, in Unix milliseconds.
        started_at_ms: u64,
        /// Processes of it that the OOM killer has ended so far.
        oom_kills: u64,
    },
    /// It could not be created or started, and nothing of it is left.
    Failed {
        /// Which call failed.
        step: FailedStep,
        /// What the runtime said.
        error: String,
    },
    /// Its init has ended.
    Exited(Exit),
}

/// The call of the OCI runtime that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailedStep {
    /// `create`
    Create,
    /// `start`
    Start,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// 0 to 255, or 128 + the signal.
    pub exit_code: i32,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// Processes of it that the OOM killer ended.
    pub oom_kills: u64,
    /// When it was started, in Unix milliseconds; `None` where it never was.
    pub started_at_ms: Option<u64>,
    /// When it ended.
    pub finished_at_ms: u64,
    /// How long it ran, in milliseconds of a clock that nobody sets; `None` where it never was
    /// started, and of a supervisor that did not measure it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ran_ms: Option<u64>,
}

impl Exit {
    /// How long it ran, in milliseconds; `None` where it never was started.
    #[must_use]
    pub fn ran_ms(&self) -> Option<u64> {
        let by_wall = self.started_at_ms.map(|at_ms| self.finished_at_ms.saturating_sub(at_ms));
        self.ran_ms.or(by_wall)
    }
}

impl State {
    /// Whether nothing comes after it.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::Exited(_))
    }

    /// Reads the newest state in a run's folder; `None` where no supervisor ever got that far.
    ///
    /// # Errors
    /// Of the file system, or `InvalidData` for what is no state.
    pub fn read(run_dir: &Path) -> io::Result<Option<Self>> {
        match std::fs::read(run_dir.join(super::STATE_FILE)) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces the state in a run's folder. A final one survives the loss of power; after such a
    /// loss the others are no longer true anyway.
    ///
    /// # Errors
    /// Of the file system.
    pub fn write(&self, run_dir: &Path) -> io::Result<()> {
        let durability = if self.is_final() { Durability::Power } else { Durability::Process };
        disk::replace(run_dir, super::STATE_FILE, &self.to_line(), durability)
    }

    /// One line of JSON with its newline: the form on disk and on the socket.
    #[must_use]
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("a state has no map with odd keys");
        line.push(b'\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_survives_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(State::read(dir.path()).unwrap(), None);
        let exit = Exit {
            exit_code: 137,
            signal: Some(9),
            oom_kills: 1,
            started_at_ms: None,
            finished_at_ms: 7,
            ran_ms: None,
        };
        for state in [
            State::Creating,
            State::Created { pid: 7 },
            State::Running { pid: 7, started_at_ms: 1, oom_kills: 0 },
            State::Failed { step: FailedStep::Create, error: "no\nway".into() },
            State::Exited(exit),
        ] {
            state.write(dir.path()).unwrap();
            assert_eq!(State::read(dir.path()).unwrap(), Some(state));
        }
    }

    #[test]
    fn what_is_no_state_is_an_error_not_an_absence() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(super::super::STATE_FILE), "{}").unwrap();
        assert!(State::read(dir.path()).is_err());
    }
}
