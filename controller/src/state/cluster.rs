//! Clusters.

use std::sync::Arc;

use loadline_model::KeyValue;
use serde::{Deserialize, Serialize};

use super::ClusterName;

/// A cluster as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Its name, unique among the active ones.
    pub name: ClusterName,
    /// Whether it can be used.
    pub status: ClusterStatus,
    /// When it was (last) created, Unix milliseconds.
    pub created_at_ms: u64,
    /// Its tags.
    pub tags: Vec<KeyValue>,
}

/// ECS's cluster status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClusterStatus {
    /// In use.
    Active,
    /// Deleted; still described, and can be created again.
    Inactive,
}

impl ClusterStatus {
    /// ECS's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Inactive => "INACTIVE",
        }
    }
}

/// A cluster with its sums, which are derived from the other records and never stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterEntry {
    /// What is stored.
    pub record: Arc<Cluster>,
    /// Tasks whose `lastStatus` is RUNNING.
    pub running_tasks: u32,
    /// Tasks before RUNNING (PROVISIONING, PENDING, ACTIVATING).
    pub pending_tasks: u32,
    /// Tasks of any `lastStatus` but STOPPED.
    pub live_tasks: u32,
    /// Services that are not INACTIVE.
    pub services: u32,
    /// Those of them that are DRAINING.
    pub draining_services: u32,
    /// Container instances that are not INACTIVE.
    pub nodes: u32,
}
