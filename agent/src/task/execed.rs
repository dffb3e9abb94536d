//! Processes that the OCI runtime's `exec` put into a container, by their pid files.

use std::path::Path;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpgid};

/// The pid in a file that the runtime wrote.
pub(crate) fn read_pid(pid_file: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(pid_file).ok()?;
    text.trim().parse().ok().filter(|pid| 1 < *pid).map(Pid::from_raw)
}

/// A runtime makes the process the leader of a session; one that does not must not cost us more
/// than the process.
pub(crate) fn end(pid: Pid) {
    let leads = getpgid(Some(pid)) == Ok(pid);
    let _ = if leads { killpg(pid, Signal::SIGKILL) } else { kill(pid, Signal::SIGKILL) };
}
