//! How callers name things: short names and ids, or ARNs, wherever ECS takes both.

use std::sync::Arc;

use loadline_model::{InstanceArn, TaskArn};

use crate::api::{ApiError, Code};
use crate::command::DefinitionRef;
use crate::state::{
    ClusterEntry, ClusterName, ClusterStatus, Family, Scope, ServiceEntry, ServiceKey, ServiceName,
    Task, View,
};

/// The cluster that is used where a request names none.
pub(super) const DEFAULT_CLUSTER: &str = "default";

/// Reads a cluster's name or ARN; none stands for `default`.
pub(in crate::api) fn cluster_name(
    scope: &Scope,
    text: Option<&str>,
) -> Result<ClusterName, ApiError> {
    let text = text.filter(|text| !text.is_empty()).unwrap_or(DEFAULT_CLUSTER);
    let name = match text.strip_prefix("arn:") {
        None => text,
        Some(_) => own_resource(scope, text)?
            .strip_prefix("cluster/")
            .ok_or_else(|| ApiError::invalid(format_args!("{text:?} is not a cluster's ARN")))?,
    };
    ClusterName::parse(name).map_err(ApiError::invalid)
}

/// The part of an ARN after the account, if the ARN is one of this controller's.
pub(super) fn own_resource<'a>(scope: &Scope, arn: &'a str) -> Result<&'a str, ApiError> {
    let Scope { partition, region, account } = scope;
    let prefix = format!("arn:{partition}:ecs:{region}:{account}:");
    arn.strip_prefix(&prefix).ok_or_else(|| {
        let shown: String = arn.chars().take(loadline_model::ids::ID_BYTES_MAX).collect();
        ApiError::invalid(format_args!(
            "Invalid identifier: {shown:?} is not of this controller, whose ARNs begin with \
             {prefix}"
        ))
    })
}

/// The cluster, if it is ACTIVE.
pub(super) fn active_cluster<'a>(
    view: &'a View,
    name: &ClusterName,
) -> Result<&'a ClusterEntry, ApiError> {
    view.cluster(name)
        .filter(|cluster| cluster.record.status == ClusterStatus::Active)
        .ok_or_else(|| ApiError::new(Code::ClusterNotFound, "Cluster not found."))
}

/// The ARN that a task's id or ARN stands for in a cluster. `None` where no task of this cluster
/// can have that name.
pub(super) fn task_arn(scope: &Scope, cluster: &ClusterName, text: &str) -> Option<TaskArn> {
    if text.starts_with("arn:") {
        own_resource(scope, text).ok()?;
        return TaskArn::parse(text).ok().filter(|arn| arn.cluster() == cluster.as_str());
    }
    scope.task_arn(cluster, text)
}

/// The same for a container instance.
pub(super) fn instance_arn(
    scope: &Scope,
    cluster: &ClusterName,
    text: &str,
) -> Option<InstanceArn> {
    if text.starts_with("arn:") {
        own_resource(scope, text).ok()?;
        return InstanceArn::parse(text).ok().filter(|arn| arn.cluster() == cluster.as_str());
    }
    scope.instance_arn(cluster, text)
}

/// The task that a caller means, or AWS's refusal.
pub(in crate::api) fn find_task<'a>(
    view: &'a View,
    cluster: &ClusterName,
    text: &str,
) -> Result<&'a Arc<Task>, ApiError> {
    active_cluster(view, cluster)?;
    task_arn(&view.scope, cluster, text)
        .and_then(|arn| view.task(&arn))
        .ok_or_else(|| ApiError::invalid("The referenced task was not found."))
}

/// The service that a name or ARN stands for in a cluster. `None` where no service of this cluster
/// can have that name.
pub(super) fn service_key(scope: &Scope, cluster: &ClusterName, text: &str) -> Option<ServiceKey> {
    let name = if text.starts_with("arn:") {
        let path = own_resource(scope, text).ok()?.strip_prefix("service/")?;
        let (of, name) = path.split_once('/')?;
        (of == cluster.as_str()).then_some(name)?
    } else {
        text
    };
    Some(ServiceKey { cluster: cluster.clone(), name: ServiceName::parse(name).ok()? })
}

/// The service that a caller means, of any status.
pub(in crate::api) fn find_service<'a>(
    view: &'a View,
    cluster: &ClusterName,
    text: &str,
) -> Result<&'a ServiceEntry, ApiError> {
    active_cluster(view, cluster)?;
    let key = service_key(&view.scope, cluster, text);
    key.and_then(|key| view.service(&key)).ok_or_else(service_not_found)
}

/// AWS's refusal for a service that is not there.
pub(super) fn service_not_found() -> ApiError {
    ApiError::new(Code::ServiceNotFound, "Service not found.")
}

/// Reads `family`, `family:revision`, or the ARN of a task definition.
pub(super) fn definition_ref(scope: &Scope, text: &str) -> Result<DefinitionRef, ApiError> {
    let name = match text.strip_prefix("arn:") {
        None => text,
        Some(_) => {
            own_resource(scope, text)?.strip_prefix("task-definition/").ok_or_else(|| {
                ApiError::invalid(format_args!("{text:?} is not a task definition's ARN"))
            })?
        }
    };
    let (family, revision) = match name.split_once(':') {
        None => (name, None),
        Some((family, revision)) => {
            let number = revision.parse().ok().filter(|number| 0 < *number);
            let number = number.ok_or_else(|| {
                ApiError::client(format_args!("Invalid revision number. Number: {revision:?}"))
            })?;
            (family, Some(number))
        }
    };
    Ok(DefinitionRef { family: Family::parse(family).map_err(ApiError::client)?, revision })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        Scope { partition: "aws".into(), region: "r-1".into(), account: "000000000000".into() }
    }

    #[test]
    fn a_cluster_is_named_by_name_or_arn_and_is_default_where_not_named() {
        let check = |text: Option<&str>, expected: Option<&str>| {
            let got = cluster_name(&scope(), text).ok();
            assert_eq!(got.as_ref().map(ClusterName::as_str), expected, "{text:?}");
        };
        check(None, Some("default"));
        check(Some(""), Some("default"));
        check(Some("blue"), Some("blue"));
        check(Some("arn:aws:ecs:r-1:000000000000:cluster/blue"), Some("blue"));
        check(Some("arn:aws:ecs:r-2:000000000000:cluster/blue"), None);
        check(Some("arn:aws:ecs:r-1:000000000001:cluster/blue"), None);
        check(Some("arn:aws:ecs:r-1:000000000000:task/blue"), None);
        check(Some("a/b"), None);
        check(Some(&"x".repeat(256)), None);
    }

    #[test]
    fn a_task_of_another_cluster_is_not_found_under_this_one() {
        let blue = ClusterName::parse("blue").unwrap();
        let check = |text: &str, found: bool| {
            assert_eq!(task_arn(&scope(), &blue, text).is_some(), found, "{text}");
        };
        check("0af1", true);
        check("arn:aws:ecs:r-1:000000000000:task/blue/0af1", true);
        check("arn:aws:ecs:r-1:000000000000:task/red/0af1", false);
        check("arn:aws:ecs:r-2:000000000000:task/blue/0af1", false);
        check("../x", false);
        check("", false);
    }

    #[test]
    fn a_definition_is_named_by_family_revision_or_arn() {
        let check = |text: &str, expected: Option<(&str, Option<u32>)>| {
            let got = definition_ref(&scope(), text).ok();
            let got = got.as_ref().map(|got| (got.family.as_str(), got.revision));
            assert_eq!(got, expected, "{text}");
        };
        check("web", Some(("web", None)));
        check("web:3", Some(("web", Some(3))));
        check("arn:aws:ecs:r-1:000000000000:task-definition/web:3", Some(("web", Some(3))));
        check("arn:aws:ecs:r-1:000000000000:cluster/web:3", None);
        for text in ["web:0", "web:-1", "web:x", "web:", "web:3:4", ":3", "", "a b"] {
            check(text, None);
        }
    }
}
