//! What a container wrote, asked of its node.

use loadline_model::ContainerName;

use super::within;
use crate::api::ecs::{cluster_name, container_of, find_task};
use crate::api::wire::shape;
use crate::api::{Api, ApiError, Code};
use crate::nodes::{LogLine, LogQuery, LogStream, LogsError};
use crate::state::{Task, View};

/// Most events of one answer, and the default.
const EVENTS_MAX: u32 = 1000;
/// Longest wait for a first event, in milliseconds.
const WAIT_MS_MAX: u32 = 20_000;
/// Longest cursor, in bytes: only the agent knows what is in it.
const CURSOR_BYTES_MAX: usize = 1024;

shape! {
    /// ReadTaskLogs' input.
    ReadTaskLogsRequest = "" {
        /// Name or ARN; `default` where absent.
        cluster: "cluster" => Option<String>,
        /// Id or ARN.
        task: "task" => String,
        /// May be absent where the task has one container.
        container_name: "containerName" => Option<String>,
        /// From the answer before; the beginning where absent.
        cursor: "cursor" => Option<String>,
        /// 1 to 1,000.
        limit: "limit" => Option<i64>,
        /// How long to wait for a first event, 0 to 20,000.
        wait_ms: "waitMs" => Option<i64>,
        /// Skip what is older, Unix milliseconds.
        since_ms: "sinceMs" => Option<u64>,
    }
}

shape! {
    /// ReadTaskLogs' output.
    ReadTaskLogsResponse = "" {
        /// In the order in which they were written.
        events: "events" => Vec<LogEvent>,
        /// Where to read on.
        next_cursor: "nextCursor" => String,
        /// Whether the container has ended and this was the rest.
        end: "end" => bool,
    }
}

shape! {
    /// One line, or a piece of a long one.
    LogEvent = "" {
        /// Unix milliseconds.
        timestamp: "timestamp" => u64,
        /// stdout or stderr.
        stream: "stream" => String,
        /// Without the newline; what is not UTF-8 is replaced by U+FFFD.
        message: "message" => String,
        /// Whether the line goes on in the next event of the same stream.
        partial: "partial" => bool,
    }
}

pub(super) async fn read(
    api: &Api,
    request: ReadTaskLogsRequest,
) -> Result<ReadTaskLogsResponse, ApiError> {
    let view = api.engine.snapshot();
    let cluster = cluster_name(&view.scope, request.cluster.as_deref())?;
    let task = find_task(&view, &cluster, &request.task)?;
    let container = container_of(task, "containerName", request.container_name.as_deref())?;
    is_kept(&view, task, &container)?;
    let query = LogQuery {
        task: task.arn.clone(),
        container,
        cursor: request.cursor.unwrap_or_default(),
        events_max: within("limit", request.limit, 1, EVENTS_MAX, EVENTS_MAX)?,
        wait_ms: within("waitMs", request.wait_ms, 0, WAIT_MS_MAX, 0)?,
        since_ms: request.since_ms.unwrap_or(0),
    };
    if CURSOR_BYTES_MAX < query.cursor.len() {
        let message = format!("cursor must have at most {CURSOR_BYTES_MAX} bytes");
        return Err(ApiError::invalid(message));
    }
    let page = api.relay.read(&task.node, query).await.map_err(refusal)?;
    let events = page.events.into_iter().map(show).collect();
    Ok(ReadTaskLogsResponse { events, next_cursor: page.next_cursor, end: page.end })
}

/// With the log driver none there is nothing to read.
fn is_kept(view: &View, task: &Task, container: &ContainerName) -> Result<(), ApiError> {
    let definition = view.definitions.get(&task.definition);
    let mut containers = definition.into_iter().flat_map(|of| &of.body.containers);
    let log = containers.find(|spec| spec.name == *container).and_then(|spec| spec.log.as_ref());
    if log.is_some_and(|log| log.driver == "none") {
        return Err(ApiError::client(format_args!(
            "container {container} has the log driver none: nothing of what it writes is kept"
        )));
    }
    Ok(())
}

fn refusal(error: LogsError) -> ApiError {
    let code = match &error {
        LogsError::NotConnected(_) | LogsError::Agent(_) => Code::Client,
        LogsError::Busy(_) => Code::Throttling,
        LogsError::NoAnswer(_) | LogsError::Broken { .. } => Code::Server,
    };
    ApiError::new(code, error)
}

fn show(line: LogLine) -> LogEvent {
    LogEvent {
        timestamp: line.timestamp_ms,
        stream: match line.stream {
            LogStream::Stdout => "stdout".into(),
            LogStream::Stderr => "stderr".into(),
        },
        message: String::from_utf8_lossy(&line.message).into_owned(),
        partial: line.partial,
    }
}
