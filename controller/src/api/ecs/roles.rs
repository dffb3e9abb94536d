//! The roles that a task definition, or an override of it, names.

use crate::api::ApiError;
use crate::state::{Roles, Scope};

/// Longest name or ARN of a role, in characters.
const ROLE_CHARS_MAX: usize = 1024;

/// Both roles. Whether they are there is judged when tasks shall have them, as with AWS.
pub(super) fn read(
    scope: &Scope,
    task: Option<String>,
    execution: Option<String>,
) -> Result<Roles, ApiError> {
    let read = |field: &str, role: Option<String>| {
        let Some(role) = role.filter(|role| !role.is_empty()) else { return Ok(None) };
        let arn = role_arn(scope, &role);
        let own = format!("arn:{}:iam::{}:role/", scope.partition, scope.account);
        let named = arn.strip_prefix(&own).is_some_and(|name| !name.is_empty());
        if !named || ROLE_CHARS_MAX < arn.chars().count() {
            let shown: String = role.chars().take(ROLE_CHARS_MAX).collect();
            return Err(ApiError::client(format_args!(
                "{field}: {shown:?} is no role of this account ({own}NAME)"
            )));
        }
        Ok(Some(arn))
    };
    Ok(Roles { task: read("taskRoleArn", task)?, execution: read("executionRoleArn", execution)? })
}

/// The ARN of a role that a caller names by ARN or, as ECS allows, by its name alone.
pub(super) fn role_arn(scope: &Scope, role: &str) -> String {
    if role.starts_with("arn:") {
        return role.to_owned();
    }
    format!("arn:{}:iam::{}:role/{role}", scope.partition, scope.account)
}
