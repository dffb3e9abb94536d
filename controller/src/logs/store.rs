//! The store: what is in it, and the handle by which everyone speaks to it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, PoisonError, RwLock};

use redb::{
    Builder, Database, DatabaseError, ReadTransaction, ReadableDatabase as _, TableDefinition,
};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::writer;

/// By name.
pub(super) const GROUPS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("groups");
/// By group and name.
pub(super) const STREAMS: TableDefinition<'_, (&str, &str), &[u8]> =
    TableDefinition::new("streams");
/// By stream, time and number: when it came, and the message.
pub(super) const EVENTS: TableDefinition<'_, (u64, u64, u64), (u64, &str)> =
    TableDefinition::new("events");
/// Streams whose record is gone and whose events follow bit by bit.
pub(super) const TRASH: TableDefinition<'_, u64, ()> = TableDefinition::new("trash");
/// Counters by name.
pub(super) const COUNTERS: TableDefinition<'_, &str, u64> = TableDefinition::new("counters");

/// Most bytes of events that are kept, by CloudWatch's count.
pub const STORED_BYTES_MAX: u64 = 8 << 30;
/// What an event counts besides its message, in bytes (CloudWatch's own).
pub const EVENT_OVERHEAD_BYTES: u64 = 26;
/// Most writes that wait for the writer.
const INBOX_MAX: usize = 1024;
/// Most memory that the store keeps pages in.
const CACHE_BYTES_MAX: usize = 32 << 20;

/// A log group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The name.
    pub name: String,
    /// Unix milliseconds.
    pub created_at_ms: u64,
    /// Events are dropped after so many days; kept where not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<u32>,
    /// Tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// What its events count.
    pub stored_bytes: u64,
}

/// A log stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// Its own number: a stream of the same name gets another.
    pub id: u64,
    /// Its group.
    pub group: String,
    /// The name.
    pub name: String,
    /// Unix milliseconds.
    pub created_at_ms: u64,
    /// Of its oldest event.
    pub first_event_ms: Option<u64>,
    /// Of its newest event.
    pub last_event_ms: Option<u64>,
    /// When the newest event came.
    pub ingested_at_ms: Option<u64>,
    /// What its events count.
    pub stored_bytes: u64,
    /// Where a container's output is read on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// An event that is to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Unix milliseconds.
    pub timestamp_ms: u64,
    /// Not empty.
    pub message: String,
}

/// A stored event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Unix milliseconds.
    pub timestamp_ms: u64,
    /// When it came, Unix milliseconds.
    pub ingested_at_ms: u64,
    /// Counts events of all streams.
    pub number: u64,
    /// What it says.
    pub message: String,
}

/// A change that somebody asks for. Texts are within their bounds.
#[derive(Clone, Debug)]
pub enum Write {
    /// Makes a group.
    CreateGroup {
        /// The name.
        name: String,
        /// Its tags.
        tags: BTreeMap<String, String>,
        /// Whether one that is there is no reason to refuse.
        may_exist: bool,
    },
    /// Ends a group with all its streams.
    DeleteGroup(String),
    /// Sets or ends its retention.
    Retention(String, Option<u32>),
    /// Puts tags and removes others by name.
    Tag(String, BTreeMap<String, String>, Vec<String>),
    /// Makes a stream.
    CreateStream {
        /// Its group.
        group: String,
        /// The name.
        name: String,
        /// Whether one that is there is no reason to refuse.
        may_exist: bool,
    },
    /// Ends a stream.
    DeleteStream(String, String),
    /// Adds events in the order of their time.
    Put {
        /// The group.
        group: String,
        /// The stream.
        stream: String,
        /// What to add.
        events: Vec<NewEvent>,
        /// Where a container's output is read on from then.
        cursor: Option<String>,
    },
}

/// What a write did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is done.
    Done,
    /// The stream that is there now.
    Stream(Box<Stream>),
}

/// Why not. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// ResourceNotFoundException.
    #[error("The specified log {0} does not exist.")]
    NotFound(&'static str),
    /// ResourceAlreadyExistsException.
    #[error("The specified log {0} already exists")]
    Exists(&'static str),
    /// LimitExceededException.
    #[error("{what}: at most {max}")]
    Limit {
        /// What there would be too much of.
        what: &'static str,
        /// The bound.
        max: u64,
    },
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogsError {
    /// It was refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Too many writes wait.
    #[error("the log store's inbox is full ({INBOX_MAX} writes wait): try again")]
    Busy,
    /// The store failed, or the controller is stopping.
    #[error("the log store failed: {0}")]
    Store(String),
}

impl LogsError {
    pub(super) fn store(error: impl std::error::Error) -> Self {
        Self::Store(error.to_string())
    }
}

/// What the writer's inbox takes.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) write: Write,
    pub(super) now_ms: u64,
    pub(super) answer: oneshot::Sender<Result<Written, LogsError>>,
}

type Opener = Box<dyn Fn() -> Result<Database, DatabaseError> + Send + Sync>;

/// The open file. After a failure redb does nothing more with it, so it is then opened anew.
pub(super) struct Shelf {
    opener: Opener,
    /// `None` only after it could not be opened again.
    database: RwLock<Option<Database>>,
}

impl Shelf {
    fn open(opener: Opener) -> Result<Self, LogsError> {
        let database = RwLock::new(Some(opener().map_err(LogsError::store)?));
        Ok(Self { opener, database })
    }

    /// Works on the open database. Where that fails it is opened anew, for whoever comes next.
    pub(super) fn with<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        if self.database.read().unwrap_or_else(PoisonError::into_inner).is_none() {
            self.reopen()?;
        }
        let done = match &*self.database.read().unwrap_or_else(PoisonError::into_inner) {
            Some(database) => work(database),
            None => Err(redb::Error::DatabaseAlreadyOpen),
        };
        if done.is_err()
            && let Err(error) = self.reopen()
        {
            tracing::error!("the log store can't be opened again yet: {error}");
        }
        done
    }

    /// A transaction that reads.
    pub(super) fn read(&self) -> Result<ReadTransaction, LogsError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let closed = || LogsError::Store("it could not be opened again after a failure".to_owned());
        database.as_ref().ok_or_else(closed)?.begin_read().map_err(LogsError::store)
    }

    /// The old handle must be gone first: it holds the file's lock.
    fn reopen(&self) -> Result<(), redb::Error> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        *database = None;
        *database = Some((self.opener)()?);
        Ok(())
    }
}

/// A handle; clones speak to the same store. The writer ends when the last one is gone.
#[derive(Clone)]
pub struct LogStore {
    pub(super) shelf: Arc<Shelf>,
    inbox: SyncSender<Job>,
}

impl std::fmt::Debug for LogStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogStore").finish_non_exhaustive()
    }
}

impl LogStore {
    /// Opens the file, and makes it, readable by its owner only, where it is missing.
    ///
    /// # Errors
    /// [`LogsError::Store`]
    pub fn open(path: &Path) -> Result<Self, LogsError> {
        private(path).map_err(LogsError::store)?;
        let file = path.to_owned();
        let opener = move || Builder::new().set_cache_size(CACHE_BYTES_MAX).create(&file);
        Self::on(Box::new(opener))
    }

    /// A store on any redb backend: tests break it.
    pub(super) fn on(opener: Opener) -> Result<Self, LogsError> {
        let shelf = Arc::new(Shelf::open(opener)?);
        shelf.with(writer::make_tables).map_err(LogsError::store)?;
        let (inbox, jobs) = std::sync::mpsc::sync_channel(INBOX_MAX);
        let own = Arc::clone(&shelf);
        std::thread::Builder::new()
            .name("logs-writer".to_owned())
            .spawn(move || writer::run(&own, &jobs))
            .map_err(LogsError::store)?;
        Ok(Self { shelf, inbox })
    }

    /// Carries out a write and answers once it is durable.
    ///
    /// # Errors
    /// [`LogsError`]
    pub async fn write(&self, write: Write, now_ms: u64) -> Result<Written, LogsError> {
        let (answer, answered) = oneshot::channel();
        self.inbox.try_send(Job { write, now_ms, answer }).map_err(|error| match error {
            TrySendError::Full(_) => LogsError::Busy,
            TrySendError::Disconnected(_) => LogsError::Store("its writer has ended".to_owned()),
        })?;
        let ended = || LogsError::Store("its writer has ended".to_owned());
        answered.await.unwrap_or_else(|_| Err(ended()))
    }
}

pub(super) fn private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match made {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}
