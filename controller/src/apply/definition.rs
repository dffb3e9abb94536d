//! Task definitions: revisions are given out once and stay.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Applied;
use crate::command::{
    DefinitionRef, DeleteTaskDefinition, DeregisterTaskDefinition, Refusal, RegisterTaskDefinition,
    Reply,
};
use crate::state::{DefinitionKey, DefinitionStatus, ServiceStatus, State, TaskDefinition, Write};

pub(super) fn register(
    state: &State,
    command: &RegisterTaskDefinition,
    now_ms: u64,
) -> Result<Applied, Refusal> {
    let family = &command.body.family;
    let last = state.view.families.get(family).map_or(0, |entry| entry.last_revision);
    let limit = Refusal::LimitExceeded { what: "revisions of a family", max: u32::MAX.into() };
    let revision = last.checked_add(1).ok_or(limit)?;
    let definition = Arc::new(TaskDefinition {
        body: command.body.clone(),
        revision,
        status: DefinitionStatus::Active,
        registered_at_ms: now_ms,
        registered_by: command.by.clone(),
        deregistered_at_ms: None,
        delete_requested_at_ms: None,
    });
    let writes =
        vec![Write::Family(family.clone(), revision), Write::Definition(Arc::clone(&definition))];
    Ok((writes, Reply::Definition(definition)))
}

pub(super) fn deregister(
    state: &State,
    command: &DeregisterTaskDefinition,
    now_ms: u64,
) -> Result<Applied, Refusal> {
    let definition = state.view.definition(&command.family, command.revision).ok_or_else(|| {
        Refusal::DefinitionNotFound(DefinitionRef {
            family: command.family.clone(),
            revision: Some(command.revision),
        })
    })?;
    if definition.status != DefinitionStatus::Active {
        return Ok((Vec::new(), Reply::Definition(Arc::clone(definition))));
    }
    let inactive = Arc::new(TaskDefinition {
        status: DefinitionStatus::Inactive,
        deregistered_at_ms: Some(now_ms),
        ..TaskDefinition::clone(definition)
    });
    Ok((vec![Write::Definition(Arc::clone(&inactive))], Reply::Definition(inactive)))
}

pub(super) fn delete(
    state: &State,
    command: &DeleteTaskDefinition,
    now_ms: u64,
) -> Result<Applied, Refusal> {
    let key = &command.definition;
    let definition = state.view.definition(&key.family, key.revision).ok_or_else(|| {
        let (family, revision) = (key.family.clone(), Some(key.revision));
        Refusal::DefinitionNotFound(DefinitionRef { family, revision })
    })?;
    match definition.status {
        DefinitionStatus::Active => Err(Refusal::DefinitionActive(key.clone())),
        DefinitionStatus::DeleteInProgress => {
            Ok((Vec::new(), Reply::Definition(Arc::clone(definition))))
        }
        DefinitionStatus::Inactive => {
            let deleted = Arc::new(TaskDefinition {
                status: DefinitionStatus::DeleteInProgress,
                delete_requested_at_ms: Some(now_ms),
                ..TaskDefinition::clone(definition)
            });
            Ok((vec![Write::Definition(Arc::clone(&deleted))], Reply::Definition(deleted)))
        }
    }
}

/// Revisions that were deleted and that nothing uses any more: no task that is not forgotten, and
/// no service, whose rollouts may go back to it.
pub(super) fn unused(state: &State) -> impl Iterator<Item = &DefinitionKey> {
    let idle: Vec<_> = state.ledger.deleted_and_idle().collect();
    let mut used = BTreeSet::new();
    if !idle.is_empty() {
        let services = state.view.services.values();
        let alive = services.filter(|entry| entry.record.status != ServiceStatus::Inactive);
        let deployments = alive.flat_map(|entry| &entry.record.deployments);
        used.extend(deployments.map(|deployment| &deployment.definition));
    }
    idle.into_iter().filter(move |key| !used.contains(key))
}

/// The definition that new tasks shall use.
pub(super) fn usable<'a>(
    state: &'a State,
    wanted: &DefinitionRef,
) -> Result<&'a Arc<TaskDefinition>, Refusal> {
    let found = match wanted.revision {
        Some(revision) => state.view.definition(&wanted.family, revision),
        None => state.view.latest_active(&wanted.family),
    };
    let definition = found.ok_or_else(|| Refusal::DefinitionNotFound(wanted.clone()))?;
    match definition.status {
        DefinitionStatus::Active => Ok(definition),
        DefinitionStatus::Inactive | DefinitionStatus::DeleteInProgress => {
            Err(Refusal::DefinitionInactive(wanted.clone()))
        }
    }
}
