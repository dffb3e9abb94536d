//! Unpacks one layer below a directory, as an overlay layer, trusting nothing that is in it.
//!
//! Invariants:
//! - Every name is resolved by the kernel below the layer's root (`openat2`, strict): an entry
//!   that would go through an absolute link, or through `..` above the root, is refused.
//! - What an entry takes in space, names, depth and number is bounded by [`Limits`].
//! - Whiteouts become what overlayfs knows (character device 0:0, `trusted.overlay.opaque`); no
//!   entry can forge them, nor any other of overlayfs's own attributes.
//! - Device nodes below `dev/` are left out, because the runtime mounts a /dev of its own there;
//!   elsewhere they are refused.
//! - An absolute name (`/bin/sh`) is taken below the root, as docker takes it.
//!
//! Owners, modes with setuid and setgid, times, hard links, FIFOs, sparse files, `user.*`
//! attributes, file capabilities and POSIX ACLs are kept. Labels of the building host's security
//! module (`security.selinux` and the like) are not.

mod entry;
mod path;
mod tree;

use std::collections::BTreeSet;
use std::io::Read;
use std::os::fd::BorrowedFd;

use super::tar::{Reader, TarError};
use tree::Tree;

/// Bounds on one layer.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the unpacked files, holes included, and of the archive itself.
    pub bytes_max: u64,
    /// Entries.
    pub entries_max: u64,
    /// Components of a name.
    pub depth_max: usize,
    /// Bytes of directories' names, which are kept in memory until the layer is unpacked.
    pub names_bytes_max: usize,
}

impl Limits {
    /// What a node accepts: 64 GiB, two million entries, 256 levels, 256 MiB of names.
    pub const DEFAULT: Self = Self {
        bytes_max: 64 * 1024 * 1024 * 1024,
        entries_max: 2_000_000,
        depth_max: 256,
        names_bytes_max: 256 * 1024 * 1024,
    };
}

/// Why an entry was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `..` as a component.
    #[error("its name has a .. in it")]
    ParentInName,
    /// No component at all where one is needed.
    #[error("it would replace the root directory")]
    RootReplaced,
    /// More components than [`Limits::depth_max`].
    #[error("its name is deeper than {depth_max} directories")]
    TooDeep {
        /// The bound.
        depth_max: usize,
    },
    /// A component longer than a file name can be.
    #[error("a part of its name is longer than 255 bytes")]
    NameTooLong,
    /// A directory on the way is a link that leads out of the root.
    #[error("its name goes through a link that leads out of the image")]
    LeadsOut,
    /// A directory on the way is a link to itself.
    #[error("its name goes through a loop of links")]
    LinkLoop,
    /// Something on the way is a file.
    #[error("its name goes through something that is not a directory")]
    NotADirectory,
    /// A hard link whose target is not there.
    #[error("it is a hard link to {target:?}, which is not in this layer")]
    HardlinkMissing {
        /// The link's target.
        target: String,
    },
    /// A hard link to what can't be linked.
    #[error("it is a hard link to {target:?}, which is a directory or a device")]
    HardlinkTarget {
        /// The link's target.
        target: String,
    },
    /// A symbolic link to nothing.
    #[error("it is a symbolic link without a target")]
    EmptyLink,
    /// A device outside of `dev/`.
    #[error("it is a device ({major}:{minor}) outside of dev/")]
    Device {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// `.wh.`, `.wh..` or `.wh...`
    #[error("it is a whiteout of nothing, of its own directory or of the one above")]
    BadWhiteout,
    /// An attribute by which overlayfs could be misled.
    #[error("it sets {name:?}, which belongs to overlayfs")]
    OverlayAttribute {
        /// The attribute.
        name: String,
    },
    /// An owner that no file can have.
    #[error("its owner {uid}:{gid} is not below 4294967295")]
    Owner {
        /// User.
        uid: u64,
        /// Group.
        gid: u64,
    },
    /// More than [`Limits::bytes_max`].
    #[error("the layer is larger than {bytes_max} bytes")]
    TooManyBytes {
        /// The bound.
        bytes_max: u64,
    },
    /// Directories whose names together are longer than an agent can keep in mind.
    #[error("the names of the layer's directories have more than {names_bytes_max} bytes")]
    TooLongNames {
        /// The bound.
        names_bytes_max: usize,
    },
    /// More than [`Limits::entries_max`].
    #[error("the layer has more than {entries_max} entries")]
    TooManyEntries {
        /// The bound.
        entries_max: u64,
    },
}

/// Why a layer was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive is damaged, or not one.
    #[error("read the layer")]
    Archive(#[from] TarError),
    /// An entry that must not be unpacked.
    #[error("refused the entry {entry:?}")]
    Refused {
        /// The entry's name.
        entry: String,
        /// Why.
        source: Refusal,
    },
    /// The kernel said no.
    #[error("{step} {entry:?}")]
    Kernel {
        /// What was done.
        step: &'static str,
        /// The entry's name.
        entry: String,
        /// The kernel's error.
        source: std::io::Error,
    },
}

/// What a layer turned out to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Sum of the file sizes.
    pub bytes: u64,
    /// Entries of the archive.
    pub entries: u64,
    /// Device nodes below `dev/` that were left out.
    pub devices_left_out: u64,
    /// Directories that no entry describes, made because something lies in them: what they look
    /// like is for the layers below to say. The root is the empty name.
    pub implied_dirs: BTreeSet<Vec<u8>>,
}

/// Unpacks the tar stream `layer` into the empty directory `root`. Reads up to the archive's end
/// mark and gives the stream back, so that a caller can check what follows.
///
/// # Errors
/// [`UnpackError`]; the directory is then half filled, for the caller to remove.
pub(crate) fn unpack<R: Read>(
    layer: R,
    root: BorrowedFd<'_>,
    limits: &Limits,
) -> Result<(Unpacked, R), UnpackError> {
    let mut reader = Reader::new(layer);
    let mut tree = Tree::new(root, *limits);
    while let Some(entry) = reader.next()? {
        tree.count(&entry, reader.position())?;
        tree.add(&entry, &mut reader)?;
    }
    let unpacked = tree.finish()?;
    Ok((unpacked, reader.into_inner()))
}

#[cfg(test)]
mod tests;
