//! `tmpcopyup`: a new tmpfs gets a copy of the directory that it hides.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, mkdirat, mknodat};
use nix::unistd::{Gid, Uid, fchown, fchownat, read, symlinkat, write};

/// How deep directories may be nested.
const DEPTH_MAX: u32 = 64;

/// Copies what is in the directory `from` into the directory `to`, with owners and permissions.
/// Links are copied as links and never followed.
///
/// # Errors
/// The kernel's errno; `ENOSPC` when the tmpfs is too small, `ELOOP` when it is nested too deep.
pub fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
    let from = openat(from, ".", directory(), Mode::empty())?;
    let to = openat(to, ".", directory(), Mode::empty())?;
    copy_directory(from, to.as_fd(), 0)
}

fn copy_directory(from: OwnedFd, to: BorrowedFd<'_>, depth: u32) -> Result<(), Errno> {
    if depth > DEPTH_MAX {
        return Err(Errno::ELOOP);
    }
    own(to, &fstat(&from)?)?;
    let handle = from.try_clone().map_err(|_| Errno::EMFILE)?;
    let mut entries = Dir::from_fd(handle)?;
    for entry in entries.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            copy_entry(from.as_fd(), to, name, depth)?;
        }
    }
    Ok(())
}

fn copy_entry(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &CStr,
    depth: u32,
) -> Result<(), Errno> {
    let stat = fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    match SFlag::from_bits_truncate(stat.st_mode & libc::S_IFMT) {
        SFlag::S_IFDIR => {
            mkdirat(to, name, Mode::S_IRWXU)?;
            let below = openat(from, name, directory(), Mode::empty())?;
            let copy = openat(to, name, directory(), Mode::empty())?;
            copy_directory(below, copy.as_fd(), depth + 1)
        }
        SFlag::S_IFLNK => {
            symlinkat(readlinkat(from, name)?.as_os_str(), to, name)?;
            let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
            fchownat(to, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
        }
        SFlag::S_IFREG => copy_file(from, to, name, &stat),
        // Sockets mean nothing in a copy; pipes and device nodes keep their number.
        SFlag::S_IFSOCK => Ok(()),
        kind => mknodat(to, name, kind, permissions(&stat), stat.st_rdev),
    }
}

fn copy_file(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &CStr,
    stat: &FileStat,
) -> Result<(), Errno> {
    let read_only = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let source = openat(from, name, read_only, Mode::empty())?;
    let new = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let copy = openat(to, name, new, Mode::S_IRUSR | Mode::S_IWUSR)?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = read(&source, &mut buffer)?;
        if length == 0 {
            return own(copy.as_fd(), stat);
        }
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            rest = &rest[write(&copy, rest)?..];
        }
    }
}

fn own(fd: BorrowedFd<'_>, stat: &FileStat) -> Result<(), Errno> {
    fchown(fd, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    fchmod(fd, permissions(stat))
}

fn permissions(stat: &FileStat) -> Mode {
    Mode::from_bits_truncate(stat.st_mode & 0o7777)
}

fn directory() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC
}

#[cfg(test)]
mod tests {
    use super::copy;
    use std::fs::{self, File};
    use std::os::fd::AsFd;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn files_links_and_permissions_are_copied() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(from.path().join("dir")).unwrap();
        fs::write(from.path().join("dir/file"), b"text").unwrap();
        let mode = fs::Permissions::from_mode(0o640);
        fs::set_permissions(from.path().join("dir/file"), mode).unwrap();
        symlink("/etc/shadow", from.path().join("link")).unwrap();
        let (a, b) = (File::open(from.path()).unwrap(), File::open(to.path()).unwrap());
        copy(a.as_fd(), b.as_fd()).unwrap();
        assert_eq!(fs::read(to.path().join("dir/file")).unwrap(), b"text");
        let copied = fs::metadata(to.path().join("dir/file")).unwrap();
        assert_eq!(copied.permissions().mode() & 0o777, 0o640);
        let link = fs::read_link(to.path().join("link")).unwrap();
        assert_eq!(link.to_str(), Some("/etc/shadow"));
    }
}
