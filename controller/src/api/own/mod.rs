//! Loadline's own operations: join tokens for nodes, and what containers wrote.

mod logs;
mod tokens;

use crate::api::wire::operations;

operations! {
    "CreateJoinToken" => tokens::create,
        tokens::CreateJoinTokenRequest => tokens::CreateJoinTokenResponse;
    "ListJoinTokens" => tokens::list,
        tokens::ListJoinTokensRequest => tokens::ListJoinTokensResponse;
    "RevokeJoinToken" => tokens::revoke,
        tokens::RevokeJoinTokenRequest => tokens::RevokeJoinTokenResponse;
    "ReadTaskLogs" => logs::read, logs::ReadTaskLogsRequest => logs::ReadTaskLogsResponse;
}
