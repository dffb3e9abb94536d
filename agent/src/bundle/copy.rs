//! Copies a folder of an image into a new volume. Nothing follows a link: names are taken from the
//! open folder that they lie in, so that the tree, which is somebody else's, leads nowhere.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timestamps, Uid, XattrFlags, fchmod, fchown,
    fgetxattr, flistxattr, fsetxattr, futimens, mkdirat, mknodat, openat, readlinkat, statat,
    symlinkat,
};
use rustix::io::Errno;

/// Deepest tree that is copied.
const DEPTH_MAX: usize = 256;
/// Most entries that are copied.
const ENTRIES_MAX: u64 = 1_000_000;
/// Largest list of extended attributes, and value (Linux XATTR_LIST_MAX, XATTR_SIZE_MAX).
const XATTR_BYTES_MAX: usize = 64 * 1024;

/// Whether a folder has no entry.
///
/// # Errors
/// The kernel's.
pub(super) fn is_empty(dir: BorrowedFd<'_>) -> io::Result<bool> {
    for entry in Dir::read_from(dir)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Copies owner, mode, times and everything in `from` to `to`. Sockets are left out.
///
/// # Errors
/// The kernel's; [`io::ErrorKind::FileTooLarge`] where the tree is above its bounds.
pub(super) fn tree(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let mut left = ENTRIES_MAX;
    copy_dir(from, to, 0, &mut left)
}

fn copy_dir(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    depth: usize,
    left: &mut u64,
) -> io::Result<()> {
    if DEPTH_MAX < depth {
        let why = format!("a tree deeper than {DEPTH_MAX}");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_bytes() == b"." || name.to_bytes() == b".." {
            continue;
        }
        *left = left.checked_sub(1).ok_or_else(|| {
            let why = format!("more than {ENTRIES_MAX} entries");
            io::Error::new(io::ErrorKind::FileTooLarge, why)
        })?;
        copy_entry(from, to, name, depth, left)?;
    }
    dress(from, to)
}

fn copy_entry(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &CStr,
    depth: usize,
    left: &mut u64,
) -> io::Result<()> {
    let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            mkdirat(to, name, Mode::RWXU)?;
            let (from, to) = (open(from, name, folder())?, open(to, name, folder())?);
            copy_dir(from.as_fd(), to.as_fd(), depth + 1, left)
        }
        FileType::RegularFile => {
            let read = OFlags::RDONLY | OFlags::NONBLOCK;
            let mut source = File::from(open(from, name, read)?);
            let make = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
            let target = openat(to, name, make | fixed(), Mode::RUSR | Mode::WUSR)?;
            let mut target = File::from(target);
            io::copy(&mut source, &mut target)?;
            dress(source.as_fd(), target.as_fd())
        }
        FileType::Symlink => {
            let link = readlinkat(from, name, Vec::new())?;
            symlinkat(link.as_c_str(), to, name)?;
            own(to, name, &stat)
        }
        FileType::Socket | FileType::Unknown => Ok(()),
        kind => {
            let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
            mknodat(to, name, kind, mode, stat.st_rdev)?;
            own(to, name, &stat)
        }
    }
}

fn fixed() -> OFlags {
    OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn folder() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY
}

fn open(dir: BorrowedFd<'_>, name: &CStr, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(openat(dir, name, flags | fixed(), Mode::empty())?)
}

fn own(dir: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

/// Owner first: changing it takes set-id bits and file capabilities away.
fn dress(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let stat = rustix::fs::fstat(from)?;
    fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    copy_xattrs(from, to)?;
    let time = |tv_sec, tv_nsec| rustix::fs::Timespec { tv_sec, tv_nsec };
    futimens(
        to,
        &Timestamps {
            last_access: time(stat.st_atime, i64::try_from(stat.st_atime_nsec).unwrap_or(0)),
            last_modification: time(stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0)),
        },
    )?;
    Ok(())
}

/// Attributes of users, and file capabilities. The others are the file system's own.
fn copy_xattrs(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let mut list = vec![0; XATTR_BYTES_MAX];
    let length = match flistxattr(from, &mut list) {
        Ok(length) => length,
        Err(Errno::NOTSUP) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    let mut value = vec![0; XATTR_BYTES_MAX];
    for name in list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if name.starts_with(b"user.") || name == b"security.capability" {
            let size = fgetxattr(from, name, &mut value)?;
            match fsetxattr(to, name, &value[..size], XattrFlags::empty()) {
                // A file system without them has the file all the same, as docker's copy has it.
                Ok(()) | Err(Errno::NOTSUP) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use super::*;
    use crate::rooted;

    #[test]
    fn a_tree_is_copied_with_modes_times_and_links_that_lead_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::create_dir_all(from.join("sub")).unwrap();
        std::fs::create_dir(&to).unwrap();
        std::fs::write(from.join("sub/file"), "text").unwrap();
        let mode = std::fs::Permissions::from_mode(0o751);
        std::fs::set_permissions(from.join("sub/file"), mode).unwrap();
        std::fs::set_permissions(&from, std::fs::Permissions::from_mode(0o1777)).unwrap();
        symlink("/etc/passwd", from.join("link")).unwrap();
        let (source, target) = (rooted::open_dir(&from).unwrap(), rooted::open_dir(&to).unwrap());
        assert!(is_empty(target.as_fd()).unwrap());
        tree(source.as_fd(), target.as_fd()).unwrap();
        assert!(!is_empty(target.as_fd()).unwrap());
        assert_eq!(std::fs::read_to_string(to.join("sub/file")).unwrap(), "text");
        let (old, new) = (from.join("sub/file"), to.join("sub/file"));
        let (old, new) = (std::fs::metadata(old).unwrap(), std::fs::metadata(new).unwrap());
        assert_eq!((old.mode(), old.mtime()), (new.mode(), new.mtime()));
        assert_eq!(std::fs::metadata(&to).unwrap().mode() & 0o7777, 0o1777);
        assert_eq!(std::fs::read_link(to.join("link")).unwrap().to_str(), Some("/etc/passwd"));
    }

    #[test]
    fn a_tree_above_the_depth_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::create_dir(&to).unwrap();
        let deep: std::path::PathBuf = std::iter::repeat_n("d", DEPTH_MAX + 1).collect();
        std::fs::create_dir_all(from.join(deep)).unwrap();
        let (source, target) = (rooted::open_dir(&from).unwrap(), rooted::open_dir(&to).unwrap());
        let error = tree(source.as_fd(), target.as_fd()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }
}
