//! The programs that `loadline up` starts: found, started, watched, ended.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::Command;

use super::signals::Signals;
use crate::failure::Failure;

/// How long a program may take to say that it is ready.
const READY_S_MAX: u64 = 60;
/// How long a program may take to end after SIGTERM.
const END_S_MAX: u64 = 30;
/// Longest line that is read from a program's standard output, in bytes.
const LINE_BYTES_MAX: u64 = 4096;

/// A program of ours. Killed where it is dropped before it was ended.
#[derive(Debug)]
pub(super) struct Child {
    name: &'static str,
    process: tokio::process::Child,
    ended: String,
}

/// Where the controller listens, as its first line of output says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) api: SocketAddr,
    pub(super) agents: SocketAddr,
}

impl Child {
    /// Starts the program that is installed beside this one, or else in PATH.
    pub(super) fn start(
        name: &'static str,
        args: Vec<OsString>,
        verbose: bool,
    ) -> Result<Self, Failure> {
        let mut command = Command::new(find(name));
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        // A Ctrl-C in the terminal is for us alone: we end the children, in order.
        command.process_group(0);
        // Each gets its token in a file; one that is left in the environment is another's.
        command.env_remove("LOADLINE_JOIN_TOKEN");
        if std::env::var_os("LOADLINE_LOG").is_none() {
            command.env("LOADLINE_LOG", if verbose { "info" } else { "warn" });
        }
        let process = command.spawn().map_err(|source| Failure::Io {
            step: "start",
            object: format!("{name} (looked for beside this program and in PATH)"),
            source,
        })?;
        Ok(Self { name, process, ended: String::new() })
    }

    /// Waits for the controller's line.
    pub(super) async fn ready(&mut self, signals: &mut Signals) -> Result<Ready, Failure> {
        let stdout = self.process.stdout.take();
        let line = async {
            let mut line = String::new();
            if let Some(stdout) = stdout {
                let mut reader = BufReader::new(stdout.take(LINE_BYTES_MAX));
                // A program that ended shows as an empty line, and is told by its exit.
                let _ = reader.read_line(&mut line).await;
            }
            line
        };
        let line = tokio::select! {
            line = tokio::time::timeout(Duration::from_secs(READY_S_MAX), line) => line,
            () = signals.next() => return Err(Failure::Interrupted),
        };
        let name = self.name;
        let line = line
            .map_err(|_| Failure::Child(format!("{name} was not ready after {READY_S_MAX} s")))?;
        if line.is_empty() {
            return Err(Failure::Child(self.ended().await.to_owned()));
        }
        parse_ready(&line)
            .ok_or_else(|| Failure::Child(format!("{name} said {line:?} instead of its addresses")))
    }

    /// Waits until the program has ended; says how.
    pub(super) async fn ended(&mut self) -> &str {
        let name = self.name;
        self.ended = match self.process.wait().await {
            Ok(status) => format!("{name} ended unexpectedly ({status}); its reason is above"),
            Err(error) => format!("{name} can't be waited for: {error}"),
        };
        &self.ended
    }

    /// SIGTERM, and SIGKILL where that is not enough.
    pub(super) async fn end(mut self) {
        let name = self.name;
        let pid = self.process.id().and_then(|pid| i32::try_from(pid).ok());
        // No pid: it has ended already.
        let Some(pid) = pid else { return };
        if let Err(error) = kill(Pid::from_raw(pid), Signal::SIGTERM) {
            eprintln!("loadline: can't end {name}: {error}");
        }
        let limit = Duration::from_secs(END_S_MAX);
        match tokio::time::timeout(limit, self.process.wait()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => eprintln!("loadline: can't wait for {name}: {error}"),
            Err(_) => {
                eprintln!("loadline: {name} did not end within {END_S_MAX} s: killing it");
                if let Err(error) = self.process.kill().await {
                    eprintln!("loadline: can't kill {name}: {error}");
                }
            }
        }
    }
}

/// `ready api=ADDRESS agents=ADDRESS`
fn parse_ready(line: &str) -> Option<Ready> {
    let mut words = line.split_whitespace();
    (words.next()? == "ready").then_some(())?;
    let api = words.next()?.strip_prefix("api=")?.parse().ok()?;
    let agents = words.next()?.strip_prefix("agents=")?.parse().ok()?;
    Some(Ready { api, agents })
}

fn find(name: &str) -> PathBuf {
    let here = std::env::current_exe().ok();
    let beside = here.and_then(|path| path.parent().map(|folder| folder.join(name)));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_controllers_line_tells_its_addresses() {
        let ready = parse_ready("ready api=127.0.0.1:7070 agents=[::1]:7071\n").unwrap();
        assert_eq!(ready.api.port(), 7070);
        assert_eq!(ready.agents.port(), 7071);
        for line in ["", "ready", "ready api=x agents=y", "hello api=127.0.0.1:1 agents=1.1.1.1:1"]
        {
            assert_eq!(parse_ready(line), None, "{line}");
        }
    }
}
