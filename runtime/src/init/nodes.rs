//! Device nodes and links of /dev.

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, makedev, mknodat};
use nix::unistd::{Gid, Uid, dup2_stderr, dup2_stdin, dup2_stdout, fchownat, symlinkat};

use super::procfs::Procfs;
use super::rooted::{self, Make};
use super::sync::Cause;
use super::{Done, Init, os_str};
use crate::plan::c_path;
use crate::spec::{Device, DeviceKind};
use crate::sys::fd;
use crate::sys::mount::{OPEN_TREE_CLONE, move_mount, open_tree};

impl Init<'_> {
    /// An image may have the link already, or a file that its owner wants there: it stays.
    pub(super) fn link(&mut self, path: &Path, target: &CStr) -> Done {
        let (dir, name) = self.node_dir(path)?;
        match symlinkat(os_str(target), dir, name) {
            Ok(()) | Err(Errno::EEXIST | Errno::EROFS) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    pub(super) fn node(&mut self, device: &Device) -> Done {
        let (kind, number) = kind_and_number(device.kind);
        let (dir, name) = self.node_dir(&device.path)?;
        match mknodat(dir, name, kind, Mode::from_bits_truncate(device.mode), number) {
            Ok(()) => {}
            Err(Errno::EEXIST) => return adopt(dir, name, device),
            Err(errno) => return Err(errno.into()),
        }
        if (device.uid, device.gid) == (0, 0) {
            return Ok(());
        }
        own(open_node(dir, name, kind, number)?.as_fd(), device)
    }

    pub(super) fn bind_node(&mut self, device: &Device) -> Done {
        let (kind, number) = kind_and_number(device.kind);
        let (major, minor) = (nix::sys::stat::major(number), nix::sys::stat::minor(number));
        let host = Path::new("/").join(&device.path);
        let node = host_device(&host, kind, major, minor)?;
        let place = rooted::open_or_make(self.root()?, &device.path, Make::File)?;
        let mount = open_tree(node.as_fd(), c"", OPEN_TREE_CLONE)?;
        self.cut_off(mount.as_fd())?;
        Ok(move_mount(mount.as_fd(), place.as_fd())?)
    }

    /// The host's /dev/null belongs to a mount that the container does not have: criu cannot find
    /// it there, and a security module may not label it. Where the container may not open its own,
    /// it keeps the host's.
    pub(super) fn own_null(&mut self) -> Done {
        let null = makedev(1, 3);
        let is_null = |stat: &FileStat| is_device(stat, SFlag::S_IFCHR, null);
        let mut hosts = [false; 3];
        for (fd, is_hosts) in (0..).zip(&mut hosts) {
            *is_hosts = is_null(&fstat(fd::standard(fd))?);
        }
        if hosts == [false; 3] {
            return Ok(());
        }
        let own = match rooted::open_with(self.root()?, Path::new("dev/null"), libc::O_RDWR) {
            Err(Errno::EPERM | Errno::EACCES) => return Ok(()),
            other => other?,
        };
        if !is_null(&fstat(&own)?) {
            return Err(Cause::OtherDevice);
        }
        let [input, output, error] = hosts;
        if input {
            dup2_stdin(&own)?;
        }
        if output {
            dup2_stdout(&own)?;
        }
        if error {
            dup2_stderr(&own)?;
        }
        Ok(())
    }

    /// The directory that holds a path's last component, and that component. The directory is
    /// kept for the next path, because nodes and mounts come in rows; what is mounted on it or
    /// above it makes it another one (see `Init::forget_directory`).
    pub(super) fn node_dir<'s, 'p>(
        &'s mut self,
        path: &'p Path,
    ) -> Result<(BorrowedFd<'s>, &'p OsStr), Cause> {
        let (parent, name) = match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => (parent, name),
            _ => return Err(Errno::EINVAL.into()),
        };
        let is_kept = self.node_dir.as_ref().is_some_and(|(kept, _)| kept == parent);
        if !is_kept {
            let dir = rooted::open_or_make(self.root()?, parent, Make::Directory)?;
            self.node_dir = Some((parent.to_owned(), dir));
        }
        let dir = self.node_dir.as_ref().ok_or(Cause::Kernel(Errno::EBADF))?;
        Ok((dir.1.as_fd(), name))
    }

    /// Something is mounted on this path.
    pub(super) fn forget_directory(&mut self, mounted: &Path) {
        if self.node_dir.as_ref().is_some_and(|(kept, _)| kept.starts_with(mounted)) {
            self.node_dir = None;
        }
    }
}

/// Gives a node that is there already the mode and owner of config.json, if it is this device.
/// What is checked is what is changed: by name, the image's owner could put a link in between.
fn adopt(dir: BorrowedFd<'_>, name: &OsStr, device: &Device) -> Done {
    let (kind, number) = kind_and_number(device.kind);
    let node = open_node(dir, name, kind, number)?;
    if fstat(&node)?.st_mode & 0o7777 != device.mode {
        Procfs::of_host()?.chmod(node.as_fd(), device.mode)?;
    }
    own(node.as_fd(), device)
}

fn own(node: BorrowedFd<'_>, device: &Device) -> Done {
    let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
    Ok(fchownat(node, "", Some(uid), Some(gid), AtFlags::AT_EMPTY_PATH)?)
}

/// A node as a handle, checked on that handle to be this device.
fn open_node(
    dir: BorrowedFd<'_>,
    name: &OsStr,
    kind: SFlag,
    number: u64,
) -> Result<OwnedFd, Cause> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let node = openat(dir, name, flags, Mode::empty())?;
    if is_device(&fstat(&node)?, kind, number) { Ok(node) } else { Err(Cause::OtherDevice) }
}

/// A device of the host as a handle, checked on that handle to be what its path says.
pub(super) fn host_device(
    path: &Path,
    kind: SFlag,
    major: u64,
    minor: u64,
) -> Result<OwnedFd, Cause> {
    let node = crate::sys::mount::openat2(AT_FDCWD, &c_path(path), libc::O_PATH, 0, 0)?;
    if is_device(&fstat(&node)?, kind, makedev(major, minor)) {
        Ok(node)
    } else {
        Err(Cause::OtherDevice)
    }
}

fn is_device(stat: &FileStat, kind: SFlag, number: u64) -> bool {
    stat.st_mode & libc::S_IFMT == kind.bits() && stat.st_rdev == number
}

fn kind_and_number(kind: DeviceKind) -> (SFlag, u64) {
    match kind {
        DeviceKind::Char(major, minor) => {
            (SFlag::S_IFCHR, makedev(u64::from(major), u64::from(minor)))
        }
        DeviceKind::Block(major, minor) => {
            (SFlag::S_IFBLK, makedev(u64::from(major), u64::from(minor)))
        }
        DeviceKind::Fifo => (SFlag::S_IFIFO, 0),
    }
}
