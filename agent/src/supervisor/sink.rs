//! The way to the log's files: a bounded queue and the thread that writes it.
//!
//! A write that fails (disk full) drops its records and counts their bytes; the next one that
//! succeeds is preceded by a record that says how much is missing.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::clock::now_ms;
use crate::logs::files;
use crate::logs::record::{RECORD_BYTES_MAX, Record, Stream};
use crate::supervise::LogSettings;

/// Most bytes that wait for the disk.
pub(super) const QUEUE_BYTES_MAX: usize = 128 * 1024;

/// Stack of the writing thread: it formats one line and calls write.
const STACK_BYTES: usize = 64 * 1024;

#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    dropped_bytes: u64,
    writing: bool,
    closed: bool,
    finished: bool,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    more: Condvar,
    /// Counts up whenever the queue was emptied.
    drained: Arc<EventFd>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The engine's end.
#[derive(Debug)]
pub(super) struct Sink {
    shared: Arc<Shared>,
}

/// Whether the queue took the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    Taken,
    Full,
}

impl Sink {
    /// Starts the thread. The log's folder must exist.
    pub(super) fn start(settings: LogSettings) -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            more: Condvar::new(),
            drained: Arc::new(EventFd::from_flags(flags)?),
        });
        let theirs = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("log".into())
            .stack_size(STACK_BYTES)
            .spawn(move || write_until_closed(&theirs, settings))?;
        Ok(Self { shared })
    }

    /// Queues whole records.
    pub(super) fn push(&self, records: &[u8]) -> Pushed {
        let mut queue = self.shared.lock();
        if QUEUE_BYTES_MAX < queue.bytes.len() + records.len() {
            return Pushed::Full;
        }
        queue.bytes.extend_from_slice(records);
        self.shared.more.notify_one();
        Pushed::Taken
    }

    /// Notes output that was thrown away because the queue stayed full.
    pub(super) fn dropped(&self, bytes: u64) {
        self.shared.lock().dropped_bytes += bytes;
    }

    /// No more records will come.
    pub(super) fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.more.notify_one();
    }

    /// Whether the queue has room for what one turn of the engine may bring.
    pub(super) fn has_room(&self) -> bool {
        self.shared.lock().bytes.len() + 2 * RECORD_BYTES_MAX < QUEUE_BYTES_MAX
    }

    /// Whether everything is written and the thread has ended.
    pub(super) fn is_finished(&self) -> bool {
        self.shared.lock().finished
    }

    /// Bytes that were thrown away and not told yet, where nothing waits for the disk or is on its
    /// way there.
    pub(super) fn at_rest(&self) -> Option<u64> {
        let queue = self.shared.lock();
        (queue.bytes.is_empty() && !queue.writing && !queue.closed).then_some(queue.dropped_bytes)
    }

    /// Readable when the queue was emptied, or the thread ended.
    pub(super) fn drained(&self) -> &Arc<EventFd> {
        &self.shared.drained
    }
}

fn write_until_closed(shared: &Shared, settings: LogSettings) {
    let mut log = Log { settings, file: None };
    loop {
        let (bytes, dropped_bytes) = {
            let mut queue = shared.lock();
            while queue.bytes.is_empty() && !queue.closed {
                queue = shared.more.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            queue.writing = !queue.bytes.is_empty();
            (std::mem::take(&mut queue.bytes), std::mem::take(&mut queue.dropped_bytes))
        };
        let last = bytes.is_empty();
        let written = log.append(&bytes, dropped_bytes);
        let mut queue = shared.lock();
        queue.writing = false;
        if written.is_err() {
            queue.dropped_bytes += dropped_bytes + bytes.len() as u64;
        }
        queue.finished = last;
        drop(queue);
        // Fails only where the counter is at its maximum, and then it is readable anyway.
        let _ = shared.drained.write(1);
        if last {
            return;
        }
    }
}

/// The numbered files, the newest open for writing.
struct Log {
    settings: LogSettings,
    file: Option<Open>,
}

struct Open {
    file: File,
    number: u64,
    length: u64,
}

impl Log {
    /// Appends whole records, or nothing.
    fn append(&mut self, records: &[u8], dropped_bytes: u64) -> io::Result<()> {
        let note = note(dropped_bytes);
        if records.is_empty() && note.is_empty() {
            return Ok(());
        }
        let bytes_max = self.settings.file_bytes_max;
        let mut open = match self.file.take() {
            Some(open) if open.length < bytes_max => open,
            Some(open) => self.next(open.number + 1)?,
            None => self.newest()?,
        };
        let written = open.file.write_all(&note).and_then(|()| open.file.write_all(records));
        if written.is_ok() {
            open.length += (note.len() + records.len()) as u64;
        } else {
            // A record must not be cut; the length before is that of whole records.
            open.file.set_len(open.length)?;
            open.file.seek(SeekFrom::Start(open.length))?;
        }
        self.file = Some(open);
        written
    }

    /// The newest file there is (an earlier run's of the same container), or the first.
    fn newest(&mut self) -> io::Result<Open> {
        let Some(number) = files::numbers(&self.settings.dir)?.last().copied() else {
            return self.next(1);
        };
        let path = files::path(&self.settings.dir, number);
        let whole = std::fs::read(&path)?;
        // A supervisor that was killed may have left half a record.
        let length = whole.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at as u64 + 1);
        let mut file = OpenOptions::new().write(true).open(&path)?;
        file.set_len(length)?;
        file.seek(SeekFrom::Start(length))?;
        Ok(Open { file, number, length })
    }

    fn next(&mut self, number: u64) -> io::Result<Open> {
        let dir = &self.settings.dir;
        for old in files::numbers(dir)? {
            if old + u64::from(self.settings.files_max.max(1)) <= number {
                std::fs::remove_file(files::path(dir, old))?;
            }
        }
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(files::path(dir, number))?;
        Ok(Open { file, number, length: 0 })
    }
}

fn note(dropped_bytes: u64) -> Vec<u8> {
    let mut note = Vec::new();
    if 0 < dropped_bytes {
        let text = format!(
            "[loadline] {dropped_bytes} bytes of output are missing here: the log's disk was full \
             or too slow"
        );
        let record = Record {
            timestamp_ms: now_ms(),
            stream: Stream::Stderr,
            partial: false,
            message: text.as_bytes(),
        };
        record.encode(&mut note);
    }
    note
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::logs::{Cursor, read};
    use crate::supervise::settings::DriverSettings;

    fn settings(dir: &Path) -> LogSettings {
        let driver = DriverSettings::File;
        LogSettings { dir: dir.to_owned(), file_bytes_max: 100, files_max: 2, driver }
    }

    fn record(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let message = text.as_bytes();
        Record { timestamp_ms: 1, stream: Stream::Stdout, partial: false, message }
            .encode(&mut out);
        out
    }

    #[test]
    fn files_are_followed_by_the_next_and_the_oldest_removed() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log { settings: settings(dir.path()), file: None };
        for n in 0..40 {
            log.append(&record(&format!("line {n}")), 0).unwrap();
        }
        assert_eq!(files::numbers(dir.path()).unwrap().len(), 2);
        let batch = read(dir.path(), Cursor::default(), 100, 0).unwrap();
        assert_eq!(batch.events.last().unwrap().message, b"line 39");
    }

    #[test]
    fn half_a_record_of_a_killed_supervisor_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(files::path(dir.path(), 4), "1 oF whole\n1 oF ha").unwrap();
        let mut log = Log { settings: settings(dir.path()), file: None };
        log.append(&record("next"), 0).unwrap();
        let text = std::fs::read_to_string(files::path(dir.path(), 4)).unwrap();
        assert_eq!(text, "1 oF whole\n1 oF next\n");
    }

    #[test]
    fn what_a_full_disk_dropped_is_told_once_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        let logs = dir.path().join("later");
        let mut log = Log { settings: settings(&logs), file: None };
        assert!(log.append(&record("lost"), 0).is_err());
        std::fs::create_dir(&logs).unwrap();
        log.append(&record("kept"), 10).unwrap();
        let batch = read(&logs, Cursor::default(), 9, 0).unwrap();
        let note = String::from_utf8(batch.events[0].message.clone()).unwrap();
        assert!(note.contains("10 bytes of output are missing"), "{note}");
        assert_eq!(batch.events[1].message, b"kept");
    }

    #[test]
    fn a_full_queue_refuses_and_a_closed_sink_finishes() {
        let dir = tempfile::tempdir().unwrap();
        let sink = Sink::start(settings(dir.path())).unwrap();
        assert_eq!(sink.push(&vec![b'x'; QUEUE_BYTES_MAX + 1]), Pushed::Full);
        assert_eq!(sink.push(&record("a")), Pushed::Taken);
        sink.close();
        while !sink.is_finished() {
            std::thread::yield_now();
        }
        assert_eq!(read(dir.path(), Cursor::default(), 9, 0).unwrap().events.len(), 1);
    }
}
