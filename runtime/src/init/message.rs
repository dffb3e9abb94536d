//! Descriptors handed to other programs over their unix sockets.

use std::io::IoSlice;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect as connect_to,
    sendmsg, socket,
};

/// Connects to a stream socket.
///
/// # Errors
/// The kernel's errno; `ENAMETOOLONG` for a path that is longer than a socket's address.
pub fn connect(path: &Path) -> Result<OwnedFd, Errno> {
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    connect_to(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(socket)
}

/// Sends data, the first part of it together with a descriptor.
///
/// # Errors
/// The kernel's errno; `EPIPE` when nobody listens any more.
pub fn send_fd(to: BorrowedFd<'_>, data: &[u8], fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let fds = [fd.as_raw_fd()];
    let (mut rights, mut rest) = (vec![ControlMessage::ScmRights(&fds)], data);
    while !rest.is_empty() {
        let data = [IoSlice::new(rest)];
        match sendmsg::<()>(to.as_raw_fd(), &data, &rights, MsgFlags::MSG_NOSIGNAL, None) {
            Ok(sent) => {
                rest = &rest[sent..];
                rights.clear();
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
