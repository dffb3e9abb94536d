//! Reading: each question has a read transaction of its own. Blocking.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::store::{EVENTS, GROUPS, Group, LogStore, LogsError, Refusal, STREAMS, Stream};
use super::{Event, Pattern};

/// Most bytes of messages of one page (CloudWatch: 1 MB).
const PAGE_BYTES_MAX: usize = 1 << 20;
/// Most events that one search looks at; it then says where to go on.
const LOOKED_AT_MAX: usize = 200_000;
/// Most streams that one search looks into.
const STREAMS_MAX: usize = 10_000;

/// A place among events: time, then number.
pub type Position = (u64, u64);

/// What a search found, each event with the place of its stream; and where to go on.
pub type Found = (Vec<(usize, Event)>, Option<Position>);

/// Which events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// Not before, Unix milliseconds.
    pub from_ms: Option<u64>,
    /// Before, Unix milliseconds.
    pub until_ms: Option<u64>,
    /// Only what comes after this place.
    pub after: Option<Position>,
    /// Only what comes before this place, the newest of it.
    pub before: Option<Position>,
    /// The newest rather than the oldest.
    pub newest: bool,
}

/// Events in the order of their time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The events.
    pub events: Vec<Event>,
}

/// What a search looks for.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Not before, Unix milliseconds.
    pub from_ms: Option<u64>,
    /// Before, Unix milliseconds.
    pub until_ms: Option<u64>,
    /// What messages must hold.
    pub pattern: Pattern,
    /// Only what comes after this place.
    pub after: Option<Position>,
    /// At most so many events.
    pub limit: usize,
}

impl LogStore {
    /// A group.
    ///
    /// # Errors
    /// [`LogsError::Store`]
    pub fn group(&self, name: &str) -> Result<Option<Group>, LogsError> {
        let read = self.shelf.read()?;
        let groups = read.open_table(GROUPS).map_err(LogsError::store)?;
        let bytes = groups.get(name).map_err(LogsError::store)?;
        bytes.map(|bytes| record(bytes.value())).transpose()
    }

    /// Groups by name, those that `keep` takes, beginning after a name.
    ///
    /// # Errors
    /// [`LogsError::Store`]
    pub fn groups(
        &self,
        after: &str,
        most: usize,
        keep: impl Fn(&Group) -> bool,
    ) -> Result<Vec<Group>, LogsError> {
        let read = self.shelf.read()?;
        let groups = read.open_table(GROUPS).map_err(LogsError::store)?;
        let mut found = Vec::new();
        for row in groups.range(after..).map_err(LogsError::store)? {
            let (key, value) = row.map_err(LogsError::store)?;
            if key.value() == after && !after.is_empty() {
                continue;
            }
            found.extend(Some(record(value.value())?).filter(&keep));
            if most <= found.len() {
                break;
            }
        }
        Ok(found)
    }

    /// A stream.
    ///
    /// # Errors
    /// [`LogsError::Store`]
    pub fn stream(&self, group: &str, name: &str) -> Result<Option<Stream>, LogsError> {
        let read = self.shelf.read()?;
        let streams = read.open_table(STREAMS).map_err(LogsError::store)?;
        let bytes = streams.get((group, name)).map_err(LogsError::store)?;
        bytes.map(|bytes| record(bytes.value())).transpose()
    }

    /// A group's streams by name, those that `keep` takes.
    ///
    /// # Errors
    /// [`LogsError::Store`]
    pub fn streams(
        &self,
        group: &str,
        keep: impl Fn(&Stream) -> bool,
    ) -> Result<Vec<Stream>, LogsError> {
        let read = self.shelf.read()?;
        let streams = read.open_table(STREAMS).map_err(LogsError::store)?;
        let mut found = Vec::new();
        for row in streams.range((group, "")..).map_err(LogsError::store)? {
            let (key, value) = row.map_err(LogsError::store)?;
            if key.value().0 != group {
                break;
            }
            found.extend(Some(record(value.value())?).filter(&keep));
        }
        Ok(found)
    }

    /// A page of a stream.
    ///
    /// # Errors
    /// [`LogsError::Store`]
    pub fn events(&self, stream: &Stream, range: &Range, most: usize) -> Result<Page, LogsError> {
        let read = self.shelf.read()?;
        let events = read.open_table(EVENTS).map_err(LogsError::store)?;
        let (id, last) = (stream.id, (u64::MAX, u64::MAX));
        let from = range
            .after
            .map_or((range.from_ms.unwrap_or(0), 0), |(at, n)| (at, n.saturating_add(1)));
        let from = from.max((range.from_ms.unwrap_or(0), 0));
        let until = range.until_ms.map_or(last, |until| (until, 0));
        let until = range.before.map_or(until, |before| before.min(until));
        if until <= from {
            return Ok(Page::default());
        }
        let rows =
            events.range((id, from.0, from.1)..(id, until.0, until.1)).map_err(LogsError::store)?;
        let backwards = range.newest || range.before.is_some();
        let rows: Box<dyn Iterator<Item = _>> =
            if backwards { Box::new(rows.rev()) } else { Box::new(rows) };
        let (mut found, mut bytes) = (Vec::new(), 0);
        for row in rows {
            let (key, value) = row.map_err(LogsError::store)?;
            let event = event(key.value(), value.value());
            bytes += event.message.len();
            if most <= found.len() || (PAGE_BYTES_MAX < bytes && !found.is_empty()) {
                break;
            }
            found.push(event);
        }
        if backwards {
            found.reverse();
        }
        Ok(Page { events: found })
    }

    /// Events of several streams that pass a filter, in the order of their time, each with the
    /// place of its stream in `streams`; and where to go on, where there may be more.
    ///
    /// # Errors
    /// [`LogsError::Store`]
    pub fn search(&self, streams: &[Stream], filter: &Filter) -> Result<Found, LogsError> {
        let read = self.shelf.read()?;
        let table = read.open_table(EVENTS).map_err(LogsError::store)?;
        let from = filter.after.map_or((0, 0), |(at, n)| (at, n.saturating_add(1)));
        let from = from.max((filter.from_ms.unwrap_or(0), 0));
        let until = filter.until_ms.unwrap_or(u64::MAX);
        let mut sources = Vec::new();
        let mut heads = BinaryHeap::new();
        let may_have = |stream: &Stream| stream.last_event_ms.is_some_and(|last| from.0 <= last);
        for (n, stream) in streams.iter().enumerate().filter(|(_, stream)| may_have(stream)) {
            if STREAMS_MAX <= sources.len() {
                let what = "log streams of one search: narrow it by time, names or a prefix";
                return Err(Refusal::Limit { what, max: STREAMS_MAX as u64 }.into());
            }
            let id = stream.id;
            let rows = if from < (until, 0) {
                table.range((id, from.0, from.1)..(id, until, 0)).map_err(LogsError::store)?
            } else {
                table.range((id, 0, 0)..(id, 0, 0)).map_err(LogsError::store)?
            };
            let mut rows =
                rows.map(|row| row.map(|(key, value)| event(key.value(), value.value())));
            if let Some(first) = rows.next().transpose().map_err(LogsError::store)? {
                heads.push(Reverse((first.timestamp_ms, first.number, sources.len())));
                sources.push((n, Some(first), rows));
            }
        }
        let (mut found, mut looked_at, mut bytes) = (Vec::new(), 0, 0);
        while let Some(Reverse((at, number, source))) = heads.pop() {
            let (n, head, rows) = &mut sources[source];
            let Some(event) = head.take() else { continue };
            looked_at += 1;
            if let Some(next) = rows.next().transpose().map_err(LogsError::store)? {
                heads.push(Reverse((next.timestamp_ms, next.number, source)));
                *head = Some(next);
            }
            if filter.pattern.matches(&event.message) {
                bytes += event.message.len();
                found.push((*n, event));
            }
            let full = filter.limit <= found.len() || PAGE_BYTES_MAX < bytes;
            if (full || LOOKED_AT_MAX <= looked_at) && !heads.is_empty() {
                return Ok((found, Some((at, number))));
            }
        }
        Ok((found, None))
    }
}

/// A record that is none is an error, not one that is missing.
fn record<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, LogsError> {
    serde_json::from_slice(bytes).map_err(LogsError::store)
}

fn event((_, timestamp_ms, number): (u64, u64, u64), (at, message): (u64, &str)) -> Event {
    Event { timestamp_ms, ingested_at_ms: at, number, message: message.to_owned() }
}
