//! The one thread that writes: many requests share a transaction and its fsync.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use redb::{
    Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _,
    ReadableTableMetadata as _, Table, WriteTransaction,
};

use super::store::{
    COUNTERS, EVENT_OVERHEAD_BYTES, EVENTS, GROUPS, Group, Job, LogsError, NewEvent, Refusal,
    STORED_BYTES_MAX, STREAMS, Shelf, Stream, TRASH, Write, Written,
};

/// Most requests of one transaction.
const BATCH_MAX: usize = 256;
/// How often events that are too old are dropped.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// Most events that one sweep drops.
const SWEPT_MAX: usize = 20_000;
const GROUPS_MAX: u64 = 10_000;
const STREAMS_MAX: u64 = 500_000;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

type Step<T> = Result<Result<T, Refusal>, redb::Error>;

pub(super) fn make_tables(database: &Database) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    write.open_table(GROUPS)?;
    write.open_table(STREAMS)?;
    write.open_table(EVENTS)?;
    write.open_table(TRASH)?;
    write.open_table(COUNTERS)?;
    Ok(write.commit()?)
}

/// Until nobody is left who could ask.
pub(super) fn run(shelf: &Shelf, jobs: &Receiver<Job>) {
    let mut swept_at = Instant::now();
    loop {
        match jobs.recv_timeout(SWEEP_EVERY) {
            Ok(first) => batch(shelf, first, jobs),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if SWEEP_EVERY <= swept_at.elapsed() {
            swept_at = Instant::now();
            if let Err(error) = shelf.with(|database| sweep(database, now_ms())) {
                tracing::warn!("can't drop old log events: {error}");
            }
        }
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

fn batch(shelf: &Shelf, first: Job, jobs: &Receiver<Job>) {
    let mut all = vec![first];
    while all.len() < BATCH_MAX
        && let Ok(job) = jobs.try_recv()
    {
        all.push(job);
    }
    let done = shelf.with(|database| write_all(database, &all));
    match done {
        Ok(results) => {
            for (job, result) in all.into_iter().zip(results) {
                // An error means that the caller no longer waits.
                let _ = job.answer.send(result.map_err(LogsError::from));
            }
        }
        Err(error) => {
            tracing::error!("the log store failed: {error}");
            for job in all {
                let _ = job.answer.send(Err(LogsError::store(&error)));
            }
        }
    }
}

fn write_all(
    database: &Database,
    jobs: &[Job],
) -> Result<Vec<Result<Written, Refusal>>, redb::Error> {
    let transaction = database.begin_write()?;
    let mut results = Vec::with_capacity(jobs.len());
    {
        let mut tables = Tables::open(&transaction)?;
        for job in jobs {
            results.push(tables.one(&job.write, job.now_ms)?);
        }
    }
    transaction.commit()?;
    Ok(results)
}

struct Tables<'a> {
    groups: Table<'a, &'static str, &'static [u8]>,
    streams: Table<'a, (&'static str, &'static str), &'static [u8]>,
    events: Table<'a, (u64, u64, u64), (u64, &'static str)>,
    trash: Table<'a, u64, ()>,
    counters: Table<'a, &'static str, u64>,
}

impl<'a> Tables<'a> {
    fn open(transaction: &'a WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            groups: transaction.open_table(GROUPS)?,
            streams: transaction.open_table(STREAMS)?,
            events: transaction.open_table(EVENTS)?,
            trash: transaction.open_table(TRASH)?,
            counters: transaction.open_table(COUNTERS)?,
        })
    }

    /// A refusal is given before anything of its request is written.
    fn one(&mut self, write: &Write, now_ms: u64) -> Step<Written> {
        match write {
            Write::CreateGroup { name, tags, may_exist } => {
                if self.group(name)?.is_some() {
                    return Ok(if *may_exist { Ok(Written::Done) } else { exists("group") });
                }
                if GROUPS_MAX <= self.count("groups")? {
                    return Ok(Err(Refusal::Limit { what: "log groups", max: GROUPS_MAX }));
                }
                self.add("groups", 1)?;
                self.put_group(&Group {
                    name: name.clone(),
                    created_at_ms: now_ms,
                    retention_days: None,
                    tags: tags.clone(),
                    stored_bytes: 0,
                })?;
                Ok(Ok(Written::Done))
            }
            Write::DeleteGroup(name) => self.delete_group(name),
            Write::Retention(name, days) => {
                let Some(mut group) = self.group(name)? else { return Ok(missing("group")) };
                group.retention_days = *days;
                self.put_group(&group)?;
                Ok(Ok(Written::Done))
            }
            Write::Tag(name, put, remove) => {
                let Some(mut group) = self.group(name)? else { return Ok(missing("group")) };
                group.tags.extend(put.clone());
                group.tags.retain(|key, _| !remove.contains(key));
                if crate::command::TAGS_MAX < group.tags.len() {
                    let max = crate::command::TAGS_MAX as u64;
                    return Ok(Err(Refusal::Limit { what: "tags", max }));
                }
                self.put_group(&group)?;
                Ok(Ok(Written::Done))
            }
            Write::CreateStream { group, name, may_exist } => {
                self.create_stream(group, name, *may_exist, now_ms)
            }
            Write::DeleteStream(group, name) => {
                let Some(stream) = self.stream(group, name)? else { return Ok(missing("stream")) };
                self.forget_stream(&stream)?;
                Ok(Ok(Written::Done))
            }
            Write::Put { group, stream, events, cursor } => {
                self.put(group, stream, events, cursor.as_ref(), now_ms)
            }
        }
    }

    fn group(&self, name: &str) -> Result<Option<Group>, redb::Error> {
        self.groups.get(name)?.map(|bytes| record(bytes.value())).transpose()
    }

    fn put_group(&mut self, group: &Group) -> Result<(), redb::Error> {
        let bytes = serde_json::to_vec(group).expect("a record has string keys only");
        self.groups.insert(group.name.as_str(), bytes.as_slice())?;
        Ok(())
    }

    fn stream(&self, group: &str, name: &str) -> Result<Option<Stream>, redb::Error> {
        let bytes = self.streams.get((group, name))?;
        bytes.map(|bytes| record(bytes.value())).transpose()
    }

    fn put_stream(&mut self, stream: &Stream) -> Result<(), redb::Error> {
        let bytes = serde_json::to_vec(stream).expect("a record has string keys only");
        let key = (stream.group.as_str(), stream.name.as_str());
        self.streams.insert(key, bytes.as_slice())?;
        Ok(())
    }

    fn count(&self, name: &str) -> Result<u64, redb::Error> {
        Ok(self.counters.get(name)?.map_or(0, |count| count.value()))
    }

    fn add(&mut self, name: &str, more: i64) -> Result<u64, redb::Error> {
        let next = self.count(name)?.saturating_add_signed(more);
        self.counters.insert(name, next)?;
        Ok(next)
    }

    fn create_stream(
        &mut self,
        group: &str,
        name: &str,
        may_exist: bool,
        now_ms: u64,
    ) -> Step<Written> {
        if self.group(group)?.is_none() {
            return Ok(missing("group"));
        }
        if let Some(have) = self.stream(group, name)? {
            let have = Written::Stream(Box::new(have));
            return Ok(if may_exist { Ok(have) } else { exists("stream") });
        }
        if STREAMS_MAX <= self.count("streams")? {
            return Ok(Err(Refusal::Limit { what: "log streams", max: STREAMS_MAX }));
        }
        self.add("streams", 1)?;
        let stream = Stream {
            id: self.add("stream id", 1)?,
            group: group.to_owned(),
            name: name.to_owned(),
            created_at_ms: now_ms,
            first_event_ms: None,
            last_event_ms: None,
            ingested_at_ms: None,
            stored_bytes: 0,
            cursor: None,
        };
        self.put_stream(&stream)?;
        Ok(Ok(Written::Stream(Box::new(stream))))
    }

    fn forget_stream(&mut self, stream: &Stream) -> Result<(), redb::Error> {
        self.streams.remove((stream.group.as_str(), stream.name.as_str()))?;
        self.trash.insert(stream.id, ())?;
        self.add("streams", -1)?;
        self.shrink(stream, stream.stored_bytes)
    }

    /// So many bytes of a stream's events are gone.
    fn shrink(&mut self, stream: &Stream, bytes: u64) -> Result<(), redb::Error> {
        let less = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.add("bytes", -less)?;
        if let Some(mut group) = self.group(&stream.group)? {
            group.stored_bytes = group.stored_bytes.saturating_sub(bytes);
            self.put_group(&group)?;
        }
        Ok(())
    }

    fn delete_group(&mut self, name: &str) -> Step<Written> {
        if self.group(name)?.is_none() {
            return Ok(missing("group"));
        }
        let mut streams = Vec::new();
        for row in self.streams.range((name, "")..)? {
            let (key, value) = row?;
            if key.value().0 != name {
                break;
            }
            streams.push(record(value.value())?);
        }
        for stream in &streams {
            self.forget_stream(stream)?;
        }
        self.groups.remove(name)?;
        self.add("groups", -1)?;
        Ok(Ok(Written::Done))
    }

    fn put(
        &mut self,
        group: &str,
        name: &str,
        events: &[NewEvent],
        cursor: Option<&String>,
        now_ms: u64,
    ) -> Step<Written> {
        let Some(mut record) = self.group(group)? else { return Ok(missing("group")) };
        let Some(mut stream) = self.stream(group, name)? else { return Ok(missing("stream")) };
        let bytes = |event: &NewEvent| event.message.len() as u64 + EVENT_OVERHEAD_BYTES;
        let more: u64 = events.iter().map(bytes).sum();
        if STORED_BYTES_MAX < self.count("bytes")?.saturating_add(more) {
            let what = "bytes of log events: delete log groups or set a retention";
            return Ok(Err(Refusal::Limit { what, max: STORED_BYTES_MAX }));
        }
        for event in events {
            let number = self.add("event number", 1)?;
            let key = (stream.id, event.timestamp_ms, number);
            self.events.insert(key, (now_ms, event.message.as_str()))?;
            let at = event.timestamp_ms;
            stream.first_event_ms = Some(stream.first_event_ms.map_or(at, |first| first.min(at)));
            stream.last_event_ms = stream.last_event_ms.max(Some(at));
        }
        if !events.is_empty() {
            stream.ingested_at_ms = Some(now_ms);
        }
        if let Some(cursor) = cursor {
            stream.cursor = Some(cursor.clone());
        }
        stream.stored_bytes += more;
        record.stored_bytes += more;
        self.add("bytes", i64::try_from(more).unwrap_or(i64::MAX))?;
        self.put_stream(&stream)?;
        self.put_group(&record)?;
        Ok(Ok(Written::Done))
    }

    /// Drops a stream's events before a time, at most `most`; how many, and how many bytes.
    fn drop_before(
        &mut self,
        stream: u64,
        before_ms: u64,
        most: usize,
    ) -> Result<(usize, u64), redb::Error> {
        let (mut keys, mut bytes) = (Vec::new(), 0);
        for row in self.events.range((stream, 0, 0)..(stream, before_ms, 0))? {
            if most <= keys.len() {
                break;
            }
            let (key, value) = row?;
            keys.push(key.value());
            bytes += value.value().1.len() as u64 + EVENT_OVERHEAD_BYTES;
        }
        for key in &keys {
            self.events.remove(*key)?;
        }
        Ok((keys.len(), bytes))
    }
}

/// A record that is none is an error, not one that is missing.
fn record<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, redb::Error> {
    serde_json::from_slice(bytes).map_err(|error| redb::Error::Corrupted(error.to_string()))
}

fn missing(what: &'static str) -> Result<Written, Refusal> {
    Err(Refusal::NotFound(what))
}

fn exists(what: &'static str) -> Result<Written, Refusal> {
    Err(Refusal::Exists(what))
}

/// Streams whose oldest event is past their group's retention, with the time.
fn overdue(read: &ReadTransaction, now_ms: u64) -> Result<Vec<(Stream, u64)>, redb::Error> {
    let (groups, streams) = (read.open_table(GROUPS)?, read.open_table(STREAMS)?);
    let mut all = Vec::new();
    for row in groups.iter()? {
        let group: Group = record(row?.1.value())?;
        let Some(days) = group.retention_days else { continue };
        let before_ms = now_ms.saturating_sub(u64::from(days) * DAY_MS);
        for row in streams.range((group.name.as_str(), "")..)? {
            let (key, value) = row?;
            if key.value().0 != group.name {
                break;
            }
            let stream: Stream = record(value.value())?;
            if stream.first_event_ms.is_some_and(|first| first < before_ms) {
                all.push((stream, before_ms));
            }
        }
    }
    Ok(all)
}

fn sweep(database: &Database, now_ms: u64) -> Result<(), redb::Error> {
    let read = database.begin_read()?;
    let overdue = overdue(&read, now_ms)?;
    // Nothing to drop costs no commit.
    if overdue.is_empty() && read.open_table(TRASH)?.is_empty()? {
        return Ok(());
    }
    drop(read);
    let transaction = database.begin_write()?;
    {
        let mut tables = Tables::open(&transaction)?;
        let mut left = SWEPT_MAX;
        let trash: Vec<u64> = tables
            .trash
            .iter()?
            .map(|row| Ok(row?.0.value()))
            .collect::<Result<_, redb::Error>>()?;
        for stream in trash {
            let (dropped, _) = tables.drop_before(stream, u64::MAX, left)?;
            if dropped < left {
                tables.trash.remove(stream)?;
            }
            left -= dropped;
        }
        for (stream, before_ms) in overdue {
            let (dropped, bytes) = tables.drop_before(stream.id, before_ms, left)?;
            left -= dropped;
            // It may have got events, or have ended, since it was read.
            let Some(mut now) = tables.stream(&stream.group, &stream.name)? else { continue };
            let first = tables.events.range((now.id, 0, 0)..(now.id, u64::MAX, 0))?.next();
            now.first_event_ms = first.transpose()?.map(|(key, _)| key.value().1);
            now.stored_bytes = now.stored_bytes.saturating_sub(bytes);
            tables.put_stream(&now)?;
            tables.shrink(&now, bytes)?;
        }
    }
    Ok(transaction.commit()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::{LogStore, Range};
    use crate::store::faulty::Disk;

    async fn store(folder: &std::path::Path) -> LogStore {
        filled(LogStore::open(&folder.join("logs.redb")).unwrap()).await
    }

    async fn filled(store: LogStore) -> LogStore {
        let group =
            Write::CreateGroup { name: "g".into(), tags: Default::default(), may_exist: true };
        store.write(group, 0).await.unwrap();
        let stream = Write::CreateStream { group: "g".into(), name: "s".into(), may_exist: true };
        store.write(stream, 0).await.unwrap();
        store
    }

    fn put(times: &[u64]) -> Write {
        let event = |at: &u64| NewEvent { timestamp_ms: *at, message: format!("m{at}") };
        Write::Put {
            group: "g".into(),
            stream: "s".into(),
            events: times.iter().map(event).collect(),
            cursor: Some("here".into()),
        }
    }

    fn times(store: &LogStore) -> Vec<u64> {
        let stream = store.stream("g", "s").unwrap().unwrap();
        let page = store.events(&stream, &Range::default(), 1000).unwrap();
        page.events.iter().map(|event| event.timestamp_ms).collect()
    }

    #[tokio::test]
    async fn what_was_acknowledged_is_there_again_and_goes_with_its_retention() {
        let folder = tempfile::tempdir().unwrap();
        let first = store(folder.path()).await;
        first.write(put(&[10 * DAY_MS, 12 * DAY_MS]), 1).await.unwrap();
        drop(first);
        // The writer ends with its last handle, and lets go of the file soon after.
        let again = loop {
            match LogStore::open(&folder.path().join("logs.redb")) {
                Ok(store) => break store,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        assert_eq!(times(&again), [10 * DAY_MS, 12 * DAY_MS]);
        let kept = again.stream("g", "s").unwrap().unwrap();
        assert_eq!(kept.cursor.as_deref(), Some("here"));
        again.write(Write::Retention("g".into(), Some(3)), 1).await.unwrap();
        again.shelf.with(|database| sweep(database, 14 * DAY_MS)).unwrap();
        assert_eq!(times(&again), [12 * DAY_MS]);
        let after = again.stream("g", "s").unwrap().unwrap();
        assert_eq!(after.first_event_ms, Some(12 * DAY_MS));
        assert!(after.stored_bytes < kept.stored_bytes);
        again.write(Write::DeleteStream("g".into(), "s".into()), 1).await.unwrap();
        again.shelf.with(|database| sweep(database, 14 * DAY_MS)).unwrap();
        let read = again.shelf.read().unwrap();
        assert_eq!(read.open_table(EVENTS).unwrap().iter().unwrap().count(), 0);
        assert_eq!(again.group("g").unwrap().unwrap().stored_bytes, 0);
    }

    #[tokio::test]
    async fn a_full_disk_is_said_and_survived() {
        let disk = Disk::default();
        let opener = disk.opener();
        let store = filled(LogStore::on(Box::new(opener)).unwrap()).await;
        store.write(put(&[1]), 1).await.unwrap();
        disk.fill_up();
        let failed = store.write(put(&[2]), 1).await.unwrap_err();
        assert!(matches!(failed, LogsError::Store(_)), "{failed}");
        disk.make_room();
        // The first may find the file closed still.
        let _ = store.write(put(&[3]), 1).await;
        store.write(put(&[4]), 1).await.unwrap();
        let there = times(&store);
        assert!(there.starts_with(&[1]) && there.ends_with(&[4]), "{there:?}");
    }

    #[tokio::test]
    async fn a_refused_write_leaves_its_neighbours_alone() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path()).await;
        let stream = |name: &str| Write::CreateStream {
            group: "g".into(),
            name: name.into(),
            may_exist: false,
        };
        let twice = (store.write(stream("a"), 1), store.write(stream("a"), 1));
        let (one, two) = tokio::join!(twice.0, twice.1);
        assert_eq!([one.is_ok(), two.is_ok()].iter().filter(|ok| **ok).count(), 1);
        let nobody = Write::DeleteGroup("nobody".into());
        assert!(matches!(
            store.write(nobody, 1).await,
            Err(LogsError::Refused(Refusal::NotFound("group")))
        ));
    }
}
