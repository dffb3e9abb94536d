//! From `linux.resources` to an ordered list of writes: pure, printable, tested by goldens.
//!
//! The conversions are those of runc, which the callers of a runtime count on; each file says its
//! own. Left out on purpose, and listed as a [`Note`]: `memory.kernel` and `memory.kernelTCP`
//! (kernels since 5.16 refuse or ignore them), and a swap limit of "none" or "unlimited" on a v2
//! kernel without swap accounting. Whatever else cannot be done here is a [`Refusal`], all of
//! them at once.

mod cpu;
mod devices;
mod io;
mod memory;
mod other;

use std::fmt;

use oci_spec::runtime::LinuxResources;

pub use cpu::weight_of_shares;
#[cfg(test)]
pub(super) use devices::RULES_MAX;
pub use devices::{Access, DeviceKind, DeviceRule, default_rules, device_rules};

use super::layout::{Layout, Version};
use super::{Controller, Controllers, Error};

/// Decides what a new container's group gets. Device rules are always among it: what no rule of
/// the configuration allows, and is not one of [`default_rules`], is denied, as in runc.
pub fn decide_new(
    resources: Option<&LinuxResources>,
    layout: &Layout,
) -> Result<Decision, Refusals> {
    let nothing = LinuxResources::default();
    let resources = resources.unwrap_or(&nothing);
    let current = Current::default();
    let mut draft = Draft::new(layout, &current);
    if resources.devices().is_none() {
        devices::decide(&mut draft, &[]);
    }
    draft.resources(resources);
    draft.finish()
}

/// Decides how to bring a group to `resources`, given what it has now. What `resources` does not
/// say stays as it is.
pub fn decide(
    resources: &LinuxResources,
    layout: &Layout,
    current: &Current,
) -> Result<Decision, Refusals> {
    let mut draft = Draft::new(layout, current);
    draft.resources(resources);
    draft.finish()
}

/// What a group has at the moment, as far as the order or validity of writes depends on it. A new
/// group is [`Current::default`]: unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Current {
    /// `memory.limit_in_bytes`; `None` is unlimited.
    pub memory_limit_bytes: Option<i64>,
    /// `memory.memsw.limit_in_bytes`; `None` is unlimited.
    pub memory_swap_limit_bytes: Option<i64>,
    /// Memory in use.
    pub memory_usage_bytes: i64,
    /// `cpu.cfs_quota_us`; `None` is unlimited.
    pub cpu_quota_us: Option<i64>,
    /// `cpu.cfs_period_us`; `None` is the kernel's default, 100 ms.
    pub cpu_period_us: Option<u64>,
    /// `cpu.cfs_burst_us`.
    pub cpu_burst_us: u64,
}

impl Current {
    fn is_new(&self) -> bool {
        *self == Current::default()
    }
}

/// Ordered steps, and what was left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decision {
    /// To be done in this order.
    pub steps: Vec<Step>,
    /// What was asked for and is deliberately not done.
    pub notes: Vec<Note>,
}

impl Decision {
    /// Whether it sets a limit of memory.
    pub fn limits_memory(&self) -> bool {
        let is_memory = |step: &Step| match step {
            Step::Write(write) => write.controller == Some(Controller::Memory),
            Step::DeviceProgram(_) => false,
        };
        self.steps.iter().any(is_memory)
    }
}

/// One change of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Writes a control file.
    Write(Write),
    /// v2: attaches a program that lets these rules decide on device access, the last match wins.
    DeviceProgram(Vec<DeviceRule>),
}

/// A write to a control file, on one of the hierarchies of the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The controller that the file belongs to; `None` for v2's core files.
    pub controller: Option<Controller>,
    /// Which interface.
    pub version: Version,
    /// File and value; the first file that exists is written.
    pub targets: Vec<Target>,
    /// What it means that none exists.
    pub if_missing: IfMissing,
}

/// A control file's name and what goes into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Name below the group's directory.
    pub file: String,
    /// The text to write.
    pub value: String,
}

/// Whether a control file may be absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfMissing {
    /// The resource cannot be had: an error.
    Fail,
    /// Without the file there is nothing that would need limiting.
    Skip,
}

/// Something that was asked for and is left out, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The property of config.json below `linux.resources`.
    pub field: &'static str,
    /// Why it has no effect.
    pub why: &'static str,
}

/// One resource that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The property of config.json below `linux.resources`, with its value where that matters.
    pub field: String,
    /// Why not, and what to do.
    pub why: String,
}

/// All resources that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusals(pub Vec<Refusal>);

impl From<Refusals> for Error {
    fn from(refusals: Refusals) -> Error {
        Error::Refused(refusals)
    }
}

impl std::error::Error for Refusals {}

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, refusal) in self.0.iter().enumerate() {
            let semicolon = if n == 0 { "" } else { "; " };
            write!(f, "{semicolon}{}: {}", refusal.field, refusal.why)?;
        }
        Ok(())
    }
}

impl Decision {
    /// The controllers whose files are written; what the group cannot do without.
    pub fn controllers(&self) -> Controllers {
        let of = |step: &Step| match step {
            Step::Write(write) => write.controller,
            Step::DeviceProgram(_) => None,
        };
        self.steps.iter().filter_map(of).collect()
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "{step}")?;
        }
        for note in &self.notes {
            writeln!(f, "left out {}: {}", note.field, note.why)?;
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Write(write) => {
                for (n, target) in write.targets.iter().enumerate() {
                    let or = if n == 0 { "" } else { " or " };
                    write!(f, "{or}{}={}", target.file, target.value)?;
                }
                match write.if_missing {
                    IfMissing::Fail => Ok(()),
                    IfMissing::Skip => f.write_str(" (if there)"),
                }
            }
            Step::DeviceProgram(rules) => {
                f.write_str("device program:")?;
                for (n, rule) in rules.iter().enumerate() {
                    let comma = if n == 0 { " " } else { ", " };
                    let verb = if rule.allow { "allow" } else { "deny" };
                    write!(f, "{comma}{verb} {rule}")?;
                }
                Ok(())
            }
        }
    }
}

/// A decision being made.
struct Draft<'a> {
    layout: &'a Layout,
    current: &'a Current,
    decision: Decision,
    refusals: Vec<Refusal>,
}

impl<'a> Draft<'a> {
    fn new(layout: &'a Layout, current: &'a Current) -> Draft<'a> {
        Draft { layout, current, decision: Decision::default(), refusals: Vec::new() }
    }

    fn resources(&mut self, resources: &LinuxResources) {
        if let Some(rules) = resources.devices() {
            devices::decide(self, rules);
        }
        if let Some(cpu) = resources.cpu() {
            cpu::decide(self, cpu);
        }
        if let Some(memory) = resources.memory() {
            memory::decide(self, memory);
        }
        if let Some(pids) = resources.pids() {
            other::pids(self, pids);
        }
        if let Some(block_io) = resources.block_io() {
            io::decide(self, block_io);
        }
        if let Some(limits) = resources.hugepage_limits() {
            other::hugepages(self, limits);
        }
        if let Some(network) = resources.network() {
            other::network(self, network);
        }
        if let Some(rdma) = resources.rdma() {
            other::rdma(self, rdma);
        }
        if let Some(unified) = resources.unified() {
            other::unified(self, unified);
        }
    }

    fn finish(self) -> Result<Decision, Refusals> {
        if self.refusals.is_empty() { Ok(self.decision) } else { Err(Refusals(self.refusals)) }
    }

    /// Where a controller's files are; refuses `field` if no hierarchy has it.
    fn version(&mut self, controller: Controller, field: &str, file: &str) -> Option<Version> {
        let version = self.layout.version_of(controller);
        if version.is_none() {
            self.refuse(
                field,
                format!(
                    "the {controller} controller, whose {file} it sets, is on no cgroup hierarchy \
                     here; enable it in the kernel or leave the property out"
                ),
            );
        }
        version
    }

    fn write(&mut self, controller: Controller, version: Version, file: &str, value: String) {
        self.write_with(controller, version, file, value, IfMissing::Fail);
    }

    fn write_with(
        &mut self,
        controller: Controller,
        version: Version,
        file: &str,
        value: String,
        if_missing: IfMissing,
    ) {
        let targets = vec![Target { file: file.to_owned(), value }];
        self.write_first_of(controller, version, targets, if_missing);
    }

    fn write_first_of(
        &mut self,
        controller: Controller,
        version: Version,
        targets: Vec<Target>,
        if_missing: IfMissing,
    ) {
        let controller = Some(controller);
        self.push(Step::Write(Write { controller, version, targets, if_missing }));
    }

    fn push(&mut self, step: Step) {
        self.decision.steps.push(step);
    }

    fn note(&mut self, field: &'static str, why: &'static str) {
        self.decision.notes.push(Note { field, why });
    }

    fn refuse(&mut self, field: impl Into<String>, why: impl Into<String>) {
        self.refusals.push(Refusal { field: field.into(), why: why.into() });
    }
}

#[cfg(test)]
mod tests;
