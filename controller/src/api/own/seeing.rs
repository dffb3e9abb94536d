//! What happened, and why something waits.

use std::time::Duration;

use loadline_model::InstanceArn;

use crate::api::ecs::{cluster_name, find_service, find_task, from_call};
use crate::api::wire::shape;
use crate::api::{Api, ApiError, Code};
use crate::backup;
use crate::engine::{Clock as _, SystemClock};
use crate::seeing::events::{Event, Query};
use crate::seeing::why::{self, Reason, Why};

/// Most events of one answer, and the default.
const EVENTS_MAX: u32 = 1000;
/// Longest wait for a first event, in milliseconds.
const WAIT_MS_MAX: u32 = 20_000;
/// Longest cursor, in bytes.
const CURSOR_BYTES_MAX: usize = 64;

shape! {
    /// ReadEvents' input.
    ReadEventsRequest = "" {
        /// Name or ARN; every cluster where absent.
        cluster: "cluster" => Option<String>,
        /// From the answer before; the oldest that is remembered where absent.
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
    /// ReadEvents' output.
    ReadEventsResponse = "" {
        /// In the order in which they happened.
        events: "events" => Vec<EventShown>,
        /// Where to read on.
        next_cursor: "nextCursor" => String,
        /// How many were forgotten before this reader came to them.
        missed: "missed" => u64,
        /// Whether the cursor was of an earlier life of the controller.
        restarted: "restarted" => bool,
    }
}

shape! {
    /// One event.
    EventShown = "" {
        /// Unix milliseconds.
        timestamp: "timestamp" => u64,
        /// task, node or service.
        kind: "kind" => String,
        /// The cluster's name.
        cluster: "cluster" => String,
        /// The task's or node's ARN, the service's name.
        subject: "subject" => String,
        /// The new status.
        status: "status" => String,
        /// Of a task.
        desired_status: "desiredStatus" => Option<String>,
        /// Of a task.
        group: "group" => Option<String>,
        /// Of a task.
        container_instance_arn: "containerInstanceArn" => Option<String>,
        /// Why, where there is a reason.
        reason: "reason" => Option<String>,
    }
}

shape! {
    /// DescribeReasons' input.
    DescribeReasonsRequest = "" {
        /// Name or ARN; `default` where absent.
        cluster: "cluster" => Option<String>,
        /// Id or ARN; one of task and service.
        task: "task" => Option<String>,
        /// Name or ARN.
        service: "service" => Option<String>,
    }
}

shape! {
    /// DescribeReasons' output.
    DescribeReasonsResponse = "" {
        /// The task's ARN, the service's name.
        subject: "subject" => String,
        /// `lastStatus` of a task, `status` of a service.
        status: "status" => String,
        /// In one sentence.
        summary: "summary" => String,
        /// What makes it so.
        reasons: "reasons" => Vec<ReasonShown>,
    }
}

shape! {
    /// One reason.
    ReasonShown = "" {
        /// Which node says so.
        container_instance_arn: "containerInstanceArn" => Option<String>,
        /// ECS's word.
        reason: "reason" => String,
        /// For people.
        detail: "detail" => String,
    }
}

shape! {
    /// CreateBackup's input.
    CreateBackupRequest = "" {
        /// Leaves out log groups, streams and events.
        without_logs: "withoutLogs" => Option<bool>,
    }
}

shape! {
    /// CreateBackup's output.
    CreateBackupResponse = "" {
        /// Where it is on the controller's machine.
        path: "path" => String,
        /// How many records it holds.
        records: "records" => u64,
        /// How many log groups, streams and events.
        logs: "logs" => u64,
    }
}

pub(super) async fn backup(
    api: &Api,
    request: CreateBackupRequest,
) -> Result<CreateBackupResponse, ApiError> {
    let Some(folder) = api.seeing.folder.clone() else {
        return Err(ApiError::new(Code::Client, "this controller keeps its state nowhere"));
    };
    let records = api.engine.records().await.map_err(from_call)?;
    let now_ms = SystemClock::new().unix_ms();
    let logs = (request.without_logs != Some(true)).then(|| api.logs.clone());
    let credentials = api.seeing.credentials.clone();
    let written = tokio::task::spawn_blocking(move || {
        let sources = backup::Sources {
            folder: &folder,
            records: &records,
            credentials: credentials.as_deref(),
            logs: logs.as_ref(),
        };
        backup::write(&sources, now_ms)
    });
    let (path, counts) = written
        .await
        .map_err(|error| ApiError::new(Code::Server, error))?
        .map_err(|error| ApiError::new(Code::Server, whole(&error)))?;
    let backup::Counts { records, logs } = counts;
    Ok(CreateBackupResponse { path: path.display().to_string(), records, logs })
}

/// An error with its causes, in one line.
fn whole(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

pub(super) async fn events(
    api: &Api,
    request: ReadEventsRequest,
) -> Result<ReadEventsResponse, ApiError> {
    let scope = &api.engine.snapshot().scope;
    let cluster = request.cluster.as_deref().map(|text| cluster_name(scope, Some(text)));
    let limit = super::within("limit", request.limit, 1, EVENTS_MAX, EVENTS_MAX)?;
    let wait_ms = super::within("waitMs", request.wait_ms, 0, WAIT_MS_MAX, 0)?;
    let query = Query {
        cursor: request.cursor.unwrap_or_default(),
        cluster: cluster.transpose()?,
        since_ms: request.since_ms.unwrap_or(0),
        events_max: usize::try_from(limit).unwrap_or(1),
    };
    if CURSOR_BYTES_MAX < query.cursor.len() {
        let message = format!("cursor must have at most {CURSOR_BYTES_MAX} bytes");
        return Err(ApiError::invalid(message));
    }
    let patience = Duration::from_millis(wait_ms.into());
    let page = api.seeing.events.read(&query, patience).await;
    Ok(ReadEventsResponse {
        events: page.events.into_iter().map(show).collect(),
        next_cursor: page.next,
        missed: page.missed,
        restarted: page.restarted,
    })
}

fn show(event: Event) -> EventShown {
    EventShown {
        timestamp: event.at_ms,
        kind: event.kind.as_str().to_owned(),
        cluster: event.cluster.to_string(),
        subject: event.subject,
        status: event.status,
        desired_status: event.desired_status.map(|status| status.as_str().to_owned()),
        group: event.group,
        container_instance_arn: event.node.map(String::from),
        reason: event.reason,
    }
}

pub(super) async fn reasons(
    api: &Api,
    request: DescribeReasonsRequest,
) -> Result<DescribeReasonsResponse, ApiError> {
    let view = api.engine.snapshot();
    let cluster = cluster_name(&view.scope, request.cluster.as_deref())?;
    let applied = |node: &InstanceArn| api.engine.applied_generation(node);
    let (subject, why) = match (&request.task, &request.service) {
        (Some(task), None) => {
            let task = find_task(&view, &cluster, task)?;
            (task.arn.to_string(), why::of_task(&view, task, &applied))
        }
        (None, Some(service)) => {
            let entry = find_service(&view, &cluster, service)?;
            let now_ms = SystemClock::new().unix_ms();
            (entry.record.key.name.to_string(), why::of_service(&view, entry, now_ms, &applied))
        }
        _ => return Err(ApiError::invalid("one of task and service is required")),
    };
    let Why { status, summary, reasons } = why;
    let reasons = reasons.into_iter().map(|Reason { node, word, detail }| ReasonShown {
        container_instance_arn: node.map(String::from),
        reason: word,
        detail,
    });
    Ok(DescribeReasonsResponse { subject, status, summary, reasons: reasons.collect() })
}
