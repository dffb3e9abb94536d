//! One entry at a time: what each kind of entry puts on the disk.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use super::path::{self, Inner, Place, Whiteout};
use super::tree::{
    At, Spot, Tree, kernel, kind_at, open_at, owner, readable, refused, set_opaque, times,
    way_error,
};
use super::{Refusal, UnpackError};
use crate::image::tar::{Entry, Kind, Reader, Segment};

impl Tree<'_> {
    /// Puts one entry into the tree. `reader` stands at the entry's data.
    pub(super) fn add<R: Read>(
        &mut self,
        entry: &Entry,
        reader: &mut Reader<R>,
    ) -> Result<(), UnpackError> {
        let inner = match self.place(entry)? {
            Place::Inner(inner) => inner,
            Place::Root if entry.kind == Kind::Directory => return self.root_entry(entry),
            Place::Root => return Err(refused(&entry.path, Refusal::RootReplaced)),
        };
        owner(entry)?;
        if matches!(entry.kind, Kind::Char | Kind::Block) {
            return self.device(entry, &inner);
        }
        let whiteout = path::whiteout(&inner.name).map_err(|why| refused(&entry.path, why))?;
        if let Some(whiteout) = whiteout {
            return self.white_out(entry, &inner, whiteout);
        }
        let parent = self.parent(&inner, &entry.path)?;
        let spot = Spot { dir: parent.as_fd(), name: &inner.name };
        if entry.kind == Kind::Directory {
            return self.directory(entry, &inner, &spot);
        }
        if entry.kind == Kind::Hardlink {
            return self.hardlink(entry, &spot);
        }
        self.clear(&spot, &entry.path)?;
        match entry.kind {
            Kind::Symlink => symlink(entry, &spot),
            Kind::Fifo => fifo(entry, &spot),
            _ => file(entry, &spot, reader),
        }
    }

    fn root_entry(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        let root = self.open_dir(b"").map_err(kernel("open", &entry.path))?;
        dress(root.as_fd(), entry)?;
        self.described(Vec::new(), entry.mtime);
        Ok(())
    }

    fn device(&mut self, entry: &Entry, inner: &Inner) -> Result<(), UnpackError> {
        let below_dev = inner.parent == b"dev" || inner.parent.starts_with(b"dev/");
        if !below_dev {
            let (major, minor) = entry.device;
            return Err(refused(&entry.path, Refusal::Device { major, minor }));
        }
        self.unpacked.devices_left_out += 1;
        Ok(())
    }

    fn white_out(
        &mut self,
        entry: &Entry,
        inner: &Inner,
        whiteout: Whiteout<'_>,
    ) -> Result<(), UnpackError> {
        if whiteout == Whiteout::Bookkeeping {
            return Ok(());
        }
        let parent = match self.parent(inner, &entry.path) {
            // This layer has made a file of the directory (umoci writes both): that hides it whole.
            Err(UnpackError::Refused { source: Refusal::NotADirectory, .. }) => return Ok(()),
            parent => parent?,
        };
        let Whiteout::Of(name) = whiteout else {
            return set_opaque(parent.as_fd(), &entry.path);
        };
        let spot = Spot { dir: parent.as_fd(), name };
        // A whiteout hides what lower layers have; what this layer itself has there stays.
        match kind_at(&spot).map_err(kernel("look at", &entry.path))? {
            Some(At::Directory) => {
                let fd = open_at(&spot, OFlags::RDONLY | OFlags::DIRECTORY)
                    .map_err(kernel("open", &entry.path))?;
                set_opaque(fd.as_fd(), &entry.path)
            }
            Some(At::Whiteout | At::Other) => Ok(()),
            None => {
                let kind = FileType::CharacterDevice;
                rustix::fs::mknodat(spot.dir, spot.name, kind, Mode::empty(), 0)
                    .map_err(kernel("make the whiteout", &entry.path))
            }
        }
    }

    fn directory(
        &mut self,
        entry: &Entry,
        inner: &Inner,
        spot: &Spot<'_>,
    ) -> Result<(), UnpackError> {
        let there = kind_at(spot).map_err(kernel("look at", &entry.path))?;
        if there != Some(At::Directory) {
            if there.is_some() {
                self.remove(spot, &entry.path)?;
            }
            rustix::fs::mkdirat(spot.dir, spot.name, Mode::RWXU)
                .map_err(kernel("make the directory", &entry.path))?;
        }
        let fd = open_at(spot, OFlags::RDONLY | OFlags::DIRECTORY)
            .map_err(kernel("open the directory", &entry.path))?;
        if there == Some(At::Whiteout) {
            set_opaque(fd.as_fd(), &entry.path)?;
        }
        dress(fd.as_fd(), entry)?;
        let mut path = inner.parent.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(&inner.name);
        self.described(path, entry.mtime);
        Ok(())
    }

    fn hardlink(&mut self, entry: &Entry, spot: &Spot<'_>) -> Result<(), UnpackError> {
        let target = || readable(&entry.link);
        let missing = || refused(&entry.path, Refusal::HardlinkMissing { target: target() });
        let wrong = || refused(&entry.path, Refusal::HardlinkTarget { target: target() });
        let place = path::parse(&entry.link, &self.limits);
        let inner = match place.map_err(|why| refused(&entry.path, why))? {
            Place::Inner(inner) => inner,
            Place::Root => return Err(wrong()),
        };
        let parent = match self.open_dir(&inner.parent) {
            Ok(parent) => parent,
            Err(Errno::NOENT | Errno::NOTDIR) => return Err(missing()),
            Err(errno) => return Err(way_error(errno, &entry.path)),
        };
        let from = Spot { dir: parent.as_fd(), name: &inner.name };
        let stat = match rustix::fs::statat(from.dir, from.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Err(missing()),
            Err(errno) => return Err(kernel("look at the target of", &entry.path)(errno)),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if !matches!(kind, FileType::RegularFile | FileType::Symlink | FileType::Fifo) {
            return Err(wrong());
        }
        let there = rustix::fs::statat(spot.dir, spot.name, AtFlags::SYMLINK_NOFOLLOW);
        if there.is_ok_and(|there| there.st_ino == stat.st_ino && there.st_dev == stat.st_dev) {
            return Ok(());
        }
        self.clear(spot, &entry.path)?;
        rustix::fs::linkat(from.dir, from.name, spot.dir, spot.name, AtFlags::empty()).map_err(
            |errno| match errno {
                // It lay below what the link replaces.
                Errno::NOENT => missing(),
                errno => kernel("link", &entry.path)(errno),
            },
        )
    }

    /// Makes room for an entry that is not a directory.
    fn clear(&mut self, spot: &Spot<'_>, entry: &[u8]) -> Result<(), UnpackError> {
        match kind_at(spot).map_err(kernel("look at", entry))? {
            None => Ok(()),
            Some(_) => self.remove(spot, entry),
        }
    }
}

fn file<R: Read>(
    entry: &Entry,
    spot: &Spot<'_>,
    reader: &mut Reader<R>,
) -> Result<(), UnpackError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let mut file = File::from(open_at(spot, flags).map_err(kernel("make the file", &entry.path))?);
    match &entry.sparse {
        None => fill(&mut file, u64::MAX, entry, reader)?,
        Some(segments) => fill_sparse(&mut file, segments, entry, reader)?,
    }
    dress(file.as_fd(), entry)?;
    rustix::fs::futimens(&file, &times(entry.mtime)).map_err(kernel("set the time of", &entry.path))
}

fn fill_sparse<R: Read>(
    file: &mut File,
    segments: &[Segment],
    entry: &Entry,
    reader: &mut Reader<R>,
) -> Result<(), UnpackError> {
    let failed =
        |source| UnpackError::Kernel { step: "write", entry: readable(&entry.path), source };
    for segment in segments {
        file.seek(SeekFrom::Start(segment.offset)).map_err(failed)?;
        fill(file, segment.bytes, entry, reader)?;
    }
    file.set_len(entry.size).map_err(failed)
}

/// Copies at most `bytes` of the entry's data.
fn fill<R: Read>(
    file: &mut File,
    bytes: u64,
    entry: &Entry,
    reader: &mut Reader<R>,
) -> Result<(), UnpackError> {
    let mut buffer = vec![0; 64 * 1024];
    let mut left = bytes;
    while 0 < left {
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let count = reader.read_data(&mut buffer[..room])?;
        if count == 0 {
            break;
        }
        file.write_all(&buffer[..count]).map_err(|source| UnpackError::Kernel {
            step: "write",
            entry: readable(&entry.path),
            source,
        })?;
        left -= count as u64;
    }
    Ok(())
}

fn symlink(entry: &Entry, spot: &Spot<'_>) -> Result<(), UnpackError> {
    if entry.link.is_empty() {
        return Err(refused(&entry.path, Refusal::EmptyLink));
    }
    // The target is the container's to resolve: it is kept as it is.
    rustix::fs::symlinkat(&entry.link[..], spot.dir, spot.name)
        .map_err(kernel("make the symbolic link", &entry.path))?;
    dress_unopened(entry, spot)
}

fn fifo(entry: &Entry, spot: &Spot<'_>) -> Result<(), UnpackError> {
    rustix::fs::mknodat(spot.dir, spot.name, FileType::Fifo, Mode::RUSR, 0)
        .map_err(kernel("make the FIFO", &entry.path))?;
    let mode = Mode::from_raw_mode(entry.mode);
    rustix::fs::chmodat(spot.dir, spot.name, mode, AtFlags::empty())
        .map_err(kernel("set the mode of", &entry.path))?;
    dress_unopened(entry, spot)
}

/// Owner and times of what is not opened to set them.
fn dress_unopened(entry: &Entry, spot: &Spot<'_>) -> Result<(), UnpackError> {
    let (uid, gid) = owner(entry)?;
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(spot.dir, spot.name, Some(uid), Some(gid), flags)
        .map_err(kernel("set the owner of", &entry.path))?;
    rustix::fs::utimensat(spot.dir, spot.name, &times(entry.mtime), flags)
        .map_err(kernel("set the time of", &entry.path))
}

/// Owner, then mode, then attributes: changing the owner clears setuid bits and capabilities.
fn dress(fd: BorrowedFd<'_>, entry: &Entry) -> Result<(), UnpackError> {
    let (uid, gid) = owner(entry)?;
    rustix::fs::fchown(fd, Some(uid), Some(gid))
        .map_err(kernel("set the owner of", &entry.path))?;
    rustix::fs::fchmod(fd, Mode::from_raw_mode(entry.mode))
        .map_err(kernel("set the mode of", &entry.path))?;
    for (name, value) in &entry.xattrs {
        set_attribute(fd, name, value, entry)?;
    }
    Ok(())
}

fn set_attribute(
    fd: BorrowedFd<'_>,
    name: &[u8],
    value: &[u8],
    entry: &Entry,
) -> Result<(), UnpackError> {
    if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
        let source = Refusal::OverlayAttribute { name: readable(name) };
        return Err(refused(&entry.path, source));
    }
    let kept = name == b"security.capability"
        || name.starts_with(b"user.")
        || name.starts_with(b"system.posix_acl_");
    if !kept {
        return Ok(());
    }
    match rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty()) {
        // A filesystem without such attributes: capabilities are then missing, as docker has it.
        Ok(()) | Err(Errno::OPNOTSUPP) => Ok(()),
        Err(errno) => Err(kernel("set an attribute of", &entry.path)(errno)),
    }
}
