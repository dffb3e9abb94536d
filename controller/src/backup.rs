//! A backup: all that a controller needs to go on elsewhere, in one file of JSON lines that a
//! person can read.
//!
//! ```text
//!  {"loadlineBackup":1,"madeAtMs":…}
//!  {"file":"ca.pem","hex":"…"}                 what else lies in the controller's folder
//!  {"clientKeys":"…"}                          the credentials file of clients, in hex
//!  {"table":"tasks","key":"arn:…","value":{…}} every record of the store, as of one commit
//!  {"log":{"Event":{…}}}                       every log group, stream and event
//!  {"records":1234,"logs":567}                 the last line: a file that is cut off lacks it
//! ```
//!
//! Invariants: the records are of one commit; a backup that is not whole is refused before anything
//! is written; nothing that is there is written over. It holds the cluster's keys: mode 0600.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::logs::{Kept, LogStore, LogsError, Refill};
use crate::store::{Mutation, Records, RedbStore, Store, StoreError, Table};

/// The format that this program writes, and reads.
const FORMAT: u32 = 1;
/// Records that one commit of a restore writes.
const BATCH_MAX: usize = 5_000;
/// Largest file beside the store that goes into a backup, in bytes: keys and certificates.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// What is never part of one: the store itself, the lock, logs and backups.
const LEFT_OUT: [&str; 4] = ["state.redb", "logs.redb", "lock", "audit.jsonl"];

/// A backup can't be made or restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file can't be read or written.
    #[error("{step} {}", path.display())]
    Io {
        /// Which step.
        step: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no backup, or not the whole of one.
    #[error("{} is not a whole backup: {why}", path.display())]
    NotWhole {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// There is something already.
    #[error("{} is there already: restore into an empty state folder", .0.display())]
    NotEmpty(PathBuf),
    /// The new store can't be written.
    #[error("write the restored records")]
    Store(#[from] StoreError),
    /// The log store can't be read or written.
    #[error("log events")]
    Logs(#[from] LogsError),
}

/// All that goes into a backup.
#[derive(Debug)]
pub struct Sources<'a> {
    /// The controller's folder.
    pub folder: &'a Path,
    /// Every record of the store.
    pub records: &'a Records,
    /// The access keys of clients, where they lie in a file.
    pub credentials: Option<&'a Path>,
    /// Log groups, streams and events; `None` leaves them out.
    pub logs: Option<&'a LogStore>,
}

/// What a backup holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records of the store.
    pub records: u64,
    /// Log groups, streams, events and their counters.
    pub logs: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Head {
        #[serde(rename = "loadlineBackup")]
        format: u32,
        #[serde(rename = "madeAtMs")]
        made_at_ms: u64,
    },
    File {
        file: String,
        hex: String,
    },
    Record {
        table: String,
        key: String,
        value: Value,
    },
    ClientKeys {
        #[serde(rename = "clientKeys")]
        hex: String,
    },
    Log {
        log: Kept,
    },
    End {
        records: u64,
        #[serde(default)]
        logs: u64,
    },
}

/// Writes a backup into `folder/backups`; its path. Blocking.
///
/// # Errors
/// [`BackupError`]
pub fn write(sources: &Sources<'_>, now_ms: u64) -> Result<(PathBuf, Counts), BackupError> {
    let backups = sources.folder.join("backups");
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&backups)
        .map_err(failed("make the folder", &backups))?;
    let path = backups.join(format!("backup-{now_ms}.jsonl"));
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    let out = BufWriter::new(file.map_err(failed("create", &path))?);
    let written = fill_backup(sources, out, &path, now_ms);
    if written.is_err() {
        // A half is of no use; one that stays is refused by its missing last line.
        let _ = std::fs::remove_file(&path);
    }
    let counts = written?;
    File::open(&backups).and_then(|dir| dir.sync_all()).map_err(failed("fsync", &backups))?;
    Ok((path, counts))
}

fn fill_backup(
    sources: &Sources<'_>,
    mut out: BufWriter<File>,
    path: &Path,
    now_ms: u64,
) -> Result<Counts, BackupError> {
    let mut say = |line: &Line| {
        let text = serde_json::to_string(line).map_err(io::Error::other);
        text.and_then(|text| writeln!(out, "{text}")).map_err(failed("write", path))
    };
    say(&Line::Head { format: FORMAT, made_at_ms: now_ms })?;
    for (file, bytes) in files(sources.folder)? {
        say(&Line::File { file, hex: hex::encode(bytes) })?;
    }
    if let Some(credentials) = sources.credentials {
        let bytes = std::fs::read(credentials).map_err(failed("read", credentials))?;
        say(&Line::ClientKeys { hex: hex::encode(bytes) })?;
    }
    for (table, key, value) in sources.records {
        let key = String::from_utf8_lossy(key).into_owned();
        let value = serde_json::from_slice(value).map_err(io::Error::other);
        let value = value.map_err(failed("write", path))?;
        say(&Line::Record { table: table.name().to_owned(), key, value })?;
    }
    let mut counts = Counts { records: sources.records.len() as u64, logs: 0 };
    if let Some(logs) = sources.logs {
        logs.each(&mut |log| -> Result<(), BackupError> {
            counts.logs += 1;
            say(&Line::Log { log })
        })?;
    }
    say(&Line::End { records: counts.records, logs: counts.logs })?;
    let file = out.into_inner().map_err(|error| failed("write", path)(error.into_error()))?;
    file.sync_all().map_err(failed("fsync", path))?;
    Ok(counts)
}

/// The small files of the controller's folder: its CA, its keys.
fn files(folder: &Path) -> Result<Vec<(String, Vec<u8>)>, BackupError> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed("read", folder))? {
        let entry = entry.map_err(failed("read", folder))?;
        let path = entry.path();
        let Ok(name) = entry.file_name().into_string() else { continue };
        let metadata = entry.metadata().map_err(failed("read", &path))?;
        let left_out = LEFT_OUT.iter().any(|prefix| name.starts_with(prefix));
        if !metadata.is_file() || left_out {
            continue;
        }
        if FILE_BYTES_MAX < metadata.len() {
            let too_large = io::Error::other(format!("it has more than {FILE_BYTES_MAX} bytes"));
            return Err(failed("back up", &path)(too_large));
        }
        files.push((name, std::fs::read(&path).map_err(failed("read", &path))?));
    }
    files.sort_unstable();
    Ok(files)
}

/// Makes the controller's folder anew from a backup, and the credentials file of clients where
/// there is none; how much it holds. Blocking.
///
/// # Errors
/// [`BackupError`]; nothing is left of a restore that failed.
pub fn restore(backup: &Path, folder: &Path, credentials: &Path) -> Result<Counts, BackupError> {
    let whole = check(backup)?;
    let (store, logs) = (folder.join("state.redb"), folder.join("logs.redb"));
    let beside = whole.files.iter().map(|(name, _)| folder.join(name));
    let keys = whole.client_keys.is_some().then(|| credentials.to_owned());
    let parts = (folder.join("restoring.redb"), folder.join("restoring-logs.redb"));
    // A part that an attempt left behind which was killed holds records of its own backup.
    let own = [&store, &logs, &parts.0, &parts.1].map(Clone::clone);
    for name in beside.chain(own).chain(keys) {
        if name.exists() {
            return Err(BackupError::NotEmpty(name));
        }
    }
    let mut made = vec![parts.0.clone(), parts.1.clone()];
    let restored = fill(backup, &parts).and_then(|counts| {
        for (name, bytes) in &whole.files {
            private_file(&folder.join(name), bytes)?;
            made.push(folder.join(name));
        }
        if let Some(bytes) = &whole.client_keys {
            private_file(credentials, bytes)?;
            made.push(credentials.to_owned());
        }
        for (part, place) in [(&parts.1, &logs), (&parts.0, &store)] {
            std::fs::rename(part, place).map_err(failed("put in place", place))?;
            made.push(place.clone());
        }
        File::open(folder).and_then(|dir| dir.sync_all()).map_err(failed("fsync", folder))?;
        Ok(counts)
    });
    if restored.is_err() {
        // What could not be finished is of no use; a file that stays is named by the next attempt.
        made.iter().for_each(|path| drop(std::fs::remove_file(path)));
    }
    restored
}

fn private_file(path: &Path, bytes: &[u8]) -> Result<(), BackupError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.map_err(failed("create", path))?;
    let wrote = file.write_all(bytes).and_then(|()| file.sync_all());
    if wrote.is_err() {
        let _ = std::fs::remove_file(path);
    }
    wrote.map_err(failed("write", path))
}

struct Whole {
    files: Vec<(String, Vec<u8>)>,
    client_keys: Option<Vec<u8>>,
}

/// Reads all of it once, so that nothing is made of a half.
fn check(backup: &Path) -> Result<Whole, BackupError> {
    let wrong = |why: String| BackupError::NotWhole { path: backup.to_owned(), why };
    let (mut files, mut client_keys) = (Vec::new(), None);
    let (mut counts, mut end) = (Counts::default(), None);
    let mut first = true;
    for line in lines(backup)? {
        if end.is_some() {
            return Err(wrong("there is something after its last line".to_owned()));
        }
        match (std::mem::take(&mut first), line?) {
            (true, Line::Head { format: FORMAT, .. }) => {}
            (true, Line::Head { format, .. }) => {
                return Err(wrong(format!("it has format {format}, this program reads {FORMAT}")));
            }
            (true, _) | (false, Line::Head { .. }) => {
                return Err(wrong("its first line is missing or repeated".to_owned()));
            }
            (false, Line::File { file, hex }) => {
                let plain = !file.is_empty() && !file.contains('/') && !file.starts_with('.');
                let bytes = hex::decode(&hex).ok().filter(|_| plain);
                files.push((file.clone(), bytes.ok_or_else(|| wrong(format!("file {file:?}")))?));
            }
            (false, Line::ClientKeys { hex }) => {
                let bytes = hex::decode(&hex).map_err(|_| wrong("the client keys".to_owned()))?;
                client_keys = Some(bytes);
            }
            (false, Line::Record { .. }) => counts.records += 1,
            (false, Line::Log { .. }) => counts.logs += 1,
            (false, Line::End { records, logs }) => end = Some(Counts { records, logs }),
        }
    }
    match end {
        Some(told) if told == counts => Ok(Whole { files, client_keys }),
        Some(told) => Err(wrong(format!("it has {counts:?} and tells of {told:?}"))),
        None => Err(wrong("its last line is missing: it is cut off".to_owned())),
    }
}

fn fill(backup: &Path, (store, logs): &(PathBuf, PathBuf)) -> Result<Counts, BackupError> {
    let mut store = RedbStore::open(store)?;
    let mut logs = Refill::begin(logs)?;
    let (mut batch, mut counts) = (Vec::new(), Counts::default());
    for line in lines(backup)? {
        let (table, key, value) = match line? {
            Line::Record { table, key, value } => (table, key, value),
            Line::Log { log } => {
                counts.logs += 1;
                logs.take(log)?;
                continue;
            }
            _ => continue,
        };
        let known = Table::ALL.into_iter().find(|known| known.name() == table);
        let table = known.ok_or_else(|| BackupError::NotWhole {
            path: backup.to_owned(),
            why: format!("this program has no table {table:?}: use a newer one"),
        })?;
        let value = Some(serde_json::to_vec(&value).expect("JSON was read, and is written"));
        batch.push(Mutation { table, key: key.into_bytes(), value });
        counts.records += 1;
        if batch.len() == BATCH_MAX {
            store.commit(&batch)?;
            batch.clear();
        }
    }
    store.commit(&batch)?;
    logs.finish()?;
    Ok(counts)
}

fn lines(
    backup: &Path,
) -> Result<impl Iterator<Item = Result<Line, BackupError>> + use<'_>, BackupError> {
    let file = File::open(backup).map_err(failed("open", backup))?;
    let lines = BufReader::new(file).lines().enumerate();
    Ok(lines.map(move |(n, line)| {
        let line = line.map_err(failed("read", backup))?;
        serde_json::from_str(&line).map_err(|error| BackupError::NotWhole {
            path: backup.to_owned(),
            why: format!("line {}: {error}", n + 1),
        })
    }))
}

fn failed(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::Io { step, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::{NewEvent, Write};

    fn records(store: &mut dyn Store) -> Records {
        store.records().unwrap()
    }

    fn kept(logs: &LogStore) -> Vec<Kept> {
        let mut all = Vec::new();
        let seen = logs.each(&mut |kept| -> Result<(), LogsError> {
            all.push(kept);
            Ok(())
        });
        seen.unwrap();
        all
    }

    /// Two streams, one of which is deleted again.
    fn logs(path: &Path) -> LogStore {
        let logs = LogStore::open(path).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let does = |write| runtime.block_on(logs.write(write, 1_000)).unwrap();
        let group = || "g".to_owned();
        does(Write::CreateGroup { name: group(), tags: [].into(), may_exist: false });
        for stream in ["kept", "gone"] {
            let name = stream.to_owned();
            does(Write::CreateStream { group: group(), name, may_exist: false });
            let event = |n: u64| NewEvent { timestamp_ms: n, message: format!("{stream} {n}") };
            let events = (1..4).map(event).collect();
            let stream = stream.to_owned();
            does(Write::Put { group: group(), stream, events, cursor: Some("7".into()) });
        }
        does(Write::DeleteStream(group(), "gone".into()));
        assert_eq!(kept(&logs).iter().filter(|one| matches!(one, Kept::Event { .. })).count(), 3);
        logs
    }

    #[test]
    fn what_was_backed_up_is_restored_and_a_half_is_refused() {
        let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut store = RedbStore::open(&old.path().join("state.redb")).unwrap();
        let put = |n: u32| Mutation {
            table: Table::Tasks,
            key: format!("task{n}").into_bytes(),
            value: Some(format!("{{\"n\":{n}}}").into_bytes()),
        };
        store.commit(&(0..BATCH_MAX as u32 + 3).map(put).collect::<Vec<_>>()).unwrap();
        std::fs::write(old.path().join("ca.pem"), "key").unwrap();
        std::fs::write(old.path().join("audit.jsonl"), "no").unwrap();
        let keys = old.path().join("keys");
        std::fs::create_dir(&keys).unwrap();
        let credentials = keys.join("credentials");
        std::fs::write(&credentials, "[default]").unwrap();
        let logs = logs(&old.path().join("logs.redb"));
        let sources = Sources {
            folder: old.path(),
            records: &records(&mut store),
            credentials: Some(&credentials),
            logs: Some(&logs),
        };
        let (backup, counts) = write(&sources, 7).unwrap();

        let text = std::fs::read_to_string(&backup).unwrap();
        let restored = new.path().join("credentials");
        let half = new.path().join("half.jsonl");
        std::fs::write(&half, &text[..text.len() - 20]).unwrap();
        let refused = restore(&half, new.path(), &restored).unwrap_err().to_string();
        assert!(refused.contains("is not a whole backup"), "{refused}");
        assert!(!new.path().join("state.redb").exists());
        let nowhere = new.path().join("missing/credentials");
        restore(&backup, new.path(), &nowhere).unwrap_err();
        let left: Vec<_> = std::fs::read_dir(new.path()).unwrap().map(|one| one.unwrap()).collect();
        assert_eq!(left.len(), 1, "only what was there is left: {left:?}");

        assert_eq!(restore(&backup, new.path(), &restored).unwrap(), counts);
        assert_eq!(counts.records, BATCH_MAX as u64 + 3);
        let again = LogStore::open(&new.path().join("logs.redb")).unwrap();
        assert_eq!(kept(&again), kept(&logs));
        assert_eq!(std::fs::read_to_string(&restored).unwrap(), "[default]");
        let mut again = RedbStore::open(&new.path().join("state.redb")).unwrap();
        assert_eq!(records(&mut again), records(&mut store));
        assert_eq!(std::fs::read_to_string(new.path().join("ca.pem")).unwrap(), "key");
        assert!(!new.path().join("audit.jsonl").exists());
        let refused = restore(&backup, new.path(), &restored).unwrap_err();
        assert!(matches!(refused, BackupError::NotEmpty(_)), "{refused}");
    }
}
