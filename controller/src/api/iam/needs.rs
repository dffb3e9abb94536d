//! What IAM's own operations need (AWS Service Authorization Reference, "AWS Identity and Access
//! Management").

use serde_json::Value;

use crate::api::guard::Need;
use crate::iam::IdentityKind;
use crate::state::View;

/// What an operation needs.
pub(in crate::api) fn needs(view: &View, operation: &str, body: &Value) -> Option<Vec<Need>> {
    let text = |field: &str| body.get(field).and_then(Value::as_str);
    let arn = |resource: String| {
        format!("arn:{}:iam::{}:{resource}", view.scope.partition, view.scope.account)
    };
    let path = text("Path").unwrap_or("/");
    let of = |kind: IdentityKind, name: &str| match view.iam.identity(kind, name) {
        Some(identity) => (identity.arn(&view.scope), Some(&**identity)),
        None => (arn(format!("{}{path}{name}", kind.word())), None),
    };
    let action = format!("iam:{operation}");
    // Groups and instance profiles come first: where they are named, a user or role beside them is
    // what is put into them.
    let named = [
        (IdentityKind::Group, "GroupName"),
        (IdentityKind::Profile, "InstanceProfileName"),
        (IdentityKind::Role, "RoleName"),
        (IdentityKind::User, "UserName"),
    ];
    let named = named.into_iter().find_map(|(kind, field)| Some((kind, text(field)?)));
    let mut bound = text("PermissionsBoundary");
    let need = if let Some((kind, name)) = named {
        let (resource, identity) = of(kind, name);
        // What bounds it already, where the request does not say what shall.
        bound = bound.or(identity.and_then(|identity| identity.boundary.as_deref()));
        let tags = identity.filter(|_| kind != IdentityKind::Group).map(|it| &it.tags[..]);
        Need::new(action, resource).resource_tags("iam", tags.unwrap_or_default())
    } else if let Some(policy) = text("PolicyArn") {
        Need::new(action, policy)
    } else if let Some(name) = text("PolicyName") {
        Need::new(action, arn(format!("policy{path}{name}")))
    } else if let Some(source) = text("PolicySourceArn") {
        Need::new(action, source)
    } else if let Some(service) = text("AWSServiceName") {
        let resource = arn(format!("role/aws-service-role/{service}/*"));
        Need::new(action, resource).with("iam:AWSServiceName", service)
    } else {
        Need::new(action, "*")
    };
    let need = match text("PolicyArn") {
        Some(policy) => need.with("iam:PolicyARN", policy),
        None => need,
    };
    let need = match bound {
        Some(policy) => need.with("iam:PermissionsBoundary", policy),
        None => need,
    };
    let mut needs = vec![need.request_tags(body.get("Tags"), ("Key", "Value"))];
    if let ("AddRoleToInstanceProfile", Some(role)) = (operation, text("RoleName")) {
        let role = of(IdentityKind::Role, role).0;
        let pass = Need::new("iam:PassRole", role);
        needs.push(pass.with("iam:PassedToService", "ec2.amazonaws.com"));
    }
    Some(needs)
}
