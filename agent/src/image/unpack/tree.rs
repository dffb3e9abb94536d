//! The directory that a layer grows in: where names are found, made and replaced.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::path::{self, Inner, Place};
use super::{Limits, Refusal, UnpackError, Unpacked};
use crate::image::tar::{Entry, Kind};
use crate::rooted::{self, Inside};

/// Where a name is to be put: its open directory and its last component.
pub(super) struct Spot<'a> {
    pub(super) dir: BorrowedFd<'a>,
    pub(super) name: &'a [u8],
}

/// A layer that is being unpacked.
pub(super) struct Tree<'a> {
    pub(super) root: BorrowedFd<'a>,
    pub(super) limits: Limits,
    pub(super) unpacked: Unpacked,
    /// The directory of the newest entry: entries mostly come directory by directory.
    last_parent: Option<(Vec<u8>, OwnedFd)>,
    /// Directories' times are set at the end, because filling one changes its own.
    dir_times: Vec<(Vec<u8>, (i64, u32))>,
    /// What the names in `dir_times` and of implied directories take.
    names_bytes: usize,
}

pub(super) fn refused(entry: &[u8], source: Refusal) -> UnpackError {
    UnpackError::Refused { entry: readable(entry), source }
}

pub(super) fn kernel(step: &'static str, entry: &[u8]) -> impl FnOnce(Errno) -> UnpackError {
    move |errno| UnpackError::Kernel { step, entry: readable(entry), source: errno.into() }
}

/// A name as text of bounded length.
pub(super) fn readable(name: &[u8]) -> String {
    String::from_utf8_lossy(name).chars().take(300).collect()
}

pub(super) const OPAQUE: &str = "trusted.overlay.opaque";

impl<'a> Tree<'a> {
    pub(super) fn new(root: BorrowedFd<'a>, limits: Limits) -> Self {
        let implied_dirs = std::iter::once(Vec::new()).collect();
        Self {
            root,
            limits,
            unpacked: Unpacked { implied_dirs, ..Unpacked::default() },
            last_parent: None,
            dir_times: Vec::new(),
            names_bytes: 0,
        }
    }

    /// Counts an entry against the limits, before any of it is unpacked.
    pub(super) fn count(&mut self, entry: &Entry, position: u64) -> Result<(), UnpackError> {
        let Limits { bytes_max, entries_max, .. } = self.limits;
        self.unpacked.entries += 1;
        if entries_max < self.unpacked.entries {
            return Err(refused(&entry.path, Refusal::TooManyEntries { entries_max }));
        }
        let size = if entry.kind == Kind::File { entry.size } else { 0 };
        self.unpacked.bytes = self.unpacked.bytes.saturating_add(size);
        if bytes_max < self.unpacked.bytes || bytes_max < position {
            return Err(refused(&entry.path, Refusal::TooManyBytes { bytes_max }));
        }
        if entry.kind == Kind::Directory {
            self.count_name(entry.path.len(), &entry.path)?;
        }
        Ok(())
    }

    /// Counts a directory's name before it is kept.
    fn count_name(&mut self, bytes: usize, entry: &[u8]) -> Result<(), UnpackError> {
        self.names_bytes = self.names_bytes.saturating_add(bytes);
        let Limits { names_bytes_max, .. } = self.limits;
        if names_bytes_max < self.names_bytes {
            return Err(refused(entry, Refusal::TooLongNames { names_bytes_max }));
        }
        Ok(())
    }

    pub(super) fn place(&self, entry: &Entry) -> Result<Place, UnpackError> {
        path::parse(&entry.path, &self.limits).map_err(|why| refused(&entry.path, why))
    }

    /// Opens the directory that `inner` is in, making what is missing on the way.
    pub(super) fn parent(&mut self, inner: &Inner, entry: &[u8]) -> Result<OwnedFd, UnpackError> {
        if let Some((path, fd)) = &self.last_parent
            && *path == inner.parent
        {
            return fd.try_clone().map_err(|source| UnpackError::Kernel {
                step: "hold the directory of",
                entry: readable(entry),
                source,
            });
        }
        let fd = match self.open_dir(&inner.parent) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => self.make_dirs(&inner.parent, entry)?,
            Err(errno) => return Err(way_error(errno, entry)),
        };
        let kept = fd.try_clone().ok();
        self.last_parent = kept.map(|kept| (inner.parent.clone(), kept));
        Ok(fd)
    }

    /// Opens a directory below the root, strictly.
    pub(super) fn open_dir(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let path: &[u8] = if path.is_empty() { b"." } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        rooted::open(self.root, path, flags, Inside::Beneath)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }

    /// Makes the directories of `path` that are missing. One that this layer whited out is made
    /// anew, opaque: what the lower layers have in it stays hidden.
    fn make_dirs(&mut self, path: &[u8], entry: &[u8]) -> Result<OwnedFd, UnpackError> {
        let mut dir = self.open_dir(b"").map_err(kernel("open the root for", entry))?;
        let mut done: Vec<u8> = Vec::new();
        for name in path.split(|b| *b == b'/') {
            if !done.is_empty() {
                done.push(b'/');
            }
            done.extend_from_slice(name);
            // By the whole path from the root, so that a link is followed only inside it.
            dir = match self.open_dir(&done) {
                Ok(next) => next,
                Err(Errno::NOENT | Errno::NOTDIR) => {
                    let spot = Spot { dir: dir.as_fd(), name };
                    if !self.make_dir(&spot, entry)? {
                        self.count_name(done.len(), entry)?;
                        self.unpacked.implied_dirs.insert(done.clone());
                    }
                    self.open_dir(&done).map_err(|errno| way_error(errno, entry))?
                }
                Err(errno) => return Err(way_error(errno, entry)),
            };
        }
        Ok(dir)
    }

    /// Makes a directory that no entry describes: mode 0755, owned by root. Says whether it hides
    /// what lower layers have there.
    fn make_dir(&mut self, spot: &Spot<'_>, entry: &[u8]) -> Result<bool, UnpackError> {
        let hidden = match kind_at(spot).map_err(kernel("look at the way to", entry))? {
            None => false,
            Some(At::Whiteout) => {
                self.remove(spot, entry)?;
                true
            }
            Some(At::Directory | At::Other) => {
                return Err(refused(entry, Refusal::NotADirectory));
            }
        };
        let made = rustix::fs::mkdirat(spot.dir, spot.name, Mode::from_raw_mode(0o755));
        made.map_err(kernel("make a directory on the way to", entry))?;
        let fd = open_at(spot, OFlags::RDONLY | OFlags::DIRECTORY)
            .map_err(kernel("open a directory on the way to", entry))?;
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o755))
            .map_err(kernel("set the mode of a directory on the way to", entry))?;
        if hidden {
            set_opaque(fd.as_fd(), entry)?;
        }
        Ok(hidden)
    }

    /// Removes what is at `spot`, with everything below it.
    pub(super) fn remove(&mut self, spot: &Spot<'_>, entry: &[u8]) -> Result<(), UnpackError> {
        // The directory that is held open may lie below what goes away now.
        self.last_parent = None;
        rooted::remove_tree(spot.dir, spot.name).map_err(|source| UnpackError::Kernel {
            step: "replace what was at",
            entry: readable(entry),
            source,
        })
    }

    /// Takes note of a directory that an entry describes.
    pub(super) fn described(&mut self, path: Vec<u8>, mtime: (i64, u32)) {
        self.unpacked.implied_dirs.remove(&path);
        self.dir_times.push((path, mtime));
    }

    /// Sets the directories' times, the latest entry of each last.
    pub(super) fn finish(self) -> Result<Unpacked, UnpackError> {
        for (path, mtime) in &self.dir_times {
            // It may have become something else since, or lie behind what did.
            if let Ok(fd) = self.open_dir(path) {
                let set = rustix::fs::futimens(&fd, &times(*mtime));
                set.map_err(kernel("set the time of", path))?;
            }
        }
        Ok(self.unpacked)
    }
}

/// What is at a spot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    Directory,
    Whiteout,
    Other,
}

pub(super) fn kind_at(spot: &Spot<'_>) -> Result<Option<At>, Errno> {
    match rustix::fs::statat(spot.dir, spot.name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => At::Directory,
            FileType::CharacterDevice if stat.st_rdev == 0 => At::Whiteout,
            _ => At::Other,
        })),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Opens the last component itself, never through a link.
pub(super) fn open_at(spot: &Spot<'_>, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(spot.dir, spot.name, flags, Mode::from_raw_mode(0o600))
}

pub(super) fn set_opaque(dir: BorrowedFd<'_>, entry: &[u8]) -> Result<(), UnpackError> {
    rustix::fs::fsetxattr(dir, OPAQUE, b"y", XattrFlags::empty())
        .map_err(kernel("mark as opaque the directory of", entry))
}

pub(super) fn owner(entry: &Entry) -> Result<(Uid, Gid), UnpackError> {
    let id = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
    match (id(entry.uid), id(entry.gid)) {
        (Some(uid), Some(gid)) => Ok((Uid::from_raw(uid), Gid::from_raw(gid))),
        _ => {
            let source = Refusal::Owner { uid: entry.uid, gid: entry.gid };
            Err(refused(&entry.path, source))
        }
    }
}

pub(super) fn times((seconds, nanos): (i64, u32)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// The error of a directory on the way to an entry, in words where it is the entry's doing.
pub(super) fn way_error(errno: Errno, entry: &[u8]) -> UnpackError {
    match errno {
        Errno::XDEV => refused(entry, Refusal::LeadsOut),
        Errno::LOOP => refused(entry, Refusal::LinkLoop),
        Errno::NOTDIR | Errno::NOENT => refused(entry, Refusal::NotADirectory),
        Errno::NAMETOOLONG => refused(entry, Refusal::NameTooLong),
        _ => UnpackError::Kernel {
            step: "open the directory of",
            entry: readable(entry),
            source: io::Error::from(errno),
        },
    }
}
