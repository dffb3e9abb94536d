//! Answers ReadLogs: a piece of a container's output, waited for where there is none yet.

use std::time::{Duration, Instant};

use loadline_proto::v1::{self, LogChunk, ReadLogs};

use crate::logs::reader::Event;
use crate::logs::{Batch, Cursor, Stream, read as read_files};
use crate::session::link::{LogPlace, LogPlaces};
use crate::text::chain;

/// Most events in one answer.
const EVENTS_MAX: u32 = 1_000;

/// Longest wait for the first event, in milliseconds.
const WAIT_MS_MAX: u32 = 20_000;

/// How often the files are looked at while waiting.
const LOOK_EVERY_MS: u64 = 100;

/// An answer that says why there is none.
#[must_use]
pub fn refuse(request_id: u64, why: &str) -> LogChunk {
    let error = Some(why.to_owned());
    LogChunk { request_id, events: Vec::new(), next_cursor: String::new(), end: false, error }
}

/// Reads what is asked for.
pub async fn read(places: &dyn LogPlaces, request: ReadLogs) -> LogChunk {
    let id = request.request_id;
    let Some(mut cursor) = Cursor::parse(&request.cursor) else {
        return refuse(id, "the cursor is not one that this agent gave");
    };
    let events_max = usize::try_from(request.events_max.clamp(1, EVENTS_MAX)).unwrap_or(1);
    let wait = Duration::from_millis(u64::from(request.wait_ms.min(WAIT_MS_MAX)));
    let until = Instant::now() + wait;
    loop {
        // Asked before the files are read: what was ended then has nothing after what is read.
        let Some(place) = places.find(&request.task_arn, &request.container_name) else {
            return refuse(id, "this node knows no such container, or its log was removed");
        };
        let ended = place.ended;
        let batch = match read_blocking(place, cursor, events_max, request.since_ms).await {
            Ok(batch) => batch,
            Err(error) => return refuse(id, &error),
        };
        let end = ended && batch.caught_up;
        if !batch.events.is_empty() || end || until <= Instant::now() {
            return chunk(id, batch, end);
        }
        cursor = batch.next;
        tokio::time::sleep(Duration::from_millis(LOOK_EVERY_MS)).await;
    }
}

async fn read_blocking(
    place: LogPlace,
    cursor: Cursor,
    events_max: usize,
    since_ms: u64,
) -> Result<Batch, String> {
    let reading =
        tokio::task::spawn_blocking(move || read_files(&place.dir, cursor, events_max, since_ms));
    match reading.await {
        Ok(read) => read.map_err(|error| chain(&error)),
        Err(error) => Err(format!("a thread of the agent failed: {error}")),
    }
}

fn chunk(request_id: u64, batch: Batch, end: bool) -> LogChunk {
    let next_cursor = batch.next.to_string();
    let events = batch.events.into_iter().map(event).collect();
    LogChunk { request_id, events, next_cursor, end, error: None }
}

fn event(event: Event) -> v1::LogEvent {
    let stream = match event.stream {
        Stream::Stdout => v1::log_event::Stream::Stdout,
        Stream::Stderr => v1::log_event::Stream::Stderr,
    };
    v1::LogEvent {
        timestamp_ms: event.timestamp_ms,
        stream: stream.into(),
        message: event.message,
        partial: event.partial,
    }
}
