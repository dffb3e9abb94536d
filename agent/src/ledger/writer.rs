//! The thread that has the file: takes what waits, writes it together, fsyncs once, answers.

use tokio::sync::mpsc;

use super::file::LedgerFile;
use super::format::Key;
use super::{Entry, Job, LedgerError, Purpose, io_error};
use crate::task::actor::EndsWithUs;

/// Jobs that one fsync commits.
const BATCH_MAX: usize = 256;

/// An entry as it will stand in the file, and what it replaces.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) key: Key,
    pub(super) removes: bool,
    pub(super) json: Vec<u8>,
}

impl Line {
    pub(super) fn new(entry: &Entry) -> Self {
        let (key, removes) = (Key::of(entry), matches!(entry, Entry::Remove(_)));
        let json = serde_json::to_vec(entry).expect("an entry has no map with odd keys");
        Self { key, removes, json }
    }
}

/// Runs until every [`super::Ledger`] is gone.
pub(super) fn run(mut file: LedgerFile, mut inbox: mpsc::Receiver<Job>) {
    let _guard = EndsWithUs("the ledger's writer");
    while let Some(first) = inbox.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX {
            match inbox.try_recv() {
                Ok(job) => batch.push(job),
                Err(_) => break,
            }
        }
        commit(&mut file, batch);
        file.compact();
    }
}

fn commit(file: &mut LedgerFile, batch: Vec<Job>) {
    let mut written = Vec::new();
    for job in batch {
        match append(file, &job) {
            Ok(()) => written.push(job),
            // Who asked may have gone; nobody else is to be told.
            Err(error) => drop(job.done.send(Err(error))),
        }
    }
    let durable = written.iter().any(|job| job.purpose != Purpose::Note);
    let synced = if durable { file.sync().map_err(io_error("fsync", file.path())) } else { Ok(()) };
    for job in written {
        let _ = job.done.send(synced.clone());
    }
}

fn append(file: &mut LedgerFile, job: &Job) -> Result<(), LedgerError> {
    let lines: Vec<&Line> = job.lines.iter().collect();
    if job.purpose == Purpose::Admission && !file.has_ballast() {
        return Err(LedgerError::Full { path: file.path().to_owned() });
    }
    match file.append(&lines) {
        Err(_) if job.purpose != Purpose::Admission => {
            file.drop_ballast();
            file.append(&lines).map_err(io_error("append to", file.path()))
        }
        appended => appended.map_err(io_error("append to", file.path())),
    }
}
