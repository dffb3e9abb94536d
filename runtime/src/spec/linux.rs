//! The Linux part: namespaces, id maps, devices, paths, kernel parameters.

use std::ffi::CString;
use std::fmt;
use std::path::PathBuf;

use oci_spec::runtime as oci;

use crate::seccomp;

use super::{
    IntelRdt, NEEDS_MOUNTS, NetDevice, Violations, c_path, c_string, inside, kernel, net_device,
    rdt,
};

/// The Linux part.
#[derive(Clone, Debug, Default)]
pub struct Linux {
    /// Namespaces that are created or joined, at most one of each kind.
    pub namespaces: Vec<Namespace>,
    /// Users of a new user namespace.
    pub uid_mappings: Vec<IdMap>,
    /// Groups of a new user namespace.
    pub gid_mappings: Vec<IdMap>,
    /// Devices besides the default ones.
    pub devices: Vec<Device>,
    /// `cgroupsPath` as given.
    pub cgroups_path: Option<PathBuf>,
    /// What the cgroup limits; decided by `cgroup::decide`.
    pub resources: Option<oci::LinuxResources>,
    /// Propagation of the root filesystem.
    pub rootfs_propagation: Option<Propagation>,
    /// Paths that are hidden, relative to the container's root.
    pub masked_paths: Vec<PathBuf>,
    /// Paths that are read-only, relative to the container's root.
    pub readonly_paths: Vec<PathBuf>,
    /// Kernel parameters: path below /proc/sys, and value.
    pub sysctl: Vec<(CString, CString)>,
    /// Execution domain (`personality(2)`).
    pub personality: Option<u32>,
    /// Offsets of a new time namespace: clock, seconds, nanoseconds.
    pub time_offsets: Vec<(String, i64, u32)>,
    /// The filter of system calls.
    pub seccomp: Option<seccomp::Filter>,
    /// The SELinux context of the container's own mounts.
    pub mount_label: Option<CString>,
    /// Shares of caches and memory bandwidth.
    pub intel_rdt: Option<IntelRdt>,
    /// Interfaces that are moved into the network namespace, by name.
    pub net_devices: Vec<NetDevice>,
    /// NUMA memory policy: mode with flags, and a bit a node.
    pub memory_policy: Option<(i32, Vec<u64>)>,
}

impl Linux {
    /// Whether a namespace of this kind is created (not joined, not the runtime's own).
    pub fn creates(&self, kind: NamespaceKind) -> bool {
        self.namespaces.iter().any(|n| n.kind == kind && n.path.is_none())
    }

    /// Whether anything can be mounted for the container. Without a mount namespace of its own,
    /// that is done in the runtime's or a joined one, and no user namespace has a right to those.
    pub fn can_mount(&self) -> bool {
        self.creates(NamespaceKind::Mount)
            || !self.namespaces.iter().any(|n| n.kind == NamespaceKind::User)
    }

    /// Who a user of the container is on the host; `None` in a joined user namespace, whose map is
    /// not known.
    pub fn host_uid(&self, uid: u32) -> Option<u32> {
        if !self.namespaces.iter().any(|n| n.kind == NamespaceKind::User) {
            return Some(uid);
        }
        self.uid_mappings.iter().find_map(|map| {
            let offset = uid.checked_sub(map.container_id).filter(|offset| *offset < map.size)?;
            map.host_id.checked_add(offset)
        })
    }

    /// Whether a kernel parameter of this kind of namespace is set.
    pub fn sets_parameters_of(&self, kind: NamespaceKind) -> bool {
        let owner = |path: &CString| kernel::sysctl_namespace(&path.to_string_lossy());
        self.sysctl.iter().any(|(path, _)| owner(path) == Some(kind))
    }
}

/// A kind of namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NamespaceKind {
    /// Ids and capabilities. First, because it owns the others.
    User,
    /// Process ids.
    Pid,
    /// Network.
    Network,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Host and domain name.
    Uts,
    /// Roots of the cgroup hierarchies.
    Cgroup,
    /// Offsets of the monotonic and boot-time clocks.
    Time,
    /// Mounts. Last, because paths of the host are needed before.
    Mount,
}

impl NamespaceKind {
    /// The kernel's `CLONE_NEW*` flag.
    pub fn flag(self) -> u64 {
        let flag = match self {
            NamespaceKind::User => libc::CLONE_NEWUSER,
            NamespaceKind::Pid => libc::CLONE_NEWPID,
            NamespaceKind::Network => libc::CLONE_NEWNET,
            NamespaceKind::Ipc => libc::CLONE_NEWIPC,
            NamespaceKind::Uts => libc::CLONE_NEWUTS,
            NamespaceKind::Cgroup => libc::CLONE_NEWCGROUP,
            NamespaceKind::Time => 0x80,
            NamespaceKind::Mount => libc::CLONE_NEWNS,
        };
        flag as u64
    }

    /// The name of its file in /proc/PID/ns.
    pub fn file(self) -> &'static str {
        match self {
            NamespaceKind::User => "user",
            NamespaceKind::Pid => "pid",
            NamespaceKind::Network => "net",
            NamespaceKind::Ipc => "ipc",
            NamespaceKind::Uts => "uts",
            NamespaceKind::Cgroup => "cgroup",
            NamespaceKind::Time => "time",
            NamespaceKind::Mount => "mnt",
        }
    }

    fn from_oci(typ: oci::LinuxNamespaceType) -> NamespaceKind {
        match typ {
            oci::LinuxNamespaceType::Mount => NamespaceKind::Mount,
            oci::LinuxNamespaceType::Cgroup => NamespaceKind::Cgroup,
            oci::LinuxNamespaceType::Uts => NamespaceKind::Uts,
            oci::LinuxNamespaceType::Ipc => NamespaceKind::Ipc,
            oci::LinuxNamespaceType::User => NamespaceKind::User,
            oci::LinuxNamespaceType::Pid => NamespaceKind::Pid,
            oci::LinuxNamespaceType::Network => NamespaceKind::Network,
            oci::LinuxNamespaceType::Time => NamespaceKind::Time,
        }
    }
}

impl fmt::Display for NamespaceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NamespaceKind::Network => "network",
            NamespaceKind::Mount => "mount",
            other => other.file(),
        })
    }
}

/// A namespace to create or to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its kind.
    pub kind: NamespaceKind,
    /// The one to join, or `None` to create one.
    pub path: Option<PathBuf>,
}

/// One range of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdMap {
    /// First id inside.
    pub container_id: u32,
    /// First id outside.
    pub host_id: u32,
    /// How many ids. Never 0.
    pub size: u32,
}

/// A device node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Where, relative to the container's root. Never empty.
    pub path: PathBuf,
    /// What kind of node.
    pub kind: DeviceKind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A kind of node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// A character device with major and minor number.
    Char(u32, u32),
    /// A block device with major and minor number.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
}

/// Propagation of a mount tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Propagation {
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED` or `MS_UNBINDABLE`.
    pub flag: u64,
    /// Whether mounts below are changed too.
    pub recursive: bool,
}

/// The word for a propagation flag.
pub(super) fn propagation_name(flag: u64) -> &'static str {
    match flag {
        libc::MS_SHARED => "shared",
        libc::MS_SLAVE => "slave",
        libc::MS_UNBINDABLE => "unbindable",
        _ => "private",
    }
}

impl fmt::Display for Propagation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = if self.recursive { "r" } else { "" };
        write!(f, "{prefix}{}", propagation_name(self.flag))
    }
}

/// Validates the Linux part.
pub(super) fn validate(oci: Option<&oci::Linux>, found: &mut Violations) -> Linux {
    let Some(oci) = oci else { return Linux::default() };
    let namespaces = namespaces(oci.namespaces().as_deref().unwrap_or_default(), found);
    let mut linux = Linux {
        namespaces,
        uid_mappings: id_maps("linux.uidMappings", oci.uid_mappings().as_ref(), found),
        gid_mappings: id_maps("linux.gidMappings", oci.gid_mappings().as_ref(), found),
        cgroups_path: oci.cgroups_path().clone(),
        resources: oci.resources().clone(),
        rootfs_propagation: propagation(oci.rootfs_propagation().as_deref(), found),
        masked_paths: paths("linux.maskedPaths", oci.masked_paths().as_deref(), found),
        readonly_paths: paths("linux.readonlyPaths", oci.readonly_paths().as_deref(), found),
        personality: oci.personality().as_ref().and_then(|p| kernel::personality(p, found)),
        seccomp: oci.seccomp().as_ref().and_then(|profile| filter(profile, found)),
        mount_label: mount_label(oci, found),
        intel_rdt: oci.intel_rdt().as_ref().map(|rdt| rdt::validate(rdt, found)),
        memory_policy: oci.memory_policy().as_ref().and_then(|p| kernel::memory_policy(p, found)),
        ..Linux::default()
    };
    linux.net_devices = net_device::validate(oci, &linux, found);
    linux.devices = devices(oci.devices().as_deref().unwrap_or_default(), found);
    linux.sysctl = kernel::sysctls(oci, &linux, found);
    linux.time_offsets = kernel::time_offsets(oci, &linux, found);
    check_user_namespace(&linux, found);
    let (can_mount, is_own) = (linux.can_mount(), linux.creates(NamespaceKind::Mount));
    for (field, used) in [
        ("linux.maskedPaths", !can_mount && !linux.masked_paths.is_empty()),
        ("linux.readonlyPaths", !can_mount && !linux.readonly_paths.is_empty()),
        ("linux.rootfsPropagation", !is_own && linux.rootfs_propagation.is_some()),
        ("linux.devices", !can_mount && !linux.devices.is_empty()),
        ("linux.mountLabel", !is_own && linux.mount_label.is_some()),
    ] {
        if used {
            found.add(field, NEEDS_MOUNTS);
        }
    }
    linux
}

fn mount_label(oci: &oci::Linux, found: &mut Violations) -> Option<CString> {
    let label = oci.mount_label().as_deref().filter(|label| !label.is_empty())?;
    c_string("linux.mountLabel", label.as_bytes(), found)
}

fn namespaces(oci: &[oci::LinuxNamespace], found: &mut Violations) -> Vec<Namespace> {
    let mut list: Vec<Namespace> = Vec::with_capacity(oci.len());
    for namespace in oci {
        let kind = NamespaceKind::from_oci(namespace.typ());
        if list.iter().any(|n| n.kind == kind) {
            found.add("linux.namespaces", format!("has {kind} twice"));
        }
        let path = namespace.path().clone().filter(|path| !path.as_os_str().is_empty());
        if let Some(path) = &path {
            if !path.is_absolute() {
                found.add("linux.namespaces", format!("has {path:?}, which is not absolute"));
            }
            c_path("linux.namespaces", path, found);
        }
        list.push(Namespace { kind, path });
    }
    list.sort_by_key(|n| n.kind);
    list
}

/// Validates ranges of ids.
pub(super) fn id_maps(
    field: &str,
    oci: Option<&Vec<oci::LinuxIdMapping>>,
    found: &mut Violations,
) -> Vec<IdMap> {
    let mut maps = Vec::new();
    for map in oci.into_iter().flatten() {
        let end = |first: u32| first.checked_add(map.size().saturating_sub(1));
        if map.size() == 0 || end(map.host_id()).is_none() || end(map.container_id()).is_none() {
            found.add(field, format!("has a range of size {} that holds no ids", map.size()));
        }
        maps.push(IdMap {
            container_id: map.container_id(),
            host_id: map.host_id(),
            size: map.size(),
        });
    }
    maps
}

fn filter(profile: &oci::LinuxSeccomp, found: &mut Violations) -> Option<seccomp::Filter> {
    let compiled = seccomp::compile(profile);
    let tell = |(property, why)| found.add(format!("linux.seccomp.{property}"), why);
    compiled.map_err(|problems: Vec<(String, String)>| problems.into_iter().for_each(tell)).ok()
}

fn check_user_namespace(linux: &Linux, found: &mut Violations) {
    let mapped = !linux.uid_mappings.is_empty() || !linux.gid_mappings.is_empty();
    if linux.creates(NamespaceKind::User) {
        if linux.uid_mappings.is_empty() || linux.gid_mappings.is_empty() {
            found.add("linux", "creates a user namespace without uidMappings and gidMappings");
        }
    } else if mapped && !linux.namespaces.iter().any(|n| n.kind == NamespaceKind::User) {
        found.add("linux.uidMappings", "needs a user namespace in linux.namespaces");
    }
}

fn propagation(text: Option<&str>, found: &mut Violations) -> Option<Propagation> {
    let (flag, recursive) = match text? {
        "" => return None,
        "private" => (libc::MS_PRIVATE, false),
        "rprivate" => (libc::MS_PRIVATE, true),
        "slave" => (libc::MS_SLAVE, false),
        "rslave" => (libc::MS_SLAVE, true),
        "shared" => (libc::MS_SHARED, false),
        "rshared" => (libc::MS_SHARED, true),
        "unbindable" => (libc::MS_UNBINDABLE, false),
        "runbindable" => (libc::MS_UNBINDABLE, true),
        other => {
            found.add("linux.rootfsPropagation", format!("is {other:?}, which is no propagation"));
            return None;
        }
    };
    Some(Propagation { flag, recursive })
}

fn paths(field: &str, oci: Option<&[String]>, found: &mut Violations) -> Vec<PathBuf> {
    let mut list = Vec::new();
    for (i, path) in oci.unwrap_or_default().iter().enumerate() {
        let path = PathBuf::from(path);
        let clean = inside(&path);
        if !path.is_absolute() || clean.as_os_str().is_empty() {
            found.add(format!("{field}[{i}]"), format!("is no absolute path below /: {path:?}"));
        } else if c_path(&format!("{field}[{i}]"), &clean, found).is_some() {
            list.push(clean);
        }
    }
    list
}

fn devices(oci: &[oci::LinuxDevice], found: &mut Violations) -> Vec<Device> {
    let numbered = oci.iter().enumerate();
    numbered.filter_map(|(i, device)| one_device(i, device, found)).collect()
}

fn one_device(index: usize, oci: &oci::LinuxDevice, found: &mut Violations) -> Option<Device> {
    let field = format!("linux.devices[{index}]");
    let path = inside(oci.path());
    if !oci.path().is_absolute() || path.as_os_str().is_empty() {
        found.add(format!("{field}.path"), format!("is no absolute path: {:?}", oci.path()));
        return None;
    }
    c_path(&format!("{field}.path"), &path, found)?;
    let mut number = |name: &str, value: i64| {
        let number = u32::try_from(value).ok();
        if number.is_none() {
            found.add(format!("{field}.{name}"), format!("is {value}"));
        }
        number
    };
    let kind = match oci.typ() {
        oci::LinuxDeviceType::C | oci::LinuxDeviceType::U => {
            DeviceKind::Char(number("major", oci.major())?, number("minor", oci.minor())?)
        }
        oci::LinuxDeviceType::B => {
            DeviceKind::Block(number("major", oci.major())?, number("minor", oci.minor())?)
        }
        oci::LinuxDeviceType::P => DeviceKind::Fifo,
        oci::LinuxDeviceType::A => {
            found.add(format!("{field}.type"), "is \"a\", which is no kind of node");
            return None;
        }
    };
    Some(Device {
        path,
        kind,
        mode: oci.file_mode().unwrap_or(0o666) & 0o7777,
        uid: oci.uid().unwrap_or(0),
        gid: oci.gid().unwrap_or(0),
    })
}
