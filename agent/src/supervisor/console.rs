//! The container's terminal: the OCI runtime sends its master over a socket in the run's folder.

use std::io::{self, IoSliceMut, PipeReader};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// The socket's name in the run's folder, which is the current one.
const CONSOLE_SOCKET: &str = "console";

/// How long a runtime may take from connecting to sending.
const PATIENCE: Duration = Duration::from_secs(1);

/// How the runtime finds it: runtimes leave the folder that they are called in, and a whole path
/// may be longer than a socket's name can be.
pub(super) fn path() -> String {
    format!("/proc/{}/cwd/{CONSOLE_SOCKET}", std::process::id())
}

/// Waits for a terminal, once.
#[derive(Debug)]
pub(super) struct Console {
    listener: UnixListener,
}

impl Console {
    /// Listens, before the runtime is called.
    pub(super) fn listen() -> io::Result<Self> {
        match std::fs::remove_file(CONSOLE_SOCKET) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(CONSOLE_SOCKET)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener })
    }

    /// What to poll.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// The master, if it has come. What is read from it is read as from a pipe.
    pub(super) fn receive(&self) -> Option<PipeReader> {
        let (stream, _) = self.listener.accept().ok()?;
        // The folder is closed to others, so this is the runtime, which sends at once; one that
        // does not must not stop the loop.
        stream.set_nonblocking(false).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let mut name = [0; 256];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        recvmsg(&stream, &mut [IoSliceMut::new(&mut name)], &mut control, flags).ok()?;
        let mut received = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let master: OwnedFd = received.next()?.next()?;
        super::children::set_nonblocking(&master).ok()?;
        Some(PipeReader::from(master))
    }
}
