//! Descriptors as a whole: what is closed, what is inherited, what can be borrowed.

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::{Result, check};

/// Marks every descriptor from `first` on as closed at exec (`close_range(2)`, flag of Linux 5.11).
///
/// # Errors
/// The kernel's errno.
pub fn cloexec_from(first: u32) -> Result<()> {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    // SAFETY: only a flag of descriptors changes; no descriptor is closed.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC) })
        .map(drop)
}

/// Closes every descriptor from `first` to `last`, whoever owns it in this process.
///
/// For the child just before it executes the container's program: owners of descriptors in the
/// range must not be used or dropped afterwards, which holds because exec or `_exit` follows.
///
/// # Errors
/// The kernel's errno.
pub fn close_range(first: u32, last: u32) -> Result<()> {
    if first > last {
        return Ok(());
    }
    // SAFETY: the caller never touches an owner of these descriptors again (see above).
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// Borrows an inherited descriptor (0, 1, 2) for the life of the process.
pub fn standard(fd: RawFd) -> BorrowedFd<'static> {
    assert!((0..3).contains(&fd), "only the standard descriptors are open for ever");
    // SAFETY: descriptors 0 to 2 are never closed by this program: Rust's start opens /dev/null on
    // those that were not.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// Accepts a connection (`accept4(2)`).
///
/// # Errors
/// The kernel's errno.
pub fn accept(listener: BorrowedFd<'_>) -> Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    let (no_address, no_length) = (std::ptr::null_mut::<u8>(), std::ptr::null_mut::<u32>());
    // SAFETY: null pointers mean that the peer's address is not wanted.
    let fd = check(unsafe {
        libc::syscall(
            libc::SYS_accept4,
            listener.as_raw_fd(),
            no_address,
            no_length,
            libc::SOCK_CLOEXEC,
        )
    })?;
    // SAFETY: the kernel just returned this descriptor to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Which kind of namespace a descriptor is of, as a `CLONE_NEW*` flag (`NS_GET_NSTYPE`, Linux
/// 4.11).
///
/// # Errors
/// `ENOTTY` when it is of no namespace.
pub fn namespace_kind(fd: BorrowedFd<'_>) -> Result<u64> {
    use std::os::fd::AsRawFd;
    const NS_GET_NSTYPE: u64 = 0xb703;
    // SAFETY: NS_GET_NSTYPE takes no argument.
    let kind = check(unsafe { libc::syscall(libc::SYS_ioctl, fd.as_raw_fd(), NS_GET_NSTYPE) })?;
    Ok(kind as u64)
}

/// Takes over a descriptor that a message brought (`SCM_RIGHTS`).
pub fn received(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel made this descriptor for the receiver of the message, who hands its
    // number here once.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Whether this descriptor number is open.
pub fn is_open(fd: u32) -> bool {
    // SAFETY: F_GETFD reads a flag and has no other effect.
    unsafe { libc::fcntl(fd as RawFd, libc::F_GETFD) != -1 }
}
