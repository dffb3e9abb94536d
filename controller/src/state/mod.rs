//! The cluster's state: records that are stored, and what is derived from them.
//!
//! [`View`] is an immutable picture of all of it, as of one commit: cheap to clone (persistent
//! maps share what did not change), so the API reads from it without asking anybody. Only the
//! engine's owner makes the next one, by taking in [`Write`]s; the same function rebuilds the
//! state from the store at open, so what is derived can't drift from what is stored.

mod agenda;
mod cluster;
mod crowd;
mod definition;
mod ids;
mod ledger;
mod node;
mod owned;
mod placement;
mod pool;
mod service;
mod task;
mod token;
mod view;
mod write;

pub use agenda::{Agenda, Failures, Happened};
pub use cluster::{Cluster, ClusterEntry, ClusterStatus};
pub use crowd::{At, Crowd, Floor, Rooms};
pub use definition::{
    AwsLogs, ContainerOverride, ContainerSecret, DefinitionBody, DefinitionStatus,
    ENVIRONMENT_FILES, EnvironmentFile, HostPort, Platform, PortDetail, Roles, TaskDefinition,
    TaskOverrides, VolumeDefinition,
};
pub use ids::{
    ClusterName, CountingIds, DefinitionKey, Family, IdSource, Scope, ServiceKey, ServiceName,
    Text, TokenId,
};
pub use ledger::{Ledger, takes_tasks};
pub use node::{
    ARCHITECTURE_ATTRIBUTE, AZ_ATTRIBUTE, Connection, Node, NodeAttribute, NodeEntry, NodeStatus,
    SessionId,
};
pub use owned::State;
pub use placement::{BinpackField, PlacementConstraint, PlacementStrategy};
pub use pool::Pool;
pub use service::{
    AwsVpc, Breaker, BreakerReset, DEPLOYMENTS_MAX, Deployment, DeploymentConfig, EVENTS_MAX,
    Rebalancing, Rollout, Scheduling, Service, ServiceEntry, ServiceEvent, ServiceStatus,
    ServiceTags, Threshold, Throttle, Undo, UndoCause,
};
pub use task::{Task, TaskContainer};
pub use token::{Enrolled, JoinToken, RunToken, Sha256Hash, USES_MAX};
pub use view::View;
pub use write::Write;
