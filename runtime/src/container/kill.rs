//! `kill`.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::record::Record;
use super::{ContainerId, Error, Store};
use crate::sys::process::{kill as kill_number, pidfd_send_signal};

/// Which processes get a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The first one.
    First,
    /// Every one in the container's cgroup.
    All,
}

/// Sends a signal to a container.
///
/// # Errors
/// [`Error::NotRunning`] when its first process has ended (for [`Reach::All`]: and no other is
/// left).
pub fn kill(store: &Store, id: &ContainerId, signal: i32, reach: Reach) -> Result<(), Error> {
    let record = store.read(id)?;
    let signal = match reach {
        Reach::First => effective(&record, store.awaits_start(id), signal)?,
        // Others that are meant can take it.
        Reach::All => signal,
    };
    // SIGKILL to the first of several processes that share the host's pid namespace would leave
    // the others behind.
    let shares_pids = !record.owns_pid_namespace && signal == libc::SIGKILL;
    // Without a cgroup the first process is the only one that is known.
    let only_first = match reach {
        Reach::First if !shares_pids => true,
        Reach::First | Reach::All => record.group()?.is_none(),
    };
    match record.process()? {
        None if reach == Reach::First => Err(Error::NotRunning),
        Some(pidfd) if only_first => {
            let sent = pidfd_send_signal(pidfd.as_fd(), signal);
            sent.map_err(|source| signal_error(record.pid, source))?;
            if signal == libc::SIGKILL { thaw(&record) } else { Ok(()) }
        }
        first => {
            // A process that is still being set up may be in no cgroup of version 1 yet.
            if let (Some(pidfd), Some(group)) = (first, record.group()?) {
                let failed = |source| Error::Cgroup { step: "list", source };
                let pid = Pid::from_raw(record.pid);
                if !group.all_processes().map_err(failed)?.contains(&pid) {
                    match pidfd_send_signal(pidfd.as_fd(), signal) {
                        Ok(()) | Err(Errno::ESRCH) => {}
                        Err(source) => return Err(signal_error(record.pid, source)),
                    }
                }
            }
            kill_all(&record, signal)
        }
    }
}

/// The kernel keeps every signal but SIGKILL from the first process of a pid namespace that has no
/// handler for it (pid_namespaces(7)), and what waits for `start` has none: a container that is
/// asked to end then would run all the same. So what asks for that is SIGKILL there; other signals
/// are for the program, which is not there yet.
fn effective(record: &Record, awaits_start: bool, signal: i32) -> Result<i32, Error> {
    if !awaits_start || !record.owns_pid_namespace || !ends(signal) {
        return Ok(signal);
    }
    let waits = record.look()?.is_some_and(|(_, process)| !process.has_executed);
    Ok(if waits { libc::SIGKILL } else { signal })
}

/// Whether a signal asks for the end, or tells of a fault (signal(7)).
fn ends(signal: i32) -> bool {
    let ending = [
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGTERM,
        libc::SIGABRT,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGILL,
        libc::SIGSEGV,
        libc::SIGSYS,
        libc::SIGTRAP,
    ];
    ending.contains(&signal)
}

fn signal_error(pid: i32, source: Errno) -> Error {
    if source == Errno::ESRCH { Error::NotRunning } else { Error::Signal { pid, source } }
}

/// On cgroup v1 a frozen process does not even die.
pub(super) fn thaw(record: &Record) -> Result<(), Error> {
    match record.group()? {
        Some(group) if group.is_frozen().unwrap_or(false) => {
            group.thaw().map_err(|source| Error::Cgroup { step: "thaw", source })
        }
        _ => Ok(()),
    }
}

/// Sends a signal to every process of the cgroup.
pub(super) fn kill_all(record: &Record, signal: i32) -> Result<(), Error> {
    let Some(group) = record.group()? else { return Ok(()) };
    let failed = |source| Error::Cgroup { step: "signal", source };
    if let Ok(signal) = Signal::try_from(signal) {
        return group.signal_all(signal).map_err(failed);
    }
    // A real-time signal, for which nix has no name.
    for pid in group.all_processes().map_err(failed)? {
        match kill_number(pid.as_raw(), signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(source) => return Err(Error::Signal { pid: pid.as_raw(), source }),
        }
    }
    Ok(())
}
