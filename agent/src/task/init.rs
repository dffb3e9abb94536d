//! A container's first process, held by a descriptor: through it the kernel tells how the process
//! ended, also where somebody else was its parent (Linux 6.15), and it can't be another one.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use loadline_runtime::sys::process::exit_status_of;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// How long a process that was killed may take to end.
const END_S_MAX: u64 = 10;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// 0 to 255, or 128 + the signal.
    pub(super) exit_code: i32,
    pub(super) signal: Option<i32>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Init {
    pid: i32,
    pidfd: OwnedFd,
}

impl Init {
    /// Holds a process, if it is one of this container's: it may have ended since, and its number
    /// be another's.
    pub(super) fn hold(pid: i32, task_id: &str, container: &str) -> Option<Self> {
        let pidfd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let path = format!("/{task_id}/{container}");
        let is_there = |line: &str| line.ends_with(&path) || line.contains(&format!("{path}/"));
        groups.lines().any(is_there).then_some(Self { pid, pidfd })
    }

    /// Waits for its end; how that was, where the kernel says so.
    pub(super) fn wait(self) -> Option<Found> {
        let until = Instant::now() + Duration::from_secs(END_S_MAX);
        loop {
            // A zombie shows it in /proc; one that its parent was told of, in the descriptor.
            let status = zombie_status(self.pid).or_else(|| {
                // A kernel before 6.15 does not know the question.
                exit_status_of(self.pidfd.as_fd()).ok().flatten()
            });
            if let Some(status) = status {
                return Some(Found::of(status));
            }
            if until < Instant::now() || self.is_gone() {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether it has ended and nobody can be asked any more.
    fn is_gone(&self) -> bool {
        let signal = rustix::process::test_kill_process;
        let is_free = Pid::from_raw(self.pid).is_none_or(|pid| signal(pid).is_err());
        is_free && exit_status_of(self.pidfd.as_fd()).ok().flatten().is_none()
    }
}

impl Found {
    /// Of a status as wait(2) gives it.
    fn of(status: i32) -> Self {
        match status & 0x7f {
            0 => Self { exit_code: status >> 8 & 0xff, signal: None },
            signal => Self { exit_code: 128 + signal, signal: Some(signal) },
        }
    }
}

/// proc_pid_stat(5): field 3 is the state, field 52 the status.
fn zombie_status(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split_ascii_whitespace();
    (fields.next()? == "Z").then_some(())?;
    fields.nth(48)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn hold(child: &std::process::Child) -> Init {
        let pid = i32::try_from(child.id()).unwrap();
        let pidfd = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap();
        Init { pid, pidfd }
    }

    #[test]
    fn the_end_of_a_zombie_and_of_one_that_is_gone_are_told_alike() {
        for (script, expected) in [
            ("exit 7", Found { exit_code: 7, signal: None }),
            ("kill -9 $$", Found { exit_code: 137, signal: Some(9) }),
        ] {
            let mut child = Command::new("sh").args(["-c", script]).spawn().unwrap();
            let init = hold(&child);
            assert_eq!(init.wait(), Some(expected), "{script}");
            child.wait().unwrap();
            let mut child = Command::new("sh").args(["-c", script]).spawn().unwrap();
            let init = hold(&child);
            child.wait().unwrap();
            if exit_status_of(init.pidfd.as_fd()).is_err() {
                eprintln!("SKIPPED the_end_of_one_that_is_gone: needs Linux 6.15");
                return;
            }
            assert_eq!(init.wait(), Some(expected), "{script}");
        }
    }

    #[test]
    fn a_process_of_no_such_container_is_not_held() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(Init::hold(own, "no-such-task", "main").is_none());
        assert!(Init::hold(0, "t", "main").is_none());
    }
}
