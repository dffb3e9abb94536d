//! What a node says about a task.

use serde::{Deserialize, Serialize};

use crate::network::{Addresses, NetworkBinding};
use crate::{ContainerName, ContainerStatus, HealthStatus, StopCode, TaskArn, TaskStatus};

/// Longest reason, in characters (the ECS agent's own bound).
pub const REASON_CHARS_MAX: usize = 1024;

/// The newest state of one task on its node. A newer version replaces an older one whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskReport {
    /// Which task.
    pub task: TaskArn,
    /// Grows by at least one with every change, on disk with the ledger: an older one is stale.
    pub version: u64,
    /// Where the task stands.
    pub status: TaskStatus,
    /// Its containers, all of them.
    pub containers: Vec<ContainerReport>,
    /// Why it stopped, once it is stopping.
    pub stop_code: Option<StopCode>,
    /// The same for people, at most [`REASON_CHARS_MAX`] characters.
    pub stopped_reason: Option<String>,
    /// When the first of its images was looked for, in milliseconds since the Unix epoch.
    pub pull_started_at_ms: Option<u64>,
    /// When the last of them was there, or was given up.
    pub pull_stopped_at_ms: Option<u64>,
    /// When the task reached RUNNING.
    pub started_at_ms: Option<u64>,
    /// When it began to stop.
    pub stopping_at_ms: Option<u64>,
    /// When the last container had ended.
    pub stopped_at_ms: Option<u64>,
}

/// One container of a [`TaskReport`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerReport {
    /// Its name in the task.
    pub name: ContainerName,
    /// The id that the OCI runtime knows it by, once it exists.
    pub runtime_id: Option<String>,
    /// The digest of the image that it was made from, once known.
    pub image_digest: Option<String>,
    /// Where it stands.
    pub status: ContainerStatus,
    /// 0 to 255, or 128 + the signal that ended it. `None` before the end, and where nobody knows.
    pub exit_code: Option<i32>,
    /// For example `OutOfMemoryError: Container killed due to memory usage`.
    pub reason: Option<String>,
    /// When its process started, in milliseconds since the Unix epoch.
    pub started_at_ms: Option<u64>,
    /// When it ended.
    pub finished_at_ms: Option<u64>,
    /// What its health check says; UNKNOWN without one.
    #[serde(default)]
    pub health: HealthStatus,
    /// How often its restart policy started it again.
    #[serde(default)]
    pub restarts: u32,
    /// The host's ports that lead to it.
    pub network_bindings: Vec<NetworkBinding>,
    /// The addresses that it has of its own, if it has any.
    pub addresses: Option<Addresses>,
}

/// Cuts a reason to [`REASON_CHARS_MAX`] characters.
#[must_use]
pub fn clip_reason(reason: &str) -> String {
    reason.chars().take(REASON_CHARS_MAX).collect()
}
