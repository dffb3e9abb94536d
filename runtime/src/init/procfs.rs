//! Files of /proc, from a handle that is known to be procfs and that nothing is mounted over.
//!
//! A write to /proc by path can be led elsewhere by whoever controls the mounts there
//! (CVE-2019-16884, CVE-2025-52881). Here every file is opened below a descriptor of procfs's root,
//! without links and without crossing into another mount.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use super::sync::Cause;
use crate::sys::mount::{self, RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV};

/// A descriptor of procfs's root.
#[derive(Debug)]
pub struct Procfs(Rc<OwnedFd>);

impl Procfs {
    /// The host's, at /proc.
    ///
    /// # Errors
    /// [`Cause::NotProcfs`] when something else is mounted there.
    pub fn of_host() -> Result<Procfs, Cause> {
        let fd = mount::openat2(AT_FDCWD, c"/proc", libc::O_PATH | libc::O_DIRECTORY, 0, 0)?;
        Procfs::from_mount(Rc::new(fd))
    }

    /// A procfs that was just mounted, detached or not.
    ///
    /// # Errors
    /// [`Cause::NotProcfs`] when it is another filesystem.
    pub fn from_mount(fd: Rc<OwnedFd>) -> Result<Procfs, Cause> {
        let kind = fstatfs(fd.as_fd())?.filesystem_type();
        if kind == PROC_SUPER_MAGIC { Ok(Procfs(fd)) } else { Err(Cause::NotProcfs) }
    }

    /// A new one of this process's pid namespace, mounted nowhere.
    ///
    /// # Errors
    /// The kernel's errno; `EPERM` in a user namespace whose /proc is partly hidden.
    pub fn detached() -> Result<Procfs, Cause> {
        let fs = mount::fsopen(c"proc")?;
        mount::fsconfig_create(fs.as_fd())?;
        Procfs::from_mount(Rc::new(mount::fsmount(fs.as_fd(), 0)?))
    }

    /// Opens a file, such as `self/oom_score_adj`.
    ///
    /// # Errors
    /// The kernel's errno; `EXDEV` when something is mounted over the path.
    pub fn open(&self, path: &CStr, flags: i32) -> Result<OwnedFd, Cause> {
        // `self` and `thread-self` are ordinary links of procfs; callers use numbers instead.
        let rules = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS;
        let fd = mount::openat2(self.0.as_fd(), path, flags, 0, rules)?;
        if fstatfs(&fd)?.filesystem_type() == PROC_SUPER_MAGIC {
            Ok(fd)
        } else {
            Err(Cause::NotProcfs)
        }
    }

    /// Writes a value into a file in one call, as procfs wants it.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn write(&self, path: &CStr, value: &[u8]) -> Result<(), Cause> {
        let fd = self.open(path, libc::O_WRONLY)?;
        write_all_at_once(fd.as_fd(), value)
    }
}

impl Procfs {
    /// Changes the permissions of what a handle (`O_PATH`) is open on, which the kernel lets by no
    /// other way before Linux 6.6.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn chmod(&self, handle: BorrowedFd<'_>, mode: u32) -> Result<(), Cause> {
        let path = format!("self/fd/{}", handle.as_raw_fd());
        let mode = Mode::from_bits_truncate(mode);
        Ok(fchmodat(self.0.as_fd(), path.as_str(), mode, FchmodatFlags::FollowSymlink)?)
    }
}

fn write_all_at_once(fd: BorrowedFd<'_>, value: &[u8]) -> Result<(), Cause> {
    match nix::unistd::write(fd, value)? {
        written if written == value.len() => Ok(()),
        _ => Err(Errno::EIO.into()),
    }
}
