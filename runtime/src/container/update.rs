//! `update`: new limits for a live container.

use oci_spec::runtime::LinuxResources;

use super::record::Status;
use super::state::status;
use super::{ContainerId, Error, Store};
use crate::cgroup::{self, Layout, Note};

/// Brings a container's cgroup to `resources`; what these do not say stays. Returns what was left
/// out on purpose.
///
/// # Errors
/// [`Error::NotRunning`] for a stopped container; the file and value that the kernel refused.
pub fn update(
    store: &Store,
    id: &ContainerId,
    resources: &LinuxResources,
) -> Result<Vec<Note>, Error> {
    let folder = store.open(id)?;
    let record = folder.record()?;
    if matches!(status(&record, folder.awaits_start())?, Status::Stopped | Status::Creating) {
        return Err(Error::NotRunning);
    }
    let failed = |source: cgroup::Error| Error::Cgroup { step: "update", source };
    let group = record.group()?.ok_or(Error::NoCgroup)?;
    let layout = Layout::probe().map_err(Error::Host)?;
    let current = group.current().map_err(failed)?;
    let decision = cgroup::decide(resources, &layout, &current);
    let decision = decision.map_err(|refusals| failed(refusals.into()))?;
    group.update_unit(&decision).map_err(failed)?;
    group.apply(&decision).map_err(failed)?;
    Ok(decision.notes)
}
