//! Events.

use std::time::{SystemTime, UNIX_EPOCH};

use super::shapes::{
    FilterLogEventsRequest, FilterLogEventsResponse, FilteredLogEvent, GetLogEventsRequest,
    GetLogEventsResponse, InputLogEvent, OutputLogEvent, PutLogEventsRequest, PutLogEventsResponse,
    RejectedLogEventsInfo, SearchedLogStream,
};
use super::{ask, group_of, limit, number, stream, write};
use crate::api::{Api, ApiError};
use crate::logs::{
    EVENT_OVERHEAD_BYTES, Event, Filter, LogsError, NewEvent, Pattern, Position, Range, Refusal,
    Stream, Write,
};

/// Most events of one call, to put and to get (CloudWatch's own bounds).
const EVENTS_MAX: usize = 10_000;
/// Most bytes of one call to put, messages and overhead.
const BATCH_BYTES_MAX: u64 = 1_048_576;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// Events that are older, or so far in the future, are not taken.
const OLDEST_MS: u64 = 14 * DAY_MS;
const NEWEST_MS: u64 = 2 * 60 * 60 * 1000;
const STREAMS_MAX: usize = 100;

pub(super) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

fn read(events: Vec<InputLogEvent>) -> Result<Vec<NewEvent>, ApiError> {
    if events.is_empty() || EVENTS_MAX < events.len() {
        let message = format!("logEvents must have 1 to {EVENTS_MAX} items");
        return Err(ApiError::invalid(message));
    }
    let mut read: Vec<NewEvent> = Vec::with_capacity(events.len());
    let mut bytes = 0;
    for (n, event) in events.into_iter().enumerate() {
        let timestamp_ms = u64::try_from(event.timestamp)
            .map_err(|_| ApiError::invalid(format_args!("logEvents[{n}].timestamp is negative")))?;
        if event.message.is_empty() {
            let message = format!("logEvents[{n}].message must have at least 1 character");
            return Err(ApiError::invalid(message));
        }
        bytes += event.message.len() as u64 + EVENT_OVERHEAD_BYTES;
        if read.last().is_some_and(|last| timestamp_ms < last.timestamp_ms) {
            return Err(ApiError::invalid(
                "Log events in a single PutLogEvents request must be in chronological order.",
            ));
        }
        read.push(NewEvent { timestamp_ms, message: event.message });
    }
    if BATCH_BYTES_MAX < bytes {
        return Err(ApiError::invalid(format_args!(
            "Upload too large: {bytes} bytes exceeds limit of {BATCH_BYTES_MAX}"
        )));
    }
    if let (Some(first), Some(last)) = (read.first(), read.last())
        && DAY_MS < last.timestamp_ms - first.timestamp_ms
    {
        return Err(ApiError::invalid(
            "The batch of log events in a single PutLogEvents request cannot span more than 24 \
             hours.",
        ));
    }
    Ok(read)
}

/// How many of the oldest are too old, and from where on they are too new.
fn bounds(events: &[NewEvent], now_ms: u64) -> (usize, usize) {
    let oldest = now_ms.saturating_sub(OLDEST_MS);
    let too_old = events.partition_point(|event| event.timestamp_ms < oldest);
    let too_new = events.partition_point(|event| event.timestamp_ms <= now_ms + NEWEST_MS);
    (too_old, too_new)
}

pub(super) async fn put(
    api: &Api,
    request: PutLogEventsRequest,
) -> Result<PutLogEventsResponse, ApiError> {
    let mut events = read(request.log_events)?;
    let (too_old, too_new) = bounds(&events, now_ms());
    let index = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let rejected = RejectedLogEventsInfo {
        too_new_log_event_start_index: (too_new < events.len()).then(|| index(too_new)),
        too_old_log_event_end_index: (0 < too_old).then(|| index(too_old)),
        expired_log_event_end_index: None,
    };
    let any = too_new < events.len() || 0 < too_old;
    events.truncate(too_new);
    events.drain(..too_old.min(too_new));
    let (group, stream) = (request.log_group_name, request.log_stream_name);
    write(api, Write::Put { group, stream, events, cursor: None }).await?;
    Ok(PutLogEventsResponse {
        // AWS takes any token and still sends one.
        next_sequence_token: "0".to_owned(),
        rejected_log_events_info: any.then_some(rejected),
    })
}

/// `f/TIME/NUMBER` and `b/TIME/NUMBER`: after a place, or before it.
fn read_token(token: &str) -> Option<(bool, Position)> {
    let mut parts = token.split('/');
    let forward = match parts.next()? {
        "f" => true,
        "b" => false,
        _ => return None,
    };
    let position = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next().is_none().then_some((forward, position))
}

fn time(field: &str, value: Option<i64>) -> Result<Option<u64>, ApiError> {
    let negative = |_| ApiError::invalid(format_args!("{field} must not be negative"));
    value.map(|ms| u64::try_from(ms).map_err(negative)).transpose()
}

pub(super) async fn get(
    api: &Api,
    request: GetLogEventsRequest,
) -> Result<GetLogEventsResponse, ApiError> {
    let most = limit(request.limit, EVENTS_MAX, EVENTS_MAX)?;
    let group = group_of(api, request.log_group_name, request.log_group_identifier)?;
    let stream = stream(api, group, request.log_stream_name).await?;
    let mut range = Range {
        from_ms: time("startTime", request.start_time)?,
        until_ms: time("endTime", request.end_time)?,
        newest: request.start_from_head != Some(true),
        ..Range::default()
    };
    let token = request.next_token.as_deref().map(|token| {
        read_token(token).ok_or_else(|| ApiError::invalid("The specified nextToken is invalid."))
    });
    let token = token.transpose()?;
    if let Some((forward, position)) = token {
        range.newest = false;
        if forward {
            range.after = Some(position);
        } else {
            range.before = Some(position);
        }
    }
    let page = ask(api, move |store| store.events(&stream, &range, most)).await?;
    // At the end of what there is, a token leads to itself.
    let stay = token.map_or((0, 0), |(_, position)| position);
    let place = |event: &Event| (event.timestamp_ms, event.number);
    let first = page.events.first().map_or(stay, place);
    let last = page.events.last().map_or(stay, place);
    Ok(GetLogEventsResponse {
        events: page.events.into_iter().map(show).collect(),
        next_forward_token: format!("f/{}/{}", last.0, last.1),
        next_backward_token: format!("b/{}/{}", first.0, first.1),
    })
}

fn show(event: Event) -> OutputLogEvent {
    OutputLogEvent {
        timestamp: number(event.timestamp_ms),
        message: event.message,
        ingestion_time: number(event.ingested_at_ms),
    }
}

pub(super) async fn filter(
    api: &Api,
    request: FilterLogEventsRequest,
) -> Result<FilterLogEventsResponse, ApiError> {
    let most = limit(request.limit, EVENTS_MAX, EVENTS_MAX)?;
    let group = group_of(api, request.log_group_name, request.log_group_identifier)?;
    let pattern = Pattern::parse(&request.filter_pattern.unwrap_or_default());
    let invalid = || ApiError::invalid("The specified nextToken is invalid.");
    let after = request.next_token.as_deref().map(|token| {
        read_token(token).filter(|(forward, _)| *forward).map(|(_, at)| at).ok_or_else(invalid)
    });
    let filter = Filter {
        from_ms: time("startTime", request.start_time)?,
        until_ms: time("endTime", request.end_time)?.map(|ms| ms.saturating_add(1)),
        pattern: pattern.map_err(ApiError::invalid)?,
        after: after.transpose()?,
        limit: most,
    };
    let names = request.log_stream_names.unwrap_or_default();
    let prefix = request.log_stream_name_prefix.unwrap_or_default();
    if STREAMS_MAX < names.len() || (!names.is_empty() && !prefix.is_empty()) {
        return Err(ApiError::invalid(format_args!(
            "logStreamNames can have at most {STREAMS_MAX} items, and excludes logStreamNamePrefix"
        )));
    }
    let (streams, found, next) = ask(api, move |store| {
        if store.group(&group)?.is_none() {
            return Err(Refusal::NotFound("group").into());
        }
        let streams = match names.as_slice() {
            [] => store.streams(&group, |stream| stream.name.starts_with(&prefix))?,
            names => of_names(names, |name| store.stream(&group, name))?,
        };
        let (found, next) = store.search(&streams, &filter)?;
        Ok((streams, found, next))
    })
    .await?;
    let show = |(n, event): (usize, Event)| FilteredLogEvent {
        log_stream_name: streams[n].name.clone(),
        timestamp: number(event.timestamp_ms),
        ingestion_time: number(event.ingested_at_ms),
        event_id: format!("{:020}{:020}", event.timestamp_ms, event.number),
        message: event.message,
    };
    let whole = next.is_none();
    let searched = |stream: &Stream| SearchedLogStream {
        log_stream_name: stream.name.clone(),
        searched_completely: whole,
    };
    Ok(FilterLogEventsResponse {
        searched_log_streams: streams.iter().take(STREAMS_MAX).map(searched).collect(),
        events: found.into_iter().map(show).collect(),
        next_token: next.map(|(at, number)| format!("f/{at}/{number}")),
    })
}

fn of_names(
    names: &[String],
    find: impl Fn(&str) -> Result<Option<Stream>, LogsError>,
) -> Result<Vec<Stream>, LogsError> {
    let find = |name: &String| find(name)?.ok_or(Refusal::NotFound("stream").into());
    names.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_old_or_too_new_is_told_by_its_place() {
        let now = 100 * DAY_MS;
        let event = |timestamp_ms| NewEvent { timestamp_ms, message: "m".into() };
        let events = [now - OLDEST_MS - 1, now - OLDEST_MS, now + NEWEST_MS, now + NEWEST_MS + 1];
        assert_eq!(bounds(&events.map(event), now), (1, 3));
        assert_eq!(bounds(&[event(now)], now), (0, 1));
    }

    #[test]
    fn a_token_is_a_way_and_a_place() {
        assert_eq!(read_token("f/1/2"), Some((true, (1, 2))));
        assert_eq!(read_token("b/1/2"), Some((false, (1, 2))));
        for bad in ["", "x/1/2", "f/1", "f/1/2/3", "f/a/2"] {
            assert_eq!(read_token(bad), None, "{bad}");
        }
    }
}
