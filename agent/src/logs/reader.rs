//! Reads a log from a cursor on. Blocking; bounded by events and bytes.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::files;
use super::record::{RECORD_BYTES_MAX, Record, Stream};

/// Most bytes of output in one batch: it fits in a protocol message.
pub const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// A place in the output: everything before it has been read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// The file's number; 0 is before the first.
    pub file: u64,
    /// Bytes into it.
    pub offset: u64,
}

impl Cursor {
    /// Reads what `Display` wrote; the empty text is the beginning.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::default());
        }
        let (file, offset) = text.split_once(':')?;
        Some(Self { file: file.parse().ok()?, offset: offset.parse().ok()? })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.offset)
    }
}

/// A record that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Unix milliseconds.
    pub timestamp_ms: u64,
    /// Where it was written.
    pub stream: Stream,
    /// Whether the line goes on.
    pub partial: bool,
    /// Without the newline.
    pub message: Vec<u8>,
}

/// What one read gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// In the order of the output.
    pub events: Vec<Event>,
    /// Where to read on.
    pub next: Cursor,
    /// Whether nothing more was on disk.
    pub caught_up: bool,
}

/// A log that can't be read.
#[derive(Debug, thiserror::Error)]
#[error("read log {}", path.display())]
pub struct ReadError {
    /// Which file or folder.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// Reads at most `events_max` events from `cursor` on, without those older than `since_ms`.
///
/// # Errors
/// [`ReadError`]; a file that rotation removed in between is skipped, not an error.
pub fn read(
    dir: &Path,
    cursor: Cursor,
    events_max: usize,
    since_ms: u64,
) -> Result<Batch, ReadError> {
    let fail = |path: &Path, source| ReadError { path: path.to_owned(), source };
    let numbers = files::numbers(dir).map_err(|error| fail(dir, error))?;
    let mut batch = Batch { events: Vec::new(), next: cursor, caught_up: false };
    let mut room = Room { events: events_max, bytes: BATCH_BYTES_MAX };
    for number in numbers.into_iter().filter(|number| cursor.file <= *number) {
        if batch.next.file < number {
            batch.next = Cursor { file: number, offset: 0 };
        }
        let path = files::path(dir, number);
        match read_file(&path, &mut batch, &mut room, since_ms) {
            Ok(Ended::File) => {}
            Ok(Ended::Room) => return Ok(batch),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(fail(&path, error)),
        }
    }
    batch.caught_up = true;
    Ok(batch)
}

struct Room {
    events: usize,
    bytes: usize,
}

enum Ended {
    File,
    Room,
}

fn read_file(path: &Path, batch: &mut Batch, room: &mut Room, since_ms: u64) -> io::Result<Ended> {
    let mut file = BufReader::with_capacity(RECORD_BYTES_MAX, File::open(path)?);
    file.seek(SeekFrom::Start(batch.next.offset))?;
    let mut line = Vec::new();
    loop {
        if room.events == 0 || room.bytes == 0 {
            return Ok(Ended::Room);
        }
        line.clear();
        let length = file.read_until(b'\n', &mut line)?;
        // A line without its newline is being written: it is read next time.
        if line.pop() != Some(b'\n') {
            return Ok(Ended::File);
        }
        batch.next.offset += length as u64;
        let Some(record) = Record::decode(&line) else { continue };
        if record.timestamp_ms < since_ms {
            continue;
        }
        room.events -= 1;
        room.bytes = room.bytes.saturating_sub(length);
        batch.events.push(Event {
            timestamp_ms: record.timestamp_ms,
            stream: record.stream,
            partial: record.partial,
            message: record.message.to_vec(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, number: u64, text: &str) {
        std::fs::write(files::path(dir, number), text).unwrap();
    }

    fn messages(batch: &Batch) -> Vec<String> {
        batch.events.iter().map(|e| String::from_utf8_lossy(&e.message).into_owned()).collect()
    }

    #[test]
    fn reading_goes_on_where_it_stopped_over_rotated_files() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 3, "1 oF a\n2 eF b\n");
        write(dir.path(), 10, "3 oP c\n4 oF d\n5 oF unfin");
        let first = read(dir.path(), Cursor::default(), 3, 0).unwrap();
        assert_eq!(
            (messages(&first), first.caught_up),
            (vec!["a".into(), "b".into(), "c".into()], false)
        );
        let rest = read(dir.path(), first.next, 9, 0).unwrap();
        assert_eq!((messages(&rest), rest.caught_up), (vec!["d".to_owned()], true));
        let nothing = read(dir.path(), rest.next, 9, 0).unwrap();
        assert_eq!((nothing.events.len(), nothing.next), (0, rest.next));
        let late = read(dir.path(), Cursor::default(), 9, 3).unwrap();
        assert_eq!(messages(&late), ["c", "d"]);
    }

    #[test]
    fn a_cursor_into_a_removed_file_goes_on_with_the_oldest_that_is_left() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 7, "1 oF a\n");
        let batch = read(dir.path(), Cursor { file: 2, offset: 999 }, 9, 0).unwrap();
        assert_eq!(messages(&batch), ["a"]);
        assert_eq!(Cursor::parse(&batch.next.to_string()), Some(batch.next));
    }

    #[test]
    fn a_log_that_does_not_exist_yet_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let batch = read(&dir.path().join("no"), Cursor::default(), 9, 0).unwrap();
        assert!(batch.events.is_empty() && batch.caught_up);
        assert_eq!(Cursor::parse("7"), None);
    }
}
