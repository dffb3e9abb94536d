//! The structures of groups on the wire.

use super::user_shapes::User;
use super::values::{AttachedPolicy, FormInt, IsoTime};
use crate::api::wire::shape;

shape! {
    /// A group.
    Group = "Group" {
        path: "Path" => String,
        group_name: "GroupName" => String,
        group_id: "GroupId" => String,
        arn: "Arn" => String,
        create_date: "CreateDate" => IsoTime,
    }
}

shape! {
    /// CreateGroup's input.
    CreateGroupRequest = "CreateGroupRequest" {
        group_name: "GroupName" => String,
        path: "Path" => Option<String>,
    }
}

shape! {
    /// CreateGroup's output.
    CreateGroupResponse = "CreateGroupResponse" {
        group: "Group" => Group,
    }
}

shape! {
    /// GetGroup's input.
    GetGroupRequest = "GetGroupRequest" {
        group_name: "GroupName" => String,
        marker: "Marker" => Option<String>,
        max_items: "MaxItems" => Option<FormInt>,
    }
}

shape! {
    /// GetGroup's output.
    GetGroupResponse = "GetGroupResponse" {
        group: "Group" => Group,
        users: "Users" => Vec<User>,
        is_truncated: "IsTruncated" => bool,
        marker: "Marker" => Option<String>,
    }
}

shape! {
    /// DeleteGroup's input.
    DeleteGroupRequest = "DeleteGroupRequest" {
        group_name: "GroupName" => String,
    }
}

shape! {
    /// ListGroups' input.
    ListGroupsRequest = "ListGroupsRequest" {
        path_prefix: "PathPrefix" => Option<String>,
        marker: "Marker" => Option<String>,
        max_items: "MaxItems" => Option<FormInt>,
    }
}

shape! {
    /// ListGroups' output.
    ListGroupsResponse = "ListGroupsResponse" {
        groups: "Groups" => Vec<Group>,
        is_truncated: "IsTruncated" => bool,
        marker: "Marker" => Option<String>,
    }
}

shape! {
    /// ListGroupsForUser's input.
    ListGroupsForUserRequest = "ListGroupsForUserRequest" {
        user_name: "UserName" => String,
        marker: "Marker" => Option<String>,
        max_items: "MaxItems" => Option<FormInt>,
    }
}

shape! {
    /// ListGroupsForUser's output.
    ListGroupsForUserResponse = "ListGroupsForUserResponse" {
        groups: "Groups" => Vec<Group>,
        is_truncated: "IsTruncated" => bool,
        marker: "Marker" => Option<String>,
    }
}

shape! {
    /// AddUserToGroup's input.
    AddUserToGroupRequest = "AddUserToGroupRequest" {
        group_name: "GroupName" => String,
        user_name: "UserName" => String,
    }
}

shape! {
    /// RemoveUserFromGroup's input.
    RemoveUserFromGroupRequest = "RemoveUserFromGroupRequest" {
        group_name: "GroupName" => String,
        user_name: "UserName" => String,
    }
}

shape! {
    /// PutGroupPolicy's input.
    PutGroupPolicyRequest = "PutGroupPolicyRequest" {
        group_name: "GroupName" => String,
        policy_name: "PolicyName" => String,
        policy_document: "PolicyDocument" => String,
    }
}

shape! {
    /// GetGroupPolicy's input.
    GetGroupPolicyRequest = "GetGroupPolicyRequest" {
        group_name: "GroupName" => String,
        policy_name: "PolicyName" => String,
    }
}

shape! {
    /// GetGroupPolicy's output.
    GetGroupPolicyResponse = "GetGroupPolicyResponse" {
        group_name: "GroupName" => String,
        policy_name: "PolicyName" => String,
        policy_document: "PolicyDocument" => String,
    }
}

shape! {
    /// DeleteGroupPolicy's input.
    DeleteGroupPolicyRequest = "DeleteGroupPolicyRequest" {
        group_name: "GroupName" => String,
        policy_name: "PolicyName" => String,
    }
}

shape! {
    /// ListGroupPolicies' input.
    ListGroupPoliciesRequest = "ListGroupPoliciesRequest" {
        group_name: "GroupName" => String,
        marker: "Marker" => Option<String>,
        max_items: "MaxItems" => Option<FormInt>,
    }
}

shape! {
    /// ListGroupPolicies' output.
    ListGroupPoliciesResponse = "ListGroupPoliciesResponse" {
        policy_names: "PolicyNames" => Vec<String>,
        is_truncated: "IsTruncated" => bool,
        marker: "Marker" => Option<String>,
    }
}

shape! {
    /// AttachGroupPolicy's input.
    AttachGroupPolicyRequest = "AttachGroupPolicyRequest" {
        group_name: "GroupName" => String,
        policy_arn: "PolicyArn" => String,
    }
}

shape! {
    /// DetachGroupPolicy's input.
    DetachGroupPolicyRequest = "DetachGroupPolicyRequest" {
        group_name: "GroupName" => String,
        policy_arn: "PolicyArn" => String,
    }
}

shape! {
    /// ListAttachedGroupPolicies' input.
    ListAttachedGroupPoliciesRequest = "ListAttachedGroupPoliciesRequest" {
        group_name: "GroupName" => String,
        path_prefix: "PathPrefix" => Option<String>,
        marker: "Marker" => Option<String>,
        max_items: "MaxItems" => Option<FormInt>,
    }
}

shape! {
    /// ListAttachedGroupPolicies' output.
    ListAttachedGroupPoliciesResponse = "ListAttachedGroupPoliciesResponse" {
        attached_policies: "AttachedPolicies" => Vec<AttachedPolicy>,
        is_truncated: "IsTruncated" => bool,
        marker: "Marker" => Option<String>,
    }
}
