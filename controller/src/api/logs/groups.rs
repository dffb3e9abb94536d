//! Groups and streams.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::shapes::{
    CreateLogGroupRequest, CreateLogStreamRequest, DeleteLogGroupRequest, DeleteLogStreamRequest,
    DeleteRetentionPolicyRequest, DescribeLogGroupsRequest, DescribeLogGroupsResponse,
    DescribeLogStreamsRequest, DescribeLogStreamsResponse, ListTagsForResourceRequest,
    ListTagsForResourceResponse, LogGroup, LogStream, Nothing, PutRetentionPolicyRequest,
    TagResourceRequest, UntagResourceRequest,
};
use super::{ask, group_of, limit, number, write};
use crate::api::{Api, ApiError};
use crate::logs::{Group, LogsError, Refusal, Stream, Write};
use crate::state::Scope;

const NAME_CHARS_MAX: usize = 512;
const PAGE_MAX: usize = 50;
/// The retentions that CloudWatch knows, in days.
const RETENTIONS: [i64; 22] = [
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922,
    3288, 3653,
];

/// The part of a group's ARN before `:*`.
pub(crate) fn group_arn(scope: &Scope, name: &str) -> String {
    let Scope { partition, region, account } = scope;
    format!("arn:{partition}:logs:{region}:{account}:log-group:{name}")
}

pub(in crate::api) fn group_name(name: &str) -> Result<(), ApiError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-/.#".contains(c);
    if name.is_empty() || NAME_CHARS_MAX < name.len() || !name.chars().all(allowed) {
        return Err(ApiError::invalid(format_args!(
            "logGroupName must have 1 to {NAME_CHARS_MAX} characters: letters, digits and _-/.#"
        )));
    }
    if name.starts_with("aws/") {
        return Err(ApiError::invalid("Log groups starting with AWS/ are reserved for AWS."));
    }
    Ok(())
}

pub(in crate::api) fn stream_name(name: &str) -> Result<(), ApiError> {
    let bad = name.contains([':', '*']) || name.chars().any(char::is_control);
    if name.is_empty() || NAME_CHARS_MAX < name.chars().count() || bad {
        return Err(ApiError::invalid(format_args!(
            "logStreamName must have 1 to {NAME_CHARS_MAX} characters, none of them ':' or '*'"
        )));
    }
    Ok(())
}

fn tags(tags: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, ApiError> {
    for (key, value) in &tags {
        if key.is_empty() || 128 < key.chars().count() || 256 < value.chars().count() {
            let message = "a tag's key has 1 to 128 characters and its value at most 256";
            return Err(ApiError::invalid(message));
        }
    }
    Ok(tags)
}

pub(super) async fn create(api: &Api, request: CreateLogGroupRequest) -> Result<Nothing, ApiError> {
    group_name(&request.log_group_name)?;
    let tags = tags(request.tags.unwrap_or_default())?;
    write(api, Write::CreateGroup { name: request.log_group_name, tags, may_exist: false }).await?;
    Ok(Nothing {})
}

pub(super) async fn delete(api: &Api, request: DeleteLogGroupRequest) -> Result<Nothing, ApiError> {
    write(api, Write::DeleteGroup(request.log_group_name)).await?;
    Ok(Nothing {})
}

pub(super) async fn describe(
    api: &Api,
    request: DescribeLogGroupsRequest,
) -> Result<DescribeLogGroupsResponse, ApiError> {
    let most = limit(request.limit, PAGE_MAX, PAGE_MAX)?;
    let (prefix, part) = match (request.log_group_name_prefix, request.log_group_name_pattern) {
        (Some(_), Some(_)) => {
            let message = "logGroupNamePrefix and logGroupNamePattern exclude each other";
            return Err(ApiError::invalid(message));
        }
        (prefix, part) => (prefix.unwrap_or_default(), part.unwrap_or_default()),
    };
    let after = request.next_token.unwrap_or_default();
    let keep = move |group: &Group| {
        group.name.starts_with(&prefix) && group.name.to_lowercase().contains(&part.to_lowercase())
    };
    let mut groups = ask(api, move |store| store.groups(&after, most + 1, keep)).await?;
    let more = most < groups.len();
    groups.truncate(most);
    let next_token = groups.last().filter(|_| more).map(|group| group.name.clone());
    let scope = &api.engine.snapshot().scope;
    let show = |group: Group| LogGroup {
        arn: format!("{}:*", group_arn(scope, &group.name)),
        log_group_arn: group_arn(scope, &group.name),
        log_group_name: group.name,
        creation_time: number(group.created_at_ms),
        retention_in_days: group.retention_days.map(i64::from),
        metric_filter_count: 0,
        stored_bytes: number(group.stored_bytes),
        log_group_class: "STANDARD".to_owned(),
    };
    Ok(DescribeLogGroupsResponse { log_groups: groups.into_iter().map(show).collect(), next_token })
}

pub(super) async fn retain(
    api: &Api,
    request: PutRetentionPolicyRequest,
) -> Result<Nothing, ApiError> {
    let days = request.retention_in_days;
    if !RETENTIONS.contains(&days) {
        let message = format!("retentionInDays must be one of {RETENTIONS:?}, not {days}");
        return Err(ApiError::invalid(message));
    }
    let days = u32::try_from(days).ok();
    write(api, Write::Retention(request.log_group_name, days)).await?;
    Ok(Nothing {})
}

pub(super) async fn keep(
    api: &Api,
    request: DeleteRetentionPolicyRequest,
) -> Result<Nothing, ApiError> {
    write(api, Write::Retention(request.log_group_name, None)).await?;
    Ok(Nothing {})
}

pub(super) async fn tag(api: &Api, request: TagResourceRequest) -> Result<Nothing, ApiError> {
    let group = group_of(api, Some(request.resource_arn), None)?;
    write(api, Write::Tag(group, tags(request.tags)?, vec![])).await?;
    Ok(Nothing {})
}

pub(super) async fn untag(api: &Api, request: UntagResourceRequest) -> Result<Nothing, ApiError> {
    let group = group_of(api, Some(request.resource_arn), None)?;
    write(api, Write::Tag(group, BTreeMap::new(), request.tag_keys)).await?;
    Ok(Nothing {})
}

pub(super) async fn list_tags(
    api: &Api,
    request: ListTagsForResourceRequest,
) -> Result<ListTagsForResourceResponse, ApiError> {
    let name = group_of(api, Some(request.resource_arn), None)?;
    let group = ask(api, move |store| {
        store.group(&name)?.ok_or(LogsError::Refused(Refusal::NotFound("group")))
    });
    Ok(ListTagsForResourceResponse { tags: group.await?.tags })
}

pub(super) async fn create_stream(
    api: &Api,
    request: CreateLogStreamRequest,
) -> Result<Nothing, ApiError> {
    stream_name(&request.log_stream_name)?;
    let (group, name) = (request.log_group_name, request.log_stream_name);
    write(api, Write::CreateStream { group, name, may_exist: false }).await?;
    Ok(Nothing {})
}

pub(super) async fn delete_stream(
    api: &Api,
    request: DeleteLogStreamRequest,
) -> Result<Nothing, ApiError> {
    write(api, Write::DeleteStream(request.log_group_name, request.log_stream_name)).await?;
    Ok(Nothing {})
}

pub(super) async fn describe_streams(
    api: &Api,
    request: DescribeLogStreamsRequest,
) -> Result<DescribeLogStreamsResponse, ApiError> {
    let most = limit(request.limit, PAGE_MAX, PAGE_MAX)?;
    let group = group_of(api, request.log_group_name, request.log_group_identifier)?;
    let by_time = match request.order_by.as_deref() {
        None | Some("LogStreamName") => false,
        Some("LastEventTime") => true,
        Some(other) => {
            return Err(ApiError::invalid(format_args!("orderBy has no value {other:?}")));
        }
    };
    let prefix = request.log_stream_name_prefix.unwrap_or_default();
    if by_time && !prefix.is_empty() {
        let message = "Cannot order by LastEventTime with a logStreamNamePrefix.";
        return Err(ApiError::invalid(message));
    }
    let of = group.clone();
    let mut streams = ask(api, move |store| {
        if store.group(&of)?.is_none() {
            return Err(Refusal::NotFound("group").into());
        }
        store.streams(&of, |stream| stream.name.starts_with(&prefix))
    })
    .await?;
    if by_time {
        streams.sort_by_key(|stream| (stream.last_event_ms, Reverse(stream.name.clone())));
    }
    if request.descending == Some(true) {
        streams.reverse();
    }
    if let Some(token) = &request.next_token {
        let at = streams.iter().position(|stream| stream.name == *token);
        let at = at.ok_or_else(|| ApiError::invalid("The specified nextToken is invalid."))?;
        streams.drain(..=at);
    }
    let more = most < streams.len();
    streams.truncate(most);
    let next_token = streams.last().filter(|_| more).map(|stream| stream.name.clone());
    let group_arn = group_arn(&api.engine.snapshot().scope, &group);
    let show = |stream: Stream| LogStream {
        arn: format!("{group_arn}:log-stream:{}", stream.name),
        log_stream_name: stream.name,
        creation_time: number(stream.created_at_ms),
        first_event_timestamp: stream.first_event_ms.map(number),
        last_event_timestamp: stream.last_event_ms.map(number),
        last_ingestion_time: stream.ingested_at_ms.map(number),
        stored_bytes: number(stream.stored_bytes),
    };
    let log_streams = streams.into_iter().map(show).collect();
    Ok(DescribeLogStreamsResponse { log_streams, next_token })
}
