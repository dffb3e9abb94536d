//! Task definitions: revisions are given out once and stay.

use std::sync::Arc;

use super::Applied;
use crate::command::{
    DefinitionRef, DeregisterTaskDefinition, Refusal, RegisterTaskDefinition, Reply,
};
use crate::state::{DefinitionStatus, State, TaskDefinition, Write};

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
        deregistered_at_ms: None,
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
    if definition.status == DefinitionStatus::Inactive {
        return Ok((Vec::new(), Reply::Definition(Arc::clone(definition))));
    }
    let inactive = Arc::new(TaskDefinition {
        status: DefinitionStatus::Inactive,
        deregistered_at_ms: Some(now_ms),
        ..TaskDefinition::clone(definition)
    });
    Ok((vec![Write::Definition(Arc::clone(&inactive))], Reply::Definition(inactive)))
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
        DefinitionStatus::Inactive => Err(Refusal::DefinitionInactive(wanted.clone())),
    }
}
