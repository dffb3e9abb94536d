//! The steps: one variant a kernel action, each with all it needs to be done and to be printed.

use std::ffi::{CStr, CString};
use std::fmt;
use std::path::PathBuf;

use crate::seccomp::Filter;
use crate::spec::{
    Capabilities, Device, DeviceKind, Hook, HookKind, IdMap, MountOptions, NamespaceKind,
    OptionText, Propagation, Rlimit, Scheduler, Tmpcopyup,
};
use crate::sys::creds::CapSets;

/// A descriptor that one step opens and another uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(pub usize);

/// What the runtime does, outside of the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParentStep {
    /// Opens a namespace to join, and checks on the descriptor that it is of this kind.
    OpenNamespace { slot: Slot, kind: NamespaceKind, path: PathBuf },
    /// Lets the next child be born in a pid namespace.
    EnterPidNamespace { slot: Slot },
    /// Opens a live container by its first process, and checks that the pid is still that process.
    OpenContainer { slot: Slot, pid: i32, start_ticks: u64 },
    /// Enters namespaces of a live container; for pid namespaces: lets the next child do so.
    EnterNamespaces { slot: Slot, kinds: Vec<NamespaceKind> },
    /// Opens the cgroup of a live container.
    OpenCgroup,
    /// Clones a mount tree of the host, detached, for a child that may not look it up itself.
    CloneTree { slot: Slot, path: PathBuf, recursive: bool },
    /// Connects to whoever wants the terminal's master.
    ConnectConsole { path: PathBuf },
    /// Makes the socket on which `start` is awaited.
    ListenForStart,
    /// Lets systemd make a scope with the container's first process in it.
    StartScope,
    /// Makes the cgroup in each hierarchy and writes its limits.
    CreateCgroup,
    /// Starts the container's first process. With namespaces to enter `first`, a process between
    /// enters them and then clones it, so that what is created is owned by the user namespace.
    Clone { namespaces: Vec<NamespaceKind>, first: Vec<(Slot, NamespaceKind)> },
    /// Puts it into its cgroup.
    JoinCgroup,
    /// Writes the id maps of its user namespace.
    MapIds { uid: Vec<IdMap>, gid: Vec<IdMap> },
    /// Gives a cloned tree other owners.
    MapTree { slot: Slot, uid: Vec<IdMap>, gid: Vec<IdMap>, recursive: bool },
    /// Sets how eagerly the kernel's OOM killer takes it.
    OomScore { score: i32 },
    /// Lets it go on.
    Proceed,
    /// Waits until its namespaces and mounts exist.
    AwaitNamespaces,
    /// Runs hooks in the runtime's namespaces.
    RunHooks { kind: HookKind, hooks: Vec<Hook> },
    /// Waits until only the exec is left to do.
    AwaitReady,
    /// Writes the container's record. The first process goes on only when it is there, so a runtime
    /// that is killed leaves either both or none.
    WriteRecord,
    /// Waits until the program was executed.
    AwaitExec,
}

/// Where a mount goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Relative to the container's root; without `.` and `..`.
    pub path: PathBuf,
    /// How it is found.
    pub finding: Finding,
}

/// How a mount's place is found below the root's descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Links are followed and cannot leave the root. What is missing is made, as a directory or a
    /// file according to what is mounted. Nothing is mounted inside procfs except on the few files
    /// that containers hide by custom.
    MakeMissing,
    /// A directory that is reached without any link: for filesystems that the runtime itself
    /// trusts later (procfs, sysfs).
    NoLinks,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A path of the host, looked up by the child.
    HostTree { path: PathBuf, recursive: bool },
    /// A tree that the parent cloned.
    ClonedTree { slot: Slot, path: PathBuf, recursive: bool },
    /// A new filesystem.
    Filesystem {
        kind: CString,
        source: Option<CString>,
        parameters: Vec<(CString, Option<CString>)>,
        copy_up: Tmpcopyup,
    },
}

/// The program that is executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Arguments, the program first. Never empty.
    pub args: Vec<CString>,
    /// Environment; HOME is added from the container's /etc/passwd if it is missing.
    pub env: Vec<CString>,
    /// Whose HOME it is.
    pub uid: u32,
    /// The capabilities that it starts with.
    pub capabilities: Capabilities,
    /// The filter of system calls that it starts with.
    pub filter: Option<Filter>,
    /// Whether it can never gain privileges; without that, only a privileged process may load a
    /// filter, so it is loaded before the capabilities are dropped.
    pub no_new_privileges: bool,
}

impl Program {
    /// The capability sets that are in force after the exec's preparation.
    pub fn cap_sets(&self) -> CapSets {
        CapSets {
            effective: self.capabilities.effective,
            permitted: self.capabilities.permitted,
            inheritable: self.capabilities.inheritable,
        }
    }
}

/// What the container's first process does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChildStep {
    /// Waits for `Proceed`.
    AwaitParent,
    /// Enters a namespace that exists.
    JoinNamespace { slot: Slot, kind: NamespaceKind },
    /// Enters namespaces of a live container, all at once.
    JoinNamespaces { slot: Slot, kinds: Vec<NamespaceKind> },
    /// Takes the root directory as it is for the container's.
    UseRoot,
    /// Takes uid and gid 0 of the user namespace.
    BecomeRoot,
    /// Leads a session of its own.
    NewSession,
    /// Makes a time namespace, sets its clocks and enters it.
    UnshareTime { offsets: Vec<(String, i64, u32)> },
    /// Makes a cgroup namespace whose root is the container's cgroup.
    UnshareCgroup,
    /// Names the host.
    SetHostname { name: CString },
    /// Names the NIS domain.
    SetDomainname { name: CString },
    /// Sets the propagation of all mounts that were copied from the host.
    Propagate { propagation: Propagation },
    /// Clones the root filesystem's tree.
    OpenRoot { path: PathBuf },
    /// Takes the root filesystem's tree that the parent cloned.
    TakeRoot { slot: Slot, path: PathBuf },
    /// Attaches the root filesystem, so that it can become the root.
    AttachRoot,
    /// Mounts.
    Mount { content: Content, target: Target, options: MountOptions },
    /// Makes a symbolic link, unless the name is taken.
    Link { path: PathBuf, target: CString },
    /// Makes a device node.
    Node(Device),
    /// Binds the host's device node of the same path, after checking that it is that device.
    BindNode(Device),
    /// Makes a directory, if it is missing: the program's working directory.
    MakeDirectory { path: PathBuf },
    /// Makes a terminal, hands its master over and puts the other side on 0, 1, 2.
    Terminal { console_size: Option<(u16, u16)>, bind: bool },
    /// Tells the parent that hooks can run, and waits for it.
    AwaitHooks,
    /// Runs hooks in this process's namespaces.
    RunHooks { kind: HookKind, hooks: Vec<Hook> },
    /// Sets a kernel parameter below /proc/sys, through a procfs that nobody else has.
    Sysctl { path: CString, value: CString },
    /// Makes the mount on a path read-only, but not the mounts below it.
    ReadonlyMount { path: PathBuf },
    /// Makes a path read-only, with all that is below it.
    ReadonlyPath { path: PathBuf },
    /// Hides a path.
    MaskPath { path: PathBuf },
    /// Makes the root filesystem the root, and lets go of the host's.
    PivotRoot,
    /// The same without pivot_root.
    MoveRoot,
    /// Changes the root without a mount namespace.
    ChangeRoot { path: PathBuf },
    /// Makes the root's mount read-only.
    ReadonlyRoot,
    /// Sets the root's propagation for the container's life.
    PropagateRoot { propagation: Propagation },
    /// Joins a new session keyring.
    NewKeyring { name: CString },
    /// Sets the execution domain.
    Personality { domain: u32 },
    /// Sets the scheduling policy.
    Schedule(Scheduler),
    /// Sets the I/O priority.
    IoPriority { class: u16, level: u16 },
    /// Sets the NUMA memory policy.
    MemoryPolicy { mode: i32, nodes: Vec<u64> },
    /// Sets a resource limit.
    Limit(Rlimit),
    /// Sets the file mode creation mask.
    Umask { mask: u32 },
    /// Gives 0, 1, 2 to the user, so that it can open them by /dev/stdin and its like.
    OwnStdio { uid: u32 },
    /// Asks for an AppArmor profile at exec.
    AppArmor { profile: CString },
    /// Removes capabilities from the bounding set: all but these.
    BoundCapabilities { keep: u64 },
    /// Takes the user's ids; a user namespace may forbid to set groups, and then there are none.
    BecomeUser { uid: u32, gid: u32, groups: Vec<u32> },
    /// Sets the other four capability sets, and keeps what the exec needs until then.
    SetCapabilities { capabilities: Capabilities, has_late_filter: bool },
    /// Gives up privileges by exec for ever.
    NoNewPrivileges,
    /// Goes to the working directory, and checks that it is inside the root.
    ChangeDirectory { path: CString },
    /// Finds the program, so that a missing one is known before the start.
    FindProgram,
    /// Closes every descriptor but 0, 1, 2, the preserved ones and those of the two last steps.
    CloseDescriptors,
    /// Tells the parent that only the exec is left.
    Ready,
    /// Waits for `start`.
    AwaitStart,
    /// Forgets the runtime's executable, drops the capability for that, and executes the program.
    Exec(Program),
}

impl fmt::Display for ParentStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParentStep::OpenNamespace { kind, path, slot } => {
                write!(f, "open {kind} namespace {} as {slot}", path.display())
            }
            ParentStep::EnterPidNamespace { slot } => write!(f, "enter pid namespace {slot}"),
            ParentStep::OpenContainer { slot, pid, .. } => {
                write!(f, "open the container of pid {pid} as {slot}")
            }
            ParentStep::EnterNamespaces { slot, kinds } => {
                write!(f, "enter namespaces of {slot}:")?;
                kinds.iter().try_for_each(|kind| write!(f, " {kind}"))
            }
            ParentStep::OpenCgroup => f.write_str("open cgroup"),
            ParentStep::CloneTree { slot, path, recursive } => {
                let what = if *recursive { "tree" } else { "mount" };
                write!(f, "clone {what} {} as {slot}", path.display())
            }
            ParentStep::ConnectConsole { path } => {
                write!(f, "connect to console socket {}", path.display())
            }
            ParentStep::ListenForStart => f.write_str("listen for start"),
            ParentStep::StartScope => f.write_str("start scope"),
            ParentStep::CreateCgroup => f.write_str("create cgroup"),
            ParentStep::Clone { namespaces, first } => {
                f.write_str("clone with new namespaces:")?;
                namespaces.iter().try_for_each(|kind| write!(f, " {kind}"))?;
                let mut words = ["; enter first"].into_iter().chain(std::iter::repeat(" and"));
                first.iter().try_for_each(|(slot, kind)| {
                    write!(f, "{} {kind} namespace {slot}", words.next().unwrap_or_default())
                })
            }
            ParentStep::JoinCgroup => f.write_str("join cgroup"),
            ParentStep::MapIds { uid, gid } => {
                write!(f, "map user ids {} and group ids {}", Maps(uid), Maps(gid))
            }
            ParentStep::MapTree { slot, uid, gid, recursive } => {
                let prefix = if *recursive { "r" } else { "" };
                write!(f, "{prefix}idmap {slot} with {} and {}", Maps(uid), Maps(gid))
            }
            ParentStep::OomScore { score } => write!(f, "set oom_score_adj {score}"),
            ParentStep::Proceed => f.write_str("let the container go on"),
            ParentStep::AwaitNamespaces => f.write_str("await namespaces"),
            ParentStep::RunHooks { kind, hooks } => write!(f, "run {kind} hooks{}", Paths(hooks)),
            ParentStep::WriteRecord => f.write_str("write record"),
            ParentStep::AwaitReady => f.write_str("await the container being ready"),
            ParentStep::AwaitExec => f.write_str("await exec"),
        }
    }
}

impl fmt::Display for ChildStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use ChildStep as S;
        match self {
            S::AwaitParent => f.write_str("await the runtime"),
            S::JoinNamespace { slot, kind } => write!(f, "join {kind} namespace {slot}"),
            S::JoinNamespaces { slot, kinds } => {
                write!(f, "join namespaces of {slot}:")?;
                kinds.iter().try_for_each(|kind| write!(f, " {kind}"))
            }
            S::UseRoot => f.write_str("use the root"),
            S::BecomeRoot => f.write_str("become root of the user namespace"),
            S::NewSession => f.write_str("lead a new session"),
            S::UnshareTime { offsets } => {
                f.write_str("unshare time namespace")?;
                offsets.iter().try_for_each(|(c, s, n)| write!(f, " {c}={s}s{n}ns"))
            }
            S::UnshareCgroup => f.write_str("unshare cgroup namespace"),
            S::SetHostname { name } => write!(f, "set hostname {}", Text(name)),
            S::SetDomainname { name } => write!(f, "set domainname {}", Text(name)),
            S::NewKeyring { name } => write!(f, "join new session keyring {}", Text(name)),
            S::AwaitHooks => f.write_str("await hooks of the runtime"),
            S::RunHooks { kind, hooks } => write!(f, "run {kind} hooks{}", Paths(hooks)),
            S::Ready => f.write_str("report ready"),
            S::AwaitStart => f.write_str("await start"),
            S::FindProgram => f.write_str("find the program"),
            S::CloseDescriptors => f.write_str("close all other descriptors"),
            S::Exec(program) => {
                f.write_str("exec")?;
                program.args.iter().try_for_each(|arg| write!(f, " {}", Text(arg)))?;
                match &program.filter {
                    Some(filter) => {
                        write!(f, " under a filter of {} instructions", filter.program.len())
                    }
                    None => Ok(()),
                }
            }
            S::Personality { .. }
            | S::Schedule(_)
            | S::IoPriority { .. }
            | S::MemoryPolicy { .. }
            | S::Limit(_)
            | S::Umask { .. }
            | S::OwnStdio { .. }
            | S::AppArmor { .. }
            | S::BoundCapabilities { .. }
            | S::BecomeUser { .. }
            | S::SetCapabilities { .. }
            | S::NoNewPrivileges
            | S::ChangeDirectory { .. } => self.fmt_identity(f),
            _ => self.fmt_filesystem(f),
        }
    }
}

impl ChildStep {
    fn fmt_filesystem(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use ChildStep as S;
        match self {
            S::Propagate { propagation } => write!(f, "propagate / {propagation}"),
            S::OpenRoot { path } => write!(f, "open root {}", path.display()),
            S::TakeRoot { slot, path } => write!(f, "take root {} from {slot}", path.display()),
            S::AttachRoot => f.write_str("attach root"),
            S::Mount { content, target, options } => {
                write!(f, "mount {content} on {target}{}", OptionText(options))?;
                if let Content::Filesystem { parameters, copy_up, .. } = content {
                    for (key, value) in parameters {
                        write!(f, " {}", Text(key))?;
                        if let Some(value) = value {
                            write!(f, "={}", Text(value))?;
                        }
                    }
                    if *copy_up == Tmpcopyup::Yes {
                        f.write_str(" tmpcopyup")?;
                    }
                }
                Ok(())
            }
            S::Link { path, target } => {
                write!(f, "link /{} to {}", path.display(), Text(target))
            }
            S::Node(device) => write!(f, "make node {}", DeviceText(device)),
            S::BindNode(device) => write!(f, "bind node {}", DeviceText(device)),
            S::MakeDirectory { path } => write!(f, "make directory /{}", path.display()),
            S::Terminal { bind, .. } => {
                f.write_str("open terminal")?;
                if *bind { f.write_str(" and bind it on /dev/console") } else { Ok(()) }
            }
            S::Sysctl { path, value } => write!(f, "sysctl {}={}", Text(path), Text(value)),
            S::ReadonlyMount { path } => write!(f, "make mount read-only /{}", path.display()),
            S::ReadonlyPath { path } => write!(f, "make read-only /{}", path.display()),
            S::MaskPath { path } => write!(f, "mask /{}", path.display()),
            S::PivotRoot => f.write_str("pivot root"),
            S::MoveRoot => f.write_str("move root"),
            S::ChangeRoot { path } => write!(f, "change root to {}", path.display()),
            S::ReadonlyRoot => f.write_str("make root read-only"),
            S::PropagateRoot { propagation } => write!(f, "propagate root {propagation}"),
            _ => f.write_str("unnamed step"),
        }
    }

    fn fmt_identity(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use ChildStep as S;
        match self {
            S::Personality { domain } => write!(f, "set personality {domain}"),
            S::Schedule(s) => write!(f, "set scheduler policy {} nice {}", s.policy, s.nice),
            S::IoPriority { class, level } => write!(f, "set io priority {class}/{level}"),
            S::MemoryPolicy { mode, nodes } => {
                write!(f, "set memory policy {mode:#x} nodes {nodes:x?}")
            }
            S::Limit(limit) => {
                write!(f, "limit {} {}:{}", limit.name, Ceiling(limit.soft), Ceiling(limit.hard))
            }
            S::Umask { mask } => write!(f, "set umask {mask:04o}"),
            S::OwnStdio { uid } => write!(f, "give standard descriptors to user {uid}"),
            S::AppArmor { profile } => write!(f, "set AppArmor profile {}", Text(profile)),
            S::BoundCapabilities { keep } => write!(f, "bound capabilities {keep:#x}"),
            S::BecomeUser { uid, gid, groups } => {
                write!(f, "become user {uid} group {gid}")?;
                groups.iter().try_for_each(|group| write!(f, " +{group}"))
            }
            S::SetCapabilities { capabilities: c, .. } => write!(
                f,
                "set capabilities effective {:#x} permitted {:#x} inheritable {:#x} ambient {:#x}",
                c.effective, c.permitted, c.inheritable, c.ambient
            ),
            S::NoNewPrivileges => f.write_str("set no_new_privs"),
            S::ChangeDirectory { path } => write!(f, "change directory to {}", Text(path)),
            _ => f.write_str("unnamed step"),
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.path.display())?;
        if self.finding == Finding::NoLinks { f.write_str(" (no links)") } else { Ok(()) }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |recursive: &bool| if *recursive { "rbind" } else { "bind" };
        match self {
            Content::HostTree { path, recursive } => {
                write!(f, "{} {}", word(recursive), path.display())
            }
            Content::ClonedTree { slot, path, recursive } => {
                write!(f, "{} {} from {slot}", word(recursive), path.display())
            }
            Content::Filesystem { kind, source, .. } => {
                write!(f, "{}", Text(kind))?;
                match source {
                    Some(source) if source != kind => write!(f, " {}", Text(source)),
                    _ => Ok(()),
                }
            }
        }
    }
}

struct Text<'a>(&'a CStr);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.to_bytes().escape_ascii())
    }
}

struct Ceiling(u64);

impl fmt::Display for Ceiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == u64::MAX { f.write_str("unlimited") } else { write!(f, "{}", self.0) }
    }
}

struct Maps<'a>(&'a [IdMap]);

impl fmt::Display for Maps<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("the container's");
        }
        for (i, map) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "," };
            write!(f, "{separator}{}:{}:{}", map.container_id, map.host_id, map.size)?;
        }
        Ok(())
    }
}

struct Paths<'a>(&'a [Hook]);

impl fmt::Display for Paths<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|hook| write!(f, " {}", hook.path.display()))
    }
}

struct DeviceText<'a>(&'a Device);

impl fmt::Display for DeviceText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = self.0;
        write!(f, "/{} ", device.path.display())?;
        match device.kind {
            DeviceKind::Char(major, minor) => write!(f, "c {major}:{minor}")?,
            DeviceKind::Block(major, minor) => write!(f, "b {major}:{minor}")?,
            DeviceKind::Fifo => f.write_str("p")?,
        }
        write!(f, " {:04o}", device.mode)?;
        if (device.uid, device.gid) == (0, 0) {
            return Ok(());
        }
        write!(f, " {}:{}", device.uid, device.gid)
    }
}
