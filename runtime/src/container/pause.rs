//! `pause` and `resume`.

use super::record::Status;
use super::state::status;
use super::{ContainerId, Error, Store};
use crate::cgroup;

/// Stops all processes of a container.
///
/// # Errors
/// [`Error::NotRunning`] unless the container is created or running.
pub fn pause(store: &Store, id: &ContainerId) -> Result<(), Error> {
    let folder = store.open(id)?;
    let record = folder.record()?;
    match status(&record, folder.awaits_start())? {
        Status::Created | Status::Running => {}
        Status::Creating | Status::Paused | Status::Stopped => return Err(Error::NotRunning),
    }
    let group = record.group()?.ok_or(Error::NoCgroup)?;
    group.freeze().map_err(failed("freeze"))
}

/// Lets a paused container go on.
///
/// # Errors
/// [`Error::NotPaused`] unless the container is paused.
pub fn resume(store: &Store, id: &ContainerId) -> Result<(), Error> {
    let folder = store.open(id)?;
    let record = folder.record()?;
    if status(&record, folder.awaits_start())? != Status::Paused {
        return Err(Error::NotPaused);
    }
    let group = record.group()?.ok_or(Error::NoCgroup)?;
    group.thaw().map_err(failed("thaw"))
}

fn failed(step: &'static str) -> impl Fn(cgroup::Error) -> Error {
    move |source| Error::Cgroup { step, source }
}
