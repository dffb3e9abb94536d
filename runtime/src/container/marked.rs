//! Mounts of a container that has no mount namespace of its own, and how they are taken away.
//!
//! They lie in the runtime's mount namespace or in a joined one, so no end of a namespace takes
//! them. All of them lie on one small mount whose source is a mark that no other mount has. By the
//! mark it is found in mountinfo: by a `create` that fails, by `delete`, and by `delete --force`
//! where `create` was killed. Numbers of mounts would not do, as the kernel uses them again.

use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::{Mode, fstat};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::fchdir;
use serde::{Deserialize, Serialize};

use super::record::boot_ticks;
use crate::init::mountinfo::{LAYERS_MAX, Mounted};
use crate::init::procfs::Procfs;
use crate::init::sync::Cause;
use crate::sys::mount::place_of;
use crate::sys::process::{Clone3, Side, clone3, exit_now};

/// How to find them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Marked {
    /// The source of the lowest one.
    mark: String,
    /// The mount namespace, by its device and inode.
    namespace: (u64, u64),
    /// Where a joined one was found.
    joined: Option<PathBuf>,
}

/// The longest part of an id that a mark shows, to be read by people.
const ID_BYTES_MAX: usize = 64;

/// The runtime's own mount namespace.
const OWN: &str = "/proc/self/ns/mnt";

impl Marked {
    /// A new mark, for the runtime's mount namespace or a joined one.
    pub(super) fn new(id: &str, joined: Option<(BorrowedFd<'_>, &Path)>) -> Result<Marked, Errno> {
        // Of all marks of this boot, no other process has made one at the same moment.
        let (pid, ticks) = (std::process::id(), boot_ticks());
        let id: String = id.chars().take(ID_BYTES_MAX).collect();
        let namespace = match joined {
            Some((namespace, _)) => identity(namespace)?,
            None => identity(open_file(Path::new(OWN), OFlag::O_RDONLY)?.as_fd())?,
        };
        let joined = joined.map(|(_, path)| path.to_owned());
        Ok(Marked { mark: format!("loadline:{id}:{pid}:{ticks}"), namespace, joined })
    }

    /// As the child gives it to the kernel.
    pub(super) fn source(&self) -> Result<CString, Errno> {
        CString::new(self.mark.as_str()).map_err(|_| Errno::EINVAL)
    }

    /// Takes all of them away. A namespace that cannot be found any more has ended, or ends with
    /// the last process that is in it.
    pub(super) fn take_away(&self) -> Result<(), Cause> {
        if let Ok(own) = open_file(Path::new(OWN), OFlag::O_RDONLY)
            && identity(own.as_fd())? == self.namespace
        {
            let here = open_file(Path::new("."), OFlag::O_PATH)?;
            let done = self.detach();
            fchdir(&here)?;
            return done;
        }
        let Some(path) = &self.joined else { return Ok(()) };
        match open_file(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK) {
            Ok(namespace) if identity(namespace.as_fd())? == self.namespace => {
                self.take_away_in(&namespace)
            }
            _ => Ok(()),
        }
    }

    /// In another process, because the runtime would have to come back.
    fn take_away_in(&self, namespace: &OwnedFd) -> Result<(), Cause> {
        match clone3(Clone3 { namespaces: 0, cgroup: None, is_sibling: false })? {
            Side::Child => {
                let entered = setns(namespace, CloneFlags::CLONE_NEWNS).map_err(Cause::from);
                exit_now(match entered.and_then(|()| self.detach()) {
                    Ok(()) => 0,
                    Err(Cause::Kernel(errno)) => errno as i32,
                    Err(_) => Errno::EIO as i32,
                })
            }
            Side::Parent { pidfd, .. } => {
                match waitid(Id::PIDFd(pidfd.as_fd()), WaitPidFlag::WEXITED)? {
                    WaitStatus::Exited(_, 0) => Ok(()),
                    WaitStatus::Exited(_, errno) => Err(Errno::from_raw(errno).into()),
                    _ => Err(Errno::EINTR.into()),
                }
            }
        }
    }

    /// From the top to the mark, in this process's mount namespace. The working directory is lost.
    fn detach(&self) -> Result<(), Cause> {
        for _ in 0..LAYERS_MAX {
            let mounts = mounts()?;
            let mark = mounts.iter().find(|mount| mount.source == self.mark.as_bytes());
            let Some(mark) = mark else { return Ok(()) };
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
            let top = open_file(&mark.place, flags)?;
            if !lies_on(&mounts, place_of(top.as_fd())?.mount, mark.id) {
                // Something of the host's hides the place.
                return Err(Errno::EBUSY.into());
            }
            fchdir(&top)?;
            umount2(".", MntFlags::MNT_DETACH)?;
        }
        Err(Errno::ELOOP.into())
    }
}

/// Whether a mount is the mark's, or lies on it.
fn lies_on(mounts: &[Mounted], id: u64, mark: u32) -> bool {
    let mut id = u32::try_from(id).ok();
    for _ in 0..=mounts.len() {
        match id {
            Some(id) if id == mark => return true,
            Some(other) => {
                id = mounts.iter().find(|mount| mount.id == other).map(|mount| mount.parent);
            }
            None => return false,
        }
    }
    false
}

/// What is mounted in this process's namespace.
fn mounts() -> Result<Vec<Mounted>, Cause> {
    let procfs = Procfs::detached().or_else(|_| Procfs::of_host())?;
    let path = CString::new(format!("{}/mountinfo", std::process::id()));
    let path = path.map_err(|_| Errno::EINVAL)?;
    let mut text = Vec::new();
    let mut file = File::from(procfs.open(&path, libc::O_RDONLY)?);
    file.read_to_end(&mut text).map_err(|_| Errno::EIO)?;
    Ok(Mounted::parse_all(&text).ok_or(Errno::EINVAL)?)
}

fn identity(namespace: BorrowedFd<'_>) -> Result<(u64, u64), Errno> {
    let found = fstat(namespace)?;
    Ok((found.st_dev, found.st_ino))
}

fn open_file(path: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
    open(path, flags | OFlag::O_CLOEXEC, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::{Mounted, lies_on};

    #[test]
    fn what_lies_on_the_mark_is_known_from_what_covers_it() {
        let text = b"21 1 254:1 / / rw - ext4 /dev/vda1 rw\n\
            30 21 0:30 / /b/rootfs ro - tmpfs loadline:a:1:2 ro\n\
            31 30 254:1 /b/rootfs /b/rootfs rw - ext4 /dev/vda1 rw\n\
            32 31 0:31 / /b/rootfs rw - tmpfs over rw\n\
            40 21 0:32 / /b rw - tmpfs hides rw\n";
        let mounts = Mounted::parse_all(text).unwrap();
        assert_eq!(mounts[1].source, b"loadline:a:1:2");
        assert_eq!([30, 31, 32].map(|id| lies_on(&mounts, id, 30)), [true; 3]);
        assert_eq!([21, 40, 99].map(|id| lies_on(&mounts, id, 30)), [false; 3]);
    }
}
