//! The structures of managed policies on the wire.

use super::values::{FormBool, FormInt, IsoTime, Tag};
use crate::api::wire::{Never, shape};

shape! {
    /// CreatePolicy's input.
    CreatePolicyRequest = "CreatePolicyRequest" {
        policy_name: "PolicyName" => String,
        path: "Path" => Option<String>,
        policy_document: "PolicyDocument" => String,
        description: "Description" => Option<String>,
        tags: "Tags" => Option<Vec<Tag>>,
    }
}

shape! {
    /// CreatePolicy's output.
    CreatePolicyResponse = "CreatePolicyResponse" {
        policy: "Policy" => Policy,
    }
}

shape! {
    /// GetPolicy's input.
    GetPolicyRequest = "GetPolicyRequest" {
        policy_arn: "PolicyArn" => String,
    }
}

shape! {
    /// GetPolicy's output.
    GetPolicyResponse = "GetPolicyResponse" {
        policy: "Policy" => Policy,
    }
}

shape! {
    /// DeletePolicy's input.
    DeletePolicyRequest = "DeletePolicyRequest" {
        policy_arn: "PolicyArn" => String,
    }
}

shape! {
    /// ListPolicies's input.
    ListPoliciesRequest = "ListPoliciesRequest" {
        scope: "Scope" => Option<String>,
        only_attached: "OnlyAttached" => Option<FormBool>,
        path_prefix: "PathPrefix" => Option<String>,
        marker: "Marker" => Option<String>,
        max_items: "MaxItems" => Option<FormInt>,
    }
    unsupported ["PolicyUsageFilter"]
}

shape! {
    /// ListPolicies's output.
    ListPoliciesResponse = "ListPoliciesResponse" {
        policies: "Policies" => Vec<Policy>,
        is_truncated: "IsTruncated" => bool,
        marker: "Marker" => Option<String>,
    }
}

shape! {
    /// CreatePolicyVersion's input.
    CreatePolicyVersionRequest = "CreatePolicyVersionRequest" {
        policy_arn: "PolicyArn" => String,
        policy_document: "PolicyDocument" => String,
        set_as_default: "SetAsDefault" => Option<FormBool>,
    }
}

shape! {
    /// CreatePolicyVersion's output.
    CreatePolicyVersionResponse = "CreatePolicyVersionResponse" {
        policy_version: "PolicyVersion" => PolicyVersion,
    }
}

shape! {
    /// GetPolicyVersion's input.
    GetPolicyVersionRequest = "GetPolicyVersionRequest" {
        policy_arn: "PolicyArn" => String,
        version_id: "VersionId" => String,
    }
}

shape! {
    /// GetPolicyVersion's output.
    GetPolicyVersionResponse = "GetPolicyVersionResponse" {
        policy_version: "PolicyVersion" => PolicyVersion,
    }
}

shape! {
    /// ListPolicyVersions's input.
    ListPolicyVersionsRequest = "ListPolicyVersionsRequest" {
        policy_arn: "PolicyArn" => String,
        marker: "Marker" => Option<String>,
        max_items: "MaxItems" => Option<FormInt>,
    }
}

shape! {
    /// ListPolicyVersions's output.
    ListPolicyVersionsResponse = "ListPolicyVersionsResponse" {
        versions: "Versions" => Vec<PolicyVersion>,
        is_truncated: "IsTruncated" => bool,
        marker: "Marker" => Option<String>,
    }
}

shape! {
    /// DeletePolicyVersion's input.
    DeletePolicyVersionRequest = "DeletePolicyVersionRequest" {
        policy_arn: "PolicyArn" => String,
        version_id: "VersionId" => String,
    }
}

shape! {
    /// SetDefaultPolicyVersion's input.
    SetDefaultPolicyVersionRequest = "SetDefaultPolicyVersionRequest" {
        policy_arn: "PolicyArn" => String,
        version_id: "VersionId" => String,
    }
}

shape! {
    /// ListEntitiesForPolicy's input.
    ListEntitiesForPolicyRequest = "ListEntitiesForPolicyRequest" {
        policy_arn: "PolicyArn" => String,
        entity_filter: "EntityFilter" => Option<String>,
        /// PermissionsPolicy (default) or PermissionsBoundary.
        policy_usage_filter: "PolicyUsageFilter" => Option<String>,
        marker: "Marker" => Option<String>,
        max_items: "MaxItems" => Option<FormInt>,
    }
    unsupported ["PathPrefix"]
}

shape! {
    /// ListEntitiesForPolicy's output.
    ListEntitiesForPolicyResponse = "ListEntitiesForPolicyResponse" {
        policy_groups: "PolicyGroups" => Vec<PolicyGroup>,
        policy_users: "PolicyUsers" => Vec<PolicyUser>,
        policy_roles: "PolicyRoles" => Vec<PolicyRole>,
        is_truncated: "IsTruncated" => bool,
    }
}

shape! {
    /// SimulatePrincipalPolicy's input.
    SimulatePrincipalPolicyRequest = "SimulatePrincipalPolicyRequest" {
        policy_source_arn: "PolicySourceArn" => String,
        action_names: "ActionNames" => Vec<String>,
        resource_arns: "ResourceArns" => Option<Vec<String>>,
        policy_input_list: "PolicyInputList" => Option<Vec<String>>,
        context_entries: "ContextEntries" => Option<Vec<ContextEntry>>,
        max_items: "MaxItems" => Option<FormInt>,
        marker: "Marker" => Option<String>,
    }
    unsupported [
        "PermissionsBoundaryPolicyInputList", "ResourcePolicy", "ResourceOwner", "CallerArn",
        "ResourceHandlingOption",
    ]
}

shape! {
    /// SimulatePrincipalPolicy's output.
    SimulatePrincipalPolicyResponse = "SimulatePolicyResponse" {
        evaluation_results: "EvaluationResults" => Vec<EvaluationResult>,
        is_truncated: "IsTruncated" => bool,
    }
}

shape! {
    /// A managed policy.
    Policy = "Policy" {
        policy_name: "PolicyName" => String,
        policy_id: "PolicyId" => String,
        arn: "Arn" => String,
        path: "Path" => String,
        default_version_id: "DefaultVersionId" => String,
        permissions_boundary_usage_count: "PermissionsBoundaryUsageCount" => i64,
        attachment_count: "AttachmentCount" => i64,
        is_attachable: "IsAttachable" => bool,
        description: "Description" => Option<String>,
        create_date: "CreateDate" => IsoTime,
        update_date: "UpdateDate" => IsoTime,
        tags: "Tags" => Option<Vec<Tag>>,
    }
}

shape! {
    /// One version of a managed policy.
    PolicyVersion = "PolicyVersion" {
        document: "Document" => Option<String>,
        version_id: "VersionId" => String,
        is_default_version: "IsDefaultVersion" => bool,
        create_date: "CreateDate" => IsoTime,
    }
}

shape! {
    /// Who has a policy attached.
    PolicyUser = "PolicyUser" {
        user_name: "UserName" => String,
        user_id: "UserId" => String,
    }
}

shape! {
    /// Who has a policy attached.
    PolicyRole = "PolicyRole" {
        role_name: "RoleName" => String,
        role_id: "RoleId" => String,
    }
}

shape! {
    /// A key of a context to judge by.
    ContextEntry = "ContextEntry" {
        context_key_name: "ContextKeyName" => String,
        context_key_values: "ContextKeyValues" => Vec<String>,
        context_key_type: "ContextKeyType" => Option<String>,
    }
}

shape! {
    /// What the policies say.
    EvaluationResult = "EvaluationResult" {
        eval_action_name: "EvalActionName" => String,
        eval_resource_name: "EvalResourceName" => String,
        eval_decision: "EvalDecision" => String,
        matched_statements: "MatchedStatements" => Vec<Never>,
        missing_context_values: "MissingContextValues" => Vec<String>,
    }
}

shape! {
    /// A group that has a policy.
    PolicyGroup = "PolicyGroup" {
        group_name: "GroupName" => String,
        group_id: "GroupId" => String,
    }
}
