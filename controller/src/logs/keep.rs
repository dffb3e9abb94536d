//! All that the log store holds, one thing after the other: for a backup, and from one.

use std::collections::HashSet;
use std::path::Path;

use redb::{Database, ReadableTable as _};
use serde::{Deserialize, Serialize};

use super::store::{COUNTERS, EVENTS, GROUPS, Group, LogStore, LogsError, STREAMS, Stream};
use super::writer;

/// Things that one commit of a restore writes.
const BATCH_MAX: usize = 20_000;

/// One thing that the store holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kept {
    /// A log group.
    Group(Group),
    /// A log stream.
    Stream(Stream),
    /// An event.
    Event {
        /// Its stream's number.
        stream: u64,
        /// Unix milliseconds.
        at_ms: u64,
        /// Counts events of all streams.
        number: u64,
        /// When it came, Unix milliseconds.
        came_ms: u64,
        /// What it says.
        message: String,
    },
    /// A counter.
    Counter {
        /// Which.
        name: String,
        /// Where it stands.
        value: u64,
    },
}

impl LogStore {
    /// Shows everything as of one commit, while writes go on; events of streams that were deleted
    /// are left out. What `visit` says ends it.
    ///
    /// # Errors
    /// [`LogsError::Store`], or what `visit` says.
    pub fn each<E: From<LogsError>>(
        &self,
        visit: &mut dyn FnMut(Kept) -> Result<(), E>,
    ) -> Result<(), E> {
        let failed = |error: redb::Error| E::from(LogsError::store(error));
        let read = self.shelf.read().map_err(E::from)?;
        let mut alive = HashSet::new();
        macro_rules! rows {
            ($table:expr) => {
                read.open_table($table)
                    .map_err(|error| failed(error.into()))?
                    .iter()
                    .map_err(|error| failed(error.into()))?
                    .map(|row| row.map_err(|error| failed(error.into())))
            };
        }
        for row in rows!(GROUPS) {
            visit(Kept::Group(record(row?.1.value())?))?;
        }
        for row in rows!(STREAMS) {
            let stream: Stream = record(row?.1.value())?;
            alive.insert(stream.id);
            visit(Kept::Stream(stream))?;
        }
        for row in rows!(COUNTERS) {
            let (name, value) = row?;
            let (name, value) = (name.value().to_owned(), value.value());
            visit(Kept::Counter { name, value })?;
        }
        for row in rows!(EVENTS) {
            let (key, value) = row?;
            let ((stream, at_ms, number), (came_ms, message)) = (key.value(), value.value());
            if alive.contains(&stream) {
                let message = message.to_owned();
                visit(Kept::Event { stream, at_ms, number, came_ms, message })?;
            }
        }
        Ok(())
    }
}

fn record<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, LogsError> {
    serde_json::from_slice(bytes).map_err(LogsError::store)
}

/// A store that is being made anew from a backup.
#[derive(Debug)]
pub struct Refill {
    database: Database,
    waiting: Vec<Kept>,
}

impl Refill {
    /// Begins a new file.
    ///
    /// # Errors
    /// [`LogsError::Store`]
    pub fn begin(path: &Path) -> Result<Self, LogsError> {
        super::store::private(path).map_err(LogsError::store)?;
        let database = Database::create(path).map_err(LogsError::store)?;
        writer::make_tables(&database).map_err(LogsError::store)?;
        Ok(Self { database, waiting: Vec::new() })
    }

    /// Takes one thing in.
    ///
    /// # Errors
    /// [`LogsError::Store`]
    pub fn take(&mut self, kept: Kept) -> Result<(), LogsError> {
        self.waiting.push(kept);
        if self.waiting.len() < BATCH_MAX { Ok(()) } else { self.flush() }
    }

    /// All of it is on disk.
    ///
    /// # Errors
    /// [`LogsError::Store`]
    pub fn finish(mut self) -> Result<(), LogsError> {
        self.flush()
    }

    fn flush(&mut self) -> Result<(), LogsError> {
        let waiting = std::mem::take(&mut self.waiting);
        write(&self.database, &waiting).map_err(LogsError::store)
    }
}

fn write(database: &Database, all: &[Kept]) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    {
        let mut groups = write.open_table(GROUPS)?;
        let mut streams = write.open_table(STREAMS)?;
        let mut events = write.open_table(EVENTS)?;
        let mut counters = write.open_table(COUNTERS)?;
        for kept in all {
            match kept {
                Kept::Group(group) => {
                    groups.insert(group.name.as_str(), to_bytes(group).as_slice())?;
                }
                Kept::Stream(stream) => {
                    let key = (stream.group.as_str(), stream.name.as_str());
                    streams.insert(key, to_bytes(stream).as_slice())?;
                }
                Kept::Event { stream, at_ms, number, came_ms, message } => {
                    events.insert((*stream, *at_ms, *number), (*came_ms, message.as_str()))?;
                }
                Kept::Counter { name, value } => {
                    counters.insert(name.as_str(), value)?;
                }
            }
        }
    }
    Ok(write.commit()?)
}

fn to_bytes(record: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(record).expect("a record has string keys only")
}
