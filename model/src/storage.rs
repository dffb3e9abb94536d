//! Volumes of a task, and where its containers see them.

use serde::{Deserialize, Serialize};

use crate::ContainerName;

/// Storage that containers of a task share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its name inside the task.
    pub name: String,
    /// Where it comes from.
    pub source: VolumeSource,
}

/// Where a volume comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumeSource {
    /// A folder or file of the host, made as a folder where it is missing.
    HostPath(String),
    /// A folder that is made with the task and removed with it.
    Task,
    /// A folder of the node that outlives its tasks, found by the volume's name.
    Shared {
        /// Whether it is made where it is missing.
        autoprovision: bool,
    },
}

/// A volume inside a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPoint {
    /// The volume's name.
    pub source_volume: String,
    /// Where the container sees it: absolute.
    pub container_path: String,
    /// Whether the container can't write to it.
    pub read_only: bool,
}

/// Every mount of another container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeFrom {
    /// Whose.
    pub source_container: ContainerName,
    /// Whether this container can't write to them; else it is as there.
    pub read_only: bool,
}
