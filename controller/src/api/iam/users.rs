//! Users and their access keys.

use std::sync::Arc;

use super::user_shapes::{
    AccessKey, AccessKeyMetadata, AttachUserPolicyRequest, CreateAccessKeyRequest,
    CreateAccessKeyResponse, CreateUserRequest, CreateUserResponse, DeleteAccessKeyRequest,
    DeleteUserPermissionsBoundaryRequest, DeleteUserPolicyRequest, DeleteUserRequest,
    DetachUserPolicyRequest, GetUserPolicyRequest, GetUserPolicyResponse, GetUserRequest,
    GetUserResponse, ListAccessKeysRequest, ListAccessKeysResponse,
    ListAttachedUserPoliciesRequest, ListAttachedUserPoliciesResponse, ListUserPoliciesRequest,
    ListUserPoliciesResponse, ListUserTagsRequest, ListUserTagsResponse, ListUsersRequest,
    ListUsersResponse, PutUserPermissionsBoundaryRequest, PutUserPolicyRequest, TagUserRequest,
    UntagUserRequest, UpdateAccessKeyRequest,
};
use super::values::{IsoTime, Nothing};
use super::{check, identities};
use crate::api::{Api, ApiError};
use crate::iam::{
    AccessKey as Key, Grant, Identity, IdentityKind::User as USER, KeyStatus, NewIdentity,
    PolicyKind, PolicyText, fresh_key_id, fresh_secret,
};
use crate::keyring::Purpose;

pub(super) async fn create(
    api: &Api,
    request: CreateUserRequest,
) -> Result<CreateUserResponse, ApiError> {
    let new = NewIdentity {
        kind: USER,
        name: request.user_name,
        path: check::path(request.path)?,
        description: String::new(),
        trust: None,
        session_s_max: 0,
        tags: check::tags(request.tags)?,
        boundary: request.permissions_boundary,
    };
    let made = identities::create(api, new).await?;
    Ok(CreateUserResponse { user: identities::user(&api.engine.snapshot().scope, &made) })
}

pub(super) async fn get(api: &Api, request: GetUserRequest) -> Result<GetUserResponse, ApiError> {
    let user = identities::find(api, USER, &request.user_name)?;
    Ok(GetUserResponse { user: identities::user(&api.engine.snapshot().scope, &user) })
}

pub(super) async fn delete(api: &Api, request: DeleteUserRequest) -> Result<Nothing, ApiError> {
    identities::delete(api, USER, &request.user_name).await?;
    Ok(Nothing {})
}

pub(super) async fn list(
    api: &Api,
    request: ListUsersRequest,
) -> Result<ListUsersResponse, ApiError> {
    let (path, marker) = (request.path_prefix.as_deref(), request.marker.as_deref());
    let page = identities::list(api, USER, path, marker, request.max_items)?;
    let scope = &api.engine.snapshot().scope;
    Ok(ListUsersResponse {
        users: page.items.iter().map(|user| identities::user(scope, user)).collect(),
        is_truncated: page.marker.is_some(),
        marker: page.marker,
    })
}

/// Makes a key. The secret is told in the answer and kept sealed.
pub(in crate::api) async fn create_key(
    api: &Api,
    request: CreateAccessKeyRequest,
) -> Result<CreateAccessKeyResponse, ApiError> {
    let (id, secret) = (fresh_key_id("AKIA"), fresh_secret());
    let sealed = api.keyring.seal(Purpose::AccessKey, &id, secret.as_bytes());
    let grant = Grant::AddKey(id.clone(), sealed);
    let user = identities::change(api, USER, &request.user_name, grant).await?;
    let made = user.keys.iter().find(|key| key.id == id);
    Ok(CreateAccessKeyResponse {
        access_key: AccessKey {
            user_name: user.name.clone(),
            access_key_id: id,
            status: KeyStatus::Active.as_str().to_owned(),
            secret_access_key: secret,
            create_date: IsoTime::from_ms(made.map_or(0, |key| key.created_at_ms)),
        },
    })
}

pub(super) async fn update_key(
    api: &Api,
    request: UpdateAccessKeyRequest,
) -> Result<Nothing, ApiError> {
    let status = match request.status.as_str() {
        "Active" => KeyStatus::Active,
        "Inactive" => KeyStatus::Inactive,
        other => {
            let message = format!("status must be Active or Inactive, not {other:?}");
            return Err(ApiError::invalid(message));
        }
    };
    let grant = Grant::SetKey(request.access_key_id, status);
    identities::change(api, USER, &request.user_name, grant).await?;
    Ok(Nothing {})
}

pub(super) async fn delete_key(
    api: &Api,
    request: DeleteAccessKeyRequest,
) -> Result<Nothing, ApiError> {
    let grant = Grant::DeleteKey(request.access_key_id);
    identities::change(api, USER, &request.user_name, grant).await?;
    Ok(Nothing {})
}

pub(super) async fn list_keys(
    api: &Api,
    request: ListAccessKeysRequest,
) -> Result<ListAccessKeysResponse, ApiError> {
    let user = identities::find(api, USER, &request.user_name)?;
    let show = |key: &Key| AccessKeyMetadata {
        user_name: user.name.clone(),
        access_key_id: key.id.clone(),
        status: key.status.as_str().to_owned(),
        create_date: IsoTime::from_ms(key.created_at_ms),
    };
    let keys = user.keys.iter().map(show);
    let marker = request.marker.as_deref();
    let page = check::page(keys, |key| key.access_key_id.clone(), marker, request.max_items)?;
    Ok(ListAccessKeysResponse {
        access_key_metadata: page.items,
        is_truncated: page.marker.is_some(),
        marker: page.marker,
    })
}

super::twins! {
    USER, user_name;
    PutUserPolicyRequest, GetUserPolicyRequest => GetUserPolicyResponse, DeleteUserPolicyRequest,
    ListUserPoliciesRequest => ListUserPoliciesResponse,
    AttachUserPolicyRequest, DetachUserPolicyRequest,
    ListAttachedUserPoliciesRequest => ListAttachedUserPoliciesResponse
}

super::tagged! {
    USER, user_name;
    TagUserRequest, UntagUserRequest, ListUserTagsRequest => ListUserTagsResponse
}

pub(super) async fn put_boundary(
    api: &Api,
    request: PutUserPermissionsBoundaryRequest,
) -> Result<Nothing, ApiError> {
    let grant = Grant::Bound(Some(request.permissions_boundary));
    identities::change(api, USER, &request.user_name, grant).await?;
    Ok(Nothing {})
}

pub(super) async fn delete_boundary(
    api: &Api,
    request: DeleteUserPermissionsBoundaryRequest,
) -> Result<Nothing, ApiError> {
    identities::change(api, USER, &request.user_name, Grant::Bound(None)).await?;
    Ok(Nothing {})
}

/// A user without a path and tags.
pub(in crate::api) async fn make(api: &Api, name: &str) -> Result<Arc<Identity>, ApiError> {
    let new = NewIdentity::named(USER, name);
    identities::create(api, new).await
}

/// Changes a user.
pub(in crate::api) async fn grant(api: &Api, name: &str, grant: Grant) -> Result<(), ApiError> {
    identities::change(api, USER, name, grant).await.map(drop)
}

/// A policy of a user's own.
pub(in crate::api) fn inline_policy(text: &str) -> Result<PolicyText, ApiError> {
    check::document(text, PolicyKind::Identity, check::INLINE_CHARS_MAX)
}
