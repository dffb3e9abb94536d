//! Groups: their policies hold for every user in them.

use std::sync::Arc;

use super::group_shapes::{
    AddUserToGroupRequest, AttachGroupPolicyRequest, CreateGroupRequest, CreateGroupResponse,
    DeleteGroupPolicyRequest, DeleteGroupRequest, DetachGroupPolicyRequest, GetGroupPolicyRequest,
    GetGroupPolicyResponse, GetGroupRequest, GetGroupResponse, Group as Shown,
    ListAttachedGroupPoliciesRequest, ListAttachedGroupPoliciesResponse, ListGroupPoliciesRequest,
    ListGroupPoliciesResponse, ListGroupsForUserRequest, ListGroupsForUserResponse,
    ListGroupsRequest, ListGroupsResponse, PutGroupPolicyRequest, RemoveUserFromGroupRequest,
};
use super::values::{IsoTime, Nothing};
use super::{check, identities};
use crate::api::{Api, ApiError};
use crate::iam::{
    Grant, Identity, IdentityKind::Group as GROUP, IdentityKind::User as USER, NewIdentity,
};
use crate::state::Scope;

fn show(scope: &Scope, group: &Identity) -> Shown {
    Shown {
        path: group.path.clone(),
        group_name: group.name.clone(),
        group_id: group.id.clone(),
        arn: group.arn(scope),
        create_date: IsoTime::from_ms(group.created_at_ms),
    }
}

pub(super) async fn create(
    api: &Api,
    request: CreateGroupRequest,
) -> Result<CreateGroupResponse, ApiError> {
    let path = check::path(request.path)?;
    let new = NewIdentity { path, ..NewIdentity::named(GROUP, &request.group_name) };
    let made = identities::create(api, new).await?;
    Ok(CreateGroupResponse { group: show(&api.engine.snapshot().scope, &made) })
}

pub(super) async fn get(api: &Api, request: GetGroupRequest) -> Result<GetGroupResponse, ApiError> {
    let group = identities::find(api, GROUP, &request.group_name)?;
    let view = api.engine.snapshot();
    let users = view.iam.in_group(&group.name).cloned();
    let key = |user: &Arc<Identity>| user.name.to_ascii_lowercase();
    let page = check::page(users, key, request.marker.as_deref(), request.max_items)?;
    Ok(GetGroupResponse {
        group: show(&view.scope, &group),
        users: page.items.iter().map(|user| identities::user(&view.scope, user)).collect(),
        is_truncated: page.marker.is_some(),
        marker: page.marker,
    })
}

pub(super) async fn delete(api: &Api, request: DeleteGroupRequest) -> Result<Nothing, ApiError> {
    identities::delete(api, GROUP, &request.group_name).await?;
    Ok(Nothing {})
}

pub(super) async fn list(
    api: &Api,
    request: ListGroupsRequest,
) -> Result<ListGroupsResponse, ApiError> {
    let (path, marker) = (request.path_prefix.as_deref(), request.marker.as_deref());
    let page = identities::list(api, GROUP, path, marker, request.max_items)?;
    let scope = &api.engine.snapshot().scope;
    Ok(ListGroupsResponse {
        groups: page.items.iter().map(|group| show(scope, group)).collect(),
        is_truncated: page.marker.is_some(),
        marker: page.marker,
    })
}

pub(super) async fn of_user(
    api: &Api,
    request: ListGroupsForUserRequest,
) -> Result<ListGroupsForUserResponse, ApiError> {
    let user = identities::find(api, USER, &request.user_name)?;
    let view = api.engine.snapshot();
    let groups = user.groups.iter().filter_map(|name| view.iam.identity(GROUP, name));
    let groups = groups.map(|group| show(&view.scope, group));
    let key = |group: &Shown| group.group_name.to_ascii_lowercase();
    let page = check::page(groups, key, request.marker.as_deref(), request.max_items)?;
    Ok(ListGroupsForUserResponse {
        groups: page.items,
        is_truncated: page.marker.is_some(),
        marker: page.marker,
    })
}

pub(super) async fn add_user(
    api: &Api,
    request: AddUserToGroupRequest,
) -> Result<Nothing, ApiError> {
    let grant = Grant::Join(request.group_name);
    identities::change(api, USER, &request.user_name, grant).await?;
    Ok(Nothing {})
}

pub(super) async fn remove_user(
    api: &Api,
    request: RemoveUserFromGroupRequest,
) -> Result<Nothing, ApiError> {
    let grant = Grant::Leave(request.group_name);
    identities::change(api, USER, &request.user_name, grant).await?;
    Ok(Nothing {})
}

super::twins! {
    GROUP, group_name;
    PutGroupPolicyRequest, GetGroupPolicyRequest => GetGroupPolicyResponse,
    DeleteGroupPolicyRequest, ListGroupPoliciesRequest => ListGroupPoliciesResponse,
    AttachGroupPolicyRequest, DetachGroupPolicyRequest,
    ListAttachedGroupPoliciesRequest => ListAttachedGroupPoliciesResponse
}
