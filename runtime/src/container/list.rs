//! `list`.

use nix::unistd::{Uid, User};

use super::state::{StateReport, report, status};
use super::{Error, Store};

/// All containers, sorted by id. One that is being made or removed meanwhile is left out.
///
/// # Errors
/// When the folder or a record cannot be read.
pub fn list(store: &Store) -> Result<Vec<StateReport>, Error> {
    let mut reports = Vec::new();
    for id in store.ids()? {
        let record = match store.read(&id) {
            Err(Error::NotFound) => continue,
            other => other?,
        };
        let uid = record.owner_uid;
        let status = status(&record, store.awaits_start(&id))?;
        reports.push(StateReport { owner: owner(uid), ..report(record, status) });
    }
    Ok(reports)
}

fn owner(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid));
    user.ok().flatten().map_or_else(|| format!("#{uid}"), |user| user.name)
}
