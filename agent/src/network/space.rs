//! Network namespaces. One that is being made is held by a descriptor only, so that a crash leaves
//! nothing of it; one that is ready is pinned at a path, and outlives the agent.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

/// The calling thread's own network namespace.
const OWN: &str = "/proc/thread-self/ns/net";

/// Containers may listen on every port without being root, as docker's can.
const UNPRIVILEGED: &str = "sys/net/ipv4/ip_unprivileged_port_start";

/// Makes a namespace.
///
/// # Errors
/// The kernel's.
pub fn make() -> io::Result<OwnedFd> {
    on_own_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET)?;
        // The kernel may have been built without.
        let _ = open_procfs().and_then(|procfs| allow_all_ports(&procfs));
        Ok(File::open(OWN)?.into())
    })
}

/// A procfs of the calling thread's own, or the host's where it can't be had (before Linux 5.2, or
/// in a user namespace). In /proc/sys the kernel keeps an entry of one name for every namespace
/// that was looked into, and goes through all of them at each look; this one is new and has none.
fn open_procfs() -> io::Result<OwnedFd> {
    let own = || {
        let procfs = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(&procfs)?;
        fsmount(&procfs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
    };
    match own() {
        Ok(procfs) => Ok(procfs),
        Err(_) => Ok(File::open("/proc")?.into()),
    }
}

fn allow_all_ports(procfs: &OwnedFd) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(procfs, UNPRIVILEGED, flags, Mode::empty())?;
    File::from(file).write_all(b"0")
}

/// Does something inside a namespace, on a thread that ends behind it.
///
/// # Errors
/// The kernel's, or what `work` says.
pub fn inside<T: Send, E: From<io::Error> + Send>(
    namespace: BorrowedFd<'_>,
    work: impl FnOnce() -> Result<T, E> + Send,
) -> Result<T, E> {
    on_own_thread(|| {
        setns(namespace, CloneFlags::CLONE_NEWNET).map_err(io::Error::from)?;
        work()
    })
}

fn on_own_thread<T: Send, E: From<io::Error> + Send>(
    work: impl FnOnce() -> Result<T, E> + Send,
) -> Result<T, E> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".into()).spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread failed").into()))
    })
}

/// Keeps a namespace at `path` for as long as nobody unpins it.
///
/// # Errors
/// The kernel's.
pub fn pin(namespace: &OwnedFd, path: &Path) -> io::Result<()> {
    File::create(path)?;
    let source = format!("/proc/self/fd/{}", namespace.as_raw_fd());
    mount(Some(source.as_str()), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    Ok(())
}

/// Whether a namespace is pinned at `path`.
#[must_use]
pub fn is_pinned(path: &Path) -> bool {
    const NSFS_MAGIC: i64 = 0x6e73_6673;
    nix::sys::statfs::statfs(path).is_ok_and(|found| found.filesystem_type().0 == NSFS_MAGIC)
}

/// Opens the namespace at `path`.
///
/// # Errors
/// The kernel's.
pub fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(File::open(path)?.into())
}

/// Takes the pin away. Nothing there is no error.
///
/// # Errors
/// The kernel's.
pub fn unpin(path: &Path) -> io::Result<()> {
    match umount2(path, MntFlags::MNT_DETACH) {
        Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether two descriptors are of the same namespace.
#[must_use]
pub fn is_same(one: &OwnedFd, other: &OwnedFd) -> bool {
    let inode = |fd: &OwnedFd| nix::sys::stat::fstat(fd.as_fd()).map(|s| (s.st_dev, s.st_ino)).ok();
    inode(one).is_some_and(|found| Some(found) == inode(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";

    #[test]
    fn in_a_namespace_that_is_made_every_port_is_everybodys() {
        let here = std::fs::read_to_string(PATH).unwrap();
        let made = match make() {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                eprintln!(
                    "SKIPPED in_a_namespace_that_is_made_every_port_is_everybodys: needs root"
                );
                return;
            }
            made => made.unwrap(),
        };
        let there = inside(made.as_fd(), || std::fs::read_to_string(PATH)).unwrap();
        assert_eq!(there, "0\n");
        assert_eq!(std::fs::read_to_string(PATH).unwrap(), here);
    }
}
