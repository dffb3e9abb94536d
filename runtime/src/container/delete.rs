//! `delete`.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::kill::thaw;
use super::marked::Marked;
use super::record::{
    CGROUP_LINK, MOUNTS_LINK, ProcessStat, Record, Status, Unrecorded, process_stat,
};
use super::start::run_hooks;
use super::state::status;
use super::store::Folder;
use super::{ContainerId, Error, Store, resctrl};
use crate::cgroup;
use crate::spec::HookKind;
use crate::sys::process::pidfd_send_signal;

/// How long processes are given to end after SIGKILL.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a process may take that is about to end by itself, before it is killed.
const SOON: Duration = Duration::from_secs(2);

/// What is done with a container that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// It is killed first; one that does not exist is no error.
    Yes,
    /// It is left alone.
    No,
}

/// Removes a container: its cgroup, its record, and with [`Force::Yes`] its processes.
///
/// Gives the poststop hook that failed: the container is gone then (runtime.md, "Lifecycle", 13).
///
/// # Errors
/// [`Error::CannotDelete`] when it runs and is not forced.
pub fn delete(store: &Store, id: &ContainerId, force: Force) -> Result<Option<Error>, Error> {
    let folder = match store.open(id) {
        Err(Error::NotFound { .. }) if force == Force::Yes => return Ok(None),
        other => other?,
    };
    let record = match (folder.record(), force) {
        (Err(error @ (Error::NotFound { .. } | Error::Damaged { .. })), Force::Yes) => {
            let is_damaged = matches!(error, Error::Damaged { .. });
            return remove_unrecorded(store, folder, is_damaged).map(|()| None);
        }
        (other, _) => other?,
    };
    match (status(&record, folder.awaits_start())?, force) {
        (Status::Stopped, _) => {}
        // A created container runs nothing yet, so runc deletes it unforced; so do we.
        (Status::Created, _) | (_, Force::Yes) => end(&record)?,
        (status, Force::No) => {
            return Err(Error::CannotDelete { id: id.to_string(), status });
        }
    }
    remove(folder, &record)
}

/// Removes a container whose first process was seen to end: the second half of `run`. Gives the
/// poststop hook that failed.
///
/// # Errors
/// What could not be removed.
pub fn delete_ended(
    store: &Store,
    id: &ContainerId,
    record: &Record,
) -> Result<Option<Error>, Error> {
    match store.open(id) {
        // Somebody else has deleted it meanwhile.
        Err(Error::NotFound { .. }) => Ok(None),
        folder => remove(folder?, record),
    }
}

/// Removes what is left of a container whose first process has ended.
fn remove(folder: Folder, record: &Record) -> Result<Option<Error>, Error> {
    let failed = |step| move |source| Error::Cgroup { step, source };
    // Most groups are empty by now, and then that is all.
    let is_gone = match &record.cgroup {
        Some(location) => cgroup::remove_if_idle(location).map_err(failed("remove"))?,
        None => true,
    };
    if !is_gone {
        if let Some(group) = record.group()? {
            group.kill_all().map_err(failed("end the processes of"))?;
            group.release();
        }
        if let Some(location) = &record.cgroup {
            cgroup::remove(location).map_err(failed("remove"))?;
        }
    }
    if let Some(marked) = &record.marked {
        marked.take_away().map_err(Error::Mounts)?;
    }
    if let Some(groups) = &record.resctrl {
        resctrl::remove(groups)?;
    }
    folder.remove()?;
    Ok(run_hooks(record, HookKind::Poststop, "stopped", 0).err())
}

/// Removes what a `create` left that was killed before it wrote the record, or whose record is
/// damaged. It may have been about to refuse a cgroup that is in use, or somebody else may have
/// taken the one that it left empty: that is left alone.
fn remove_unrecorded(store: &Store, folder: Folder, is_damaged: bool) -> Result<(), Error> {
    let link = |name| {
        let link = fs::read_link(folder.path().join(name));
        link.map(|link| link.into_os_string().into_encoded_bytes()).unwrap_or_default()
    };
    if let Ok(marked) = serde_json::from_slice::<Marked>(&link(MOUNTS_LINK)) {
        marked.take_away().map_err(Error::Mounts)?;
    }
    let text = link(CGROUP_LINK);
    if let Some(Unrecorded { cgroup: location, since_ticks, records_first }) = unrecorded(&text)
        && !is_recorded(store, &location)
    {
        let failed = |step| move |source| Error::Cgroup { step, source };
        if let Some(group) = cgroup::Group::open(&location).map_err(failed("open"))? {
            let pids = group.all_processes().map_err(failed("list the processes of"))?;
            let executes_nothing = records_first && !is_damaged;
            let is_foreign = |stat: ProcessStat| {
                stat.start_ticks < since_ticks || executes_nothing && stat.has_executed
            };
            if pids.iter().filter_map(|pid| process_stat(pid.as_raw())).any(is_foreign) {
                return folder.remove();
            }
            group.kill_all().map_err(failed("end the processes of"))?;
            group.release();
        }
        cgroup::remove(&location).map_err(failed("remove"))?;
    }
    folder.remove()
}

/// What the link says; one of a program before `since_ticks` was there is a location alone.
fn unrecorded(text: &[u8]) -> Option<Unrecorded<cgroup::Location>> {
    let before = || {
        let cgroup = serde_json::from_slice(text).ok()?;
        Some(Unrecorded { cgroup, since_ticks: 0, records_first: false })
    };
    serde_json::from_slice(text).ok().or_else(before)
}

/// Whether a container has this cgroup.
fn is_recorded(store: &Store, location: &cgroup::Location) -> bool {
    let paths = |location: &cgroup::Location| -> Vec<PathBuf> {
        location.places.iter().map(cgroup::Place::path).collect()
    };
    let wanted = paths(location);
    let records = store.ids().unwrap_or_default().into_iter().filter_map(|id| store.read(&id).ok());
    records.filter_map(|record| record.cgroup).any(|known| paths(&known) == wanted)
}

pub(super) fn end(record: &Record) -> Result<(), Error> {
    let Some(pidfd) = record.process()? else { return Ok(()) };
    match pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(source) => return Err(Error::Signal { pid: record.pid, source }),
    }
    thaw(record)?;
    await_end(&pidfd, record.pid)
}

pub(super) fn await_end(pidfd: &OwnedFd, pid: i32) -> Result<(), Error> {
    match has_ended_within(END_TIMEOUT, pidfd, pid)? {
        true => Ok(()),
        false => Err(Error::StillRunning { seconds: END_TIMEOUT.as_secs() }),
    }
}

/// Whether the first process, which is about to end by itself, does so within [`SOON`]; one whose
/// cgroup is frozen does not.
pub(super) fn has_ended_soon(record: &Record) -> Result<bool, Error> {
    let Some(pidfd) = record.process()? else { return Ok(true) };
    has_ended_within(SOON, &pidfd, record.pid)
}

fn has_ended_within(time: Duration, pidfd: &OwnedFd, pid: i32) -> Result<bool, Error> {
    let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
    loop {
        match poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(ended) => return Ok(ended != 0),
            Err(Errno::EINTR) => {}
            Err(source) => return Err(Error::Signal { pid, source }),
        }
    }
}
