//! Managed policies.

use std::sync::Arc;

use super::check::{self, MANAGED_CHARS_MAX};
use super::policy_shapes::{
    CreatePolicyRequest, CreatePolicyResponse, CreatePolicyVersionRequest,
    CreatePolicyVersionResponse, DeletePolicyRequest, DeletePolicyVersionRequest, GetPolicyRequest,
    GetPolicyResponse, GetPolicyVersionRequest, GetPolicyVersionResponse,
    ListEntitiesForPolicyRequest, ListEntitiesForPolicyResponse, ListPoliciesRequest,
    ListPoliciesResponse, ListPolicyVersionsRequest, ListPolicyVersionsResponse, Policy as Shown,
    PolicyGroup, PolicyRole, PolicyUser, PolicyVersion as ShownVersion,
    SetDefaultPolicyVersionRequest,
};
use super::values::{FormBool, IsoTime, Nothing, show_tags};
use crate::api::ecs::from_call;
use crate::api::{Api, ApiError, Code};
use crate::iam::{
    Command, Identity, IdentityKind, ManagedPolicy, NewPolicy, PolicyKind, Record, builtin,
};
use crate::state::View;

async fn call(api: &Api, command: Command) -> Result<Arc<ManagedPolicy>, ApiError> {
    match api.engine.call(command).await.map_err(from_call)? {
        Record::Policy(policy) => Ok(policy),
        Record::Identity(_) => Err(ApiError::new(Code::Server, "no policy")),
    }
}

fn find<'a>(view: &'a View, arn: &str) -> Result<&'a Arc<ManagedPolicy>, ApiError> {
    view.iam.policy(arn).ok_or_else(|| check::not_found("policy", arn))
}

/// `v3`
fn version_number(text: &str) -> Result<u32, ApiError> {
    let number = text.strip_prefix('v').and_then(|number| number.parse().ok());
    number.ok_or_else(|| ApiError::invalid(format_args!("versionId {text:?} is not v1, v2, …")))
}

fn show(view: &View, policy: &ManagedPolicy) -> Shown {
    let attached = view.iam.with_policy(&policy.arn).count();
    let bounded = view.iam.bounded_by(&policy.arn).count();
    Shown {
        policy_name: policy.name.clone(),
        policy_id: policy.id.clone(),
        arn: policy.arn.clone(),
        path: policy.path.clone(),
        default_version_id: format!("v{}", policy.default_version),
        permissions_boundary_usage_count: i64::try_from(bounded).unwrap_or(i64::MAX),
        attachment_count: i64::try_from(attached).unwrap_or(i64::MAX),
        is_attachable: true,
        description: Some(policy.description.clone()).filter(|text| !text.is_empty()),
        create_date: IsoTime::from_ms(policy.created_at_ms),
        update_date: IsoTime::from_ms(policy.updated_at_ms),
        tags: show_tags(&policy.tags),
    }
}

fn show_version(policy: &ManagedPolicy, number: u32, whole: bool) -> Option<ShownVersion> {
    let version = policy.versions.get(&number)?;
    Some(ShownVersion {
        document: whole.then(|| check::encoded(version.policy.text())),
        version_id: format!("v{number}"),
        is_default_version: policy.default_version == number,
        create_date: IsoTime::from_ms(version.created_at_ms),
    })
}

pub(super) async fn create(
    api: &Api,
    request: CreatePolicyRequest,
) -> Result<CreatePolicyResponse, ApiError> {
    check::policy_name(&request.policy_name)?;
    let kind = PolicyKind::Identity;
    let new = NewPolicy {
        name: request.policy_name,
        path: check::path(request.path)?,
        description: check::description(request.description)?,
        policy: check::document(&request.policy_document, kind, MANAGED_CHARS_MAX)?,
        tags: check::tags(request.tags)?,
    };
    let made = call(api, Command::CreatePolicy(new)).await?;
    Ok(CreatePolicyResponse { policy: show(&api.engine.snapshot(), &made) })
}

pub(super) async fn get(
    api: &Api,
    request: GetPolicyRequest,
) -> Result<GetPolicyResponse, ApiError> {
    let view = api.engine.snapshot();
    Ok(GetPolicyResponse { policy: show(&view, find(&view, &request.policy_arn)?) })
}

pub(super) async fn delete(api: &Api, request: DeletePolicyRequest) -> Result<Nothing, ApiError> {
    call(api, Command::DeletePolicy(request.policy_arn)).await?;
    Ok(Nothing {})
}

pub(super) async fn list(
    api: &Api,
    request: ListPoliciesRequest,
) -> Result<ListPoliciesResponse, ApiError> {
    let (awss, own) = match request.scope.as_deref() {
        None | Some("All") => (true, true),
        Some("AWS") => (true, false),
        Some("Local") => (false, true),
        Some(other) => {
            let message = format!("scope must be All, AWS or Local, not {other:?}");
            return Err(ApiError::invalid(message));
        }
    };
    let view = api.engine.snapshot();
    let only_attached = request.only_attached == Some(FormBool(true));
    let awss = builtin().values().filter(|_| awss);
    let mut all: Vec<_> = awss.chain(view.iam.policies().filter(|_| own)).collect();
    all.sort_by(|a, b| a.arn.cmp(&b.arn));
    let path = request.path_prefix.as_deref();
    let shown = all
        .into_iter()
        .filter(|policy| path.is_none_or(|path| policy.path.starts_with(path)))
        .map(|policy| show(&view, policy))
        .filter(|policy| !only_attached || 0 < policy.attachment_count);
    let marker = request.marker.as_deref();
    let page = check::page(shown, |policy| policy.arn.clone(), marker, request.max_items)?;
    Ok(ListPoliciesResponse {
        policies: page.items,
        is_truncated: page.marker.is_some(),
        marker: page.marker,
    })
}

pub(super) async fn create_version(
    api: &Api,
    request: CreatePolicyVersionRequest,
) -> Result<CreatePolicyVersionResponse, ApiError> {
    let kind = PolicyKind::Identity;
    let command = Command::AddVersion {
        arn: request.policy_arn,
        policy: check::document(&request.policy_document, kind, MANAGED_CHARS_MAX)?,
        default: request.set_as_default == Some(FormBool(true)),
    };
    let policy = call(api, command).await?;
    let version = show_version(&policy, policy.last_version, false);
    let version = version.ok_or_else(|| ApiError::new(Code::Server, "the version is gone"))?;
    Ok(CreatePolicyVersionResponse { policy_version: version })
}

pub(super) async fn get_version(
    api: &Api,
    request: GetPolicyVersionRequest,
) -> Result<GetPolicyVersionResponse, ApiError> {
    let view = api.engine.snapshot();
    let number = version_number(&request.version_id)?;
    let version = show_version(find(&view, &request.policy_arn)?, number, true);
    let missing = || check::not_found("policy version", &request.version_id);
    Ok(GetPolicyVersionResponse { policy_version: version.ok_or_else(missing)? })
}

pub(super) async fn list_versions(
    api: &Api,
    request: ListPolicyVersionsRequest,
) -> Result<ListPolicyVersionsResponse, ApiError> {
    let view = api.engine.snapshot();
    let policy = find(&view, &request.policy_arn)?;
    let all = policy.versions.keys().filter_map(|number| show_version(policy, *number, false));
    let marker = request.marker.as_deref();
    let page = check::page(all, |version| version.version_id.clone(), marker, request.max_items)?;
    Ok(ListPolicyVersionsResponse {
        versions: page.items,
        is_truncated: page.marker.is_some(),
        marker: page.marker,
    })
}

pub(super) async fn delete_version(
    api: &Api,
    request: DeletePolicyVersionRequest,
) -> Result<Nothing, ApiError> {
    let number = version_number(&request.version_id)?;
    call(api, Command::DeleteVersion(request.policy_arn, number)).await?;
    Ok(Nothing {})
}

pub(super) async fn set_default(
    api: &Api,
    request: SetDefaultPolicyVersionRequest,
) -> Result<Nothing, ApiError> {
    let number = version_number(&request.version_id)?;
    call(api, Command::SetDefault(request.policy_arn, number)).await?;
    Ok(Nothing {})
}

pub(super) async fn list_entities(
    api: &Api,
    request: ListEntitiesForPolicyRequest,
) -> Result<ListEntitiesForPolicyResponse, ApiError> {
    let view = api.engine.snapshot();
    find(&view, &request.policy_arn)?;
    let wanted = |kind: &str| request.entity_filter.as_deref().is_none_or(|filter| filter == kind);
    let usage = request.policy_usage_filter.as_deref();
    let all: Vec<&Arc<Identity>> = match usage {
        Some("PermissionsBoundary") => view.iam.bounded_by(&request.policy_arn).collect(),
        Some("PermissionsPolicy") | None => view.iam.with_policy(&request.policy_arn).collect(),
        Some(other) => {
            return Err(ApiError::invalid(format_args!(
                "policyUsageFilter has no value {other:?}"
            )));
        }
    };
    let of = |kind: IdentityKind| all.iter().filter(move |identity| identity.kind == kind);
    let user = |user: &&Arc<Identity>| PolicyUser {
        user_name: user.name.clone(),
        user_id: user.id.clone(),
    };
    let role = |role: &&Arc<Identity>| PolicyRole {
        role_name: role.name.clone(),
        role_id: role.id.clone(),
    };
    let group = |group: &&Arc<Identity>| PolicyGroup {
        group_name: group.name.clone(),
        group_id: group.id.clone(),
    };
    if let Some(marker) = &request.marker {
        return Err(ApiError::invalid(format_args!("marker {marker:?} is none of ours")));
    }
    check::page(all.iter(), |identity| identity.name.clone(), None, request.max_items)?;
    Ok(ListEntitiesForPolicyResponse {
        policy_groups: of(IdentityKind::Group).filter(|_| wanted("Group")).map(group).collect(),
        policy_users: of(IdentityKind::User).filter(|_| wanted("User")).map(user).collect(),
        policy_roles: of(IdentityKind::Role).filter(|_| wanted("Role")).map(role).collect(),
        is_truncated: false,
    })
}
