//! The agent's ledger: what it knows of its tasks, on disk before anything is done about it
//! (law 8).
//!
//! ```text
//!  loadline-ledger 1                            the format's version
//!  1c291ca3 0 {"task":{…}}                      CRC-32 of the rest, bytes known durable, entry
//!  90f8a3d2 84 {"generation":7}
//!                                               newlines, for the records that follow
//! ```
//!
//! Invariants: the file is only appended to, by one thread, which commits what waits together with
//! one fsync. The newest entry of a task is the truth. What was acknowledged survives the loss of
//! power: a record that can't be read is dropped only where nothing says that it was durable. A
//! full disk refuses new tasks while a reserve, the ballast, is kept for those that exist.

mod file;
mod format;
mod writer;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use loadline_model::TaskArn;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::priority;
use crate::task::Task;

/// Writes that wait for the disk.
const QUEUE_MAX: usize = 1024;

/// One thing to remember.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// The newest state of a task.
    Task(Box<Task>),
    /// The task is forgotten.
    Remove(TaskArn),
    /// The newest generation of the desired state that was applied.
    Generation(u64),
}

/// Everything that the ledger remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// By ARN.
    pub tasks: BTreeMap<TaskArn, Task>,
    /// 0 before the first.
    pub generation: u64,
}

/// What a write is about: decides what happens where the disk is full, and when it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A new task: refused while the ballast is gone. Durable on return.
    Admission,
    /// News of a known task: may use the ballast. Durable on return.
    Progress,
    /// As `Progress`, but only written on return: a later fsync takes it along. For what is of no
    /// use after a loss of power.
    Note,
}

/// Why the ledger can't be opened or written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LedgerError {
    /// A call of the file system failed.
    #[error("{step} {}: {why}", path.display())]
    Io {
        /// Which step.
        step: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why, in words, since one error may be told to many.
        why: String,
    },
    /// Records that were durable can't be read any more.
    #[error(
        "ledger {} is damaged at byte {offset}: move it away to start with an empty one; running \
         containers are then stopped",
        path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Of the first record that can't be read.
        offset: u64,
    },
    /// Not a ledger, or one of a newer agent.
    #[error("{} begins with {found:?}, this agent knows {:?}", path.display(), format::HEADER)]
    Format {
        /// Which file.
        path: PathBuf,
        /// Its first line.
        found: String,
    },
    /// No new task while the reserve can't be restored.
    #[error("the disk of the ledger {} is full: free some space there", path.display())]
    Full {
        /// Which file.
        path: PathBuf,
    },
    /// The writing thread has ended.
    #[error("the ledger is closed")]
    Closed,
}

pub(crate) fn io_error(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LedgerError {
    let path = path.to_owned();
    move |error| LedgerError::Io { step, path, why: error.to_string() }
}

struct Job {
    lines: Vec<writer::Line>,
    purpose: Purpose,
    done: oneshot::Sender<Result<(), LedgerError>>,
}

/// The way to the ledger; clones write to the same one.
#[derive(Clone, Debug)]
pub struct Ledger {
    jobs: mpsc::Sender<Job>,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").field("purpose", &self.purpose).finish_non_exhaustive()
    }
}

impl Ledger {
    /// Opens the ledger in `dir`, makes it where there is none, and reads what it remembers.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn open(dir: &Path) -> Result<(Self, Contents), LedgerError> {
        let (file, contents) = file::LedgerFile::open(dir)?;
        let (jobs, inbox) = mpsc::channel(QUEUE_MAX);
        let path = file.path().to_owned();
        std::thread::Builder::new()
            .name("ledger".into())
            .spawn(move || {
                priority::raise("ledger");
                writer::run(file, inbox);
            })
            .map_err(io_error("start the thread of", &path))?;
        Ok((Self { jobs }, contents))
    }

    /// Remembers `entries`, all or none of them.
    ///
    /// # Errors
    /// [`LedgerError`]; nothing was remembered then.
    pub async fn write(&self, entries: &[Entry], purpose: Purpose) -> Result<(), LedgerError> {
        let lines = entries.iter().map(writer::Line::new).collect();
        let (done, answer) = oneshot::channel();
        self.jobs.send(Job { lines, purpose, done }).await.map_err(|_| LedgerError::Closed)?;
        answer.await.map_err(|_| LedgerError::Closed)?
    }
}

#[cfg(test)]
mod tests;
