//! The root filesystem: taken as a detached tree, attached, and made the root.

use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, Flock, FlockArg, OFlag, open};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::Mode;
use nix::sys::statfs::{PROC_SUPER_MAGIC, SYSFS_MAGIC, fstatfs};
use nix::unistd::{chdir, chroot, fchdir};

use super::mountinfo::{LAYERS_MAX, Mounted, refuse_anothers_mark};
use super::sync::Cause;
use super::{Done, Init};
use crate::plan::{Cloning, RootPlace, Slot};
use crate::spec::Propagation;
use crate::sys::mount::{
    AT_RECURSIVE, OPEN_TREE_CLONE, SetAttr, clone_tree, fsconfig_create, fsconfig_string, fsmount,
    fsopen, mount_setattr, mount_setattr_at, move_mount, move_mount_by_links, move_mount_to,
    open_tree, pivot_root_here, place_at, place_of,
};

/// Sets the propagation of all mounts that this namespace copied from the host.
pub(super) fn propagate(propagation: Propagation) -> Done {
    Ok(mount_setattr_at(c"/", to(propagation))?)
}

/// The root without a mount namespace where nothing is mounted: a change of root is all.
pub(super) fn change_root(path: &Path) -> Done {
    let place = handle(path)?;
    // A list of mounts that cannot be read is no reason: nothing is mounted here.
    if let Err(refused @ Cause::OnAnothersMark) = refuse_anothers_mark(place.as_fd()) {
        return Err(refused);
    }
    change_root_to(place.as_fd())
}

fn change_root_to(place: BorrowedFd<'_>) -> Done {
    fchdir(place)?;
    chroot(".")?;
    Ok(chdir("/")?)
}

/// How often, and how long apart in milliseconds, another one is waited for that attaches a root.
const LOCK_TRIES_MAX: u32 = 100;
const LOCK_TRY_MS: u64 = 20;

/// Whoever attaches a root on a mark at this place does so alone.
fn lock(at: &Path) -> Result<Flock<OwnedFd>, Cause> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut place = open(at, flags, Mode::empty())?;
    for _ in 0..LOCK_TRIES_MAX {
        place = match Flock::lock(place, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((place, Errno::EWOULDBLOCK | Errno::EINTR)) => place,
            Err((_, errno)) => return Err(errno.into()),
        };
        std::thread::sleep(Duration::from_millis(LOCK_TRY_MS));
    }
    Err(Errno::EWOULDBLOCK.into())
}

/// The places on the host's root where something is mounted, but for the container's root, which
/// was attached there. `None` where that is not among them, and so nothing is known.
fn on_the_root(mounts: &[Mounted], new_root: u32) -> Option<Vec<&Path>> {
    let host = mounts.iter().find(|mount| mount.id == new_root)?.parent;
    let is_beside = |mount: &&Mounted| mount.parent == host && mount.place != Path::new("/");
    Some(mounts.iter().filter(is_beside).map(|mount| mount.place.as_path()).collect())
}

/// Hides what the host has of procfs and sysfs, where it cannot be taken away.
fn cover_all(mounts: &[Mounted]) -> Done {
    for mount in mounts.iter().filter(|mount| mount.is_kernels) {
        // The place of another mount on the same path, or of one of the container's.
        let Ok(place) = handle(&mount.place) else { continue };
        if ![PROC_SUPER_MAGIC, SYSFS_MAGIC].contains(&fstatfs(&place)?.filesystem_type()) {
            continue;
        }
        let fs = fsopen(c"tmpfs")?;
        fsconfig_create(fs.as_fd())?;
        move_mount(fsmount(fs.as_fd(), libc::MOUNT_ATTR_RDONLY)?.as_fd(), place.as_fd())?;
    }
    Ok(())
}

impl Init<'_> {
    pub(super) fn open_root(&mut self, path: &Path) -> Done {
        let path = crate::plan::c_path(path);
        let tree = open_tree(AT_FDCWD, &path, OPEN_TREE_CLONE | AT_RECURSIVE)?;
        self.root = Some(tree);
        Ok(())
    }

    /// A tree that the parent cloned is still a peer of the host's mounts.
    pub(super) fn take_root(&mut self, slot: Slot) -> Done {
        let tree = self.take_slot(slot)?;
        let slave = Propagation { flag: libc::MS_SLAVE, recursive: true };
        mount_setattr(tree.as_fd(), to(slave), None)?;
        self.root = Some(tree);
        Ok(())
    }

    /// Opens a tree of the host for a later mount, or clones it.
    pub(super) fn open_source(
        &mut self,
        slot: Slot,
        path: &Path,
        recursive: bool,
        cloning: Cloning,
    ) -> Done {
        let mut tree = open_tree(AT_FDCWD, &crate::plan::c_path(path), 0)?;
        let is_cloned = match cloning {
            Cloning::Now => true,
            Cloning::WhenMounted => false,
            Cloning::NowIfRoot => place_of(tree.as_fd())? == place_at(AT_FDCWD, c"/")?,
        };
        if is_cloned {
            tree = clone_tree(tree.as_fd(), c"", recursive, SetAttr::default())?;
        } else {
            self.uncloned.push(slot);
        }
        self.start.slots[slot.0] = Some(tree);
        Ok(())
    }

    /// On the host's root: where it is attached does not matter, because it becomes the root, and
    /// there the bundle's path need not be looked up again. Hooks look for it at that path; one
    /// that a user namespace's root may not look up is hidden from them too.
    pub(super) fn attach_root(&mut self, at: &RootPlace) -> Done {
        match at {
            RootPlace::Root => {}
            RootPlace::Marked(at) => return self.attach_root_on_mark(at),
            // As it was found: a link there is the host's.
            RootPlace::Path(at) => {
                match move_mount_by_links(self.root()?, AT_FDCWD, &crate::plan::c_path(at)) {
                    Err(Errno::EACCES) => {}
                    done => return Ok(done?),
                }
            }
        }
        Ok(move_mount_to(self.root()?, AT_FDCWD, c"/")?)
    }

    /// In a mount namespace that others use. The mark may be seen by peers of the mount below it,
    /// where it goes when this one goes; it is unbindable before anything lies on it, so that is
    /// seen by no peer and in no clone of a tree around it, and goes with it.
    fn attach_root_on_mark(&mut self, at: &Path) -> Done {
        let _alone = lock(at)?;
        // Looked up when nobody else can mount there any more.
        let place = handle(at)?;
        if place_of(place.as_fd())? == place_at(AT_FDCWD, c"/")? {
            return Err(Errno::EBUSY.into());
        }
        refuse_anothers_mark(place.as_fd())?;
        self.cut_off(self.root()?)?;
        let mark = self.start.mark.as_ref().ok_or(Errno::EINVAL)?;
        let fs = fsopen(c"tmpfs")?;
        fsconfig_string(fs.as_fd(), c"source", mark)?;
        fsconfig_string(fs.as_fd(), c"mode", c"755")?;
        fsconfig_create(fs.as_fd())?;
        let closed = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
        let mark = fsmount(fs.as_fd(), libc::MOUNT_ATTR_RDONLY | closed)?;
        move_mount(mark.as_fd(), place.as_fd())?;
        let unbindable = Propagation { flag: libc::MS_UNBINDABLE, recursive: false };
        mount_setattr(mark.as_fd(), to(unbindable), None)?;
        Ok(move_mount(self.root()?, mark.as_fd())?)
    }

    pub(super) fn enter_root(&mut self) -> Done {
        change_root_to(self.root()?)
    }

    /// The root of a live container's first process: at its path there may be another by now.
    pub(super) fn enter_root_of(&mut self, slot: Slot) -> Done {
        change_root_to(self.take_slot(slot)?.as_fd())
    }

    /// After `setns` this is the container's: the kernel has put the process on its root.
    pub(super) fn use_root(&mut self) -> Done {
        self.root = Some(handle(Path::new("/"))?);
        Ok(())
    }

    pub(super) fn pivot_root(&mut self) -> Done {
        fchdir(self.root()?)?;
        pivot_root_here()?;
        // The old root lies on the new one now, and "." names the topmost mount there.
        umount2(".", MntFlags::MNT_DETACH)?;
        Ok(chdir("/")?)
    }

    /// A change of root leaves the host's mounts in the namespace, where the kernel takes a procfs
    /// of theirs for leave to mount another one, without what is masked in the container's. So they
    /// go first.
    pub(super) fn move_root(&mut self) -> Done {
        self.detach_mounts_of_the_host()?;
        self.enter_root()
    }

    /// Everything that is mounted on the old root, but for the new one. Paths still begin at the
    /// old root, so nothing of the container's is reached by them.
    fn detach_mounts_of_the_host(&mut self) -> Done {
        let new_root = u32::try_from(place_of(self.root()?)?.mount).map_err(|_| Errno::EINVAL)?;
        for _ in 0..LAYERS_MAX {
            let text = self.of_this_process("mountinfo")?;
            let mounts = Mounted::parse_all(&text).ok_or(Errno::EINVAL)?;
            let places = on_the_root(&mounts, new_root).ok_or(Cause::RootNotListed)?;
            if places.is_empty() {
                return Ok(());
            }
            for place in places.iter().rev() {
                match umount2(*place, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
                    // In a user namespace what came from outside is one piece, and stays.
                    Err(Errno::EINVAL | Errno::EPERM) => return cover_all(&mounts),
                    done => done?,
                }
            }
        }
        Err(Errno::ELOOP.into())
    }

    /// A text that procfs has of this process.
    fn of_this_process(&mut self, name: &str) -> Result<Vec<u8>, Cause> {
        let path = CString::new(format!("{}/{name}", std::process::id()));
        let path = path.map_err(|_| Errno::EINVAL)?;
        let mut file = File::from(self.procfs()?.open(&path, libc::O_RDONLY)?);
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(|_| Errno::EIO)?;
        Ok(text)
    }

    pub(super) fn readonly_root(&mut self) -> Done {
        let change = SetAttr { set: libc::MOUNT_ATTR_RDONLY, ..SetAttr::default() };
        Ok(mount_setattr(self.root()?, change, None)?)
    }

    pub(super) fn propagate_root(&mut self, propagation: Propagation) -> Done {
        Ok(mount_setattr(self.root()?, to(propagation), None)?)
    }
}

fn to(propagation: Propagation) -> SetAttr {
    let Propagation { flag, recursive } = propagation;
    SetAttr { propagation: flag, recursive, ..SetAttr::default() }
}

fn handle(path: &Path) -> Result<OwnedFd, Cause> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(open(path, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::{Mounted, on_the_root};
    use std::path::Path;

    fn parsed(text: &str) -> Vec<Mounted> {
        Mounted::parse_all(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_lies_on_the_root_is_found_but_not_the_new_root_nor_what_is_below() {
        let mounts = parsed(
            "21 1 254:1 / / rw - ext4 /dev/vda1 rw\n\
             22 21 0:20 / /proc rw shared:1 - proc proc rw\n\
             23 22 0:21 / /proc/sys/fs/binfmt_misc rw - binfmt_misc none rw\n\
             24 21 0:22 / /a\\040b rw - sysfs sysfs rw\n\
             30 21 0:30 / / rw - overlay overlay rw\n\
             31 30 0:31 / /proc rw - proc proc rw\n",
        );
        assert_eq!(on_the_root(&mounts, 30).unwrap(), [Path::new("/proc"), Path::new("/a b")]);
        let kernels: Vec<bool> = mounts.iter().map(|mount| mount.is_kernels).collect();
        assert_eq!(kernels, [false, true, false, true, false, true]);
    }

    #[test]
    fn in_a_chroot_the_mount_below_is_not_listed() {
        let mounts = parsed(
            "22 21 0:20 / /proc rw - proc proc rw\n\
             30 21 0:30 / / rw - overlay overlay rw\n",
        );
        assert_eq!(on_the_root(&mounts, 30).unwrap(), [Path::new("/proc")]);
        // Not even "nothing is there", by which the host's would be left.
        assert_eq!(on_the_root(&mounts, 31), None);
    }
}
