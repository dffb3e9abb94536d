//! Secrets (secretsmanager) and parameters (ssm): what tasks are told and nobody else.
//!
//! Invariants: a value is sealed ([`crate::keyring`]) before it comes here and is opened only for
//! an answer or for the node of a task; everything here is pure. A version's value never changes.

mod apply;
mod record;
mod view;

pub use self::apply::{
    Applied, Change, Command, HISTORY_MAX, NewParameter, NewSecret, Refusal, SecretChange, apply,
};
pub use self::record::{
    CURRENT, PENDING, PREVIOUS, Parameter, ParameterKind, ParameterVersion, Payload, Record,
    Secret, SecretVersion, ValueKind, parameter_key, secret_arn_start, secret_key,
};
pub use self::view::Vault;
