//! The plan while it is made: what both sides of the clone do, in the order of a container's life.

use std::path::{Path, PathBuf};

use super::step::{ChildStep, ParentStep, Program, Slot};
use super::{Ask, Begin, CgroupDriver, Console, Withheld};
use crate::cgroup::{Location, Mode, Version};
use crate::host::Host;
use crate::spec::{
    Capabilities, HookKind, IdMap, MountKind, Namespace, NamespaceKind, Spec, Tmpcopyup,
};

/// The plan while it is made.
pub(super) struct Builder<'a> {
    pub(super) spec: &'a Spec,
    pub(super) host: &'a Host,
    pub(super) ask: &'a Ask,
    pub(super) parent: Vec<ParentStep>,
    pub(super) child: Vec<ChildStep>,
    pub(super) first: Vec<(Slot, NamespaceKind)>,
    pub(super) slots: usize,
    /// The network namespace, if one is joined.
    network: Option<Slot>,
    /// The mount namespace, if one is joined at the end.
    pub(super) mounts: Option<Slot>,
    /// Whether the child has waited for what the parent does after the clone.
    has_awaited: bool,
    /// Whether the child joins the v1 sides of its cgroup itself.
    joins_itself: bool,
    /// Whether the child has entered the network namespace that is made aside.
    has_network: bool,
    /// See [`Builder::can_mount_late`].
    pub(super) mounts_late: bool,
}

impl<'a> Builder<'a> {
    pub(super) fn new(spec: &'a Spec, host: &'a Host, ask: &'a Ask) -> Builder<'a> {
        let parent = Vec::with_capacity(16);
        let child = Vec::with_capacity(96);
        let mut builder = Builder {
            spec,
            host,
            ask,
            parent,
            child,
            first: Vec::new(),
            slots: 0,
            network: None,
            mounts: None,
            has_awaited: false,
            joins_itself: false,
            has_network: false,
            mounts_late: false,
        };
        builder.mounts_late = builder.can_mount_late();
        builder
    }

    pub(super) fn slot(&mut self) -> Slot {
        self.slots += 1;
        Slot(self.slots - 1)
    }

    pub(super) fn creates(&self, kind: NamespaceKind) -> bool {
        self.spec.linux.creates(kind)
    }

    /// The capabilities that can be granted: the specification wants no failure for the others.
    pub(super) fn capabilities(&self) -> Capabilities {
        let asked = self.possible();
        if self.spec.linux.namespaces.iter().any(|n| n.kind == NamespaceKind::User) {
            return asked;
        }
        let had = self.host.capabilities;
        Capabilities {
            bounding: asked.bounding,
            effective: asked.effective & had,
            inheritable: asked.inheritable & had,
            permitted: asked.permitted & had,
            ambient: asked.ambient & had,
        }
    }

    /// What is asked for, without what the kernel refuses to everybody: a capability that is not
    /// both permitted and inheritable cannot be ambient (capabilities(7)).
    fn possible(&self) -> Capabilities {
        let asked = self.spec.process.capabilities;
        let ambient = asked.ambient & asked.permitted & asked.inheritable;
        Capabilities { ambient, ..asked }
    }

    /// The capabilities that are asked for and cannot be granted.
    pub(super) fn withheld(&self) -> Withheld {
        let all =
            |sets: Capabilities| sets.effective | sets.inheritable | sets.permitted | sets.ambient;
        let asked = self.spec.process.capabilities;
        Withheld {
            lacking: all(self.possible()) & !all(self.capabilities()),
            not_ambient: asked.ambient & !self.possible().ambient,
        }
    }

    /// A path of the host: absolute, or from the bundle.
    pub(super) fn host_path(&self, path: &Path) -> PathBuf {
        self.ask.bundle.join(path)
    }

    /// What the parent does before the clone.
    pub(super) fn prepare(&mut self, cgroup: Option<&Location>) {
        let spec = self.spec;
        let has_user = self.has_user();
        for namespace in &spec.linux.namespaces {
            let Some(path) = &namespace.path else { continue };
            let slot = self.slot();
            let (kind, path) = (namespace.kind, path.clone());
            self.parent.push(ParentStep::OpenNamespace { slot, kind, path });
            let is_network = kind == NamespaceKind::Network;
            let gets_devices = is_network && !spec.linux.net_devices.is_empty();
            if is_network {
                self.network = Some(slot);
            }
            if spec.linux.sets_parameters_of(kind) || gets_devices {
                self.parent.push(ParentStep::RefuseOwnNamespace { slot, kind });
            }
            if has_user {
                self.first.push((slot, kind));
            } else if kind == NamespaceKind::Pid {
                // A process cannot change its own pid namespace, only that of its children.
                self.parent.push(ParentStep::EnterPidNamespace { slot });
            } else if kind == NamespaceKind::Mount {
                // Paths of the host are needed until the end.
                self.mounts = Some(slot);
            } else {
                self.child.push(ChildStep::JoinNamespace { slot, kind });
            }
        }
        if self.host.is_privileged {
            // Namespaces of the host can be entered only before the user namespace is.
            self.first.sort_by_key(|(_, kind)| *kind == NamespaceKind::User);
        }
        if let Console::Socket(path) = &self.ask.console {
            self.parent.push(ParentStep::ConnectConsole { path: self.host_path(path) });
        }
        self.connect_pidfd();
        if self.ask.begin == Begin::OnStart {
            self.parent.push(ParentStep::ListenForStart);
        }
        if let Some(cgroup) = cgroup {
            let is_on_v2 = cgroup.versions().any(|version| version == Version::V2);
            if !self.clones_first() {
                self.parent.push(ParentStep::CreateCgroup);
                self.give_cgroup();
            } else if is_on_v2 && self.ask.cgroup_driver != CgroupDriver::Systemd {
                self.parent.push(ParentStep::CreateUnifiedCgroup);
            }
        }
        self.make_rdt_group();
    }

    /// Whether the cgroup is made after the clone. systemd moves a process into a scope that it
    /// makes. On cgroup v1 a process can't be cloned into its groups, and making them takes as long
    /// as all namespaces and mounts, which the child makes at the same time.
    fn clones_first(&self) -> bool {
        self.ask.cgroup_driver == CgroupDriver::Systemd || self.host.cgroups.mode() != Mode::V2
    }

    fn has_user(&self) -> bool {
        self.spec.linux.namespaces.iter().any(|n| n.kind == NamespaceKind::User)
    }

    /// Whether the network namespace, the slowest of all, is made while both sides do the rest. A
    /// user namespace has to be there first, and then the clone makes both; and so it does where
    /// the parent moves devices there, and where children are born in a pid namespace that is
    /// joined: then the kernel lets the runtime have no thread.
    fn makes_network_aside(&self) -> bool {
        let joins_pids = |n: &Namespace| n.kind == NamespaceKind::Pid && n.path.is_some();
        self.creates(NamespaceKind::Network)
            && !self.has_user()
            && !self.spec.linux.namespaces.iter().any(joins_pids)
            && self.spec.linux.net_devices.is_empty()
    }

    /// The child is in its network namespace after this. Asked for by everything that may need it;
    /// the first one waits.
    pub(super) fn enter_network(&mut self) {
        if self.makes_network_aside() && !self.has_network {
            self.has_network = true;
            self.child.push(ChildStep::EnterNetwork);
        }
    }

    pub(super) fn connect_pidfd(&mut self) {
        if let Some(path) = &self.ask.pidfd_socket {
            self.parent.push(ParentStep::ConnectPidfd { path: self.host_path(path) });
        }
    }

    pub(super) fn send_pidfd(&mut self) {
        if self.ask.pidfd_socket.is_some() {
            self.parent.push(ParentStep::SendPidfd);
        }
    }

    /// Only where the container sees a group of its own and may write to it, and never on v1, where
    /// that would not be safe.
    fn give_cgroup(&mut self) {
        let spec = self.spec;
        let writes = spec.mounts.iter().any(|mount| {
            let is_there = mount.destination == Path::new("sys/fs/cgroup");
            let is_read_only = mount.options.set & libc::MOUNT_ATTR_RDONLY != 0;
            mount.kind == MountKind::Cgroup && is_there && !is_read_only
        });
        let is_v2 = self.host.cgroups.mode() == Mode::V2;
        let sees_own = self.creates(NamespaceKind::Cgroup);
        if !(writes && is_v2 && sees_own && self.host.is_machine_root()) {
            return;
        }
        match self.spec.linux.host_uid(spec.process.user.uid) {
            // It is root's already.
            None | Some(0) => {}
            Some(uid) => self.parent.push(ParentStep::GiveCgroup { uid }),
        }
    }

    pub(super) fn make_rdt_group(&mut self) {
        if let Some(group) = super::rdt::group(self) {
            self.parent.push(ParentStep::MakeRdtGroup(group));
        }
    }

    /// The clone, and what both sides do until the child has its namespaces and its cgroup.
    pub(super) fn enter(&mut self, cgroup: Option<&Location>) {
        let linux = &self.spec.linux;
        // Both show the cgroup and the time of whoever unshares them, so the child unshares them
        // itself, after it has joined its cgroup.
        let late = |kind| matches!(kind, NamespaceKind::Cgroup | NamespaceKind::Time);
        let created = linux.namespaces.iter().filter(|n| n.path.is_none()).map(|n| n.kind);
        let is_aside = self.makes_network_aside();
        let created = created.filter(|kind| !(is_aside && *kind == NamespaceKind::Network));
        let namespaces = created.filter(|kind| !late(*kind)).collect();
        self.parent.push(ParentStep::Clone { namespaces, first: self.first.clone() });
        if is_aside {
            self.parent.push(ParentStep::MakeNetwork);
        }
        if let Some(cgroup) = cgroup {
            if self.ask.cgroup_driver == CgroupDriver::Systemd {
                self.parent.push(ParentStep::StartScope);
            }
            if self.clones_first() {
                self.parent.push(ParentStep::CreateCgroup);
                self.give_cgroup();
            }
            self.join_cgroup(cgroup);
        }
        self.admit();
        self.parent.push(ParentStep::Proceed);
        if self.records_early() {
            self.parent.extend([ParentStep::WriteRecord, ParentStep::Proceed]);
        }
        let is_early = self.awaits_early();
        if is_early {
            self.has_awaited = true;
            self.await_cgroup();
        }
        // Before the process is root of its user namespace and cannot be looked into any more: its
        // files in procfs belong to the host's root then, and so does the one with the offsets.
        if self.creates(NamespaceKind::Time) {
            let offsets = linux.time_offsets.clone();
            self.child.push(ChildStep::UnshareTime { offsets });
        }
        if self.has_user() {
            self.child.push(ChildStep::BecomeRoot);
        }
        self.child.push(ChildStep::NewSession);
        if is_early && self.creates(NamespaceKind::Cgroup) {
            self.child.push(ChildStep::UnshareCgroup);
        }
        if self.creates(NamespaceKind::Network) && !is_aside {
            self.child.push(ChildStep::RaiseLoopback);
        }
        if let Some(name) = &self.spec.hostname {
            self.child.push(ChildStep::SetHostname { name: name.clone() });
        }
        if let Some(name) = &self.spec.domainname {
            self.child.push(ChildStep::SetDomainname { name: name.clone() });
        }
    }

    /// What the parent does to the first process once that is in its cgroup.
    fn admit(&mut self) {
        let linux = &self.spec.linux;
        if let Some(group) = super::rdt::group(self) {
            self.parent.push(super::rdt::join(&group));
        }
        if self.creates(NamespaceKind::User) {
            let maps = |maps: &[IdMap]| maps.to_vec();
            self.parent.push(ParentStep::MapIds {
                uid: maps(&linux.uid_mappings),
                gid: maps(&linux.gid_mappings),
            });
        }
        for device in &linux.net_devices {
            let (device, slot) = (device.clone(), self.network);
            self.parent.push(ParentStep::MoveInterface { device, slot });
        }
        if let Some(score) = self.spec.process.oom_score_adj {
            self.parent.push(ParentStep::OomScore { score });
        }
    }

    /// Whether what the parent does is needed before the mounts. Where it is not, both sides work
    /// at the same time: on cgroup v1, making and joining takes as long as all mounts together.
    fn awaits_early(&self) -> bool {
        self.has_user()
            || self.spec.mounts.iter().any(|mount| match &mount.kind {
                MountKind::Bind { id_mapping, .. } => id_mapping.is_some(),
                // What it holds is charged to the cgroup.
                MountKind::Filesystem { copy_up, .. } => *copy_up == Tmpcopyup::Yes,
                MountKind::Cgroup => false,
            })
    }

    /// Whether the child mounts what shows its network namespace and its cgroup when everything
    /// else is mounted, so that both can be made until then. Hooks see all mounts.
    fn can_mount_late(&self) -> bool {
        !self.awaits_early() && !self.has_early_hooks() && super::mounts::can_be_late(self)
    }

    fn has_early_hooks(&self) -> bool {
        let hooks = &self.spec.hooks;
        let early = [HookKind::Prestart, HookKind::CreateRuntime, HookKind::CreateContainer];
        early.into_iter().any(|kind| !hooks.of(kind).is_empty())
    }

    /// The child's cgroup is there and joined after this. Asked for by everything that needs it;
    /// the first one waits.
    pub(super) fn await_parent(&mut self) {
        if self.has_awaited {
            return;
        }
        self.has_awaited = true;
        self.await_cgroup();
        if self.creates(NamespaceKind::Cgroup) {
            self.child.push(ChildStep::UnshareCgroup);
        }
    }

    /// What the parent does so that the child gets into its cgroup.
    pub(super) fn join_cgroup(&mut self, cgroup: &Location) {
        self.joins_itself = cgroup.versions().any(|version| version == Version::V1);
        self.parent.push(match self.joins_itself {
            true => ParentStep::OfferCgroup,
            false => ParentStep::JoinCgroup,
        });
    }

    /// The child is in its cgroup after this.
    pub(super) fn await_cgroup(&mut self) {
        self.child.push(ChildStep::AwaitParent);
        if self.joins_itself {
            self.child.push(ChildStep::JoinCgroup);
        }
    }

    /// Whether the record is written while the child still works, so that neither side waits for
    /// the other but for a moment before the exec. Somebody who was promised a container that is
    /// ready, or a hook that may fail, needs the other order.
    fn records_early(&self) -> bool {
        self.ask.begin == Begin::AtOnce
            && self.ask.pidfd_socket.is_none()
            && !self.has_early_hooks()
            && self.spec.hooks.of(HookKind::StartContainer).is_empty()
    }

    pub(super) fn hooks_before_pivot(&mut self) {
        let hooks = &self.spec.hooks;
        if !hooks.prestart.is_empty() || !hooks.create_runtime.is_empty() {
            self.child.push(ChildStep::AwaitHooks);
            self.parent.push(ParentStep::AwaitNamespaces);
            for kind in [HookKind::Prestart, HookKind::CreateRuntime] {
                let hooks = hooks.of(kind).to_vec();
                if !hooks.is_empty() {
                    self.parent.push(ParentStep::RunHooks { kind, hooks });
                }
            }
            self.parent.push(ParentStep::Proceed);
        }
        self.child_hooks(HookKind::CreateContainer);
    }

    pub(super) fn child_hooks(&mut self, kind: HookKind) {
        let hooks = self.spec.hooks.of(kind).to_vec();
        if !hooks.is_empty() {
            self.child.push(ChildStep::RunHooks { kind, hooks });
        }
    }

    /// From a finished container to its program.
    pub(super) fn last(&mut self) {
        if !self.records_early() {
            self.parent.extend([ParentStep::AwaitReady, ParentStep::WriteRecord]);
            self.send_pidfd();
            self.parent.push(ParentStep::Proceed);
            self.child.push(ChildStep::Ready);
        }
        self.child.push(ChildStep::AwaitParent);
        match self.ask.begin {
            Begin::OnStart => self.child.push(ChildStep::AwaitStart),
            Begin::AtOnce => self.parent.push(ParentStep::AwaitExec),
        }
        self.child_hooks(HookKind::StartContainer);
        self.execute();
    }

    pub(super) fn execute(&mut self) {
        let process = &self.spec.process;
        self.child.push(ChildStep::Exec(Program {
            args: process.args.clone(),
            env: process.env.clone(),
            uid: process.user.uid,
            capabilities: self.capabilities(),
            filter: self.spec.linux.seccomp.clone(),
            limits: super::identity::limits(self).0,
            listen_fds: self.ask.listen_fds,
            no_new_privileges: process.no_new_privileges,
        }));
    }
}
