//! Join tokens: how a node that nobody knows becomes one that the cluster knows (law 11).

use std::sync::Arc;

use subtle::ConstantTimeEq;

use super::{Applied, active_cluster};
use crate::command::{
    CreateJoinToken, JoinTokenMade, JoinTokenRefusal, Refusal, Reply, RevokeJoinToken, UseJoinToken,
};
use crate::state::{Enrolled, IdSource, JoinToken, State, USES_MAX, Write};

pub(super) fn create(
    state: &State,
    command: &CreateJoinToken,
    now_ms: u64,
) -> Result<Applied, Refusal> {
    active_cluster(&state.view, &command.cluster)?;
    let invalid = |field, why: String| Refusal::Invalid { field, why };
    if command.uses < 1 || USES_MAX < command.uses {
        let why = format!("{} is not between 1 and {USES_MAX}", command.uses);
        return Err(invalid("uses", why));
    }
    if command.valid_for_ms == 0 {
        return Err(invalid("expiresInSeconds", "it would expire at once".to_owned()));
    }
    if state.view.join_token(&command.id).is_some() {
        return Err(invalid("tokenId", format!("{} is taken", command.id)));
    }
    let token = Arc::new(JoinToken {
        id: command.id.clone(),
        secret_hash: command.secret_hash,
        cluster: command.cluster.clone(),
        created_at_ms: now_ms,
        expires_at_ms: now_ms.saturating_add(command.valid_for_ms),
        uses: command.uses,
        revoked: false,
        enrolled: Vec::new(),
    });
    Ok((vec![Write::JoinToken(Arc::clone(&token))], Reply::Token(JoinTokenMade(token))))
}

pub(super) fn revoke(state: &State, command: &RevokeJoinToken) -> Result<Applied, Refusal> {
    let token = state.view.join_token(&command.id).ok_or_else(|| Refusal::JoinToken {
        id: command.id.clone(),
        why: JoinTokenRefusal::Unknown,
    })?;
    if token.revoked {
        return Ok((Vec::new(), Reply::Token(JoinTokenMade(Arc::clone(token)))));
    }
    let token = Arc::new(JoinToken { revoked: true, ..JoinToken::clone(token) });
    Ok((vec![Write::JoinToken(Arc::clone(&token))], Reply::Token(JoinTokenMade(token))))
}

pub(super) fn present(
    state: &State,
    command: &UseJoinToken,
    now_ms: u64,
    ids: &mut dyn IdSource,
) -> Result<Applied, Refusal> {
    let refused = |why| Refusal::JoinToken { id: command.id.clone(), why };
    let token = state
        .view
        .join_token(&command.id)
        .filter(|token| bool::from(token.secret_hash.0.ct_eq(&command.secret_hash.0)))
        .ok_or_else(|| refused(JoinTokenRefusal::Unknown))?;
    if token.revoked {
        return Err(refused(JoinTokenRefusal::Revoked));
    }
    if token.expires_at_ms <= now_ms {
        return Err(refused(JoinTokenRefusal::Expired));
    }
    active_cluster(&state.view, &token.cluster)?;
    if let Some(known) = token.enrolled.iter().find(|use_| use_.key_hash == command.key_hash) {
        return Ok((Vec::new(), Reply::Enrolled(known.node.clone())));
    }
    if token.uses_left() == 0 {
        return Err(refused(JoinTokenRefusal::UsedUp));
    }
    let node = state
        .view
        .scope
        .instance_arn(&token.cluster, &ids.fresh())
        .expect("an id is 32 hex digits and a cluster's name is plain");
    let mut token = JoinToken::clone(token);
    token.enrolled.push(Enrolled { key_hash: command.key_hash, node: node.clone() });
    Ok((vec![Write::JoinToken(Arc::new(token))], Reply::Enrolled(node)))
}
