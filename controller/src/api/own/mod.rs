//! Loadline's own operations: join tokens for nodes, and what containers wrote.

mod keys;
mod logs;
mod needs;
mod tokens;

pub(super) use self::needs::needs;
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
    "ReadTaskLogs" => logs::read, logs::ReadTaskLogsRequest => logs::ReadTaskLogsResponse;
}
