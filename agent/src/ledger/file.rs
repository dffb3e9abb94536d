//! The ledger's file, its ballast, and compaction.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::format::{self, HEADER, Key, Parsed, Place, Unreadable};
use super::writer::Line;
use super::{Contents, LedgerError, io_error};
use crate::supervise::disk;

const LEDGER_FILE: &str = "ledger";
const COMPACT_FILE: &str = ".ledger.new";
const BALLAST_FILE: &str = "ledger.ballast";

/// Kept free for news of known tasks on a full disk: some hundreds of records.
const BALLAST_BYTES: usize = 1024 * 1024;

/// How far ahead of its records the file is filled with newlines. What overwrites them changes
/// neither the file's length nor its blocks, so that an fsync writes the record alone, and not the
/// file system's journal with everything that others have made in the meantime.
const FILL_BYTES: usize = 256 * 1024;

/// A file below this size is not worth compacting.
const COMPACT_BYTES_MIN: u64 = 1024 * 1024;

/// A file is rewritten when it is this many times what it has to hold.
const COMPACT_RATIO: u64 = 4;

/// The open file. Not shared: one thread has it.
#[derive(Debug)]
pub(super) struct LedgerFile {
    path: PathBuf,
    dir: PathBuf,
    file: File,
    /// Of the records.
    length: u64,
    /// Of the file: what is behind the records is newlines.
    filled: u64,
    durable: u64,
    /// Whether a loss of power may bring the file back that had the name before.
    is_renamed: bool,
    live: BTreeMap<Key, Place>,
    live_bytes: u64,
}

impl LedgerFile {
    pub(super) fn open(dir: &Path) -> Result<(Self, Contents), LedgerError> {
        let path = dir.join(LEDGER_FILE);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read.map_err(io_error("read", &path))?,
        };
        let parsed = format::parse(&bytes).map_err(|unreadable| match unreadable {
            Unreadable::Header(found) => LedgerError::Format { path: path.clone(), found },
            Unreadable::Damaged(offset) => LedgerError::Damaged { path: path.clone(), offset },
        })?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io_error("open", &path))?;
        let mut ledger = Self::new(dir, file);
        ledger.begin(&parsed).map_err(io_error("write", &path))?;
        ledger.compact();
        Ok((ledger, parsed.contents))
    }

    fn new(dir: &Path, file: File) -> Self {
        Self {
            path: dir.join(LEDGER_FILE),
            dir: dir.to_owned(),
            file,
            length: 0,
            filled: 0,
            durable: 0,
            is_renamed: false,
            live: BTreeMap::new(),
            live_bytes: 0,
        }
    }

    /// Goes on behind the last whole record. What was read counts as durable from here on.
    fn begin(&mut self, parsed: &Parsed) -> io::Result<()> {
        self.file.set_len(parsed.length)?;
        (self.length, self.filled) = (parsed.length, parsed.length);
        self.live = parsed.live.clone();
        self.live_bytes = self.live.values().map(|place| place.length).sum();
        if self.length == 0 {
            self.append_bytes(format!("{HEADER}\n").as_bytes())?;
        }
        self.sync()?;
        disk::sync_dir(&self.dir)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends the lines, or nothing.
    pub(super) fn append(&mut self, lines: &[&Line]) -> io::Result<()> {
        let mut bytes = Vec::new();
        let mut places = Vec::new();
        for line in lines {
            let record = format::record(&line.json, self.durable);
            let offset = self.length + bytes.len() as u64;
            places.push((line, Place { offset, length: record.len() as u64 }));
            bytes.extend_from_slice(&record);
        }
        self.append_bytes(&bytes)?;
        for (line, place) in places {
            let old = if line.removes {
                self.live.remove(&line.key)
            } else {
                self.live_bytes += place.length;
                self.live.insert(line.key.clone(), place)
            };
            self.live_bytes -= old.map_or(0, |old| old.length);
        }
        Ok(())
    }

    fn append_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        let end = self.length + bytes.len() as u64;
        let written = if end <= self.filled {
            self.file.write_all_at(bytes, self.length)
        } else {
            // A full disk has room for the record alone, perhaps.
            self.append_and_fill(bytes).or_else(|_| self.file.write_all_at(bytes, self.length))
        };
        match written {
            Ok(()) => (self.length, self.filled) = (end, self.filled.max(end)),
            Err(_) => self.cut(),
        }
        written
    }

    /// Appends with newlines behind, for the records that follow.
    fn append_and_fill(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut all = bytes.to_vec();
        all.resize(bytes.len() + FILL_BYTES, b'\n');
        let written = self.file.write_all_at(&all, self.length);
        match written {
            Ok(()) => self.filled = self.length + all.len() as u64,
            Err(_) => self.cut(),
        }
        written
    }

    /// Half a record would be cut off at the next start too; this keeps the disk's room.
    fn cut(&mut self) {
        if self.file.set_len(self.length).is_ok() {
            self.filled = self.length;
        }
    }

    /// Makes what was appended durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.sync_name()?;
        self.durable = self.length;
        Ok(())
    }

    fn sync_name(&mut self) -> io::Result<()> {
        if self.is_renamed {
            disk::sync_dir(&self.dir)?;
            self.is_renamed = false;
        }
        Ok(())
    }

    /// Whether the reserve is there; makes it where it can.
    pub(super) fn has_ballast(&self) -> bool {
        let path = self.dir.join(BALLAST_FILE);
        if std::fs::metadata(&path).is_ok_and(|found| found.len() == BALLAST_BYTES as u64) {
            return true;
        }
        // Written, not only sized: a sparse file reserves nothing.
        let made = std::fs::write(&path, vec![b'.'; BALLAST_BYTES]);
        if made.is_err() {
            self.drop_ballast();
        }
        made.is_ok()
    }

    /// Gives the reserve to the file system.
    pub(super) fn drop_ballast(&self) {
        // Not there is as good as gone.
        let _ = std::fs::remove_file(self.dir.join(BALLAST_FILE));
    }

    /// Rewrites the file where most of it is old. A disk without room for that is no harm.
    pub(super) fn compact(&mut self) {
        let is_worth_it =
            COMPACT_BYTES_MIN < self.length && self.live_bytes * COMPACT_RATIO < self.length;
        if is_worth_it && let Ok(fresh) = self.compacted() {
            // The old file has no name any more, so nothing that it is told would be found again.
            *self = fresh;
            // Where this fails it is tried again before anything counts as durable.
            let _ = self.sync_name();
        }
    }

    /// A new file with the newest entry of each key, in place of this one. That it has the name is
    /// not durable yet.
    fn compacted(&self) -> io::Result<Self> {
        let fresh = self.dir.join(COMPACT_FILE);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)?;
        let mut ledger = Self::new(&self.dir, file);
        let copied = self.copy_live(&mut ledger).and_then(|()| std::fs::rename(&fresh, &self.path));
        if let Err(error) = copied {
            // Room is what was missing: give back what was taken.
            let _ = std::fs::remove_file(&fresh);
            return Err(error);
        }
        ledger.is_renamed = true;
        Ok(ledger)
    }

    fn copy_live(&self, to: &mut Self) -> io::Result<()> {
        to.append_bytes(format!("{HEADER}\n").as_bytes())?;
        for (key, place) in &self.live {
            let mut record = vec![0; usize::try_from(place.length).unwrap_or(usize::MAX)];
            self.file.read_exact_at(&mut record, place.offset)?;
            // The record says how much of the old file was durable: it is written anew.
            let json = record.splitn(3, |byte| *byte == b' ').nth(2).unwrap_or_default();
            let json = json.strip_suffix(b"\n").unwrap_or(json).to_vec();
            to.append(&[&Line { key: key.clone(), removes: false, json }])?;
        }
        to.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Entry;

    #[test]
    fn what_a_rewritten_file_is_told_counts_as_durable_only_once_its_name_does() {
        let dir = tempfile::tempdir().unwrap();
        let (mut old, _) = LedgerFile::open(dir.path()).unwrap();
        let line = |generation| Line::new(&Entry::Generation(generation));
        old.append(&[&line(1)]).unwrap();
        let mut fresh = old.compacted().unwrap();
        fresh.append(&[&line(2)]).unwrap();
        let durable = fresh.durable;
        // As where the folder can't be fsynced.
        fresh.dir = dir.path().join("gone");
        assert_eq!(fresh.sync().unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(fresh.durable, durable);
        fresh.dir = dir.path().to_owned();
        fresh.sync().unwrap();
        assert_eq!((fresh.durable, fresh.is_renamed), (fresh.length, false));
        let (_, contents) = LedgerFile::open(dir.path()).unwrap();
        assert_eq!(contents.generation, 2, "the file that has the name was told");
    }
}
