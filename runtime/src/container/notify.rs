//! The listener of a seccomp filter with `SCMP_ACT_NOTIFY`, handed to whoever answers its calls
//! (config-linux.md, "The Container Process State").

use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use serde::Serialize;

use crate::init::hook::State;
use crate::init::message;
use crate::init::sync::Cause;
use crate::plan::{ChildStep, Plan};
use crate::seccomp::Listener;

/// The listener could not be handed over.
#[derive(Debug, thiserror::Error)]
#[error("send the seccomp listener to {}: {step}", .path.display())]
pub struct NotifyError {
    /// What was done.
    step: &'static str,
    /// `linux.seccomp.listenerPath`.
    pub path: PathBuf,
    #[source]
    source: Cause,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessState<'a> {
    oci_version: &'a str,
    fds: [&'static str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a str>,
    state: &'a State,
}

/// Who answers the calls of a plan's program, if anybody does.
pub(super) fn listener(plan: &Plan) -> Option<&Listener> {
    match plan.child.last() {
        Some(ChildStep::Exec(program)) => program.filter.as_ref()?.listener.as_ref(),
        _ => None,
    }
}

/// Sends the descriptor `fd` of the filter of the process `pid`, on a connection of its own.
pub(super) fn hand_over(
    to: &Listener,
    fd: BorrowedFd<'_>,
    pid: i32,
    state: &State,
) -> Result<(), NotifyError> {
    let told = ProcessState {
        oci_version: &state.oci_version,
        fds: ["seccompFd"],
        pid,
        metadata: to.metadata.as_deref(),
        state,
    };
    let text = serde_json::to_vec(&told).map_err(|_| Errno::EINVAL);
    let failed = |step| {
        let path = to.path.clone();
        move |source: Errno| NotifyError { step, path, source: source.into() }
    };
    let text = text.map_err(failed("write"))?;
    let connected = message::connect(&to.path);
    let connection = connected.map_err(failed("failed to connect with seccomp agent"))?;
    message::send_fd(connection.as_fd(), &text, fd).map_err(failed("send"))
}
