//! One program in a container: the call of the OCI runtime, and what it reads and writes.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use loadline_proto::convert::{OpenExec, WindowSize};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStderr, Command};

use super::ExecPlace;
use crate::failpoint;
use crate::task::execed::{self, HANG_UP_S};

/// How long the runtime may take to start the program.
const START_S_MAX: u64 = 30;
/// How often it is looked whether it has.
const LOOK_EVERY_MS: u64 = 5;
/// How long what was killed may take to vanish, before its call is killed too.
const KILLED_S_MAX: u64 = 5;
/// Most bytes that are kept of what the runtime says.
const SAID_BYTES_MAX: usize = 2048;

pub(super) type Reader = Box<dyn AsyncRead + Send + Unpin>;
pub(super) type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// A program that was asked for.
pub(super) struct Program {
    child: Child,
    pid_file: PathBuf,
    /// Its standard input; with a terminal, the terminal's.
    pub(super) stdin: Option<Writer>,
    /// Its standard output; with a terminal, everything.
    pub(super) stdout: Option<Reader>,
    /// Its standard error; with a terminal, the runtime's own words.
    stderr: Option<ChildStderr>,
    /// The terminal's end on this side.
    pub(super) terminal: Option<Terminal>,
}

/// A terminal's end on this side.
#[derive(Debug)]
pub(super) struct Terminal(OwnedFd);

impl Terminal {
    /// Tells who is at the other end.
    pub(super) fn resize(&self, size: WindowSize) -> io::Result<()> {
        let WindowSize { rows, columns } = size;
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(tcsetwinsize(&self.0, size)?)
    }
}

impl Program {
    /// Calls the runtime.
    pub(super) fn spawn(open: &OpenExec, place: &ExecPlace) -> io::Result<Self> {
        let pid_file = place.run_dir.join(execed::pid_file(open.exec.as_str()));
        let mut command = Command::new(&place.front);
        command.arg("--front").arg(std::process::id().to_string()).arg(&place.runtime);
        command.arg("--root").arg(&place.runtime_root).args(["exec", "--pid-file"]).arg(&pid_file);
        if open.terminal.is_some() {
            command.args(["--tty", "--env", "TERM=xterm"]);
        }
        command.arg(&place.id).args(&open.command);
        command.stderr(Stdio::piped()).kill_on_drop(true);
        let (mut stdin, mut stdout): (Option<Writer>, Option<Reader>) = (None, None);
        let mut terminal = None;
        if let Some(size) = open.terminal {
            let (own, theirs) = open_terminal()?;
            let own = Terminal(own);
            own.resize(size)?;
            stdin = Some(Box::new(pipe::Sender::from_owned_fd_unchecked(own.0.try_clone()?)?));
            stdout = Some(Box::new(pipe::Receiver::from_owned_fd_unchecked(own.0.try_clone()?)?));
            command.stdin(theirs.try_clone()?).stdout(theirs);
            terminal = Some(own);
        } else {
            let input = if open.interactive { Stdio::piped() } else { Stdio::null() };
            command.stdin(input).stdout(Stdio::piped());
        }
        let mut child = command.spawn()?;
        failpoint::hit("exec-called");
        stdin = stdin.or(child.stdin.take().map(|pipe| Box::new(pipe) as Writer));
        stdout = stdout.or(child.stdout.take().map(|pipe| Box::new(pipe) as Reader));
        let stderr = child.stderr.take();
        Ok(Self { child, pid_file, stdin, stdout, stderr, terminal })
    }

    /// Waits until the program runs, or has run.
    ///
    /// # Errors
    /// The runtime's words, where it could not start it.
    pub(super) async fn begun(&mut self) -> Result<(), String> {
        let until = tokio::time::Instant::now() + Duration::from_secs(START_S_MAX);
        while !self.pid_file.exists() {
            let look = tokio::time::sleep(Duration::from_millis(LOOK_EVERY_MS));
            let ended = tokio::select! {
                ended = self.child.wait() => ended,
                () = look => {
                    if until <= tokio::time::Instant::now() {
                        return Err(format!("the runtime did not start it within {START_S_MAX} s"));
                    }
                    continue;
                }
            };
            // It may have been so quick that it is over.
            if self.pid_file.exists() {
                break;
            }
            let said = self.said().await;
            let ended = ended.map_or_else(|error| error.to_string(), |ended| ended.to_string());
            return Err(if said.is_empty() { format!("the runtime ended: {ended}") } else { said });
        }
        failpoint::hit("exec-begun");
        Ok(())
    }

    /// What the program writes as its standard error, once it has begun.
    pub(super) fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.stderr.take()
    }

    async fn said(&mut self) -> String {
        let Some(stderr) = self.stderr.take() else { return String::new() };
        let mut said = Vec::new();
        let reading = stderr.take(SAID_BYTES_MAX as u64);
        let mut reading = std::pin::pin!(reading);
        // What can't be read is not said.
        let _ = reading.read_to_end(&mut said).await;
        String::from_utf8_lossy(&said).trim().to_owned()
    }

    /// Waits for its end; the exit code, where there is one.
    pub(super) async fn wait(&mut self) -> io::Result<Option<i32>> {
        self.child.wait().await.map(|status| status.code())
    }

    /// Ends it: SIGHUP first, as where a terminal is closed, then SIGKILL.
    pub(super) async fn end(&mut self) {
        if let Some(call) = self.child.id().and_then(|pid| i32::try_from(pid).ok()) {
            // The runtime passes it on; it is our child and not reaped, so the pid is its own.
            let _ = kill(Pid::from_raw(call), Signal::SIGHUP);
        }
        let patience = Duration::from_secs(HANG_UP_S);
        if tokio::time::timeout(patience, self.child.wait()).await.is_ok() {
            return;
        }
        // The call has not ended, so it has not reaped the program: the pid is the program's own.
        if let Some(pid) = execed::read_pid(&self.pid_file) {
            execed::end(pid);
        }
        let patience = Duration::from_secs(KILLED_S_MAX);
        if tokio::time::timeout(patience, self.child.wait()).await.is_err() {
            let _ = self.child.start_kill();
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Removed with the run in any case.
        let _ = std::fs::remove_file(&self.pid_file);
    }
}

/// Both ends of a new terminal that changes nothing of what passes: the container's own does that.
fn open_terminal() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let own = openpt(flags)?;
    unlockpt(&own)?;
    let theirs = ioctl_tiocgptpeer(&own, flags)?;
    let mut settings = tcgetattr(&theirs)?;
    settings.make_raw();
    tcsetattr(&theirs, OptionalActions::Now, &settings)?;
    let now = OFlag::from_bits_retain(fcntl(own.as_fd(), FcntlArg::F_GETFL)?);
    fcntl(own.as_fd(), FcntlArg::F_SETFL(now | OFlag::O_NONBLOCK))?;
    Ok((own, theirs))
}
