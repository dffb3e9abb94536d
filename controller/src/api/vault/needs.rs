//! What operations of secretsmanager and ssm need (AWS Service Authorization Reference).

use serde_json::Value;

use crate::api::guard::Need;
use crate::state::View;
use crate::vault::{Parameter, secret_arn_start};

/// Of secretsmanager.
pub(in crate::api) fn secret_needs(
    view: &View,
    operation: &str,
    body: &Value,
) -> Option<Vec<Need>> {
    let text = |field: &str| body.get(field).and_then(Value::as_str);
    let action = format!("secretsmanager:{operation}");
    let scope = &view.scope;
    let start = secret_arn_start(scope);
    let need = match (text("SecretId"), text("Name")) {
        (Some(id), _) => match view.vault.secret(scope, id) {
            Some(secret) => {
                let arn = secret.arn(scope);
                let need = Need::new(action, &*arn).resource_tags("secretsmanager", &secret.tags);
                need.with("secretsmanager:SecretId", arn)
            }
            None if id.starts_with("arn:") => Need::new(action, id),
            None => Need::new(action, format!("{start}{id}")),
        },
        (None, Some(name)) => {
            let need = Need::new(action, format!("{start}{name}-??????"));
            need.with("secretsmanager:Name", name)
        }
        (None, None) => Need::new(action, "*"),
    };
    let need = match text("VersionStage") {
        Some(stage) => need.with("secretsmanager:VersionStage", stage),
        None => need,
    };
    Some(vec![need.request_tags(body.get("Tags"), ("Key", "Value"))])
}

/// Of ssm.
pub(in crate::api) fn parameter_needs(
    view: &View,
    operation: &str,
    body: &Value,
) -> Option<Vec<Need>> {
    let text = |field: &str| body.get(field).and_then(Value::as_str);
    let action = format!("ssm:{operation}");
    let of = |name: &str| {
        // A version or label at the end is no part of what is named.
        let found = view.vault.parameter(&view.scope, name).or_else(|| {
            let (bare, _) = name.rsplit_once(':')?;
            view.vault.parameter(&view.scope, bare)
        });
        let tags = found.map_or(&[][..], |parameter| &parameter.tags);
        let arn = match found {
            Some(parameter) => Parameter::arn(&view.scope, &parameter.name),
            None if name.starts_with("arn:") => name.to_owned(),
            None => Parameter::arn(&view.scope, name),
        };
        Need::new(&*action, arn).resource_tags("ssm", tags)
    };
    let names = body.get("Names").and_then(Value::as_array);
    let single = text("Name").or(text("Path")).or(text("ResourceId"));
    Some(match (names, single) {
        (Some(names), _) => names.iter().filter_map(Value::as_str).map(of).collect(),
        (None, Some(name)) => {
            vec![of(name).request_tags(body.get("Tags"), ("Key", "Value"))]
        }
        (None, None) => vec![Need::new(action, "*")],
    })
}
