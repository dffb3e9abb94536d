//! The descriptor-based mount interface (Linux 5.2, `mount_setattr` 5.12) and `openat2` (5.6).

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::c_long;

use super::{Result, check};

/// Attributes of a mount, as `mount_setattr(2)` and `fsmount(2)` take them (`MOUNT_ATTR_*`).
pub type Attr = u64;

/// Clone the tree instead of opening the mount itself (`OPEN_TREE_CLONE`).
pub const OPEN_TREE_CLONE: u32 = 1;
/// Apply to the whole tree (`AT_RECURSIVE`).
pub const AT_RECURSIVE: u32 = 0x8000;

/// `openat2` resolution: the directory is the root, links cannot leave it.
pub const RESOLVE_IN_ROOT: u64 = 0x10;
/// `openat2` resolution: leaving the directory is an error.
pub const RESOLVE_BENEATH: u64 = 0x08;
/// `openat2` resolution: every symbolic link is an error.
pub const RESOLVE_NO_SYMLINKS: u64 = 0x04;
/// `openat2` resolution: procfs's magic links are an error.
pub const RESOLVE_NO_MAGICLINKS: u64 = 0x02;
/// `openat2` resolution: crossing into another mount is an error.
pub const RESOLVE_NO_XDEV: u64 = 0x01;

/// Opens `path` below `dir` under the rules of `resolve` (`openat2(2)`, Linux 5.6).
///
/// # Errors
/// The kernel's errno; `EXDEV` or `ELOOP` when a rule of `resolve` was broken.
pub fn openat2(
    dir: BorrowedFd<'_>,
    path: &CStr,
    flags: i32,
    mode: u32,
    resolve: u64,
) -> Result<OwnedFd> {
    // SAFETY: `open_how` is a plain structure of integers, for which all zeroes is a value.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (flags | libc::O_CLOEXEC) as u64;
    how.mode = u64::from(mode);
    how.resolve = resolve;
    let size = size_of::<libc::open_how>();
    // SAFETY: `path` is a live NUL-terminated string, `how` lives until return and `size` is its.
    let fd = check(unsafe {
        libc::syscall(libc::SYS_openat2, dir.as_raw_fd(), path.as_ptr(), &raw const how, size)
    })?;
    Ok(own(fd))
}

/// Opens the mount or the clone of a mount tree at `path` (`open_tree(2)`, Linux 5.2).
///
/// # Errors
/// The kernel's errno.
pub fn open_tree(dir: BorrowedFd<'_>, path: &CStr, flags: u32) -> Result<OwnedFd> {
    let flags = flags | (libc::O_CLOEXEC | libc::AT_EMPTY_PATH) as u32;
    // SAFETY: `path` is a live NUL-terminated string; the other arguments are integers.
    let fd = check(unsafe {
        libc::syscall(libc::SYS_open_tree, dir.as_raw_fd(), path.as_ptr(), flags)
    })?;
    Ok(own(fd))
}

/// Clones a mount tree, as [`open_tree`], and changes it, as [`mount_setattr`], in one call where
/// the kernel has it (`open_tree_attr(2)`, Linux 6.15).
///
/// # Errors
/// The kernel's errno.
pub fn clone_tree(
    dir: BorrowedFd<'_>,
    path: &CStr,
    is_recursive: bool,
    change: SetAttr,
) -> Result<OwnedFd> {
    const SYS_OPEN_TREE_ATTR: c_long = 467;
    let flags = OPEN_TREE_CLONE | if is_recursive { AT_RECURSIVE } else { 0 };
    // One call has one flag for both.
    if change.recursive == is_recursive {
        let attr = raw_attr(change, None);
        let (flags, size) =
            (flags | (libc::O_CLOEXEC | libc::AT_EMPTY_PATH) as u32, size_of_val(&attr));
        // SAFETY: `path` is a live NUL-terminated string, `attr` lives until return, `size` is its.
        let fd = check(unsafe {
            let (dir, path) = (dir.as_raw_fd(), path.as_ptr());
            libc::syscall(SYS_OPEN_TREE_ATTR, dir, path, flags, &raw const attr, size)
        });
        match fd {
            Err(super::Errno::ENOSYS) => {}
            fd => return fd.map(own),
        }
    }
    let tree = open_tree(dir, path, flags)?;
    mount_setattr(tree.as_fd(), change, None)?;
    Ok(tree)
}

/// Opens a context in which a new filesystem is configured (`fsopen(2)`, Linux 5.2).
///
/// # Errors
/// The kernel's errno; `ENODEV` when the kernel has no such filesystem.
pub fn fsopen(kind: &CStr) -> Result<OwnedFd> {
    const FSOPEN_CLOEXEC: u32 = 1;
    // SAFETY: `kind` is a live NUL-terminated string.
    let fd = check(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) })?;
    Ok(own(fd))
}

/// Sets one `key=value` of a filesystem context (`fsconfig(2)`).
///
/// # Errors
/// The kernel's errno; `EINVAL` for a key or value that the filesystem does not know.
pub fn fsconfig_string(fs: BorrowedFd<'_>, key: &CStr, value: &CStr) -> Result<()> {
    const SET_STRING: u32 = 1;
    // SAFETY: `key` and `value` are live NUL-terminated strings.
    check(unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            fs.as_raw_fd(),
            SET_STRING,
            key.as_ptr(),
            value.as_ptr(),
            0,
        )
    })
    .map(drop)
}

/// Sets one flag of a filesystem context (`fsconfig(2)`).
///
/// # Errors
/// The kernel's errno; `EINVAL` for a flag that the filesystem does not know.
pub fn fsconfig_flag(fs: BorrowedFd<'_>, key: &CStr) -> Result<()> {
    const SET_FLAG: u32 = 0;
    let none = std::ptr::null::<u8>();
    // SAFETY: `key` is a live NUL-terminated string, and a flag's value is a null pointer.
    check(unsafe {
        libc::syscall(libc::SYS_fsconfig, fs.as_raw_fd(), SET_FLAG, key.as_ptr(), none, 0)
    })
    .map(drop)
}

/// Makes the filesystem of a context (`FSCONFIG_CMD_CREATE`).
///
/// # Errors
/// The kernel's errno.
pub fn fsconfig_create(fs: BorrowedFd<'_>) -> Result<()> {
    const CMD_CREATE: u32 = 6;
    let none = std::ptr::null::<u8>();
    // SAFETY: this command takes null pointers for key and value.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, fs.as_raw_fd(), CMD_CREATE, none, none, 0) })
        .map(drop)
}

/// Makes a detached mount of a configured filesystem (`fsmount(2)`).
///
/// # Errors
/// The kernel's errno.
pub fn fsmount(fs: BorrowedFd<'_>, attr: Attr) -> Result<OwnedFd> {
    const FSMOUNT_CLOEXEC: u32 = 1;
    // SAFETY: all arguments are integers, and `fs` is open while borrowed.
    let fd =
        check(unsafe { libc::syscall(libc::SYS_fsmount, fs.as_raw_fd(), FSMOUNT_CLOEXEC, attr) })?;
    Ok(own(fd))
}

/// Attaches the detached mount `from` on what `to` is open on (`move_mount(2)`, Linux 5.2).
///
/// # Errors
/// The kernel's errno.
pub fn move_mount(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    const T_EMPTY_PATH: u32 = 0x40;
    attach(from, to, c"", T_EMPTY_PATH)
}

/// Attaches the detached mount `from` on a path below `dir`, whose last component is no link that
/// is followed.
///
/// # Errors
/// The kernel's errno.
pub fn move_mount_to(from: BorrowedFd<'_>, dir: BorrowedFd<'_>, path: &CStr) -> Result<()> {
    attach(from, dir, path, 0)
}

/// The same, but a last component that is a link is followed.
///
/// # Errors
/// The kernel's errno.
pub fn move_mount_by_links(from: BorrowedFd<'_>, dir: BorrowedFd<'_>, path: &CStr) -> Result<()> {
    const T_SYMLINKS: u32 = 0x10;
    attach(from, dir, path, T_SYMLINKS)
}

fn attach(from: BorrowedFd<'_>, to: BorrowedFd<'_>, path: &CStr, flags: u32) -> Result<()> {
    const F_EMPTY_PATH: u32 = 0x04;
    let (from, to) = (from.as_raw_fd(), to.as_raw_fd());
    let flags = F_EMPTY_PATH | flags;
    // SAFETY: both paths are live NUL-terminated strings, both descriptors are open while borrowed.
    check(unsafe {
        libc::syscall(libc::SYS_move_mount, from, c"".as_ptr(), to, path.as_ptr(), flags)
    })
    .map(drop)
}

/// Sets an extended attribute of an open file to a text without its NUL (`fsetxattr(2)`).
///
/// # Errors
/// The kernel's errno; `ENOTSUP` where the filesystem has none of this kind.
pub fn set_attribute(file: BorrowedFd<'_>, name: &CStr, value: &CStr) -> Result<()> {
    let (bytes, length) = (value.as_ptr(), value.count_bytes());
    // SAFETY: `name` is a live NUL-terminated string, and `value` is live for `length` bytes.
    check(unsafe {
        libc::syscall(libc::SYS_fsetxattr, file.as_raw_fd(), name.as_ptr(), bytes, length, 0)
    })
    .map(drop)
}

/// A place among the mounts of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountPlace {
    /// The number by which mountinfo lists the mount.
    pub mount: u64,
    /// The number of the file in it.
    pub inode: u64,
}

/// The place that a descriptor is open on (`statx(2)`, Linux 5.8).
///
/// # Errors
/// The kernel's errno; `ENOSYS` where the kernel does not tell.
pub fn place_of(fd: BorrowedFd<'_>) -> Result<MountPlace> {
    place_at(fd, c"")
}

/// The place that a path leads to.
///
/// # Errors
/// As [`place_of`].
pub fn place_at(dir: BorrowedFd<'_>, path: &CStr) -> Result<MountPlace> {
    const STATX_INO: u32 = 0x100;
    const STATX_MNT_ID: u32 = 0x1000;
    // SAFETY: `statx` is a plain structure of integers, for which all zeroes is a value.
    let mut found: libc::statx = unsafe { std::mem::zeroed() };
    let (dir, flags) = (dir.as_raw_fd(), libc::AT_EMPTY_PATH);
    // SAFETY: `path` is a live NUL-terminated string, and `found` lives until return.
    check(unsafe {
        let (path, mask) = (path.as_ptr(), STATX_INO | STATX_MNT_ID);
        libc::syscall(libc::SYS_statx, dir, path, flags, mask, &raw mut found)
    })?;
    if found.stx_mask & STATX_MNT_ID == 0 {
        return Err(super::Errno::ENOSYS);
    }
    Ok(MountPlace { mount: found.stx_mnt_id, inode: found.stx_ino })
}

/// What `mount_setattr(2)` changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetAttr {
    /// `MOUNT_ATTR_*` to set.
    pub set: Attr,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: Attr,
    /// `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, `MS_UNBINDABLE`, or 0 for no change.
    pub propagation: u64,
    /// Whether the whole tree is changed.
    pub recursive: bool,
}

/// Changes attributes and propagation of the mount that `at` is open on (Linux 5.12).
///
/// # Errors
/// The kernel's errno; `EINVAL` when `at` is not the root of a mount.
pub fn mount_setattr(
    at: BorrowedFd<'_>,
    change: SetAttr,
    userns: Option<BorrowedFd<'_>>,
) -> Result<()> {
    set_attr(at, c"", change, userns)
}

/// The same for the mount that a path of the host leads to.
///
/// # Errors
/// The kernel's errno; `EINVAL` when the path is not the root of a mount.
pub fn mount_setattr_at(path: &CStr, change: SetAttr) -> Result<()> {
    set_attr(nix::fcntl::AT_FDCWD, path, change, None)
}

fn set_attr(
    at: BorrowedFd<'_>,
    path: &CStr,
    change: SetAttr,
    userns: Option<BorrowedFd<'_>>,
) -> Result<()> {
    let attr = raw_attr(change, userns);
    let recursive = if change.recursive { AT_RECURSIVE } else { 0 };
    let flags = libc::AT_EMPTY_PATH as u32 | recursive;
    let (at, size) = (at.as_raw_fd(), size_of_val(&attr));
    // SAFETY: `path` is a live NUL-terminated string, `attr` lives until return, `size` is its.
    check(unsafe {
        libc::syscall(libc::SYS_mount_setattr, at, path.as_ptr(), flags, &raw const attr, size)
    })
    .map(drop)
}

fn raw_attr(change: SetAttr, userns: Option<BorrowedFd<'_>>) -> libc::mount_attr {
    libc::mount_attr {
        attr_set: change.set,
        attr_clr: change.clear,
        propagation: change.propagation,
        userns_fd: userns.map_or(0, |fd| fd.as_raw_fd() as u64),
    }
}

/// Makes the working directory the root and stacks the old root on the same place
/// (`pivot_root(".", ".")`), from where it can be unmounted without a directory for it.
///
/// # Errors
/// The kernel's errno; `EINVAL` when the root's parent mount is shared.
pub fn pivot_root_here() -> Result<()> {
    // SAFETY: both paths are NUL-terminated literals.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) }).map(drop)
}

fn own(fd: c_long) -> OwnedFd {
    // SAFETY: the kernel just returned this descriptor to us, and nobody else knows its number.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}
