//! Whether the roles of tasks can be assumed for them: they are there, and trust ECS's tasks.

use crate::command::{PlacementFailure, PlacementReason, Refusal};
use crate::iam::{Context, trusts};
use crate::state::{Roles, State};

/// The service that assumes the roles of tasks.
const TASKS: &str = "ecs-tasks.amazonaws.com";

/// The first role that can't be assumed.
pub(super) fn not_assumable(state: &State, roles: &Roles) -> Option<String> {
    let assumable = |arn: &String| {
        let role = state.view.iam.role_by_arn(&state.view.scope, arn);
        let trust = role.and_then(|role| role.trust.as_ref());
        trust.is_some_and(|trust| trusts(trust.document(), TASKS, &Context::default()))
    };
    roles.each().find(|arn| !assumable(arn)).cloned()
}

/// Refuses tasks with a role that can't be assumed.
pub(super) fn check(state: &State, roles: &Roles) -> Result<(), Refusal> {
    not_assumable(state, roles).map_or(Ok(()), |role| Err(Refusal::RoleNotAssumable(role)))
}

/// The same for a service, which goes on trying.
pub(super) fn failure(state: &State, roles: &Roles) -> Option<PlacementFailure> {
    let role = not_assumable(state, roles)?;
    let (reason, detail) = (PlacementReason::Role, Refusal::RoleNotAssumable(role).to_string());
    Some(PlacementFailure { node: None, reason, detail })
}
