//! The structures of roles on the wire.

use super::values::{AttachedPermissionsBoundary, AttachedPolicy, FormInt, IsoTime, Tag};
use crate::api::wire::shape;

shape! {
    /// CreateRole's input.
    CreateRoleRequest = "CreateRoleRequest" {
        role_name: "RoleName" => String,
        assume_role_policy_document: "AssumeRolePolicyDocument" => String,
        path: "Path" => Option<String>,
        description: "Description" => Option<String>,
        max_session_duration: "MaxSessionDuration" => Option<FormInt>,
        tags: "Tags" => Option<Vec<Tag>>,
        /// ARN of a managed policy beyond which nothing is allowed.
        permissions_boundary: "PermissionsBoundary" => Option<String>,
    }
}

shape! {
    /// CreateRole's output.
    CreateRoleResponse = "CreateRoleResponse" {
        role: "Role" => Role,
    }
}

shape! {
    /// GetRole's output.
    GetRoleResponse = "GetRoleResponse" {
        role: "Role" => Role,
    }
}

shape! {
    /// CreateServiceLinkedRole's input.
    CreateServiceLinkedRoleRequest = "CreateServiceLinkedRoleRequest" {
        aws_service_name: "AWSServiceName" => String,
        description: "Description" => Option<String>,
    }
    unsupported ["CustomSuffix"]
}

shape! {
    /// CreateServiceLinkedRole's output.
    CreateServiceLinkedRoleResponse = "CreateServiceLinkedRoleResponse" {
        role: "Role" => Role,
    }
}

shape! {
    /// GetRole's input.
    GetRoleRequest = "GetRoleRequest" {
        role_name: "RoleName" => String,
    }
}

shape! {
    /// DeleteRole's input.
    DeleteRoleRequest = "DeleteRoleRequest" {
        role_name: "RoleName" => String,
    }
}

shape! {
    /// ListRoles's input.
    ListRolesRequest = "ListRolesRequest" {
        path_prefix: "PathPrefix" => Option<String>,
        marker: "Marker" => Option<String>,
        max_items: "MaxItems" => Option<FormInt>,
    }
}

shape! {
    /// ListRoles's output.
    ListRolesResponse = "ListRolesResponse" {
        roles: "Roles" => Vec<Role>,
        is_truncated: "IsTruncated" => bool,
        marker: "Marker" => Option<String>,
    }
}

shape! {
    /// UpdateRole's input.
    UpdateRoleRequest = "UpdateRoleRequest" {
        role_name: "RoleName" => String,
        description: "Description" => Option<String>,
        max_session_duration: "MaxSessionDuration" => Option<FormInt>,
    }
}

shape! {
    /// UpdateRole's output.
    UpdateRoleResponse = "UpdateRoleResponse" {}
}

shape! {
    /// UpdateAssumeRolePolicy's input.
    UpdateAssumeRolePolicyRequest = "UpdateAssumeRolePolicyRequest" {
        role_name: "RoleName" => String,
        policy_document: "PolicyDocument" => String,
    }
}

shape! {
    /// PutRolePolicy's input.
    PutRolePolicyRequest = "PutRolePolicyRequest" {
        role_name: "RoleName" => String,
        policy_name: "PolicyName" => String,
        policy_document: "PolicyDocument" => String,
    }
}

shape! {
    /// GetRolePolicy's input.
    GetRolePolicyRequest = "GetRolePolicyRequest" {
        role_name: "RoleName" => String,
        policy_name: "PolicyName" => String,
    }
}

shape! {
    /// GetRolePolicy's output.
    GetRolePolicyResponse = "GetRolePolicyResponse" {
        role_name: "RoleName" => String,
        policy_name: "PolicyName" => String,
        policy_document: "PolicyDocument" => String,
    }
}

shape! {
    /// DeleteRolePolicy's input.
    DeleteRolePolicyRequest = "DeleteRolePolicyRequest" {
        role_name: "RoleName" => String,
        policy_name: "PolicyName" => String,
    }
}

shape! {
    /// ListRolePolicies's input.
    ListRolePoliciesRequest = "ListRolePoliciesRequest" {
        role_name: "RoleName" => String,
        marker: "Marker" => Option<String>,
        max_items: "MaxItems" => Option<FormInt>,
    }
}

shape! {
    /// ListRolePolicies's output.
    ListRolePoliciesResponse = "ListRolePoliciesResponse" {
        policy_names: "PolicyNames" => Vec<String>,
        is_truncated: "IsTruncated" => bool,
        marker: "Marker" => Option<String>,
    }
}

shape! {
    /// AttachRolePolicy's input.
    AttachRolePolicyRequest = "AttachRolePolicyRequest" {
        role_name: "RoleName" => String,
        policy_arn: "PolicyArn" => String,
    }
}

shape! {
    /// DetachRolePolicy's input.
    DetachRolePolicyRequest = "DetachRolePolicyRequest" {
        role_name: "RoleName" => String,
        policy_arn: "PolicyArn" => String,
    }
}

shape! {
    /// ListAttachedRolePolicies's input.
    ListAttachedRolePoliciesRequest = "ListAttachedRolePoliciesRequest" {
        role_name: "RoleName" => String,
        path_prefix: "PathPrefix" => Option<String>,
        marker: "Marker" => Option<String>,
        max_items: "MaxItems" => Option<FormInt>,
    }
}

shape! {
    /// ListAttachedRolePolicies's output.
    ListAttachedRolePoliciesResponse = "ListAttachedRolePoliciesResponse" {
        attached_policies: "AttachedPolicies" => Vec<AttachedPolicy>,
        is_truncated: "IsTruncated" => bool,
        marker: "Marker" => Option<String>,
    }
}

shape! {
    /// TagRole's input.
    TagRoleRequest = "TagRoleRequest" {
        role_name: "RoleName" => String,
        tags: "Tags" => Vec<Tag>,
    }
}

shape! {
    /// UntagRole's input.
    UntagRoleRequest = "UntagRoleRequest" {
        role_name: "RoleName" => String,
        tag_keys: "TagKeys" => Vec<String>,
    }
}

shape! {
    /// ListRoleTags's input.
    ListRoleTagsRequest = "ListRoleTagsRequest" {
        role_name: "RoleName" => String,
        marker: "Marker" => Option<String>,
        max_items: "MaxItems" => Option<FormInt>,
    }
}

shape! {
    /// ListRoleTags's output.
    ListRoleTagsResponse = "ListRoleTagsResponse" {
        tags: "Tags" => Vec<Tag>,
        is_truncated: "IsTruncated" => bool,
        marker: "Marker" => Option<String>,
    }
}

shape! {
    /// A role.
    Role = "Role" {
        path: "Path" => String,
        role_name: "RoleName" => String,
        role_id: "RoleId" => String,
        arn: "Arn" => String,
        create_date: "CreateDate" => IsoTime,
        assume_role_policy_document: "AssumeRolePolicyDocument" => String,
        description: "Description" => Option<String>,
        max_session_duration: "MaxSessionDuration" => i64,
        permissions_boundary: "PermissionsBoundary" => Option<AttachedPermissionsBoundary>,
        tags: "Tags" => Option<Vec<Tag>>,
    }
}

shape! {
    /// PutRolePermissionsBoundary's input.
    PutRolePermissionsBoundaryRequest = "PutRolePermissionsBoundaryRequest" {
        role_name: "RoleName" => String,
        /// ARN of a managed policy.
        permissions_boundary: "PermissionsBoundary" => String,
    }
}

shape! {
    /// DeleteRolePermissionsBoundary's input.
    DeleteRolePermissionsBoundaryRequest = "DeleteRolePermissionsBoundaryRequest" {
        role_name: "RoleName" => String,
    }
}
