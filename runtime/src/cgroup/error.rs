//! What can go wrong with a control group, in words an operator can act on.

use std::io;
use std::path::{Path, PathBuf};

use super::decide::Refusals;
use super::{Controller, Controllers, systemd};

/// A failed step on a control group.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory operation failed.
    #[error("{step} {}", path.display())]
    Io {
        /// What was being done: a verb.
        step: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A value was not taken by the kernel.
    #[error("write `{value}` to {}{hint}", path.display())]
    Write {
        /// The control file.
        path: PathBuf,
        /// What was written.
        value: String,
        /// What this answer means for this file; empty, or begins with ` (`.
        hint: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A resource was asked for whose controller is not there.
    #[error(
        "set {file}: the {controller} cgroup controller is not available here; {why}, or leave \
         the resource out of config.json"
    )]
    ControllerMissing {
        /// The controller that would be needed.
        controller: Controller,
        /// The file that would have been written.
        file: String,
        /// What would make it available.
        why: &'static str,
    },
    /// The resources cannot be expressed on this host.
    #[error("linux.resources: {0}")]
    Refused(Refusals),
    /// v2's rule that a group with processes cannot hand controllers to children.
    #[error(
        "enable the controllers {controllers} in {}: the group has processes of its own, and \
         cgroup v2 gives controllers only to children of groups without any; move these \
         processes into a child group, or choose another cgroupsPath", path.display()
    )]
    InternalProcesses {
        /// The group that has both processes and children-to-be.
        path: PathBuf,
        /// What could not be enabled.
        controllers: Controllers,
    },
    /// The group was there before, and the caller asked for a new one.
    #[error(
        "create the cgroup {}: it exists already and holds processes; stop them or choose another \
         cgroupsPath", path.display()
    )]
    InUse {
        /// The group's directory.
        path: PathBuf,
    },
    /// The group, or one above it, is frozen.
    #[error(
        "create the cgroup {}: the container's cgroup unexpectedly frozen, so that a process which \
         joined it would stand still for ever; thaw it and the groups above it, or choose another \
         cgroupsPath", path.display()
    )]
    Frozen {
        /// The group's directory.
        path: PathBuf,
    },
    /// A text of the kernel did not have the form that its manual gives it.
    #[error("parse {what}: {text:?} is not of the form that the kernel documents")]
    Malformed {
        /// Which file or field.
        what: &'static str,
        /// The offending piece.
        text: String,
    },
    /// No cgroup hierarchy is mounted.
    #[error("find a cgroup mount: none is visible; mount cgroup2 on /sys/fs/cgroup")]
    NoMount,
    /// A cgroupsPath that is not acceptable.
    #[error("{path:?}: {why}")]
    BadPath {
        /// As configured.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The group has no hierarchy that can do what was asked.
    #[error("{step}: the group has no {needs} hierarchy")]
    NoHierarchy {
        /// What was being done.
        step: &'static str,
        /// What it would take.
        needs: &'static str,
    },
    /// The systemd driver.
    #[error("{step} {unit} by systemd")]
    Systemd {
        /// What was asked: a verb.
        step: &'static str,
        /// The scope.
        unit: String,
        /// Why not.
        source: systemd::BusError,
    },
    /// Rules that were replaced.
    #[error("bring device rules back: the kernel does not tell the earlier ones; set them again")]
    DeviceRules,
    /// Processes did not stop, die or leave in the time allowed.
    #[error("{step} {}: not done after {waited_ms} ms; {left}", path.display())]
    TimedOut {
        /// What was being done.
        step: &'static str,
        /// The group's directory.
        path: PathBuf,
        /// How long it was tried.
        waited_ms: u64,
        /// What stands in the way.
        left: String,
    },
}

impl Error {
    pub(super) fn io(step: &'static str, path: &Path, source: impl Into<io::Error>) -> Error {
        Error::Io { step, path: path.to_owned(), source: source.into() }
    }

    /// Whether the object simply is not there (any more).
    pub fn is_not_found(&self) -> bool {
        match self {
            Error::Io { source, .. } | Error::Write { source, .. } => {
                // ENODEV is what reading a file of a group answers that was removed meanwhile.
                matches!(source.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
            }
            _ => false,
        }
    }
}
