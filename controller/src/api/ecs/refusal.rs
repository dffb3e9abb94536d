//! The engine's refusals in AWS's codes and, where people search for them, in AWS's words.

use crate::api::{ApiError, Code};
use crate::command::Refusal;
use crate::engine::CallError;

/// What a failed call means to the client.
pub(in crate::api) fn from_call(error: CallError) -> ApiError {
    match error {
        CallError::Refused(refusal) => from_refusal(refusal),
        CallError::Busy { .. } => ApiError::new(Code::Throttling, error),
        CallError::Store(_) | CallError::Stopped => ApiError::new(Code::Server, error),
    }
}

fn from_refusal(refusal: Refusal) -> ApiError {
    let (code, words) = match &refusal {
        Refusal::Vault(refusal) => return crate::api::vault::refusal(refusal),
        Refusal::Iam(refusal) => return crate::api::iam::refusal(refusal),
        Refusal::ClusterNotFound(_) => (Code::ClusterNotFound, "Cluster not found."),
        Refusal::ClusterContainsTasks { .. } => {
            (Code::ClusterContainsTasks, "The Cluster cannot be deleted while Tasks are active.")
        }
        Refusal::ClusterContainsServices { .. } => (
            Code::ClusterContainsServices,
            "The Cluster cannot be deleted while Services are active.",
        ),
        Refusal::ServiceNotFound(_) => (Code::ServiceNotFound, "Service not found."),
        Refusal::ServiceNotActive(_) => (Code::ServiceNotActive, "Service was not ACTIVE."),
        Refusal::ServiceExists(_) => {
            (Code::InvalidParameter, "Creation of service was not idempotent.")
        }
        Refusal::ServiceWantsTasks(_) => {
            (Code::InvalidParameter, "The service cannot be stopped while it is scaled above 0.")
        }
        Refusal::ClusterContainsNodes { .. } => (
            Code::ClusterContainsContainerInstances,
            "The Cluster cannot be deleted while Container Instances are active or draining.",
        ),
        Refusal::DefinitionNotFound(_) => (Code::Client, "TaskDefinition not found."),
        Refusal::DefinitionInactive(_) => (Code::Client, "TaskDefinition is inactive"),
        Refusal::NoContainerInstances(_) => {
            (Code::InvalidParameter, "No Container Instances were found in your cluster.")
        }
        Refusal::TaskNotFound(_) => (Code::InvalidParameter, "The referenced task was not found."),
        Refusal::NodeNotFound(_) | Refusal::NodeRemoved(_) => {
            (Code::InvalidParameter, "Referenced container instance not found.")
        }
        Refusal::NodeHasTasks { .. } => {
            (Code::InvalidParameter, "Found running tasks on the instance.")
        }
        Refusal::RoleNotAssumable(_) | Refusal::DefinitionActive(_) => (Code::Client, ""),
        Refusal::DeploymentNotFound(_) => (Code::ServiceDeploymentNotFound, ""),
        Refusal::ClientTokenConflict { .. }
        | Refusal::DeploymentOver(_)
        | Refusal::NothingToRollBackTo(_) => (Code::Conflict, ""),
        Refusal::LimitExceeded { .. } => (Code::LimitExceeded, ""),
        Refusal::Invalid { .. }
        | Refusal::JoinToken { .. }
        | Refusal::NotRegistered(_)
        | Refusal::SessionAlive(_) => (Code::InvalidParameter, ""),
    };
    match (words, object(&refusal)) {
        ("", _) => ApiError::new(code, refusal),
        (words, Some(object)) => ApiError::new(code, format_args!("{words} ({object})")),
        (words, None) => ApiError::new(code, format_args!("{words} ({refusal})")),
    }
}

/// What the refusal is about, where AWS's words say the rest.
fn object(refusal: &Refusal) -> Option<String> {
    match refusal {
        Refusal::ClusterNotFound(cluster) => Some(cluster.to_string()),
        Refusal::DefinitionNotFound(of) | Refusal::DefinitionInactive(of) => {
            Some(of.revision.map_or_else(
                || of.family.to_string(),
                |revision| format!("{}:{revision}", of.family),
            ))
        }
        Refusal::NoContainerInstances(cluster) => Some(cluster.to_string()),
        Refusal::TaskNotFound(task) => Some(task.to_string()),
        Refusal::ServiceNotFound(service) | Refusal::ServiceNotActive(service) => {
            Some(service.to_string())
        }
        Refusal::NodeNotFound(node) => Some(node.to_string()),
        _ => None,
    }
}
