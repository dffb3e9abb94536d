//! Links, addresses, routes and neighbours (rtnetlink(7)).

use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use nix::sys::socket::SockProtocol;

use super::{Attributes, CREATE, EXCL, Message, NetlinkError, REPLACE, Socket, attributes, text};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTM_NEWNEIGH: u16 = 28;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
/// No link-local address by itself, and so no chatter.
const ADDR_GEN_MODE_NONE: u8 = 1;
const IFF_UP: u32 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// Usable at once: nobody else can have it, so nobody is asked.
const IFA_F_NODAD: u8 = 2;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
const RT_SCOPE_LINK: u8 = 253;
const RTN_UNICAST: u8 = 1;
/// The gateway is on this link, whatever the addresses say.
const RTNH_F_ONLINK: u32 = 4;
const NUD_PERMANENT: u16 = 0x80;

/// A hardware address.
pub type Mac = [u8; 6];

/// Opens a socket in the thread's network namespace.
///
/// # Errors
/// The kernel's.
pub fn open() -> Result<Socket, NetlinkError> {
    Socket::open(SockProtocol::NetlinkRoute)
}

fn link_header(index: u32, flags: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&flags.to_ne_bytes());
    header
}

/// One end of a veth pair.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// The link's name.
    pub name: &'a str,
    /// Its hardware address.
    pub mac: Mac,
}

/// Makes a pair of links; the peer comes to life inside the other namespace.
#[must_use]
pub fn new_veth(own: End<'_>, peer: End<'_>, peer_netns: BorrowedFd<'_>) -> Message {
    let inside = Attributes::behind(&[&link_header(0, 0)])
        .with(IFLA_IFNAME, &text(peer.name))
        .with(IFLA_ADDRESS, &peer.mac)
        .with(IFLA_NET_NS_FD, &peer_netns.as_raw_fd().to_ne_bytes());
    let info = Attributes::default()
        .with(IFLA_INFO_KIND, b"veth")
        .nested(IFLA_INFO_DATA, &Attributes::default().nested(VETH_INFO_PEER, &inside));
    Message::new(format!("make the link {}", own.name), RTM_NEWLINK, CREATE | EXCL)
        .fixed(&[&link_header(0, 0)])
        .attribute(IFLA_IFNAME, &text(own.name))
        .attribute(IFLA_ADDRESS, &own.mac)
        .nested(IFLA_LINKINFO, &info)
}

/// Makes a bridge.
#[must_use]
pub fn new_bridge(name: &str) -> Message {
    let info = Attributes::default().with(IFLA_INFO_KIND, b"bridge");
    Message::new(format!("make the bridge {name}"), RTM_NEWLINK, CREATE | EXCL)
        .fixed(&[&link_header(0, 0)])
        .attribute(IFLA_IFNAME, &text(name))
        .nested(IFLA_LINKINFO, &info)
}

/// Keeps a link from giving itself IPv6 addresses. Before it is up.
#[must_use]
pub fn quiet(name: &str) -> Message {
    let ipv6 = Attributes::default().with(IFLA_INET6_ADDR_GEN_MODE, &[ADDR_GEN_MODE_NONE]);
    Message::new(format!("quiet the link {name}"), RTM_NEWLINK, 0)
        .fixed(&[&link_header(0, 0)])
        .attribute(IFLA_IFNAME, &text(name))
        .nested(IFLA_AF_SPEC, &Attributes::default().nested(AF_INET6.into(), &ipv6))
}

/// Brings a link up.
#[must_use]
pub fn up(name: &str) -> Message {
    Message::new(format!("bring up the link {name}"), RTM_NEWLINK, 0)
        .fixed(&[&link_header(0, IFF_UP)])
        .attribute(IFLA_IFNAME, &text(name))
}

/// Removes a link.
#[must_use]
pub fn remove(name: &str) -> Message {
    Message::new(format!("remove the link {name}"), RTM_DELLINK, 0)
        .fixed(&[&link_header(0, 0)])
        .attribute(IFLA_IFNAME, &text(name))
}

fn octets(address: IpAddr) -> (u8, Vec<u8>) {
    match address {
        IpAddr::V4(own) => (AF_INET, own.octets().to_vec()),
        IpAddr::V6(own) => (AF_INET6, own.octets().to_vec()),
    }
}

fn full_length(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Gives the link with this index an address that stands for itself only.
#[must_use]
pub fn address(index: u32, own: IpAddr) -> Message {
    let (family, bytes) = octets(own);
    Message::new(format!("give a link the address {own}"), RTM_NEWADDR, CREATE | REPLACE)
        .fixed(&[&[family, full_length(own), IFA_F_NODAD, 0], &index.to_ne_bytes()])
        .attribute(2, &bytes)
        .attribute(1, &bytes)
}

fn route_header(family: u8, length: u8, scope: u8, flags: u32) -> [u8; 12] {
    let [a, b, c, d] = flags.to_ne_bytes();
    [family, length, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, scope, RTN_UNICAST, a, b, c, d]
}

/// Says behind which link an address is, and from which address it is spoken to.
#[must_use]
pub fn route(index: u32, to: IpAddr, from: IpAddr) -> Message {
    let (family, bytes) = octets(to);
    let scope = if to.is_ipv4() { RT_SCOPE_LINK } else { 0 };
    Message::new(format!("make the route to {to}"), RTM_NEWROUTE, CREATE | REPLACE)
        .fixed(&[&route_header(family, full_length(to), scope, 0)])
        .attribute(1, &bytes)
        .attribute(4, &index.to_ne_bytes())
        .attribute(7, &octets(from).1)
}

/// The way to everything else.
#[must_use]
pub fn default_route(index: u32, gateway: IpAddr) -> Message {
    let (family, bytes) = octets(gateway);
    Message::new(format!("make the default route by {gateway}"), RTM_NEWROUTE, CREATE | REPLACE)
        .fixed(&[&route_header(family, 0, 0, RTNH_F_ONLINK)])
        .attribute(4, &index.to_ne_bytes())
        .attribute(5, &bytes)
}

/// Says once for all which hardware address an address has, so that nobody has to ask.
#[must_use]
pub fn neighbour(index: u32, address: IpAddr, mac: Mac) -> Message {
    let (family, bytes) = octets(address);
    let [state_a, state_b] = NUD_PERMANENT.to_ne_bytes();
    Message::new(format!("name the neighbour {address}"), RTM_NEWNEIGH, CREATE | REPLACE)
        .fixed(&[&[family, 0, 0, 0], &index.to_ne_bytes(), &[state_a, state_b, 0, 0]])
        .attribute(1, &bytes)
        .attribute(2, &mac)
}

/// The names of all links.
///
/// # Errors
/// The kernel's.
pub fn links(socket: &Socket) -> Result<Vec<String>, NetlinkError> {
    let asked = Message::new("list the links", RTM_GETLINK, 0).fixed(&[&link_header(0, 0)]);
    let name = |body: Vec<u8>| {
        let found = attributes(body.get(16..)?);
        let (_, name) = found.into_iter().find(|(kind, _)| *kind == IFLA_IFNAME)?;
        let name = name.split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(name).into_owned())
    };
    Ok(socket.dump(&asked)?.into_iter().filter_map(name).collect())
}

/// A destination that this host has a route to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Its first address.
    pub address: std::net::Ipv4Addr,
    /// How many bits of it count; 0 is the default route.
    pub length: u8,
    /// The index of the link that it is behind.
    pub link: u32,
}

/// Every IPv4 destination in the main table.
///
/// # Errors
/// The kernel's.
pub fn destinations(socket: &Socket) -> Result<Vec<Destination>, NetlinkError> {
    let asked = Message::new("list the routes", RTM_GETROUTE, 0)
        .fixed(&[&[AF_INET, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]);
    let read = |body: Vec<u8>| {
        let header = body.get(..12)?;
        if header[0] != AF_INET || header[4] != RT_TABLE_MAIN {
            return None;
        }
        let found = attributes(&body[12..]);
        let value = |wanted: u16| {
            let (_, value) = found.iter().find(|(kind, _)| *kind == wanted)?;
            <[u8; 4]>::try_from(*value).ok()
        };
        Some(Destination {
            address: value(1).unwrap_or_default().into(),
            length: header[1],
            link: value(4).map_or(0, u32::from_ne_bytes),
        })
    };
    Ok(socket.dump(&asked)?.into_iter().filter_map(read).collect())
}
