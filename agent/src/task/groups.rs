//! The cgroups of tasks, and where the kernel counts a container's OOM kills.

use std::path::Path;

use loadline_model::{Resources, TaskArn};
use loadline_runtime::cgroup::{self, CgroupPath, Layout};

use crate::bundle::MemoryAccounting;
use crate::cgroups::{Cgroups, CgroupsError};
use crate::supervise::OomSettings;

/// A file that only a cgroup v1 hierarchy with the memory controller has, its root included.
const MEMORY_V1_MARK: &str = "memory.usage_in_bytes";

/// The agent's groups, and how its hierarchies are mounted.
#[derive(Debug)]
pub struct Groups {
    /// Makes and removes them.
    pub cgroups: Cgroups,
    layout: Layout,
    parent: CgroupPath,
}

/// Why the groups can't be used.
#[derive(Debug, thiserror::Error)]
pub enum GroupsError {
    /// The hierarchies can't be found, or the parent has no usable name.
    #[error("find this host's cgroups")]
    Layout(#[source] Box<cgroup::Error>),
    /// The parent can't be made.
    #[error("set up the parent cgroup")]
    Parent(#[source] Box<CgroupsError>),
}

impl Groups {
    /// Takes or makes the parent group.
    ///
    /// # Errors
    /// [`GroupsError`].
    pub fn open(
        parent: &str,
        registered: Resources,
        host: Resources,
        gives_swap: bool,
    ) -> Result<Self, GroupsError> {
        let failed = |error| GroupsError::Layout(Box::new(error));
        let layout = Layout::probe().map_err(failed)?;
        let path = format!("/{}", parent.trim_matches('/'));
        let path = CgroupPath::parse(Some(Path::new(&path)), parent).map_err(failed)?;
        let cgroups = Cgroups::open(parent, registered, host, gives_swap)
            .map_err(|error| GroupsError::Parent(Box::new(error)))?;
        Ok(Self { cgroups, layout, parent: path })
    }

    /// Where OOM kills in a container's group are counted; the group need not exist yet.
    #[must_use]
    pub fn oom(&self, arn: &TaskArn, container: &str) -> Option<OomSettings> {
        let location = self.layout.locate(&self.parent.join(arn.id()).join(container));
        if self.cgroups.memory_accounting() == MemoryAccounting::V2 {
            let mount = &self.layout.v2()?.mount_point;
            let place = location.places.iter().find(|place| place.mount_point == *mount)?;
            let counter_file = place.path().join("memory.events");
            return Some(OomSettings { counter_file, event_control_file: None });
        }
        let has_memory = |mount: &Path| mount.join(MEMORY_V1_MARK).exists();
        let place = location.places.iter().find(|place| has_memory(&place.mount_point))?;
        Some(OomSettings {
            counter_file: place.path().join("memory.oom_control"),
            event_control_file: Some(place.path().join("cgroup.event_control")),
        })
    }
}
