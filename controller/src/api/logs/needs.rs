//! What operations of logs need (AWS Service Authorization Reference).

use serde_json::Value;

use super::groups::group_arn;
use crate::api::guard::Need;
use crate::state::View;

/// What an operation needs: on a stream where it names one, else on a group, else on all.
pub(in crate::api) fn needs(view: &View, operation: &str, body: &Value) -> Option<Vec<Need>> {
    let text = |field: &str| body.get(field).and_then(Value::as_str);
    let action = format!("logs:{operation}");
    let named = text("logGroupName").or(text("logGroupIdentifier")).or(text("resourceArn"));
    let group = named.map(|name| match name.split_once(":log-group:") {
        Some(_) => name.trim_end_matches(":*").to_owned(),
        None => group_arn(&view.scope, name),
    });
    let resource = match (group, text("logStreamName")) {
        (Some(group), Some(stream)) => format!("{group}:log-stream:{stream}"),
        (Some(group), None) => format!("{group}:*"),
        (None, _) => "*".to_owned(),
    };
    let mut need = Need::new(action, resource);
    let tags = body.get("tags").and_then(Value::as_object);
    for (key, value) in tags.into_iter().flatten() {
        need = need.with(&format!("aws:RequestTag/{key}"), value.as_str().unwrap_or_default());
    }
    let keys = tags.into_iter().flatten().map(|(key, _)| key.clone()).collect();
    need.context.put_all("aws:TagKeys", keys);
    Some(vec![need])
}
