//! Records as bytes: JSON, so that a field can be added without a new format, and a person can
//! read a backup. [`FORMAT_VERSION`] grows only with a change that older programs can't read.

use std::sync::Arc;

use loadline_model::InstanceArn;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Mutation, Store, StoreError, Table};
use crate::state::{DefinitionKey, Family, Scope, State, Write};

/// The format that this program writes.
pub const FORMAT_VERSION: u32 = 1;

const META_KEY: &[u8] = b"format";

/// What the meta table says.
#[derive(Serialize, Deserialize)]
struct Meta {
    version: u32,
    scope: Scope,
}

/// Why a store can't be read.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The engine failed.
    #[error("read the store")]
    Store(#[from] StoreError),
    /// A record that is no record.
    #[error("read record {key:?} of table {table}: the store is damaged, restore a backup")]
    Record {
        /// Its table.
        table: &'static str,
        /// Its key.
        key: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Written by a newer program.
    #[error("the store has format {found}, this program reads up to {known}: use a newer one")]
    Newer {
        /// The store's.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Written for other ARNs.
    #[error(
        "the store is of region {} and account {}: start with these, or with another state folder",
        .found.region, .found.account
    )]
    Scope {
        /// The store's.
        found: Scope,
    },
}

/// A state read from a store.
#[derive(Debug)]
pub struct Loaded {
    /// All of it; no node is connected.
    pub state: State,
    /// Whether the store was empty and has just been given its format and scope.
    pub fresh: bool,
}

/// Reads everything. A store that was never written gets its format and scope.
///
/// # Errors
/// [`CodecError`]
pub fn load(store: &mut dyn Store, scope: &Scope) -> Result<Loaded, CodecError> {
    let fresh = !check_meta(store, scope)?;
    if fresh {
        let meta = Meta { version: FORMAT_VERSION, scope: scope.clone() };
        store.commit(&[put(Table::Meta, META_KEY, &meta)])?;
    }
    let mut state = State::empty(scope.clone());
    for table in Table::ALL {
        let mut failed = None;
        store.scan(table, &mut |key, value| match decode(table, key, value) {
            Ok(Some(mut write)) => {
                state.share(&mut write);
                state.absorb(&write);
                true
            }
            Ok(None) => true,
            Err(error) => {
                failed = Some(error);
                false
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
    }
    Ok(Loaded { state, fresh })
}

/// Whether there is a format, and it is one that we can go on with.
fn check_meta(store: &mut dyn Store, scope: &Scope) -> Result<bool, CodecError> {
    let mut found = None;
    store.scan(Table::Meta, &mut |key, value| {
        if key == META_KEY {
            found = Some(parse::<Meta>(Table::Meta, key, value));
        }
        found.is_none()
    })?;
    let Some(meta) = found.transpose()? else { return Ok(false) };
    if FORMAT_VERSION < meta.version {
        return Err(CodecError::Newer { found: meta.version, known: FORMAT_VERSION });
    }
    if meta.scope != *scope {
        return Err(CodecError::Scope { found: meta.scope });
    }
    Ok(true)
}

/// The mutations that make these writes durable, one a key: the newest value of each.
#[must_use]
pub fn mutations<'a>(writes: impl DoubleEndedIterator<Item = &'a Write>) -> Vec<Mutation> {
    let mut seen = std::collections::HashSet::new();
    let mut newest: Vec<_> = writes
        .rev()
        .filter_map(|write| {
            let (table, key) = key_of(write)?;
            seen.insert((table, key.clone())).then_some((table, key, write))
        })
        .map(|(table, key, write)| Mutation { table, key, value: value_of(write) })
        .collect();
    newest.reverse();
    newest
}

/// Where a write goes; `None` for what lives in memory only.
fn key_of(write: &Write) -> Option<(Table, Vec<u8>)> {
    let (table, key) = match write {
        Write::Cluster(cluster) => (Table::Clusters, cluster.name.to_string()),
        Write::Definition(definition) => {
            let key = definition.key();
            (Table::Definitions, definition_key(&key))
        }
        Write::ForgetDefinition(key) => (Table::Definitions, definition_key(key)),
        Write::Family(family, _) => (Table::Families, family.to_string()),
        Write::Task(task) => (Table::Tasks, task.arn.to_string()),
        Write::ForgetTask(arn) => (Table::Tasks, arn.to_string()),
        Write::Node(node) => (Table::Nodes, node.arn.to_string()),
        Write::ForgetNode(arn) => (Table::Nodes, arn.to_string()),
        Write::Generation(node, _) | Write::ForgetGeneration(node) => {
            (Table::Generations, node.to_string())
        }
        Write::JoinToken(token) => (Table::JoinTokens, token.id.to_string()),
        Write::ForgetJoinToken(id) => (Table::JoinTokens, id.to_string()),
        Write::RunToken(token) => (Table::RunTokens, format!("{}/{}", token.cluster, token.token)),
        Write::ForgetRunToken(cluster, token) => (Table::RunTokens, format!("{cluster}/{token}")),
        Write::Vault(record) => (Table::Vault, record.key()),
        Write::ForgetVault(key) => (Table::Vault, key.clone()),
        Write::Iam(record) => (Table::Iam, record.key()),
        Write::ForgetIam(key) => (Table::Iam, key.clone()),
        Write::Service(service) => (Table::Services, service.key.to_string()),
        Write::Connection(..) | Write::Wake(..) => return None,
    };
    Some((table, key.into_bytes()))
}

/// Sorts as the revisions do.
fn definition_key(key: &DefinitionKey) -> String {
    format!("{}:{:010}", key.family, key.revision)
}

fn value_of(write: &Write) -> Option<Vec<u8>> {
    match write {
        Write::Cluster(cluster) => Some(json(cluster.as_ref())),
        Write::Definition(definition) => Some(json(definition.as_ref())),
        Write::Family(_, revision) => Some(json(revision)),
        Write::Task(task) => Some(json(task.as_ref())),
        Write::Node(node) => Some(json(node.as_ref())),
        Write::Generation(_, generation) => Some(json(generation)),
        Write::JoinToken(token) => Some(json(token.as_ref())),
        Write::RunToken(token) => Some(json(token.as_ref())),
        Write::Vault(record) => Some(record.to_bytes().expect("records have string keys only")),
        Write::Iam(record) => Some(record.to_bytes().expect("records have string keys only")),
        Write::Service(service) => Some(json(service.as_ref())),
        Write::ForgetTask(_)
        | Write::ForgetDefinition(_)
        | Write::ForgetNode(_)
        | Write::ForgetGeneration(_)
        | Write::ForgetJoinToken(_)
        | Write::ForgetRunToken(..)
        | Write::ForgetIam(_)
        | Write::ForgetVault(_)
        | Write::Connection(..)
        | Write::Wake(..) => None,
    }
}

fn decode(table: Table, key: &[u8], value: &[u8]) -> Result<Option<Write>, CodecError> {
    Ok(Some(match table {
        Table::Meta => return Ok(None),
        Table::Clusters => Write::Cluster(Arc::new(parse(table, key, value)?)),
        Table::Families => {
            Write::Family(name_key::<Family>(table, key)?, parse(table, key, value)?)
        }
        Table::Definitions => Write::Definition(Arc::new(parse(table, key, value)?)),
        Table::Nodes => Write::Node(Arc::new(parse(table, key, value)?)),
        Table::Generations => {
            Write::Generation(name_key::<InstanceArn>(table, key)?, parse(table, key, value)?)
        }
        Table::Services => Write::Service(Arc::new(parse(table, key, value)?)),
        Table::Tasks => Write::Task(Arc::new(parse(table, key, value)?)),
        Table::JoinTokens => Write::JoinToken(Arc::new(parse(table, key, value)?)),
        Table::RunTokens => Write::RunToken(Arc::new(parse(table, key, value)?)),
        Table::Vault => {
            let name = String::from_utf8_lossy(key);
            let record = crate::vault::Record::from_bytes(&name, value);
            Write::Vault(record.map_err(|source| damaged(table, key, source))?)
        }
        Table::Iam => {
            let name = String::from_utf8_lossy(key);
            let record = crate::iam::Record::from_bytes(&name, value);
            Write::Iam(record.map_err(|source| damaged(table, key, source))?)
        }
    }))
}

fn parse<T: DeserializeOwned>(table: Table, key: &[u8], value: &[u8]) -> Result<T, CodecError> {
    serde_json::from_slice(value).map_err(|source| damaged(table, key, source))
}

fn damaged(table: Table, key: &[u8], source: serde_json::Error) -> CodecError {
    CodecError::Record {
        table: table.name(),
        key: String::from_utf8_lossy(key).into_owned(),
        source,
    }
}

/// A key that is itself the record's name.
fn name_key<T: DeserializeOwned>(table: Table, key: &[u8]) -> Result<T, CodecError> {
    let text = serde_json::Value::String(String::from_utf8_lossy(key).into_owned());
    T::deserialize(text).map_err(|source| damaged(table, key, source))
}

fn put(table: Table, key: &[u8], value: &impl Serialize) -> Mutation {
    Mutation { table, key: key.to_vec(), value: Some(json(value)) }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("records have string keys only")
}

#[cfg(test)]
mod tests {
    use super::super::faulty::Disk;
    use super::*;
    use crate::apply::testing::scope;

    #[track_caller]
    fn refused(asked: &Scope, put: &Mutation, expected: &str) {
        let mut store = Disk::default().store();
        load(&mut store, &scope()).unwrap();
        store.commit(std::slice::from_ref(put)).unwrap();
        let error = load(&mut store, asked).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_store_of_other_arns_or_of_a_newer_program_or_a_damaged_one_is_refused_by_name() {
        let harmless = put(Table::Families, b"web", &1);
        let other = Scope { region: "eu".into(), ..scope() };
        let said = "the store is of region r and account 1: start with these, or with another \
                    state folder";
        refused(&other, &harmless, said);
        let newer = put(Table::Meta, META_KEY, &Meta { version: 2, scope: scope() });
        let said = "the store has format 2, this program reads up to 1: use a newer one";
        refused(&scope(), &newer, said);
        let damaged = put(Table::Tasks, b"x", &"no task");
        let said = "read record \"x\" of table tasks: the store is damaged, restore a backup";
        refused(&scope(), &damaged, said);
    }

    #[test]
    fn a_field_that_a_newer_program_added_is_no_reason_to_refuse() {
        let mut store = Disk::default().store();
        load(&mut store, &scope()).unwrap();
        let cluster = serde_json::json!({
            "name": "c", "status": "Active", "created_at_ms": 1, "tags": [], "added_later": 1,
        });
        store.commit(&[put(Table::Clusters, b"c", &cluster)]).unwrap();
        let loaded = load(&mut store, &scope()).unwrap();
        assert!(!loaded.fresh);
        assert_eq!(loaded.state.view.clusters().count(), 1);
    }
}
