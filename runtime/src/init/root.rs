//! The root filesystem: taken as a detached tree, attached, and made the root.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{AT_FDCWD, OFlag, open};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::Mode;
use nix::unistd::{chdir, chroot, fchdir};

use super::sync::Cause;
use super::{Done, Init};
use crate::plan::Slot;
use crate::spec::Propagation;
use crate::sys::mount::{
    AT_RECURSIVE, OPEN_TREE_CLONE, SetAttr, mount_setattr, mount_setattr_at, move_mount_to,
    open_tree, pivot_root_here,
};

/// Sets the propagation of all mounts that this namespace copied from the host.
pub(super) fn propagate(propagation: Propagation) -> Done {
    Ok(mount_setattr_at(c"/", to(propagation))?)
}

/// The root without a mount namespace: nothing can be mounted, so a change of root is all.
pub(super) fn change_root(path: &Path) -> Done {
    chroot(path)?;
    Ok(chdir("/")?)
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

    /// On the host's root: where it is attached does not matter, because it becomes the root, and
    /// there the bundle's path need not be looked up again.
    pub(super) fn attach_root(&mut self) -> Done {
        Ok(move_mount_to(self.root()?, AT_FDCWD, c"/")?)
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

    pub(super) fn move_root(&mut self) -> Done {
        fchdir(self.root()?)?;
        chroot(".")?;
        Ok(chdir("/")?)
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
