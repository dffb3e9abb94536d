//! DeleteTaskDefinitions.

use super::shapes::TaskDefinition;
use super::show;
use crate::api::ecs::reference::definition_ref;
use crate::api::ecs::shapes::Failure;
use crate::api::ecs::{check, from_call};
use crate::api::wire::shape;
use crate::api::{Api, ApiError};
use crate::command::{DefinitionRef, DeleteTaskDefinition, Refusal};
use crate::engine::CallError;
use crate::state::DefinitionKey;

/// Most revisions of one call (ECS's own bound).
const DELETE_MAX: usize = 10;

shape! {
    /// DeleteTaskDefinitions' input.
    DeleteTaskDefinitionsRequest = "DeleteTaskDefinitionsRequest" {
        /// 1 to 10, each with its revision.
        task_definitions: "taskDefinitions" => Vec<String>,
    }
}

shape! {
    /// DeleteTaskDefinitions' output.
    DeleteTaskDefinitionsResponse = "DeleteTaskDefinitionsResponse" {
        /// Those that are DELETE_IN_PROGRESS now.
        task_definitions: "taskDefinitions" => Vec<TaskDefinition>,
        /// Those that can't be deleted.
        failures: "failures" => Vec<Failure>,
    }
}

/// Each revision by itself: one that can't be deleted does not keep the others.
pub(in crate::api::ecs) async fn delete(
    api: &Api,
    request: DeleteTaskDefinitionsRequest,
) -> Result<DeleteTaskDefinitionsResponse, ApiError> {
    check::count("taskDefinitions", &request.task_definitions, DELETE_MAX)?;
    let scope = std::sync::Arc::clone(&api.engine.snapshot().scope);
    let keys = request.task_definitions.iter().map(|text| {
        let DefinitionRef { family, revision } = definition_ref(&scope, text)?;
        let revision = revision.ok_or_else(|| {
            ApiError::invalid(format_args!("{text:?} names no revision: FAMILY:REVISION or an ARN"))
        })?;
        Ok(DefinitionKey { family, revision })
    });
    let keys = keys.collect::<Result<Vec<_>, ApiError>>()?;
    let mut answer = DeleteTaskDefinitionsResponse { task_definitions: vec![], failures: vec![] };
    for key in keys {
        let definition = key.clone();
        let failure = |reason: &str| Failure {
            arn: Some(scope.definition_arn(&key)),
            reason: Some(reason.to_owned()),
            detail: None,
        };
        match api.engine.call(DeleteTaskDefinition { definition }).await {
            Ok(deleted) => answer.task_definitions.push(show::definition(&scope, &deleted)),
            Err(CallError::Refused(Refusal::DefinitionNotFound(_))) => {
                answer.failures.push(failure(
                    "The specified task definition does not exist. Specify a valid account, \
                     family, revision and try again.",
                ));
            }
            Err(CallError::Refused(Refusal::DefinitionActive(_))) => {
                answer.failures.push(failure(
                    "The specified task definition is still in ACTIVE status. Please deregister \
                     the target and try again.",
                ));
            }
            Err(error) => return Err(from_call(error)),
        }
    }
    Ok(answer)
}
