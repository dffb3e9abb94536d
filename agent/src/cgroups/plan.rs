//! What the agent's groups get, decided from what is known. No I/O in here.
//!
//! # The arithmetic of the floor
//!
//! A task that reserved `n` of a node's `N` CPU units shall get at least `n / 1024` CPUs while
//! everybody spins. Two weights make that true:
//!
//! 1. *All tasks against the rest of the host.* A thread of the host that lies in the root group
//!    weighs 1024 of the units of `cpu.shares`, 100 of `cpu.weight`, and so does a group that
//!    nobody configured, such as systemd's slices. The parent group weighs
//!    [`HOST_THREADS_PER_VCPU`] such threads for each vCPU that the node registered, as far as
//!    the kernel's range goes (v1: 256 threads in all, v2: 100), and the kernel splits that over
//!    the CPUs it runs on. With `h` spinning threads of the host a CPU, the tasks together get
//!    `128 / (128 + h)` of it: 0.98 for two, 0.93 for ten; on v2 with two CPUs 0.96 and 0.83.
//! 2. *A task against the others.* Weights in the ratio of the reservations, whose sum is at most
//!    `N` (law 7), give each task at least `n / N` of what the parent has.
//!
//! What a node keeps back for the host (`--reserved-cpu-units`) the host gets by a quota on the
//! parent group: no weight can promise it, because the number of the host's threads is not known.

use loadline_model::{Resources, TaskSpec};
use loadline_runtime::cgroup::decide::{IfMissing, Step, Target, Write, decide};
use loadline_runtime::cgroup::{Controller, Current, Decision, Layout, Refusals, Version};
use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

/// How many spinning threads of the host all tasks together outweigh, for each registered vCPU.
pub const HOST_THREADS_PER_VCPU: u64 = 128;

/// The period of CPU quotas, in microseconds: the ECS agent's default.
pub const CPU_PERIOD_US: u64 = 100_000;

/// The least quota that the kernel takes, in microseconds.
const CPU_QUOTA_US_MIN: u64 = 1000;

/// Bounds of `cpu.shares` (v1).
const SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;

/// Largest `cpu.weight` (v2).
const WEIGHT_MAX: u64 = 10_000;

const MIB: u64 = 1024 * 1024;

/// What is known of this host's kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Where its hierarchies are mounted, and which controllers they have.
    pub layout: Layout,
    /// v1: whether it limits memory and swap together. v2 always can.
    pub counts_swap: bool,
}

/// What is known of the parent group when it is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParentFacts {
    /// What the node registers.
    pub registered: Resources,
    /// What the host has.
    pub host: Resources,
    /// The largest CPU quota of a task that is there already, in CPU units: v1 takes no parent
    /// quota below it.
    pub task_quota_units_max: u64,
    /// Whether tasks that ask for swap get it.
    pub gives_swap: bool,
    /// Memory that tasks use already, in bytes: a limit below it would kill one of them.
    pub used_bytes: u64,
}

/// Decides the parent group: the weight of all tasks, and the line as the kernel's own bound.
///
/// # Errors
/// [`Refusals`] where the host lacks a controller.
pub fn parent(
    facts: &ParentFacts,
    kernel: &Kernel,
    current: &Current,
) -> Result<Decision, Refusals> {
    let weight_units = facts.registered.cpu_units.saturating_mul(HOST_THREADS_PER_VCPU);
    let quota_units = facts.registered.cpu_units.max(facts.task_quota_units_max);
    let mut cpu = LinuxCpu::default();
    if quota_units < facts.host.cpu_units {
        cpu.set_quota(Some(quota_us(quota_units))).set_period(Some(CPU_PERIOD_US));
    } else if current.cpu_quota_us.is_some() {
        cpu.set_quota(Some(-1));
    }
    let line = facts.registered.memory_mib.saturating_mul(MIB);
    // What tasks may swap is held by their own groups.
    let swap = if facts.gives_swap { Swap::Unlimited } else { Swap::Bytes(0) };
    let memory = memory(Some(line.max(facts.used_bytes)), Some(line), swap, kernel);
    // A default group weighs 100 where a v1 group weighs 1024.
    let weight = weight_units.saturating_mul(100) / 1024;
    group(cpu, weight_units, weight, (memory, swap), &kernel.layout, current)
}

/// Decides a task's group. `registered` is what the node registered: the scale of the weights.
/// `current` is what the group has now.
///
/// # Errors
/// [`Refusals`] where the host lacks a controller.
pub fn task(
    task: &TaskSpec,
    registered: Resources,
    kernel: &Kernel,
    current: &Current,
) -> Result<Decision, Refusals> {
    let units = task_weight_units(task);
    let mut cpu = LinuxCpu::default();
    if let Some(units) = task.cpu_units.filter(|units| 0 < *units) {
        cpu.set_quota(Some(quota_us(units))).set_period(Some(CPU_PERIOD_US));
    }
    let bytes = |mib: u64| mib.saturating_mul(MIB);
    let limit = task.memory_mib.filter(|mib| 0 < *mib).map(bytes);
    let reserved = Some(task.reservation().memory_mib).filter(|mib| 0 < *mib).map(bytes);
    let each = task.containers.iter().map(|container| container.linux.max_swap_mib.unwrap_or(0));
    let swap = Swap::Bytes(bytes(each.fold(0, u64::saturating_add)));
    let memory = memory(limit, reserved, swap, kernel);
    // All of the node's units are the whole range, so that small reservations keep their ratio.
    let weight = units.saturating_mul(WEIGHT_MAX) / registered.cpu_units.max(1);
    group(cpu, units, weight, (memory, swap), &kernel.layout, current)
}

/// A task's weight in CPU units: its own, or its containers' sum, each counting at least 2 as the
/// kernel has it.
#[must_use]
pub fn task_weight_units(task: &TaskSpec) -> u64 {
    let sum = || task.containers.iter().map(|c| c.cpu_units.max(2)).fold(0, u64::saturating_add);
    task.cpu_units.filter(|units| 0 < *units).unwrap_or_else(sum)
}

/// A quota of so many CPU units a period.
#[must_use]
pub fn quota_us(units: u64) -> i64 {
    let quota = units.saturating_mul(CPU_PERIOD_US) / 1024;
    i64::try_from(quota.max(CPU_QUOTA_US_MIN)).unwrap_or(i64::MAX)
}

/// CPU units of a quota, rounded up.
#[must_use]
pub fn units_of_quota(quota_us: i64, period_us: u64) -> u64 {
    let quota = u64::try_from(quota_us).unwrap_or(0);
    quota.saturating_mul(1024).div_ceil(period_us.max(1))
}

fn group(
    mut cpu: LinuxCpu,
    shares: u64,
    weight: u64,
    (memory, swap): (LinuxMemory, Swap),
    layout: &Layout,
    current: &Current,
) -> Result<Decision, Refusals> {
    if layout.version_of(Controller::Cpu) != Some(Version::V2) {
        cpu.set_shares(Some(shares.clamp(*SHARES.start(), *SHARES.end())));
    }
    let mut resources = LinuxResources::default();
    resources.set_cpu(Some(cpu)).set_memory(Some(memory));
    let mut decision = decide(&resources, layout, current)?;
    if layout.version_of(Controller::Cpu) == Some(Version::V2) {
        let value = weight.clamp(1, WEIGHT_MAX).to_string();
        decision.steps.push(write(Controller::Cpu, "cpu.weight", value, IfMissing::Fail));
    }
    if layout.version_of(Controller::Memory) == Some(Version::V2) {
        // Without the file the kernel has no swap to limit.
        let most = match swap {
            Swap::Bytes(bytes) => bytes.to_string(),
            Swap::Unlimited => "max".to_owned(),
        };
        decision.steps.push(write(Controller::Memory, "memory.swap.max", most, IfMissing::Skip));
    }
    Ok(decision)
}

/// How much a group may swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Swap {
    /// So much.
    Bytes(u64),
    /// What the groups below it may.
    Unlimited,
}

/// A hard limit, a protected part, and no swap but what was asked for. Where v1 does not count
/// swap, swappiness is what there is.
fn memory(limit: Option<u64>, reserved: Option<u64>, swap: Swap, kernel: &Kernel) -> LinuxMemory {
    let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let mut memory = LinuxMemory::default();
    memory.set_limit(limit.map(bytes)).set_reservation(reserved.map(bytes));
    if kernel.layout.version_of(Controller::Memory) == Some(Version::V1) {
        let swappiness = if swap == Swap::Bytes(0) { 0 } else { 60 };
        memory.set_swappiness(Some(swappiness));
        if kernel.counts_swap {
            memory.set_swap(match swap {
                Swap::Bytes(more) => limit.map(|limit| bytes(limit.saturating_add(more))),
                Swap::Unlimited => Some(-1),
            });
        }
    }
    memory
}

fn write(controller: Controller, file: &str, value: String, if_missing: IfMissing) -> Step {
    let targets = vec![Target { file: file.to_owned(), value }];
    Step::Write(Write { controller: Some(controller), version: Version::V2, targets, if_missing })
}
