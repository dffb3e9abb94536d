//! Signals for a whole group.

use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};

use super::error::Error;
use super::group::{Group, collect_pids};

/// How long the processes of a group may take to vanish after SIGKILL. A process in an
/// uninterruptible wait (a dead NFS server) can take for ever.
pub const KILL_TIMEOUT: Duration = Duration::from_secs(10);
/// The first pause between two rounds; each next one is longer, up to the last.
const PAUSE_FIRST: Duration = Duration::from_micros(200);
const PAUSE_LAST: Duration = Duration::from_millis(20);
/// How many pids a message lists.
const NAMED_MAX: usize = 10;

impl Group {
    /// Kills every process of the group and of the groups below it, also frozen ones, and waits
    /// until none is left. A zombie counts as gone.
    pub fn kill_all(&self) -> Result<(), Error> {
        let started = Instant::now();
        let mut pause = PAUSE_FIRST;
        loop {
            let left = self.all_processes()?;
            if left.is_empty() {
                return Ok(());
            }
            if started.elapsed() >= KILL_TIMEOUT {
                let pids: Vec<_> = left.iter().take(NAMED_MAX).map(ToString::to_string).collect();
                return Err(Error::TimedOut {
                    step: "kill all processes of",
                    path: self.lister()?.dir.path().to_owned(),
                    waited_ms: u64::try_from(KILL_TIMEOUT.as_millis()).unwrap_or(u64::MAX),
                    left: format!("still there: pid {}", pids.join(", ")),
                });
            }
            self.signal_all(Signal::SIGKILL)?;
            thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_LAST);
        }
    }

    /// Sends a signal to every process of the group and of the groups below it, once.
    ///
    /// For SIGKILL, v2's `cgroup.kill` (Linux 5.14) gets all of them at one instant, also on a
    /// hybrid host. Where a process was moved out of the v2 side, and on older kernels, they are
    /// served one by one. For that the group is frozen, so that none forks away, and a SIGKILL
    /// thaws it in the end, because v1's frozen processes do not die.
    pub fn signal_all(&self, signal: Signal) -> Result<(), Error> {
        if signal == Signal::SIGKILL && self.kill_at_once()? {
            return self.thaw_if_v1();
        }
        let was_frozen = self.is_frozen().unwrap_or(false);
        // A group that cannot be frozen is signalled all the same: late is better than never,
        // and kill_all comes round again.
        let froze = !was_frozen && self.freeze().is_ok();
        let sent = self.signal_each(signal);
        if froze || (was_frozen && signal == Signal::SIGKILL) {
            self.thaw()?;
        }
        sent
    }

    /// Tells whether all could be killed by one write.
    fn kill_at_once(&self) -> Result<bool, Error> {
        let Some(member) = self.v2_member() else { return Ok(false) };
        let mut there = Vec::new();
        collect_pids(&member.dir, &mut there, 0)?;
        there.sort_unstable();
        let has_all = self.all_processes()?.iter().all(|pid| there.binary_search(pid).is_ok());
        Ok(has_all && member.dir.try_write("cgroup.kill", "1").is_ok())
    }

    fn signal_each(&self, signal: Signal) -> Result<(), Error> {
        for pid in self.all_processes()? {
            match kill(pid, signal) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => {
                    let proc = format!("/proc/{pid}");
                    return Err(Error::io("send a signal to", proc.as_ref(), errno));
                }
            }
        }
        Ok(())
    }

    fn thaw_if_v1(&self) -> Result<(), Error> {
        match self.v1_member(super::Controller::Freezer) {
            Some(_) => self.thaw(),
            None => Ok(()),
        }
    }
}
