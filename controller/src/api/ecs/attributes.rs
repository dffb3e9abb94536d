//! Attributes that callers put on nodes, for placement constraints and strategies to ask for.

use loadline_model::InstanceArn;

use super::page::Pager;
use super::reference::{active_cluster, cluster_name, instance_arn};
use super::shapes::Attribute;
use super::{check, from_call};
use crate::api::wire::shape;
use crate::api::{Api, ApiError, Code};
use crate::command::{AttributeChange, SetAttributes};
use crate::state::{ClusterName, NodeAttribute, NodeStatus, View};

/// Most attributes of one call (ECS's own bound).
const ATTRIBUTES_MAX: usize = 10;
const TEXT_CHARS_MAX: usize = 128;

shape! {
    /// PutAttributes' input.
    PutAttributesRequest = "PutAttributesRequest" {
        /// Name or ARN; `default` where absent.
        cluster: "cluster" => Option<String>,
        /// 1 to 10, each with the node that it is for.
        attributes: "attributes" => Vec<Attribute>,
    }
}

shape! {
    /// PutAttributes' output.
    PutAttributesResponse = "PutAttributesResponse" {
        /// As they were put.
        attributes: "attributes" => Vec<Attribute>,
    }
}

shape! {
    /// DeleteAttributes' input.
    DeleteAttributesRequest = "DeleteAttributesRequest" {
        /// Name or ARN; `default` where absent.
        cluster: "cluster" => Option<String>,
        /// 1 to 10, each with the node that it is of.
        attributes: "attributes" => Vec<Attribute>,
    }
}

shape! {
    /// DeleteAttributes' output.
    DeleteAttributesResponse = "DeleteAttributesResponse" {
        /// As they were given.
        attributes: "attributes" => Vec<Attribute>,
    }
}

shape! {
    /// ListAttributes' input.
    ListAttributesRequest = "ListAttributesRequest" {
        /// Name or ARN; `default` where absent.
        cluster: "cluster" => Option<String>,
        /// `container-instance`.
        target_type: "targetType" => String,
        /// Only those of this name.
        attribute_name: "attributeName" => Option<String>,
        /// Only those with this value.
        attribute_value: "attributeValue" => Option<String>,
        /// From the page before.
        next_token: "nextToken" => Option<String>,
        /// 1 to 100.
        max_results: "maxResults" => Option<i32>,
    }
}

shape! {
    /// ListAttributes' output.
    ListAttributesResponse = "ListAttributesResponse" {
        /// By node, then by name.
        attributes: "attributes" => Vec<Attribute>,
        /// For the next page.
        next_token: "nextToken" => Option<String>,
    }
}

pub(super) async fn put(
    api: &Api,
    request: PutAttributesRequest,
) -> Result<PutAttributesResponse, ApiError> {
    let cluster = request.cluster.as_deref();
    let attributes = set(api, cluster, request.attributes, AttributeChange::Put).await?;
    Ok(PutAttributesResponse { attributes })
}

pub(super) async fn delete(
    api: &Api,
    request: DeleteAttributesRequest,
) -> Result<DeleteAttributesResponse, ApiError> {
    let cluster = request.cluster.as_deref();
    let attributes = set(api, cluster, request.attributes, AttributeChange::Delete).await?;
    Ok(DeleteAttributesResponse { attributes })
}

async fn set(
    api: &Api,
    cluster: Option<&str>,
    given: Vec<Attribute>,
    change: AttributeChange,
) -> Result<Vec<Attribute>, ApiError> {
    if given.is_empty() || ATTRIBUTES_MAX < given.len() {
        let message = format!("attributes must have 1 to {ATTRIBUTES_MAX} items");
        return Err(ApiError::invalid(message));
    }
    let view = api.engine.snapshot();
    let cluster = cluster_name(&view.scope, cluster)?;
    active_cluster(&view, &cluster)?;
    let of = given
        .iter()
        .enumerate()
        .map(|(index, attribute)| read(&view, &cluster, index, attribute))
        .collect::<Result<Vec<_>, _>>()?;
    let shown = of.iter().map(|(node, attribute)| show(node, attribute)).collect();
    api.engine.call(SetAttributes { cluster, of, change }).await.map_err(from_call)?;
    Ok(shown)
}

fn read(
    view: &View,
    cluster: &ClusterName,
    index: usize,
    given: &Attribute,
) -> Result<(InstanceArn, NodeAttribute), ApiError> {
    let at = format!("attributes[{index}]");
    let kind = given.target_type.as_deref();
    check::one_of(&format!("{at}.targetType"), kind, &["container-instance"], &[])?;
    let target = given
        .target_id
        .as_deref()
        .filter(|id| !id.is_empty())
        .ok_or_else(|| ApiError::invalid(format_args!("{at}.targetId is required")))?;
    let node = instance_arn(&view.scope, cluster, target).filter(|arn| {
        view.node(arn).is_some_and(|entry| entry.record.status != NodeStatus::Inactive)
    });
    let node = node.ok_or_else(|| {
        let message = format!("{at}.targetId: the container instance {target} was not found");
        ApiError::new(Code::TargetNotFound, message)
    })?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_./\\".contains(c);
    let name = &given.name;
    let length = name.chars().count();
    if length == 0 || TEXT_CHARS_MAX < length || !name.chars().all(allowed) {
        return Err(ApiError::invalid(format_args!(
            "{at}.name must have 1 to {TEXT_CHARS_MAX} letters, digits and -_./\\"
        )));
    }
    if name.starts_with("ecs.") || name.starts_with("com.amazonaws.") {
        return Err(ApiError::invalid(format_args!("{at}.name: {name} is reserved for agents")));
    }
    let value = given.value.clone();
    if let Some(value) = &value {
        check::text(&format!("{at}.value"), value, TEXT_CHARS_MAX)?;
        if value.trim() != value || value.is_empty() {
            return Err(ApiError::invalid(format_args!(
                "{at}.value must not be empty, and neither begin nor end with a space"
            )));
        }
    }
    Ok((node, NodeAttribute { name: name.clone(), value }))
}

pub(super) async fn list(
    api: &Api,
    request: ListAttributesRequest,
) -> Result<ListAttributesResponse, ApiError> {
    check::one_of("targetType", Some(&request.target_type), &["container-instance"], &[])?;
    let (name, value) = (request.attribute_name.as_deref(), request.attribute_value.as_deref());
    if name.is_none() && value.is_some() {
        return Err(ApiError::invalid("attributeValue needs attributeName beside it"));
    }
    let view = api.engine.snapshot();
    let cluster = cluster_name(&view.scope, request.cluster.as_deref())?;
    active_cluster(&view, &cluster)?;
    let question = format!("ListAttributes {cluster} {name:?} {value:?}");
    let pager = Pager::new(question, request.next_token.as_deref(), request.max_results)?;
    let after = pager.after().and_then(|key| key.split_once(' '));
    let attributes = view
        .nodes_in(&cluster, None)
        .filter(|entry| entry.record.status != NodeStatus::Inactive)
        .flat_map(|entry| entry.record.attributes.iter().map(|a| (&entry.record.arn, a)))
        .filter(|(_, attribute)| name.is_none_or(|name| attribute.name == name))
        .filter(|(_, attribute)| value.is_none() || attribute.value.as_deref() == value)
        .filter(|(node, attribute)| {
            after.is_none_or(|after| after < (node.as_str(), attribute.name.as_str()))
        });
    let (page, next_token) = pager.page(attributes, |(node, a)| format!("{node} {}", a.name));
    let attributes = page.into_iter().map(|(node, attribute)| show(node, attribute)).collect();
    Ok(ListAttributesResponse { attributes, next_token })
}

fn show(node: &InstanceArn, attribute: &NodeAttribute) -> Attribute {
    Attribute {
        name: attribute.name.clone(),
        value: attribute.value.clone(),
        target_type: Some("container-instance".into()),
        target_id: Some(node.to_string()),
    }
}
