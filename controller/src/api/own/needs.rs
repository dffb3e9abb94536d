//! What Loadline's own operations need: actions named `loadline:OPERATION`.

use serde_json::Value;

use crate::api::ecs::{cluster_name, execute_needs, find_task};
use crate::api::guard::Need;
use crate::iam::IdentityKind;
use crate::state::View;

/// What an operation needs: on a task where it names one, else on a cluster, else on all.
pub(in crate::api) fn needs(view: &View, operation: &str, body: &Value) -> Option<Vec<Need>> {
    let text = |field: &str| body.get(field).and_then(Value::as_str);
    let action = format!("loadline:{operation}");
    if is_about_keys(operation) {
        return Some(key_needs(view, operation, &text));
    }
    if operation == "StartExec" {
        return Some(execute_needs(view, body, "containerName"));
    }
    let cluster = cluster_name(&view.scope, text("cluster"));
    let arn = cluster.as_ref().map_or("*".to_owned(), |name| view.scope.cluster_arn(name));
    let need = match (text("task"), &cluster) {
        (Some(task), Ok(cluster)) => {
            let found = find_task(view, cluster, task);
            let resource = found.map_or_else(|_| task.to_owned(), |task| task.arn.to_string());
            Need::new(action, resource).with("ecs:cluster", arn)
        }
        _ if operation == "CreateJoinToken" => Need::new(action, arn),
        _ => Need::new(action, "*"),
    };
    Some(vec![need])
}

/// Whether an operation is about users and their access keys.
pub(in crate::api) fn is_about_keys(operation: &str) -> bool {
    operation.ends_with("AccessKey") || operation == "ListAccessKeys"
}

/// Access keys need what IAM's own operations need for the same.
fn key_needs<'a>(
    view: &View,
    operation: &str,
    text: &impl Fn(&str) -> Option<&'a str>,
) -> Vec<Need> {
    let key = text("accessKeyId").and_then(|id| view.iam.access_key(id));
    let name = text("userName").or(key.map(|(user, _)| user.name.as_str())).unwrap_or("*");
    let user = format!("arn:{}:iam::{}:user/{name}", view.scope.partition, view.scope.account);
    let known = view.iam.identity(IdentityKind::User, name);
    let user = known.map_or(user, |user| user.arn(&view.scope));
    let mut needs = vec![Need::new(format!("iam:{operation}"), user.clone())];
    if operation == "CreateAccessKey" {
        if known.is_none() {
            needs.push(Need::new("iam:CreateUser", user.clone()));
        }
        if let Some(policy) = text("policyArn") {
            let need = Need::new("iam:AttachUserPolicy", user.clone());
            needs.push(need.with("iam:PolicyARN", policy));
        }
        if text("policyDocument").is_some() {
            needs.push(Need::new("iam:PutUserPolicy", user));
        }
    }
    needs
}
