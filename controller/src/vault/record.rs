//! The records.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use loadline_model::KeyValue;
use serde::{Deserialize, Serialize};

use crate::keyring::Sealed;
use crate::state::Scope;

/// The label of the version that counts.
pub const CURRENT: &str = "AWSCURRENT";
/// The label of the version that counted before.
pub const PREVIOUS: &str = "AWSPREVIOUS";
/// The label of a version that is being rotated in.
pub const PENDING: &str = "AWSPENDING";

/// A secret with its versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// The name.
    pub name: String,
    /// Six characters at the end of the ARN: a secret of the same name gets others.
    pub suffix: String,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Unix milliseconds.
    pub created_at_ms: u64,
    /// Unix milliseconds.
    pub changed_at_ms: u64,
    /// Gone from then on, Unix milliseconds; it can't be read any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_at_ms: Option<u64>,
    /// By id.
    pub versions: BTreeMap<String, SecretVersion>,
    /// Tags.
    #[serde(default)]
    pub tags: Vec<KeyValue>,
}

/// One version of a secret. Its value may be missing: then nobody gave one yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretVersion {
    /// The value.
    pub payload: Payload,
    /// Unix milliseconds.
    pub created_at_ms: u64,
    /// Labels: at most one version of a secret has each.
    pub stages: BTreeSet<String>,
}

/// A sealed value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// Text or bytes.
    pub kind: ValueKind,
    /// Opens for the name of its secret or parameter.
    pub sealed: Sealed,
    /// Of the value, to tell a repeated call from another one: SHA-256 keyed by the keyring.
    pub fingerprint: String,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ValueKind {
    /// `SecretString`
    Text,
    /// `SecretBinary`
    Bytes,
}

impl Secret {
    /// `arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME-SUFFIX`
    #[must_use]
    pub fn arn(&self, scope: &Scope) -> String {
        format!("{}{}-{}", secret_arn_start(scope), self.name, self.suffix)
    }

    /// The version with this id and label, where they are given; else the one that counts.
    #[must_use]
    pub fn version(
        &self,
        id: Option<&str>,
        stage: Option<&str>,
    ) -> Option<(&String, &SecretVersion)> {
        let stage = stage.or(id.is_none().then_some(CURRENT));
        self.versions.iter().find(|(have, version)| {
            id.is_none_or(|id| *have == id)
                && stage.is_none_or(|stage| version.stages.contains(stage))
        })
    }
}

/// ssm's `Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ParameterKind {
    /// `String`
    String,
    /// `StringList`
    StringList,
    /// `SecureString`
    SecureString,
}

impl ParameterKind {
    /// ssm's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::String => "String",
            Self::StringList => "StringList",
            Self::SecureString => "SecureString",
        }
    }

    /// By ssm's word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::String, Self::StringList, Self::SecureString]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// A parameter with its newest versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    /// The name, with its slashes.
    pub name: String,
    /// Oldest first; never empty.
    pub versions: Vec<ParameterVersion>,
    /// Tags.
    #[serde(default)]
    pub tags: Vec<KeyValue>,
}

/// One version of a parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParameterVersion {
    /// From 1.
    pub number: u64,
    /// Its type.
    pub kind: ParameterKind,
    /// The value.
    pub sealed: Sealed,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// A regular expression that values of it must match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_pattern: Option<String>,
    /// Unix milliseconds.
    pub modified_at_ms: u64,
}

impl Parameter {
    /// `arn:aws:ssm:REGION:ACCOUNT:parameter/NAME`
    #[must_use]
    pub fn arn(scope: &Scope, name: &str) -> String {
        let Scope { partition, region, account } = scope;
        let slash = if name.starts_with('/') { "" } else { "/" };
        format!("arn:{partition}:ssm:{region}:{account}:parameter{slash}{name}")
    }

    /// The newest version.
    #[must_use]
    pub fn newest(&self) -> Option<&ParameterVersion> {
        self.versions.last()
    }
}

/// Any record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A secret.
    Secret(Arc<Secret>),
    /// A parameter.
    Parameter(Arc<Parameter>),
}

impl Record {
    /// Its key in the store.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Secret(secret) => secret_key(&secret.name),
            Self::Parameter(parameter) => parameter_key(&parameter.name),
        }
    }

    /// As it is stored.
    ///
    /// # Errors
    /// What serde says; records have string keys only.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        match self {
            Self::Secret(secret) => serde_json::to_vec(secret.as_ref()),
            Self::Parameter(parameter) => serde_json::to_vec(parameter.as_ref()),
        }
    }

    /// Reads a stored record.
    ///
    /// # Errors
    /// What serde says.
    pub fn from_bytes(key: &str, bytes: &[u8]) -> Result<Self, serde_json::Error> {
        if key.starts_with("parameter:") {
            return serde_json::from_slice(bytes).map(|one| Self::Parameter(Arc::new(one)));
        }
        serde_json::from_slice(bytes).map(|one| Self::Secret(Arc::new(one)))
    }
}

/// What the ARN of every secret begins with.
#[must_use]
pub fn secret_arn_start(scope: &Scope) -> String {
    let Scope { partition, region, account } = scope;
    format!("arn:{partition}:secretsmanager:{region}:{account}:secret:")
}

/// A secret's key in the store, for which its values are sealed too.
#[must_use]
pub fn secret_key(name: &str) -> String {
    format!("secret:{name}")
}

/// The same of a parameter.
#[must_use]
pub fn parameter_key(name: &str) -> String {
    format!("parameter:{name}")
}
