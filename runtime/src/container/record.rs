//! What is kept of a container on disk, and the status that is derived from it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Error;
use crate::cgroup;
use crate::kernel_file::read_all;
use crate::sys::process::{pidfd_open, since_boot};
use crate::sys::signal::SignalMask;

/// The version of the record's form. A change that older programs would misread raises it.
pub(super) const RECORD_VERSION: u32 = 1;
/// The record's file in the container's folder.
pub(super) const RECORD_FILE: &str = "container.json";
/// The socket on which the container's first process awaits its start.
pub(super) const START_SOCKET: &str = "start.sock";
/// A link whose text is where the cgroup is, made before the cgroup: should `create` be killed
/// before there is a record, `delete` finds it. A link because that takes one system call.
pub(super) const CGROUP_LINK: &str = "cgroup";

/// A link whose text is how its mounts are found that lie in a mount namespace of others, made
/// before them for the same reason.
pub(super) const MOUNTS_LINK: &str = "mounts";

/// The text of the cgroup's link.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Unrecorded<L> {
    /// Where the cgroup is ([`cgroup::Location`]).
    pub(super) cgroup: L,
    /// When the container's creation began, in clock ticks since boot. A process that is older is
    /// somebody else's, whose cgroup was asked for by mistake.
    pub(super) since_ticks: u64,
    /// Whether nothing of the container executes a program before it has a record. What has, is
    /// somebody else's then, who has made the same cgroup since.
    #[serde(default)]
    pub(super) records_first: bool,
}

/// A container as `create` made it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Record {
    /// [`RECORD_VERSION`] of the writer.
    pub version: u32,
    /// `ociVersion` of config.json.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// The first process's pid.
    pub pid: i32,
    /// When it started, in clock ticks since boot: with the pid, a name that is never used again.
    pub pid_start_ticks: u64,
    /// The bundle's absolute path.
    pub bundle: PathBuf,
    /// The root filesystem's absolute path.
    pub rootfs: PathBuf,
    /// When it was created, RFC 3339.
    pub created: String,
    /// Who created it.
    pub owner_uid: u32,
    /// Annotations of config.json.
    pub annotations: BTreeMap<String, String>,
    /// Where its cgroup is.
    pub cgroup: Option<cgroup::Location>,
    /// Its groups of resctrl.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resctrl: Option<super::resctrl::Groups>,
    /// Its mounts, where they lie in a mount namespace that is not its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marked: Option<super::marked::Marked>,
    /// Whether the first process's end ends all others (a pid namespace of its own).
    pub owns_pid_namespace: bool,
    /// Whether the set-up is still under way.
    #[serde(default)]
    pub is_creating: bool,
    /// Whether the set-up goes on until the first process executes its program: it is written down
    /// before that.
    #[serde(default)]
    pub is_creating_until_exec: bool,
    /// Whether its processes keep the session keyring of whoever starts them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_new_keyring: bool,
    /// config.json as it was read. In the record it is a value, not a text.
    #[serde(skip_serializing, deserialize_with = "text_of")]
    pub config: String,
}

fn text_of<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(String::from(Box::<str>::from(Box::<RawValue>::deserialize(from)?)))
}

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is being set up.
    Creating,
    /// It awaits its start.
    Created,
    /// Its program runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Its first process has ended.
    Stopped,
}

impl Status {
    /// For "cannot start a container that has ...".
    pub(super) fn has_been(self) -> &'static str {
        match self {
            Status::Creating => "not been created",
            Status::Created => "been created",
            Status::Running => "been started already",
            Status::Paused => "been paused",
            Status::Stopped => "stopped",
        }
    }

    /// The word in the state.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Record {
    /// Reads the record in a container's folder.
    pub(super) fn read(folder: &Path) -> Result<Record, Error> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let path = folder.join(RECORD_FILE);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::NotFound { folder: folder.to_owned() });
            }
            other => other.map_err(|source| Error::io("read", &path, source))?,
        };
        let damaged = |source| Error::Damaged { path: path.clone(), source };
        serde_json::from_str(&text).map_err(|error| match serde_json::from_str::<Version>(&text) {
            Ok(Version { version }) if version != RECORD_VERSION => {
                Error::OtherVersion { found: version, known: RECORD_VERSION }
            }
            _ => damaged(error),
        })
    }

    /// As JSON. The configuration was decoded before, so it is put in place without another look.
    pub fn to_bytes(&self) -> Vec<u8> {
        const ROOM_BYTES: usize = 2048;
        let mut bytes = Vec::with_capacity(self.config.len() + ROOM_BYTES);
        serde_json::to_writer(&mut bytes, self).expect("a record has text keys only");
        bytes.pop();
        bytes.extend_from_slice(b",\"config\":");
        bytes.extend_from_slice(self.config.as_bytes());
        bytes.push(b'}');
        bytes
    }

    /// The first process as a descriptor, if it still runs.
    pub(super) fn process(&self) -> Result<Option<OwnedFd>, Error> {
        Ok(self.look()?.map(|(pidfd, _)| pidfd))
    }

    /// The first process as a descriptor, and what the kernel says of it, if it still runs.
    pub(super) fn look(&self) -> Result<Option<(OwnedFd, ProcessStat)>, Error> {
        if self.pid <= 0 {
            return Ok(None);
        }
        // Opened before it is looked at: if the number is of this process now, the descriptor is.
        let pidfd = match pidfd_open(self.pid) {
            Err(Errno::ESRCH) => return Ok(None),
            Err(source) => return Err(Error::Signal { pid: self.pid, source }),
            Ok(pidfd) => pidfd,
        };
        let stat = process_stat(self.pid)
            .filter(|stat| !stat.has_ended && stat.start_ticks == self.pid_start_ticks);
        Ok(stat.map(|stat| (pidfd, stat)))
    }

    /// The container's cgroup, if it is there.
    pub(super) fn group(&self) -> Result<Option<cgroup::Group>, Error> {
        let Some(location) = &self.cgroup else { return Ok(None) };
        let failed = |source| Error::Cgroup { step: "open", source };
        cgroup::Group::open(location).map_err(failed)
    }
}

/// What /proc/PID/stat says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProcessStat {
    /// Dead or a zombie.
    pub(super) has_ended: bool,
    /// Whether it has executed a program since its clone.
    pub(super) has_executed: bool,
    /// When it started, in clock ticks since boot.
    pub(super) start_ticks: u64,
    /// The signals that it ignores, without the real-time ones.
    pub(super) ignored: SignalMask,
}

/// The time since boot as processes' starts are told: in hundredths of a second, on every kernel.
pub(super) fn boot_ticks() -> u64 {
    const TICK: Duration = Duration::from_millis(10);
    u64::try_from(since_boot().as_nanos() / TICK.as_nanos()).unwrap_or(u64::MAX)
}

/// Reads /proc/PID/stat; `None` when there is no such process.
pub(super) fn process_stat(pid: i32) -> Option<ProcessStat> {
    parse_stat(&read_all(Path::new(&format!("/proc/{pid}/stat"))).ok()?)
}

/// The name, field 2, is in parentheses and may hold any byte, so fields are counted after it.
fn parse_stat(stat: &[u8]) -> Option<ProcessStat> {
    const FLAGS: usize = 9 - 3;
    const START_TIME: usize = 22 - 3;
    const IGNORED: usize = 33 - 3;
    /// PF_FORKNOEXEC of linux/sched.h; its number is the same since Linux 2.6.
    const NOT_EXECUTED: u32 = 0x40;
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(name_end + 2..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let has_ended = matches!(fields.clone().next()?, "Z" | "X" | "x");
    let flags: u32 = fields.nth(FLAGS)?.parse().ok()?;
    let start_ticks = fields.nth(START_TIME - FLAGS - 1)?.parse().ok()?;
    let ignored = fields.nth(IGNORED - START_TIME - 1)?.parse().ok()?;
    Some(ProcessStat { has_ended, has_executed: flags & NOT_EXECUTED == 0, start_ticks, ignored })
}

#[cfg(test)]
mod tests {
    use super::{ProcessStat, parse_stat};

    #[test]
    fn a_name_cannot_fake_the_fields_after_it() {
        let rest = (10..22).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        let more = (23..33).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        let stat =
            |flags| format!("7 (a) R 1 (b)) Z 4 5 6 7 8 {flags} {rest} 4711 {more} 4097 34\n");
        for (flags, has_executed) in [(0x40_0040, false), (0x40_0000, true)] {
            let expected =
                ProcessStat { has_ended: true, has_executed, start_ticks: 4711, ignored: 4097 };
            assert_eq!(parse_stat(stat(flags).as_bytes()), Some(expected));
        }
        assert_eq!(parse_stat(b"7 (x"), None);
    }
}
