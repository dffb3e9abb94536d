//! Two first processes, both this same program, which is one static file:
//!
//! - of a container that asks for one (`initProcessEnabled`): it starts the container's program,
//!   passes signals on to it, reaps whatever is left to it, and ends as the program ends;
//! - of a pid namespace that the containers of a task share (`pidMode` `task`): it reaps, until it
//!   is killed with its task.
//!
//! Signals are blocked and waited for: the kernel drops what a first process has no handler for,
//! but never what it has blocked.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// What the container's first process is called inside.
pub const INIT_PATH: &str = "/sbin/docker-init";
/// The word in front of nothing: makes a pid namespace and its first process.
pub const HOLD: &str = "--hold-pid-namespace";
/// The word of that first process itself.
pub const HOLDER: &str = "--pid-namespace";

/// The word in front of the program of a container, in the child that becomes it.
const RUN: &str = "--run";

/// What a shell says where a program is missing, or can't be run.
const NOT_FOUND: u8 = 127;
const NOT_RUN: u8 = 126;

/// Whether a program called by this name is asked to be a container's first process.
#[must_use]
pub fn is_init(arg0: &Path) -> bool {
    arg0.file_name() == Path::new(INIT_PATH).file_name()
}

/// Runs a command (behind `--`) as a container's first process runs it.
///
/// The program is a child that first lets signals through again: this process has them blocked from
/// its beginning, so that none that comes early is lost.
pub fn init(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut words = arguments.peekable();
    if words.next_if(|word| word == RUN).is_some() {
        return run(words);
    }
    let words: Vec<OsString> = words.skip_while(|word| word == "--").collect();
    if words.is_empty() {
        return refuse("usage: docker-init -- PROGRAM ARGUMENTS", NOT_FOUND);
    }
    let signals = SigSet::all();
    if let Err(error) = signals.thread_block() {
        return refuse(&format!("block signals: {error}"), NOT_RUN);
    }
    let mut own = Command::new("/proc/self/exe");
    let started = own.arg0(INIT_PATH).arg(RUN).args(words).process_group(0).spawn();
    let child = match started {
        Ok(child) => Pid::from_raw(i32::try_from(child.id()).unwrap_or(0)),
        Err(error) => return refuse(&format!("start itself again: {error}"), NOT_RUN),
    };
    // Only where there is a terminal: the program then gets what is typed.
    let _ = nix::unistd::tcsetpgrp(io::stdin(), child);
    loop {
        // Also what ended before there was anybody to be told.
        if let Some(code) = reap(Some(child)) {
            return ExitCode::from(code);
        }
        if let Ok(signal) = signals.wait()
            && is_passed_on(signal)
        {
            // A program that has just ended is told about by SIGCHLD.
            let _ = kill(child, signal);
        }
    }
}

/// Becomes the program.
fn run(mut words: impl Iterator<Item = OsString>) -> ExitCode {
    let program = words.next().unwrap_or_default();
    if let Err(error) = SigSet::all().thread_unblock() {
        return refuse(&format!("let signals through: {error}"), NOT_RUN);
    }
    let error = Command::new(&program).args(words).exec();
    let code = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_RUN };
    refuse(&format!("start {}: {error}", program.display()), code)
}

/// Signals about something else than what the sender wants of the program.
fn is_passed_on(signal: Signal) -> bool {
    use Signal::{SIGABRT, SIGBUS, SIGCHLD, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP, SIGTTIN};
    let own = [
        SIGABRT,
        SIGBUS,
        SIGCHLD,
        SIGFPE,
        SIGILL,
        SIGSEGV,
        SIGSYS,
        SIGTRAP,
        SIGTTIN,
        Signal::SIGTTOU,
    ];
    !own.contains(&signal)
}

/// Reaps what has ended; the exit code of `main`, if it is among them.
fn reap(main: Option<Pid>) -> Option<u8> {
    let mut code = None;
    loop {
        let (pid, ended) = match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) => (pid, u8::try_from(status & 0xff).ok()),
            Ok(WaitStatus::Signaled(pid, signal, _)) => {
                (pid, u8::try_from(128 + signal as i32).ok())
            }
            Ok(WaitStatus::StillAlive) | Err(_) => return code,
            Ok(_) => continue,
        };
        if Some(pid) == main {
            code = ended;
        }
    }
}

/// Makes a pid namespace with a first process in it, once a byte comes on standard input (the
/// caller has put this process where the other shall be, or has died), and says the first
/// process's pid.
///
/// # Errors
/// The kernel's.
pub fn hold() -> io::Result<()> {
    let mut go = [0];
    io::stdin().read_exact(&mut go)?;
    // Nobody's terminal and nobody's process group.
    let _ = nix::unistd::setsid();
    unshare(CloneFlags::CLONE_NEWPID)?;
    let holder = Command::new("/proc/self/exe")
        .arg0("loadline-supervisor")
        .arg(HOLDER)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    writeln!(io::stdout(), "{}", holder.id())
}

/// The first process of a shared pid namespace: never returns.
pub fn holder() -> ExitCode {
    let signals = SigSet::all();
    if signals.thread_block().is_err() {
        return ExitCode::FAILURE;
    }
    loop {
        // Only SIGKILL from outside ends it, and with it all that is in the namespace.
        if matches!(signals.wait(), Ok(Signal::SIGCHLD)) {
            reap(None);
        }
    }
}

fn refuse(message: &str, code: u8) -> ExitCode {
    let _ = writeln!(io::stderr(), "docker-init: {message}");
    ExitCode::from(code)
}
