//! What a supervisor is told at its start.

use std::path::{Path, PathBuf};

use loadline_model::logging::{Delivery, SyslogAddress, SyslogFormat};
use serde::{Deserialize, Serialize};

/// Version of `settings.json` and `state.json`: an upgraded agent meets older supervisors.
pub const FORMAT_VERSION: u32 = 2;

/// Everything that one run of one container needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// [`FORMAT_VERSION`] of the agent that wrote it.
    pub format_version: u32,
    /// The OCI runtime's program.
    pub runtime: PathBuf,
    /// Its `--root`.
    pub runtime_root: PathBuf,
    /// The container's id for the runtime.
    pub id: String,
    /// The bundle's folder.
    pub bundle: PathBuf,
    /// The signal that asks it to end: the agent's, kept here over its restarts.
    pub stop_signal: i32,
    /// Where its output goes.
    pub log: LogSettings,
    /// Whether it has a terminal, in place of pipes.
    #[serde(default)]
    pub terminal: bool,
    /// Whether its standard input stays open; otherwise it is /dev/null.
    #[serde(default)]
    pub stdin_open: bool,
    /// Whether the host's mount of the root filesystem goes when the container runs: nobody begins
    /// another run in it.
    #[serde(default)]
    pub only_run: bool,
    /// How an OOM kill is noticed; `None` where the memory controller is missing.
    pub oom: Option<OomSettings>,
}

/// The container's log files: `DIR/log.N` with a growing N.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSettings {
    /// The folder, which outlives the run.
    pub dir: PathBuf,
    /// A file that has reached this size is followed by the next.
    pub file_bytes_max: u64,
    /// How many files are kept, at least 1.
    pub files_max: u32,
    /// Where it goes besides.
    #[serde(default)]
    pub driver: DriverSettings,
}

/// A log driver, with everything about the container filled in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriverSettings {
    /// The files alone.
    #[default]
    File,
    /// Not even those.
    None,
    /// A syslog server.
    Syslog(SyslogSettings),
    /// The node's journal.
    Journald(JournaldSettings),
}

/// A syslog server, and what its messages say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyslogSettings {
    /// Where it listens.
    pub address: SyslogAddress,
    /// 0 to 23.
    pub facility: u8,
    /// How messages are written.
    pub format: SyslogFormat,
    /// Who says it.
    pub tag: String,
    /// The node's name.
    pub hostname: String,
    /// What happens to what can't be delivered as fast as it comes.
    pub delivery: Delivery,
}

/// The node's journal, and what its entries say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournaldSettings {
    /// Its socket.
    pub socket: PathBuf,
    /// The fields of every entry.
    pub fields: Vec<(String, String)>,
    /// What happens to what can't be delivered as fast as it comes.
    pub delivery: Delivery,
}

impl Settings {
    /// The oldest format that has everything that these settings ask for: an older supervisor
    /// would leave the rest out without a word.
    #[must_use]
    pub fn format_needed(&self) -> u32 {
        let plain = self.log.driver == DriverSettings::File && !self.terminal && !self.stdin_open;
        if plain { 1 } else { FORMAT_VERSION }
    }
}

/// The kernel's count of processes that the OOM killer ended in the container's cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OomSettings {
    /// A file with a line `oom_kill N`: `memory.oom_control` (v1) or `memory.events` (v2).
    pub counter_file: PathBuf,
    /// `cgroup.event_control` where it is v1, which tells of an OOM through an eventfd. On v2 the
    /// counter file itself is watched.
    pub event_control_file: Option<PathBuf>,
}

/// Why settings could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file is missing or unreadable.
    #[error("read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what an agent writes.
    #[error("parse {}", path.display())]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// Written by a newer agent.
    #[error(
        "{} has format {found}, this supervisor knows {FORMAT_VERSION}: upgrade it",
        path.display()
    )]
    Format {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
}

impl Settings {
    /// Reads the settings in a run's folder.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn read(run_dir: &Path) -> Result<Self, SettingsError> {
        let path = run_dir.join(super::SETTINGS_FILE);
        let bytes = std::fs::read(&path)
            .map_err(|source| SettingsError::Read { path: path.clone(), source })?;
        let settings: Self = serde_json::from_slice(&bytes)
            .map_err(|source| SettingsError::Parse { path: path.clone(), source })?;
        if FORMAT_VERSION < settings.format_version {
            return Err(SettingsError::Format { path, found: settings.format_version });
        }
        Ok(settings)
    }
}
