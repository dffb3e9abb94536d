//! Tasks as the controller knows them.

use loadline_model::network::{Addresses, NetworkBinding};
use loadline_model::{
    ContainerName, ContainerStatus, DesiredStatus, HealthStatus, InstanceArn, KeyValue, Resources,
    StopCode, TaskArn, TaskStatus,
};
use serde::{Deserialize, Serialize};

use super::{ClusterName, DefinitionKey, ServiceName, TaskOverrides, Text};

/// A task. What it runs is its definition with `overrides` laid over it
/// ([`super::TaskDefinition::task_spec`]); both never change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Who it is.
    pub arn: TaskArn,
    /// The cluster.
    pub cluster: ClusterName,
    /// The node, for ever (law 9).
    pub node: InstanceArn,
    /// What it runs.
    pub definition: DefinitionKey,
    /// RunTask's overrides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overrides: Option<Box<TaskOverrides>>,
    /// What it takes from its node's line, fixed at placement.
    pub reserved: Resources,
    /// What is wanted of it: only ever from RUNNING to STOPPED.
    pub desired: DesiredStatus,
    /// Where it stands; only ever forward.
    pub last_status: TaskStatus,
    /// Whether the node may still have something of it: it then holds its reservation and is part
    /// of the node's desired state. Ends with the node's own report of STOPPED, not with a
    /// verdict of ours about a node that is silent.
    pub held: bool,
    /// Counts changes of this record from 1 (ECS `version`).
    pub version: u64,
    /// The newest report of the node that was taken; 0 before the first.
    pub report_version: u64,
    /// `family:NAME`, `service:NAME`, or what RunTask said.
    pub group: Text,
    /// The service that it belongs to; `started_by` then is the deployment's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// RunTask's `startedBy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_by: Option<Text>,
    /// `enableExecuteCommand`: whether programs may be run in its containers.
    #[serde(default, skip_serializing_if = "is_false")]
    pub execute_command: bool,
    /// The service's scale-in and deployments leave it alone until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protected_until_ms: Option<u64>,
    /// The task's tags, propagated ones included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<KeyValue>,
    /// One for each container of the definition, in its order.
    pub containers: Vec<TaskContainer>,
    /// Why it stopped, once it is stopping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_code: Option<StopCode>,
    /// The same for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_reason: Option<Text>,
    /// When it was placed, Unix milliseconds, as all times here.
    pub created_at_ms: u64,
    /// When its node looked for the first of its images, by the node's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_started_at_ms: Option<u64>,
    /// When the last of them was there or given up, by the same clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_stopped_at_ms: Option<u64>,
    /// When it reached RUNNING.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at_ms: Option<u64>,
    /// When it began to stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopping_at_ms: Option<u64>,
    /// When its last container had ended, by its node's clock (ECS `executionStoppedAt`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_stopped_at_ms: Option<u64>,
    /// When the controller learned that it is STOPPED; it is kept for an hour from then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at_ms: Option<u64>,
}

/// For what is left out of a record where it is not so.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's own signature")]
const fn is_false(value: &bool) -> bool {
    !*value
}

impl Task {
    /// Whether the service's scale-in and deployments must leave it alone at this time.
    #[must_use]
    pub fn is_protected(&self, now_ms: u64) -> bool {
        self.protected_until_ms.is_some_and(|until_ms| now_ms < until_ms)
    }
}

/// One container of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskContainer {
    /// Its name in the task.
    pub name: ContainerName,
    /// The last part of its ARN ([`super::Scope::container_arn`]).
    pub id: Text,
    /// Where it stands.
    pub last_status: ContainerStatus,
    /// The OCI runtime's id, once it exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_id: Option<Text>,
    /// The image's digest, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<Text>,
    /// Once it has ended, if anybody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// For example `OutOfMemoryError: Container killed due to memory usage`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
    /// The host's ports that lead to it, as its node said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub network_bindings: Vec<NetworkBinding>,
    /// Its own addresses, as its node said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Addresses>,
    /// What its health check says.
    #[serde(default)]
    pub health: HealthStatus,
    /// How often its restart policy started it again.
    #[serde(default)]
    pub restarts: u32,
}
