//! Everyone and every policy, as of one commit; and what follows from them.

use std::sync::Arc;

use rpds::{HashTrieMapSync, RedBlackTreeMapSync};

use super::record::{identity_key, policy_key};
use super::{AccessKey, Document, Identity, IdentityKind, ManagedPolicy, Record, builtin};

/// Cheap to clone, as the whole view is.
#[derive(Clone, Debug)]
pub struct Directory {
    records: RedBlackTreeMapSync<String, Record>,
    /// Whose an access key is.
    owners: HashTrieMapSync<String, Arc<Identity>>,
}

impl Default for Directory {
    fn default() -> Self {
        Self { records: RedBlackTreeMapSync::new_sync(), owners: HashTrieMapSync::new_sync() }
    }
}

impl Directory {
    /// Takes in a record's new value.
    pub fn absorb(&mut self, record: &Record) {
        self.forget(&record.key());
        if let Record::Identity(identity) = record {
            for key in &identity.keys {
                self.owners.insert_mut(key.id.clone(), Arc::clone(identity));
            }
        }
        self.records.insert_mut(record.key(), record.clone());
    }

    /// A record is gone.
    pub fn forget(&mut self, key: &str) {
        if let Some(Record::Identity(old)) = self.records.get(key) {
            for key in &old.keys {
                self.owners.remove_mut(&key.id);
            }
        }
        self.records.remove_mut(key);
    }

    /// A user or role by its name.
    #[must_use]
    pub fn identity(&self, kind: IdentityKind, name: &str) -> Option<&Arc<Identity>> {
        match self.records.get(&identity_key(kind, name)) {
            Some(Record::Identity(identity)) => Some(identity),
            _ => None,
        }
    }

    /// A role by its ARN: path and name must be right.
    #[must_use]
    pub fn role_by_arn(&self, scope: &crate::state::Scope, arn: &str) -> Option<&Arc<Identity>> {
        let name = arn.rsplit('/').next()?;
        self.identity(IdentityKind::Role, name).filter(|role| role.arn(scope) == arn)
    }

    /// Every user or role by name, beginning after `after`.
    pub fn identities<'a>(
        &'a self,
        kind: IdentityKind,
        after: Option<&str>,
    ) -> impl Iterator<Item = &'a Arc<Identity>> + use<'a> {
        let prefix = format!("{}/", kind.word());
        let start = after.map_or_else(
            || std::ops::Bound::Included(prefix.clone()),
            |after| std::ops::Bound::Excluded(identity_key(kind, after)),
        );
        self.records
            .range((start, std::ops::Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(&prefix))
            .filter_map(|(_, record)| match record {
                Record::Identity(identity) => Some(identity),
                Record::Policy(_) => None,
            })
    }

    /// A managed policy of this account, or one of AWS's own.
    #[must_use]
    pub fn policy(&self, arn: &str) -> Option<&Arc<ManagedPolicy>> {
        match self.records.get(&policy_key(arn)) {
            Some(Record::Policy(policy)) => Some(policy),
            _ => builtin().get(arn),
        }
    }

    /// This account's managed policies by ARN.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<ManagedPolicy>> {
        let prefix = policy_key("");
        self.records
            .range(prefix.clone()..)
            .take_while(move |(key, _)| key.starts_with(&prefix))
            .filter_map(|(_, record)| match record {
                Record::Policy(policy) => Some(policy),
                Record::Identity(_) => None,
            })
    }

    /// Every user that is in a group.
    pub fn in_group<'a>(&'a self, group: &'a str) -> impl Iterator<Item = &'a Arc<Identity>> {
        self.identities(IdentityKind::User, None).filter(move |user| user.groups.contains(group))
    }

    /// Every instance profile that holds a role.
    pub fn with_role<'a>(&'a self, role: &'a str) -> impl Iterator<Item = &'a Arc<Identity>> {
        let profiles = self.identities(IdentityKind::Profile, None);
        profiles.filter(move |profile| profile.role.as_deref() == Some(role))
    }

    /// Every user and role that a managed policy bounds.
    pub fn bounded_by<'a>(&'a self, arn: &'a str) -> impl Iterator<Item = &'a Arc<Identity>> {
        [IdentityKind::User, IdentityKind::Role]
            .into_iter()
            .flat_map(|kind| self.identities(kind, None))
            .filter(move |identity| identity.boundary.as_deref() == Some(arn))
    }

    /// Every user, role and group that has a managed policy attached.
    pub fn with_policy<'a>(&'a self, arn: &'a str) -> impl Iterator<Item = &'a Arc<Identity>> {
        [IdentityKind::User, IdentityKind::Role, IdentityKind::Group]
            .into_iter()
            .flat_map(|kind| self.identities(kind, None))
            .filter(move |identity| identity.attached.contains(arn))
    }

    /// How many records there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.records.size()
    }

    /// Whose an access key is, and the key.
    #[must_use]
    pub fn access_key(&self, id: &str) -> Option<(&Arc<Identity>, &AccessKey)> {
        let owner = self.owners.get(id)?;
        owner.keys.iter().find(|key| key.id == id).map(|key| (owner, key))
    }

    /// Every policy of a user or role, those of a user's groups included.
    pub fn documents<'a>(&'a self, identity: &'a Identity) -> impl Iterator<Item = &'a Document> {
        let groups = identity.groups.iter();
        let groups = groups.filter_map(|name| self.identity(IdentityKind::Group, name));
        let all = std::iter::once(identity).chain(groups.map(Arc::as_ref));
        all.flat_map(|one| self.own_documents(one))
    }

    fn own_documents<'a>(&'a self, identity: &'a Identity) -> impl Iterator<Item = &'a Document> {
        let inline = identity.inline.values().map(|policy| policy.document().as_ref());
        let attached = identity
            .attached
            .iter()
            .filter_map(|arn| Some(self.policy(arn)?.current()?.document().as_ref()));
        inline.chain(attached)
    }

    /// What bounds a user or role; `Some(None)` where that policy says nothing any more.
    #[must_use]
    pub fn boundary<'a>(&'a self, identity: &'a Identity) -> Option<Option<&'a Document>> {
        let policy = self.policy(identity.boundary.as_deref()?);
        Some(policy.and_then(|policy| Some(policy.current()?.document().as_ref())))
    }
}
