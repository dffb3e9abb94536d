//! The structures of users and access keys on the wire.

use super::values::{AttachedPermissionsBoundary, AttachedPolicy, FormInt, IsoTime, Tag};
use crate::api::wire::shape;

shape! {
    /// CreateUser's input.
    CreateUserRequest = "CreateUserRequest" {
        user_name: "UserName" => String,
        path: "Path" => Option<String>,
        tags: "Tags" => Option<Vec<Tag>>,
        /// ARN of a managed policy beyond which nothing is allowed.
        permissions_boundary: "PermissionsBoundary" => Option<String>,
    }
}

shape! {
    /// CreateUser's output.
    CreateUserResponse = "CreateUserResponse" {
        user: "User" => User,
    }
}

shape! {
    /// GetUser's input.
    GetUserRequest = "GetUserRequest" {
        user_name: "UserName" => String,
    }
}

shape! {
    /// GetUser's output.
    GetUserResponse = "GetUserResponse" {
        user: "User" => User,
    }
}

shape! {
    /// DeleteUser's input.
    DeleteUserRequest = "DeleteUserRequest" {
        user_name: "UserName" => String,
    }
}

shape! {
    /// ListUsers's input.
    ListUsersRequest = "ListUsersRequest" {
        path_prefix: "PathPrefix" => Option<String>,
        marker: "Marker" => Option<String>,
        max_items: "MaxItems" => Option<FormInt>,
    }
}

shape! {
    /// ListUsers's output.
    ListUsersResponse = "ListUsersResponse" {
        users: "Users" => Vec<User>,
        is_truncated: "IsTruncated" => bool,
        marker: "Marker" => Option<String>,
    }
}

shape! {
    /// PutUserPolicy's input.
    PutUserPolicyRequest = "PutUserPolicyRequest" {
        user_name: "UserName" => String,
        policy_name: "PolicyName" => String,
        policy_document: "PolicyDocument" => String,
    }
}

shape! {
    /// GetUserPolicy's input.
    GetUserPolicyRequest = "GetUserPolicyRequest" {
        user_name: "UserName" => String,
        policy_name: "PolicyName" => String,
    }
}

shape! {
    /// GetUserPolicy's output.
    GetUserPolicyResponse = "GetUserPolicyResponse" {
        user_name: "UserName" => String,
        policy_name: "PolicyName" => String,
        policy_document: "PolicyDocument" => String,
    }
}

shape! {
    /// DeleteUserPolicy's input.
    DeleteUserPolicyRequest = "DeleteUserPolicyRequest" {
        user_name: "UserName" => String,
        policy_name: "PolicyName" => String,
    }
}

shape! {
    /// ListUserPolicies's input.
    ListUserPoliciesRequest = "ListUserPoliciesRequest" {
        user_name: "UserName" => String,
        marker: "Marker" => Option<String>,
        max_items: "MaxItems" => Option<FormInt>,
    }
}

shape! {
    /// ListUserPolicies's output.
    ListUserPoliciesResponse = "ListUserPoliciesResponse" {
        policy_names: "PolicyNames" => Vec<String>,
        is_truncated: "IsTruncated" => bool,
        marker: "Marker" => Option<String>,
    }
}

shape! {
    /// AttachUserPolicy's input.
    AttachUserPolicyRequest = "AttachUserPolicyRequest" {
        user_name: "UserName" => String,
        policy_arn: "PolicyArn" => String,
    }
}

shape! {
    /// DetachUserPolicy's input.
    DetachUserPolicyRequest = "DetachUserPolicyRequest" {
        user_name: "UserName" => String,
        policy_arn: "PolicyArn" => String,
    }
}

shape! {
    /// ListAttachedUserPolicies's input.
    ListAttachedUserPoliciesRequest = "ListAttachedUserPoliciesRequest" {
        user_name: "UserName" => String,
        path_prefix: "PathPrefix" => Option<String>,
        marker: "Marker" => Option<String>,
        max_items: "MaxItems" => Option<FormInt>,
    }
}

shape! {
    /// ListAttachedUserPolicies's output.
    ListAttachedUserPoliciesResponse = "ListAttachedUserPoliciesResponse" {
        attached_policies: "AttachedPolicies" => Vec<AttachedPolicy>,
        is_truncated: "IsTruncated" => bool,
        marker: "Marker" => Option<String>,
    }
}

shape! {
    /// TagUser's input.
    TagUserRequest = "TagUserRequest" {
        user_name: "UserName" => String,
        tags: "Tags" => Vec<Tag>,
    }
}

shape! {
    /// UntagUser's input.
    UntagUserRequest = "UntagUserRequest" {
        user_name: "UserName" => String,
        tag_keys: "TagKeys" => Vec<String>,
    }
}

shape! {
    /// ListUserTags's input.
    ListUserTagsRequest = "ListUserTagsRequest" {
        user_name: "UserName" => String,
        marker: "Marker" => Option<String>,
        max_items: "MaxItems" => Option<FormInt>,
    }
}

shape! {
    /// ListUserTags's output.
    ListUserTagsResponse = "ListUserTagsResponse" {
        tags: "Tags" => Vec<Tag>,
        is_truncated: "IsTruncated" => bool,
        marker: "Marker" => Option<String>,
    }
}

shape! {
    /// CreateAccessKey's input.
    CreateAccessKeyRequest = "CreateAccessKeyRequest" {
        user_name: "UserName" => String,
    }
}

shape! {
    /// CreateAccessKey's output.
    CreateAccessKeyResponse = "CreateAccessKeyResponse" {
        access_key: "AccessKey" => AccessKey,
    }
}

shape! {
    /// UpdateAccessKey's input.
    UpdateAccessKeyRequest = "UpdateAccessKeyRequest" {
        user_name: "UserName" => String,
        access_key_id: "AccessKeyId" => String,
        status: "Status" => String,
    }
}

shape! {
    /// DeleteAccessKey's input.
    DeleteAccessKeyRequest = "DeleteAccessKeyRequest" {
        user_name: "UserName" => String,
        access_key_id: "AccessKeyId" => String,
    }
}

shape! {
    /// ListAccessKeys's input.
    ListAccessKeysRequest = "ListAccessKeysRequest" {
        user_name: "UserName" => String,
        marker: "Marker" => Option<String>,
        max_items: "MaxItems" => Option<FormInt>,
    }
}

shape! {
    /// ListAccessKeys's output.
    ListAccessKeysResponse = "ListAccessKeysResponse" {
        access_key_metadata: "AccessKeyMetadata" => Vec<AccessKeyMetadata>,
        is_truncated: "IsTruncated" => bool,
        marker: "Marker" => Option<String>,
    }
}

shape! {
    /// A user.
    User = "User" {
        path: "Path" => String,
        user_name: "UserName" => String,
        user_id: "UserId" => String,
        arn: "Arn" => String,
        create_date: "CreateDate" => IsoTime,
        permissions_boundary: "PermissionsBoundary" => Option<AttachedPermissionsBoundary>,
        tags: "Tags" => Option<Vec<Tag>>,
    }
}

shape! {
    /// An access key with its secret, told this once.
    AccessKey = "AccessKey" {
        user_name: "UserName" => String,
        access_key_id: "AccessKeyId" => String,
        status: "Status" => String,
        secret_access_key: "SecretAccessKey" => String,
        create_date: "CreateDate" => IsoTime,
    }
}

shape! {
    /// An access key without its secret.
    AccessKeyMetadata = "AccessKeyMetadata" {
        user_name: "UserName" => String,
        access_key_id: "AccessKeyId" => String,
        status: "Status" => String,
        create_date: "CreateDate" => IsoTime,
    }
}

shape! {
    /// PutUserPermissionsBoundary's input.
    PutUserPermissionsBoundaryRequest = "PutUserPermissionsBoundaryRequest" {
        user_name: "UserName" => String,
        /// ARN of a managed policy.
        permissions_boundary: "PermissionsBoundary" => String,
    }
}

shape! {
    /// DeleteUserPermissionsBoundary's input.
    DeleteUserPermissionsBoundaryRequest = "DeleteUserPermissionsBoundaryRequest" {
        user_name: "UserName" => String,
    }
}
