//! `linux.resources.cpu`: weight, quota, burst, realtime and cpusets.

use std::ops::RangeInclusive;

use oci_spec::runtime::LinuxCpu;

use super::{Controller, Draft, Version};

/// The kernel's period where none was set, in microseconds (Documentation/scheduler/sched-bwc).
const PERIOD_DEFAULT_US: u64 = 100_000;

pub(super) fn decide(draft: &mut Draft<'_>, cpu: &LinuxCpu) {
    weight(draft, cpu);
    bandwidth(draft, cpu);
    realtime(draft, cpu);
    idle(draft, cpu);
    cpuset(draft, cpu);
}

/// The kernel's bounds of `cpu.shares`.
const SHARES: RangeInclusive<u64> = 2..=262_144;

/// runc's conversion of v1 shares (2..262144) to a v2 weight (1..10000), a straight line. 1024
/// shares are 39, not v2's default of 100, but ratios stay what was asked for, which is what a
/// reservation needs. 0 means "not set" and stays 0.
pub fn weight_of_shares(shares: u64) -> u64 {
    if shares == 0 {
        return 0;
    }
    1 + ((shares.clamp(2, 262_144) - 2) * 9999) / 262_142
}

fn weight(draft: &mut Draft<'_>, cpu: &LinuxCpu) {
    // 0 is how callers in the field say "unset", as with every number of this object.
    let Some(shares) = cpu.shares().filter(|shares| *shares != 0) else { return };
    match draft.version(Controller::Cpu, "cpu.shares", "cpu.shares") {
        // The kernel takes the nearest bound in silence.
        Some(Version::V1) if !SHARES.contains(&shares) => {
            let why = "must be from 2 to 262144 on cgroup v1, or 0 for unset";
            draft.refuse(format!("cpu.shares = {shares}"), why);
        }
        Some(Version::V1) => {
            draft.write(Controller::Cpu, Version::V1, "cpu.shares", shares.to_string());
        }
        Some(Version::V2) => {
            let weight = weight_of_shares(shares).to_string();
            draft.write(Controller::Cpu, Version::V2, "cpu.weight", weight);
        }
        None => {}
    }
}

fn bandwidth(draft: &mut Draft<'_>, cpu: &LinuxCpu) {
    let quota = cpu.quota().filter(|quota| *quota != 0);
    let period = cpu.period().filter(|period| *period != 0);
    let burst = cpu.burst();
    if quota.is_none() && period.is_none() && burst.is_none() {
        return;
    }
    match draft.version(Controller::Cpu, "cpu.quota, cpu.period or cpu.burst", "bandwidth") {
        Some(Version::V1) => bandwidth_v1(draft, quota, period, burst),
        Some(Version::V2) => bandwidth_v2(draft, quota, period, burst),
        None => {}
    }
}

/// v1 checks each write against the other value, the parent's ratio and the burst, so the order
/// depends on where the group stands.
fn bandwidth_v1(
    draft: &mut Draft<'_>,
    quota: Option<i64>,
    period: Option<u64>,
    burst: Option<u64>,
) {
    let burst_first = burst.is_some_and(|burst| burst < draft.current.cpu_burst_us);
    if let (true, Some(burst)) = (burst_first, burst) {
        burst_v1(draft, burst);
    }
    let mut files = Vec::new();
    if let Some(period) = period {
        files.push(("cpu.cfs_period_us", period.to_string()));
    }
    if let Some(quota) = quota {
        files.push(("cpu.cfs_quota_us", quota.max(-1).to_string()));
    }
    if let (Some(quota), Some(period)) = (quota, period)
        && quota_first(draft, quota, period)
    {
        files.reverse();
    }
    for (file, value) in files {
        draft.write(Controller::Cpu, Version::V1, file, value);
    }
    if let (false, Some(burst)) = (burst_first, burst) {
        burst_v1(draft, burst);
    }
}

fn burst_v1(draft: &mut Draft<'_>, burst: u64) {
    draft.write(Controller::Cpu, Version::V1, "cpu.cfs_burst_us", burst.to_string());
}

/// Between the two writes the group has one old and one new value. The order is chosen whose
/// ratio in between is the smaller one: a parent refuses a child that has more than itself.
fn quota_first(draft: &Draft<'_>, quota: i64, period: u64) -> bool {
    let Some(old_quota) = draft.current.cpu_quota_us.filter(|quota| *quota > 0) else {
        // Unlimited now: a new period changes no ratio, so it can come first.
        return false;
    };
    if quota <= 0 {
        return true;
    }
    let old_period = draft.current.cpu_period_us.unwrap_or(PERIOD_DEFAULT_US);
    let quota_then_period = i128::from(quota) * i128::from(period);
    let period_then_quota = i128::from(old_quota) * i128::from(old_period);
    // quota / old_period < old_quota / period, without the division
    quota_then_period < period_then_quota
}

fn bandwidth_v2(
    draft: &mut Draft<'_>,
    quota: Option<i64>,
    period: Option<u64>,
    burst: Option<u64>,
) {
    let burst_first = burst.is_some_and(|burst| burst < draft.current.cpu_burst_us);
    let burst_step = |draft: &mut Draft<'_>| {
        if let Some(burst) = burst {
            draft.write(Controller::Cpu, Version::V2, "cpu.max.burst", burst.to_string());
        }
    };
    if burst_first {
        burst_step(draft);
    }
    if quota.is_some() || period.is_some() {
        // cpu.max takes both at once; what is not asked for keeps what the group has.
        let quota = quota.or(draft.current.cpu_quota_us).filter(|quota| *quota > 0);
        let quota = quota.map_or_else(|| "max".to_owned(), |quota| quota.to_string());
        let period = period.or(draft.current.cpu_period_us).unwrap_or(PERIOD_DEFAULT_US);
        draft.write(Controller::Cpu, Version::V2, "cpu.max", format!("{quota} {period}"));
    }
    if !burst_first {
        burst_step(draft);
    }
}

fn realtime(draft: &mut Draft<'_>, cpu: &LinuxCpu) {
    let runtime = cpu.realtime_runtime().filter(|runtime| *runtime != 0);
    let period = cpu.realtime_period().filter(|period| *period != 0);
    if runtime.is_none() && period.is_none() {
        return;
    }
    let field = "cpu.realtimeRuntime or cpu.realtimePeriod";
    match draft.version(Controller::Cpu, field, "cpu.rt_runtime_us") {
        Some(Version::V1) => {
            if let Some(period) = period {
                let value = period.to_string();
                draft.write(Controller::Cpu, Version::V1, "cpu.rt_period_us", value);
            }
            if let Some(runtime) = runtime {
                let value = runtime.to_string();
                draft.write(Controller::Cpu, Version::V1, "cpu.rt_runtime_us", value);
            }
        }
        Some(Version::V2) => {
            draft.refuse(field, "cgroup v2 has no realtime bandwidth; leave it out");
        }
        None => {}
    }
}

fn idle(draft: &mut Draft<'_>, cpu: &LinuxCpu) {
    let Some(idle) = cpu.idle() else { return };
    if !matches!(idle, 0 | 1) {
        draft.refuse(format!("cpu.idle = {idle}"), "must be 0 or 1");
        return;
    }
    // 0 is the kernel's default, and older kernels (before 5.15) have no such file.
    if idle == 0 && draft.current.is_new() {
        return;
    }
    if let Some(version) = draft.version(Controller::Cpu, "cpu.idle", "cpu.idle") {
        draft.write(Controller::Cpu, version, "cpu.idle", idle.to_string());
    }
}

fn cpuset(draft: &mut Draft<'_>, cpu: &LinuxCpu) {
    let sets = [("cpu.cpus", "cpuset.cpus", cpu.cpus()), ("cpu.mems", "cpuset.mems", cpu.mems())];
    for (field, file, list) in sets {
        let Some(list) = list.as_deref().filter(|list| !list.is_empty()) else { continue };
        if !is_range_list(list) {
            draft.refuse(format!("{field} = {list:?}"), "must be a list such as `0-2,7`");
            continue;
        }
        if let Some(version) = draft.version(Controller::Cpuset, field, file) {
            draft.write(Controller::Cpuset, version, file, list.to_owned());
        }
    }
}

/// The list format of cpuset(7): decimal numbers and ascending ranges, comma-separated.
fn is_range_list(list: &str) -> bool {
    list.trim_end().split(',').all(|part| {
        let number = |text: &str| text.trim().parse::<u32>().ok();
        match part.split_once('-') {
            Some((low, high)) => {
                number(low).zip(number(high)).is_some_and(|(low, high)| low <= high)
            }
            None => number(part).is_some(),
        }
    })
}
