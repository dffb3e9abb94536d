//! `list`.

use nix::unistd::{Uid, User};

use super::state::{StateReport, report, status};
use super::{ContainerId, Error, Store};

/// What can be shown, and the containers that cannot, with the reason.
pub type Listed = (Vec<StateReport>, Vec<(ContainerId, Error)>);

/// All containers, sorted by id, and why others cannot be shown. One that is being made or removed
/// meanwhile is left out.
///
/// # Errors
/// When the folder cannot be read.
pub fn list(store: &Store) -> Result<Listed, Error> {
    let (mut reports, mut failed) = (Vec::new(), Vec::new());
    for id in store.ids()? {
        match one(store, &id) {
            Ok(report) => reports.push(report),
            Err(Error::NotFound { .. }) => {}
            Err(error) => failed.push((id, error)),
        }
    }
    Ok((reports, failed))
}

fn one(store: &Store, id: &ContainerId) -> Result<StateReport, Error> {
    let record = store.read(id)?;
    let uid = record.owner_uid;
    let status = status(&record, store.awaits_start(id))?;
    Ok(StateReport { owner: owner(uid), ..report(record, status) })
}

fn owner(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid));
    user.ok().flatten().map_or_else(|| format!("#{uid}"), |user| user.name)
}
