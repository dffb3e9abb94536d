//! Mounts of a container that has no mount namespace of its own, and how they are taken away.
//!
//! They lie in the runtime's mount namespace or in a joined one, so no end of a namespace takes
//! them. All of them lie on one small mount whose source is a mark that no other mount has. By the
//! mark it is found in mountinfo: by a `create` that fails, by `delete`, and by `delete --force`
//! where `create` was killed. Numbers of mounts would not do, as the kernel uses them again.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::{Mode, fstat, stat};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::fchdir;
use serde::{Deserialize, Serialize};

use super::record::boot_ticks;
use crate::init::mountinfo::{LAYERS_MAX, MARK, Mounted};
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
    /// The pid namespace in which `create` saw who is in the mount namespace.
    #[serde(default)]
    pids: Option<(u64, u64)>,
}

/// The longest part of an id that a mark shows, to be read by people.
const ID_BYTES_MAX: usize = 64;

/// The runtime's own mount namespace.
const OWN: &str = "/proc/self/ns/mnt";

/// The runtime's own pid namespace, and the number that the host's has on every machine.
const PIDS: &str = "/proc/self/ns/pid";
const PIDS_OF_HOST: u64 = 0xEFFF_FFFC;

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
        let mark = format!("{MARK}{id}:{pid}:{ticks}");
        Ok(Marked { mark, namespace, joined, pids: identity_at(Path::new(PIDS)).ok() })
    }

    /// As the child gives it to the kernel.
    pub(super) fn source(&self) -> Result<CString, Errno> {
        CString::new(self.mark.as_str()).map_err(|_| Errno::EINVAL)
    }

    /// Takes all of them away, from whichever mount namespace they lie in.
    pub(super) fn take_away(&self) -> Result<(), Cause> {
        if identity_at(Path::new(OWN))? == self.namespace {
            let here = open_file(Path::new("."), OFlag::O_PATH)?;
            let done = self.detach();
            fchdir(&here)?;
            return done;
        }
        match self.find()? {
            Some(namespace) => self.take_away_in(&namespace),
            None => Ok(()),
        }
    }

    /// Another namespace than this process's: by its path, or by a process that is in it. `None`
    /// where no process is: then it has ended, and its mounts with it.
    fn find(&self) -> Result<Option<OwnedFd>, Cause> {
        let first = Path::new("/proc/1/ns/mnt").to_owned();
        for path in self.joined.iter().chain([&first]) {
            if let Ok(Some(namespace)) = self.opened(path) {
                return Ok(Some(namespace));
            }
        }
        let pids = identity_at(Path::new(PIDS))?;
        let mut sees_all = pids.1 == PIDS_OF_HOST || self.pids == Some(pids);
        for process in std::fs::read_dir("/proc").map_err(|_| Errno::EIO)? {
            let name = process.map_err(|_| Errno::EIO)?.file_name();
            if !name.as_encoded_bytes().iter().all(u8::is_ascii_digit) {
                continue;
            }
            let process = Path::new("/proc").join(name);
            match self.opened(&process.join("ns/mnt")) {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                // Of another user, or with more capabilities; what it has mounted can be seen.
                Err(_) => sees_all &= self.is_not_in(&process),
            }
        }
        if sees_all { Ok(None) } else { Err(Cause::NamespaceNotSeen) }
    }

    /// Whether a process is known not to be in the namespace of the mark.
    fn is_not_in(&self, process: &Path) -> bool {
        let mounts = std::fs::read(process.join("mountinfo")).ok();
        let mounts = mounts.and_then(|text| Mounted::parse_all(&text));
        mounts.is_some_and(|mounts| self.lowest(&mounts).is_none())
    }

    /// What is at a path, if it is the namespace. A process that has ended has none.
    fn opened(&self, path: &Path) -> Result<Option<OwnedFd>, Errno> {
        match identity_at(path) {
            Ok(found) if found == self.namespace => {}
            Ok(_) | Err(Errno::ENOENT | Errno::ESRCH | Errno::ENOTDIR) => return Ok(None),
            Err(errno) => return Err(errno),
        }
        let namespace = open_file(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?;
        Ok(Some(namespace).filter(|found| identity(found.as_fd()) == Ok(self.namespace)))
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
            let mounts = Mounted::all()?;
            let Some(mark) = self.lowest(&mounts) else { return Ok(()) };
            if carries_another(&mounts, mark) {
                return Err(Errno::EBUSY.into());
            }
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

    /// The mark, rather than what peers of the mount below it have of it: nothing lies on that, and
    /// the kernel takes it away with the mark.
    fn lowest<'m>(&self, mounts: &'m [Mounted]) -> Option<&'m Mounted> {
        let marks = || mounts.iter().filter(|mount| mount.source == self.mark.as_bytes());
        marks().find(|mark| is_covered(mounts, mark)).or_else(|| marks().next())
    }
}

/// Whether something lies on a mount.
fn is_covered(mounts: &[Mounted], mount: &Mounted) -> bool {
    mounts.iter().any(|other| other.parent == mount.id)
}

/// Whether another container's mounts lie on a mark. Where only that one's mark is seen, it came as
/// to any peer of the mount below it, and is empty.
fn carries_another(mounts: &[Mounted], mark: &Mounted) -> bool {
    let others = mounts.iter().filter(|other| other.is_mark() && other.source != mark.source);
    others
        .into_iter()
        .any(|other| is_covered(mounts, other) && lies_on(mounts, other.id.into(), mark.id))
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

fn identity_at(path: &Path) -> Result<(u64, u64), Errno> {
    let found = stat(path)?;
    Ok((found.st_dev, found.st_ino))
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
    use super::{Marked, Mounted, carries_another, lies_on};

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
    fn marked(mark: &str) -> Marked {
        Marked { mark: mark.to_owned(), namespace: (0, 0), joined: None, pids: None }
    }

    #[test]
    fn the_mark_is_the_one_that_something_lies_on() {
        let text = b"21 1 254:1 / / rw - ext4 /dev/vda1 rw\n\
            29 21 0:30 / /other/rootfs ro - tmpfs loadline:a:1:2 ro\n\
            30 21 0:30 / /b/rootfs ro - tmpfs loadline:a:1:2 ro\n\
            31 30 254:1 /b/rootfs /b/rootfs rw - ext4 /dev/vda1 rw\n";
        let mounts = Mounted::parse_all(text).unwrap();
        let lowest = |mounts: &[Mounted]| marked("loadline:a:1:2").lowest(mounts).map(|m| m.id);
        assert_eq!(lowest(&mounts), Some(30));
        assert_eq!(lowest(&mounts[..3]), Some(29));
        assert_eq!(lowest(&mounts[..1]), None);
    }

    #[test]
    fn another_container_on_the_mark_is_known_from_an_empty_mark() {
        let text = b"30 21 0:30 / /b ro - tmpfs loadline:a:1:2 ro\n\
            31 30 254:1 /b /b rw - ext4 /dev/vda1 rw\n\
            32 31 0:31 / /b/c rw - tmpfs loadline:b:1:3 rw\n\
            33 32 254:1 /b/c /b/c rw - ext4 /dev/vda1 rw\n";
        let mounts = Mounted::parse_all(text).unwrap();
        assert!(carries_another(&mounts, &mounts[0]));
        assert!(!carries_another(&mounts[..3], &mounts[0]));
        assert!(!carries_another(&mounts, &mounts[2]));
    }
}
