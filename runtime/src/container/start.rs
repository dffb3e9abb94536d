//! `start`.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use serde::Deserialize;

use super::delete::{end, has_ended_soon};
use super::launch_error::{NO_INTERPRETER, NO_PROCESS};
use super::readiness::{self, Readiness};
use super::record::{Record, START_SOCKET, Status, process_stat};
use super::state::status;
use super::store::Folder;
use super::{ContainerId, Error, Store, notify};
use crate::init::hook::{self, State};
use crate::init::sync::{Cause, Failure, Last, recv_last};
use crate::seccomp;
use crate::spec::{HookKind, Hooks};
use crate::sys::process::pidfd_open;

/// Starts a created container: returns when its program was executed and, where `notify_socket`
/// names who waits for that and named so at its creation, when the program says that it is ready.
/// What is returned is to be told, although the container runs.
///
/// # Errors
/// [`Error::CannotStart`] when it is not created; [`Error::Exec`] when the program could not be
/// executed, and the container is stopped then.
pub fn start(
    store: &Store,
    id: &ContainerId,
    notify_socket: Option<&OsStr>,
) -> Result<Option<Error>, Error> {
    let folder = store.open(id)?;
    let record = folder.record()?;
    match status(&record, folder.awaits_start())? {
        Status::Created => {}
        other => return Err(Error::CannotStart(other)),
    }
    let listen = |name| readiness::or_warning(Readiness::listen(&folder, name));
    let (readiness, unheard) = notify_socket.map_or((None, None), listen);
    let Some(readiness) = readiness else {
        execute(&folder, &record)?;
        return after_start(&record).map(|()| unheard);
    };
    let process =
        pidfd_open(record.pid).map_err(|errno| Error::Signal { pid: record.pid, source: errno })?;
    execute(&folder, &record)?;
    after_start(&record)?;
    // Others may work on the container in the meantime, and end it.
    drop(folder);
    Ok(readiness.wait(process.as_fd(), record.pid.unsigned_abs()).err())
}

fn execute(folder: &Folder, record: &Record) -> Result<(), Error> {
    let starter = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)
        .map_err(Error::Reach)?;
    // By a relative name, because a socket's address is too short for some folders.
    nix::unistd::fchdir(folder.fd()).map_err(Error::Reach)?;
    let address = UnixAddr::new(START_SOCKET).map_err(Error::Reach)?;
    connect(starter.as_raw_fd(), &address).map_err(Error::Reach)?;
    let mut answer = recv_last(&starter).map_err(Error::Reach)?;
    if let Some(Last::Listener(fd)) = answer {
        if let Err(failed) = hand_over(record, &fd) {
            let _ = end(record);
            return Err(failed);
        }
        answer = recv_last(&starter).map_err(Error::Reach)?;
    }
    // Until here it waits, and a signal that asks for its end has to end it.
    folder.forget_start()?;
    match answer {
        Some(Last::Failed(Failure { cause, .. })) => {
            // It ends by itself, with its own code, and has ended for whoever asks next.
            if !matches!(has_ended_soon(record), Ok(true)) {
                let _ = end(record);
            }
            let hint = match cause {
                Cause::Exec(Errno::ENOENT) => format!(" [{NO_INTERPRETER}]"),
                Cause::Exec(Errno::EAGAIN) => format!(" [{NO_PROCESS}]"),
                _ => String::new(),
            };
            let program = program(record).unwrap_or_default();
            let what = format!("start the container's program{program}{hint}");
            Err(Error::Exec { what, source: cause })
        }
        // The socket ends with the process, too.
        _ if process_stat(record.pid).is_some_and(|stat| !stat.has_executed) => {
            let program = program(record).unwrap_or_default();
            let what = format!("start the container's program{program}: it was ended before");
            Err(Error::Exec { what, source: Errno::ESRCH.into() })
        }
        _ => Ok(()),
    }
}

/// The name of the program in the recorded configuration. Its arguments may be secret.
fn program(record: &Record) -> Option<String> {
    let config: serde_json::Value = serde_json::from_str(&record.config).ok()?;
    let name = config.pointer("/process/args/0")?.as_str()?;
    Some(format!(" {}", name.escape_debug()))
}

/// To the listener that the recorded configuration names.
fn hand_over(record: &Record, fd: &OwnedFd) -> Result<(), Error> {
    let config: oci_spec::runtime::Spec = serde_json::from_str(&record.config)
        .map_err(|source| Error::Damaged { path: record.bundle.clone(), source })?;
    let profile = config.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let to = profile.and_then(|profile| seccomp::compile(profile).ok()?.listener);
    let to = to.ok_or(Error::Reach(Errno::EPROTO))?;
    let state = hook_state(record, "created", record.pid);
    Ok(notify::hand_over(&to, fd.as_fd(), record.pid, &state)?)
}

fn hook_state(record: &Record, status: &'static str, pid: i32) -> State {
    State {
        oci_version: record.oci_version.clone(),
        id: record.id.clone(),
        status,
        pid,
        bundle: record.bundle.clone(),
        annotations: record.annotations.clone(),
    }
}

/// Runs the poststart hooks. One that fails stops the container (runtime.md, "Lifecycle", 9).
///
/// # Errors
/// The hook that failed.
pub fn after_start(record: &Record) -> Result<(), Error> {
    let done = run_hooks(record, HookKind::Poststart, "running", record.pid);
    if done.is_err() {
        // What matters more is why.
        let _ = end(record);
    }
    done
}

/// Runs hooks of a container that exists, from its record.
pub(super) fn run_hooks(
    record: &Record,
    kind: HookKind,
    status: &'static str,
    pid: i32,
) -> Result<(), Error> {
    let hooks = recorded_hooks(record);
    let hooks = hooks.of(kind);
    if hooks.is_empty() {
        return Ok(());
    }
    let state = hook_state(record, status, pid);
    let run = match kind {
        HookKind::Poststop => hook::run_each,
        _ => |hooks: &_, state: &_| hook::run_all(hooks, state, hook::Files::Host),
    };
    run(hooks, &state).map_err(|source| Error::Hook { kind, source })
}

/// The hooks of a recorded configuration, which was validated when the container was created.
fn recorded_hooks(record: &Record) -> Hooks {
    #[derive(Deserialize)]
    struct Config {
        #[serde(default)]
        hooks: Option<oci_spec::runtime::Hooks>,
    }
    if !record.config.contains("\"hooks\"") {
        return Hooks::default();
    }
    let config = serde_json::from_str::<Config>(&record.config);
    config.map(|config| Hooks::recorded(config.hooks.as_ref())).unwrap_or_default()
}
