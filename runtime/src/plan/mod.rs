//! The plan: a container's set-up as a value, decided before the kernel is touched.
//!
//! [`plan()`] is pure: from a validated [`Spec`], the facts of the [`Host`] and what the command
//! line [asked](Ask) it makes two ordered lists of steps, one for each side of the clone. The
//! interpreters (`container::launch` and `init`) make no choice of policy. Values that exist only
//! at run time (descriptors, the pid) are named slots. What depends on the root filesystem is a
//! step that carries its rule and is decided on the descriptor that is then used.
//!
//! `Display` prints a plan with numbered steps; the tests keep such prints as goldens, and the
//! number of a step is what an error names.

mod builder;
mod devices;
mod exec;
mod identity;
mod mounts;
mod rdt;
mod step;
mod text;

#[cfg(test)]
mod every_property;
#[cfg(test)]
mod tests;

use std::ffi::CString;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::cgroup;
use crate::cgroup::systemd::Unit;
use crate::host::Host;
use crate::spec::{CapMask, NamespaceKind, Propagation, Spec};

use builder::Builder;
pub use exec::{Inside, plan_exec};
pub use step::{
    ChildStep, Cloning, Content, Finding, ParentStep, Program, RdtGroup, RdtMake, RootPlace, Slot,
    Target,
};

/// What the command line asks, beyond config.json.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The container's id.
    pub id: String,
    /// The bundle's absolute path.
    pub bundle: PathBuf,
    /// When the program is executed.
    pub begin: Begin,
    /// Whose terminal it is, if the process has one.
    pub console: Console,
    /// Replace the root by moving a mount instead of by pivot_root (for a ramdisk's root).
    pub no_pivot: bool,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
    /// How many descriptors from 3 on the program inherits.
    pub preserve_fds: u32,
    /// How many of these, the first ones, are sockets that a service manager opened.
    pub listen_fds: u32,
    /// Who gets the first process as a descriptor.
    pub pidfd_socket: Option<PathBuf>,
    /// Who makes the cgroup.
    pub cgroup_driver: CgroupDriver,
}

/// Who makes a container's cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupDriver {
    /// The runtime, by the files of cgroupfs.
    Cgroupfs,
    /// systemd, as a transient scope.
    Systemd,
}

/// When the program is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// When `start` says so.
    OnStart,
    /// At once.
    AtOnce,
}

/// Where a terminal's master goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Console {
    /// There is no terminal.
    None,
    /// To the process that listens on this socket.
    Socket(PathBuf),
    /// To the runtime, which stays in the foreground.
    Foreground,
}

/// A decided set-up.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the runtime does.
    pub parent: Vec<ParentStep>,
    /// What the container's first process does, up to and including its exec.
    pub child: Vec<ChildStep>,
    /// How many slots the steps use.
    pub slots: usize,
    /// The cgroup, and what is written into it.
    pub cgroup: Option<CgroupPlan>,
    /// Descriptors that stay open for the program: 3 and this many minus one more.
    pub preserve_fds: u32,
    /// The capabilities that are asked for and cannot be granted.
    pub withheld: Withheld,
}

/// Capabilities that are asked for and not granted, which is no error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Withheld {
    /// The runtime itself lacks them.
    pub lacking: CapMask,
    /// Asked to be ambient, and not both permitted and inheritable.
    pub not_ambient: CapMask,
}

/// The cgroup of a container.
#[derive(Clone, Debug)]
pub struct CgroupPlan {
    /// Where it is, in each hierarchy.
    pub location: cgroup::Location,
    /// What is written into it.
    pub decision: cgroup::Decision,
    /// The scope that systemd makes first.
    pub unit: Option<Unit>,
}

/// Why a valid configuration cannot be run on this host.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Fields that need something which this host or this runtime lacks.
    #[error("config.json: {}", .0.join("; "))]
    Fields(Vec<String>),
    /// The cgroup's path.
    #[error("linux.cgroupsPath")]
    CgroupPath(#[source] cgroup::Error),
    /// The cgroup's limits.
    #[error("invalid configuration: linux.resources")]
    Resources(#[source] cgroup::Refusals),
}

/// Decides the set-up of a container.
///
/// # Errors
/// What this host cannot give, by the name of the field.
pub fn plan(spec: &Spec, host: &Host, ask: &Ask) -> Result<Plan, Refused> {
    refuse_on_host(spec, host, ask)?;
    let cgroup = cgroup_plan(spec, host, ask)?;
    let mut builder = Builder::new(spec, host, ask);
    let location = cgroup.as_ref().map(|cgroup| &cgroup.location);
    builder.prepare(location);
    builder.enter(location);
    if spec.has_mounts() {
        mounts::root(&mut builder);
        mounts::all(&mut builder, cgroup.as_ref());
        devices::all(&mut builder);
    }
    if !builder.mounts_late {
        builder.enter_network();
        builder.await_parent();
        builder.hooks_before_pivot();
    }
    identity::kernel_parameters(&mut builder);
    mounts::finish(&mut builder, cgroup.as_ref());
    builder.child.push(ChildStep::UseAllCpus);
    identity::all(&mut builder);
    builder.last();
    Ok(Plan {
        withheld: builder.withheld(),
        parent: builder.parent,
        child: builder.child,
        slots: builder.slots,
        cgroup,
        preserve_fds: ask.preserve_fds,
    })
}

fn refuse_on_host(spec: &Spec, host: &Host, ask: &Ask) -> Result<(), Refused> {
    let mut fields = Vec::new();
    let mut refuse = |condition: bool, text: &str| {
        if condition {
            fields.push(text.to_owned());
        }
    };
    let process = &spec.process;
    refuse(
        process.terminal && ask.console == Console::None,
        "process.terminal needs --console-socket when the container runs detached",
    );
    refuse(
        !process.terminal && matches!(ask.console, Console::Socket(_)),
        "process.terminal is not set, so --console-socket has no terminal to receive",
    );
    let no_selinux = "needs SELinux, which this kernel does not have (no /sys/fs/selinux/status)";
    for (field, is_set) in [
        ("process.selinuxLabel", process.selinux_label.is_some()),
        ("linux.mountLabel", spec.linux.mount_label.is_some()),
    ] {
        refuse(is_set && !host.selinux, &format!("{field} {no_selinux}"));
    }
    refuse(
        spec.linux.intel_rdt.is_some() && host.resctrl.is_none(),
        "linux.intelRdt needs resctrl mounted (mount -t resctrl resctrl /sys/fs/resctrl), and a \
         CPU and a kernel that have it",
    );
    refuse(
        process.apparmor_profile.is_some() && !host.apparmor,
        "process.apparmorProfile needs AppArmor, which this kernel does not have",
    );
    refuse(
        !host.is_privileged && !spec.linux.creates(NamespaceKind::User),
        "linux.namespaces needs a user namespace when an ordinary user runs the container",
    );
    refuse(
        !host.is_privileged && !spec.linux.net_devices.is_empty(),
        "linux.netDevices needs root: an ordinary user has no interface to give away",
    );
    let notifies = spec.linux.seccomp.as_ref().is_some_and(|filter| filter.listener.is_some());
    let policy = process.scheduler.map_or(0, |scheduler| scheduler.policy as i32);
    let never_yields = [("SCHED_FIFO", libc::SCHED_FIFO), ("SCHED_DEADLINE", libc::SCHED_DEADLINE)];
    for (name, _) in never_yields.into_iter().filter(|(_, number)| *number == policy) {
        refuse(
            notifies,
            &format!(
                "process.scheduler is {name}, which SCMP_ACT_NOTIFY in linux.seccomp does not go \
                 with: the thread that sends the listener would never run on a single CPU"
            ),
        );
    }
    if fields.is_empty() { Ok(()) } else { Err(Refused::Fields(fields)) }
}

fn cgroup_plan(spec: &Spec, host: &Host, ask: &Ask) -> Result<Option<CgroupPlan>, Refused> {
    let configured = spec.linux.cgroups_path.as_deref();
    let limits = spec.linux.resources.as_ref();
    let decision = cgroup::decide_new(limits, &host.cgroups).map_err(Refused::Resources)?;
    // Ordinary users, root of their user namespaces among them, mostly may not make cgroups. Where
    // nothing asks for one, they get none; limits are tried, and the kernel's refusal is told.
    let asks = configured.is_some() || ask.cgroup_driver == CgroupDriver::Systemd;
    if !host.is_machine_root() && !asks && decision.steps.is_empty() {
        return Ok(None);
    }
    if ask.cgroup_driver == CgroupDriver::Systemd {
        let text = configured.map(Path::to_string_lossy);
        let unit = Unit::parse(text.as_deref(), &ask.id, !host.is_machine_root());
        let more = cgroup::systemd::asked(&spec.annotations).map_err(Refused::Fields)?;
        let unit = unit.map_err(Refused::CgroupPath)?.with(more);
        let location = host.cgroups.locate_unit(&unit);
        return Ok(Some(CgroupPlan { location, decision, unit: Some(unit) }));
    }
    let path = cgroup::CgroupPath::parse(configured, &ask.id).map_err(Refused::CgroupPath)?;
    let location = host.cgroups.locate(&path);
    Ok(Some(CgroupPlan { location, decision, unit: None }))
}

/// The propagation of a container's mounts when config.json says nothing: what the host mounts
/// later arrives, nothing goes back.
const DEFAULT_PROPAGATION: Propagation = Propagation { flag: libc::MS_SLAVE, recursive: true };

pub(crate) fn c_path(path: &Path) -> CString {
    use std::os::unix::ffi::OsStrExt;
    CString::new(path.as_os_str().as_bytes()).expect("validation refused paths with NUL bytes")
}

impl Plan {
    /// How many steps there are, on both sides of the clone.
    pub fn length(&self) -> usize {
        self.parent.len() + self.child.len()
    }

    /// The step with this number, as an error names it: as it is printed, but of a program the name
    /// alone, for its arguments may be secret, and long.
    pub fn describe(&self, number: usize) -> String {
        let parents = self.parent.len();
        if number <= parents {
            return number.checked_sub(1).map(|i| self.parent[i].to_string()).unwrap_or_default();
        }
        match self.child.get(number - parents - 1) {
            Some(ChildStep::Exec(program)) => {
                let name = program.args.first().map(|name| text::Text(name).to_string());
                format!("exec {}", name.unwrap_or_default())
            }
            Some(step) => step.to_string(),
            None => String::new(),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "runtime:")?;
        for (i, step) in self.parent.iter().enumerate() {
            writeln!(f, "{:4} {step}", i + 1)?;
            if let (ParentStep::CreateCgroup, Some(cgroup)) = (step, &self.cgroup) {
                if let Some(unit) = &cgroup.unit {
                    writeln!(f, "     - {} in {}", unit.name, unit.slice)?;
                    for property in &unit.more {
                        writeln!(f, "     - {}={}", property.name, property.value)?;
                    }
                }
                for place in &cgroup.location.places {
                    writeln!(f, "     - {}", place.path().display())?;
                }
                for line in cgroup.decision.to_string().lines() {
                    writeln!(f, "     - {line}")?;
                }
            }
        }
        writeln!(f, "container:")?;
        for (i, step) in self.child.iter().enumerate() {
            writeln!(f, "{:4} {step}", self.parent.len() + i + 1)?;
        }
        Ok(())
    }
}
