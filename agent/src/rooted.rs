//! What is done below a directory that is held open: open, read with a bound, write so that a
//! crash leaves the old or the new text, and remove. No path string is walked by hand, and no
//! removal crosses into another filesystem.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RenameFlags, ResolveFlags, openat2, renameat_with,
};

use crate::supervise::disk::Durability;

/// How a path below a root treats what could lead out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inside {
    /// As a container sees it: absolute links and `..` are taken relative to the root.
    AsRoot,
    /// Strict: an absolute link, or `..` above the root, is an error (EXDEV).
    Beneath,
}

impl Inside {
    const fn flags(self) -> ResolveFlags {
        match self {
            Self::AsRoot => ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS),
            Self::Beneath => ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS),
        }
    }
}

/// Opens `path` below `root`.
///
/// # Errors
/// The kernel's; EXDEV where `path` leads out and `inside` is strict.
pub fn open(
    root: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
    inside: Inside,
) -> io::Result<OwnedFd> {
    // EAGAIN says that a rename elsewhere raced with "..": the kernel asks to try again.
    for _ in 0..32 {
        match openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), inside.flags()) {
            Err(rustix::io::Errno::AGAIN) => {}
            result => return result.map_err(io::Error::from),
        }
    }
    Err(io::Error::from(rustix::io::Errno::AGAIN))
}

/// Opens the directory `path` of this host.
///
/// # Errors
/// The kernel's.
pub fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Opens a regular file for reading below `root`; a FIFO or device is an error, never a hang.
///
/// # Errors
/// The kernel's; [`io::ErrorKind::InvalidInput`] where it is not a regular file.
pub fn open_file(root: BorrowedFd<'_>, path: &[u8], inside: Inside) -> io::Result<File> {
    let fd = open(root, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, inside)?;
    let stat = rustix::fs::fstat(&fd)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(File::from(fd))
}

/// Reads a whole stream of at most `bytes_max` bytes.
///
/// # Errors
/// The reader's; [`io::ErrorKind::FileTooLarge`] where there is more.
pub fn read_max(reader: impl Read, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes_max < bytes.len() as u64 {
        let why = format!("larger than {bytes_max} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(bytes)
}

/// Puts `bytes` at `name` in `dir`, mode 0600: after a crash there is the old content or the new,
/// whole. With [`Durability::Power`] that holds for a loss of power too, and both file and folder
/// are synced before it returns.
///
/// # Errors
/// The kernel's; the old content then still stands and no temporary file is left.
pub fn write_atomic(
    dir: BorrowedFd<'_>,
    name: &str,
    bytes: &[u8],
    durability: Durability,
) -> io::Result<()> {
    let temporary = format!(".{name}.new");
    let written = write_new(dir, &temporary, bytes, durability)
        .and_then(|()| Ok(rustix::fs::renameat(dir, &temporary, dir, name)?))
        .and_then(|()| match durability {
            Durability::Process => Ok(()),
            Durability::Power => Ok(rustix::fs::fsync(dir)?),
        });
    if written.is_err() {
        // The first error is the one to report; a leftover is overwritten by the next write.
        let _ = rustix::fs::unlinkat(dir, &temporary, AtFlags::empty());
    }
    written
}

fn write_new(
    dir: BorrowedFd<'_>,
    name: &str,
    bytes: &[u8],
    durability: Durability,
) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW;
    let mode = Mode::RUSR | Mode::WUSR;
    let mut file = File::from(rustix::fs::openat(dir, name, flags | OFlags::CLOEXEC, mode)?);
    file.write_all(bytes)?;
    match durability {
        Durability::Process => Ok(()),
        Durability::Power => file.sync_all(),
    }
}

/// Removes `name` in `dir` and everything below it. Does not follow links and does not descend
/// into a mount: what is mounted below makes it fail (EXDEV) with the mount untouched. Nothing
/// there is no error.
///
/// # Errors
/// The kernel's.
pub fn remove_tree(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => return Ok(()),
        Err(rustix::io::Errno::ISDIR | rustix::io::Errno::PERM) => {}
        Err(errno) => return Err(errno.into()),
    }
    match open_child_dir(dir, name) {
        Ok(child) => empty_tree(child.as_fd())?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Removes what is in `top`. A container may have made a tree deeper than there are file
/// descriptors, so nothing descends: what lies deeper is moved up into `top` first.
fn empty_tree(top: BorrowedFd<'_>) -> io::Result<()> {
    let mut moved: u64 = 0;
    loop {
        let directories = unlink_files(top)?;
        if directories.is_empty() {
            return Ok(());
        }
        for name in directories {
            let child = open_child_dir(top, &name)?;
            for inner in unlink_files(child.as_fd())? {
                move_up(child.as_fd(), &inner, top, &mut moved)?;
            }
            rustix::fs::unlinkat(top, &name, AtFlags::REMOVEDIR)?;
        }
    }
}

/// Renames `name` in `from` to a name that is free in `top`.
fn move_up(
    from: BorrowedFd<'_>,
    name: &[u8],
    top: BorrowedFd<'_>,
    moved: &mut u64,
) -> io::Result<()> {
    loop {
        let free = format!(".removed-{moved}");
        *moved += 1;
        match renameat_with(from, name, top, free, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn open_child_dir(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    Ok(openat2(dir, name, flags, Mode::empty(), resolve)?)
}

/// Unlinks everything in `dir` but directories, whose names it returns.
fn unlink_files(dir: BorrowedFd<'_>) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    let mut directories = Vec::new();
    for name in names {
        match rustix::fs::unlinkat(dir, &name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(rustix::io::Errno::ISDIR | rustix::io::Errno::PERM) => directories.push(name),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(directories)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_written_file_is_replaced_whole_and_leaves_no_temporary() {
        let dir = tempfile::tempdir().unwrap();
        let fd = open_dir(dir.path()).unwrap();
        for durability in [Durability::Power, Durability::Process] {
            write_atomic(fd.as_fd(), "record", b"one", durability).unwrap();
            write_atomic(fd.as_fd(), "record", b"two", durability).unwrap();
            assert_eq!(std::fs::read(dir.path().join("record")).unwrap(), b"two");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn removing_a_tree_leaves_what_its_links_point_to() {
        let dir = tempfile::tempdir().unwrap();
        let keep = dir.path().join("keep");
        std::fs::create_dir_all(keep.join("inner")).unwrap();
        let tree = dir.path().join("tree");
        std::fs::create_dir_all(tree.join("a/b/c")).unwrap();
        std::fs::write(tree.join("a/file"), "x").unwrap();
        symlink(&keep, tree.join("a/link")).unwrap();
        let fd = open_dir(dir.path()).unwrap();
        remove_tree(fd.as_fd(), b"tree").unwrap();
        remove_tree(fd.as_fd(), b"tree").unwrap();
        assert!(!tree.exists() && keep.join("inner").exists());
    }

    #[test]
    fn a_tree_deeper_than_any_path_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let mut at = open_dir(dir.path()).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&at, "deep", Mode::RWXU).unwrap();
            at = open_child_dir(at.as_fd(), b"deep").unwrap();
        }
        let fd = open_dir(dir.path()).unwrap();
        remove_tree(fd.as_fd(), b"deep").unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_strict_path_does_not_follow_a_link_out_and_a_root_path_stays_in() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(dir.path().join("etc/passwd"), "inside").unwrap();
        symlink("/etc/passwd", dir.path().join("link")).unwrap();
        let fd = open_dir(dir.path()).unwrap();
        let strict = open_file(fd.as_fd(), b"link", Inside::Beneath).unwrap_err();
        assert_eq!(strict.raw_os_error(), Some(rustix::io::Errno::XDEV.raw_os_error()));
        let file = open_file(fd.as_fd(), b"link", Inside::AsRoot).unwrap();
        assert_eq!(read_max(file, 6).unwrap(), b"inside");
        let file = open_file(fd.as_fd(), b"link", Inside::AsRoot).unwrap();
        assert!(read_max(file, 5).is_err());
    }
}
