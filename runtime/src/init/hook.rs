//! Running hooks: the state on standard input, the environment that config.json gives, a timeout.

use std::ffi::CString;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use serde::Serialize;

use super::sync::{self, Cause, ChildEnd, Failure, FromChild};
use super::tail::Tail;
use super::{exec, os_str};
use crate::plan::Program;
use crate::spec::{Hook, HookKind};
use crate::sys::process::{Clone3, Side, clone3, exit_now, pidfd_open, pidfd_send_signal};
use crate::sys::seal::{Finale, execute};
use crate::sys::signal;

/// The state of a container as hooks and `state` give it (runtime.md, "State").
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The version of the specification.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// creating, created, running or stopped.
    pub status: &'static str,
    /// The first process; 0 when there is none.
    #[serde(skip_serializing_if = "is_zero")]
    pub pid: i32,
    /// The bundle's absolute path.
    pub bundle: PathBuf,
    /// Annotations.
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub annotations: std::collections::BTreeMap<String, String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(pid: &i32) -> bool {
    *pid == 0
}

impl State {
    /// As a hook inside the container's namespaces sees it: with its own pid.
    pub fn inside(mut self, kind: HookKind) -> State {
        self.pid = std::process::id() as i32;
        self.status = if kind == HookKind::StartContainer { "created" } else { "creating" };
        self
    }
}

/// A hook that failed.
#[derive(Debug, thiserror::Error)]
#[error("{}{}", .path.display(), Output(.output))]
pub struct HookFailure {
    /// The hook's program.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub cause: Cause,
    /// The end of what it wrote.
    pub output: String,
}

struct Output<'a>(&'a str);

impl std::fmt::Display for Output<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " (it wrote {:?})", self.0) }
    }
}

/// Whose files the hooks' programs are.
#[derive(Clone, Copy, Debug)]
pub enum Files<'a> {
    /// The host's. They run in the bundle.
    Host,
    /// The host's. They run in this process's working directory.
    HostHere,
    /// The container's, whose program and environment these are: it must not get at the runtime's
    /// executable through them, nor at more than the program's capabilities and system calls.
    Container(&'a Program, &'a [CString]),
}

/// Runs hooks one after the other; the first that fails ends the row.
///
/// # Errors
/// The hook that failed.
pub fn run_all(hooks: &[Hook], state: &State, files: Files<'_>) -> Result<(), HookFailure> {
    hooks.iter().enumerate().try_for_each(|(index, hook)| one(index, hook, state, files))
}

/// Runs hooks of the host one after the other, also after one that fails (runtime.md, "Lifecycle",
/// of poststop).
///
/// # Errors
/// The first hook that failed.
pub fn run_each(hooks: &[Hook], state: &State) -> Result<(), HookFailure> {
    let numbered = hooks.iter().enumerate();
    let done: Vec<_> = numbered.map(|(i, hook)| one(i, hook, state, Files::Host)).collect();
    done.into_iter().collect()
}

fn one(index: usize, hook: &Hook, state: &State, files: Files<'_>) -> Result<(), HookFailure> {
    let index = u8::try_from(index).unwrap_or(u8::MAX);
    let mut output = String::new();
    let done = match files {
        Files::Host => run(index, hook, state, Some(&state.bundle), &mut output),
        Files::HostHere => run(index, hook, state, None, &mut output),
        Files::Container(program, env) => run_sealed(index, hook, state, program, env),
    };
    done.map_err(|cause| HookFailure { path: hook.path.clone(), cause, output })
}

fn run(
    index: u8,
    hook: &Hook,
    state: &State,
    dir: Option<&Path>,
    output: &mut String,
) -> Result<(), Cause> {
    let input = input(state)?;
    let (mut tail, far) = Tail::new()?;
    let mut command = Command::new(&hook.path);
    if let Some((name, args)) = hook.args.split_first() {
        command.arg0(os_str(name)).args(args.iter().map(|arg| os_str(arg)));
    }
    if hook.env.is_some() {
        command.env_clear();
    }
    for entry in hook.env.iter().flatten() {
        let entry = entry.to_bytes();
        let at = entry.iter().position(|byte| *byte == b'=').unwrap_or(entry.len());
        let value = entry.get(at + 1..).unwrap_or_default();
        if at > 0 {
            command.env(std::ffi::OsStr::from_bytes(&entry[..at]), bytes(value));
        }
    }
    if let Some(dir) = dir.filter(|dir| dir.is_dir()) {
        command.current_dir(dir);
    }
    command.stdin(input).stdout(far.try_clone().map_err(errno)?).stderr(far);
    let mut child = command.spawn().map_err(errno)?;
    // It holds the far end of the pipe, too.
    drop(command);
    let waited = wait(&mut child, hook.timeout_s, &mut tail);
    *output = tail.text();
    let status = waited?.ok_or(Cause::HookTimedOut(index))?;
    if status.success() {
        return Ok(());
    }
    let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    Err(Cause::HookFailed(index, u8::try_from(code).unwrap_or(1)))
}

/// The state in a file. A file in memory, not a pipe: a hook that does not read blocks nobody.
fn input(state: &State) -> Result<File, Cause> {
    let mut input = memory_file()?;
    let text = serde_json::to_vec(state).map_err(|_| Errno::EINVAL)?;
    input.write_all(&text).and_then(|()| input.rewind()).map_err(errno)?;
    Ok(input)
}

/// Like [`run`], by a process that forgets the runtime's executable as the container's first one
/// does: the hook's file may be a script of `/proc/self/exe`.
fn run_sealed(
    index: u8,
    hook: &Hook,
    state: &State,
    program: &Program,
    env: &[CString],
) -> Result<(), Cause> {
    let input = input(state)?;
    let (parent, child) = sync::pair()?;
    let (pid, pidfd) = match clone3(Clone3::default())? {
        Side::Parent { pid, pidfd } => (pid, pidfd),
        Side::Child => {
            let failed = execute_sealed(hook, &input, &child, program, env);
            let failure = Failure { step: 0, cause: failed };
            let _ = child.send(FromChild::Failed(failure));
            exit_now(127)
        }
    };
    drop(child);
    if let Some(FromChild::Failed(failure)) = parent.recv()? {
        let _ = waitpid(Pid::from_raw(pid), None);
        return Err(failure.cause);
    }
    if let Some(seconds) = hook.timeout_s
        && !ends_within(&pidfd, seconds)?
    {
        pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL)?;
        let _ = waitpid(Pid::from_raw(pid), None);
        return Err(Cause::HookTimedOut(index));
    }
    match waitpid(Pid::from_raw(pid), None)? {
        WaitStatus::Exited(_, 0) => Ok(()),
        WaitStatus::Exited(_, code) => Err(Cause::HookFailed(index, code as u8)),
        WaitStatus::Signaled(_, signal, _) => {
            Err(Cause::HookFailed(index, (128 + signal as i32) as u8))
        }
        _ => Err(Cause::HookFailed(index, 1)),
    }
}

/// Returns only on failure. Calls that the program's filter would have somebody notified of fail
/// with `ENOSYS`: its listener is asked for by the program, later.
fn execute_sealed(
    hook: &Hook,
    input: &File,
    socket: &ChildEnd,
    program: &Program,
    env: &[CString],
) -> Cause {
    let reset = |()| signal::reset(signal::ALL);
    let prepared = nix::unistd::dup2_stdin(input).and_then(reset);
    if let Err(errno) = prepared {
        return Cause::Kernel(errno);
    }
    let path = crate::plan::c_path(&hook.path);
    let args = if hook.args.is_empty() { vec![path.clone()] } else { hook.args.clone() };
    let failure = Failure { step: 0, cause: Cause::Kernel(Errno::UnknownErrno) };
    let instructions = exec::instructions(program);
    let finale = Finale {
        path,
        args,
        env: hook.env.clone().unwrap_or_else(|| env.to_vec()),
        capabilities: program.cap_sets(),
        filter: exec::filter(program, &instructions, None),
        limits: exec::limits(program),
        socket: socket.fd(),
        message: FromChild::Failed(failure).encode(),
    };
    Cause::Kernel(execute(finale))
}

fn bytes(value: &[u8]) -> &std::ffi::OsStr {
    std::ffi::OsStr::from_bytes(value)
}

/// `None` when the time was over; the hook is killed then.
fn wait(
    child: &mut Child,
    timeout_s: Option<u32>,
    tail: &mut Tail,
) -> Result<Option<ExitStatus>, Cause> {
    let pidfd = pidfd_open(child.id() as i32)?;
    let deadline = timeout_s.map(|s| Instant::now() + Duration::from_secs(s.into()));
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL)?;
            child.wait().map_err(errno)?;
            tail.drain();
            return Ok(None);
        }
        let limit = left.map(|left| PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
        let pipe = tail.pipe().map(|pipe| PollFd::new(pipe, PollFlags::POLLIN));
        let process = PollFd::new(pidfd.as_fd(), PollFlags::POLLIN);
        let mut fds: Vec<PollFd<'_>> = std::iter::once(process).chain(pipe).collect();
        match poll(&mut fds, limit.unwrap_or(PollTimeout::NONE)) {
            Err(Errno::EINTR) => continue,
            other => other?,
        };
        let has_ended = fds[0].any().unwrap_or(false);
        drop(fds);
        if has_ended {
            tail.drain();
            return child.wait().map(Some).map_err(errno);
        }
        tail.take();
    }
}

fn ends_within(pidfd: &OwnedFd, seconds: u32) -> Result<bool, Cause> {
    let milliseconds = i32::try_from(u64::from(seconds) * 1000).unwrap_or(i32::MAX);
    let timeout = PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX);
    loop {
        match poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], timeout) {
            Err(Errno::EINTR) => {}
            other => return Ok(other? > 0),
        }
    }
}

fn memory_file() -> Result<File, Cause> {
    Ok(File::from(memfd_create("hook", MFdFlags::MFD_CLOEXEC)?))
}

fn errno(error: std::io::Error) -> Cause {
    Cause::Kernel(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
}
