//! `state`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::record::{Record, Status};
use super::{ContainerId, Error, Store};

/// A container as `state` and `list` show it, in runc's form.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StateReport {
    /// The version of the specification.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// The first process; 0 when it has ended.
    pub pid: i32,
    /// The status's word.
    pub status: &'static str,
    /// The bundle's absolute path.
    pub bundle: PathBuf,
    /// The root filesystem's absolute path.
    pub rootfs: PathBuf,
    /// When it was created, RFC 3339.
    pub created: String,
    /// Annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Who created it: a name in `list`, empty in `state`.
    pub owner: String,
}

/// Reports a container's state.
///
/// # Errors
/// [`Error::NotFound`] when there is no such container.
pub fn state(store: &Store, id: &ContainerId) -> Result<StateReport, Error> {
    let record = store.read(id)?;
    let status = status(&record, store.awaits_start(id))?;
    Ok(report(record, status))
}

pub(super) fn report(record: Record, status: Status) -> StateReport {
    StateReport {
        oci_version: record.oci_version,
        id: record.id,
        pid: if status == Status::Stopped { 0 } else { record.pid },
        status: status.as_str(),
        bundle: record.bundle,
        rootfs: record.rootfs,
        created: record.created,
        annotations: record.annotations,
        owner: String::new(),
    }
}

/// Where a container is in its life.
pub(super) fn status(record: &Record, awaits_start: bool) -> Result<Status, Error> {
    let Some((_, process)) = record.look()? else { return Ok(Status::Stopped) };
    // Whoever entered it now would be on the host's file systems.
    if record.is_creating || record.is_creating_until_exec && !process.has_executed {
        return Ok(Status::Creating);
    }
    let is_frozen = match record.group()? {
        // Without a freezer nothing can be paused.
        Some(group) => group.is_frozen().unwrap_or(false),
        None => false,
    };
    // A `start` that was killed after it reached the process has left the socket behind.
    Ok(match (is_frozen, awaits_start && !process.has_executed) {
        (true, _) => Status::Paused,
        (false, true) => Status::Created,
        (false, false) => Status::Running,
    })
}
