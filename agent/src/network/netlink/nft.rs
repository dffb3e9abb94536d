//! Elements of nftables' sets and maps. The rules themselves never change: see
//! [`super::super::ruleset`].

use nix::sys::socket::SockProtocol;

use super::{Attributes, CREATE, Message, NetlinkError, Socket, text};

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEWSETELEM: u16 = SUBSYSTEM << 8 | 12;
const DELSETELEM: u16 = SUBSYSTEM << 8 | 14;
/// Both IPv4 and IPv6.
const FAMILY_INET: u8 = 1;
/// Elements in one message: an attribute holds 64 KiB at most, and one of these is below 100 B.
const ELEMENTS_MAX: usize = 500;

/// An element of a set, or with `value` of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// The set or map.
    pub set: &'static str,
    /// Its parts one after the other, each padded to four bytes.
    pub key: Vec<u8>,
    /// In the same form.
    pub value: Option<Vec<u8>>,
}

/// Opens a socket in the thread's network namespace.
///
/// # Errors
/// The kernel's: EPROTONOSUPPORT where it has no nftables.
pub fn open() -> Result<Socket, NetlinkError> {
    Socket::open(SockProtocol::NetlinkNetFilter)
}

/// Adds elements, all or none. One that is there already is no error.
///
/// # Errors
/// The kernel's; EEXIST where a key is there with another value.
pub fn add(socket: &Socket, table: &str, elements: &[Element]) -> Result<(), NetlinkError> {
    let messages = elements.chunks(ELEMENTS_MAX).flat_map(|chunk| {
        by_set(chunk).into_iter().map(|of_set| message(NEWSETELEM, CREATE, table, &of_set))
    });
    batch(socket, messages.collect())
}

/// Removes elements. One that is not there is no error.
///
/// # Errors
/// The kernel's.
pub fn remove(socket: &Socket, table: &str, elements: &[Element]) -> Result<(), NetlinkError> {
    for element in elements {
        match batch(socket, vec![message(DELSETELEM, 0, table, &[element])]) {
            Err(error) if !error.is(nix::errno::Errno::ENOENT) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn by_set(elements: &[Element]) -> Vec<Vec<&Element>> {
    let mut sets: std::collections::BTreeMap<&str, Vec<&Element>> = Default::default();
    for element in elements {
        sets.entry(element.set).or_default().push(element);
    }
    sets.into_values().collect()
}

fn message(kind: u16, flags: u16, table: &str, elements: &[&Element]) -> Message {
    let set = elements.first().map_or("", |element| element.set);
    let data = |bytes: &[u8]| Attributes::default().with(1, bytes);
    let list = elements.iter().fold(Attributes::default(), |list, element| {
        let key = Attributes::default().nested(1, &data(&element.key));
        let whole = match &element.value {
            Some(value) if kind == NEWSETELEM => key.nested(2, &data(value)),
            _ => key,
        };
        list.nested(1, &whole)
    });
    Message::new(format!("change the set {set} of nftables' table {table}"), kind, flags)
        .fixed(&[&[FAMILY_INET, 0, 0, 0]])
        .attribute(1, &text(table))
        .attribute(2, &text(set))
        .nested(3, &list)
}

fn batch(socket: &Socket, messages: Vec<Message>) -> Result<(), NetlinkError> {
    if messages.is_empty() {
        return Ok(());
    }
    let bound = |what: &str, kind| {
        let [high, low] = SUBSYSTEM.to_be_bytes();
        Message::new(what, kind, 0).fixed(&[&[0, 0, high, low]]).silent()
    };
    let mut all = vec![bound("begin a batch of nftables", BATCH_BEGIN)];
    all.extend(messages);
    all.push(bound("end a batch of nftables", BATCH_END));
    socket.call(&all)
}
