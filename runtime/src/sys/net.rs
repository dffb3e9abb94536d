//! Network interfaces (netdevice(7)).

use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::{Result, check};

/// Brings the loopback interface of this network namespace up.
///
/// # Errors
/// The kernel's errno; `EPERM` without CAP_NET_ADMIN over the namespace.
pub fn raise_loopback() -> Result<()> {
    // Any socket takes these requests; a local one is there in every kernel.
    let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let request = loopback_request();
    // SAFETY: SIOCSIFFLAGS reads one `ifreq`, which lives until return; its name ends with a zero.
    check(unsafe {
        libc::syscall(libc::SYS_ioctl, socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request)
    })
    .map(drop)
}

/// The request that brings the loopback interface up.
pub(super) fn loopback_request() -> libc::ifreq {
    // SAFETY: `ifreq` is a plain structure of bytes and integers, for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    request
}
