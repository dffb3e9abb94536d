//! Loadline's own operations: join tokens for nodes, what containers wrote, programs
//! in containers, what happened and why.

mod exec;
mod keys;
mod logs;
mod needs;
mod seeing;
mod tokens;
mod usage;

pub(super) use self::needs::{is_about_keys, needs};
use crate::api::ApiError;
use crate::api::wire::operations;

operations! {
    "CreateJoinToken" => tokens::create,
        tokens::CreateJoinTokenRequest => tokens::CreateJoinTokenResponse;
    "ListJoinTokens" => tokens::list,
        tokens::ListJoinTokensRequest => tokens::ListJoinTokensResponse;
    "RevokeJoinToken" => tokens::revoke,
        tokens::RevokeJoinTokenRequest => tokens::RevokeJoinTokenResponse;
    "CreateAccessKey" => keys::create,
        keys::MakeAccessKeyRequest => keys::CreateAccessKeyResponse;
    "ListAccessKeys" => keys::list, keys::ListAccessKeysRequest => keys::ListAccessKeysResponse;
    "DeleteAccessKey" => keys::delete,
        keys::DeleteAccessKeyRequest => keys::DeleteAccessKeyResponse;
    "CreateBackup" => seeing::backup,
        seeing::CreateBackupRequest => seeing::CreateBackupResponse;
    "ReadEvents" => seeing::events,
        seeing::ReadEventsRequest => seeing::ReadEventsResponse;
    "DescribeReasons" => seeing::reasons,
        seeing::DescribeReasonsRequest => seeing::DescribeReasonsResponse;
    "StartExec" => exec::start, exec::StartExecRequest => exec::StartExecResponse;
    "ReadTaskUsage" => usage::read, usage::ReadTaskUsageRequest => usage::ReadTaskUsageResponse;
    "ReadTaskLogs" => logs::read, logs::ReadTaskLogsRequest => logs::ReadTaskLogsResponse;
}

/// A number of a request within its bounds.
fn within(
    field: &str,
    value: Option<i64>,
    min: u32,
    max: u32,
    default: u32,
) -> Result<u32, ApiError> {
    let Some(value) = value else { return Ok(default) };
    u32::try_from(value).ok().filter(|value| (min..=max).contains(value)).ok_or_else(|| {
        ApiError::invalid(format_args!("{field} must be between {min} and {max}, not {value}"))
    })
}
