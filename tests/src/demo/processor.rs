//! How much of a processor cgroups use, as the kernel counts it, and processes that want all of it.

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::{kernel, program};

/// A reading that took longer tells nothing, as its time is not known.
const LOOK_TIME_MAX: Duration = Duration::from_millis(50);
/// How often a reading is made again.
const LOOKS_MAX: u32 = 100;

/// Gives a process, with all its threads, the processor before others of the machine that are in no
/// cgroup.
///
/// # Errors
/// Where it has ended, or nobody here may.
pub fn prefer(pid: u32) -> anyhow::Result<()> {
    let tasks = format!("/proc/{pid}/task");
    let threads = std::fs::read_dir(&tasks).with_context(|| format!("read {tasks}"))?;
    let threads = threads.flatten().map(|thread| thread.file_name());
    let mut renice = Command::new("renice");
    let told = renice.args(["-n", "-15", "-p"]).args(threads).output().context("start renice")?;
    if !told.status.success() {
        bail!("renice: {}", String::from_utf8_lossy(&told.stderr).trim());
    }
    Ok(())
}

/// Nanoseconds of processor time that a cgroup used so far.
///
/// # Errors
/// Where it does not exist.
fn used_ns(cgroup: &str) -> anyhow::Result<u64> {
    if kernel::is_unified() {
        let file = kernel::cgroup("cpu", cgroup).join("cpu.stat");
        return Ok(kernel::read_key(&file, "usage_usec")? * 1000);
    }
    let file = kernel::cgroup("cpuacct", cgroup).join("cpuacct.usage");
    kernel::read(&file)?.parse().with_context(|| format!("read {}", file.display()))
}

/// How many processors' worth each cgroup uses while `time` passes.
///
/// # Errors
/// Where one does not exist.
pub fn use_over(cgroups: &[String], time: Duration) -> anyhow::Result<Vec<f64>> {
    // On a full machine this process itself may stand still between the two readings.
    let look_at = |cgroup: &String| -> anyhow::Result<(Instant, u64)> {
        for _ in 0..LOOKS_MAX {
            let (begun, used) = (Instant::now(), used_ns(cgroup)?);
            if begun.elapsed() < LOOK_TIME_MAX {
                return Ok((begun, used));
            }
        }
        bail!("read how much {cgroup} used: this process stands still again and again");
    };
    let look = || -> anyhow::Result<Vec<(Instant, u64)>> { cgroups.iter().map(look_at).collect() };
    let before = look()?;
    std::thread::sleep(time);
    let after = look()?;
    let rate = |((then, old), (now, new)): (&(Instant, u64), &(Instant, u64))| {
        (new - old) as f64 / now.duration_since(*then).as_nanos() as f64
    };
    Ok(before.iter().zip(&after).map(rate).collect())
}

/// Processes of the host that spin; they end when this is dropped.
#[derive(Debug)]
pub struct Spinners(Vec<Child>);

impl Spinners {
    /// Starts `count` of them.
    ///
    /// # Errors
    /// Where the probe can't be started.
    pub fn start(probe: &Path, count: usize) -> anyhow::Result<Self> {
        let mut spinners = Self(Vec::new());
        for _ in 0..count {
            let child = program::command(probe).args(["spin", "1", "600"]).spawn();
            spinners.0.push(child.context("start a process that spins")?);
        }
        Ok(spinners)
    }
}

impl Drop for Spinners {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // Either fails only where the child has already ended.
            drop(child.kill());
            drop(child.wait());
        }
    }
}
