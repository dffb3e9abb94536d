//! The profile, validated: what cannot be expressed here cannot be compiled.

use super::Listener;
use oci_spec::runtime as oci;
use oci_spec::runtime::{
    Arch, LinuxSeccompAction as A, LinuxSeccompFilterFlag as F, LinuxSeccompOperator as O,
};

/// Actions that a profile may name, for `features`.
pub const ACTIONS: [&str; 9] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];
/// Operators that a profile may name, for `features`.
pub const OPERATORS: [&str; 7] = [
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_LE",
    "SCMP_CMP_LT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
];
/// Architectures whose calls can be made here, for `features`.
pub const ARCHITECTURES: [&str; 3] = ["SCMP_ARCH_X32", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64"];
/// Flags that a profile may name, for `features`.
pub const FLAGS: [&str; 4] = [
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];

/// The kernel's highest errno (`MAX_ERRNO`).
const ERRNO_MAX: u32 = 4095;
/// What "errno" and "trace" carry where nothing is given.
const ERRNO_DEFAULT: u32 = libc::EPERM as u32;
/// System calls have six arguments.
const ARGUMENTS: usize = 6;

/// The answer to a call, as the kernel encodes it (`SECCOMP_RET_*`).
pub(super) type Answer = u32;
/// Ends the process: for calls of an ABI that the profile does not list.
pub(super) const KILL_PROCESS: Answer = libc::SECCOMP_RET_KILL_PROCESS;

#[derive(Clone, Debug)]
pub(super) struct Profile {
    /// For calls that no rule is about.
    pub(super) default: Answer,
    /// For calls with numbers beyond all that the profile names.
    pub(super) newer: Answer,
    pub(super) abis: Vec<Abi>,
    pub(super) rules: Vec<Rule>,
    pub(super) flags: u64,
    pub(super) listener: Option<Listener>,
}

/// A way into the kernel that this machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Abi {
    X86_64,
    X32,
    X86,
}

#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) names: Vec<String>,
    pub(super) answer: Answer,
    /// All must hold in one of these lists; none at all is "always".
    pub(super) alternatives: Vec<Vec<Condition>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    /// Which argument, from 0.
    pub(super) index: usize,
    pub(super) test: Test,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Test {
    Equal(u64),
    NotEqual(u64),
    Less(u64),
    LessOrEqual(u64),
    Greater(u64),
    GreaterOrEqual(u64),
    Masked { mask: u64, value: u64 },
}

impl Profile {
    pub(super) fn validate(oci: &oci::LinuxSeccomp) -> Result<Profile, Vec<(String, String)>> {
        let mut found = Found(Vec::new());
        let default = found.answer("defaultAction", oci.default_action(), oci.default_errno_ret());
        let rules = oci.syscalls().iter().flatten().enumerate();
        let rules = rules.map(|(n, rule)| found.rule(n, rule)).collect();
        let says_nothing =
            oci.default_action() == A::ScmpActErrno && oci.default_errno_ret().is_none();
        let profile = Profile {
            default,
            newer: if says_nothing { errno(libc::ENOSYS as u32) } else { default },
            abis: abis(oci.architectures().as_deref().unwrap_or_default()),
            rules,
            flags: found.flags(oci.flags().as_deref(), notifies(oci)),
            listener: found.listener(oci),
        };
        if found.0.is_empty() { Ok(profile) } else { Err(found.0) }
    }
}

fn notifies(oci: &oci::LinuxSeccomp) -> bool {
    let rules = oci.syscalls().iter().flatten().map(oci::LinuxSyscall::action);
    rules.chain([oci.default_action()]).any(|action| action == A::ScmpActNotify)
}

/// The native one is always there. Others than this machine's can make no call.
fn abis(listed: &[Arch]) -> Vec<Abi> {
    let mut abis = vec![Abi::X86_64];
    for arch in listed {
        let abi = match arch {
            Arch::ScmpArchX86 => Abi::X86,
            Arch::ScmpArchX32 => Abi::X32,
            _ => continue,
        };
        if !abis.contains(&abi) {
            abis.push(abi);
        }
    }
    abis
}

fn errno(number: u32) -> Answer {
    libc::SECCOMP_RET_ERRNO | number
}

/// What is wrong, by property.
struct Found(Vec<(String, String)>);

impl Found {
    fn add(&mut self, property: &str, why: impl Into<String>) {
        self.0.push((property.to_owned(), why.into()));
    }

    fn listener(&mut self, oci: &oci::LinuxSeccomp) -> Option<Listener> {
        let path = oci.listener_path().clone().filter(|path| !path.as_os_str().is_empty());
        let metadata = oci.listener_metadata().clone().filter(|text| !text.is_empty());
        if metadata.is_some() && path.is_none() {
            self.add("listenerMetadata", "needs listenerPath");
        }
        if !notifies(oci) {
            return None;
        }
        match path {
            Some(path) if path.is_absolute() => return Some(Listener { path, metadata }),
            Some(path) => self.add("listenerPath", format!("is not absolute: {path:?}")),
            None => self.add("listenerPath", "is required for SCMP_ACT_NOTIFY"),
        }
        None
    }

    fn answer(&mut self, property: &str, action: A, number: Option<u32>) -> Answer {
        if number.is_some() && !matches!(action, A::ScmpActErrno | A::ScmpActTrace) {
            self.add(property, "has an errno, which only SCMP_ACT_ERRNO and SCMP_ACT_TRACE have");
        }
        let number = number.unwrap_or(ERRNO_DEFAULT);
        if number > ERRNO_MAX {
            self.add(property, format!("has errno {number}: at most {ERRNO_MAX}"));
        }
        match action {
            A::ScmpActKill | A::ScmpActKillThread => libc::SECCOMP_RET_KILL_THREAD,
            A::ScmpActKillProcess => KILL_PROCESS,
            A::ScmpActTrap => libc::SECCOMP_RET_TRAP,
            A::ScmpActErrno => errno(number & ERRNO_MAX),
            A::ScmpActTrace => libc::SECCOMP_RET_TRACE | (number & ERRNO_MAX),
            A::ScmpActLog => libc::SECCOMP_RET_LOG,
            A::ScmpActAllow => libc::SECCOMP_RET_ALLOW,
            A::ScmpActNotify => libc::SECCOMP_RET_USER_NOTIF,
        }
    }

    fn rule(&mut self, number: usize, oci: &oci::LinuxSyscall) -> Rule {
        let property = format!("syscalls[{number}]");
        if oci.names().is_empty() {
            self.add(&property, "names no system call");
        }
        let conditions: Vec<Condition> = oci
            .args()
            .iter()
            .flatten()
            .filter_map(|argument| self.condition(&property, argument))
            .collect();
        let is_repeated = conditions
            .iter()
            .enumerate()
            .any(|(n, a)| conditions[..n].iter().any(|b| a.index == b.index));
        let alternatives = match conditions {
            none if none.is_empty() => Vec::new(),
            // As runc and crun read it: several conditions on one argument are alternatives.
            several if is_repeated => {
                several.into_iter().map(|condition| vec![condition]).collect()
            }
            all => vec![all],
        };
        Rule {
            names: oci.names().clone(),
            answer: self.answer(&property, oci.action(), oci.errno_ret()),
            alternatives,
        }
    }

    fn condition(&mut self, property: &str, oci: &oci::LinuxSeccompArg) -> Option<Condition> {
        if oci.index() >= ARGUMENTS {
            self.add(property, format!("has argument {}: there are 0 to 5", oci.index()));
            return None;
        }
        let value = oci.value();
        let test = match oci.op() {
            O::ScmpCmpEq => Test::Equal(value),
            O::ScmpCmpNe => Test::NotEqual(value),
            O::ScmpCmpLt => Test::Less(value),
            O::ScmpCmpLe => Test::LessOrEqual(value),
            O::ScmpCmpGt => Test::Greater(value),
            O::ScmpCmpGe => Test::GreaterOrEqual(value),
            // As in libseccomp, a value's bits outside of the mask say nothing.
            O::ScmpCmpMaskedEq => {
                Test::Masked { mask: value, value: value & oci.value_two().unwrap_or(0) }
            }
        };
        Some(Condition { index: oci.index(), test })
    }

    /// Without any flags said, the mitigation that makes every call of the container slower is
    /// left off, as in runc and by the kernel's own default since 5.16.
    fn flags(&mut self, flags: Option<&[F]>, notifies: bool) -> u64 {
        let Some(flags) = flags else { return libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW };
        flags.iter().fold(0, |bits, flag| {
            bits | match flag {
                F::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG,
                F::SeccompFilterFlagSpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
                // There is one thread only at that time.
                F::SeccompFilterFlagTsync => 0,
                F::SeccompFilterFlagWaitKillableRecv if notifies => {
                    libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
                }
                // The kernel takes it with a listener only.
                F::SeccompFilterFlagWaitKillableRecv => 0,
            }
        })
    }
}
