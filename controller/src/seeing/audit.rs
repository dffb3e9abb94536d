//! The audit log: one JSON line for each call that may change something, whoever made it and
//! however it ended. Written by one thread before the call is answered; not fsynced, so a loss of
//! power may take the last lines.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

/// Size at which a file is followed by the next, in bytes.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// How many files are kept: `audit.jsonl` and its predecessors `.1` to `.4`.
const FILES_MAX: u32 = 5;
/// Lines that wait for the disk; a call whose line finds no room waits.
const LINES_MAX: usize = 1_024;

/// One call. Key ids and names stand in it, secrets and bodies never.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    /// When it was answered, Unix milliseconds.
    pub at_ms: u64,
    /// As in the answer's header.
    pub request_id: String,
    /// From where.
    pub peer: String,
    /// Whose access key; absent where nobody proved to hold one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// Who that is: an ARN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// The target header, or a query's action: service and operation.
    pub operation: String,
    /// What it was about, as far as the request names one thing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// `ok`, or AWS's error code.
    pub code: String,
    /// How long it took, microseconds.
    pub took_us: u64,
}

/// The way to the log; clones write to the same one.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    lines: Option<mpsc::Sender<Job>>,
}

type Job = (Vec<u8>, oneshot::Sender<()>);

impl Audit {
    /// Appends to `folder/audit.jsonl`, mode 0600.
    ///
    /// # Errors
    /// Where it can't be opened, or there is no thread for it.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let mut log = Log::open(folder.join("audit.jsonl"), FILE_BYTES_MAX)?;
        let (lines, mut inbox) = mpsc::channel::<Job>(LINES_MAX);
        std::thread::Builder::new().name("audit".to_owned()).spawn(move || {
            let mut failed = false;
            while let Some((line, done)) = inbox.blocking_recv() {
                let written = log.append(&line);
                // Once for each time that it begins: a full disk would fill the log as well.
                if let (Err(error), false) = (&written, failed) {
                    tracing::error!(%error, "the audit log can't be written: calls go unrecorded");
                }
                failed = written.is_err();
                let _ = done.send(());
            }
        })?;
        Ok(Self { lines: Some(lines) })
    }

    /// Notes a call; returns once its line is written.
    pub async fn note(&self, call: &Call) {
        let Some(lines) = &self.lines else { return };
        let mut line = serde_json::to_vec(call).expect("a call has plain fields only");
        line.push(b'\n');
        let (done, written) = oneshot::channel();
        // An error means that the thread is gone, which ends with the process.
        if lines.send((line, done)).await.is_ok() {
            let _ = written.await;
        }
    }
}

#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: File,
    bytes: u64,
    bytes_max: u64,
}

impl Log {
    fn open(path: PathBuf, bytes_max: u64) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path, file, bytes, bytes_max })
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let length = line.len() as u64;
        if 0 < self.bytes && self.bytes_max < self.bytes + length {
            self.rotate()?;
        }
        self.file.write_all(line)?;
        self.bytes += length;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let numbered = |n: u32| match n {
            0 => self.path.clone(),
            n => self.path.with_extension(format!("jsonl.{n}")),
        };
        for n in (0..FILES_MAX - 1).rev() {
            match std::fs::rename(numbered(n), numbered(n + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        *self = Self::open(self.path.clone(), self.bytes_max)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_followed_by_the_next_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let mut log = Log::open(path.clone(), 8).unwrap();
        for n in 0..9 {
            log.append(format!("{n}{n}{n}\n").as_bytes()).unwrap();
        }
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).ok();
        assert_eq!(read("audit.jsonl").as_deref(), Some("888\n"));
        assert_eq!(read("audit.jsonl.1").as_deref(), Some("666\n777\n"));
        assert_eq!(read("audit.jsonl.4").as_deref(), Some("000\n111\n"));
        assert_eq!(read("audit.jsonl.5"), None);
        let again = Log::open(path, 8).unwrap();
        assert_eq!(again.bytes, 4, "it goes on where it was");
    }
}
