//! Instructions by the clock of a machine that has no other clock than them: QEMU with `-icount
//! shift=0` lets a nanosecond pass with each, so processor time is a count, the kernel's share in
//! it. It can do what single steps can't: threads, and what the kernel does for a program.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

/// What `noop loop 100M` executes.
const LOOP: u64 = 100_000_000;
/// What its start and end, and ticks meanwhile, may add: the clock is none of the kind if more.
const LOOP_MOST: u64 = LOOP + LOOP / 50;
/// Each command is run so often, and the middle one is told: a tick of the timer falls into some.
const RUNS: usize = 7;
/// getrusage(2) counts in microseconds.
const NANOSECONDS: u64 = 1_000;
/// For what a command leaves behind, to end.
const AFTERWARDS: Duration = Duration::from_millis(200);

/// Proof that the clock counts instructions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(());

impl Clock {
    /// Tries a loop of a known number of instructions, by `noop` of `tools`.
    pub(crate) fn prove(tools: &Path) -> anyhow::Result<Clock> {
        // Processes whose parents are gone end as children of this one, and are counted.
        prctl::set_child_subreaper(true).context("become a subreaper")?;
        let clock = Clock(());
        let noop = tools.join("noop").into_os_string();
        let seen = clock.once(&[noop, "loop".into(), "100M".into()])?;
        if !(LOOP..=LOOP_MOST).contains(&seen) {
            bail!(
                "a loop of {LOOP} instructions took {seen} ns of processor time: this machine's \
                 clock does not count instructions; use `cargo xtask bench counts --vm`"
            );
        }
        Ok(clock)
    }

    /// The instructions of a command and all that it starts and that ends with it: the middle of
    /// several runs, to a microsecond's.
    pub(crate) fn instructions(self, command: &[OsString]) -> anyhow::Result<u64> {
        let mut seen = Vec::with_capacity(RUNS);
        for _ in 0..RUNS {
            seen.push(self.once(command)?);
        }
        seen.sort_unstable();
        Ok(seen[RUNS / 2])
    }

    fn once(self, command: &[OsString]) -> anyhow::Result<u64> {
        let (program, words) = command.split_first().context("a command has a program")?;
        let before = spent()?;
        let status = Command::new(program)
            .args(words)
            .env_clear()
            .envs([("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), ("LANG", "C")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .with_context(|| format!("start {}", program.display()))?;
        if !status.success() {
            bail!("{command:?}: {status}");
        }
        std::thread::sleep(AFTERWARDS);
        reap()?;
        Ok(spent()? - before)
    }
}

/// Reaps the children that have ended. A container that runs on is one that has not.
fn reap() -> anyhow::Result<()> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(()),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("wait for what a command left behind"),
        }
    }
}

/// Processor time of all children that have ended and were waited for, in nanoseconds.
fn spent() -> anyhow::Result<u64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("getrusage")?;
    let microseconds = [usage.user_time(), usage.system_time()]
        .into_iter()
        .map(|time| u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()))
        .sum::<Result<u64, _>>()
        .context("a processor time below zero")?;
    Ok(microseconds * NANOSECONDS)
}
