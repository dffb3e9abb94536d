//! The kernel's objects that launching handles: the first process as a guard, namespaces, CPUs.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sched::{CloneFlags, CpuSet};
use nix::sys::wait::{Id, WaitPidFlag, waitid};

use super::launch_error::StepError;
use super::record::process_stat;
use crate::init::procfs::Procfs;
use crate::plan::c_path;
use crate::spec::NamespaceKind;
use crate::sys::mount::openat2;
use crate::sys::process::{pidfd_open, pidfd_send_signal};

/// A first process that is killed and reaped unless it is released.
#[derive(Debug)]
pub(super) struct Process {
    pid: i32,
    pidfd: Option<OwnedFd>,
}

impl Process {
    /// Takes it over.
    pub(super) fn new(pid: i32, pidfd: OwnedFd) -> Process {
        Process { pid, pidfd: Some(pidfd) }
    }

    /// It as a descriptor.
    pub(super) fn pidfd(&self) -> Option<&OwnedFd> {
        self.pidfd.as_ref()
    }

    /// Its pid.
    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// Lets it live on.
    pub(super) fn release(mut self) -> OwnedFd {
        self.pidfd.take().expect("it is taken only here and on drop")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(pidfd) = &self.pidfd {
            let _ = pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
            let _ = waitid(Id::PIDFd(pidfd.as_fd()), WaitPidFlag::WEXITED);
        }
    }
}

/// As the kernel takes it.
pub(crate) fn set_of(cpus: &[usize]) -> Result<CpuSet, Errno> {
    let mut set = CpuSet::new();
    cpus.iter().try_for_each(|cpu| set.set(*cpu))?;
    Ok(set)
}

/// Opened before it is looked at: if the number is of this process now, the descriptor is.
pub(super) fn open_container(pid: i32, start_ticks: u64) -> Result<OwnedFd, StepError> {
    let pidfd = pidfd_open(pid)?;
    let stat = process_stat(pid).filter(|stat| !stat.has_ended);
    match stat.is_some_and(|stat| stat.start_ticks == start_ticks) {
        true => Ok(pidfd),
        false => Err(Errno::ESRCH.into()),
    }
}

/// The root of a container's first process, whatever is at its path meanwhile. By a procfs that
/// nothing is mounted over; the descriptor was opened first, so what was found is that process's if
/// it has not ended by then.
pub(super) fn open_root_of(pid: i32, start_ticks: u64) -> Result<OwnedFd, StepError> {
    let pidfd = open_container(pid, start_ticks)?;
    let procfs = Procfs::detached().or_else(|_| Procfs::of_host())?;
    let folder = procfs.open(&c_path(Path::new(&pid.to_string())), DIRECTORY)?;
    // The kernel's link, which only procfs can have here.
    let root = openat2(folder.as_fd(), c"root", DIRECTORY, 0, 0)?;
    pidfd_send_signal(pidfd.as_fd(), 0)?;
    Ok(root)
}

const DIRECTORY: i32 = libc::O_PATH | libc::O_DIRECTORY;

/// The kernel's flags for some kinds of namespaces.
pub(crate) fn flags_of(kinds: &[NamespaceKind]) -> CloneFlags {
    let bits = kinds.iter().fold(0, |bits, kind| bits | kind.flag());
    CloneFlags::from_bits_retain(bits as i32)
}

pub(super) fn open_namespace(kind: NamespaceKind, path: &Path) -> Result<OwnedFd, StepError> {
    let namespace = nix::fcntl::open(
        path,
        nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_NONBLOCK | nix::fcntl::OFlag::O_CLOEXEC,
        nix::sys::stat::Mode::empty(),
    )?;
    if crate::sys::fd::namespace_kind(namespace.as_fd()) == Ok(kind.flag()) {
        Ok(namespace)
    } else {
        Err(StepError::OtherNamespace)
    }
}

/// Refuses the runtime's own namespace.
pub(super) fn refuse_own(joined: &OwnedFd, kind: NamespaceKind) -> Result<(), StepError> {
    let joined = nix::sys::stat::fstat(joined)?;
    let own = nix::sys::stat::stat(format!("/proc/self/ns/{}", kind.file()).as_str())?;
    let is_own = (joined.st_dev, joined.st_ino) == (own.st_dev, own.st_ino);
    if is_own { Err(StepError::OwnNamespace) } else { Ok(()) }
}
