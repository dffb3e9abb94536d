//! `secrets` of container definitions: variables whose values are looked up when a task is placed.

use loadline_model::ContainerName;

use super::shapes::{ContainerDefinition, Secret};
use crate::api::ApiError;
use crate::state::{ContainerSecret, Roles};

/// Most secrets of a container.
const SECRETS_MAX: usize = 100;
const VALUE_FROM_CHARS_MAX: usize = 2048;

/// Every secret of every container. Whether they are there is seen when a task is placed, as with
/// AWS; the role that may read them must be named now.
pub(super) fn read(
    given: &[ContainerDefinition],
    roles: &Roles,
) -> Result<Vec<ContainerSecret>, ApiError> {
    let mut all: Vec<ContainerSecret> = Vec::new();
    for (index, container) in given.iter().enumerate() {
        let at = format!("containerDefinitions[{index}]");
        let secrets = container.secrets.as_deref().unwrap_or_default();
        if SECRETS_MAX < secrets.len() {
            let message = format!("{at}.secrets can have at most {SECRETS_MAX} items.");
            return Err(ApiError::client(message));
        }
        let Ok(name) = ContainerName::parse(container.name.as_deref().unwrap_or_default()) else {
            continue;
        };
        let own = container.environment.as_deref().unwrap_or_default();
        for (n, secret) in secrets.iter().enumerate() {
            let at = format!("{at}.secrets[{n}]");
            let variable = variable(&at, secret)?;
            let taken = own.iter().any(|pair| pair.name.as_deref() == Some(&*variable));
            let twice = all.iter().any(|have| have.container == name && have.name == variable);
            if taken || twice {
                return Err(ApiError::client(format_args!(
                    "The secret name must be unique and not shared with any new or existing \
                     environment variables set on the container, such as '{variable}'."
                )));
            }
            all.push(ContainerSecret {
                container: name.clone(),
                name: variable,
                value_from: value_from(&at, secret)?,
            });
        }
    }
    if !all.is_empty() && roles.execution.is_none() {
        return Err(ApiError::client(
            "When you are specifying container secrets, you must also specify a value for \
             'executionRoleArn'.",
        ));
    }
    Ok(all)
}

fn variable(at: &str, secret: &Secret) -> Result<String, ApiError> {
    let name = secret.name.as_str();
    if name.is_empty() || name.contains(['=', '\0']) {
        let message = format!("{at}.name should not be empty nor contain '=' or NUL");
        return Err(ApiError::client(message));
    }
    Ok(name.to_owned())
}

fn value_from(at: &str, secret: &Secret) -> Result<String, ApiError> {
    let text = secret.value_from.as_str();
    let plain = !text.chars().any(|c| c.is_whitespace() || c.is_control());
    if text.is_empty() || VALUE_FROM_CHARS_MAX < text.chars().count() || !plain {
        return Err(ApiError::client(format_args!(
            "{at}.valueFrom must be the name or ARN of an SSM parameter or the ARN of a secret"
        )));
    }
    Ok(text.to_owned())
}

/// A container's secrets as they are shown: where values come from, never what they are.
pub(super) fn show(all: &[ContainerSecret], container: &ContainerName) -> Option<Vec<Secret>> {
    let own = all.iter().filter(|secret| secret.container == *container);
    let shown = own
        .map(|secret| Secret { name: secret.name.clone(), value_from: secret.value_from.clone() });
    Some(shown.collect::<Vec<_>>()).filter(|shown| !shown.is_empty())
}
