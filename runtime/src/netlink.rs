//! Just enough of rtnetlink(7) to move an interface into another network namespace.
//!
//! One request, then its answer; messages are made and read byte by byte, and what the kernel sends
//! beyond what is asked for here is skipped.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    socket,
};

/// The kernel's answers are at most this long, one at a time.
const ANSWER_BYTES_MAX: usize = 32 * 1024;
/// More interfaces or addresses than this are not looked through.
const ENTRIES_MAX: usize = 1 << 16;

const HEADER_BYTES: usize = 16;
const LINK_BYTES: usize = 16;
const ADDRESS_BYTES: usize = 8;

/// What is kept of an address's flags besides that it is permanent, which it becomes by itself.
const KEPT_FLAGS: u32 =
    libc::IFA_F_NODAD | libc::IFA_F_MANAGETEMPADDR | libc::IFA_F_NOPREFIXROUTE | 0x400;

/// A socket to the kernel of one network namespace: it keeps the namespace alive.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    serial: u32,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name there.
    pub name: String,
    /// Whether it is up.
    pub is_up: bool,
}

/// A permanent address of global scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    family: u8,
    prefix_length: u8,
    attributes: Vec<(u16, Vec<u8>)>,
}

impl Netlink {
    /// Of this process's namespace.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn open() -> nix::Result<Netlink> {
        let protocol = SockProtocol::NetlinkRoute;
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Netlink { socket, serial: 0 })
    }

    /// Of another namespace, which this single-threaded process enters for a moment.
    ///
    /// # Errors
    /// The kernel's errno; `EPERM` without CAP_SYS_ADMIN over the namespace.
    pub fn open_in(namespace: BorrowedFd<'_>, own: BorrowedFd<'_>) -> nix::Result<Netlink> {
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        let opened = Netlink::open();
        setns(own, CloneFlags::CLONE_NEWNET)?;
        opened
    }

    /// All interfaces.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn links(&mut self) -> nix::Result<Vec<Link>> {
        let entries = self.dump(libc::RTM_GETLINK, &[0; LINK_BYTES], libc::RTM_NEWLINK)?;
        let link = |entry: &Vec<u8>| {
            let (index, flags) = (number(entry, 4)?, number(entry, 8)?);
            let name = attributes(entry.get(LINK_BYTES..)?)
                .find(|(kind, _)| *kind == libc::IFLA_IFNAME)
                .map(|(_, value)| value.split(|byte| *byte == 0).next().unwrap_or_default())?;
            let name = String::from_utf8_lossy(name).into_owned();
            Some(Link { index, name, is_up: flags & libc::IFF_UP as u32 != 0 })
        };
        Ok(entries.iter().filter_map(link).collect())
    }

    /// The addresses of an interface that outlive it: permanent, and of global scope.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn addresses(&mut self, index: u32) -> nix::Result<Vec<Address>> {
        let entries = self.dump(libc::RTM_GETADDR, &[0; ADDRESS_BYTES], libc::RTM_NEWADDR)?;
        Ok(entries.iter().filter_map(|entry| address(entry, index)).collect())
    }

    /// Moves an interface into another namespace, where it gets this name; `%d` in it becomes the
    /// first free number.
    ///
    /// # Errors
    /// The kernel's errno; `EEXIST` when the name is taken there.
    pub fn move_link(
        &mut self,
        index: u32,
        name: &str,
        namespace: BorrowedFd<'_>,
    ) -> nix::Result<()> {
        let mut body = link_message(index, 0);
        attribute(&mut body, libc::IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
        attribute(&mut body, libc::IFLA_IFNAME, &[name.as_bytes(), b"\0"].concat());
        self.change(libc::RTM_NEWLINK, 0, &body)
    }

    /// Brings an interface up.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn raise(&mut self, index: u32) -> nix::Result<()> {
        self.change(libc::RTM_NEWLINK, 0, &link_message(index, libc::IFF_UP as u32))
    }

    /// Gives an interface an address.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn add_address(&mut self, index: u32, address: &Address) -> nix::Result<()> {
        let mut body = vec![address.family, address.prefix_length, 0, 0];
        body.extend(index.to_ne_bytes());
        for (kind, value) in &address.attributes {
            attribute(&mut body, *kind, value);
        }
        self.change(libc::RTM_NEWADDR, libc::NLM_F_CREATE | libc::NLM_F_EXCL, &body)
    }

    fn change(&mut self, kind: u16, flags: i32, body: &[u8]) -> nix::Result<()> {
        self.send(kind, flags | libc::NLM_F_ACK, body)?;
        let mut answer = vec![0; ANSWER_BYTES_MAX];
        loop {
            let length = self.receive(&mut answer)?;
            for (header, body) in messages(&answer[..length]) {
                if header == (libc::NLMSG_ERROR as u16, self.serial) {
                    return done(body);
                }
            }
        }
    }

    fn dump(&mut self, kind: u16, body: &[u8], wanted: u16) -> nix::Result<Vec<Vec<u8>>> {
        self.send(kind, libc::NLM_F_DUMP, body)?;
        let mut answer = vec![0; ANSWER_BYTES_MAX];
        let mut entries = Vec::new();
        loop {
            let length = self.receive(&mut answer)?;
            for ((kind, serial), body) in messages(&answer[..length]) {
                match i32::from(kind) {
                    _ if serial != self.serial => {}
                    libc::NLMSG_DONE => return Ok(entries),
                    libc::NLMSG_ERROR => done(body)?,
                    _ if kind == wanted => entries.push(body.to_vec()),
                    _ => {}
                }
            }
            if entries.len() > ENTRIES_MAX {
                return Err(Errno::EOVERFLOW);
            }
        }
    }

    fn send(&mut self, kind: u16, flags: i32, body: &[u8]) -> nix::Result<()> {
        self.serial += 1;
        let mut message = Vec::with_capacity(HEADER_BYTES + body.len());
        message.extend(((HEADER_BYTES + body.len()) as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(((flags | libc::NLM_F_REQUEST) as u16).to_ne_bytes());
        message.extend(self.serial.to_ne_bytes());
        message.extend(0u32.to_ne_bytes());
        message.extend(body);
        send(self.socket.as_raw_fd(), &message, MsgFlags::empty()).map(drop)
    }

    fn receive(&self, answer: &mut [u8]) -> nix::Result<usize> {
        loop {
            match recv(self.socket.as_raw_fd(), answer, MsgFlags::empty()) {
                Err(Errno::EINTR) => {}
                // The kernel never says nothing.
                Ok(0) => return Err(Errno::EPROTO),
                other => return other,
            }
        }
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The messages in what was received: type and serial number, and what follows the header.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = ((u16, u32), &[u8])> {
    std::iter::from_fn(move || {
        let length = number(bytes, 0)? as usize;
        let kind = u16::from_ne_bytes([*bytes.get(4)?, *bytes.get(5)?]);
        let serial = number(bytes, 8)?;
        let body = bytes.get(HEADER_BYTES..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(((kind, serial), body))
    })
}

/// What the kernel says of a request: 0, or an errno below 0.
fn done(body: &[u8]) -> nix::Result<()> {
    match number(body, 0).map(|code| (code as i32).unsigned_abs()) {
        Some(0) => Ok(()),
        Some(code) => Err(Errno::from_raw(code as i32)),
        None => Err(Errno::EPROTO),
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn link_message(index: u32, flags: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend(index.to_ne_bytes());
    body.extend(flags.to_ne_bytes());
    // Only these flags change.
    body.extend(flags.to_ne_bytes());
    body
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend(((4 + value.len()) as u16).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// The attributes in what follows an entry's head: kind and value.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes([*bytes.first()?, *bytes.get(1)?]));
        let kind = u16::from_ne_bytes([*bytes.get(2)?, *bytes.get(3)?]);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn address(entry: &[u8], index: u32) -> Option<Address> {
    let (head, rest) = entry.split_at_checked(ADDRESS_BYTES)?;
    let (family, prefix_length, scope) = (head[0], head[1], head[3]);
    let mut flags = u32::from(head[2]);
    let mut kept = Vec::new();
    for (kind, value) in attributes(rest) {
        match kind {
            libc::IFA_FLAGS => flags = number(value, 0)?,
            libc::IFA_ADDRESS | libc::IFA_LOCAL | libc::IFA_BROADCAST => {
                kept.push((kind, value.to_vec()));
            }
            _ => {}
        }
    }
    let is_kept = number(head, 4) == Some(index)
        && scope == libc::RT_SCOPE_UNIVERSE
        && flags & libc::IFA_F_PERMANENT != 0;
    kept.push((libc::IFA_FLAGS, (flags & KEPT_FLAGS).to_ne_bytes().to_vec()));
    is_kept.then_some(Address { family, prefix_length, attributes: kept })
}

#[cfg(test)]
mod tests {
    use super::{Netlink, address, messages};

    #[test]
    fn the_loopback_interface_is_found() {
        let links = Netlink::open().unwrap().links().unwrap();
        assert!(links.iter().any(|link| link.index == 1 && link.name == "lo"), "{links:?}");
    }

    #[test]
    fn what_is_cut_short_is_no_message() {
        let whole = [20u8, 0, 0, 0, 2, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4];
        assert_eq!(messages(&whole).collect::<Vec<_>>(), [((2, 7), &[1u8, 2, 3, 4][..])]);
        for length in 0..whole.len() {
            assert_eq!(messages(&whole[..length]).count(), 0);
            assert_eq!(address(&whole[..length], 7), None);
        }
        assert_eq!(messages(&[0; 64]).count(), 0);
    }
}
