//! Services: a number of tasks that is kept, and rolled forward from one deployment to the next.

use std::sync::Arc;

use loadline_model::{KeyValue, TaskArn};
use rpds::RedBlackTreeSetSync;
use serde::{Deserialize, Serialize};

use super::{DefinitionKey, PlacementConstraint, PlacementStrategy, ServiceKey, Sha256Hash};
use crate::command::PlacementFailure;

/// Most events that a service remembers (ECS's own bound).
pub const EVENTS_MAX: usize = 100;
/// Most deployments that a service remembers, finished ones included.
pub const DEPLOYMENTS_MAX: usize = 20;

/// A service as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Cluster and name.
    pub key: ServiceKey,
    /// Whether it is alive.
    pub status: ServiceStatus,
    /// How its tasks are counted.
    pub scheduling: Scheduling,
    /// How many tasks it shall have; of a DAEMON the number of nodes that match.
    pub desired_count: u32,
    /// The limits of a rolling update, and the circuit breaker.
    pub config: DeploymentConfig,
    /// Seconds after a task's start in which its failing health checks are ignored.
    pub health_check_grace_s: Option<u32>,
    /// Bind, besides those of the definition.
    pub constraints: Vec<PlacementConstraint>,
    /// Best effort.
    pub strategy: Vec<PlacementStrategy>,
    /// Whether running tasks move where the service spreads and some place has too few.
    #[serde(default)]
    pub rebalancing: Rebalancing,
    /// Tasks that were started in a better place and are not healthy yet: so many are there beyond
    /// the desired count.
    #[serde(default)]
    pub moving: u32,
    /// What was said of its tasks' network, with `awsvpc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<AwsVpc>,
    /// Where the tags of its tasks come from.
    pub propagate_tags: ServiceTags,
    /// `enableECSManagedTags`: tasks get `aws:ecs:clusterName` and `aws:ecs:serviceName`.
    pub managed_tags: bool,
    /// `enableExecuteCommand` of its tasks.
    #[serde(default)]
    pub execute_command: bool,
    /// Its own tags.
    pub tags: Vec<KeyValue>,
    /// Unix milliseconds, as all times here.
    pub created_at_ms: u64,
    /// The ARN of whoever created it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Of the parameters that it was created with.
    pub fingerprint: Sha256Hash,
    /// The newest (PRIMARY) first, then those that still have tasks or are remembered.
    pub deployments: Vec<Deployment>,
    /// The newest first, at most [`EVENTS_MAX`].
    pub events: Vec<ServiceEvent>,
    /// Whether the last event said that it is steady.
    pub steady: bool,
    /// Slows down launches that keep failing.
    pub throttle: Throttle,
    /// Why the last launch found no place, while that lasts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unplaced: Vec<PlacementFailure>,
}

impl Service {
    /// The deployment that new tasks are of.
    #[must_use]
    pub fn primary(&self) -> &Deployment {
        self.deployments.first().expect("a service has at least one deployment")
    }
}

/// ECS's `awsvpcConfiguration`: kept as it was given, and selects nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwsVpc {
    /// At least one.
    pub subnets: Vec<String>,
    /// Perhaps none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_groups: Vec<String>,
}

/// ECS's `availabilityZoneRebalancing`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rebalancing {
    /// Tasks stay where they were placed.
    #[default]
    Disabled,
    /// Tasks move from crowded places to those with too few.
    Enabled,
}

impl Rebalancing {
    /// ECS's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "DISABLED",
            Self::Enabled => "ENABLED",
        }
    }
}

/// ECS's service status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceStatus {
    /// Kept at its count.
    Active,
    /// Deleted; its tasks are being stopped.
    Draining,
    /// Deleted and without tasks; its name is free again.
    Inactive,
}

impl ServiceStatus {
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

/// ECS's `schedulingStrategy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scheduling {
    /// As many tasks as wanted, anywhere.
    Replica,
    /// One task on each ACTIVE node that matches the constraints.
    Daemon,
}

impl Scheduling {
    /// ECS's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Replica => "REPLICA",
            Self::Daemon => "DAEMON",
        }
    }
}

/// ECS's `deploymentConfiguration`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentConfig {
    /// Healthy tasks never fall below this share of the desired count, rounded up.
    pub minimum_healthy_percent: u32,
    /// Tasks never rise above this share of the desired count, rounded down.
    pub maximum_percent: u32,
    /// What happens when new tasks keep failing.
    pub breaker: Breaker,
    /// How many failures are too many.
    #[serde(default)]
    pub threshold: Threshold,
    /// Whether a healthy task ends the count of failures.
    #[serde(default)]
    pub reset: BreakerReset,
}

/// ECS's `thresholdConfiguration`: how many failures break a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Threshold {
    /// So many.
    Count(u32),
    /// So much of the desired count, but never fewer than 3 and never more than 200.
    BoundedPercent(u32),
    /// So much of the desired count, but never fewer than 1.
    UnboundedPercent(u32),
}

impl Default for Threshold {
    fn default() -> Self {
        Self::BoundedPercent(50)
    }
}

/// ECS's `resetOnHealthyTask`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BreakerReset {
    /// The count begins anew.
    #[default]
    OnHealthyTask,
    /// Every failure of the deployment counts.
    Never,
}

impl DeploymentConfig {
    /// ECS's defaults: 100/200 for REPLICA, 0/100 for DAEMON, no breaker.
    #[must_use]
    pub const fn default_of(scheduling: Scheduling) -> Self {
        let (minimum_healthy_percent, maximum_percent) = match scheduling {
            Scheduling::Replica => (100, 200),
            Scheduling::Daemon => (0, 100),
        };
        Self {
            minimum_healthy_percent,
            maximum_percent,
            breaker: Breaker::Off,
            threshold: Threshold::BoundedPercent(50),
            reset: BreakerReset::OnHealthyTask,
        }
    }
}

/// ECS's `deploymentCircuitBreaker`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Breaker {
    /// A deployment is tried for ever.
    Off,
    /// After enough failures it is FAILED, and no more of its tasks are started.
    Fail,
    /// And the last completed deployment's definition is deployed again.
    RollBack,
}

/// A service's `propagateTags`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceTags {
    /// `NONE`
    None,
    /// `SERVICE`
    Service,
    /// `TASK_DEFINITION`
    TaskDefinition,
}

/// One deployment of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// `ecs-svc/` and 19 digits: its tasks' `startedBy`.
    pub id: String,
    /// The last part of the ARNs of its service deployment and its service revision: 16 letters
    /// and digits.
    pub revision_id: String,
    /// What its tasks run.
    pub definition: DefinitionKey,
    /// How far it is.
    pub rollout: Rollout,
    /// The same for people.
    pub rollout_reason: String,
    /// How many of its tasks failed to start, since one last ran.
    pub failed_tasks: u32,
    /// Whether it came back to undo a newer one.
    pub is_rollback: bool,
    /// What undoes it, or did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Undo>,
    /// When it first reached its steady state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at_ms: Option<u64>,
    /// When it began.
    pub created_at_ms: u64,
    /// When its state last changed.
    pub updated_at_ms: u64,
    /// Whether it has, or may yet get, tasks: it is then listed by DescribeServices.
    pub live: bool,
}

/// How a deployment is undone: the last completed one comes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    /// Who asked for it.
    pub cause: UndoCause,
    /// The `revision_id` of what comes back.
    pub revision_id: String,
    /// How far that is.
    pub rollout: Rollout,
    /// When it began.
    pub since_ms: u64,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
}

/// Why a deployment is undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UndoCause {
    /// The circuit breaker.
    Breaker,
    /// StopServiceDeployment.
    Request,
}

/// ECS's `rolloutState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rollout {
    /// Tasks are being replaced.
    InProgress,
    /// It reached its steady state.
    Completed,
    /// The circuit breaker ended it.
    Failed,
}

impl Rollout {
    /// ECS's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "IN_PROGRESS",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
        }
    }
}

/// A line of a service's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceEvent {
    /// Unique.
    pub id: String,
    /// When.
    pub at_ms: u64,
    /// In ECS's words, `(service NAME) …`.
    pub message: String,
}

/// Launches that keep failing before RUNNING come at growing distances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttle {
    /// Failures in a row.
    pub failures: u32,
    /// No launch before this time.
    pub not_before_ms: u64,
}

/// A service with what is derived from its tasks.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceEntry {
    /// What is stored.
    pub record: Arc<Service>,
    /// Its tasks that are not STOPPED.
    pub tasks: RedBlackTreeSetSync<TaskArn>,
    /// Of them, those that are RUNNING.
    pub running_tasks: u32,
    /// Of them, those before RUNNING.
    pub pending_tasks: u32,
}
