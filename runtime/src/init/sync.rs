//! The two ends of the socket between the runtime and the container's first process.
//!
//! Messages are fixed-size and each end can only say what its side may say. The socket keeps
//! message boundaries (`SOCK_SEQPACKET`), and it closes at exec: an end of file where the program
//! was to be executed means that it was.

use std::fmt;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recv,
    recvmsg, send, sendmsg, socketpair,
};

use crate::sys::fd::received;
use crate::sys::signal::SignalMask;

const MESSAGE_BYTES: usize = 8;

/// The most hierarchies of version 1 that a process joins: the kernel has 14 controllers, and some
/// hierarchies have only a name.
const LISTS_MAX: usize = 32;

/// What the child says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromChild {
    /// Namespaces and mounts are there: hooks can run.
    Namespaces,
    /// The process between has cloned the container's first process, and this is its pid.
    Cloned(i32),
    /// Only the exec is left.
    Ready,
    /// With the descriptor of the listener of the program's filter.
    Listener,
    /// A step failed. The child ends.
    Failed(Failure),
}

/// Which step failed, and why. The text is made by the parent, which has the same plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Index into the plan's child steps.
    pub step: u16,
    /// What went wrong.
    pub cause: Cause,
}

/// What can go wrong in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The kernel refused.
    Kernel(Errno),
    /// The kernel refused to execute the program.
    Exec(Errno),
    /// A device node is not the device that it should be.
    OtherDevice,
    /// A place inside procfs where nothing may be mounted.
    InsideProc,
    /// A file that should be procfs's is not.
    NotProcfs,
    /// The working directory is outside the root.
    OutsideRoot,
    /// The kernel's list of mounts lacks the container's root.
    RootNotListed,
    /// The place of the root lies on another container's mark.
    OnAnothersMark,
    /// No process that is seen is in a mount namespace.
    NamespaceNotSeen,
    /// No such program in PATH.
    NoProgram,
    /// The runtime ended.
    ParentGone,
    /// A hook (by its index) ended with a failure, and this exit code or signal + 128.
    HookFailed(u8, u8),
    /// A hook (by its index) took longer than its timeout.
    HookTimedOut(u8),
    /// The kernel refused to write to one of the cgroup's lists (by its number).
    NotJoined(u8, Errno),
    /// A failure that a test asked for.
    Injected,
}

impl From<Errno> for Cause {
    fn from(errno: Errno) -> Cause {
        Cause::Kernel(errno)
    }
}

impl std::error::Error for Cause {}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Kernel(errno) | Cause::Exec(errno) | Cause::NotJoined(_, errno) => {
                f.write_str(&errno_text(*errno))
            }
            Cause::OtherDevice => f.write_str("the node there is another device"),
            Cause::InsideProc => f.write_str("nothing may be mounted there inside proc"),
            Cause::NotProcfs => f.write_str("the file there is not procfs's"),
            Cause::OutsideRoot => {
                f.write_str("the current working directory is outside of the container's root")
            }
            Cause::RootNotListed => f.write_str(
                "the container's root is not in mountinfo, so the host's mounts cannot be told \
                 from its own",
            ),
            Cause::OnAnothersMark => f.write_str(
                "mounts of a container without a mount namespace of its own lie at root.path \
                 (`loadline:` in mountinfo): delete that container first, or give this one another \
                 root.path",
            ),
            Cause::NamespaceNotSeen => f.write_str(
                "no process that this one sees is in that namespace: delete it from where it was \
                 created, or as root of the host",
            ),
            Cause::NoProgram => f.write_str("executable file not found in $PATH"),
            Cause::ParentGone => f.write_str("the runtime ended meanwhile"),
            Cause::HookFailed(index, code) => {
                write!(f, "error running hook #{index}: exit status {code}")
            }
            Cause::HookTimedOut(index) => write!(f, "hook {index} took longer than its timeout"),
            Cause::Injected => f.write_str("failure injected by a test"),
        }
    }
}

/// An errno as engines expect it in messages: the words of `strerror`, in small letters.
pub fn errno_text(errno: Errno) -> String {
    let mut text = errno.desc().to_owned();
    text.get_mut(..1).map(str::make_ascii_lowercase);
    text
}

impl FromChild {
    /// The message's bytes; those of an errno are the last four.
    pub(super) fn encode(self) -> [u8; MESSAGE_BYTES] {
        let (tag, step, number) = match self {
            FromChild::Namespaces => (0, 0, 0),
            FromChild::Ready => (1, 0, 0),
            FromChild::Listener => (14, 0, 0),
            FromChild::Cloned(pid) => (12, 0, pid),
            FromChild::Failed(Failure { step, cause }) => {
                let (tag, number) = match cause {
                    Cause::Kernel(errno) => (2, errno as i32),
                    Cause::Exec(errno) => (13, errno as i32),
                    Cause::OtherDevice => (3, 0),
                    Cause::InsideProc => (4, 0),
                    Cause::NotProcfs => (5, 0),
                    Cause::OutsideRoot => (6, 0),
                    Cause::RootNotListed => (15, 0),
                    Cause::OnAnothersMark => (17, 0),
                    Cause::NamespaceNotSeen => (18, 0),
                    Cause::NoProgram => (7, 0),
                    Cause::ParentGone => (8, 0),
                    Cause::HookFailed(i, code) => (9, i32::from(i) << 8 | i32::from(code)),
                    Cause::HookTimedOut(i) => (10, i32::from(i)),
                    Cause::Injected => (11, 0),
                    Cause::NotJoined(i, errno) => (16, i32::from(i) << 16 | errno as i32),
                };
                (tag, step, number)
            }
        };
        let mut bytes = [0; MESSAGE_BYTES];
        bytes[0] = tag;
        bytes[2..4].copy_from_slice(&step.to_ne_bytes());
        bytes[4..8].copy_from_slice(&number.to_ne_bytes());
        bytes
    }

    fn decode(bytes: [u8; MESSAGE_BYTES]) -> Option<FromChild> {
        let step = u16::from_ne_bytes([bytes[2], bytes[3]]);
        let number = i32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        let [low, high, third, _] = number.to_le_bytes();
        let cause = match bytes[0] {
            0 => return Some(FromChild::Namespaces),
            1 => return Some(FromChild::Ready),
            14 => return Some(FromChild::Listener),
            12 => return Some(FromChild::Cloned(number)),
            2 => Cause::Kernel(Errno::from_raw(number)),
            13 => Cause::Exec(Errno::from_raw(number)),
            3 => Cause::OtherDevice,
            4 => Cause::InsideProc,
            5 => Cause::NotProcfs,
            6 => Cause::OutsideRoot,
            7 => Cause::NoProgram,
            15 => Cause::RootNotListed,
            17 => Cause::OnAnothersMark,
            18 => Cause::NamespaceNotSeen,
            8 => Cause::ParentGone,
            9 => Cause::HookFailed(high, low),
            10 => Cause::HookTimedOut(low),
            11 => Cause::Injected,
            16 => Cause::NotJoined(third, Errno::from_raw(number & 0xffff)),
            _ => return None,
        };
        Some(FromChild::Failed(Failure { step, cause }))
    }
}

/// The runtime's end.
#[derive(Debug)]
pub struct ParentEnd(OwnedFd);

/// The container's end.
#[derive(Debug)]
pub struct ChildEnd(OwnedFd);

/// Makes both ends.
///
/// # Errors
/// The kernel's errno.
pub fn pair() -> nix::Result<(ParentEnd, ChildEnd)> {
    let (parent, child) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    Ok((ParentEnd(parent), ChildEnd(child)))
}

impl ParentEnd {
    /// Lets the child go on, tells it which signals it was born to ignore, and gives it at most
    /// [`LISTS_MAX`] descriptors. A child that is gone is noticed at the next [`ParentEnd::recv`].
    pub fn proceed(&self, ignored: SignalMask, lists: &[OwnedFd]) -> nix::Result<()> {
        if LISTS_MAX < lists.len() {
            return Err(Errno::E2BIG);
        }
        let fds: Vec<_> = lists.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&fds)];
        let rights = if fds.is_empty() { &[] } else { &rights[..] };
        let data = ignored.to_ne_bytes();
        let data = [IoSlice::new(&data)];
        match sendmsg::<()>(self.0.as_raw_fd(), &data, rights, MsgFlags::MSG_NOSIGNAL, None) {
            // Reset where it was killed before it had read an earlier one.
            Ok(_) | Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// The child's failure, if it has told one: a step of the parent may fail because of it.
    pub fn failure(&self) -> Option<Failure> {
        let mut bytes = [0; MESSAGE_BYTES];
        loop {
            match recv(self.0.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
                Err(Errno::EINTR | Errno::ECONNRESET) => {}
                Ok(MESSAGE_BYTES) => {
                    if let Some(FromChild::Failed(failure)) = FromChild::decode(bytes) {
                        return Some(failure);
                    }
                }
                _ => return None,
            }
        }
    }

    /// What comes until the program is executed: `None` when it was.
    pub fn recv_last(&self) -> nix::Result<Option<Last>> {
        recv_last(&self.0)
    }

    /// The child's next message; `None` when the child's end is closed (by exec or by its death).
    pub fn recv(&self) -> nix::Result<Option<FromChild>> {
        recv_message(&self.0)
    }
}

/// What the child says last.
#[derive(Debug)]
pub enum Last {
    /// The listener of the program's filter, for whoever answers its calls.
    Listener(OwnedFd),
    /// The program was not executed.
    Failed(Failure),
}

/// Receives what comes between the start and the exec; `None` at the end of file.
pub fn recv_last(socket: &OwnedFd) -> nix::Result<Option<Last>> {
    let mut bytes = [0; MESSAGE_BYTES];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 1]);
    let (length, fd) = loop {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let (from, flags) = (socket.as_raw_fd(), MsgFlags::MSG_CMSG_CLOEXEC);
        match recvmsg::<()>(from, &mut parts, Some(&mut space), flags) {
            // The other end closed before it had read all: told once, and before what it said.
            Err(Errno::EINTR | Errno::ECONNRESET) => {}
            message => {
                let message = message?;
                let fds = message.cmsgs()?.find_map(|control| match control {
                    ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
                    _ => None,
                });
                break (message.bytes, fds.map(received));
            }
        }
    };
    match (length, FromChild::decode(bytes), fd) {
        (0, ..) => Ok(None),
        (MESSAGE_BYTES, Some(FromChild::Failed(failure)), _) => Ok(Some(Last::Failed(failure))),
        (MESSAGE_BYTES, Some(FromChild::Listener), Some(fd)) => Ok(Some(Last::Listener(fd))),
        _ => Err(Errno::EPROTO),
    }
}

/// Receives what [`ChildEnd`] or [`report`] sent; `None` at the end of file.
pub fn recv_message(socket: &OwnedFd) -> nix::Result<Option<FromChild>> {
    let mut bytes = [0; MESSAGE_BYTES];
    loop {
        match recv(socket.as_raw_fd(), &mut bytes, MsgFlags::empty()) {
            Ok(0) => return Ok(None),
            Ok(MESSAGE_BYTES) => {
                return FromChild::decode(bytes).map(Some).ok_or(Errno::EPROTO);
            }
            Ok(_) => return Err(Errno::EPROTO),
            Err(Errno::EINTR | Errno::ECONNRESET) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Sends a message of the child over any socket that keeps message boundaries.
pub fn report(socket: &OwnedFd, message: FromChild) -> nix::Result<()> {
    send(socket.as_raw_fd(), &message.encode(), MsgFlags::MSG_NOSIGNAL).map(drop)
}

impl ChildEnd {
    /// Tells the parent.
    pub fn send(&self, message: FromChild) -> nix::Result<()> {
        report(&self.0, message)
    }

    /// Waits until the parent lets this process go on: which signals it was born to ignore, and
    /// the lists of its cgroup, where it gets them.
    pub fn await_parent(&self) -> Result<(SignalMask, Vec<OwnedFd>), Cause> {
        let mut ignored = [0; size_of::<SignalMask>()];
        let mut space = nix::cmsg_space!([std::os::fd::RawFd; LISTS_MAX]);
        let (length, lists) = loop {
            let mut parts = [IoSliceMut::new(&mut ignored)];
            let (from, flags) = (self.0.as_raw_fd(), MsgFlags::MSG_CMSG_CLOEXEC);
            match recvmsg::<()>(from, &mut parts, Some(&mut space), flags) {
                Err(Errno::EINTR) => {}
                message => {
                    let message = message?;
                    let mut lists = Vec::new();
                    for control in message.cmsgs()? {
                        if let ControlMessageOwned::ScmRights(fds) = control {
                            lists.extend(fds.into_iter().map(received));
                        }
                    }
                    break (message.bytes, lists);
                }
            }
        };
        match length == ignored.len() {
            true => Ok((SignalMask::from_ne_bytes(ignored), lists)),
            false => Err(Cause::ParentGone),
        }
    }

    /// The socket, to keep it when other descriptors are closed.
    pub fn fd(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd;
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::{Cause, Errno, Failure, FromChild, Last, pair};

    #[test]
    fn a_failure_is_heard_from_a_process_that_did_not_listen() {
        let failure = Failure { step: 7, cause: Cause::ParentGone };
        for is_last in [true, false] {
            let (parent, child) = pair().unwrap();
            parent.proceed(0, &[]).unwrap();
            child.send(FromChild::Failed(failure)).unwrap();
            drop(child);
            if is_last {
                let heard = parent.recv_last().unwrap();
                assert!(matches!(heard, Some(Last::Failed(heard)) if heard == failure));
            } else {
                assert_eq!(parent.failure(), Some(failure));
            }
            assert_eq!(parent.recv().unwrap(), None);
        }
    }

    #[test]
    fn a_process_that_dies_between_two_words_is_noticed_when_it_is_awaited() {
        let (parent, child) = pair().unwrap();
        parent.proceed(0, &[]).unwrap();
        drop(child);
        parent.proceed(0, &[]).unwrap();
        assert_eq!(parent.recv().unwrap(), None);
    }

    #[test]
    fn lists_reach_the_child_and_too_many_are_refused() {
        let (parent, child) = pair().unwrap();
        let list = || std::fs::File::open("/dev/null").unwrap().into();
        let lists: Vec<std::os::fd::OwnedFd> = (0..=super::LISTS_MAX).map(|_| list()).collect();
        assert_eq!(parent.proceed(1, &lists), Err(Errno::E2BIG));
        parent.proceed(2, &lists[1..]).unwrap();
        parent.proceed(3, &[]).unwrap();
        let (ignored, lists) = child.await_parent().unwrap();
        assert_eq!((ignored, lists.len()), (2, super::LISTS_MAX));
        let (ignored, lists) = child.await_parent().unwrap();
        assert_eq!((ignored, lists.len()), (3, 0));
        drop(parent);
        assert_eq!(child.await_parent().unwrap_err(), Cause::ParentGone);
    }

    #[test]
    fn every_message_survives_the_socket() {
        let causes = [
            Cause::Kernel(Errno::ENOENT),
            Cause::Exec(Errno::ENOENT),
            Cause::OtherDevice,
            Cause::InsideProc,
            Cause::NotProcfs,
            Cause::OutsideRoot,
            Cause::RootNotListed,
            Cause::NoProgram,
            Cause::ParentGone,
            Cause::HookFailed(3, 137),
            Cause::HookTimedOut(255),
            Cause::NotJoined(255, Errno::ENOSPC),
            Cause::Injected,
        ];
        let failures = causes.map(|cause| FromChild::Failed(Failure { step: 513, cause }));
        for message in failures.into_iter().chain([
            FromChild::Namespaces,
            FromChild::Ready,
            FromChild::Listener,
            FromChild::Cloned(7),
        ]) {
            assert_eq!(FromChild::decode(message.encode()), Some(message));
        }
        assert_eq!(FromChild::decode([200; 8]), None);
    }
}
