//! Roles.

use super::check::{self, TRUST_CHARS_MAX};
use super::identities;
use super::role_shapes::{
    AttachRolePolicyRequest, CreateRoleRequest, CreateRoleResponse, CreateServiceLinkedRoleRequest,
    CreateServiceLinkedRoleResponse, DeleteRolePermissionsBoundaryRequest, DeleteRolePolicyRequest,
    DeleteRoleRequest, DetachRolePolicyRequest, GetRolePolicyRequest, GetRolePolicyResponse,
    GetRoleRequest, GetRoleResponse, ListAttachedRolePoliciesRequest,
    ListAttachedRolePoliciesResponse, ListRolePoliciesRequest, ListRolePoliciesResponse,
    ListRoleTagsRequest, ListRoleTagsResponse, ListRolesRequest, ListRolesResponse,
    PutRolePermissionsBoundaryRequest, PutRolePolicyRequest, TagRoleRequest, UntagRoleRequest,
    UpdateAssumeRolePolicyRequest, UpdateRoleRequest, UpdateRoleResponse,
};
use super::values::Nothing;
use crate::api::{Api, ApiError, Code};
use crate::iam::{Grant, IdentityKind::Role as ROLE, NewIdentity, PolicyKind};

/// Longest session of a role where its maker does not say, in seconds (AWS's default).
const SESSION_S_DEFAULT: u32 = 3600;

/// Services whose own roles exist under fixed names: service, then role.
const SERVICE_LINKED: [(&str, &str); 2] = [
    ("ecs.amazonaws.com", "AWSServiceRoleForECS"),
    (
        "ecs.application-autoscaling.amazonaws.com",
        "AWSServiceRoleForApplicationAutoScaling_ECSService",
    ),
];

pub(super) async fn create(
    api: &Api,
    request: CreateRoleRequest,
) -> Result<CreateRoleResponse, ApiError> {
    let trust = &request.assume_role_policy_document;
    let path = check::path(request.path)?;
    if path.starts_with("/aws-service-role/") {
        let message = "a role below /aws-service-role/ is made by CreateServiceLinkedRole";
        return Err(ApiError::invalid(message));
    }
    let new = NewIdentity {
        kind: ROLE,
        name: request.role_name,
        path,
        description: check::description(request.description)?,
        trust: Some(check::document(trust, PolicyKind::Trust, TRUST_CHARS_MAX)?),
        session_s_max: check::session_s_max(request.max_session_duration)?
            .unwrap_or(SESSION_S_DEFAULT),
        tags: check::tags(request.tags)?,
        boundary: request.permissions_boundary,
    };
    let made = identities::create(api, new).await?;
    Ok(CreateRoleResponse { role: identities::role(&api.engine.snapshot().scope, &made) })
}

pub(super) async fn create_service_linked(
    api: &Api,
    request: CreateServiceLinkedRoleRequest,
) -> Result<CreateServiceLinkedRoleResponse, ApiError> {
    let service = request.aws_service_name;
    let name = SERVICE_LINKED.iter().find(|(of, _)| *of == service).map(|(_, name)| *name);
    let invalid = |message: String| ApiError::new(Code::of("InvalidInput", 400), message);
    let name = name
        .ok_or_else(|| invalid(format!("no service-linked role of {service:?} is known here")))?;
    if api.engine.snapshot().iam.identity(ROLE, name).is_some() {
        return Err(invalid(format!(
            "Service role name {name} has been taken in this account, please try a different \
             suffix."
        )));
    }
    let trust = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"sts:AssumeRole",
            "Principal":{{"Service":"{service}"}}}}]}}"#
    );
    let new = NewIdentity {
        kind: ROLE,
        name: name.to_owned(),
        path: format!("/aws-service-role/{service}/"),
        description: check::description(request.description)?,
        trust: Some(check::document(&trust, PolicyKind::Trust, TRUST_CHARS_MAX)?),
        session_s_max: SESSION_S_DEFAULT,
        tags: Vec::new(),
        boundary: None,
    };
    let made = identities::create(api, new).await?;
    let role = identities::role(&api.engine.snapshot().scope, &made);
    Ok(CreateServiceLinkedRoleResponse { role })
}

pub(super) async fn get(api: &Api, request: GetRoleRequest) -> Result<GetRoleResponse, ApiError> {
    let role = identities::find(api, ROLE, &request.role_name)?;
    Ok(GetRoleResponse { role: identities::role(&api.engine.snapshot().scope, &role) })
}

pub(super) async fn delete(api: &Api, request: DeleteRoleRequest) -> Result<Nothing, ApiError> {
    identities::delete(api, ROLE, &request.role_name).await?;
    Ok(Nothing {})
}

pub(super) async fn list(
    api: &Api,
    request: ListRolesRequest,
) -> Result<ListRolesResponse, ApiError> {
    let (path, marker) = (request.path_prefix.as_deref(), request.marker.as_deref());
    let page = identities::list(api, ROLE, path, marker, request.max_items)?;
    let scope = &api.engine.snapshot().scope;
    Ok(ListRolesResponse {
        roles: page.items.iter().map(|role| identities::role(scope, role)).collect(),
        is_truncated: page.marker.is_some(),
        marker: page.marker,
    })
}

pub(super) async fn update(
    api: &Api,
    request: UpdateRoleRequest,
) -> Result<UpdateRoleResponse, ApiError> {
    let description = request.description.map(|text| check::description(Some(text)));
    let longest = check::session_s_max(request.max_session_duration)?;
    let grant = Grant::Describe(description.transpose()?, longest);
    identities::change(api, ROLE, &request.role_name, grant).await?;
    Ok(UpdateRoleResponse {})
}

pub(super) async fn update_trust(
    api: &Api,
    request: UpdateAssumeRolePolicyRequest,
) -> Result<Nothing, ApiError> {
    let trust = check::document(&request.policy_document, PolicyKind::Trust, TRUST_CHARS_MAX)?;
    identities::change(api, ROLE, &request.role_name, Grant::Trust(trust)).await?;
    Ok(Nothing {})
}

super::twins! {
    ROLE, role_name;
    PutRolePolicyRequest, GetRolePolicyRequest => GetRolePolicyResponse, DeleteRolePolicyRequest,
    ListRolePoliciesRequest => ListRolePoliciesResponse,
    AttachRolePolicyRequest, DetachRolePolicyRequest,
    ListAttachedRolePoliciesRequest => ListAttachedRolePoliciesResponse
}

super::tagged! {
    ROLE, role_name;
    TagRoleRequest, UntagRoleRequest, ListRoleTagsRequest => ListRoleTagsResponse
}

pub(super) async fn put_boundary(
    api: &Api,
    request: PutRolePermissionsBoundaryRequest,
) -> Result<Nothing, ApiError> {
    let grant = Grant::Bound(Some(request.permissions_boundary));
    identities::change(api, ROLE, &request.role_name, grant).await?;
    Ok(Nothing {})
}

pub(super) async fn delete_boundary(
    api: &Api,
    request: DeleteRolePermissionsBoundaryRequest,
) -> Result<Nothing, ApiError> {
    identities::change(api, ROLE, &request.role_name, Grant::Bound(None)).await?;
    Ok(Nothing {})
}
