//! Directories that a layer needs and does not describe (`srv/data/file` without an entry for
//! `srv/data`). In overlayfs the uppermost layer that has a directory says what it looks like; what
//! such a layer has there is only a place to put things, so the layers below are asked.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;

use super::{RootfsError, failed, kernel};
use crate::image::Image;
use crate::rooted::{self, Inside};

/// Gives those directories of the mounted root filesystem owner and mode of the uppermost layer
/// that describes them. `layers` are the mounted ones, top first.
pub(super) fn dress(target: &Path, image: &Image, layers: &[OwnedFd]) -> Result<(), RootfsError> {
    let implied: Vec<&BTreeSet<Vec<u8>>> = image.implied_dirs.iter().rev().collect();
    let names: BTreeSet<&Vec<u8>> = implied.iter().flat_map(|names| names.iter()).collect();
    // Where nothing lies below, there is nobody to ask.
    if names.is_empty() || layers.len() < 2 {
        return Ok(());
    }
    let root = rooted::open_dir(target).map_err(failed("open", target))?;
    for name in names {
        let Some(stat) = described(name, layers, &implied) else { continue };
        // Hidden by a file or link in a layer above, it is not there to be dressed.
        let Ok(dir) = open(&root, name) else { continue };
        dress_one(&dir, &stat).map_err(kernel("set owner and mode of a directory in", target))?;
    }
    Ok(())
}

/// What the uppermost layer that describes the directory says, if a layer above only implies it.
fn described(name: &[u8], layers: &[OwnedFd], implied: &[&BTreeSet<Vec<u8>>]) -> Option<Stat> {
    let mut is_implied_above = false;
    for (layer, implied) in layers.iter().zip(implied) {
        match open(layer, name) {
            Ok(_) if implied.contains(name) => is_implied_above = true,
            Ok(dir) => return rustix::fs::fstat(&dir).ok().filter(|_| is_implied_above),
            Err(Errno::NOENT) => {}
            Err(_) => return None,
        }
    }
    None
}

fn dress_one(dir: &OwnedFd, stat: &Stat) -> rustix::io::Result<()> {
    let now = rustix::fs::fstat(dir)?;
    if (now.st_uid, now.st_gid) != (stat.st_uid, stat.st_gid) {
        let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        rustix::fs::fchown(dir, Some(uid), Some(gid))?;
    }
    rustix::fs::fchmod(dir, Mode::from_raw_mode(stat.st_mode & 0o7777))
}

fn open(root: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let name: &[u8] = if name.is_empty() { b"." } else { name };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    rooted::open(root.as_fd(), name, flags, Inside::Beneath)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}
