//! Commands about services.

use loadline_model::{InstanceArn, KeyValue};

use serde::Serialize;

use super::DefinitionRef;
use crate::state::{
    AwsVpc, ClusterName, DeploymentConfig, PlacementConstraint, PlacementStrategy, Rebalancing,
    Scheduling, ServiceKey, ServiceTags, TaskOverrides,
};

/// Makes a service. A name that an ACTIVE or DRAINING service has is refused, but the same call
/// again is answered with the service that it made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CreateService {
    /// Cluster and name.
    pub key: ServiceKey,
    /// What its tasks run.
    pub definition: DefinitionRef,
    /// REPLICA or DAEMON.
    pub scheduling: Scheduling,
    /// How many tasks; ignored for DAEMON, whose count is the number of matching nodes.
    pub desired_count: u32,
    /// With ECS's defaults filled in.
    pub config: DeploymentConfig,
    /// `healthCheckGracePeriodSeconds`
    pub health_check_grace_s: Option<u32>,
    /// Bind, besides those of the definition.
    pub constraints: Vec<PlacementConstraint>,
    /// Best effort; refused for DAEMON.
    pub strategy: Vec<PlacementStrategy>,
    /// Whether running tasks move where the service spreads.
    pub rebalancing: Rebalancing,
    /// With `awsvpc`, what was said of the tasks' network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<AwsVpc>,
    /// Where the tags of its tasks come from.
    pub propagate_tags: ServiceTags,
    /// `enableECSManagedTags`
    pub managed_tags: bool,
    /// `enableExecuteCommand`
    pub execute_command: bool,
    /// Its own tags.
    pub tags: Vec<KeyValue>,
    /// The ARN of whoever makes it, where that is known. No parameter: the same call of another
    /// caller is the same call.
    #[serde(skip)]
    pub by: Option<String>,
}

/// Most tasks of a service (ECS's own bound).
pub const DESIRED_COUNT_MAX: u32 = 5_000;

/// Changes a service. What is `None` stays. Another definition, or `force`, begins a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateService {
    /// Which.
    pub key: ServiceKey,
    /// How many tasks; refused for DAEMON.
    pub desired_count: Option<u32>,
    /// What its tasks run from now on.
    pub definition: Option<DefinitionRef>,
    /// The whole configuration, with what the caller left out filled in from the record.
    pub config: Option<DeploymentConfig>,
    /// `healthCheckGracePeriodSeconds`
    pub health_check_grace_s: Option<u32>,
    /// Replaces the constraints.
    pub constraints: Option<Vec<PlacementConstraint>>,
    /// Replaces the strategy.
    pub strategy: Option<Vec<PlacementStrategy>>,
    /// Whether running tasks move where the service spreads.
    pub rebalancing: Option<Rebalancing>,
    /// Another one begins a deployment.
    pub network: Option<AwsVpc>,
    /// For tasks that start from now on.
    pub propagate_tags: Option<ServiceTags>,
    /// For tasks that start from now on.
    pub managed_tags: Option<bool>,
    /// For tasks that start from now on.
    pub execute_command: Option<bool>,
    /// `forceNewDeployment`
    pub deploy: Deploy,
}

/// UpdateService's `forceNewDeployment`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deploy {
    /// Only if the definition changes.
    IfChanged,
    /// In any case.
    Force,
}

/// Undoes the deployment under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopServiceDeployment {
    /// Which service.
    pub key: ServiceKey,
    /// The last part of the service deployment's ARN.
    pub revision_id: String,
}

/// Ends a service. Refused while it wants tasks, unless forced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteService {
    /// Which.
    pub key: ServiceKey,
    /// `force`
    pub force: Force,
}

/// DeleteService's `force`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// Refuse while the desired count is above 0.
    No,
    /// Stop its tasks.
    Yes,
}

/// StartTask: as RunTask, on nodes that the caller names, without constraints and strategies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartTask {
    /// Where.
    pub cluster: ClusterName,
    /// What.
    pub definition: DefinitionRef,
    /// One task on each, 1 to 10.
    pub nodes: Vec<InstanceArn>,
    /// Laid over the definition.
    pub overrides: Option<TaskOverrides>,
    /// `None`: `family:FAMILY`.
    pub group: Option<String>,
    /// Free text to find tasks by.
    pub started_by: Option<String>,
    /// The tasks' tags.
    pub tags: Vec<KeyValue>,
    /// Where else tags come from.
    pub propagate_tags: super::PropagateTags,
    /// `enableExecuteCommand`
    pub execute_command: bool,
}

/// Moves a service on: the engine sends it to itself wherever something happened to the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reconcile {
    /// Which.
    pub key: ServiceKey,
}
