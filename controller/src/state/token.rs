//! Join tokens, and the client tokens that make RunTask idempotent.

use loadline_model::{InstanceArn, TaskArn};
use serde::{Deserialize, Serialize};

use super::{ClusterName, TokenId};
use crate::command::PlacementFailure;

/// A SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sha256Hash(#[serde(with = "hex::serde")] pub [u8; 32]);

/// A join token. The secret itself is never here: only its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// The public part.
    pub id: TokenId,
    /// Of the secret's 64 hex digits as text.
    pub secret_hash: Sha256Hash,
    /// The cluster that nodes join.
    pub cluster: ClusterName,
    /// Unix milliseconds.
    pub created_at_ms: u64,
    /// Refused from then on, Unix milliseconds.
    pub expires_at_ms: u64,
    /// How many nodes it may bring in, 1 to [`USES_MAX`].
    pub uses: u32,
    /// Refused from now on.
    pub revoked: bool,
    /// Who came in with it.
    pub enrolled: Vec<Enrolled>,
}

/// Most uses of one join token.
pub const USES_MAX: u32 = 10_000;

impl JoinToken {
    /// How many more nodes it may bring in.
    #[must_use]
    pub fn uses_left(&self) -> u32 {
        let used = u32::try_from(self.enrolled.len()).unwrap_or(u32::MAX);
        self.uses.saturating_sub(used)
    }
}

/// One use of a join token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// Of the node's public key (SubjectPublicKeyInfo, DER).
    pub key_hash: Sha256Hash,
    /// Who the node is.
    pub node: InstanceArn,
}

/// What a RunTask with a `clientToken` did, so that a repeated call gives the same answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunToken {
    /// The cluster.
    pub cluster: ClusterName,
    /// The client's token, 1 to 64 characters.
    pub token: String,
    /// Of the call's parameters.
    pub fingerprint: Sha256Hash,
    /// What was placed.
    pub tasks: Vec<TaskArn>,
    /// What was not.
    pub failures: Vec<PlacementFailure>,
    /// Forgotten from then on, Unix milliseconds.
    pub expires_at_ms: u64,
}
