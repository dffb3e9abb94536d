//! Nodes: ECS's container instances.

use std::sync::Arc;

use loadline_model::{InstanceArn, KeyValue, Resources, TaskArn};
use rpds::RedBlackTreeSetSync;
use serde::{Deserialize, Serialize};
use time::format_description::well_known::Rfc3339;

use super::ClusterName;
use crate::liveness;

/// A node as it is stored. Its generation is a record of its own, because it changes often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Who it is; the certificate says the same.
    pub arn: InstanceArn,
    /// The cluster.
    pub cluster: ClusterName,
    /// Whether it takes tasks.
    pub status: NodeStatus,
    /// What tasks may reserve.
    pub registered: Resources,
    /// For placement; sorted by name, each name once.
    pub attributes: Vec<NodeAttribute>,
    /// Those of them that callers put; sorted by name, each name once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub put_attributes: Vec<NodeAttribute>,
    /// The agent's own version, for people.
    pub agent_version: String,
    /// When it first registered, Unix milliseconds.
    pub registered_at_ms: u64,
    /// Counts changes of this record from 1 (ECS `version`).
    pub version: u64,
    /// Set while the node counts as lost: its tasks were given up, and it must stop them when it
    /// returns. Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_at_ms: Option<u64>,
    /// When it was declared lost of late, the newest last: see `liveness::quarantine`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub losses_ms: Vec<u64>,
    /// Set while it takes no tasks because it was lost too often; Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantined_until_ms: Option<u64>,
    /// When it became INACTIVE, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed_at_ms: Option<u64>,
    /// Its tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<KeyValue>,
    /// Whether a caller of the API registered it: no agent of ours is there, and it is never lost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub agentless: bool,
    /// As the caller who registered it said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ec2_instance_id: Option<String>,
}

/// The attribute that says in which availability zone a node is.
pub const AZ_ATTRIBUTE: &str = "ecs.availability-zone";

/// The attribute that names a node's processor.
pub const ARCHITECTURE_ATTRIBUTE: &str = "ecs.cpu-architecture";

impl Node {
    /// Its value of an attribute: empty for one that is only present, `None` where it is absent.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|attribute| attribute.name == name)?;
        Some(found.value.as_deref().unwrap_or_default())
    }

    /// Its availability zone, where it has one.
    #[must_use]
    pub fn zone(&self) -> Option<&str> {
        self.attribute(AZ_ATTRIBUTE).filter(|zone| !zone.is_empty())
    }

    /// Why it takes no tasks though it is ACTIVE and may be connected.
    #[must_use]
    pub fn quarantine_reason(&self) -> Option<String> {
        let until_ms = self.quarantined_until_ms?;
        let (flaps, minutes) = (liveness::FLAPS, liveness::FLAPS_WITHIN_MS / 60_000);
        let until = i64::try_from(until_ms / 1000).ok();
        let until = until.and_then(|s| time::OffsetDateTime::from_unix_timestamp(s).ok());
        let until = until.and_then(|at| at.format(&Rfc3339).ok());
        Some(format!(
            "it was lost {flaps} times within {minutes} minutes and takes no tasks until {}",
            until.unwrap_or_else(|| until_ms.to_string())
        ))
    }

    /// When it was removed, if it was; one from before that was noted counts from its beginning.
    #[must_use]
    pub fn inactive_since_ms(&self) -> Option<u64> {
        let since = self.removed_at_ms.unwrap_or(self.registered_at_ms);
        (self.status == NodeStatus::Inactive).then_some(since)
    }
}

/// ECS's container instance status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeStatus {
    /// Takes tasks.
    Active,
    /// Takes no new tasks.
    Draining,
    /// Deregistered: its certificate is refused from then on.
    Inactive,
}

impl NodeStatus {
    /// ECS's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Draining => "DRAINING",
            Self::Inactive => "INACTIVE",
        }
    }
}

/// A property that placement can ask for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodeAttribute {
    /// 1 to 128 of `[A-Za-z0-9_./-]`.
    pub name: String,
    /// Absent for one that is only present.
    pub value: Option<String>,
}

/// One session of a node's agent. Lives in memory only: after a start of the controller no node
/// is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Counts up over all sessions since the controller started.
    pub session: SessionId,
    /// Chosen by the agent at its start.
    pub run_id: String,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
    /// The newest generation that the agent had applied when it began.
    pub applied_generation: u64,
}

/// Which of a node's sessions is speaking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// A node with what is derived from the other records.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeEntry {
    /// What is stored.
    pub record: Arc<Node>,
    /// Of its desired state: grows by one with each change, durable, never back.
    pub generation: u64,
    /// Its agent's session, if one is alive (ECS `agentConnected`).
    pub connection: Option<Connection>,
    /// The sum of what its held tasks reserved: never above `record.registered`, unless the node
    /// came back smaller.
    pub reserved: Resources,
    /// Tasks whose `lastStatus` is RUNNING.
    pub running_tasks: u32,
    /// Tasks before RUNNING.
    pub pending_tasks: u32,
    /// Tasks of any `lastStatus` but STOPPED.
    pub live_tasks: u32,
    /// The held tasks: the node's desired state.
    pub tasks: RedBlackTreeSetSync<TaskArn>,
}

impl NodeEntry {
    /// What is left below the line.
    #[must_use]
    pub fn left(&self) -> Resources {
        self.record.registered.saturating_sub(self.reserved)
    }

    /// Whether its agent has a session now.
    #[must_use]
    pub fn agent_connected(&self) -> bool {
        self.connection.is_some()
    }
}
