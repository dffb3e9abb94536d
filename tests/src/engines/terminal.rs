//! A person at a terminal: a program with a pseudo terminal as its input and output.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::process::{Child, Command};
use std::time::Instant;

use anyhow::{Context as _, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};

use crate::{program, stop};

/// Most bytes of output that are kept.
const OUTPUT_BYTES_MAX: usize = 1 << 20;

/// How long one look for output waits.
const LOOK_MS: u16 = 100;

/// A program on a terminal of 40 rows and 120 columns.
#[derive(Debug)]
pub(super) struct Session {
    child: Child,
    master: File,
    /// What it has said.
    said: String,
}

impl Session {
    pub(super) fn start(mut command: Command) -> anyhow::Result<Self> {
        let size = Winsize { ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).context("open a terminal")?;
        let slave = || pty.slave.try_clone().context("share a terminal");
        command.stdin(slave()?).stdout(slave()?).stderr(slave()?);
        stop::keep_from(&mut command);
        let child = command.spawn().context("start a program on a terminal")?;
        Ok(Self { child, master: File::from(pty.master), said: String::new() })
    }

    /// Waits until `text` was said.
    pub(super) fn until(&mut self, text: &str) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !self.said.contains(text) {
            if !self.read()? || begun.elapsed() > program::patience() {
                bail!("{text:?} was not said on the terminal: {:?}", self.said);
            }
        }
        Ok(())
    }

    /// Types `text`.
    pub(super) fn type_in(&mut self, text: &str) -> anyhow::Result<()> {
        self.master.write_all(text.as_bytes()).context("type on a terminal")
    }

    /// Waits for the program's end: its exit code and all that was said.
    pub(super) fn end(mut self) -> anyhow::Result<(i32, String)> {
        let begun = Instant::now();
        let status = loop {
            let status = self.child.try_wait().context("wait for a program on a terminal")?;
            let more = self.read()?;
            match status {
                Some(status) if !more => break status,
                _ if begun.elapsed() > program::patience() => {
                    self.child.kill().context("kill a program on a terminal")?;
                    self.child.wait().context("reap a program on a terminal")?;
                    bail!("a program on a terminal did not end: {:?}", self.said);
                }
                _ => {}
            }
        };
        Ok((status.code().unwrap_or(-1), self.said))
    }

    /// Takes what is there; false where there is nothing now.
    fn read(&mut self) -> anyhow::Result<bool> {
        let mut wanted = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut wanted, PollTimeout::from(LOOK_MS)).context("look for output")?;
        let there = wanted[0].revents().is_some_and(|seen| seen.contains(PollFlags::POLLIN));
        if ready == 0 {
            return Ok(self.child.try_wait().context("look for the end")?.is_none());
        }
        if !there {
            return Ok(false);
        }
        let mut piece = [0; 4096];
        let length = self.master.read(&mut piece).unwrap_or(0);
        self.said.push_str(&String::from_utf8_lossy(&piece[..length]));
        if OUTPUT_BYTES_MAX < self.said.len() {
            bail!("the terminal says too much");
        }
        Ok(length > 0)
    }
}
