//! The steps: one variant a kernel action, with all it needs to be done. `text.rs` prints them.

use std::ffi::CString;
use std::path::PathBuf;

use crate::seccomp::Filter;
use crate::spec::{
    Capabilities, Device, Hook, HookKind, IdMap, MountOptions, NamespaceKind, NetDevice,
    Propagation, Rlimit, Scheduler, Tmpcopyup,
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
    /// Refuses a namespace that is the runtime's own: a container must not change the host.
    RefuseOwnNamespace { slot: Slot, kind: NamespaceKind },
    /// Lets the next child be born in a pid namespace.
    EnterPidNamespace { slot: Slot },
    /// Opens a live container by its first process, and checks that the pid is still that process.
    OpenContainer { slot: Slot, pid: i32, start_ticks: u64 },
    /// Opens the root of its first process, where only that leads to it.
    OpenRootOf { slot: Slot, pid: i32, start_ticks: u64 },
    /// Enters namespaces of a live container; for pid namespaces: lets the next child do so.
    EnterNamespaces { slot: Slot, kinds: Vec<NamespaceKind> },
    /// Opens the cgroup of a live container.
    OpenCgroup,
    /// Clones a mount tree of the host, detached, for a child that may not look it up itself.
    CloneTree { slot: Slot, path: PathBuf, recursive: bool },
    /// Connects to whoever wants the terminal's master.
    ConnectConsole { path: PathBuf },
    /// Connects to whoever wants the first process as a descriptor.
    ConnectPidfd { path: PathBuf },
    /// Sends it there.
    SendPidfd,
    /// Makes the socket on which `start` is awaited.
    ListenForStart,
    /// Lets systemd make a scope with the container's first process in it.
    StartScope,
    /// Begins to make a network namespace, with its loopback interface up, while both sides go on.
    MakeNetwork,
    /// Makes the v2 side of the cgroup, beside v1 hierarchies, so that the clone goes into it.
    CreateUnifiedCgroup,
    /// Makes the cgroup in each hierarchy and writes its limits.
    CreateCgroup,
    /// Gives the v2 cgroup to the host's user whom the container's process runs as.
    GiveCgroup { uid: u32 },
    /// Starts the container's first process. With namespaces to enter `first`, a process between
    /// enters them and then clones it, so that what is created is owned by the user namespace.
    Clone { namespaces: Vec<NamespaceKind>, first: Vec<(Slot, NamespaceKind)> },
    /// Puts it into its cgroup.
    JoinCgroup,
    /// Opens what [`ChildStep::JoinCgroup`] writes to; it gets there with the next
    /// [`ParentStep::Proceed`].
    OfferCgroup,
    /// Writes the id maps of its user namespace.
    MapIds { uid: Vec<IdMap>, gid: Vec<IdMap> },
    /// Gives a cloned tree other owners.
    MapTree { slot: Slot, uid: Vec<IdMap>, gid: Vec<IdMap>, recursive: bool },
    /// Makes groups of resctrl for it.
    MakeRdtGroup(RdtGroup),
    /// Puts it into groups of resctrl: that of its class, and that for monitoring.
    JoinRdtGroups { groups: Vec<PathBuf> },
    /// Runs on these CPUs only, and with the runtime the child that it clones.
    UseCpus { cpus: Vec<usize> },
    /// Moves an interface of the host into its network namespace, which may be a joined one.
    MoveInterface { device: NetDevice, slot: Option<Slot> },
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
    /// Notes by which mark its mounts are found and taken away, that lie in the runtime's mount
    /// namespace or in a joined one.
    NoteMounts { namespace: Option<Slot> },
}

/// A group of resctrl, and one for monitoring in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RdtGroup {
    /// The class's directory.
    pub path: PathBuf,
    /// Whether it is made.
    pub make: RdtMake,
    /// What its `schemata` is made to say, or must say already.
    pub schemata: Vec<String>,
    /// The directory of the monitoring group.
    pub monitor: Option<PathBuf>,
}

/// Whether a group of resctrl is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RdtMake {
    /// It is, and ends with the container.
    Own,
    /// If it is missing, and it stays; one that is there must have these shares.
    Shared,
    /// It must be there.
    Never,
}

/// Where a mount goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Relative to the container's root; without `.` and `..`.
    pub path: PathBuf,
    /// How it is found.
    pub finding: Finding,
}

/// Where the root filesystem is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootPlace {
    /// On the host's root, of a mount namespace of the container's own.
    Root,
    /// In such a namespace at its path on the host, where hooks look for it.
    Path(PathBuf),
    /// At its path in a mount namespace that others use: on a small mount with the mark, which
    /// keeps what is mounted here from being seen elsewhere, and with which all of it goes.
    Marked(PathBuf),
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
    /// A path of the host, looked up by the child when it is mounted: a cgroup.
    HostTree { path: PathBuf, recursive: bool },
    /// A tree that was opened or cloned before: cloned by the parent, or opened by the child while
    /// nothing of the container was attached.
    OpenedTree { slot: Slot, path: PathBuf, recursive: bool },
    /// A new filesystem.
    Filesystem {
        kind: CString,
        source: Option<CString>,
        parameters: Vec<(CString, Option<CString>)>,
        copy_up: Tmpcopyup,
    },
}

/// When an opened tree is cloned. A tree in which the container's root is attached would be cloned
/// with that, and with a procfs on it whose parts nobody closes or hides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cloning {
    /// At once.
    Now,
    /// When it is mounted: mountinfo lists mounts in the order in which they were made (Linux 6.8).
    WhenMounted,
    /// At once if it is the host's root, where the container's is attached.
    NowIfRoot,
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
    /// Limits that the runtime itself could not work under: set last.
    pub limits: Vec<Rlimit>,
    /// How many of the descriptors from 3 on are sockets that a service manager opened for it
    /// (sd_listen_fds(3)).
    pub listen_fds: u32,
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
    /// Joins the v1 sides of its cgroup, as one thread that moves itself: for any other move the
    /// kernel waits for a grace period of RCU first (`cgroup_threadgroup_rwsem`), 5 to 15 ms.
    JoinCgroup,
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
    /// Enters the network namespace that the runtime makes, once it is there.
    EnterNetwork,
    /// Makes a cgroup namespace whose root is the container's cgroup.
    UnshareCgroup,
    /// Brings up the loopback interface of the network namespace that the clone has made.
    RaiseLoopback,
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
    /// Opens a mount tree of the host that is mounted later.
    OpenTree { slot: Slot, path: PathBuf, recursive: bool, cloning: Cloning },
    /// Attaches the root filesystem, so that it can become the root.
    AttachRoot { at: RootPlace },
    /// Mounts.
    Mount { content: Content, target: Target, options: MountOptions },
    /// Makes a symbolic link, unless the name is taken.
    Link { path: PathBuf, target: CString },
    /// Makes a device node.
    Node(Device),
    /// Binds the host's device node of the same path, after checking that it is that device.
    BindNode(Device),
    /// Puts the container's /dev/null in the place of the host's on 0, 1 and 2.
    OwnNull,
    /// Makes a directory, if it is missing: the program's working directory.
    MakeDirectory { path: PathBuf },
    /// Makes a terminal, hands its master over and puts the other side on 0, 1, 2.
    Terminal { console_size: Option<(u16, u16)>, bind: bool, in_foreground: bool },
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
    /// Changes the root without a mount namespace, where nothing is mounted.
    ChangeRoot { path: PathBuf },
    /// Changes the root to that of a live container.
    EnterRootOf { slot: Slot },
    /// Changes the root without a mount namespace, to the one that was attached.
    EnterRoot,
    /// Makes the root's mount read-only.
    ReadonlyRoot,
    /// Sets the root's propagation for the container's life.
    PropagateRoot { propagation: Propagation },
    /// Joins a new session keyring.
    NewKeyring { name: CString },
    /// Sets the execution domain.
    Personality { domain: u32 },
    /// Lets it run on all CPUs of its cgroup, whatever those of the runtime are.
    UseAllCpus,
    /// Lets it run on these CPUs only.
    UseCpus { cpus: Vec<usize> },
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
    /// Asks for an SELinux label at exec.
    SelinuxLabel { label: CString },
    /// Labels the root of a mount.
    LabelMount { path: PathBuf, label: CString },
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
    /// Goes to the working directory, and checks that it is inside the root. Where root may not go
    /// (on a network filesystem that trusts no root), the user may later.
    ChangeDirectory { path: CString },
    /// The same as the user, if root could not.
    ChangeDirectoryAsUser { path: CString },
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
