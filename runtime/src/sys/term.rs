//! Pseudo-terminals, without any path inside the container (`TIOCGPTPEER`, Linux 4.13).

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::fd::standard;
use super::{Result, check};

/// Unlocks the other side of a terminal's master.
///
/// # Errors
/// The kernel's errno.
pub fn unlock(master: BorrowedFd<'_>) -> Result<()> {
    let unlocked: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads one int, which lives until return.
    check(unsafe {
        libc::syscall(libc::SYS_ioctl, master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked)
    })
    .map(drop)
}

/// Opens the other side of a terminal's master by the master, not by a path.
///
/// # Errors
/// The kernel's errno.
pub fn peer(master: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes open flags by value.
    let fd = check(unsafe {
        libc::syscall(libc::SYS_ioctl, master.as_raw_fd(), libc::TIOCGPTPEER, flags)
    })?;
    // SAFETY: the kernel just returned this descriptor to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Makes a terminal the controlling one of this session.
///
/// # Errors
/// The kernel's errno; `EPERM` when the process does not lead a session.
pub fn control(terminal: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: TIOCSCTTY takes an integer.
    check(unsafe { libc::syscall(libc::SYS_ioctl, terminal.as_raw_fd(), libc::TIOCSCTTY, 0) })
        .map(drop)
}

/// Sets the size of a terminal, in characters.
///
/// # Errors
/// The kernel's errno.
pub fn set_size(terminal: BorrowedFd<'_>, rows: u16, columns: u16) -> Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one `winsize`, which lives until return.
    check(unsafe {
        libc::syscall(libc::SYS_ioctl, terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size)
    })
    .map(drop)
}

/// How many bytes of a terminal's input the program could read now.
///
/// # Errors
/// The kernel's errno.
pub fn unread(terminal: BorrowedFd<'_>) -> Result<i32> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int, which lives until return.
    check(unsafe {
        libc::syscall(libc::SYS_ioctl, terminal.as_raw_fd(), libc::FIONREAD, &raw mut bytes)
    })?;
    Ok(bytes)
}

/// Whether this process reads from a terminal and writes to one. A program's terminal is passed on
/// as it is then; else what the program writes may go to a file, and no newline becomes `\r\n`.
pub fn is_between_terminals() -> bool {
    size(standard(0)).is_ok() && size(standard(1)).is_ok()
}

/// Reads the size of a terminal as rows and columns.
///
/// # Errors
/// The kernel's errno; `ENOTTY` when it is no terminal.
pub fn size(terminal: BorrowedFd<'_>) -> Result<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one `winsize`, which lives until return.
    check(unsafe {
        libc::syscall(libc::SYS_ioctl, terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size)
    })?;
    Ok((size.ws_row, size.ws_col))
}
