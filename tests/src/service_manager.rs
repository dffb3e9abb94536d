//! A service manager as sd_notify(3) has it: the far side of `NOTIFY_SOCKET`.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};

use anyhow::Context as _;

use crate::program;

/// Most bytes of a message.
const MESSAGE_BYTES_MAX: usize = 4096;

/// A socket, with a thread that takes every message at once: who tells waits for that.
#[derive(Debug)]
pub(crate) struct Manager {
    path: PathBuf,
    heard: Receiver<String>,
}

impl Manager {
    /// Listens in a folder.
    pub(crate) fn listen(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("manager");
        let socket = UnixDatagram::bind(&path).context("listen as a service manager")?;
        let (tell, heard) = channel();
        // It ends with the program: nothing tells it that nobody will say anything any more.
        std::thread::spawn(move || {
            let mut bytes = [0; MESSAGE_BYTES_MAX];
            while let Ok(length) = socket.recv(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
                if tell.send(text).is_err() {
                    break;
                }
            }
        });
        Ok(Self { path, heard })
    }

    /// With this one as the command's service manager.
    pub(crate) fn of(&self, mut command: Command) -> Command {
        command.env("NOTIFY_SOCKET", &self.path);
        command
    }

    /// Waits until it has heard all of these lines, in one message or in several: all it heard.
    pub(crate) fn hears(&self, lines: &[&str]) -> anyhow::Result<String> {
        let mut all = String::new();
        while !lines.iter().all(|wanted| all.lines().any(|line| line == *wanted)) {
            let next = self.heard.recv_timeout(program::patience());
            all += &next.with_context(|| format!("{lines:?} was not told, but {all:?}"))?;
            all.push('\n');
        }
        Ok(all)
    }
}
