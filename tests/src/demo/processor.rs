//! How much of a processor cgroups use, as the kernel counts it, and processes that want all of it.

use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::{kernel, program};

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
    let look = || -> anyhow::Result<Vec<(Instant, u64)>> {
        cgroups.iter().map(|cgroup| Ok((Instant::now(), used_ns(cgroup)?))).collect()
    };
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
