//! What can go wrong with a container. Words that engines look for are runc's.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::launch_error::LaunchError;
use super::record::Status;
use crate::{bundle, cgroup, init, plan, spec};

/// A verb failed or was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The id is not usable.
    #[error(transparent)]
    Id(#[from] super::id::InvalidId),
    /// There is such a container already.
    #[error("container with given ID already exists")]
    Exists,
    /// There is no such container. The first words are those that engines look for.
    #[error("container does not exist: {}", Sought(.folder))]
    NotFound {
        /// Where its record would be.
        folder: PathBuf,
    },
    /// A file of the record.
    #[error("{step} {}", .path.display())]
    Io {
        /// What was done.
        step: &'static str,
        /// To which file.
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The folder of all records.
    #[error("make the folder of records {}{}", .path.display(), records_hint(.source))]
    Records {
        /// The folder.
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The record is not readable.
    #[error("{}: the record is damaged; `delete --force` removes it", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    /// The record is of another version of this program.
    #[error("the record has version {found}, and this program reads version {known}")]
    OtherVersion {
        /// What was found.
        found: u32,
        /// What is known.
        known: u32,
    },
    /// The bundle.
    #[error(transparent)]
    Bundle(#[from] bundle::Error),
    /// The configuration.
    #[error(transparent)]
    Spec(#[from] spec::Invalid),
    /// Properties that the specification does not have, under `--strict`.
    #[error("config.json: the specification does not know {}", .0.join(", "))]
    Unknown(Vec<String>),
    /// The host cannot give it.
    #[error(transparent)]
    Refused(#[from] plan::Refused),
    /// The host's cgroups cannot be read.
    #[error("look at the host's cgroups")]
    Host(#[source] cgroup::Error),
    /// The container could not be made.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The container's cgroup.
    #[error("{step} the container's cgroup")]
    Cgroup {
        /// What was done.
        step: &'static str,
        #[source]
        source: cgroup::Error,
    },
    /// Not in this state: `start`.
    #[error("cannot start a container that has {}", .0.has_been())]
    CannotStart(Status),
    /// Not in this state: `kill`.
    #[error("container not running")]
    NotRunning,
    /// Not in this state: `resume`.
    #[error("container not paused")]
    NotPaused,
    /// Not in this state: `exec`.
    #[error("cannot exec in a {}", exec_hint(*.0))]
    CannotExec(Status),
    /// Not in this state: `checkpoint`.
    #[error("cannot checkpoint a container that has {}", .0.has_been())]
    CannotCheckpoint(Status),
    /// criu has no way to do it.
    #[error("linux.namespaces: criu cannot restore into a {0} namespace that exists")]
    CannotRestoreInto(spec::NamespaceKind),
    /// The kernel has no such security module.
    #[error("{flag} needs {name}, which this kernel does not have (no {place})")]
    NoSecurityModule {
        /// The flag that asks for it.
        flag: &'static str,
        /// Its name.
        name: &'static str,
        /// Where it would be.
        place: &'static str,
    },
    /// criu did not do what it was asked for.
    #[error(
        "--lsm-profile: the restored process has {current:?} and not {asked:?}: criu replaces a \
         profile, and gives none to a container that was written without one"
    )]
    ProfileNotRestored {
        /// What was asked for.
        asked: String,
        /// What it had, before it ran.
        current: String,
    },
    /// Nobody restores it.
    #[error("{0} is not supported by restore")]
    CannotRestore(&'static str),
    /// criu.
    #[error(transparent)]
    Criu(Box<crate::criu::Error>),
    /// The container was made without a cgroup.
    #[error("the container has no cgroup: give it a linux.cgroupsPath that this user may write")]
    NoCgroup,
    /// ps(1) failed.
    #[error("ps: {text}")]
    Ps {
        /// What it said.
        text: String,
    },
    /// A file with a process.
    #[error("{}", .path.display())]
    ProcessFile {
        /// The file.
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    /// Not in this state: `delete`.
    #[error("cannot delete container {id} that is not stopped: {status}")]
    CannotDelete {
        /// Which.
        id: String,
        /// Its state.
        status: Status,
    },
    /// A signal could not be sent.
    #[error("signal process {pid}")]
    Signal {
        /// The process.
        pid: i32,
        #[source]
        source: nix::errno::Errno,
    },
    /// The processes do not end.
    #[error("the container's processes did not end within {seconds} s of SIGKILL")]
    StillRunning {
        /// How long was waited.
        seconds: u64,
    },
    /// `update` was refused half way, and undone.
    #[error("nothing was changed{}", NotUndone(.left))]
    NotUpdated {
        /// What was refused.
        #[source]
        source: Box<Error>,
        /// What could not be brought back.
        left: Option<String>,
    },
    /// `start` could not reach the container's first process.
    #[error("reach the container's first process")]
    Reach(#[source] nix::errno::Errno),
    /// A group of resctrl.
    #[error(transparent)]
    Resctrl(#[from] super::resctrl::Error),
    /// Where the root filesystem is, something else is.
    #[error("look at root.path {}", .path.display())]
    Root {
        /// What root.path leads to.
        path: PathBuf,
        #[source]
        source: init::sync::Cause,
    },
    /// What lies in a mount namespace that is not the container's.
    #[error(
        "take the container's mounts away from a mount namespace that is not its own; what covers \
         them, or another container that lies on them, has to go first"
    )]
    Mounts(#[source] init::sync::Cause),
    /// The container was made without `linux.intelRdt`.
    #[error("the container has no group of resctrl: it was made without linux.intelRdt")]
    NoResctrl,
    /// The listener of the program's filter.
    #[error(transparent)]
    Notify(#[from] super::notify::NotifyError),
    /// The first process was there, and never became the program.
    #[error("the process was killed by {signal} before it ran the program")]
    KilledBeforeExec {
        /// Which signal.
        signal: nix::sys::signal::Signal,
    },
    /// With what is likely to be behind it.
    #[error("{error}: {why}")]
    Likely {
        /// What went wrong.
        error: Box<Error>,
        /// Why, perhaps.
        why: &'static str,
    },
    /// A hook after the set-up.
    #[error("run {kind} hook")]
    Hook {
        /// Which kind.
        kind: spec::HookKind,
        #[source]
        source: init::hook::HookFailure,
    },
    /// The exec failed at `start`.
    #[error("{what}")]
    Exec {
        /// Which step.
        what: String,
        #[source]
        source: init::sync::Cause,
    },
    /// A terminal in the foreground.
    #[error("{step} the terminal")]
    Terminal {
        /// What was done.
        step: &'static str,
        #[source]
        source: nix::errno::Errno,
    },
}

/// The id, and the folder of the records in which it was looked for.
struct Sought<'a>(&'a Path);

impl fmt::Display for Sought<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.0.file_name().unwrap_or_default().to_string_lossy();
        let root = self.0.parent().unwrap_or(self.0).display();
        write!(f, "{id} (no record of it in {root}; --root says where records are)")
    }
}

/// What an undoing could not undo.
struct NotUndone<'a>(&'a Option<String>);

impl fmt::Display for NotUndone<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |left| write!(f, " but what could not be undone ({left})"))
    }
}

fn records_hint(source: &io::Error) -> &'static str {
    let may_not = source.kind() == io::ErrorKind::PermissionDenied;
    match may_not && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        true => {
            " [XDG_RUNTIME_DIR is not set: set it to a folder of this user's, such as \
             /run/user/UID, or name one by --root]"
        }
        false => "",
    }
}

fn exec_hint(status: Status) -> String {
    match status {
        Status::Paused => "paused container (use --ignore-paused to override)".to_owned(),
        Status::Creating | Status::Created | Status::Running | Status::Stopped => {
            format!("container that has {}", status.has_been())
        }
    }
}

impl Error {
    /// An error of a file.
    pub fn io(step: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Error {
        Error::Io { step, path: path.into(), source }
    }
}
