//! What operations of logs need (AWS Service Authorization Reference).

use serde_json::Value;

use super::groups::group_arn;
use super::named;
use crate::api::guard::Need;
use crate::state::View;

/// What an operation needs: on a stream where it names one, else on a group, else on all groups
/// whose names begin as it asks.
pub(in crate::api) fn needs(view: &View, operation: &str, body: &Value) -> Option<Vec<Need>> {
    let text = |field: &str| body.get(field).and_then(Value::as_str);
    let action = format!("logs:{operation}");
    let given = text("logGroupName").or(text("logGroupIdentifier")).or(text("resourceArn"));
    let group = given.map(|given| match named(&view.scope, given) {
        Some(name) => group_arn(&view.scope, name),
        // The operation refuses it, whoever asks.
        None => given.to_owned(),
    });
    let resource = match (group, text("logStreamName")) {
        (Some(group), Some(stream)) => format!("{group}:log-stream:{stream}"),
        (Some(group), None) => format!("{group}:*"),
        (None, _) => {
            let prefix = text("logGroupNamePrefix").unwrap_or_default();
            format!("{}:log-stream:", group_arn(&view.scope, prefix))
        }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::state::Scope;

    #[test]
    fn what_is_asked_for_is_what_is_judged() {
        let scope = Scope { partition: "aws".into(), region: "r".into(), account: "1".into() };
        let view = View::empty(scope);
        let check = |operation: &str, body: Value, expected: &str| {
            let needs = needs(&view, operation, &body).unwrap();
            let resources: Vec<_> = needs.iter().map(|need| need.resource.as_str()).collect();
            assert_eq!(resources, [expected], "{operation} {body}");
        };
        let own = "arn:aws:logs:r:1:log-group:g";
        let stream = json!({ "logGroupName": "g", "logStreamName": "s" });
        check("PutLogEvents", stream, &format!("{own}:log-stream:s"));
        for named in ["g", own, &format!("{own}:*")] {
            let body = json!({ "logGroupIdentifier": named });
            check("FilterLogEvents", body, &format!("{own}:*"));
        }
        // Whoever may not read g may not read it by another region's or account's name either.
        for other in ["arn:aws:logs:x:1:log-group:g", "arn:aws:logs:r:2:log-group:g:*"] {
            assert_eq!(named(&view.scope, other), None);
            let body = json!({ "resourceArn": other });
            check("ListTagsForResource", body, &format!("{other}:*"));
        }
        assert_eq!(named(&view.scope, "a:log-group:g"), Some("a:log-group:g"));
        check("DescribeLogGroups", json!({}), "arn:aws:logs:r:1:log-group::log-stream:");
        let begin = json!({ "logGroupNamePrefix": "/app" });
        check("DescribeLogGroups", begin, "arn:aws:logs:r:1:log-group:/app:log-stream:");
    }
}
