//! `linux.resources.devices`: which device nodes may be made, read and written.
//!
//! v1 keeps a list that lines are added to and taken from; v2 asks an eBPF program, which the
//! executor builds from the same rules.

use std::fmt;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use super::{Controller, Draft, Step, Version};

/// The most rules that are taken, the defaults included. On v2 they become a program, of which
/// the kernel takes 4096 instructions from everybody, and a rule has at most 7.
pub(in crate::cgroup) const RULES_MAX: usize = 512;

/// One rule; among those that match, the last one decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceRule {
    /// Allow or deny.
    pub allow: bool,
    /// Which kind of node.
    pub kind: DeviceKind,
    /// Major number; `None` is any.
    pub major: Option<u32>,
    /// Minor number; `None` is any.
    pub minor: Option<u32>,
    /// Which operations.
    pub access: Access,
}

/// What kind of device node a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// Both.
    All,
    /// Block devices.
    Block,
    /// Character devices.
    Char,
}

/// The operations of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Opening for reading.
    pub read: bool,
    /// Opening for writing.
    pub write: bool,
    /// Making the node.
    pub mknod: bool,
}

impl Access {
    /// Every operation.
    pub const ALL: Access = Access { read: true, write: true, mknod: true };
    /// Making nodes only, which gives no access to the device.
    pub const MKNOD: Access = Access { read: false, write: false, mknod: true };

    fn meets(self, other: Access) -> bool {
        (self.read && other.read) || (self.write && other.write) || (self.mknod && other.mknod)
    }
}

/// What every container may use whatever its configuration says: the default devices of the
/// specification (config-linux.md), pseudo-terminals, and making nodes.
pub fn default_rules() -> Vec<DeviceRule> {
    let rule = |kind, major, minor, access| DeviceRule { allow: true, kind, major, minor, access };
    let char = |major, minor| rule(DeviceKind::Char, Some(major), minor, Access::ALL);
    vec![
        rule(DeviceKind::Char, None, None, Access::MKNOD),
        rule(DeviceKind::Block, None, None, Access::MKNOD),
        char(1, Some(3)), // null
        char(1, Some(5)), // zero
        char(1, Some(7)), // full
        char(1, Some(8)), // random
        char(1, Some(9)), // urandom
        char(5, Some(0)), // tty
        char(5, Some(1)), // console
        char(5, Some(2)), // ptmx
        char(136, None),  // pts/*
    ]
}

/// The rules of config.json, checked. The error is the reason of the first bad one.
pub fn device_rules(configured: &[LinuxDeviceCgroup]) -> Result<Vec<DeviceRule>, String> {
    configured.iter().map(rule).collect()
}

fn rule(configured: &LinuxDeviceCgroup) -> Result<DeviceRule, String> {
    let kind = match configured.typ() {
        None | Some(LinuxDeviceType::A) => DeviceKind::All,
        Some(LinuxDeviceType::B) => DeviceKind::Block,
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => DeviceKind::Char,
        Some(LinuxDeviceType::P) => return Err("a FIFO is not under device control".to_owned()),
    };
    let number = |what: &str, number: Option<i64>| match number {
        None | Some(-1) => Ok(None),
        Some(n) => u32::try_from(n).map(Some).map_err(|_| format!("{what} {n} is out of range")),
    };
    Ok(DeviceRule {
        allow: configured.allow(),
        kind,
        major: number("major", configured.major())?,
        minor: number("minor", configured.minor())?,
        access: access(configured.access().as_deref())?,
    })
}

fn access(letters: Option<&str>) -> Result<Access, String> {
    let Some(letters) = letters.filter(|letters| !letters.is_empty()) else {
        return Ok(Access::ALL);
    };
    let mut access = Access { read: false, write: false, mknod: false };
    for letter in letters.chars() {
        match letter {
            'r' => access.read = true,
            'w' => access.write = true,
            'm' => access.mknod = true,
            // Left out and told, as in runc; it can only be a slip, and gives nothing.
            _ => {}
        }
    }
    match access.read || access.write || access.mknod {
        true => Ok(access),
        false => Err(format!("access {letters:?} has none of r, w, m")),
    }
}

pub(super) fn decide(draft: &mut Draft<'_>, configured: &[LinuxDeviceCgroup]) {
    let mut rules = match device_rules(configured) {
        Ok(rules) => rules,
        Err(why) => {
            draft.refuse("devices", why);
            return;
        }
    };
    let letters = |device: &LinuxDeviceCgroup| device.access().clone().unwrap_or_default();
    if configured.iter().any(|device| letters(device).contains(|letter| !"rwm".contains(letter))) {
        draft.note("devices[].access", "letters other than r, w and m stand for nothing");
    }
    if !ends_open(&rules) {
        rules.extend(default_rules());
    }
    if rules.len() > RULES_MAX {
        draft.refuse("devices", format!("{} rules; at most {RULES_MAX} are taken", rules.len()));
        return;
    }
    if !draft.layout.controls_devices {
        draft.note("devices", "only root of the initial user namespace can set device rules");
        return;
    }
    match draft.layout.version_of(Controller::Devices) {
        Some(Version::V1) => v1(draft, &rules),
        Some(Version::V2) | None if draft.layout.v2().is_some() => {
            draft.push(Step::DeviceProgram(rules));
        }
        _ => {
            draft.version(Controller::Devices, "devices", "devices.allow");
        }
    }
}

/// Whether the last word is "everything is allowed", so that the defaults add nothing.
fn ends_open(rules: &[DeviceRule]) -> bool {
    rules.last().is_some_and(|rule| rule.allow && rule.matches_everything())
}

/// A rule for "all devices, all operations" resets v1's list; the rules after it are the
/// exceptions. A v1 list starts as a copy of the parent's, so without such a rule first the
/// group would begin with whatever that allows: like runc, begin with nothing.
fn v1(draft: &mut Draft<'_>, rules: &[DeviceRule]) {
    let last_reset = rules.iter().rposition(DeviceRule::matches_everything);
    let (reset, exceptions) = match last_reset {
        Some(at) => (rules[at].allow, &rules[at + 1..]),
        None => (false, rules),
    };
    let file = |allow| if allow { "devices.allow" } else { "devices.deny" };
    draft.write(Controller::Devices, Version::V1, file(reset), "a".to_owned());
    for (n, rule) in exceptions.iter().enumerate() {
        let carves = |other: &&DeviceRule| other.allow != rule.allow && rule.carves(other);
        if let Some(other) = exceptions[..n].iter().find(carves).filter(|_| rule.allow == reset) {
            draft.refuse(
                format!("devices rule `{rule}`"),
                format!("it takes back a part of `{other}`, which cgroup v1 cannot express"),
            );
        }
        for line in rule.v1_lines() {
            draft.write(Controller::Devices, Version::V1, file(rule.allow), line);
        }
    }
}

impl DeviceRule {
    pub(in crate::cgroup) fn matches_everything(&self) -> bool {
        self.kind == DeviceKind::All
            && self.major.is_none()
            && self.minor.is_none()
            && self.access == Access::ALL
    }

    /// Whether this rule is for a part of the other's devices. v1 keeps exceptions from its reset
    /// state, each with its numbers, and takes back only one with the very same numbers.
    fn carves(&self, other: &DeviceRule) -> bool {
        let meets = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        let kinds_meet = self.kind == other.kind
            || self.kind == DeviceKind::All
            || other.kind == DeviceKind::All;
        let is_same =
            self.kind == other.kind && self.major == other.major && self.minor == other.minor;
        kinds_meet
            && meets(self.major, other.major)
            && meets(self.minor, other.minor)
            && self.access.meets(other.access)
            && !is_same
    }

    /// v1 reads a line of kind `a` as "everything", whatever numbers follow; a narrower rule for
    /// both kinds takes a line for each.
    fn v1_lines(&self) -> Vec<String> {
        match self.kind {
            DeviceKind::All => [DeviceKind::Block, DeviceKind::Char]
                .map(|kind| DeviceRule { kind, ..*self }.to_string())
                .into(),
            DeviceKind::Block | DeviceKind::Char => vec![self.to_string()],
        }
    }
}

/// v1's own notation: `c 1:3 rwm`, `*` for any number.
impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            DeviceKind::All => 'a',
            DeviceKind::Block => 'b',
            DeviceKind::Char => 'c',
        };
        let number = |n: Option<u32>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
        write!(f, "{kind} {}:{} ", number(self.major), number(self.minor))?;
        let Access { read, write, mknod } = self.access;
        for (letter, _) in [('r', read), ('w', write), ('m', mknod)].iter().filter(|(_, on)| *on) {
            write!(f, "{letter}")?;
        }
        Ok(())
    }
}
