//! The far side of a seccomp listener's socket: receives the filter's descriptor that a runtime
//! sends with the container's state. Source: OCI runtime-spec, config-linux.md, "The Container
//! Process State"; seccomp_unotify(2).

use std::io::{IoSliceMut, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use anyhow::{Context as _, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::Value;

use crate::program;

/// Most bytes of a state that are read.
const STATE_BYTES_MAX: usize = 1 << 20;

/// A socket that waits for a filter.
#[derive(Debug)]
pub(super) struct Listener(UnixListener);

/// What came over it.
#[derive(Debug)]
pub(super) struct Filter {
    /// The state of the container's process.
    pub(super) state: Value,
    fd: OwnedFd,
}

impl Listener {
    pub(super) fn listen(path: &Path) -> anyhow::Result<Self> {
        let listener = UnixListener::bind(path).context("listen on the seccomp socket")?;
        listener.set_nonblocking(true).context("make the seccomp socket nonblocking")?;
        Ok(Self(listener))
    }

    /// The filter that was sent.
    pub(super) fn accept(&self) -> anyhow::Result<Filter> {
        let stream = program::until("the runtime connects to the seccomp socket", || {
            match self.0.accept() {
                Ok((stream, _)) => Ok(Some(stream)),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
                Err(error) => Err(error).context("accept on the seccomp socket"),
            }
        })?;
        stream.set_nonblocking(false).context("make the seccomp connection blocking")?;
        stream.set_read_timeout(Some(program::patience())).context("set a timeout")?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut text = vec![0; 64 * 1024];
        let mut parts = [IoSliceMut::new(&mut text)];
        let received = recvmsg(&stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC);
        let length = received.context("receive a filter")?.bytes;
        text.truncate(length);
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(more) = message {
                fds.extend(more);
            }
        }
        let state = rest_of_state(stream, text)?;
        match fds.pop() {
            Some(fd) if fds.is_empty() => Ok(Filter { state, fd }),
            _ => bail!("not one descriptor came over the seccomp socket: {fds:?}"),
        }
    }
}

/// Reads until the JSON is whole: the state may come in several messages, and nothing says that the
/// connection is closed after it.
fn rest_of_state(mut stream: UnixStream, mut text: Vec<u8>) -> anyhow::Result<Value> {
    loop {
        let error = match serde_json::from_slice(&text) {
            Ok(state) => return Ok(state),
            Err(error) if error.is_eof() && text.len() < STATE_BYTES_MAX => error,
            Err(error) => return Err(error).context("read the state of the process"),
        };
        let mut piece = [0; 4096];
        match stream.read(&mut piece).context("read the rest of the state")? {
            0 => return Err(error).context("read the state of the process"),
            length => text.extend_from_slice(&piece[..length]),
        }
    }
}

impl Filter {
    /// Waits until a call of the container waits for an answer.
    pub(super) fn until_a_call_waits(&self) -> anyhow::Result<()> {
        let mut waiting = [PollFd::new(&self.fd, PollFlags::IN)];
        let patience = Timespec::try_from(program::patience()).context("convert a time")?;
        let ready = poll(&mut waiting, Some(&patience)).context("wait for a call")?;
        if ready == 0 || !waiting[0].revents().contains(PollFlags::IN) {
            bail!("no call came to the listener: {:?}", waiting[0].revents());
        }
        Ok(())
    }
}
