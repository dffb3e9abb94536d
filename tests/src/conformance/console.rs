//! The far side of a console socket: receives the terminal that a runtime sends.

use std::fs::File;
use std::io::{IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixListener;
use std::path::Path;

use anyhow::{Context as _, bail};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::program;

/// Most bytes of terminal output that are read.
const OUTPUT_BYTES_MAX: usize = 1 << 20;

/// A socket that waits for a terminal.
#[derive(Debug)]
pub(super) struct Console(UnixListener);

impl Console {
    pub(super) fn listen(path: &Path) -> anyhow::Result<Self> {
        let listener = UnixListener::bind(path).context("listen on the console socket")?;
        listener.set_nonblocking(true).context("make the console socket nonblocking")?;
        Ok(Self(listener))
    }

    /// The terminal that was sent.
    pub(super) fn accept(&self) -> anyhow::Result<Terminal> {
        let stream = program::until("the runtime connects to the console socket", || {
            match self.0.accept() {
                Ok((stream, _)) => Ok(Some(stream)),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
                Err(error) => Err(error).context("accept on the console socket"),
            }
        })?;
        stream.set_nonblocking(false).context("make the console connection blocking")?;
        stream.set_read_timeout(Some(program::patience())).context("set a timeout")?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut name = [0; 4096];
        let mut parts = [IoSliceMut::new(&mut name)];
        recvmsg(&stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)
            .context("receive a terminal")?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(mut fds) = message
                && let Some(fd) = fds.next()
            {
                return Ok(Terminal { file: File::from(fd), read: String::new() });
            }
        }
        bail!("no descriptor came over the console socket")
    }
}

/// The master side of a terminal.
#[derive(Debug)]
pub(super) struct Terminal {
    file: File,
    read: String,
}

impl Terminal {
    /// Reads until `text` was said and its line is whole; gives everything so far.
    pub(super) fn read_until(&mut self, text: &str) -> anyhow::Result<String> {
        loop {
            if let Some(at) = self.read.find(text)
                && self.read[at..].contains('\n')
            {
                return Ok(self.read.clone());
            }
            let mut piece = [0; 4096];
            let length = match self.file.read(&mut piece) {
                Ok(0) | Err(_) => bail!("the terminal ended before {text:?}: {:?}", self.read),
                Ok(length) => length,
            };
            self.read.push_str(&String::from_utf8_lossy(&piece[..length]));
            if OUTPUT_BYTES_MAX < self.read.len() {
                bail!("the terminal says too much");
            }
        }
    }

    /// Its rows and columns.
    pub(super) fn size(&self) -> anyhow::Result<(u16, u16)> {
        let size = rustix::termios::tcgetwinsize(&self.file).context("ask for the size")?;
        Ok((size.ws_row, size.ws_col))
    }

    pub(super) fn write(&mut self, text: &str) -> anyhow::Result<()> {
        self.file.write_all(text.as_bytes()).context("write to the terminal")
    }
}
