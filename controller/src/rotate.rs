//! A new key for everything that is sealed, while the controller does not run.
//!
//! ```text
//!  secrets.key (old) ─▶ secrets.next (new, durable) ─▶ every record, in one commit ─▶ secrets.key
//! ```
//!
//! Whatever ends it in the middle, it can be begun again: what the new key sealed already stays,
//! and a controller does not start while `secrets.next` is there. Session tokens of before are
//! worth nothing afterwards; tasks get new ones when their nodes connect.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::iam;
use crate::keyring::{self, Keyring, KeyringError, OpenError, Purpose, Sealed};
use crate::store::{Mutation, RedbStore, Store, StoreError, Table};
use crate::vault;

/// The key that counts.
const KEY: &str = "secrets.key";
/// The key that is to come.
const NEXT: &str = "secrets.next";

/// The key can't be changed.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyringError),
    /// There is nothing to rotate.
    #[error("{} is not there: no controller was started on this state folder yet", .0.display())]
    NoKey(PathBuf),
    /// The store.
    #[error("change the sealed records")]
    Store(#[from] StoreError),
    /// A record that is none.
    #[error("read record {key:?}: the store is damaged, restore a backup")]
    Record {
        /// Its key.
        key: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Something sealed that neither key opens.
    #[error("open {name:?}; nothing was changed")]
    Sealed {
        /// Whose value.
        name: String,
        /// Why not.
        source: OpenError,
    },
    /// The new key's file.
    #[error("put {} in place", path.display())]
    Place {
        /// The key file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// Refuses to go on with a folder in which a rotation was cut off.
///
/// # Errors
/// What to do.
pub fn check_whole(folder: &Path) -> Result<(), String> {
    let next = folder.join(NEXT);
    if !next.exists() {
        return Ok(());
    }
    Err(format!(
        "{} is there: a rotation of the key was cut off; run `loadline-controller rotate-key` \
         again",
        next.display()
    ))
}

/// Seals everything anew; how many values.
///
/// # Errors
/// [`RotateError`]
pub fn rotate(folder: &Path) -> Result<usize, RotateError> {
    let (path, next) = (folder.join(KEY), folder.join(NEXT));
    if !path.exists() {
        return Err(RotateError::NoKey(path));
    }
    // First: a controller that runs has it open, and no new key may be left beside it.
    let mut store = RedbStore::open(&folder.join("state.redb"))?;
    let begun = next.exists();
    let keys = Keys { old: keyring::load_or_create(&path)?, new: keyring::load_or_create(&next)? };
    let sealed = sealed_anew(&mut store, &keys);
    if sealed.is_err() && !begun {
        // Nothing is sealed with it: what stays would keep the controller from starting.
        std::fs::remove_file(&next)
            .map_err(|source| RotateError::Place { path: next.clone(), source })?;
    }
    let (changed, count) = sealed?;
    store.commit(&changed)?;
    drop(store);
    let placed = std::fs::rename(&next, &path)
        .and_then(|()| File::open(folder).and_then(|folder| folder.sync_all()));
    placed.map_err(|source| RotateError::Place { path, source })?;
    Ok(count)
}

/// Every record with its values under the new key, and how many values there are.
fn sealed_anew(store: &mut RedbStore, keys: &Keys) -> Result<(Vec<Mutation>, usize), RotateError> {
    let (mut changed, mut count) = (Vec::new(), 0);
    for table in [Table::Vault, Table::Iam] {
        for (key, value) in rows(store, table)? {
            let name = String::from_utf8_lossy(&key).into_owned();
            let (value, sealed) = keys.record(table, &name, &value)?;
            count += sealed;
            changed.push(Mutation { table, key, value: Some(value) });
        }
    }
    Ok((changed, count))
}

type Row = (Vec<u8>, Vec<u8>);

fn rows(store: &mut RedbStore, table: Table) -> Result<Vec<Row>, StoreError> {
    let mut rows = Vec::new();
    store.scan(table, &mut |key, value| {
        rows.push((key.to_vec(), value.to_vec()));
        true
    })?;
    Ok(rows)
}

struct Keys {
    old: Keyring,
    new: Keyring,
}

impl Keys {
    /// A record as it will be, and how many sealed values it has.
    fn record(
        &self,
        table: Table,
        key: &str,
        value: &[u8],
    ) -> Result<(Vec<u8>, usize), RotateError> {
        let damaged = |source| RotateError::Record { key: key.to_owned(), source };
        if table == Table::Iam {
            let record = iam::Record::from_bytes(key, value).map_err(damaged)?;
            let (record, count) = self.of_iam(record)?;
            return Ok((record.to_bytes().map_err(damaged)?, count));
        }
        let record = vault::Record::from_bytes(key, value).map_err(damaged)?;
        let (record, count) = self.of_vault(record)?;
        Ok((record.to_bytes().map_err(damaged)?, count))
    }

    fn of_iam(&self, record: iam::Record) -> Result<(iam::Record, usize), RotateError> {
        let iam::Record::Identity(identity) = record else { return Ok((record, 0)) };
        let mut identity = iam::Identity::clone(&identity);
        for key in &mut identity.keys {
            (key.secret, _) = self.sealed(Purpose::AccessKey, &key.id, &key.secret)?;
        }
        let count = identity.keys.len();
        Ok((iam::Record::Identity(Arc::new(identity)), count))
    }

    fn of_vault(&self, record: vault::Record) -> Result<(vault::Record, usize), RotateError> {
        match record {
            vault::Record::Secret(secret) => {
                let mut secret = vault::Secret::clone(&secret);
                let name = vault::secret_key(&secret.name);
                for version in secret.versions.values_mut() {
                    let payload = &mut version.payload;
                    let (sealed, value) = self.sealed(Purpose::Value, &name, &payload.sealed)?;
                    payload.sealed = sealed;
                    payload.fingerprint = self.new.fingerprint(&name, &value);
                }
                let count = secret.versions.len();
                Ok((vault::Record::Secret(Arc::new(secret)), count))
            }
            vault::Record::Parameter(parameter) => {
                let mut parameter = vault::Parameter::clone(&parameter);
                let name = vault::parameter_key(&parameter.name);
                for version in &mut parameter.versions {
                    (version.sealed, _) = self.sealed(Purpose::Value, &name, &version.sealed)?;
                }
                let count = parameter.versions.len();
                Ok((vault::Record::Parameter(Arc::new(parameter)), count))
            }
        }
    }

    /// The value under the new key, and the value.
    fn sealed(
        &self,
        purpose: Purpose,
        name: &str,
        sealed: &Sealed,
    ) -> Result<(Sealed, Vec<u8>), RotateError> {
        let key = if sealed.key_id == self.new.id() { &self.new } else { &self.old };
        let opened = key.open(purpose, name, sealed);
        let value =
            opened.map_err(|source| RotateError::Sealed { name: name.to_owned(), source })?;
        Ok((self.new.seal(purpose, name, &value), value))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::apply::testing::scope;
    use crate::vault::ParameterKind;

    fn parameter(keyring: &Keyring) -> vault::Parameter {
        let sealed = keyring.seal(Purpose::Value, &vault::parameter_key("/app/key"), b"hush");
        let version = vault::ParameterVersion {
            number: 1,
            kind: ParameterKind::SecureString,
            sealed,
            description: String::new(),
            allowed_pattern: None,
            modified_at_ms: 1,
        };
        vault::Parameter { name: "/app/key".into(), versions: vec![version], tags: vec![] }
    }

    /// The parameter's value by the folder's key.
    fn value(folder: &Path) -> Vec<u8> {
        let mut store = RedbStore::open(&folder.join("state.redb")).unwrap();
        let loaded = crate::store::load(&mut store, &scope()).unwrap().state;
        let found = loaded.view.vault.parameter(&scope(), "/app/key").unwrap().clone();
        let keyring = keyring::load_or_create(&folder.join(KEY)).unwrap();
        let name = vault::parameter_key("/app/key");
        keyring.open(Purpose::Value, &name, &found.newest().unwrap().sealed).unwrap()
    }

    #[test]
    fn after_a_rotation_everything_opens_with_the_new_key_and_nothing_with_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert!(matches!(rotate(folder), Err(RotateError::NoKey(_))));
        let old = keyring::load_or_create(&folder.join(KEY)).unwrap();
        let record = vault::Record::Parameter(Arc::new(parameter(&old)));
        let mut store = RedbStore::open(&folder.join("state.redb")).unwrap();
        crate::store::load(&mut store, &scope()).unwrap();
        let bytes = Some(record.to_bytes().unwrap());
        let key = record.key().into_bytes();
        store.commit(&[Mutation { table: Table::Vault, key, value: bytes }]).unwrap();
        assert!(matches!(rotate(folder), Err(RotateError::Store(_))), "somebody has it open");
        assert_eq!(check_whole(folder), Ok(()), "nothing is left of what was refused");
        drop(store);
        assert_eq!(value(folder), b"hush");
        assert_eq!(rotate(folder).unwrap(), 1);
        assert!(!folder.join(NEXT).exists());
        let new = keyring::load_or_create(&folder.join(KEY)).unwrap();
        assert_ne!(new.id(), old.id());
        assert_eq!(value(folder), b"hush");

        // Cut off before the new key came to its place: begun again, it goes on with the same key.
        std::fs::rename(folder.join(KEY), folder.join(NEXT)).unwrap();
        std::fs::write(folder.join(KEY), format!("{}\n", hex::encode([9; 32]))).unwrap();
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(folder.join(KEY), private).unwrap();
        assert!(check_whole(folder).unwrap_err().contains("rotate-key"));
        assert_eq!(rotate(folder).unwrap(), 1);
        assert_eq!(keyring::load_or_create(&folder.join(KEY)).unwrap().id(), new.id());
        assert_eq!(value(folder), b"hush");
        assert_eq!(check_whole(folder), Ok(()));
    }

    #[test]
    fn a_value_that_no_key_opens_leaves_all_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let own = keyring::load_or_create(&folder.join(KEY)).unwrap();
        let record = vault::Record::Parameter(Arc::new(parameter(&Keyring::new(&[7; 32]))));
        let mut store = RedbStore::open(&folder.join("state.redb")).unwrap();
        let bytes = Some(record.to_bytes().unwrap());
        let key = record.key().into_bytes();
        store.commit(&[Mutation { table: Table::Vault, key, value: bytes }]).unwrap();
        drop(store);
        assert!(matches!(rotate(folder), Err(RotateError::Sealed { .. })));
        assert_eq!(check_whole(folder), Ok(()), "the controller can start");
        assert_eq!(keyring::load_or_create(&folder.join(KEY)).unwrap().id(), own.id());
    }
}
