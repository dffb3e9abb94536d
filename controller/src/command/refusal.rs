//! Why a command was refused, as data: the API maps it to AWS's codes, the node side to gRPC's.

use std::fmt;

use loadline_model::{InstanceArn, TaskArn};

use super::DefinitionRef;
use crate::state::{ClusterName, DefinitionKey, ServiceKey, TokenId};

/// A refusal. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such cluster, or it is INACTIVE. AWS: ClusterNotFoundException.
    #[error("cluster {0} not found")]
    ClusterNotFound(ClusterName),
    /// AWS: ClusterContainsTasksException.
    #[error("cluster {cluster} has {tasks} tasks: stop them first")]
    ClusterContainsTasks {
        /// Which.
        cluster: ClusterName,
        /// How many are not stopped.
        tasks: u32,
    },
    /// AWS: ClusterContainsContainerInstancesException.
    #[error("cluster {cluster} has {nodes} container instances: deregister them first")]
    ClusterContainsNodes {
        /// Which.
        cluster: ClusterName,
        /// How many.
        nodes: u32,
    },
    /// No such revision, or no ACTIVE one in the family. AWS: ClientException with the text
    /// `Unable to describe task definition.` or `TaskDefinition not found.`
    #[error("task definition {} not found", RefText(.0))]
    DefinitionNotFound(DefinitionRef),
    /// AWS: ClientException, `TaskDefinition is inactive`.
    #[error("task definition {} is inactive", RefText(.0))]
    DefinitionInactive(DefinitionRef),
    /// It is ACTIVE, and only what was deregistered can be deleted.
    #[error("task definition {0} is active: deregister it first")]
    DefinitionActive(DefinitionKey),
    /// AWS: InvalidParameterException.
    #[error("{field}: {why}")]
    Invalid {
        /// The request's field, in AWS's spelling.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// AWS: InvalidParameterException, `No Container Instances were found in your cluster.`
    #[error("no container instances were found in cluster {0}")]
    NoContainerInstances(ClusterName),
    /// AWS: ConflictException with the tasks as `resourceIds`.
    #[error("clientToken {token:?} was already used with other parameters")]
    ClientTokenConflict {
        /// The token.
        token: String,
        /// What the first call placed.
        tasks: Vec<TaskArn>,
    },
    /// AWS: InvalidParameterException, `The referenced task was not found.`
    #[error("task {0} not found")]
    TaskNotFound(TaskArn),
    /// No such service in the cluster. AWS: ServiceNotFoundException, `Service not found.`
    #[error("service {0} not found")]
    ServiceNotFound(ServiceKey),
    /// It is DRAINING or INACTIVE. AWS: ServiceNotActiveException, `Service was not ACTIVE.`
    #[error("service {0} is not active")]
    ServiceNotActive(ServiceKey),
    /// AWS: ServiceDeploymentNotFoundException.
    #[error("service deployment {0} not found")]
    DeploymentNotFound(String),
    /// AWS: ConflictException.
    #[error("service deployment {0} is not in progress, so there is nothing to stop")]
    DeploymentOver(String),
    /// AWS: ConflictException.
    #[error("service deployment {0}: no earlier one was completed, so none can come back")]
    NothingToRollBackTo(String),
    /// AWS: InvalidParameterException, `Creation of service was not idempotent.`
    #[error("there is a service {0} already")]
    ServiceExists(ServiceKey),
    /// AWS: InvalidParameterException, `The service cannot be stopped while it is scaled above 0.`
    #[error("service {0} wants tasks: scale it to 0 first, or force")]
    ServiceWantsTasks(ServiceKey),
    /// AWS: ClusterContainsServicesException.
    #[error("cluster {cluster} has {services} services: delete them first")]
    ClusterContainsServices {
        /// Which.
        cluster: ClusterName,
        /// How many are not INACTIVE.
        services: u32,
    },
    /// AWS: InvalidParameterException, `Referenced container instance … not found.`
    #[error("container instance {0} not found")]
    NodeNotFound(InstanceArn),
    /// It was deregistered. gRPC: PERMISSION_DENIED.
    #[error("container instance {0} was removed from its cluster")]
    NodeRemoved(InstanceArn),
    /// AWS: InvalidParameterException, `Found running tasks on the instance.`
    #[error("container instance {node} has {tasks} tasks: stop them, or force")]
    NodeHasTasks {
        /// Which.
        node: InstanceArn,
        /// How many.
        tasks: usize,
    },
    /// gRPC: UNAUTHENTICATED.
    #[error("join token {id}: {why}")]
    JoinToken {
        /// Its public part.
        id: TokenId,
        /// Why it is of no use.
        why: JoinTokenRefusal,
    },
    /// gRPC: FAILED_PRECONDITION.
    #[error("container instance {0} has not registered yet")]
    NotRegistered(InstanceArn),
    /// gRPC: ALREADY_EXISTS.
    #[error("container instance {0} has another session that is alive")]
    SessionAlive(InstanceArn),
    /// A role of the task is not there, or does not trust ECS's tasks. AWS: ClientException.
    #[error(
        "ECS was unable to assume the role '{0}' that was provided for this task. Please verify \
         that the role being passed has the proper trust relationship and permissions and that \
         your IAM user has permissions to pass this role."
    )]
    RoleNotAssumable(String),
    /// Of a command about a secret or parameter, in its service's words.
    #[error("{0}")]
    Vault(crate::vault::Refusal),
    /// Of an IAM command, in IAM's words.
    #[error("{0}")]
    Iam(crate::iam::Refusal),
    /// A number that is bounded would pass its bound. AWS: LimitExceededException.
    #[error("{what}: at most {max}")]
    LimitExceeded {
        /// What there would be too much of.
        what: &'static str,
        /// The bound.
        max: u64,
    },
}

/// Why a join token brings nobody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinTokenRefusal {
    /// Unknown id or wrong secret: not told apart, so that nobody can search for ids.
    #[error("unknown, or its secret is wrong")]
    Unknown,
    /// Its time is over.
    #[error("expired: make a new one with `loadline token create`")]
    Expired,
    /// It brought in as many nodes as it may.
    #[error("used up: make a new one with `loadline token create`")]
    UsedUp,
    /// Somebody revoked it.
    #[error("revoked: make a new one with `loadline token create`")]
    Revoked,
}

struct RefText<'a>(&'a DefinitionRef);

impl fmt::Display for RefText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.revision {
            Some(revision) => write!(f, "{}:{revision}", self.0.family),
            None => self.0.family.fmt(f),
        }
    }
}
