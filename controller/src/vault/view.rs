//! All secrets and parameters, as of one commit.

use std::ops::Bound;
use std::sync::Arc;

use rpds::{RedBlackTreeMapSync, RedBlackTreeSetSync};

use super::record::{parameter_key, secret_arn_start, secret_key};
use super::{Parameter, Record, Secret};
use crate::state::Scope;

/// Cheap to clone, as the whole view is.
#[derive(Clone, Debug)]
pub struct Vault {
    records: RedBlackTreeMapSync<String, Record>,
    /// Secrets that end at a time.
    ending: RedBlackTreeSetSync<(u64, String)>,
}

impl Default for Vault {
    fn default() -> Self {
        let (records, ending) = (RedBlackTreeMapSync::new_sync(), RedBlackTreeSetSync::new_sync());
        Self { records, ending }
    }
}

impl Vault {
    /// Takes in a record's new value.
    pub fn absorb(&mut self, record: &Record) {
        self.forget(&record.key());
        if let Record::Secret(secret) = record
            && let Some(at_ms) = secret.delete_at_ms
        {
            self.ending.insert_mut((at_ms, record.key()));
        }
        self.records.insert_mut(record.key(), record.clone());
    }

    /// A record is gone.
    pub fn forget(&mut self, key: &str) {
        if let Some(Record::Secret(secret)) = self.records.get(key)
            && let Some(at_ms) = secret.delete_at_ms
        {
            self.ending.remove_mut(&(at_ms, key.to_owned()));
        }
        self.records.remove_mut(key);
    }

    /// Keys of secrets whose time to be restored is over.
    pub fn ended_until(&self, now_ms: u64) -> impl Iterator<Item = &String> {
        self.ending.iter().take_while(move |(at, _)| *at <= now_ms).map(|(_, key)| key)
    }

    /// A secret by its name, its ARN, or its ARN without the suffix.
    #[must_use]
    pub fn secret(&self, scope: &Scope, id: &str) -> Option<&Arc<Secret>> {
        let by_name = |name: &str| match self.records.get(&secret_key(name)) {
            Some(Record::Secret(secret)) => Some(secret),
            _ => None,
        };
        if !id.starts_with("arn:") {
            return by_name(id);
        }
        let name = id.strip_prefix(&secret_arn_start(scope))?;
        let whole = name
            .rsplit_once('-')
            .and_then(|(name, suffix)| by_name(name).filter(|secret| secret.suffix == suffix));
        whole.or_else(|| by_name(name))
    }

    /// Every secret by name.
    pub fn secrets(&self) -> impl Iterator<Item = &Arc<Secret>> {
        self.range("secret:").filter_map(|record| match record {
            Record::Secret(secret) => Some(secret),
            Record::Parameter(_) => None,
        })
    }

    /// A parameter by its name or ARN.
    #[must_use]
    pub fn parameter(&self, scope: &Scope, id: &str) -> Option<&Arc<Parameter>> {
        let by_name = |name: &str| match self.records.get(&parameter_key(name)) {
            Some(Record::Parameter(parameter)) => Some(parameter),
            _ => None,
        };
        let own = Parameter::arn(scope, "");
        match id.strip_prefix(&own) {
            // The ARN of a name without a leading slash looks like that of one with it.
            Some(name) => by_name(&format!("/{name}")).or_else(|| by_name(name)),
            None => by_name(id),
        }
    }

    /// Every parameter by name.
    pub fn parameters(&self) -> impl Iterator<Item = &Arc<Parameter>> {
        self.range("parameter:").filter_map(|record| match record {
            Record::Parameter(parameter) => Some(parameter),
            Record::Secret(_) => None,
        })
    }

    /// How many records there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.records.size()
    }

    fn range(&self, prefix: &'static str) -> impl Iterator<Item = &Record> {
        self.records
            .range((Bound::Included(prefix.to_owned()), Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .map(|(_, record)| record)
    }
}
