//! Paths below the container's root, from its descriptor, never leaving it.
//!
//! `openat2` with `RESOLVE_IN_ROOT` treats the descriptor as `/` for `..` and absolute links, so a
//! hostile link ends up inside. Every function gives back the descriptor that was checked.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};

use crate::sys::mount::{
    RESOLVE_BENEATH, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, openat2,
};

/// How often a resolution is tried that the kernel could not finish safely because of a rename
/// elsewhere (`EAGAIN`).
const RESOLVE_TRIES_MAX: u32 = 128;

/// How many dangling links are followed while missing directories are made.
const LINKS_MAX: u32 = 32;

/// The permissions of what is made.
pub(super) const MODE: u32 = 0o755;

/// What is made where the last component is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Make {
    /// A directory.
    Directory,
    /// An empty file.
    File,
}

/// Opens an existing path as a handle (`O_PATH`), following links inside the root.
///
/// # Errors
/// The kernel's errno.
pub fn open(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    resolve(root, path, libc::O_PATH, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
}

/// Opens an existing path with these flags, following links inside the root.
///
/// # Errors
/// The kernel's errno.
pub fn open_with(root: BorrowedFd<'_>, path: &Path, flags: i32) -> Result<OwnedFd, Errno> {
    resolve(root, path, flags, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
}

/// Opens a path as a handle; what is missing on the way is made as directories, and the last
/// component as `make` says.
///
/// # Errors
/// The kernel's errno; `ELOOP` for too many dangling links.
pub fn open_or_make(root: BorrowedFd<'_>, path: &Path, make: Make) -> Result<OwnedFd, Errno> {
    match open(root, path) {
        Err(Errno::ENOENT) => make_missing(root, path.to_owned(), make),
        other => other,
    }
}

/// Opens or makes a child of a directory as a handle; `None` when the child is a link, which has
/// to be followed from the root.
///
/// # Errors
/// The kernel's errno; `ENOTDIR` when a file is where a directory is needed.
pub fn open_or_make_child(
    dir: BorrowedFd<'_>,
    name: &OsStr,
    make: Make,
) -> Result<Option<OwnedFd>, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let open = || openat(dir, name, flags, Mode::empty());
    let child = match open() {
        Err(Errno::ENOENT) => {
            match make {
                Make::Directory => ignore_existing(mkdirat(dir, name, mode()))?,
                Make::File => ignore_existing(make_file(dir, name))?,
            }
            open()?
        }
        other => other?,
    };
    let kind = SFlag::from_bits_truncate(fstat(&child)?.st_mode & libc::S_IFMT);
    match (make, kind) {
        (_, SFlag::S_IFLNK) => Ok(None),
        (Make::Directory, SFlag::S_IFDIR) | (Make::File, _) => Ok(Some(child)),
        (Make::Directory, _) => Err(Errno::ENOTDIR),
    }
}

/// Opens a directory that is reached without links, making it if only the last component is
/// missing.
///
/// # Errors
/// The kernel's errno; `ELOOP` when a component is a link, `ENOTDIR` when one is a file.
pub fn open_directory_without_links(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let rules = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    match resolve(root, path, flags, rules) {
        Err(Errno::ENOENT) => {
            let (parent, name) = split(path)?;
            let parent = match parent.as_os_str().is_empty() {
                true => None,
                false => Some(open_directory_without_links(root, parent)?),
            };
            let parent = parent.as_ref().map_or(root, AsFd::as_fd);
            ignore_existing(mkdirat(parent, name, mode()))?;
            resolve(root, path, flags, rules)
        }
        other => other,
    }
}

/// The directory that holds the last component, and that component. Missing directories are made.
///
/// # Errors
/// The kernel's errno.
pub fn parent_of<'p>(root: BorrowedFd<'_>, path: &'p Path) -> Result<(OwnedFd, &'p OsStr), Errno> {
    let (parent, name) = split(path)?;
    Ok((open_or_make(root, parent, Make::Directory)?, name))
}

fn make_missing(root: BorrowedFd<'_>, path: PathBuf, make: Make) -> Result<OwnedFd, Errno> {
    let mut path = path;
    for _ in 0..LINKS_MAX {
        match make_components(root, &path, make)? {
            Made::All(fd) => return Ok(fd),
            Made::Dangling(instead) => path = instead,
        }
    }
    Err(Errno::ELOOP)
}

enum Made {
    All(OwnedFd),
    /// A link that leads to nothing: this is the whole path with the link replaced.
    Dangling(PathBuf),
}

fn make_components(root: BorrowedFd<'_>, path: &Path, make: Make) -> Result<Made, Errno> {
    let mut done = PathBuf::new();
    let mut here = open(root, &done)?;
    let mut components = path.components();
    while let Some(component) = components.next() {
        let name = component.as_os_str();
        let is_last = components.as_path().as_os_str().is_empty();
        let parent = done.clone();
        done.push(name);
        here = match open(root, &done) {
            Err(Errno::ENOENT) => {
                let made = match make {
                    Make::File if is_last => make_file(here.as_fd(), name),
                    Make::File | Make::Directory => mkdirat(&here, name, mode()),
                };
                match made {
                    Ok(()) => open(root, &done)?,
                    Err(Errno::EEXIST) => match open(root, &done) {
                        Err(Errno::ENOENT) => {
                            let target = PathBuf::from(readlinkat(&here, name)?);
                            let instead = parent.join(target).join(components.as_path());
                            return Ok(Made::Dangling(crate::spec::inside(&instead)));
                        }
                        other => other?,
                    },
                    Err(errno) => return Err(errno),
                }
            }
            other => other?,
        };
    }
    Ok(Made::All(here))
}

fn make_file(parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(parent, name, flags | OFlag::O_WRONLY, mode()).map(drop)
}

fn resolve(root: BorrowedFd<'_>, path: &Path, flags: i32, rules: u64) -> Result<OwnedFd, Errno> {
    let bytes = path.as_os_str().as_bytes();
    let path = CString::new(if bytes.is_empty() { b"." } else { bytes });
    let path = path.map_err(|_| Errno::EINVAL)?;
    let mut tries = 0;
    loop {
        match openat2(root, &path, flags, 0, rules) {
            Err(Errno::EAGAIN) if tries < RESOLVE_TRIES_MAX => tries += 1,
            other => return other,
        }
    }
}

fn split(path: &Path) -> Result<(&Path, &OsStr), Errno> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok((parent, name)),
        _ => Err(Errno::EINVAL),
    }
}

fn ignore_existing(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::EEXIST) => Ok(()),
        other => other,
    }
}

fn mode() -> Mode {
    Mode::from_bits_truncate(MODE)
}

#[cfg(test)]
mod tests {
    use super::{Make, open, open_directory_without_links, open_or_make};
    use nix::errno::Errno;
    use std::fs::{self, File};
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    fn world() -> (tempfile::TempDir, File) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        let root = File::open(dir.path().join("root")).unwrap();
        (dir, root)
    }

    #[test]
    fn a_link_that_leads_out_ends_inside() {
        let (dir, root) = world();
        symlink("../../outside", dir.path().join("root/link")).unwrap();
        open_or_make(root.as_fd(), Path::new("link/made"), Make::Directory).unwrap();
        assert!(dir.path().join("root/outside/made").is_dir());
        assert!(!dir.path().join("outside/made").exists());
    }

    #[test]
    fn an_absolute_dangling_link_is_made_inside() {
        let (dir, root) = world();
        symlink("/run", dir.path().join("root/var")).unwrap();
        open_or_make(root.as_fd(), Path::new("var/lock/file"), Make::File).unwrap();
        assert!(dir.path().join("root/run/lock/file").is_file());
    }

    #[test]
    fn a_loop_of_links_is_refused() {
        let (dir, root) = world();
        symlink("b", dir.path().join("root/a")).unwrap();
        symlink("a", dir.path().join("root/b")).unwrap();
        let result = open_or_make(root.as_fd(), Path::new("a/x"), Make::Directory);
        assert_eq!(result.err(), Some(Errno::ELOOP));
    }

    #[test]
    fn a_link_is_refused_where_none_may_be() {
        let (dir, root) = world();
        symlink("elsewhere", dir.path().join("root/proc")).unwrap();
        fs::create_dir(dir.path().join("root/elsewhere")).unwrap();
        let result = open_directory_without_links(root.as_fd(), Path::new("proc"));
        assert_eq!(result.err(), Some(Errno::ELOOP));
        open_directory_without_links(root.as_fd(), Path::new("sys/fs")).unwrap();
        assert!(dir.path().join("root/sys/fs").is_dir());
    }

    #[test]
    fn a_missing_path_is_not_found() {
        let (_dir, root) = world();
        assert_eq!(open(root.as_fd(), Path::new("none")).err(), Some(Errno::ENOENT));
    }
}
