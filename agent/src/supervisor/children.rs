//! The OCI runtime's calls, and reaping.

use std::ffi::OsStr;
use std::io::{self, PipeReader, PipeWriter, Read as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::process::{ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use rustix::process::WaitOptions;

use crate::supervise::Settings;

/// A call that takes longer is killed (ECS: create 4 minutes, start 3).
const CALL_S_MAX: u64 = 240;

/// Most bytes kept of what a call says on standard error.
pub(super) const CALL_OUTPUT_BYTES_MAX: usize = 8 * 1024;

/// File in the run's folder where the runtime writes the init's pid.
pub(super) const PID_FILE: &str = "pid";

/// Which call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Create,
    Start,
    Kill,
    Delete,
}

/// A running call of the OCI runtime.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) verb: Verb,
    pub(super) pid: Pid,
    pub(super) deadline: Instant,
    stderr: Option<ChildStderr>,
    said: Vec<u8>,
}

impl Call {
    /// `create`: the container inherits the ends of the pipes, unless it has a terminal.
    pub(super) fn create(
        settings: &Settings,
        stdin: Option<PipeReader>,
        stdout: PipeWriter,
        stderr: PipeWriter,
    ) -> io::Result<Self> {
        let bundle = settings.bundle.as_os_str();
        let arguments = ["create".as_ref(), "--bundle".as_ref(), bundle, "--pid-file".as_ref()];
        let mut command = runtime(settings, &arguments);
        command.arg(Path::new(PID_FILE));
        if settings.terminal {
            command.arg("--console-socket").arg(super::console::path());
        }
        command.arg(&settings.id).stdout(stdout).stderr(stderr);
        command.stdin(stdin.map_or_else(Stdio::null, Stdio::from));
        Self::spawn(Verb::Create, &mut command)
    }

    /// `start`.
    pub(super) fn start(settings: &Settings) -> io::Result<Self> {
        let mut command = runtime(settings, &["start".as_ref(), settings.id.as_ref()]);
        Self::spawn(Verb::Start, command.stdout(Stdio::null()).stderr(Stdio::piped()))
    }

    /// `delete`: by force, because other processes of the container may still be there.
    pub(super) fn delete(settings: &Settings) -> io::Result<Self> {
        let arguments = ["delete".as_ref(), "--force".as_ref(), settings.id.as_ref()];
        let mut command = runtime(settings, &arguments);
        Self::spawn(Verb::Delete, command.stdout(Stdio::null()).stderr(Stdio::null()))
    }

    /// `kill`, for a signal that only the runtime can send; nobody waits for its answer.
    pub(super) fn kill_by_runtime(settings: &Settings, signal: i32) -> io::Result<Self> {
        let number = signal.to_string();
        let arguments = ["kill".as_ref(), settings.id.as_ref(), number.as_ref()];
        let mut command = runtime(settings, &arguments);
        Self::spawn(Verb::Kill, command.stdout(Stdio::null()).stderr(Stdio::null()))
    }

    fn spawn(verb: Verb, command: &mut Command) -> io::Result<Self> {
        // A child inherits the signal mask, and a container must not begin with SIGCHLD blocked.
        // A signal that comes in between is made up for by the sweep after each turn.
        let blocked = SigSet::from(Signal::SIGCHLD);
        blocked.thread_unblock()?;
        let spawned = command.spawn();
        blocked.thread_block()?;
        let mut child = spawned?;
        let pid = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
        let stderr = child.stderr.take();
        if let Some(stderr) = &stderr {
            set_nonblocking(stderr)?;
        }
        let deadline = Instant::now() + Duration::from_secs(CALL_S_MAX);
        Ok(Self { verb, pid, deadline, stderr, said: Vec::new() })
    }

    /// What to poll.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.stderr.as_ref().map(AsFd::as_fd)
    }

    /// Reads what the call says, keeping the beginning.
    pub(super) fn listen(&mut self) {
        let Some(stderr) = &mut self.stderr else { return };
        let mut bytes = [0; 1024];
        loop {
            match stderr.read(&mut bytes) {
                Ok(0) => break,
                Ok(length) => keep(&mut self.said, &bytes[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.stderr = None;
    }

    /// Everything the call said, once it has ended.
    pub(super) fn into_said(mut self) -> Vec<u8> {
        self.listen();
        self.said
    }

    /// Ends a call that takes too long.
    pub(super) fn kill(&self) {
        // It is our child and not yet reaped, so the pid is its own.
        let _ = kill(self.pid, Signal::SIGKILL);
    }
}

/// Appends to what a call said, up to its bound.
pub(super) fn keep(said: &mut Vec<u8>, bytes: &[u8]) {
    let room = CALL_OUTPUT_BYTES_MAX.saturating_sub(said.len());
    said.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

fn runtime(settings: &Settings, arguments: &[&OsStr]) -> Command {
    let mut command = Command::new(&settings.runtime);
    // The service manager of the agent waits for no container.
    command.env_remove("NOTIFY_SOCKET");
    command.stdin(Stdio::null()).arg("--root").arg(&settings.runtime_root).args(arguments);
    command
}

/// Makes reads give what is there.
pub(super) fn set_nonblocking(fd: impl AsFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd.as_fd(), FcntlArg::F_GETFL)?);
    fcntl(fd.as_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Code(i32),
    Signal(i32),
}

/// Reaps one child that has ended, if there is one. The raw status is read here, because a
/// container may be ended by a real-time signal, which nix's types can't name.
pub(super) fn reap() -> Option<(Pid, Ended)> {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                let pid = Pid::from_raw(pid.as_raw_nonzero().get());
                if let Some(code) = status.exit_status() {
                    return Some((pid, Ended::Code(code)));
                }
                if let Some(signal) = status.terminating_signal() {
                    return Some((pid, Ended::Signal(signal)));
                }
            }
            Err(rustix::io::Errno::INTR) => {}
            // Nobody has ended, or there is no child at all.
            Ok(None) | Err(_) => return None,
        }
    }
}
