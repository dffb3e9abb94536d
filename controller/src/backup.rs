//! A backup: all that a controller needs to go on elsewhere, in one file of JSON lines that a
//! person can read.
//!
//! ```text
//!  {"loadlineBackup":1,"madeAtMs":…}
//!  {"file":"ca.pem","hex":"…"}                 what else lies in the controller's folder
//!  {"table":"tasks","key":"arn:…","value":{…}} every record of the store, as of one commit
//!  {"records":1234}                            the last line: a file that is cut off lacks it
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

use crate::store::{Mutation, RedbStore, Store, StoreError, Table};

/// The format that this program writes, and reads.
const FORMAT: u32 = 1;
/// Records that one commit of a restore writes.
const BATCH_MAX: usize = 5_000;
/// Largest file beside the store that goes into a backup, in bytes: keys and certificates.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// What is never part of one: the store itself, the lock, logs and backups.
const LEFT_OUT: [&str; 3] = ["state.redb", "lock", "audit.jsonl"];

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
    End {
        records: u64,
    },
}

/// Writes a backup into `folder/backups`; its path. Blocking.
///
/// # Errors
/// [`BackupError`]
pub fn write(
    folder: &Path,
    records: &[(Table, Vec<u8>, Vec<u8>)],
    now_ms: u64,
) -> Result<PathBuf, BackupError> {
    let backups = folder.join("backups");
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&backups)
        .map_err(failed("make the folder", &backups))?;
    let path = backups.join(format!("backup-{now_ms}.jsonl"));
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    let mut out = BufWriter::new(file.map_err(failed("create", &path))?);
    let mut say = |line: &Line| {
        let text = serde_json::to_string(line).map_err(io::Error::other)?;
        writeln!(out, "{text}")
    };
    let mut all = || -> io::Result<()> {
        say(&Line::Head { format: FORMAT, made_at_ms: now_ms })?;
        for (file, bytes) in files(folder)? {
            say(&Line::File { file, hex: hex::encode(bytes) })?;
        }
        for (table, key, value) in records {
            let key = String::from_utf8_lossy(key).into_owned();
            let value = serde_json::from_slice(value).map_err(io::Error::other)?;
            say(&Line::Record { table: table.name().to_owned(), key, value })?;
        }
        say(&Line::End { records: records.len() as u64 })
    };
    all().map_err(failed("write", &path))?;
    let file = out.into_inner().map_err(|error| failed("write", &path)(error.into_error()))?;
    file.sync_all().map_err(failed("fsync", &path))?;
    File::open(&backups).and_then(|dir| dir.sync_all()).map_err(failed("fsync", &backups))?;
    Ok(path)
}

/// The small files of the controller's folder: its CA, its keys.
fn files(folder: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let metadata = entry.metadata()?;
        let left_out = LEFT_OUT.iter().any(|prefix| name.starts_with(prefix));
        if metadata.is_file() && !left_out && metadata.len() <= FILE_BYTES_MAX {
            files.push((name, std::fs::read(entry.path())?));
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// Makes the controller's folder anew from a backup; how many records it holds. Blocking.
///
/// # Errors
/// [`BackupError`]; nothing is left of a restore that failed.
pub fn restore(backup: &Path, folder: &Path) -> Result<u64, BackupError> {
    let whole = check(backup)?;
    let store = folder.join("state.redb");
    for name in whole.files.iter().map(|(name, _)| folder.join(name)).chain([store.clone()]) {
        if name.exists() {
            return Err(BackupError::NotEmpty(name));
        }
    }
    let part = folder.join("restoring.redb");
    let written = fill(backup, &part);
    if written.is_err() {
        // What could not be finished is of no use; a file that stays is named by the next attempt.
        let _ = std::fs::remove_file(&part);
        return written;
    }
    for (name, bytes) in &whole.files {
        let path = folder.join(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let wrote = file.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
        wrote.map_err(failed("write", &path))?;
    }
    std::fs::rename(&part, &store).map_err(failed("put in place", &store))?;
    File::open(folder).and_then(|dir| dir.sync_all()).map_err(failed("fsync", folder))?;
    written
}

struct Whole {
    files: Vec<(String, Vec<u8>)>,
}

/// Reads all of it once, so that nothing is made of a half.
fn check(backup: &Path) -> Result<Whole, BackupError> {
    let wrong = |why: String| BackupError::NotWhole { path: backup.to_owned(), why };
    let (mut files, mut records, mut end) = (Vec::new(), 0, None);
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
            (false, Line::Record { .. }) => records += 1,
            (false, Line::End { records: told }) => end = Some(told),
        }
    }
    match end {
        Some(told) if told == records => Ok(Whole { files }),
        Some(told) => Err(wrong(format!("it has {records} records and tells of {told}"))),
        None => Err(wrong("its last line is missing: it is cut off".to_owned())),
    }
}

fn fill(backup: &Path, store: &Path) -> Result<u64, BackupError> {
    let mut store = RedbStore::open(store)?;
    let (mut batch, mut count) = (Vec::new(), 0);
    for line in lines(backup)? {
        let Line::Record { table, key, value } = line? else { continue };
        let known = Table::ALL.into_iter().find(|known| known.name() == table);
        let table = known.ok_or_else(|| BackupError::NotWhole {
            path: backup.to_owned(),
            why: format!("this program has no table {table:?}: use a newer one"),
        })?;
        let value = Some(serde_json::to_vec(&value).expect("JSON was read, and is written"));
        batch.push(Mutation { table, key: key.into_bytes(), value });
        count += 1;
        if batch.len() == BATCH_MAX {
            store.commit(&batch)?;
            batch.clear();
        }
    }
    store.commit(&batch)?;
    Ok(count)
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
    use crate::store::Records;

    fn records(store: &mut dyn Store) -> Records {
        store.records().unwrap()
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
        let backup = write(old.path(), &records(&mut store), 7).unwrap();

        let text = std::fs::read_to_string(&backup).unwrap();
        let half = new.path().join("half.jsonl");
        std::fs::write(&half, &text[..text.len() - 20]).unwrap();
        let refused = restore(&half, new.path()).unwrap_err().to_string();
        assert!(refused.contains("is not a whole backup"), "{refused}");
        assert!(!new.path().join("state.redb").exists());

        let count = restore(&backup, new.path()).unwrap();
        assert_eq!(count, BATCH_MAX as u64 + 3);
        let mut again = RedbStore::open(&new.path().join("state.redb")).unwrap();
        assert_eq!(records(&mut again), records(&mut store));
        assert_eq!(std::fs::read_to_string(new.path().join("ca.pem")).unwrap(), "key");
        assert!(!new.path().join("audit.jsonl").exists());
        let refused = restore(&backup, new.path()).unwrap_err();
        assert!(matches!(refused, BackupError::NotEmpty(_)), "{refused}");
    }
}
