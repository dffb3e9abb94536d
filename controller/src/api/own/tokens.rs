//! Join tokens. The secret is made here, told once in the answer, and kept nowhere.

use crate::api::ecs::{cluster_name, from_call};
use crate::api::wire::{EpochSeconds, shape};
use crate::api::{Api, ApiError};
use crate::command::{CreateJoinToken, RevokeJoinToken};
use crate::nodes::JoinTokenText;
use crate::state::{JoinToken, TokenId, USES_MAX};

/// How long a token holds where the caller does not say, in seconds.
const EXPIRES_S_DEFAULT: u64 = 3600;
/// How long a token may hold at most, in seconds.
const EXPIRES_S_MAX: u64 = 30 * 24 * 3600;

shape! {
    /// CreateJoinToken's input.
    CreateJoinTokenRequest = "" {
        /// Name or ARN; `default` where absent.
        cluster: "cluster" => Option<String>,
        /// 1 to 2,592,000; 3,600 where absent.
        expires_in_seconds: "expiresInSeconds" => Option<u64>,
        /// How many nodes it may bring in; 1 where absent.
        uses: "uses" => Option<u64>,
    }
}

shape! {
    /// CreateJoinToken's output.
    CreateJoinTokenResponse = "" {
        /// The whole token, told this once.
        token: "token" => String,
        /// The public part.
        token_id: "tokenId" => String,
        /// The cluster's name.
        cluster: "cluster" => String,
        /// Refused from then on.
        expires_at: "expiresAt" => EpochSeconds,
        /// How many nodes it may bring in.
        uses: "uses" => u64,
    }
}

shape! {
    /// ListJoinTokens' input.
    ListJoinTokensRequest = "" {}
}

shape! {
    /// ListJoinTokens' output.
    ListJoinTokensResponse = "" {
        /// Every token that is remembered.
        tokens: "tokens" => Vec<TokenShown>,
    }
}

shape! {
    /// A join token without its secret.
    TokenShown = "" {
        /// The public part.
        token_id: "tokenId" => String,
        /// The cluster's name.
        cluster: "cluster" => String,
        /// Refused from then on.
        expires_at: "expiresAt" => EpochSeconds,
        /// How many more nodes it may bring in.
        uses_left: "usesLeft" => u64,
        /// Whether somebody revoked it.
        revoked: "revoked" => bool,
    }
}

shape! {
    /// RevokeJoinToken's input.
    RevokeJoinTokenRequest = "" {
        /// The public part.
        token_id: "tokenId" => String,
    }
}

shape! {
    /// RevokeJoinToken's output.
    RevokeJoinTokenResponse = "" {}
}

pub(super) async fn create(
    api: &Api,
    request: CreateJoinTokenRequest,
) -> Result<CreateJoinTokenResponse, ApiError> {
    let seconds = request.expires_in_seconds.unwrap_or(EXPIRES_S_DEFAULT);
    if !(1..=EXPIRES_S_MAX).contains(&seconds) {
        let message = format!("expiresInSeconds must be between 1 and {EXPIRES_S_MAX}");
        return Err(ApiError::invalid(message));
    }
    let uses = u32::try_from(request.uses.unwrap_or(1)).ok();
    let uses = uses
        .filter(|uses| (1..=USES_MAX).contains(uses))
        .ok_or_else(|| ApiError::invalid(format_args!("uses must be between 1 and {USES_MAX}")))?;
    let text = JoinTokenText::fresh(api.ca_hash);
    let command = CreateJoinToken {
        id: text.id().clone(),
        secret_hash: text.secret_hash(),
        cluster: cluster_name(&api.engine.snapshot().scope, request.cluster.as_deref())?,
        valid_for_ms: seconds * 1000,
        uses,
    };
    let made = api.engine.call(command).await.map_err(from_call)?.0;
    Ok(CreateJoinTokenResponse {
        token: text.reveal(),
        token_id: made.id.to_string(),
        cluster: made.cluster.to_string(),
        expires_at: EpochSeconds::from_ms(made.expires_at_ms),
        uses: made.uses.into(),
    })
}

pub(super) async fn list(
    api: &Api,
    _request: ListJoinTokensRequest,
) -> Result<ListJoinTokensResponse, ApiError> {
    let show = |token: &std::sync::Arc<JoinToken>| TokenShown {
        token_id: token.id.to_string(),
        cluster: token.cluster.to_string(),
        expires_at: EpochSeconds::from_ms(token.expires_at_ms),
        uses_left: token.uses_left().into(),
        revoked: token.revoked,
    };
    let tokens = api.engine.snapshot().join_tokens().map(show).collect();
    Ok(ListJoinTokensResponse { tokens })
}

pub(super) async fn revoke(
    api: &Api,
    request: RevokeJoinTokenRequest,
) -> Result<RevokeJoinTokenResponse, ApiError> {
    let id = TokenId::parse(&request.token_id)
        .map_err(|bad| ApiError::invalid(format_args!("tokenId: {}", bad.why)))?;
    api.engine.call(RevokeJoinToken { id }).await.map_err(from_call)?;
    Ok(RevokeJoinTokenResponse {})
}
