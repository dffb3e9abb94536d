//! Credentials of tasks' roles. They are no part of the model: nobody keeps them on disk.

use std::fmt;

use loadline_model::TaskArn;

use super::{Fault, InvalidField, at_most, id};
use crate::v1;

/// Longest of the texts, in bytes: session tokens are the longest of them.
const TEXT_BYTES_MAX: usize = 8 * 1024;

/// Temporary credentials of a task's role.
#[derive(Clone, PartialEq, Eq)]
pub struct TaskCredentials {
    /// Whose they are.
    pub task: TaskArn,
    /// The role's ARN.
    pub role_arn: String,
    /// The key's id.
    pub access_key_id: String,
    /// The key's secret.
    pub secret_access_key: String,
    /// The session's token.
    pub session_token: String,
    /// From when on they are refused, in Unix milliseconds.
    pub expires_at_ms: u64,
}

/// Without the secrets, so that no log line can hold them.
impl fmt::Debug for TaskCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskCredentials")
            .field("task", &self.task)
            .field("role_arn", &self.role_arn)
            .field("access_key_id", &self.access_key_id)
            .field("expires_at_ms", &self.expires_at_ms)
            .finish_non_exhaustive()
    }
}

impl TryFrom<v1::TaskCredentials> for TaskCredentials {
    type Error = InvalidField;

    fn try_from(wire: v1::TaskCredentials) -> Result<Self, InvalidField> {
        for (path, text) in [
            ("role_arn", &wire.role_arn),
            ("access_key_id", &wire.access_key_id),
            ("secret_access_key", &wire.secret_access_key),
            ("session_token", &wire.session_token),
        ] {
            at_most(path, text.len(), TEXT_BYTES_MAX)?;
        }
        if wire.access_key_id.is_empty() || wire.secret_access_key.is_empty() {
            return Err(InvalidField::new("access_key_id", Fault::Missing));
        }
        Ok(Self {
            task: id("task_arn", TaskArn::parse(&wire.task_arn))?,
            role_arn: wire.role_arn,
            access_key_id: wire.access_key_id,
            secret_access_key: wire.secret_access_key,
            session_token: wire.session_token,
            expires_at_ms: wire.expires_at_ms,
        })
    }
}

impl From<TaskCredentials> for v1::TaskCredentials {
    fn from(own: TaskCredentials) -> Self {
        Self {
            task_arn: own.task.into(),
            role_arn: own.role_arn,
            access_key_id: own.access_key_id,
            secret_access_key: own.secret_access_key,
            session_token: own.session_token,
            expires_at_ms: own.expires_at_ms,
        }
    }
}
