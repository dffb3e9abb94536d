//! The plan of `exec`: another process in a container that lives.

use crate::cgroup;
use crate::host::Host;
use crate::spec::{NamespaceKind, Spec};

use super::step::{ChildStep, ParentStep, Slot};
use super::{Ask, Builder, CgroupPlan, Console, Plan, Refused, identity, refuse_on_host};

/// The container that is entered.
#[derive(Clone, Debug)]
pub struct Inside {
    /// Its first process.
    pub pid: i32,
    /// When that started, in clock ticks since boot.
    pub pid_start_ticks: u64,
    /// Its namespaces that are not the runtime's own.
    pub namespaces: Vec<NamespaceKind>,
    /// The cgroup that is joined.
    pub cgroup: Option<cgroup::Location>,
    /// The groups of resctrl that are joined.
    pub resctrl: Vec<std::path::PathBuf>,
}

/// Decides how a process gets into a container. `spec` is the container's, with the new process.
///
/// # Errors
/// What this host cannot give, by the name of the field.
pub fn plan_exec(spec: &Spec, host: &Host, ask: &Ask, inside: &Inside) -> Result<Plan, Refused> {
    refuse_on_host(spec, host, ask)?;
    let mut builder = Builder::new(spec, host, ask);
    let slot = builder.slot();
    enter(&mut builder, inside, slot);
    if spec.process.terminal {
        let terminal = super::mounts::terminal(&builder, false);
        builder.child.push(terminal);
    }
    // In the cgroup: kernels before 6.2 give the CPUs of the group to who joins it.
    let cpus = spec.process.exec_affinity.last.clone();
    builder.child.push(match cpus.is_empty() {
        true => ChildStep::UseAllCpus,
        false => ChildStep::UseCpus { cpus },
    });
    identity::all(&mut builder);
    builder.parent.push(ParentStep::AwaitExec);
    builder.execute();
    let cgroup = inside.cgroup.clone().map(|location| CgroupPlan {
        location,
        decision: cgroup::Decision::default(),
        unit: None,
    });
    Ok(Plan {
        withheld: builder.withheld(),
        parent: builder.parent,
        child: builder.child,
        slots: builder.slots,
        cgroup,
        preserve_fds: ask.preserve_fds,
    })
}

/// From the runtime's namespaces into the container's.
fn enter(b: &mut Builder<'_>, inside: &Inside, slot: Slot) {
    let has = |kind| inside.namespaces.contains(&kind);
    let (pid, start_ticks) = (inside.pid, inside.pid_start_ticks);
    b.parent.push(ParentStep::OpenContainer { slot, pid, start_ticks });
    // A container that has not made its mount namespace is at a place in it, not at its root.
    let is_at_place = !has(NamespaceKind::Mount) || !b.creates(NamespaceKind::Mount);
    let root = is_at_place.then(|| b.slot());
    if let Some(slot) = root {
        b.parent.push(ParentStep::OpenRootOf { slot, pid, start_ticks });
    }
    // A process cannot change its own pid namespace, only that of its children. An ordinary user
    // may do that only from inside the user namespace which owns it.
    let mut by_parent = Vec::new();
    if has(NamespaceKind::User) && !b.host.is_privileged {
        by_parent.push(NamespaceKind::User);
    }
    if has(NamespaceKind::Pid) {
        by_parent.push(NamespaceKind::Pid);
    }
    let by_child = inside.namespaces.iter().filter(|kind| !by_parent.contains(kind));
    let by_child: Vec<NamespaceKind> = by_child.copied().collect();
    if let Console::Socket(path) = &b.ask.console {
        b.parent.push(ParentStep::ConnectConsole { path: b.host_path(path) });
    }
    b.connect_pidfd();
    if inside.cgroup.is_some() {
        b.parent.push(ParentStep::OpenCgroup);
    }
    if !by_parent.is_empty() {
        b.parent.push(ParentStep::EnterNamespaces { slot, kinds: by_parent });
    }
    let cpus = b.spec.process.exec_affinity.initial.clone();
    if !cpus.is_empty() {
        b.parent.push(ParentStep::UseCpus { cpus });
    }
    b.parent.push(ParentStep::Clone { namespaces: Vec::new(), first: Vec::new() });
    if let Some(cgroup) = &inside.cgroup {
        b.join_cgroup(cgroup);
    }
    if !inside.resctrl.is_empty() {
        b.parent.push(ParentStep::JoinRdtGroups { groups: inside.resctrl.clone() });
    }
    if let Some(score) = b.spec.process.oom_score_adj {
        b.parent.push(ParentStep::OomScore { score });
    }
    b.send_pidfd();
    b.parent.push(ParentStep::Proceed);
    b.await_cgroup();
    if !by_child.is_empty() {
        b.child.push(ChildStep::JoinNamespaces { slot, kinds: by_child });
    }
    if has(NamespaceKind::User) {
        b.child.push(ChildStep::BecomeRoot);
    }
    b.child.push(ChildStep::NewSession);
    if let Some(slot) = root {
        b.child.push(ChildStep::EnterRootOf { slot });
    }
    b.child.push(ChildStep::UseRoot);
}
