//! IAM, in AWS's query protocol: users, roles, policies. [`crate::iam`] holds the rules; here are
//! the shapes, the checks of what is asked, and what each operation needs itself.

mod check;
mod group_shapes;
mod groups;
mod identities;
mod needs;
mod policies;
mod policy_shapes;
mod profiles;
mod role_shapes;
mod roles;
mod simulate;
mod twins;
mod user_shapes;
mod users;
pub(super) mod values;

use serde_json::Value;

pub(super) use self::check::refusal;
pub(super) use self::needs::needs;
use self::twins::{tagged, twins};
pub(super) use self::user_shapes::CreateAccessKeyRequest;
pub(super) use self::users::{create_key, grant as grant_user, inline_policy, make as make_user};
use crate::api::wire::operations;
use crate::iam::Principal;

/// The API's version.
pub(super) const VERSION: &str = "2010-05-08";
/// Of its answers.
pub(super) const NAMESPACE: &str = "https://iam.amazonaws.com/doc/2010-05-08/";

/// Operations whose `UserName` is the caller where it is absent.
const OF_CALLER: [&str; 5] =
    ["GetUser", "CreateAccessKey", "UpdateAccessKey", "DeleteAccessKey", "ListAccessKeys"];

/// Fills in what the caller left to be understood.
pub(super) fn complete(operation: &str, body: &mut Value, principal: &Principal) {
    if OF_CALLER.contains(&operation)
        && let Principal::User { name, .. } = principal
        && let Some(fields) = body.as_object_mut()
    {
        fields.entry("UserName").or_insert_with(|| Value::String(name.clone()));
    }
}

operations! {
    "CreateRole" => roles::create,
        role_shapes::CreateRoleRequest
            => role_shapes::CreateRoleResponse;
    "GetRole" => roles::get, role_shapes::GetRoleRequest => role_shapes::GetRoleResponse;
    "DeleteRole" => roles::delete, role_shapes::DeleteRoleRequest => values::Nothing;
    "ListRoles" => roles::list, role_shapes::ListRolesRequest => role_shapes::ListRolesResponse;
    "UpdateRole" => roles::update,
        role_shapes::UpdateRoleRequest
            => role_shapes::UpdateRoleResponse;
    "UpdateAssumeRolePolicy" => roles::update_trust,
        role_shapes::UpdateAssumeRolePolicyRequest
            => values::Nothing;
    "PutRolePolicy" => roles::put_policy, role_shapes::PutRolePolicyRequest => values::Nothing;
    "GetRolePolicy" => roles::get_policy,
        role_shapes::GetRolePolicyRequest
            => role_shapes::GetRolePolicyResponse;
    "DeleteRolePolicy" => roles::delete_policy,
        role_shapes::DeleteRolePolicyRequest
            => values::Nothing;
    "ListRolePolicies" => roles::list_policies,
        role_shapes::ListRolePoliciesRequest
            => role_shapes::ListRolePoliciesResponse;
    "AttachRolePolicy" => roles::attach, role_shapes::AttachRolePolicyRequest => values::Nothing;
    "DetachRolePolicy" => roles::detach, role_shapes::DetachRolePolicyRequest => values::Nothing;
    "ListAttachedRolePolicies" => roles::list_attached,
        role_shapes::ListAttachedRolePoliciesRequest
            => role_shapes::ListAttachedRolePoliciesResponse;
    "TagRole" => roles::tag, role_shapes::TagRoleRequest => values::Nothing;
    "UntagRole" => roles::untag, role_shapes::UntagRoleRequest => values::Nothing;
    "ListRoleTags" => roles::list_tags,
        role_shapes::ListRoleTagsRequest
            => role_shapes::ListRoleTagsResponse;
    "ListInstanceProfilesForRole" => profiles::of_role,
        profiles::ListInstanceProfilesForRoleRequest
            => profiles::ListInstanceProfilesForRoleResponse;
    "CreateInstanceProfile" => profiles::create,
        profiles::CreateInstanceProfileRequest
            => profiles::CreateInstanceProfileResponse;
    "GetInstanceProfile" => profiles::get,
        profiles::GetInstanceProfileRequest
            => profiles::GetInstanceProfileResponse;
    "DeleteInstanceProfile" => profiles::delete,
        profiles::DeleteInstanceProfileRequest
            => values::Nothing;
    "ListInstanceProfiles" => profiles::list,
        profiles::ListInstanceProfilesRequest
            => profiles::ListInstanceProfilesResponse;
    "AddRoleToInstanceProfile" => profiles::add_role,
        profiles::AddRoleToInstanceProfileRequest
            => values::Nothing;
    "RemoveRoleFromInstanceProfile" => profiles::remove_role,
        profiles::RemoveRoleFromInstanceProfileRequest
            => values::Nothing;
    "TagInstanceProfile" => profiles::tag,
        profiles::TagInstanceProfileRequest
            => values::Nothing;
    "UntagInstanceProfile" => profiles::untag,
        profiles::UntagInstanceProfileRequest
            => values::Nothing;
    "ListInstanceProfileTags" => profiles::list_tags,
        profiles::ListInstanceProfileTagsRequest
            => profiles::ListInstanceProfileTagsResponse;
    "PutRolePermissionsBoundary" => roles::put_boundary,
        role_shapes::PutRolePermissionsBoundaryRequest
            => values::Nothing;
    "DeleteRolePermissionsBoundary" => roles::delete_boundary,
        role_shapes::DeleteRolePermissionsBoundaryRequest
            => values::Nothing;
    "PutUserPermissionsBoundary" => users::put_boundary,
        user_shapes::PutUserPermissionsBoundaryRequest
            => values::Nothing;
    "DeleteUserPermissionsBoundary" => users::delete_boundary,
        user_shapes::DeleteUserPermissionsBoundaryRequest
            => values::Nothing;
    "CreateGroup" => groups::create,
        group_shapes::CreateGroupRequest
            => group_shapes::CreateGroupResponse;
    "GetGroup" => groups::get,
        group_shapes::GetGroupRequest
            => group_shapes::GetGroupResponse;
    "DeleteGroup" => groups::delete,
        group_shapes::DeleteGroupRequest
            => values::Nothing;
    "ListGroups" => groups::list,
        group_shapes::ListGroupsRequest
            => group_shapes::ListGroupsResponse;
    "AddUserToGroup" => groups::add_user,
        group_shapes::AddUserToGroupRequest
            => values::Nothing;
    "RemoveUserFromGroup" => groups::remove_user,
        group_shapes::RemoveUserFromGroupRequest
            => values::Nothing;
    "PutGroupPolicy" => groups::put_policy,
        group_shapes::PutGroupPolicyRequest
            => values::Nothing;
    "GetGroupPolicy" => groups::get_policy,
        group_shapes::GetGroupPolicyRequest
            => group_shapes::GetGroupPolicyResponse;
    "DeleteGroupPolicy" => groups::delete_policy,
        group_shapes::DeleteGroupPolicyRequest
            => values::Nothing;
    "ListGroupPolicies" => groups::list_policies,
        group_shapes::ListGroupPoliciesRequest
            => group_shapes::ListGroupPoliciesResponse;
    "AttachGroupPolicy" => groups::attach,
        group_shapes::AttachGroupPolicyRequest
            => values::Nothing;
    "DetachGroupPolicy" => groups::detach,
        group_shapes::DetachGroupPolicyRequest
            => values::Nothing;
    "ListAttachedGroupPolicies" => groups::list_attached,
        group_shapes::ListAttachedGroupPoliciesRequest
            => group_shapes::ListAttachedGroupPoliciesResponse;
    "CreateServiceLinkedRole" => roles::create_service_linked,
        role_shapes::CreateServiceLinkedRoleRequest
            => role_shapes::CreateServiceLinkedRoleResponse;
    "CreateUser" => users::create,
        user_shapes::CreateUserRequest
            => user_shapes::CreateUserResponse;
    "GetUser" => users::get, user_shapes::GetUserRequest => user_shapes::GetUserResponse;
    "DeleteUser" => users::delete, user_shapes::DeleteUserRequest => values::Nothing;
    "ListUsers" => users::list, user_shapes::ListUsersRequest => user_shapes::ListUsersResponse;
    "PutUserPolicy" => users::put_policy, user_shapes::PutUserPolicyRequest => values::Nothing;
    "GetUserPolicy" => users::get_policy,
        user_shapes::GetUserPolicyRequest
            => user_shapes::GetUserPolicyResponse;
    "DeleteUserPolicy" => users::delete_policy,
        user_shapes::DeleteUserPolicyRequest
            => values::Nothing;
    "ListUserPolicies" => users::list_policies,
        user_shapes::ListUserPoliciesRequest
            => user_shapes::ListUserPoliciesResponse;
    "AttachUserPolicy" => users::attach, user_shapes::AttachUserPolicyRequest => values::Nothing;
    "DetachUserPolicy" => users::detach, user_shapes::DetachUserPolicyRequest => values::Nothing;
    "ListAttachedUserPolicies" => users::list_attached,
        user_shapes::ListAttachedUserPoliciesRequest
            => user_shapes::ListAttachedUserPoliciesResponse;
    "TagUser" => users::tag, user_shapes::TagUserRequest => values::Nothing;
    "UntagUser" => users::untag, user_shapes::UntagUserRequest => values::Nothing;
    "ListUserTags" => users::list_tags,
        user_shapes::ListUserTagsRequest
            => user_shapes::ListUserTagsResponse;
    "ListGroupsForUser" => groups::of_user,
        group_shapes::ListGroupsForUserRequest
            => group_shapes::ListGroupsForUserResponse;
    "CreateAccessKey" => create_key,
        CreateAccessKeyRequest
            => user_shapes::CreateAccessKeyResponse;
    "UpdateAccessKey" => users::update_key, user_shapes::UpdateAccessKeyRequest => values::Nothing;
    "DeleteAccessKey" => users::delete_key, user_shapes::DeleteAccessKeyRequest => values::Nothing;
    "ListAccessKeys" => users::list_keys,
        user_shapes::ListAccessKeysRequest
            => user_shapes::ListAccessKeysResponse;
    "CreatePolicy" => policies::create,
        policy_shapes::CreatePolicyRequest
            => policy_shapes::CreatePolicyResponse;
    "GetPolicy" => policies::get,
        policy_shapes::GetPolicyRequest
            => policy_shapes::GetPolicyResponse;
    "DeletePolicy" => policies::delete, policy_shapes::DeletePolicyRequest => values::Nothing;
    "ListPolicies" => policies::list,
        policy_shapes::ListPoliciesRequest
            => policy_shapes::ListPoliciesResponse;
    "CreatePolicyVersion" => policies::create_version,
        policy_shapes::CreatePolicyVersionRequest
            => policy_shapes::CreatePolicyVersionResponse;
    "GetPolicyVersion" => policies::get_version,
        policy_shapes::GetPolicyVersionRequest
            => policy_shapes::GetPolicyVersionResponse;
    "ListPolicyVersions" => policies::list_versions,
        policy_shapes::ListPolicyVersionsRequest
            => policy_shapes::ListPolicyVersionsResponse;
    "DeletePolicyVersion" => policies::delete_version,
        policy_shapes::DeletePolicyVersionRequest
            => values::Nothing;
    "SetDefaultPolicyVersion" => policies::set_default,
        policy_shapes::SetDefaultPolicyVersionRequest
            => values::Nothing;
    "ListEntitiesForPolicy" => policies::list_entities,
        policy_shapes::ListEntitiesForPolicyRequest
            => policy_shapes::ListEntitiesForPolicyResponse;
    "SimulatePrincipalPolicy" => simulate::run,
        policy_shapes::SimulatePrincipalPolicyRequest
            => policy_shapes::SimulatePrincipalPolicyResponse;
}
