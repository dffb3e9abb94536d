//! What a group uses and has used, from either version's files.

use std::collections::BTreeMap;

use super::Controller;
use super::error::Error;
use super::group::Group;
use super::stats_devices::{HugePageStats, IoStats};

/// A snapshot. What the kernel does not offer here is `None` or empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stats {
    /// CPU time and throttling.
    pub cpu: CpuStats,
    /// Memory and swap.
    pub memory: MemoryStats,
    /// Tasks.
    pub pids: PidsStats,
    /// Block I/O.
    pub io: IoStats,
    /// Huge pages by size.
    pub huge_pages: BTreeMap<String, HugePageStats>,
}

/// CPU time of the group and the groups below.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CpuStats {
    /// All of it, in nanoseconds.
    pub usage_ns: Option<u64>,
    /// Spent in user space, in nanoseconds.
    pub user_ns: Option<u64>,
    /// Spent in the kernel, in nanoseconds.
    pub system_ns: Option<u64>,
    /// Nanoseconds on each CPU; v1 only.
    pub per_cpu_ns: Vec<u64>,
    /// Quota periods in which the group ran.
    pub periods: u64,
    /// Quota periods in which it used its quota up.
    pub throttled_periods: u64,
    /// How long it was kept from running, in nanoseconds, summed over CPUs.
    pub throttled_ns: u64,
}

/// Memory of the group and the groups below, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemoryStats {
    /// In use, with page cache.
    pub usage_bytes: Option<u64>,
    /// The largest use so far.
    pub usage_bytes_max: Option<u64>,
    /// The hard limit; `None` is unlimited.
    pub limit_bytes: Option<u64>,
    /// How often the limit was hit.
    pub limit_hits: u64,
    /// v1: memory plus swap in use. v2: swap in use.
    pub swap_usage_bytes: Option<u64>,
    /// v1: limit of memory plus swap. v2: of swap.
    pub swap_limit_bytes: Option<u64>,
    /// Processes killed for want of memory; see [`Group::oom_kills`].
    pub oom_kills: u64,
    /// The lines of `memory.stat`.
    pub stat: BTreeMap<String, u64>,
}

/// Tasks (threads) of the group and the groups below.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PidsStats {
    /// How many there are.
    pub current: Option<u64>,
    /// How many there may be; `None` is unlimited.
    pub limit: Option<u64>,
}

/// v1 shows "no limit" as the largest page-aligned 64-bit number.
const UNLIMITED_FROM: u64 = (i64::MAX - (1 << 20)) as u64;

impl Group {
    /// Reads all statistics.
    pub fn stats(&self) -> Result<Stats, Error> {
        Ok(Stats {
            cpu: self.cpu_stats()?,
            memory: self.memory_stats()?,
            pids: self.pids_stats()?,
            io: self.io_stats()?,
            huge_pages: self.huge_page_stats()?,
        })
    }

    /// CPU time and throttling.
    pub fn cpu_stats(&self) -> Result<CpuStats, Error> {
        let table = table(self.read(Controller::Cpu, "cpu.stat")?);
        let of = |key: &str| table.get(key).copied();
        let from_us = |key: &str| of(key).map(|us| us.saturating_mul(1000));
        let mut stats = CpuStats {
            usage_ns: from_us("usage_usec"),
            user_ns: from_us("user_usec"),
            system_ns: from_us("system_usec"),
            per_cpu_ns: Vec::new(),
            periods: of("nr_periods").unwrap_or(0),
            throttled_periods: of("nr_throttled").unwrap_or(0),
            throttled_ns: of("throttled_time").or(from_us("throttled_usec")).unwrap_or(0),
        };
        let v1 = |file| self.number(Controller::Cpuacct, file);
        if let Some(usage) = v1("cpuacct.usage")? {
            stats.usage_ns = Some(usage);
            stats.user_ns = v1("cpuacct.usage_user")?;
            stats.system_ns = v1("cpuacct.usage_sys")?;
            let text = self.read(Controller::Cpuacct, "cpuacct.usage_percpu")?.unwrap_or_default();
            stats.per_cpu_ns = text.split_ascii_whitespace().flat_map(str::parse).collect();
        }
        Ok(stats)
    }

    /// Memory and swap.
    pub fn memory_stats(&self) -> Result<MemoryStats, Error> {
        let number = |file| self.number(Controller::Memory, file);
        let stat = table(self.read(Controller::Memory, "memory.stat")?);
        if let Some(usage) = number("memory.usage_in_bytes")? {
            return Ok(MemoryStats {
                usage_bytes: Some(usage),
                usage_bytes_max: number("memory.max_usage_in_bytes")?,
                limit_bytes: limited(number("memory.limit_in_bytes")?),
                limit_hits: number("memory.failcnt")?.unwrap_or(0),
                swap_usage_bytes: number("memory.memsw.usage_in_bytes")?,
                swap_limit_bytes: limited(number("memory.memsw.limit_in_bytes")?),
                oom_kills: self.oom_kills()?,
                stat,
            });
        }
        let events = table(self.read(Controller::Memory, "memory.events")?);
        Ok(MemoryStats {
            usage_bytes: number("memory.current")?,
            usage_bytes_max: number("memory.peak")?,
            limit_bytes: number("memory.max")?,
            limit_hits: events.get("max").copied().unwrap_or(0),
            swap_usage_bytes: number("memory.swap.current")?,
            swap_limit_bytes: number("memory.swap.max")?,
            oom_kills: events.get("oom_kill").copied().unwrap_or(0),
            stat,
        })
    }

    /// Tasks.
    pub fn pids_stats(&self) -> Result<PidsStats, Error> {
        Ok(PidsStats {
            current: self.number(Controller::Pids, "pids.current")?,
            limit: self.number(Controller::Pids, "pids.max")?,
        })
    }

    pub(super) fn number(&self, controller: Controller, file: &str) -> Result<Option<u64>, Error> {
        Ok(self.read_number(controller, file)?.and_then(|number| u64::try_from(number).ok()))
    }
}

fn limited(bytes: Option<u64>) -> Option<u64> {
    bytes.filter(|bytes| *bytes < UNLIMITED_FROM)
}

/// The lines of a flat keyed file.
fn table(text: Option<String>) -> BTreeMap<String, u64> {
    let text = text.unwrap_or_default();
    let line = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}
