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
    AT_RECURSIVE, OPEN_TREE_CLONE, SetAttr, mount_setattr, move_mount, open_tree, pivot_root_here,
};

/// Sets the propagation of all mounts that this namespace copied from the host.
pub(super) fn propagate(propagation: Propagation) -> Done {
    let root = handle(Path::new("/"))?;
    change_propagation(&root, propagation)
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
        change_propagation(&tree, Propagation { flag: libc::MS_SLAVE, recursive: true })?;
        self.root = Some(tree);
        Ok(())
    }

    /// On the host's root: where it is attached does not matter, because it becomes the root, and
    /// there the bundle's path need not be looked up again.
    pub(super) fn attach_root(&mut self) -> Done {
        let place = handle(Path::new("/"))?;
        Ok(move_mount(self.root()?, place.as_fd())?)
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
        let change = SetAttr {
            propagation: propagation.flag,
            recursive: propagation.recursive,
            ..SetAttr::default()
        };
        Ok(mount_setattr(self.root()?, change, None)?)
    }
}

fn change_propagation(mount: &OwnedFd, propagation: Propagation) -> Done {
    let change = SetAttr {
        propagation: propagation.flag,
        recursive: propagation.recursive,
        ..SetAttr::default()
    };
    Ok(mount_setattr(mount.as_fd(), change, None)?)
}

fn handle(path: &Path) -> Result<OwnedFd, Cause> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(open(path, flags, Mode::empty())?)
}
