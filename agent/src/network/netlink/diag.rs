//! Which socket a connection belongs to (sock_diag(7)).

use std::net::{IpAddr, SocketAddr};

use nix::sys::socket::SockProtocol;

use super::{Message, NetlinkError, Socket, u32_at};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const AF_INET: u8 = 2;
const TCP: u8 = 6;
/// Where `inet_diag_msg` has `idiag_inode`: four bytes, the connection, four numbers.
const INODE_AT: usize = 4 + 48 + 16;

/// The inode of the TCP socket that is connected from `from` to `to`, both in the thread's network
/// namespace; 0 where it has none, as one that is closed.
///
/// # Errors
/// The kernel's; ENOENT where there is no such connection.
pub fn socket_inode(from: SocketAddr, to: SocketAddr) -> Result<u32, NetlinkError> {
    let what = format!("find the connection from {from} to {to}");
    let bytes = |ip: IpAddr| match ip {
        IpAddr::V4(own) => {
            let mut all = [0; 16];
            all[..4].copy_from_slice(&own.octets());
            all
        }
        IpAddr::V6(own) => own.octets(),
    };
    let family = if from.is_ipv4() { AF_INET } else { 10 };
    let message = Message::new(what, SOCK_DIAG_BY_FAMILY, 0).fixed(&[
        &[family, TCP, 0, 0],
        &u32::MAX.to_ne_bytes(),
        &from.port().to_be_bytes(),
        &to.port().to_be_bytes(),
        &bytes(from.ip()),
        &bytes(to.ip()),
        &0_u32.to_ne_bytes(),
        // Any cookie.
        &u64::MAX.to_ne_bytes(),
    ]);
    let body = Socket::open(SockProtocol::NetlinkSockDiag)?.ask(&message)?;
    Ok(u32_at(&body, INODE_AT).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn a_connections_socket_is_found_from_its_own_side() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (from, to) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        let fd = format!("/proc/self/fd/{}", client.as_raw_fd());
        let inode = std::fs::metadata(fd).unwrap().ino();
        assert_eq!(u64::from(socket_inode(from, to).unwrap()), inode);
        let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
        assert!(socket_inode(nobody, to).unwrap_err().is(nix::errno::Errno::ENOENT));
    }
}
