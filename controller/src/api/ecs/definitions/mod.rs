//! Task definitions.

mod delete;
mod lifecycle;
mod linux;
mod logs;
mod network;
mod read;
mod secrets;
mod shapes;
mod show;
mod storage;
mod units;

use std::sync::Arc;

pub(super) use self::delete::{
    DeleteTaskDefinitionsRequest, DeleteTaskDefinitionsResponse, delete,
};
pub(super) use self::read::{
    CONSTRAINTS_MAX, container_cpu, container_memory, environment, member_of, words,
};
pub(super) use self::shapes::{
    ContainerDefinition, DeregisterTaskDefinitionRequest, DeregisterTaskDefinitionResponse,
    DescribeTaskDefinitionRequest, DescribeTaskDefinitionResponse,
    ListTaskDefinitionFamiliesRequest, ListTaskDefinitionFamiliesResponse,
    ListTaskDefinitionsRequest, ListTaskDefinitionsResponse, RegisterTaskDefinitionRequest,
    RegisterTaskDefinitionResponse,
};
pub(super) use self::units::{cpu_units, memory_mib};

use super::page::Pager;
use super::reference::definition_ref;
use super::shapes::show_tags;
use super::{check, from_call};
use crate::api::{Api, ApiError};
use crate::command::{DefinitionRef, DeregisterTaskDefinition, RegisterTaskDefinition};
use crate::state::{DefinitionKey, Family, TaskDefinition, View};

pub(super) async fn register(
    api: &Api,
    request: RegisterTaskDefinitionRequest,
) -> Result<RegisterTaskDefinitionResponse, ApiError> {
    let scope = Arc::clone(&api.engine.snapshot().scope);
    let body = read::definition(&scope, request)?;
    let command = RegisterTaskDefinition { body, by: api.caller_arn() };
    let made = api.engine.call(command).await.map_err(from_call)?;
    let tags = show_tags(&made.body.tags);
    Ok(RegisterTaskDefinitionResponse {
        task_definition: show::definition(&scope, &made),
        tags: Some(tags).filter(|tags| !tags.is_empty()),
    })
}

pub(super) async fn deregister(
    api: &Api,
    request: DeregisterTaskDefinitionRequest,
) -> Result<DeregisterTaskDefinitionResponse, ApiError> {
    let scope = Arc::clone(&api.engine.snapshot().scope);
    let DefinitionRef { family, revision } = definition_ref(&scope, &request.task_definition)?;
    let revision = revision.ok_or_else(|| {
        ApiError::invalid("taskDefinition must name a revision: FAMILY:REVISION or an ARN")
    })?;
    let command = DeregisterTaskDefinition { family, revision };
    let record = api.engine.call(command).await.map_err(from_call)?;
    let task_definition = show::definition(&scope, &record);
    Ok(DeregisterTaskDefinitionResponse { task_definition })
}

/// The revision that a reference means: of any status where it names one, else the newest ACTIVE.
fn find<'a>(view: &'a View, reference: &DefinitionRef) -> Option<&'a Arc<TaskDefinition>> {
    match reference.revision {
        Some(revision) => view.definition(&reference.family, revision),
        None => view.latest_active(&reference.family),
    }
}

pub(super) async fn describe(
    api: &Api,
    request: DescribeTaskDefinitionRequest,
) -> Result<DescribeTaskDefinitionResponse, ApiError> {
    let with_tags = check::include_tags(request.include.as_deref(), &[])?;
    let view = api.engine.snapshot();
    let reference = definition_ref(&view.scope, &request.task_definition)?;
    let record = find(&view, &reference)
        .ok_or_else(|| ApiError::client("Unable to describe task definition."))?;
    Ok(DescribeTaskDefinitionResponse {
        task_definition: show::definition(&view.scope, record),
        tags: if with_tags { show_tags(&record.body.tags) } else { vec![] },
    })
}

pub(super) async fn list(
    api: &Api,
    request: ListTaskDefinitionsRequest,
) -> Result<ListTaskDefinitionsResponse, ApiError> {
    let statuses = ["ACTIVE", "INACTIVE", "DELETE_IN_PROGRESS"];
    check::one_of("status", request.status.as_deref(), &statuses, &[])?;
    check::one_of("sort", request.sort.as_deref(), &["ASC", "DESC"], &[])?;
    let status = request.status.as_deref().unwrap_or("ACTIVE");
    let descending = request.sort.as_deref() == Some("DESC");
    let family = request.family_prefix.as_deref().filter(|family| !family.is_empty());
    let question = format!("ListTaskDefinitions {status} {descending} {family:?}");
    let pager = Pager::new(question, request.next_token.as_deref(), request.max_results)?;
    let after = pager.after().map(read_key).transpose()?;
    let view = api.engine.snapshot();
    let wanted = |record: &&Arc<TaskDefinition>| {
        record.status.as_str() == status
            && family.is_none_or(|family| record.body.family.as_str() == family)
    };
    let key = |record: &&Arc<TaskDefinition>| record.key().to_string();
    let (page, next_token) = if descending {
        let rest = view.definitions().rev().filter(wanted);
        pager.page(rest.filter(|r| after.as_ref().is_none_or(|after| r.key() < *after)), key)
    } else {
        let rest = view.definitions().filter(wanted);
        pager.page(rest.filter(|r| after.as_ref().is_none_or(|after| *after < r.key())), key)
    };
    let arns = page.into_iter().map(|record| view.scope.definition_arn(&record.key()));
    Ok(ListTaskDefinitionsResponse { task_definition_arns: arns.collect(), next_token })
}

/// A key that a page token carries; its checksum has vouched for it.
fn read_key(text: &str) -> Result<DefinitionKey, ApiError> {
    let read = || {
        let (family, revision) = text.split_once(':')?;
        let family = Family::parse(family).ok()?;
        Some(DefinitionKey { family, revision: revision.parse().ok()? })
    };
    read().ok_or_else(|| ApiError::invalid("Invalid token: nextToken"))
}

pub(super) async fn list_families(
    api: &Api,
    request: ListTaskDefinitionFamiliesRequest,
) -> Result<ListTaskDefinitionFamiliesResponse, ApiError> {
    check::one_of("status", request.status.as_deref(), &["ACTIVE", "INACTIVE", "ALL"], &[])?;
    let status = request.status.as_deref().unwrap_or("ALL");
    let prefix = request.family_prefix.as_deref().unwrap_or_default();
    let question = format!("ListTaskDefinitionFamilies {status} {prefix:?}");
    let pager = Pager::new(question, request.next_token.as_deref(), request.max_results)?;
    let view = api.engine.snapshot();
    let families = view
        .families()
        .filter(|(_, active)| match status {
            "ACTIVE" => *active,
            "INACTIVE" => !*active,
            _ => true,
        })
        .map(|(family, _)| family.as_str())
        .filter(|family| family.starts_with(prefix))
        .filter(|family| pager.after().is_none_or(|after| after < *family));
    let (families, next_token) = pager.page(families, ToString::to_string);
    let families = families.into_iter().map(ToOwned::to_owned).collect();
    Ok(ListTaskDefinitionFamiliesResponse { families, next_token })
}

#[cfg(test)]
mod tests;
