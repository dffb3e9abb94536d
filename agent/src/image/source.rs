//! Where an image is imported from: a folder, or a tar archive, plain or compressed. Both are a
//! set of named members; nothing outside of the folder or archive can be named.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::tar::{Kind, Reader, TarError};
use super::unpack::Limits;
use super::{ImageError, blob};
use crate::rooted::{self, Inside};

/// Most members of an archive that is imported.
pub(crate) const MEMBERS_MAX: usize = 100_000;

/// Longest chain of links between members.
const LINKS_MAX: usize = 8;

/// An opened folder or archive.
pub(crate) enum Source {
    Folder(OwnedFd),
    Archive { file: File, members: HashMap<Vec<u8>, Member> },
}

/// What an archive has under a name.
pub(crate) enum Member {
    Data { offset: u64, bytes: u64 },
    Link(Vec<u8>),
}

impl Source {
    /// Opens `path`. A compressed archive is unpacked into a file without a name in `scratch`.
    pub(crate) fn open(path: &Path, scratch: BorrowedFd<'_>) -> Result<Self, ImageError> {
        let failed = |source| ImageError::Source { object: path.display().to_string(), source };
        if path.is_dir() {
            return Ok(Self::Folder(rooted::open_dir(path).map_err(failed)?));
        }
        let parent = rustix::fs::CWD;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(parent, path, flags, Mode::empty());
        let file = File::from(fd.map_err(|errno| failed(errno.into()))?);
        if !file.metadata().map_err(failed)?.is_file() {
            let why = "neither a folder nor a regular file";
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, why)));
        }
        let file = plain(file, scratch).map_err(failed)?;
        let members = members(&file).map_err(|error| match error {
            Index::Tar(source) => ImageError::Archive { path: PathBuf::from(path), source },
            Index::TooMany => ImageError::Inconsistent {
                object: path.display().to_string(),
                why: format!("has more than {MEMBERS_MAX} members"),
            },
        })?;
        Ok(Self::Archive { file, members })
    }

    /// Whether there is a member of this name.
    pub(crate) fn has(&self, name: &[u8]) -> bool {
        self.member(name).is_ok()
    }

    /// A member's data and its length in bytes.
    pub(crate) fn member(&self, name: &[u8]) -> Result<(Box<dyn Read + '_>, u64), ImageError> {
        self.find(name).map_err(|source| ImageError::Source { object: named(name), source })
    }

    /// A whole member of at most `bytes_max` bytes.
    pub(crate) fn read(&self, name: &[u8], bytes_max: u64) -> Result<Vec<u8>, ImageError> {
        let (reader, _) = self.member(name)?;
        rooted::read_max(reader, bytes_max)
            .map_err(|source| ImageError::Source { object: named(name), source })
    }

    fn find(&self, name: &[u8]) -> io::Result<(Box<dyn Read + '_>, u64)> {
        match self {
            Self::Folder(root) => {
                let file = rooted::open_file(root.as_fd(), name, Inside::Beneath)?;
                let bytes = file.metadata()?.len();
                Ok((Box::new(file), bytes))
            }
            Self::Archive { file, members } => {
                let mut name = clean(name);
                for _ in 0..LINKS_MAX {
                    match members.get(&name) {
                        Some(Member::Data { offset, bytes }) => {
                            let end = offset.saturating_add(*bytes);
                            return Ok((Box::new(Section { file, at: *offset, end }), *bytes));
                        }
                        Some(Member::Link(target)) => name.clone_from(target),
                        None => return Err(io::Error::from(io::ErrorKind::NotFound)),
                    }
                }
                Err(io::Error::other("a loop of links"))
            }
        }
    }
}

/// A part of a file, read by position: several can be read at once.
struct Section<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let room = left.min(buffer.len());
        let count = self.file.read_at(&mut buffer[..room], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// `file` itself, or what it is when decompressed.
fn plain(mut file: File, scratch: BorrowedFd<'_>) -> io::Result<File> {
    let packed = blob::is_compressed(&mut file)?;
    file.rewind()?;
    if !packed {
        return Ok(file);
    }
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let mut out = File::from(rustix::fs::openat(scratch, ".", flags, mode)?);
    let mut reader = blob::decompress(file)?.take(Limits::DEFAULT.bytes_max);
    let copied = io::copy(&mut reader, &mut out)?;
    if copied == Limits::DEFAULT.bytes_max {
        let why = format!("unpacks to more than {copied} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    out.flush()?;
    Ok(out)
}

enum Index {
    Tar(TarError),
    TooMany,
}

/// Lists an archive by its headers alone, stepping over the data.
fn members(file: &File) -> Result<HashMap<Vec<u8>, Member>, Index> {
    let mut members = HashMap::new();
    let mut at = 0u64;
    let cut_at = |at, source| Index::Tar(TarError::Read { at, source });
    let length = file.metadata().map_err(|source| cut_at(0, source))?.len();
    loop {
        let mut reader = Reader::new(Section { file, at, end: u64::MAX });
        let Some(entry) = reader.next().map_err(Index::Tar)? else { return Ok(members) };
        if MEMBERS_MAX <= members.len() {
            return Err(Index::TooMany);
        }
        let offset = at.saturating_add(reader.position());
        let bytes = reader.stored();
        let member = match entry.kind {
            Kind::File if entry.sparse.is_none() => Some(Member::Data { offset, bytes }),
            // `docker save` used to link a layer that several images share: "../ID/layer.tar".
            Kind::Symlink => Some(Member::Link(beside(&entry.path, &entry.link))),
            Kind::Hardlink => Some(Member::Link(clean(&entry.link))),
            _ => None,
        };
        if let Some(member) = member {
            members.insert(clean(&entry.path), member);
        }
        let end = offset.saturating_add(bytes);
        if length < end {
            // Whatever should follow is missing too, and would be looked for in vain.
            let why = format!("the file ends in the middle of {}", named(&entry.path));
            return Err(cut_at(length, io::Error::new(io::ErrorKind::UnexpectedEof, why)));
        }
        at = end.next_multiple_of(512);
    }
}

/// A member's name for people.
fn named(path: &[u8]) -> String {
    String::from_utf8_lossy(path).chars().take(300).collect()
}

/// A name without `.`, empty parts and `..` (which stops at the archive's root).
fn clean(name: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.join(&b'/')
}

/// The name that the link `target` in the member `name` leads to.
fn beside(name: &[u8], target: &[u8]) -> Vec<u8> {
    if target.starts_with(b"/") {
        return clean(target);
    }
    let mut path = name.to_vec();
    path.extend_from_slice(b"/../");
    path.extend_from_slice(target);
    clean(&path)
}
