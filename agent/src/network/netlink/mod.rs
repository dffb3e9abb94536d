//! As much of netlink as the agent needs: messages are built as bytes, sent together, and each is
//! acknowledged or refused by name. Three families of the kernel's speak it: routes and links,
//! nftables, and socket diagnosis.
//!
//! Blocking. A socket belongs to the network namespace that its thread was in when it was opened.

pub mod diag;
pub mod nft;
pub mod route;

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

/// Bytes of an answer that are read at once: the kernel's own datagrams are smaller.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Longest wait for an answer, in seconds: the kernel answers at once, or something is wrong.
const ANSWER_S_MAX: i64 = 30;

const HEADER_BYTES: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP: u16 = 0x300;
const NLA_F_NESTED: u16 = 0x8000;

/// Do not replace what is there: EEXIST.
pub const EXCL: u16 = 0x200;
/// Make it where it is not there.
pub const CREATE: u16 = 0x400;
/// Replace what is there.
pub const REPLACE: u16 = 0x100;

/// One request.
#[derive(Clone, Debug)]
pub struct Message {
    what: String,
    kind: u16,
    flags: u16,
    body: Vec<u8>,
}

impl Message {
    /// A request of this kind. `what` says in words what is done to what, for errors.
    pub fn new(what: impl Into<String>, kind: u16, flags: u16) -> Self {
        Self { what: what.into(), kind, flags: flags | NLM_F_ACK, body: Vec::new() }
    }

    /// The same without an answer.
    fn silent(mut self) -> Self {
        self.flags &= !NLM_F_ACK;
        self
    }

    /// Appends the family's own header.
    pub fn fixed(mut self, parts: &[&[u8]]) -> Self {
        parts.iter().for_each(|part| self.body.extend_from_slice(part));
        self
    }

    /// Appends an attribute.
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        put(&mut self.body, kind, value);
        self
    }

    /// Appends an attribute that holds attributes.
    pub fn nested(self, kind: u16, inside: &Attributes) -> Self {
        self.attribute(kind | NLA_F_NESTED, &inside.0)
    }

    fn write(&self, sequence: u32, out: &mut Vec<u8>) {
        let length = u32::try_from(HEADER_BYTES + self.body.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_ne_bytes());
        out.extend_from_slice(&self.kind.to_ne_bytes());
        out.extend_from_slice(&(self.flags | NLM_F_REQUEST).to_ne_bytes());
        out.extend_from_slice(&sequence.to_ne_bytes());
        out.extend_from_slice(&0_u32.to_ne_bytes());
        out.extend_from_slice(&self.body);
        pad(out);
    }
}

/// Attributes that go into another one.
#[derive(Clone, Debug, Default)]
pub struct Attributes(Vec<u8>);

impl Attributes {
    /// With these bytes before the first.
    pub fn behind(fixed: &[&[u8]]) -> Self {
        Self(fixed.concat())
    }

    /// Appends an attribute.
    pub fn with(mut self, kind: u16, value: &[u8]) -> Self {
        put(&mut self.0, kind, value);
        self
    }

    /// Appends an attribute that holds attributes.
    pub fn nested(self, kind: u16, inside: &Self) -> Self {
        self.with(kind | NLA_F_NESTED, &inside.0)
    }
}

fn put(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(value);
    pad(out);
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

/// A text as the kernel wants it.
pub fn text(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// What was asked of the kernel, and what it said.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct NetlinkError {
    /// In words.
    pub what: String,
    /// The kernel's error.
    pub source: io::Error,
}

impl NetlinkError {
    /// Whether the kernel's error is this one.
    #[must_use]
    pub fn is(&self, errno: nix::errno::Errno) -> bool {
        self.source.raw_os_error() == Some(errno as i32)
    }
}

/// A netlink socket.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
}

impl Socket {
    fn open(protocol: SockProtocol) -> Result<Self, NetlinkError> {
        let open = || -> nix::Result<OwnedFd> {
            let fd =
                socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
            bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
            setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::new(ANSWER_S_MAX, 0))?;
            Ok(fd)
        };
        let what = || format!("open a netlink socket ({protocol:?})");
        open().map(|fd| Self { fd }).map_err(|e| NetlinkError { what: what(), source: e.into() })
    }

    /// Sends the messages in one go and waits for all answers.
    ///
    /// # Errors
    /// The first refusal; routes and links go on behind it, an nftables batch is undone whole.
    pub fn call(&self, messages: &[Message]) -> Result<(), NetlinkError> {
        let mut bytes = Vec::new();
        for (number, message) in (1_u32..).zip(messages) {
            message.write(number, &mut bytes);
        }
        let at = |number: usize| messages.get(number).or(messages.first());
        let failed = |number: usize, source: io::Error| NetlinkError {
            what: at(number).map(|message| message.what.clone()).unwrap_or_default(),
            source,
        };
        let sent = send(self.fd.as_raw_fd(), &bytes, MsgFlags::empty());
        sent.map_err(|errno| failed(0, errno.into()))?;
        let mut left = messages.iter().filter(|message| message.flags & NLM_F_ACK != 0).count();
        let mut first = None;
        while 0 < left {
            for answer in self.answers().map_err(|error| failed(0, error))? {
                let Some(errno) = answer.errno() else { continue };
                left = left.saturating_sub(1);
                let number = (answer.sequence as usize).saturating_sub(1);
                if errno != 0 && first.is_none() {
                    first = Some(failed(number, io::Error::from_raw_os_error(errno)));
                }
                // A batch that is refused as a whole is answered once, at its head.
                let is_silent = |message: &Message| message.flags & NLM_F_ACK == 0;
                if errno != 0 && messages.get(number).is_some_and(is_silent) {
                    left = 0;
                }
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// Asks for a list, and gives the bodies of its items.
    ///
    /// # Errors
    /// The kernel's.
    fn dump(&self, message: &Message) -> Result<Vec<Vec<u8>>, NetlinkError> {
        let failed = |source| NetlinkError { what: message.what.clone(), source };
        let mut bytes = Vec::new();
        let mut asked = message.clone().silent();
        asked.flags |= NLM_F_DUMP;
        asked.write(1, &mut bytes);
        let sent = send(self.fd.as_raw_fd(), &bytes, MsgFlags::empty());
        sent.map_err(|errno| failed(errno.into()))?;
        let mut items = Vec::new();
        loop {
            for answer in self.answers().map_err(failed)? {
                match answer.errno() {
                    Some(0) => {}
                    Some(errno) => return Err(failed(io::Error::from_raw_os_error(errno))),
                    None if answer.kind == NLMSG_DONE => return Ok(items),
                    None => items.push(answer.body),
                }
            }
        }
    }

    /// Asks for one thing, and gives its body.
    ///
    /// # Errors
    /// The kernel's.
    fn ask(&self, message: &Message) -> Result<Vec<u8>, NetlinkError> {
        let failed = |source| NetlinkError { what: message.what.clone(), source };
        let mut bytes = Vec::new();
        message.clone().silent().write(1, &mut bytes);
        let sent = send(self.fd.as_raw_fd(), &bytes, MsgFlags::empty());
        sent.map_err(|errno| failed(errno.into()))?;
        let answer = self.answers().map_err(failed)?.into_iter().next();
        let answer = answer.ok_or_else(|| failed(io::ErrorKind::UnexpectedEof.into()))?;
        match answer.errno() {
            Some(errno) => Err(failed(io::Error::from_raw_os_error(errno))),
            None => Ok(answer.body),
        }
    }

    fn answers(&self) -> io::Result<Vec<Answer>> {
        let mut buffer = vec![0; ANSWER_BYTES_MAX];
        let count = recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        buffer.truncate(count);
        Ok(Answer::split(&buffer))
    }
}

#[derive(Debug)]
struct Answer {
    kind: u16,
    sequence: u32,
    body: Vec<u8>,
}

impl Answer {
    /// The messages of one datagram; what is cut off is dropped.
    fn split(mut bytes: &[u8]) -> Vec<Self> {
        let mut answers = Vec::new();
        while let (Some(length), Some(kind), Some(sequence)) =
            (u32_at(bytes, 0), u16_at(bytes, 4), u32_at(bytes, 8))
        {
            let length = length as usize;
            let Some(body) = bytes.get(HEADER_BYTES..length) else { break };
            answers.push(Self { kind, sequence, body: body.to_vec() });
            bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        answers
    }

    /// Of an acknowledgement: 0, or why it was refused.
    fn errno(&self) -> Option<i32> {
        let code = u32_at(&self.body, 0)?;
        (self.kind == NLMSG_ERROR).then_some(code.cast_signed().saturating_neg())
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The attributes in `bytes`, by kind.
fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while let (Some(length), Some(kind)) = (u16_at(bytes, 0), u16_at(bytes, 2)) {
        let Some(value) = bytes.get(4..usize::from(length)) else { break };
        found.push((kind & !NLA_F_NESTED, value));
        bytes = bytes.get(usize::from(length).next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_read_back() {
        let inside = Attributes::default().with(1, b"abc").with(2, &7_u32.to_ne_bytes());
        let message = Message::new("x", 16, CREATE).nested(5, &inside).attribute(6, b"");
        let read = attributes(&message.body);
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].0, read[1]), (5, (6, &b""[..])));
        let inner = attributes(read[0].1);
        assert_eq!(inner, [(1, &b"abc"[..]), (2, &7_u32.to_ne_bytes()[..])]);
    }

    #[test]
    fn what_is_cut_off_is_dropped_and_never_read_beyond() {
        let mut bytes = Vec::new();
        Message::new("x", 16, 0).attribute(1, b"abcd").write(3, &mut bytes);
        assert_eq!(Answer::split(&bytes).len(), 1);
        for end in 0..bytes.len() {
            assert!(Answer::split(&bytes[..end]).is_empty(), "{end}");
            let _ = attributes(&bytes[..end]);
        }
    }
}
