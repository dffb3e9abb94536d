//! A container's root filesystem: an overlay of its image's layers below a directory of its own.
//!
//! ```text
//!  CONTAINER/layers.json   the layers below, written before the mount exists
//!  CONTAINER/upper, work   what the container writes
//!  CONTAINER/rootfs        where it is mounted
//! ```
//!
//! Invariants:
//! - The layers are handed to the kernel as open directories (`/proc/self/fd/N`), so neither their
//!   number nor a colon in a path can break the option string, and what was checked is mounted.
//! - Overlayfs follows no redirect out of a layer, whatever the layer says.
//! - Nothing is removed below a mount: removal detaches first and does not cross a filesystem.

mod implied;
mod mountinfo;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use serde::{Deserialize, Serialize};

use crate::image::{Digest, Image, LAYERS_MAX};
use crate::rooted::{self, Inside};
use crate::supervise::disk::Durability;

/// Mounts that may lie on top of one another at one place before clean-up gives up.
pub const MOUNTS_STACKED_MAX: usize = 64;

const LAYERS_FILE: &str = "layers.json";
const LAYERS_FILE_BYTES_MAX: u64 = 64 * 1024;
const VOLATILE_MARK: &str = "work/work/incompat/volatile";
const OPAQUE: &str = "trusted.overlay.opaque";

/// Why a root filesystem could not be made or taken away.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    /// The kernel said no.
    #[error("{step} {}", path.display())]
    Kernel {
        /// What was done.
        step: &'static str,
        /// To what.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
    /// More layers than overlayfs is given.
    #[error("the image has {count} layers, and at most {LAYERS_MAX} can be mounted")]
    TooManyLayers {
        /// How many.
        count: usize,
    },
    /// A mount is there already: the container was prepared before and not removed.
    #[error("{} is mounted already: remove the container first", path.display())]
    Mounted {
        /// The mount point.
        path: PathBuf,
    },
    /// A filesystem that overlayfs can't write to.
    #[error(
        "{} lies on {kind}, where overlayfs can't keep what containers write: put the state \
         folder on ext4, xfs or btrfs",
        path.display()
    )]
    Unsuitable {
        /// The container's folder.
        path: PathBuf,
        /// The filesystem's name.
        kind: &'static str,
    },
    /// More mounts on one another than can be by accident.
    #[error("{} has more than {MOUNTS_STACKED_MAX} mounts on it", path.display())]
    Stacked {
        /// The mount point.
        path: PathBuf,
    },
}

fn failed(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RootfsError {
    let path = path.to_owned();
    move |source| RootfsError::Kernel { step, path, source }
}

fn kernel(step: &'static str, path: &Path) -> impl FnOnce(Errno) -> RootfsError {
    let failed = failed(step, path);
    move |errno| failed(errno.into())
}

#[derive(Debug, Serialize, Deserialize)]
struct LayersRecord {
    layers: Vec<Digest>,
}

/// What becomes of what a container writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// It is for this run only. After an error of the disk, whoever met it, each fsync fails until
    /// the mount is made anew.
    Volatile,
    /// The next run finds it in the same mount.
    Kept,
}

/// Where the root filesystem of the container in `container_dir` is mounted, until it runs.
#[must_use]
pub fn mount_point(container_dir: &Path) -> PathBuf {
    container_dir.join("rootfs")
}

/// Mounts the layers of `image`, writable, below `container_dir`, which is made where it is
/// missing. Returns the mount point.
///
/// Where the kernel can (Linux 5.10), `writes` may be volatile: no container outlives a loss of
/// power, so what it writes beside its volumes need not be on the disk. Else overlayfs has the
/// whole filesystem below written out when the last one lets go of the mount, whoever wrote there.
///
/// # Errors
/// [`RootfsError`]; nothing is mounted then.
pub fn mount(container_dir: &Path, image: &Image, writes: Writes) -> Result<PathBuf, RootfsError> {
    std::fs::create_dir_all(container_dir).map_err(failed("make", container_dir))?;
    let dir = rooted::open_dir(container_dir).map_err(failed("open", container_dir))?;
    // Below it are setuid programs that this host's users must not reach.
    rustix::fs::fchmod(&dir, Mode::RWXU).map_err(kernel("set the mode of", container_dir))?;
    let target = mount_point(container_dir);
    if !is_absent(&target) && !mounts_below(&target)?.is_empty() {
        return Err(RootfsError::Mounted { path: target });
    }
    let record = LayersRecord { layers: image.layers.clone() };
    let bytes = serde_json::to_vec(&record).map_err(io::Error::other);
    bytes
        .and_then(|bytes| {
            // No mount outlives a loss of power, and so the record of one need not either.
            rooted::write_atomic(dir.as_fd(), LAYERS_FILE, &bytes, Durability::Process)
        })
        .map_err(failed("write", &container_dir.join(LAYERS_FILE)))?;
    let layers = open_layers(&image.layer_dirs, container_dir, dir.as_fd())?;
    let upper = make_dir(dir.as_fd(), "upper", container_dir)?;
    dress_as(&upper, &layers[0], container_dir)?;
    make_dir(dir.as_fd(), "rootfs", container_dir)?;
    let mut mounted = Err(Errno::INVAL);
    let ways = if writes == Writes::Volatile { &[true, false][..] } else { &[false] };
    for &volatile in ways {
        let work = make_work(dir.as_fd(), container_dir)?;
        let options = options(&layers, &upper, &work, volatile);
        let options = std::ffi::CString::new(options).map_err(io::Error::from);
        let options = options.map_err(failed("name the layers of", &target))?;
        let flags = MountFlags::empty();
        mounted = rustix::mount::mount("overlay", &target, "overlay", flags, Some(&*options));
        if mounted.is_ok() {
            break;
        }
    }
    let errno = match mounted {
        Ok(()) => {
            implied::dress(&target, image, &layers).inspect_err(|_| {
                // The first error is the one to report.
                let _ = detach(&target);
            })?;
            return Ok(target);
        }
        Err(errno) => errno,
    };
    match unsuitable(&upper) {
        Some(kind) => Err(RootfsError::Unsuitable { path: container_dir.to_owned(), kind }),
        None => Err(kernel("mount the layers at", &target)(errno)),
    }
}

/// Whether what is mounted there waits for the disk neither at an fsync nor at its end: overlayfs
/// leaves a mark of that.
#[must_use]
pub fn is_volatile(container_dir: &Path) -> bool {
    container_dir.join(VOLATILE_MARK).exists()
}

/// The layers that the container in `container_dir` is, or is about to be, mounted from. None
/// where there is no record of any, or one that a loss of power has left empty: no mount outlives
/// that.
///
/// # Errors
/// [`RootfsError`] where the record can't be read.
pub fn layers_of(container_dir: &Path) -> Result<Vec<Digest>, RootfsError> {
    let path = container_dir.join(LAYERS_FILE);
    let dir = match rooted::open_dir(container_dir) {
        Ok(dir) => dir,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("open", container_dir)(error)),
    };
    let file = match rooted::open_file(dir.as_fd(), LAYERS_FILE.as_bytes(), Inside::Beneath) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("open", &path)(error)),
    };
    let bytes = rooted::read_max(file, LAYERS_FILE_BYTES_MAX).map_err(failed("read", &path))?;
    match serde_json::from_slice::<LayersRecord>(&bytes) {
        Ok(record) => Ok(record.layers),
        Err(_) if mounts_below(&mount_point(container_dir))?.is_empty() => Ok(Vec::new()),
        Err(error) => Err(failed("understand", &path)(io::Error::other(error))),
    }
}

/// Detaches the container's root filesystem. Nothing mounted is no error.
///
/// # Errors
/// [`RootfsError`] where a mount stays.
pub fn unmount(container_dir: &Path) -> Result<(), RootfsError> {
    detach(&mount_point(container_dir))
}

/// Detaches everything that is mounted below the container's folder, then removes the folder with
/// all that the container wrote. Nothing there is no error.
///
/// # Errors
/// [`RootfsError`] where something stays; calling again goes on.
pub fn remove(container_dir: &Path) -> Result<(), RootfsError> {
    if is_absent(container_dir) {
        return Ok(());
    }
    for path in mounts_below(container_dir)? {
        detach(&path)?;
    }
    remove_folder(container_dir)
}

/// [`remove`] for a folder in which nothing but [`mount`] has mounted: a few calls, however many
/// containers the node has. What is mounted there all the same is found by the removal, which does
/// not cross it.
///
/// # Errors
/// As [`remove`].
pub fn remove_own(container_dir: &Path) -> Result<(), RootfsError> {
    if is_absent(container_dir) {
        return Ok(());
    }
    unmount(container_dir)?;
    remove_folder(container_dir).or_else(|_| remove(container_dir))
}

/// Whether there is no such path, and so nothing mounted at it or below: the kernel's list, which
/// grows with every container of the node, need not be asked.
fn is_absent(path: &Path) -> bool {
    let found = std::fs::symlink_metadata(path);
    found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

fn remove_folder(container_dir: &Path) -> Result<(), RootfsError> {
    let (Some(parent), Some(name)) = (container_dir.parent(), container_dir.file_name()) else {
        let why = io::Error::from(io::ErrorKind::InvalidInput);
        return Err(failed("remove", container_dir)(why));
    };
    let parent = match rooted::open_dir(parent) {
        Ok(parent) => parent,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("open", parent)(error)),
    };
    rooted::remove_tree(parent.as_fd(), name.as_encoded_bytes())
        .map_err(failed("remove", container_dir))
}

/// What is mounted at `dir` or below, in this mount namespace, the newest mount first: the order
/// in which it can be taken away.
///
/// # Errors
/// [`RootfsError`] where the kernel's list can't be read.
pub fn mounts_below(dir: &Path) -> Result<Vec<PathBuf>, RootfsError> {
    let list = Path::new("/proc/self/mountinfo");
    let text = std::fs::read(list).map_err(failed("read", list))?;
    // The kernel names mount points by their real path.
    let real = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let mut points = mountinfo::mount_points(&text);
    points.retain(|point| point.starts_with(&real));
    points.reverse();
    Ok(points)
}

fn detach(path: &Path) -> Result<(), RootfsError> {
    for _ in 0..MOUNTS_STACKED_MAX {
        match rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            // Not a mount point (any more).
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(kernel("unmount", path)(errno)),
        }
    }
    Err(RootfsError::Stacked { path: path.to_owned() })
}

/// Opens the layers, top first, down to the first that hides everything below it. Overlayfs takes
/// no notice of the opaque mark on a layer's own root.
fn open_layers(
    layer_dirs: &[PathBuf],
    container_dir: &Path,
    dir: BorrowedFd<'_>,
) -> Result<Vec<OwnedFd>, RootfsError> {
    if LAYERS_MAX < layer_dirs.len() {
        return Err(RootfsError::TooManyLayers { count: layer_dirs.len() });
    }
    let mut layers = Vec::new();
    for path in layer_dirs.iter().rev() {
        let fd = rooted::open_dir(path).map_err(failed("open the layer", path))?;
        let mut mark = [0u8; 4];
        let length = rustix::fs::fgetxattr(&fd, OPAQUE, &mut mark[..]).unwrap_or(0);
        layers.push(fd);
        if mark[..length] == *b"y" {
            break;
        }
    }
    if layers.is_empty() {
        layers.push(make_dir(dir, "empty", container_dir)?);
    }
    Ok(layers)
}

/// The name of the filesystem of `dir` if overlayfs is known not to write to it
/// (statfs(2) has the numbers).
fn unsuitable(dir: &OwnedFd) -> Option<&'static str> {
    match rustix::fs::fstatfs(dir).ok()?.f_type {
        0x794c_7630 => Some("overlayfs"),
        0x6969 => Some("NFS"),
        0x6573_5546 => Some("FUSE"),
        0x0102_1997 => Some("9p"),
        0x4d44 => Some("vfat"),
        _ => None,
    }
}

/// The upper directory's owner and mode are the root directory's, as the container sees it.
fn dress_as(upper: &OwnedFd, top: &OwnedFd, container_dir: &Path) -> Result<(), RootfsError> {
    let step = "set owner and mode of the upper directory of";
    let dress = || -> rustix::io::Result<()> {
        let stat = rustix::fs::fstat(top)?;
        let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        rustix::fs::fchown(upper, Some(uid), Some(gid))?;
        rustix::fs::fchmod(upper, Mode::from_raw_mode(stat.st_mode & 0o7777))
    };
    dress().map_err(kernel(step, container_dir))
}

fn options(layers: &[OwnedFd], upper: &OwnedFd, work: &OwnedFd, volatile: bool) -> String {
    let by_fd = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
    let lower: Vec<String> = layers.iter().map(by_fd).collect();
    format!(
        "lowerdir={},upperdir={},workdir={},redirect_dir=nofollow,metacopy=off,index=off{}",
        lower.join(":"),
        by_fd(upper),
        by_fd(work),
        if volatile { ",volatile" } else { "" }
    )
}

/// Makes overlayfs's own folder anew: it does not mount again what was mounted `volatile` before.
fn make_work(dir: BorrowedFd<'_>, container_dir: &Path) -> Result<OwnedFd, RootfsError> {
    const NAME: &str = "work";
    let removed = rooted::remove_tree(dir, NAME.as_bytes());
    removed.map_err(failed("remove", &container_dir.join(NAME)))?;
    make_dir(dir, NAME, container_dir)
}

fn make_dir(parent: BorrowedFd<'_>, name: &str, path: &Path) -> Result<OwnedFd, RootfsError> {
    let path = path.join(name);
    match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(kernel("make", &path)(errno)),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    rooted::open(parent, name.as_bytes(), flags, Inside::Beneath).map_err(failed("open", &path))
}

#[cfg(test)]
mod real_tools;
#[cfg(test)]
mod tests;
