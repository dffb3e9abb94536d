//! A daemon of an engine: started with a log of its own, asked to end, and killed if it does not.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{program, stop};

/// From SIGTERM to SIGKILL.
const END_TIMEOUT: Duration = Duration::from_secs(20);

/// Most bytes of a log in an error.
const LOG_SHOWN_MAX: usize = 800;

/// A daemon that runs until it is dropped.
#[derive(Debug)]
pub(super) struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts `command` with its output in `log`, and waits until `ready`.
    pub(super) fn start(
        command: &mut Command,
        log: &Path,
        ready: impl Fn() -> bool,
    ) -> anyhow::Result<Self> {
        let file = File::create(log).with_context(|| format!("make {}", log.display()))?;
        let share = file.try_clone().context("share a log")?;
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(file).stderr(share);
        stop::keep_from(command);
        let child = command.spawn().with_context(|| format!("start {name}"))?;
        let mut daemon = Self { child, log: log.to_owned() };
        program::until(&format!("{name} is ready"), || {
            if let Some(status) = daemon.child.try_wait().context("wait for a daemon")? {
                bail!("{name} ended with {status}: {}", daemon.end_of_log());
            }
            Ok(ready().then_some(()))
        })
        .with_context(|| daemon.end_of_log())?;
        Ok(daemon)
    }

    fn end_of_log(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let start = text.len().saturating_sub(LOG_SHOWN_MAX);
        text.get(start..).unwrap_or_default().to_owned()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        drop(program::wait(&mut self.child, END_TIMEOUT));
    }
}
