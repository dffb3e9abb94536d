//! Where records live on disk. A [`Store`] is a few ordered tables of bytes and one operation that
//! changes them: a commit of many mutations, whole or not at all, durable (fsync) when it returns.
//! What the bytes mean is the codec's matter, so an engine is small and every engine passes the
//! same suite ([`conformance`]).

mod codec;
#[cfg(test)]
pub(crate) mod conformance;
#[cfg(test)]
pub(crate) mod faulty;
mod redb_store;

pub use codec::{CodecError, FORMAT_VERSION, Loaded, load, mutations};
pub use redb_store::RedbStore;

/// A table of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// The format's version and the scope.
    Meta,
    /// By name.
    Clusters,
    /// By family.
    Families,
    /// By `family:revision`, the revision with ten digits.
    Definitions,
    /// By ARN.
    Nodes,
    /// A node's generation, by ARN.
    Generations,
    /// By `cluster/name`.
    Services,
    /// By ARN.
    Tasks,
    /// By id.
    JoinTokens,
    /// By `cluster/token`.
    RunTokens,
    /// Users, roles and policies, by kind and name.
    Iam,
    /// Secrets and parameters, sealed, by kind and name.
    Vault,
}

impl Table {
    /// Every table, in the order in which they are read at open: what is referred to first.
    pub const ALL: [Self; 12] = [
        Self::Meta,
        Self::Clusters,
        Self::Families,
        Self::Definitions,
        Self::Nodes,
        Self::Generations,
        Self::Services,
        Self::Tasks,
        Self::JoinTokens,
        Self::RunTokens,
        Self::Iam,
        Self::Vault,
    ];

    /// Its name on disk; never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Clusters => "clusters",
            Self::Families => "families",
            Self::Definitions => "definitions",
            Self::Nodes => "nodes",
            Self::Generations => "generations",
            Self::Services => "services",
            Self::Tasks => "tasks",
            Self::JoinTokens => "join_tokens",
            Self::RunTokens => "run_tokens",
            Self::Iam => "iam",
            Self::Vault => "vault",
        }
    }
}

/// One record's new bytes, or (`None`) its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutation {
    /// Where.
    pub table: Table,
    /// Which.
    pub key: Vec<u8>,
    /// What.
    pub value: Option<Vec<u8>>,
}

/// A store that failed. After a failed commit only [`Store::recover`] is of use.
#[derive(Debug, thiserror::Error)]
#[error("{step} {object}")]
pub struct StoreError {
    /// What was being done, for example `commit to`.
    pub step: &'static str,
    /// To what, for example the file.
    pub object: String,
    /// Why it failed.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Every record: its table, key and value.
pub type Records = Vec<(Table, Vec<u8>, Vec<u8>)>;

/// Takes one record during a scan; says whether to go on.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> bool + 'a;

/// One engine.
pub trait Store: Send {
    /// Shows every record of a table in the order of the keys.
    ///
    /// # Errors
    /// [`StoreError`]
    fn scan(&mut self, table: Table, visit: &mut Visit<'_>) -> Result<(), StoreError>;

    /// Makes all of it durable, or none of it. Of two mutations of one key the later one counts.
    ///
    /// # Errors
    /// [`StoreError`]; whether the mutations are on disk is then unknown until
    /// [`Store::recover`] has been called and the tables have been read anew.
    fn commit(&mut self, mutations: &[Mutation]) -> Result<(), StoreError>;

    /// Every record of every table, as of one commit.
    ///
    /// # Errors
    /// [`StoreError`]
    fn records(&mut self) -> Result<Records, StoreError> {
        let mut records = Vec::new();
        for table in Table::ALL {
            self.scan(table, &mut |key, value| {
                records.push((table, key.to_vec(), value.to_vec()));
                true
            })?;
        }
        Ok(records)
    }

    /// Opens the store anew after a failure.
    ///
    /// # Errors
    /// [`StoreError`]: the failure lasts; try again later.
    fn recover(&mut self) -> Result<(), StoreError>;
}
