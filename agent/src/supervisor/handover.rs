//! Hands a run over from one program to the next in the same process: the supervisor sends its
//! descriptors and what it knows through a socket to itself, and executes the new program with the
//! other end as standard input. The container's parent, its pipes and the run's lock stay what they
//! were, so nobody notices.
//!
//! Invariants: nothing is closed before the new program has it, because descriptors in a socket
//! hold what they name; the program that goes on can read what this one writes, which whoever asks
//! for it has found out before (`loadline-supervisor --handover`).

use std::io::{self, IoSlice, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use crate::supervise::State;

/// Descriptors at most: lock, listener, two pipes, and the clients.
const FDS_MAX: usize = 16;

/// Bytes of [`Handover`] at most; two lines without their ends are the most of it.
const BYTES_MAX: usize = 160 * 1024;

/// What goes on in the next program. Its descriptors come beside it: the lock, the listener, the
/// open pipes and the clients, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Handover {
    /// The newest state.
    pub(super) state: State,
    /// The container's init.
    pub(super) init: Option<i32>,
    pub(super) start_asked_at_ms: Option<u64>,
    /// The same by [`crate::clock::boot_ms`]; a program before this field did not know.
    #[serde(default)]
    pub(super) start_asked_boot_ms: Option<u64>,
    pub(super) oom_kills: u64,
    /// Standard output and standard error.
    pub(super) outputs: [Begun; 2],
    /// Output that was thrown away and not yet told.
    pub(super) dropped_bytes: u64,
    /// What each client had begun to say.
    pub(super) clients: Vec<String>,
}

/// One of the container's outputs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Begun {
    /// Whether its pipe is open.
    pub(super) open: bool,
    /// A line without its end, in hexadecimal digits.
    pub(super) line: String,
}

/// Puts everything into a socket; the other end is for the next program.
pub(super) fn send(handover: &Handover, fds: &[BorrowedFd<'_>]) -> io::Result<UnixStream> {
    let json = serde_json::to_vec(handover)?;
    if BYTES_MAX < json.len() || FDS_MAX < fds.len() {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "a handover above its bound"));
    }
    let (near, far) = UnixStream::pair()?;
    // What does not fit must not block: nobody reads yet.
    near.set_nonblocking(true)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(fds));
    let first = sendmsg(&near, &[IoSlice::new(&json)], &mut control, SendFlags::NOSIGNAL)?;
    (&near).write_all(&json[first..])?;
    Ok(far)
}

/// Takes everything out of standard input.
pub(super) fn receive() -> io::Result<(Handover, Vec<OwnedFd>)> {
    let stdin = io::stdin();
    let received = receive_from(stdin.as_fd());
    let null = std::fs::File::open("/dev/null")?;
    nix::unistd::dup2_stdin(null)?;
    received
}

fn receive_from(socket: BorrowedFd<'_>) -> io::Result<(Handover, Vec<OwnedFd>)> {
    let (mut json, mut fds) = (Vec::new(), Vec::new());
    let mut bytes = [0; 8 * 1024];
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let got = recvmsg(socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        if got.bytes == 0 {
            break;
        }
        json.extend_from_slice(&bytes[..got.bytes]);
        if BYTES_MAX < json.len() {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "a handover above its bound"));
        }
    }
    Ok((serde_json::from_slice(&json)?, fds))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn what_was_sent_is_received_with_living_descriptors() {
        let line = hex::encode(vec![7; crate::logs::record::MESSAGE_BYTES_MAX]);
        let begun = Begun { open: true, line };
        let sent = Handover {
            state: State::Running { pid: 7, started_at_ms: 1, oom_kills: 0 },
            init: Some(7),
            start_asked_at_ms: Some(1),
            start_asked_boot_ms: Some(1),
            oom_kills: 0,
            outputs: [begun.clone(), begun],
            dropped_bytes: 3,
            clients: vec!["sta".to_owned()],
        };
        let (mut reader, writer) = io::pipe().unwrap();
        let far = send(&sent, &[writer.as_fd()]).unwrap();
        drop(writer);
        let (received, fds) = receive_from(far.as_fd()).unwrap();
        assert_eq!(received, sent);
        let [fd] = <[OwnedFd; 1]>::try_from(fds).unwrap();
        std::fs::File::from(fd).write_all(b"still open").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "still open");
    }
}
