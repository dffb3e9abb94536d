//! Tags of whatever has an ARN.

use loadline_model::{InstanceArn, KeyValue, TaskArn};

use super::reference::{cluster_name, definition_ref, own_resource, service_key};
use super::shapes::{Tag, show_tags};
use super::{check, from_call};
use crate::api::wire::shape;
use crate::api::{Api, ApiError, Code};
use crate::command::{SetTags, TagChange, Tagged};
use crate::state::{ClusterName, ClusterStatus, NodeStatus, Scope, ServiceStatus, View};

shape! {
    /// TagResource's input.
    TagResourceRequest = "TagResourceRequest" {
        /// Of a cluster, task definition, service, task or container instance.
        resource_arn: "resourceArn" => String,
        /// Added, or replacing what has the same key.
        tags: "tags" => Vec<Tag>,
    }
}

shape! {
    /// TagResource's output.
    TagResourceResponse = "TagResourceResponse" {}
}

shape! {
    /// UntagResource's input.
    UntagResourceRequest = "UntagResourceRequest" {
        /// Of a cluster, task definition, service, task or container instance.
        resource_arn: "resourceArn" => String,
        /// Removed.
        tag_keys: "tagKeys" => Vec<String>,
    }
}

shape! {
    /// UntagResource's output.
    UntagResourceResponse = "UntagResourceResponse" {}
}

shape! {
    /// ListTagsForResource's input.
    ListTagsForResourceRequest = "ListTagsForResourceRequest" {
        /// Of a cluster, task definition, service, task or container instance.
        resource_arn: "resourceArn" => String,
    }
}

shape! {
    /// ListTagsForResource's output.
    ListTagsForResourceResponse = "ListTagsForResourceResponse" {
        /// All of them.
        tags: "tags" => Vec<Tag>,
    }
}

pub(super) async fn tag(
    api: &Api,
    request: TagResourceRequest,
) -> Result<TagResourceResponse, ApiError> {
    let put = TagChange::Put(check::tags(Some(request.tags))?);
    set(api, &request.resource_arn, put).await?;
    Ok(TagResourceResponse {})
}

pub(super) async fn untag(
    api: &Api,
    request: UntagResourceRequest,
) -> Result<UntagResourceResponse, ApiError> {
    set(api, &request.resource_arn, TagChange::Remove(request.tag_keys)).await?;
    Ok(UntagResourceResponse {})
}

async fn set(api: &Api, arn: &str, change: TagChange) -> Result<(), ApiError> {
    let view = api.engine.snapshot();
    let of = tagged(&view.scope, arn)?;
    tags_of(&view, &of).ok_or_else(|| missing(arn))?;
    api.engine.call(SetTags { of, change }).await.map_err(from_call)
}

pub(super) async fn list(
    api: &Api,
    request: ListTagsForResourceRequest,
) -> Result<ListTagsForResourceResponse, ApiError> {
    let view = api.engine.snapshot();
    let of = tagged(&view.scope, &request.resource_arn)?;
    let tags = tags_of(&view, &of).ok_or_else(|| missing(&request.resource_arn))?;
    Ok(ListTagsForResourceResponse { tags: show_tags(tags) })
}

fn missing(arn: &str) -> ApiError {
    let message = format!("The specified resource wasn't found: {arn}");
    ApiError::new(Code::ResourceNotFound, message)
}

/// What an ARN names.
pub(super) fn tagged(scope: &Scope, arn: &str) -> Result<Tagged, ApiError> {
    let resource = own_resource(scope, arn)?;
    match resource.split('/').next().unwrap_or_default() {
        "cluster" => cluster_name(scope, Some(arn)).map(Tagged::Cluster),
        "task-definition" => definition_ref(scope, arn).map(Tagged::Definition),
        "service" => {
            let (cluster, _) = resource["service/".len()..].split_once('/').unwrap_or_default();
            let cluster = ClusterName::parse(cluster).ok();
            let key = cluster.and_then(|cluster| service_key(scope, &cluster, arn));
            key.map(Tagged::Service).ok_or_else(|| missing(arn))
        }
        "task" => TaskArn::parse(arn).map(Tagged::Task).map_err(ApiError::invalid),
        "container-instance" => {
            InstanceArn::parse(arn).map(Tagged::Node).map_err(ApiError::invalid)
        }
        kind => Err(ApiError::unsupported(format_args!("resourceArn of a {kind:?}"))),
    }
}

pub(super) fn tags_of<'a>(view: &'a View, of: &Tagged) -> Option<&'a [KeyValue]> {
    match of {
        Tagged::Cluster(name) => view
            .cluster(name)
            .filter(|entry| entry.record.status == ClusterStatus::Active)
            .map(|entry| entry.record.tags.as_slice()),
        Tagged::Definition(reference) => {
            let record = view.definition(&reference.family, reference.revision?);
            record.map(|record| record.body.tags.as_slice())
        }
        Tagged::Service(key) => view
            .service(key)
            .filter(|entry| entry.record.status != ServiceStatus::Inactive)
            .map(|entry| entry.record.tags.as_slice()),
        Tagged::Task(arn) => view.task(arn).map(|task| task.tags.as_slice()),
        Tagged::Node(arn) => view
            .node(arn)
            .filter(|entry| entry.record.status != NodeStatus::Inactive)
            .map(|entry| entry.record.tags.as_slice()),
    }
}
