//! The kernel's controllers and their names on either version of the interface.

use std::fmt;

/// A resource controller of the kernel.
///
/// Freezing, device rules and killing are controllers on v1 only; on v2 they are part of each
/// group and need nothing enabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Controller {
    /// CPU time: weight and quota.
    Cpu,
    /// CPU accounting; part of every v2 group.
    Cpuacct,
    /// Which CPUs and memory nodes may be used.
    Cpuset,
    /// Memory and swap.
    Memory,
    /// Device access; an eBPF program on v2.
    Devices,
    /// Freezing; part of every v2 group.
    Freezer,
    /// Block I/O: `blkio` on v1, `io` on v2.
    Io,
    /// Number of tasks.
    Pids,
    /// Huge pages.
    Hugetlb,
    /// Class id on packets; v1 only.
    NetCls,
    /// Priority per network interface; v1 only.
    NetPrio,
    /// Performance events by group.
    PerfEvent,
    /// RDMA handles and objects.
    Rdma,
    /// Scalar resources without a controller of their own.
    Misc,
}

impl Controller {
    /// Every controller, in the order in which groups are made and joined.
    pub const ALL: [Controller; 14] = [
        Controller::Cpu,
        Controller::Cpuacct,
        Controller::Cpuset,
        Controller::Memory,
        Controller::Devices,
        Controller::Freezer,
        Controller::Io,
        Controller::Pids,
        Controller::Hugetlb,
        Controller::NetCls,
        Controller::NetPrio,
        Controller::PerfEvent,
        Controller::Rdma,
        Controller::Misc,
    ];

    /// The name in v1 mount options and `/proc/<pid>/cgroup`.
    pub fn v1_name(self) -> &'static str {
        match self {
            Controller::Cpu => "cpu",
            Controller::Cpuacct => "cpuacct",
            Controller::Cpuset => "cpuset",
            Controller::Memory => "memory",
            Controller::Devices => "devices",
            Controller::Freezer => "freezer",
            Controller::Io => "blkio",
            Controller::Pids => "pids",
            Controller::Hugetlb => "hugetlb",
            Controller::NetCls => "net_cls",
            Controller::NetPrio => "net_prio",
            Controller::PerfEvent => "perf_event",
            Controller::Rdma => "rdma",
            Controller::Misc => "misc",
        }
    }

    /// The name in `cgroup.controllers` of v2.
    pub fn v2_name(self) -> &'static str {
        match self {
            Controller::Io => "io",
            other => other.v1_name(),
        }
    }

    /// The controller of a v1 mount option.
    pub fn from_v1_name(name: &str) -> Option<Controller> {
        Controller::ALL.into_iter().find(|c| c.v1_name() == name)
    }

    /// The controller of a word in `cgroup.controllers`.
    pub fn from_v2_name(name: &str) -> Option<Controller> {
        Controller::ALL.into_iter().find(|c| c.v2_name() == name)
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.v1_name())
    }
}

/// Whether this is the name of a controller, or `name=…` of a v1 hierarchy without one.
pub fn is_controller(name: &str) -> bool {
    name.starts_with("name=") || Controller::from_v1_name(name).is_some()
}

/// A set of controllers.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Controllers(u32);

impl Controllers {
    /// No controller.
    pub const NONE: Controllers = Controllers(0);

    /// Whether the set holds nothing.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `controller` is in the set.
    pub fn contains(self, controller: Controller) -> bool {
        self.0 & (1 << controller as u32) != 0
    }

    /// The set with `controller` added.
    #[must_use]
    pub fn with(self, controller: Controller) -> Controllers {
        Controllers(self.0 | (1 << controller as u32))
    }

    /// What is in this set and not in `other`.
    #[must_use]
    pub fn without(self, other: Controllers) -> Controllers {
        Controllers(self.0 & !other.0)
    }

    /// What is in both sets.
    #[must_use]
    pub fn and(self, other: Controllers) -> Controllers {
        Controllers(self.0 & other.0)
    }

    /// The members, in [`Controller::ALL`]'s order.
    pub fn iter(self) -> impl Iterator<Item = Controller> {
        Controller::ALL.into_iter().filter(move |c| self.contains(*c))
    }

    /// The set named by the words of a `cgroup.controllers` file. Words of newer kernels that
    /// this program has no use for are left out.
    pub fn from_v2_text(text: &str) -> Controllers {
        text.split_ascii_whitespace().filter_map(Controller::from_v2_name).collect()
    }
}

impl FromIterator<Controller> for Controllers {
    fn from_iter<I: IntoIterator<Item = Controller>>(controllers: I) -> Controllers {
        controllers.into_iter().fold(Controllers::NONE, Controllers::with)
    }
}

impl fmt::Display for Controllers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, controller) in self.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{controller}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Controllers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Controllers({self})")
    }
}
