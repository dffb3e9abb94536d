//! CloudWatch Logs: groups, streams, events. [`crate::logs`] keeps them.

mod events;
mod groups;
mod needs;
mod shapes;

pub(crate) use self::groups::group_arn;
pub(super) use self::groups::{group_name, stream_name};
pub(super) use self::needs::needs;
use crate::api::wire::operations;
use crate::api::{Api, ApiError, Code};
use crate::logs::{LogStore, LogsError, Refusal, Stream, Write, Written};
use crate::state::Scope;

operations! {
    "CreateLogGroup" => groups::create, shapes::CreateLogGroupRequest => shapes::Nothing;
    "DeleteLogGroup" => groups::delete, shapes::DeleteLogGroupRequest => shapes::Nothing;
    "DescribeLogGroups" => groups::describe,
        shapes::DescribeLogGroupsRequest => shapes::DescribeLogGroupsResponse;
    "PutRetentionPolicy" => groups::retain, shapes::PutRetentionPolicyRequest => shapes::Nothing;
    "DeleteRetentionPolicy" => groups::keep,
        shapes::DeleteRetentionPolicyRequest => shapes::Nothing;
    "TagResource" => groups::tag, shapes::TagResourceRequest => shapes::Nothing;
    "UntagResource" => groups::untag, shapes::UntagResourceRequest => shapes::Nothing;
    "ListTagsForResource" => groups::list_tags,
        shapes::ListTagsForResourceRequest => shapes::ListTagsForResourceResponse;
    "CreateLogStream" => groups::create_stream,
        shapes::CreateLogStreamRequest => shapes::Nothing;
    "DeleteLogStream" => groups::delete_stream,
        shapes::DeleteLogStreamRequest => shapes::Nothing;
    "DescribeLogStreams" => groups::describe_streams,
        shapes::DescribeLogStreamsRequest => shapes::DescribeLogStreamsResponse;
    "PutLogEvents" => events::put, shapes::PutLogEventsRequest => shapes::PutLogEventsResponse;
    "GetLogEvents" => events::get, shapes::GetLogEventsRequest => shapes::GetLogEventsResponse;
    "FilterLogEvents" => events::filter,
        shapes::FilterLogEventsRequest => shapes::FilterLogEventsResponse;
}

/// Operations that AWS has and Loadline has not, where there is something to say about it.
pub(super) fn absent(operation: &str) -> Option<ApiError> {
    let live = "StartLiveTail is not supported, because its events are pushed over another host; \
                poll FilterLogEvents instead, as `aws logs tail --follow` does";
    let refused = |why| ApiError::new(Code::of("InvalidOperationException", 400), why);
    (operation == "StartLiveTail").then(|| refused(live))
}

fn refusal(error: LogsError) -> ApiError {
    let code = match &error {
        LogsError::Refused(Refusal::NotFound(_)) => Code::ResourceNotFound,
        LogsError::Refused(Refusal::Exists(_)) => Code::of("ResourceAlreadyExistsException", 400),
        LogsError::Refused(Refusal::Limit { .. }) => Code::LimitExceeded,
        LogsError::Busy => Code::Throttling,
        LogsError::Store(_) => Code::of("ServiceUnavailableException", 500),
    };
    ApiError::new(code, error)
}

async fn write(api: &Api, write: Write) -> Result<Written, ApiError> {
    api.logs.write(write, events::now_ms()).await.map_err(refusal)
}

/// A question to the store, which blocks.
async fn ask<T: Send + 'static>(
    api: &Api,
    question: impl FnOnce(&LogStore) -> Result<T, LogsError> + Send + 'static,
) -> Result<T, ApiError> {
    let store = api.logs.clone();
    let answered = tokio::task::spawn_blocking(move || question(&store)).await;
    answered.map_err(|error| ApiError::new(Code::Server, error))?.map_err(refusal)
}

/// The group that is meant by its name or by its ARN. An ARN of elsewhere is none: what a caller
/// may is judged by the very group that is then touched ([`needs`]).
fn named<'a>(scope: &Scope, given: &'a str) -> Option<&'a str> {
    if !given.starts_with("arn:") {
        return Some(given);
    }
    let name = given.strip_prefix(&group_arn(scope, ""))?;
    Some(name.strip_suffix(":*").unwrap_or(name))
}

/// The group that is named, by its name or ARN.
fn group_of(
    api: &Api,
    name: Option<String>,
    identifier: Option<String>,
) -> Result<String, ApiError> {
    let given = match (name, identifier) {
        (Some(name), None) | (None, Some(name)) => name,
        _ => {
            let message = "one of logGroupName and logGroupIdentifier is required";
            return Err(ApiError::invalid(message));
        }
    };
    let name = named(&api.engine.snapshot().scope, &given).map(ToOwned::to_owned);
    name.ok_or_else(|| {
        ApiError::invalid(format_args!("{given:?} is not the ARN of a log group of this account"))
    })
}

async fn stream(api: &Api, group: String, name: String) -> Result<Stream, ApiError> {
    ask(api, move |store| {
        if store.group(&group)?.is_none() {
            return Err(Refusal::NotFound("group").into());
        }
        let found = store.stream(&group, &name)?;
        found.ok_or(LogsError::Refused(Refusal::NotFound("stream")))
    })
    .await
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A number of results.
fn limit(given: Option<i64>, default: usize, max: usize) -> Result<usize, ApiError> {
    let Some(given) = given else { return Ok(default) };
    usize::try_from(given).ok().filter(|n| (1..=max).contains(n)).ok_or_else(|| {
        ApiError::invalid(format_args!("limit must be between 1 and {max}, not {given}"))
    })
}
