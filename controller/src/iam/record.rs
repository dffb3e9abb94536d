//! The records: users, roles, managed policies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use loadline_model::KeyValue;
use serde::{Deserialize, Serialize};

use super::PolicyText;
use crate::keyring::Sealed;

/// Who can have policies, and what gives a machine its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum IdentityKind {
    /// Has access keys.
    User,
    /// Is assumed by whom its trust policy names.
    Role,
    /// Its policies hold for the users in it.
    Group,
    /// Holds a role for machines.
    Profile,
}

impl IdentityKind {
    /// As in ARNs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Role => "role",
            Self::Group => "group",
            Self::Profile => "instance-profile",
        }
    }

    /// What AWS's unique ids begin with.
    #[must_use]
    pub const fn id_prefix(self) -> &'static str {
        match self {
            Self::User => "AIDA",
            Self::Role => "AROA",
            Self::Group => "AGPA",
            Self::Profile => "AIPA",
        }
    }
}

/// A user, role, group or instance profile with all that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Which of them.
    pub kind: IdentityKind,
    /// Distinct among its kind, whatever the case of its letters.
    pub name: String,
    /// Begins and ends with a slash.
    pub path: String,
    /// Never given out again: what was made for a deleted role is of no use for its namesake.
    pub id: String,
    /// Unix milliseconds.
    pub created_at_ms: u64,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// A role's: who may assume it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<PolicyText>,
    /// A role's: longest session, seconds.
    #[serde(default)]
    pub session_s_max: u32,
    /// Its own policies, by name.
    #[serde(default)]
    pub inline: BTreeMap<String, PolicyText>,
    /// ARNs of managed policies.
    #[serde(default)]
    pub attached: BTreeSet<String>,
    /// Tags.
    #[serde(default)]
    pub tags: Vec<KeyValue>,
    /// A user's access keys.
    #[serde(default)]
    pub keys: Vec<AccessKey>,
    /// A user's or role's: ARN of the managed policy beyond which nothing is allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boundary: Option<String>,
    /// A user's: names of the groups.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<String>,
    /// An instance profile's: name of its role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

impl Identity {
    /// `role/path/name`
    #[must_use]
    pub fn resource(&self) -> String {
        format!("{}{}{}", self.kind.word(), self.path, self.name)
    }

    /// `arn:aws:iam::ACCOUNT:role/path/name`
    #[must_use]
    pub fn arn(&self, scope: &crate::state::Scope) -> String {
        arn(scope, &self.resource())
    }
}

/// The ARN of something in IAM, which has no region.
pub(super) fn arn(scope: &crate::state::Scope, resource: &str) -> String {
    format!("arn:{}:iam::{}:{resource}", scope.partition, scope.account)
}

/// An access key of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKey {
    /// `AKIA…`
    pub id: String,
    /// Opens with the controller's keyring for this id.
    pub secret: Sealed,
    /// Whether it lets its user in.
    pub status: KeyStatus,
    /// Unix milliseconds.
    pub created_at_ms: u64,
}

/// IAM's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyStatus {
    /// Lets its user in.
    Active,
    /// Lets nobody in.
    Inactive,
}

impl KeyStatus {
    /// IAM's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "Active",
            Self::Inactive => "Inactive",
        }
    }
}

/// A policy that can be attached to many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagedPolicy {
    /// `arn:aws:iam::ACCOUNT:policy/path/name`
    pub arn: String,
    /// The name.
    pub name: String,
    /// Begins and ends with a slash.
    pub path: String,
    /// `ANPA…`
    pub id: String,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Unix milliseconds.
    pub created_at_ms: u64,
    /// Of the newest version, Unix milliseconds.
    pub updated_at_ms: u64,
    /// By number, from 1.
    pub versions: BTreeMap<u32, PolicyVersion>,
    /// The version that counts.
    pub default_version: u32,
    /// The newest number given out: never reused.
    pub last_version: u32,
    /// Tags.
    #[serde(default)]
    pub tags: Vec<KeyValue>,
}

impl ManagedPolicy {
    /// The version that counts.
    #[must_use]
    pub fn current(&self) -> Option<&PolicyText> {
        self.versions.get(&self.default_version).map(|version| &version.policy)
    }
}

/// One version of a managed policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyVersion {
    /// What it says.
    pub policy: PolicyText,
    /// Unix milliseconds.
    pub created_at_ms: u64,
}

/// Any record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A user or role.
    Identity(Arc<Identity>),
    /// A managed policy.
    Policy(Arc<ManagedPolicy>),
}

impl Record {
    /// Its key in the store.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Identity(identity) => identity_key(identity.kind, &identity.name),
            Self::Policy(policy) => policy_key(&policy.arn),
        }
    }

    /// As it is stored.
    ///
    /// # Errors
    /// What serde says; records have string keys only.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        match self {
            Self::Identity(identity) => serde_json::to_vec(identity.as_ref()),
            Self::Policy(policy) => serde_json::to_vec(policy.as_ref()),
        }
    }

    /// Reads a stored record.
    ///
    /// # Errors
    /// What serde says.
    pub fn from_bytes(key: &str, bytes: &[u8]) -> Result<Self, serde_json::Error> {
        if key.starts_with("policy/") {
            return serde_json::from_slice(bytes).map(|policy| Self::Policy(Arc::new(policy)));
        }
        serde_json::from_slice(bytes).map(|identity| Self::Identity(Arc::new(identity)))
    }
}

/// An id of AWS's form: four letters and 17 more, from a fresh id in hex.
pub(super) fn unique_id(prefix: &str, hex: &str) -> String {
    let rest: String = hex.chars().take(17).collect();
    format!("{prefix}{}", rest.to_ascii_uppercase())
}

pub(super) fn identity_key(kind: IdentityKind, name: &str) -> String {
    format!("{}/{}", kind.word(), name.to_ascii_lowercase())
}

pub(super) fn policy_key(arn: &str) -> String {
    format!("policy/{arn}")
}
