//! `events`: statistics and OOM kills, one JSON object a line, in runc's form.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;

use super::{ContainerId, Error, Store};
use crate::cgroup::{Group, HugePageStats, IoEntry, Readiness, Stats};

/// After an OOM notification the kill itself takes a moment: how often and how long it is looked
/// for.
const OOM_LOOKS_MAX: u32 = 20;
const OOM_PAUSE: Duration = Duration::from_millis(10);

/// One line.
#[derive(Debug, Serialize)]
pub struct Event {
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data>,
}

/// The statistics of a live container.
///
/// # Errors
/// [`Error::NotRunning`] when its first process has ended.
pub fn stats(store: &Store, id: &ContainerId) -> Result<Event, Error> {
    let record = store.read(id)?;
    if record.process()?.is_none() {
        return Err(Error::NotRunning);
    }
    let group = record.group()?.ok_or(Error::NoCgroup)?;
    stats_event(&group, id)
}

/// Gives `emit` the statistics once an interval, and an event for each OOM kill, until the
/// container's first process has ended.
///
/// # Errors
/// [`Error::NotRunning`] when it has ended before; what `emit` says.
pub fn follow(
    store: &Store,
    id: &ContainerId,
    interval: Duration,
    mut emit: impl FnMut(&Event) -> std::io::Result<()>,
) -> Result<(), Error> {
    let record = store.read(id)?;
    let process = record.process()?.ok_or(Error::NotRunning)?;
    let group = record.group()?.ok_or(Error::NoCgroup)?;
    let failed = |source| Error::Cgroup { step: "watch", source };
    let told = |done: std::io::Result<()>| {
        done.map_err(|source| Error::io("write to", "standard output", source))
    };
    let watch = group.watch_oom().map_err(failed)?;
    let mut kills = group.oom_kills().map_err(failed)?;
    let wanted = match watch.readiness() {
        Readiness::Read => PollFlags::POLLIN,
        Readiness::Priority => PollFlags::POLLPRI,
    };
    let mut next = Instant::now() + interval;
    loop {
        let left = next.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let mut fds =
            [PollFd::new(process.as_fd(), PollFlags::POLLIN), PollFd::new(watch.as_fd(), wanted)];
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(source) => return Err(Error::Signal { pid: record.pid, source }),
        }
        let [has_ended, is_oom] = fds.map(|fd| fd.any().unwrap_or(false));
        if is_oom {
            watch.drain().map_err(failed)?;
            let now = await_kill(&group, kills).map_err(failed)?;
            for _ in kills..now {
                told(emit(&Event { kind: "oom", id: id.to_string(), data: None }))?;
            }
            kills = now;
        }
        if has_ended {
            return Ok(());
        }
        if next <= Instant::now() {
            told(emit(&stats_event(&group, id)?))?;
            next = Instant::now() + interval;
        }
    }
}

/// The number of kills once it has grown, or after a while without.
fn await_kill(group: &Group, before: u64) -> Result<u64, crate::cgroup::Error> {
    for _ in 0..OOM_LOOKS_MAX {
        let now = group.oom_kills()?;
        if now > before {
            return Ok(now);
        }
        std::thread::sleep(OOM_PAUSE);
    }
    Ok(before)
}

fn stats_event(group: &Group, id: &ContainerId) -> Result<Event, Error> {
    let stats = group.stats();
    let stats = stats.map_err(|source| Error::Cgroup { step: "read", source })?;
    Ok(Event { kind: "stats", id: id.to_string(), data: Some(Data::from(stats)) })
}

#[derive(Debug, Serialize)]
struct Data {
    cpu: Cpu,
    memory: Memory,
    pids: Pids,
    blkio: Blkio,
    hugetlb: BTreeMap<String, HugePages>,
}

#[derive(Debug, Serialize)]
struct Cpu {
    usage: CpuUsage,
    throttling: Throttling,
}

#[derive(Debug, Serialize)]
struct CpuUsage {
    total: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    percpu: Vec<u64>,
    kernel: u64,
    user: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Throttling {
    periods: u64,
    throttled_periods: u64,
    throttled_time: u64,
}

#[derive(Debug, Serialize)]
struct Memory {
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<u64>,
    usage: MemoryEntry,
    swap: MemoryEntry,
    raw: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize)]
struct MemoryEntry {
    limit: u64,
    usage: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<u64>,
    failcnt: u64,
}

#[derive(Debug, Serialize)]
struct Pids {
    current: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Blkio {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_service_bytes_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_serviced_recursive: Vec<BlkioEntry>,
}

#[derive(Debug, Serialize)]
struct BlkioEntry {
    major: u32,
    minor: u32,
    op: String,
    value: u64,
}

#[derive(Debug, Serialize)]
struct HugePages {
    usage: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<u64>,
    failcnt: u64,
}

impl From<Stats> for Data {
    fn from(stats: Stats) -> Data {
        let Stats { cpu, memory, pids, io, huge_pages } = stats;
        let usage = CpuUsage {
            total: cpu.usage_ns.unwrap_or(0),
            percpu: cpu.per_cpu_ns,
            kernel: cpu.system_ns.unwrap_or(0),
            user: cpu.user_ns.unwrap_or(0),
        };
        let throttling = Throttling {
            periods: cpu.periods,
            throttled_periods: cpu.throttled_periods,
            throttled_time: cpu.throttled_ns,
        };
        // Readers of this form take the largest number for "no limit".
        let entry = |limit: Option<u64>, usage: Option<u64>, max, failcnt| MemoryEntry {
            limit: limit.unwrap_or(u64::MAX),
            usage: usage.unwrap_or(0),
            max,
            failcnt,
        };
        let (limit, max) = (memory.limit_bytes, memory.usage_bytes_max);
        let (swap_limit, swap_usage) = (memory.swap_limit_bytes, memory.swap_usage_bytes);
        Data {
            cpu: Cpu { usage, throttling },
            memory: Memory {
                cache: memory.stat.get("cache").or(memory.stat.get("file")).copied(),
                usage: entry(limit, memory.usage_bytes, max, memory.limit_hits),
                swap: entry(swap_limit, swap_usage, None, 0),
                raw: memory.stat,
            },
            pids: Pids { current: pids.current.unwrap_or(0), limit: pids.limit },
            blkio: Blkio {
                io_service_bytes_recursive: io.bytes.into_iter().map(BlkioEntry::from).collect(),
                io_serviced_recursive: io.operations.into_iter().map(BlkioEntry::from).collect(),
            },
            hugetlb: huge_pages.into_iter().map(|(size, h)| (size, HugePages::from(h))).collect(),
        }
    }
}

impl From<IoEntry> for BlkioEntry {
    fn from(entry: IoEntry) -> BlkioEntry {
        let IoEntry { major, minor, operation, value } = entry;
        BlkioEntry { major, minor, op: operation, value }
    }
}

impl From<HugePageStats> for HugePages {
    fn from(stats: HugePageStats) -> HugePages {
        let HugePageStats { usage_bytes, usage_bytes_max, limit_hits } = stats;
        HugePages { usage: usage_bytes, max: usage_bytes_max, failcnt: limit_hits }
    }
}
