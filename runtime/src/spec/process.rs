//! The container's process: whom it runs as, with what limits, and what it executes.

use std::ffi::CString;
use std::path::PathBuf;

use oci_spec::runtime as oci;
use serde_json::Value;

use super::{Capabilities, Linux, NamespaceKind, Violations, c_path, c_string, inside};
use crate::sys::process::SchedAttr;

/// The process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Whether it gets a new terminal.
    pub terminal: bool,
    /// Rows and columns of the terminal.
    pub console_size: Option<(u16, u16)>,
    /// Whom it runs as.
    pub user: User,
    /// What it executes, with the program first. Never empty.
    pub args: Vec<CString>,
    /// Its environment.
    pub env: Vec<CString>,
    /// Its working directory: absolute, inside the container.
    pub cwd: CString,
    /// Its capabilities.
    pub capabilities: Capabilities,
    /// Its resource limits.
    pub rlimits: Vec<Rlimit>,
    /// Whether an exec can never give it more privileges.
    pub no_new_privileges: bool,
    /// How eagerly the kernel's OOM killer takes it: -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// Scheduling policy.
    pub scheduler: Option<Scheduler>,
    /// I/O priority class (1 real-time, 2 best effort, 3 idle) and level (0 to 7).
    pub io_priority: Option<(u16, u16)>,
    /// On which CPUs it begins, if it joins a container that is there.
    pub exec_affinity: ExecAffinity,
    /// SELinux label of the process.
    pub selinux_label: Option<CString>,
    /// AppArmor profile of the process.
    pub apparmor_profile: Option<CString>,
}

/// CPUs of a process that joins a container; none is "as it comes".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecAffinity {
    /// Of the runtime and of it, until it is in the container's cgroup.
    pub initial: Vec<usize>,
    /// Of it, from then on.
    pub last: Vec<usize>,
}

/// Ids of the process inside the container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub additional_gids: Vec<u32>,
    /// File mode creation mask; the runtime's default is 0022.
    pub umask: Option<u32>,
}

/// One resource limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rlimit {
    /// The name without `RLIMIT_`, in capitals.
    pub name: &'static str,
    /// The kernel's number.
    pub resource: u32,
    /// The limit in force.
    pub soft: u64,
    /// Up to where the process may raise it.
    pub hard: u64,
}

/// The scheduling policy in the kernel's terms.
pub type Scheduler = SchedAttr;

/// Validates the process. `None` goes with at least one violation.
pub(super) fn validate(
    oci: Option<&oci::Process>,
    linux: &Linux,
    found: &mut Violations,
) -> Option<Process> {
    let Some(oci) = oci else {
        found.add("process", "is required");
        return None;
    };
    found.refuse("process.commandLine", oci.command_line().is_some());
    // user.username is Windows's.
    let strings = |name: &str, list: &Option<Vec<String>>, found: &mut Violations| {
        let list = list.iter().flatten();
        list.filter_map(|s| c_string(name, s.as_bytes(), found)).collect::<Vec<_>>()
    };
    let args = strings("process.args", oci.args(), found);
    if args.is_empty() {
        found.add("process.args", "is empty: name the program to run");
    }
    if !oci.cwd().is_absolute() {
        found.add("process.cwd", format!("is not absolute: {:?}", oci.cwd()));
    }
    let cwd = PathBuf::from("/").join(inside(oci.cwd()));
    let mut optional = |name: &str, value: &Option<String>| {
        let value = value.as_deref().filter(|value| !value.is_empty())?;
        c_string(name, value.as_bytes(), found)
    };
    let selinux_label = optional("process.selinuxLabel", oci.selinux_label());
    let apparmor_profile = optional("process.apparmorProfile", oci.apparmor_profile());
    Some(Process {
        terminal: oci.terminal().unwrap_or(false),
        console_size: oci.console_size().and_then(|size| console_size(size, found)),
        user: user(oci.user(), linux, found),
        args,
        env: strings("process.env", oci.env(), found),
        cwd: c_path("process.cwd", &cwd, found)?,
        capabilities: capabilities(oci.capabilities().as_ref(), found),
        rlimits: rlimits(oci.rlimits().as_deref().unwrap_or_default(), found),
        no_new_privileges: oci.no_new_privileges().unwrap_or(false),
        oom_score_adj: oci.oom_score_adj().filter(|score| oom_score_is_valid(*score, found)),
        scheduler: oci.scheduler().as_ref().and_then(|s| scheduler(s, found)),
        io_priority: oci.io_priority().as_ref().and_then(|p| io_priority(p, found)),
        exec_affinity: exec_affinity(oci, found),
        selinux_label,
        apparmor_profile,
    })
}

fn exec_affinity(oci: &oci::Process, found: &mut Violations) -> ExecAffinity {
    let Some(oci) = oci.exec_cpu_affinity() else { return ExecAffinity::default() };
    let mut cpus = |name: &str, text: &Option<String>| {
        let cpus = super::kernel::numbers(text.as_deref().unwrap_or_default());
        if cpus.is_none() {
            let field = format!("process.execCPUAffinity.{name}");
            found.add(field, "is no list of CPUs such as \"0-1,3\"");
        }
        cpus.unwrap_or_default()
    };
    ExecAffinity {
        initial: cpus("initial", oci.initial()),
        last: cpus("final", oci.cpu_affinity_final()),
    }
}

fn user(oci: &oci::User, linux: &Linux, found: &mut Violations) -> User {
    let additional_gids = oci.additional_gids().clone().unwrap_or_default();
    let new_userns = linux.creates(NamespaceKind::User);
    let mapped = |maps: &[super::IdMap], id: u32| {
        maps.iter().any(|m| id >= m.container_id && id - m.container_id < m.size)
    };
    if new_userns && !mapped(&linux.uid_mappings, oci.uid()) {
        found.add("process.user.uid", format!("{} is not in linux.uidMappings", oci.uid()));
    }
    for gid in std::iter::once(oci.gid()).chain(additional_gids.iter().copied()) {
        if new_userns && !mapped(&linux.gid_mappings, gid) {
            found.add("process.user", format!("group {gid} is not in linux.gidMappings"));
        }
    }
    if oci.umask().is_some_and(|umask| umask > 0o777) {
        found.add("process.user.umask", "is greater than 0777");
    }
    User { uid: oci.uid(), gid: oci.gid(), additional_gids, umask: oci.umask() }
}

fn capabilities(oci: Option<&oci::LinuxCapabilities>, found: &mut Violations) -> Capabilities {
    let caps = Capabilities::from_oci(oci);
    if caps.effective & !caps.permitted != 0 {
        found.add("process.capabilities.effective", "has what permitted lacks");
    }
    caps
}

fn console_size(size: oci::Box, found: &mut Violations) -> Option<(u16, u16)> {
    match (u16::try_from(size.height()), u16::try_from(size.width())) {
        (Ok(rows), Ok(columns)) => Some((rows, columns)),
        _ => {
            found.add("process.consoleSize", "is greater than 65535");
            None
        }
    }
}

fn oom_score_is_valid(score: i32, found: &mut Violations) -> bool {
    let valid = (-1000..=1000).contains(&score);
    if !valid {
        found.add("process.oomScoreAdj", format!("is {score}: expected -1000 to 1000"));
    }
    valid
}

fn rlimits(oci: &[oci::PosixRlimit], found: &mut Violations) -> Vec<Rlimit> {
    let mut limits: Vec<Rlimit> = Vec::with_capacity(oci.len());
    for limit in oci {
        let (name, resource) = rlimit_number(limit.typ());
        if limits.iter().any(|l| l.resource == resource) {
            found.add("process.rlimits", format!("has RLIMIT_{name} twice"));
        }
        if limit.soft() > limit.hard() {
            found.add("process.rlimits", format!("has RLIMIT_{name} with soft above hard"));
        }
        limits.push(Rlimit { name, resource, soft: limit.soft(), hard: limit.hard() });
    }
    limits
}

/// The kernel's numbers (asm-generic/resource.h): C libraries disagree about their type.
fn rlimit_number(typ: oci::PosixRlimitType) -> (&'static str, u32) {
    use oci::PosixRlimitType as T;
    match typ {
        T::RlimitCpu => ("CPU", 0),
        T::RlimitFsize => ("FSIZE", 1),
        T::RlimitData => ("DATA", 2),
        T::RlimitStack => ("STACK", 3),
        T::RlimitCore => ("CORE", 4),
        T::RlimitRss => ("RSS", 5),
        T::RlimitNproc => ("NPROC", 6),
        T::RlimitNofile => ("NOFILE", 7),
        T::RlimitMemlock => ("MEMLOCK", 8),
        T::RlimitAs => ("AS", 9),
        T::RlimitLocks => ("LOCKS", 10),
        T::RlimitSigpending => ("SIGPENDING", 11),
        T::RlimitMsgqueue => ("MSGQUEUE", 12),
        T::RlimitNice => ("NICE", 13),
        T::RlimitRtprio => ("RTPRIO", 14),
        T::RlimitRttime => ("RTTIME", 15),
    }
}

fn io_priority(oci: &oci::LinuxIOPriority, found: &mut Violations) -> Option<(u16, u16)> {
    let class = match oci.class() {
        oci::IOPriorityClass::IoprioClassRt => 1,
        oci::IOPriorityClass::IoprioClassBe => 2,
        oci::IOPriorityClass::IoprioClassIdle => 3,
    };
    match u16::try_from(oci.priority()) {
        Ok(level @ 0..=7) => Some((class, level)),
        _ => {
            found.add("process.ioPriority.priority", "is not between 0 and 7");
            None
        }
    }
}

/// The specification's names of scheduler flags (config.md, `scheduler.flags`; `sched_setattr(2)`)
/// that the library spells in its own way.
const SPELLINGS: [(&str, &str); 2] = [
    ("SCHED_FLAG_RESET_ON_FORK", "SCHED_RESET_ON_FORK"),
    ("SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_D_L_OVERRUN"),
];

/// Spells the scheduler flags of a process as the library does that decodes them, and tells
/// whether there were any to spell.
pub fn respell_flags(process: &mut Value) -> bool {
    let flags = process.pointer_mut("/scheduler/flags").and_then(Value::as_array_mut);
    let mut is_changed = false;
    for flag in flags.into_iter().flatten() {
        let known = SPELLINGS.iter().find(|(ours, _)| flag.as_str() == Some(*ours));
        if let Some((_, theirs)) = known {
            *flag = (*theirs).into();
            is_changed = true;
        }
    }
    is_changed
}

/// Gives a process that says nothing of its user, or half of it, the zeros that the specification's
/// schema lets it leave out, and tells whether anything was missing.
pub fn complete_user(process: &mut Value) -> bool {
    let Some(process) = process.as_object_mut() else { return false };
    let mut is_changed = !process.contains_key("user");
    let user = process.entry("user").or_insert_with(|| Value::Object(serde_json::Map::new()));
    for name in ["uid", "gid"] {
        if let Some(user) = user.as_object_mut().filter(|user| !user.contains_key(name)) {
            user.insert(name.to_owned(), 0.into());
            is_changed = true;
        }
    }
    is_changed
}

fn scheduler(oci: &oci::Scheduler, found: &mut Violations) -> Option<Scheduler> {
    use oci::LinuxSchedulerFlag as F;
    use oci::LinuxSchedulerPolicy as P;
    let policy = match oci.policy() {
        P::SchedOther => 0,
        P::SchedFifo => 1,
        P::SchedRr => 2,
        P::SchedBatch => 3,
        P::SchedIso => {
            found.add("process.scheduler.policy", "SCHED_ISO does not exist in Linux");
            return None;
        }
        P::SchedIdle => 5,
        P::SchedDeadline => 6,
    };
    let flags = oci.flags().iter().flatten().fold(0, |flags, flag| {
        flags
            | match flag {
                F::SchedResetOnFork => 0x01,
                F::SchedFlagReclaim => 0x02,
                F::SchedFlagDLOverrun => 0x04,
                F::SchedFlagKeepPolicy => 0x08,
                F::SchedFlagKeepParams => 0x10,
                F::SchedFlagUtilClampMin => 0x20,
                F::SchedFlagUtilClampMax => 0x40,
            }
    });
    let nice = oci.nice().unwrap_or(0);
    if !(-20..=19).contains(&nice) {
        found.add("process.scheduler.nice", "is not between -20 and 19");
    }
    let priority = u32::try_from(oci.priority().unwrap_or(0));
    if priority.is_err() {
        found.add("process.scheduler.priority", "is negative");
    }
    Some(Scheduler {
        size: 0,
        policy,
        flags,
        nice,
        priority: priority.unwrap_or(0),
        runtime: oci.runtime().unwrap_or(0),
        deadline: oci.deadline().unwrap_or(0),
        period: oci.period().unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_scheduler_flag_of_the_specification_has_the_kernel_s_bit() {
        // include/uapi/linux/sched.h has these names and values.
        let flags = [
            "SCHED_FLAG_RESET_ON_FORK",
            "SCHED_FLAG_RECLAIM",
            "SCHED_FLAG_DL_OVERRUN",
            "SCHED_FLAG_KEEP_POLICY",
            "SCHED_FLAG_KEEP_PARAMS",
            "SCHED_FLAG_UTIL_CLAMP_MIN",
            "SCHED_FLAG_UTIL_CLAMP_MAX",
        ];
        for (bit, flag) in flags.iter().enumerate() {
            let text = json!({ "args": ["a"], "cwd": "/", "user": { "uid": 0, "gid": 0 },
                "scheduler": { "policy": "SCHED_OTHER", "flags": [flag] } });
            let decode = |text: &str| serde_json::from_str::<oci::Process>(text);
            let (_, process, unknown) =
                crate::bundle::decode_known(text.to_string(), |it| Some(it), decode).unwrap();
            assert!(unknown.is_empty());
            let mut found = Violations::default();
            let seen = scheduler(process.scheduler().as_ref().unwrap(), &mut found).unwrap();
            assert_eq!(seen.flags, 1 << bit, "{flag}");
        }
    }

    #[test]
    fn a_flag_that_there_is_not_is_refused_by_its_name() {
        let text = json!({ "args": ["a"], "cwd": "/", "user": { "uid": 0, "gid": 0 },
            "scheduler": { "policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_NEW"] } });
        let decode = |text: &str| serde_json::from_str::<oci::Process>(text);
        let seen = crate::bundle::decode_known(text.to_string(), |it| Some(it), decode);
        assert!(seen.unwrap_err().to_string().contains("SCHED_FLAG_NEW"));
    }
}
