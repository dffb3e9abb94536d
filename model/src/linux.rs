//! What a container definition says in the kernel's terms.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{ContainerSpec, TaskSpec, VolumeSource};

/// A limit of a process, by its name in ECS (`nofile`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// One of [`ULIMIT_NAMES`].
    pub name: String,
    /// What a process has; `None` for no limit.
    pub soft: Option<u64>,
    /// What it may raise that to; `None` for no limit.
    pub hard: Option<u64>,
}

/// The names of limits (ECS `UlimitName`; getrlimit(2) has them with `RLIMIT_` in front).
pub const ULIMIT_NAMES: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// `linuxParameters`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LinuxParameters {
    /// Capabilities beside the default ones, such as `SYS_PTRACE`; `ALL` for every one.
    pub capabilities_add: Vec<String>,
    /// Capabilities of the default ones that it has not; `ALL` for every one.
    pub capabilities_drop: Vec<String>,
    /// Devices of the host.
    pub devices: Vec<Device>,
    /// Whether a small init is its first process, which passes signals on and reaps.
    pub init_process: bool,
    /// Size of `/dev/shm` in MiB.
    pub shared_memory_mib: Option<u64>,
    /// Memory file systems.
    pub tmpfs: Vec<Tmpfs>,
    /// Swap that the container may use, in MiB; none where not set.
    pub max_swap_mib: Option<u64>,
    /// How readily it swaps, 0 to 100.
    pub swappiness: Option<u64>,
}

impl LinuxParameters {
    /// Whether it asks for swap.
    #[must_use]
    pub fn swaps(&self) -> bool {
        self.max_swap_mib.is_some_and(|mib| 0 < mib)
    }
}

/// A device of the host in a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// On the host.
    pub host_path: String,
    /// In the container; as on the host where not set.
    pub container_path: Option<String>,
    /// Whether it may be read.
    pub read: bool,
    /// Whether it may be written.
    pub write: bool,
    /// Whether nodes of it may be made.
    pub mknod: bool,
}

/// A memory file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    /// Where the container sees it: absolute.
    pub container_path: String,
    /// At most so large, in MiB.
    pub size_mib: u64,
    /// As for mount(8).
    pub mount_options: Vec<String>,
}

/// Something that a task asks for and a node's owner may refuse: it reaches beyond what is the
/// task's own (design, law 11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Right {
    /// A privileged container.
    Privileged,
    /// A volume that is a path of the host.
    HostPath,
    /// The host's processes.
    HostPid,
    /// The host's IPC.
    HostIpc,
    /// Devices of the host.
    Devices,
    /// Capabilities beside the default ones.
    Capabilities,
}

impl Right {
    /// Every right.
    pub const ALL: [Self; 6] = [
        Self::Privileged,
        Self::HostPath,
        Self::HostPid,
        Self::HostIpc,
        Self::Devices,
        Self::Capabilities,
    ];

    /// Its name for people, as the agent's option takes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::HostPath => "host-path",
            Self::HostPid => "host-pid",
            Self::HostIpc => "host-ipc",
            Self::Devices => "devices",
            Self::Capabilities => "capabilities",
        }
    }

    /// The attribute of nodes that grant it.
    #[must_use]
    pub const fn attribute(self) -> &'static str {
        match self {
            Self::Privileged => "com.amazonaws.ecs.capability.privileged-container",
            Self::HostPath => "loadline.capability.host-path",
            Self::HostPid => "loadline.capability.host-pid",
            Self::HostIpc => "loadline.capability.host-ipc",
            Self::Devices => "loadline.capability.devices",
            Self::Capabilities => "loadline.capability.capabilities",
        }
    }
}

impl TaskSpec {
    /// What it asks for beyond its own.
    #[must_use]
    pub fn rights(&self) -> BTreeSet<Right> {
        let host_path = self.volumes.iter().any(|v| matches!(v.source, VolumeSource::HostPath(_)));
        let any = |of: fn(&ContainerSpec) -> bool| self.containers.iter().any(of);
        let asked = [
            (Right::Privileged, any(|c| c.privileged)),
            (Right::HostPath, host_path),
            (Right::HostPid, self.pid_mode == PidMode::Host),
            (Right::HostIpc, self.ipc_mode == IpcMode::Host),
            (Right::Devices, any(|c| !c.linux.devices.is_empty())),
            (Right::Capabilities, any(|c| !c.linux.capabilities_add.is_empty())),
        ];
        asked.into_iter().filter(|(_, asked)| *asked).map(|(right, _)| right).collect()
    }
}

/// Whose processes a container sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PidMode {
    /// Only its own.
    #[default]
    Container,
    /// Those of all containers of its task.
    Task,
    /// The host's.
    Host,
}

/// With whom a container shares System V IPC and POSIX message queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum IpcMode {
    /// With nobody (where not set).
    #[default]
    Container,
    /// With nobody, and without a /dev/shm (ECS `none`).
    None,
    /// With the other containers of its task.
    Task,
    /// With the host.
    Host,
}
