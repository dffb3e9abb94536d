//! Instance profiles, by which EC2 gives a machine a role. A node has a certificate here and needs
//! none; they are kept because tools that make clusters make one beside its role.

use std::sync::Arc;

use super::role_shapes::Role;
use super::values::{FormInt, IsoTime, Nothing, Tag, show_tags};
use super::{check, identities};
use crate::api::wire::shape;
use crate::api::{Api, ApiError};
use crate::iam::{
    Grant, Identity, IdentityKind::Profile as PROFILE, IdentityKind::Role as ROLE, NewIdentity,
};
use crate::state::View;

shape! {
    /// An instance profile.
    InstanceProfile = "InstanceProfile" {
        path: "Path" => String,
        instance_profile_name: "InstanceProfileName" => String,
        instance_profile_id: "InstanceProfileId" => String,
        arn: "Arn" => String,
        create_date: "CreateDate" => IsoTime,
        /// One at most.
        roles: "Roles" => Vec<Role>,
        tags: "Tags" => Option<Vec<Tag>>,
    }
}

shape! {
    /// CreateInstanceProfile's input.
    CreateInstanceProfileRequest = "CreateInstanceProfileRequest" {
        instance_profile_name: "InstanceProfileName" => String,
        path: "Path" => Option<String>,
        tags: "Tags" => Option<Vec<Tag>>,
    }
}

shape! {
    /// CreateInstanceProfile's output.
    CreateInstanceProfileResponse = "CreateInstanceProfileResponse" {
        instance_profile: "InstanceProfile" => InstanceProfile,
    }
}

shape! {
    /// GetInstanceProfile's input.
    GetInstanceProfileRequest = "GetInstanceProfileRequest" {
        instance_profile_name: "InstanceProfileName" => String,
    }
}

shape! {
    /// GetInstanceProfile's output.
    GetInstanceProfileResponse = "GetInstanceProfileResponse" {
        instance_profile: "InstanceProfile" => InstanceProfile,
    }
}

shape! {
    /// DeleteInstanceProfile's input.
    DeleteInstanceProfileRequest = "DeleteInstanceProfileRequest" {
        instance_profile_name: "InstanceProfileName" => String,
    }
}

shape! {
    /// ListInstanceProfiles' input.
    ListInstanceProfilesRequest = "ListInstanceProfilesRequest" {
        path_prefix: "PathPrefix" => Option<String>,
        marker: "Marker" => Option<String>,
        max_items: "MaxItems" => Option<FormInt>,
    }
}

shape! {
    /// ListInstanceProfiles' output.
    ListInstanceProfilesResponse = "ListInstanceProfilesResponse" {
        instance_profiles: "InstanceProfiles" => Vec<InstanceProfile>,
        is_truncated: "IsTruncated" => bool,
        marker: "Marker" => Option<String>,
    }
}

shape! {
    /// ListInstanceProfilesForRole's input.
    ListInstanceProfilesForRoleRequest = "ListInstanceProfilesForRoleRequest" {
        role_name: "RoleName" => String,
        marker: "Marker" => Option<String>,
        max_items: "MaxItems" => Option<FormInt>,
    }
}

shape! {
    /// ListInstanceProfilesForRole's output.
    ListInstanceProfilesForRoleResponse = "ListInstanceProfilesForRoleResponse" {
        instance_profiles: "InstanceProfiles" => Vec<InstanceProfile>,
        is_truncated: "IsTruncated" => bool,
        marker: "Marker" => Option<String>,
    }
}

shape! {
    /// AddRoleToInstanceProfile's input.
    AddRoleToInstanceProfileRequest = "AddRoleToInstanceProfileRequest" {
        instance_profile_name: "InstanceProfileName" => String,
        role_name: "RoleName" => String,
    }
}

shape! {
    /// RemoveRoleFromInstanceProfile's input.
    RemoveRoleFromInstanceProfileRequest = "RemoveRoleFromInstanceProfileRequest" {
        instance_profile_name: "InstanceProfileName" => String,
        role_name: "RoleName" => String,
    }
}

shape! {
    /// TagInstanceProfile's input.
    TagInstanceProfileRequest = "TagInstanceProfileRequest" {
        instance_profile_name: "InstanceProfileName" => String,
        tags: "Tags" => Vec<Tag>,
    }
}

shape! {
    /// UntagInstanceProfile's input.
    UntagInstanceProfileRequest = "UntagInstanceProfileRequest" {
        instance_profile_name: "InstanceProfileName" => String,
        tag_keys: "TagKeys" => Vec<String>,
    }
}

shape! {
    /// ListInstanceProfileTags' input.
    ListInstanceProfileTagsRequest = "ListInstanceProfileTagsRequest" {
        instance_profile_name: "InstanceProfileName" => String,
        marker: "Marker" => Option<String>,
        max_items: "MaxItems" => Option<FormInt>,
    }
}

shape! {
    /// ListInstanceProfileTags' output.
    ListInstanceProfileTagsResponse = "ListInstanceProfileTagsResponse" {
        tags: "Tags" => Vec<Tag>,
        is_truncated: "IsTruncated" => bool,
        marker: "Marker" => Option<String>,
    }
}

fn show(view: &View, profile: &Identity) -> InstanceProfile {
    let scope = &view.scope;
    let role = profile.role.as_ref().and_then(|name| view.iam.identity(ROLE, name));
    InstanceProfile {
        path: profile.path.clone(),
        instance_profile_name: profile.name.clone(),
        instance_profile_id: profile.id.clone(),
        arn: profile.arn(scope),
        create_date: IsoTime::from_ms(profile.created_at_ms),
        roles: role.iter().map(|role| identities::role(scope, role)).collect(),
        tags: show_tags(&profile.tags),
    }
}

pub(super) async fn create(
    api: &Api,
    request: CreateInstanceProfileRequest,
) -> Result<CreateInstanceProfileResponse, ApiError> {
    let (path, tags) = (check::path(request.path)?, check::tags(request.tags)?);
    let name = &request.instance_profile_name;
    let new = NewIdentity { path, tags, ..NewIdentity::named(PROFILE, name) };
    let made = identities::create(api, new).await?;
    let instance_profile = show(&api.engine.snapshot(), &made);
    Ok(CreateInstanceProfileResponse { instance_profile })
}

pub(super) async fn get(
    api: &Api,
    request: GetInstanceProfileRequest,
) -> Result<GetInstanceProfileResponse, ApiError> {
    let profile = identities::find(api, PROFILE, &request.instance_profile_name)?;
    let instance_profile = show(&api.engine.snapshot(), &profile);
    Ok(GetInstanceProfileResponse { instance_profile })
}

pub(super) async fn delete(
    api: &Api,
    request: DeleteInstanceProfileRequest,
) -> Result<Nothing, ApiError> {
    identities::delete(api, PROFILE, &request.instance_profile_name).await?;
    Ok(Nothing {})
}

pub(super) async fn list(
    api: &Api,
    request: ListInstanceProfilesRequest,
) -> Result<ListInstanceProfilesResponse, ApiError> {
    let (path, marker) = (request.path_prefix.as_deref(), request.marker.as_deref());
    let page = identities::list(api, PROFILE, path, marker, request.max_items)?;
    let view = api.engine.snapshot();
    Ok(ListInstanceProfilesResponse {
        instance_profiles: page.items.iter().map(|profile| show(&view, profile)).collect(),
        is_truncated: page.marker.is_some(),
        marker: page.marker,
    })
}

pub(super) async fn of_role(
    api: &Api,
    request: ListInstanceProfilesForRoleRequest,
) -> Result<ListInstanceProfilesForRoleResponse, ApiError> {
    let role = identities::find(api, ROLE, &request.role_name)?;
    let view = api.engine.snapshot();
    let of_it = view.iam.with_role(&role.name).cloned();
    let key = |profile: &Arc<Identity>| profile.name.to_ascii_lowercase();
    let page = check::page(of_it, key, request.marker.as_deref(), request.max_items)?;
    Ok(ListInstanceProfilesForRoleResponse {
        instance_profiles: page.items.iter().map(|profile| show(&view, profile)).collect(),
        is_truncated: page.marker.is_some(),
        marker: page.marker,
    })
}

pub(super) async fn add_role(
    api: &Api,
    request: AddRoleToInstanceProfileRequest,
) -> Result<Nothing, ApiError> {
    let grant = Grant::AddRole(request.role_name);
    identities::change(api, PROFILE, &request.instance_profile_name, grant).await?;
    Ok(Nothing {})
}

pub(super) async fn remove_role(
    api: &Api,
    request: RemoveRoleFromInstanceProfileRequest,
) -> Result<Nothing, ApiError> {
    let grant = Grant::RemoveRole(request.role_name);
    identities::change(api, PROFILE, &request.instance_profile_name, grant).await?;
    Ok(Nothing {})
}

super::tagged! {
    PROFILE, instance_profile_name;
    TagInstanceProfileRequest, UntagInstanceProfileRequest,
    ListInstanceProfileTagsRequest => ListInstanceProfileTagsResponse
}
