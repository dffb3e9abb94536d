//! Blobs on their way to the disk: into files that outlive a broken connection and the agent, so
//! that the next try goes on where the last one ended.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{StatusCode, header};
use tokio::io::AsyncWriteExt as _;

use super::request;
use super::session::Session;
use super::{PullError, Report};
use crate::image::{Digest, Progress};

/// Tries in a row that bring nothing before a pull gives up.
pub const TRIES_MAX: u32 = 5;

/// The pause before the second try; each next one is twice as long.
const PAUSE_FIRST: Duration = Duration::from_millis(500);

/// Accepted for a blob: it is what its digest says.
const ANY: &str = "*/*";

/// A blob that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) digest: Digest,
    pub(super) bytes: u64,
}

/// What all downloads of one pull have in common.
pub(super) struct Downloads<'a> {
    pub(super) session: &'a Session<'a>,
    /// The folder of unfinished blobs.
    pub(super) dir: &'a Path,
    /// Begins the files' names: two repositories never share one.
    pub(super) prefix: &'a str,
    pub(super) done_bytes: AtomicU64,
    pub(super) total_bytes: u64,
    pub(super) report: Report<'a>,
}

/// The file that a blob is, or will be, in.
pub(super) fn file_of(dir: &Path, prefix: &str, digest: Digest) -> PathBuf {
    dir.join(format!("{prefix}-{}", digest.hex()))
}

/// How a host that can't be reached at all is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contact {
    /// As it is: there may be no such host, and nobody shall wait for that.
    First,
    /// As something that passes: it was there a moment ago.
    Known,
}

/// Runs `attempt` until it succeeds, fails for good, or fails [`TRIES_MAX`] times in a row. It
/// says with its error whether it brought something.
pub(super) async fn with_retries<T, F>(
    contact: Contact,
    mut attempt: impl FnMut() -> F,
) -> Result<T, PullError>
where
    F: Future<Output = Result<T, (PullError, Gain)>>,
{
    let (mut tries, mut pause) = (1, PAUSE_FIRST);
    loop {
        let (error, gain) = match attempt().await {
            Ok(value) => return Ok(value),
            Err(failed) => failed,
        };
        if gain == Gain::Some {
            (tries, pause) = (0, PAUSE_FIRST);
        }
        let unknown = contact == Contact::First && error.is_unreachable();
        if unknown || !error.may_pass() || TRIES_MAX <= tries {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
        tries += 1;
        pause *= 2;
    }
}

/// Whether a failed try brought bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gain {
    Some,
    None,
}

impl Downloads<'_> {
    /// Brings a blob to the disk, whole. Its digest is checked when it is unpacked.
    pub(super) async fn blob(&self, wanted: Wanted) -> Result<PathBuf, PullError> {
        let path = file_of(self.dir, self.prefix, wanted.digest);
        let have = self.length(&path).await?.min(wanted.bytes);
        self.count(have);
        with_retries(Contact::Known, || self.attempt(&path, wanted)).await?;
        Ok(path)
    }

    async fn attempt(&self, path: &Path, wanted: Wanted) -> Result<(), (PullError, Gain)> {
        let nothing = |error| (error, Gain::None);
        let have = self.length(path).await.map_err(nothing)?;
        if have == wanted.bytes {
            return Ok(());
        }
        let from = if wanted.bytes < have { 0 } else { have };
        let url_path = format!("{}/blobs/{}", self.session.repository, wanted.digest);
        let answer = self.session.get(&url_path, ANY, from).await;
        let (response, url) = answer.map_err(nothing)?;
        let goes_on = response.status() == StatusCode::PARTIAL_CONTENT
            && response.headers().get(header::CONTENT_RANGE).is_some_and(|range| {
                range.as_bytes().starts_with(format!("bytes {from}-").as_bytes())
            });
        let at = if goes_on { from } else { 0 };
        let mut file = self.open(path, at).await.map_err(nothing)?;
        let mut body = response.into_body();
        let mut length = at;
        let gained = |length| if have < length { Gain::Some } else { Gain::None };
        loop {
            let piece = match request::next_piece(&mut body, &url).await {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(error) => {
                    // What has come stays: the next try goes on from there.
                    let flushed = file.flush().await;
                    flushed.map_err(|error| (self.disk("write", path)(error), Gain::None))?;
                    return Err((error.into(), gained(length)));
                }
            };
            length += piece.len() as u64;
            if wanted.bytes < length {
                let error = PullError::TooLong { digest: wanted.digest, expected: wanted.bytes };
                return Err((error, Gain::None));
            }
            let written = file.write_all(&piece).await;
            written.map_err(|error| (self.disk("write", path)(error), Gain::None))?;
            self.count(piece.len() as u64);
        }
        let flushed = file.flush().await;
        flushed.map_err(|error| (self.disk("write", path)(error), Gain::None))?;
        if length < wanted.bytes {
            let (expected, found) = (wanted.bytes, length);
            let error = PullError::TooShort { digest: wanted.digest, expected, found };
            return Err((error, gained(length)));
        }
        Ok(())
    }

    /// Opens the file to write from byte `at` on.
    async fn open(&self, path: &Path, at: u64) -> Result<tokio::fs::File, PullError> {
        let mut options = tokio::fs::OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(path).await.map_err(self.disk("open", path))?;
        file.set_len(at).await.map_err(self.disk("cut", path))?;
        let end = io::SeekFrom::Start(at);
        tokio::io::AsyncSeekExt::seek(&mut file, end).await.map_err(self.disk("seek in", path))?;
        Ok(file)
    }

    async fn length(&self, path: &Path) -> Result<u64, PullError> {
        match tokio::fs::symlink_metadata(path).await {
            Ok(found) => Ok(found.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(self.disk("look at", path)(error)),
        }
    }

    fn disk(&self, step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PullError {
        let path = path.to_owned();
        move |source| PullError::Disk { step, path, source }
    }

    fn count(&self, bytes: u64) {
        let done = self.done_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        // A blob that is begun anew counts again; more than everything is never told.
        let done_bytes = done.min(self.total_bytes);
        (self.report)(Progress { done_bytes, total_bytes: self.total_bytes });
    }
}
