//! The structures of secretsmanager on the wire.

use super::values::{Stages, Tag};
use crate::api::wire::{EpochSeconds, shape};

shape! {
    /// CreateSecret's input.
    CreateSecretRequest = "CreateSecretRequest" {
        name: "Name" => String,
        client_request_token: "ClientRequestToken" => Option<String>,
        description: "Description" => Option<String>,
        kms_key_id: "KmsKeyId" => Option<String>,
        secret_string: "SecretString" => Option<String>,
        secret_binary: "SecretBinary" => Option<String>,
        tags: "Tags" => Option<Vec<Tag>>,
    }
    unsupported ["AddReplicaRegions", "ForceOverwriteReplicaSecret", "Type"]
}

shape! {
    /// CreateSecret's output.
    CreateSecretResponse = "CreateSecretResponse" {
        arn: "ARN" => String,
        name: "Name" => String,
        version_id: "VersionId" => Option<String>,
    }
}

shape! {
    /// GetSecretValue's input.
    GetSecretValueRequest = "GetSecretValueRequest" {
        secret_id: "SecretId" => String,
        version_id: "VersionId" => Option<String>,
        version_stage: "VersionStage" => Option<String>,
    }
}

shape! {
    /// GetSecretValue's output.
    GetSecretValueResponse = "GetSecretValueResponse" {
        arn: "ARN" => String,
        name: "Name" => String,
        version_id: "VersionId" => String,
        secret_string: "SecretString" => Option<String>,
        secret_binary: "SecretBinary" => Option<String>,
        version_stages: "VersionStages" => Vec<String>,
        created_date: "CreatedDate" => EpochSeconds,
    }
}

shape! {
    /// BatchGetSecretValue's input.
    BatchGetSecretValueRequest = "BatchGetSecretValueRequest" {
        secret_id_list: "SecretIdList" => Option<Vec<String>>,
        filters: "Filters" => Option<Vec<Filter>>,
        max_results: "MaxResults" => Option<i64>,
        next_token: "NextToken" => Option<String>,
    }
}

shape! {
    /// BatchGetSecretValue's output.
    BatchGetSecretValueResponse = "BatchGetSecretValueResponse" {
        secret_values: "SecretValues" => Vec<SecretValueEntry>,
        next_token: "NextToken" => Option<String>,
        errors: "Errors" => Vec<SecretError>,
    }
}

shape! {
    /// A secret with its value.
    SecretValueEntry = "SecretValueEntry" {
        arn: "ARN" => String,
        name: "Name" => String,
        version_id: "VersionId" => String,
        secret_string: "SecretString" => Option<String>,
        secret_binary: "SecretBinary" => Option<String>,
        version_stages: "VersionStages" => Vec<String>,
        created_date: "CreatedDate" => EpochSeconds,
    }
}

shape! {
    /// Why one has no value for the caller.
    SecretError = "APIErrorType" {
        secret_id: "SecretId" => String,
        error_code: "ErrorCode" => String,
        message: "Message" => String,
    }
}

shape! {
    /// PutSecretValue's input.
    PutSecretValueRequest = "PutSecretValueRequest" {
        secret_id: "SecretId" => String,
        client_request_token: "ClientRequestToken" => Option<String>,
        secret_string: "SecretString" => Option<String>,
        secret_binary: "SecretBinary" => Option<String>,
        version_stages: "VersionStages" => Option<Vec<String>>,
    }
    unsupported ["RotationToken"]
}

shape! {
    /// PutSecretValue's output.
    PutSecretValueResponse = "PutSecretValueResponse" {
        arn: "ARN" => String,
        name: "Name" => String,
        version_id: "VersionId" => String,
        version_stages: "VersionStages" => Vec<String>,
    }
}

shape! {
    /// UpdateSecret's input.
    UpdateSecretRequest = "UpdateSecretRequest" {
        secret_id: "SecretId" => String,
        client_request_token: "ClientRequestToken" => Option<String>,
        description: "Description" => Option<String>,
        kms_key_id: "KmsKeyId" => Option<String>,
        secret_string: "SecretString" => Option<String>,
        secret_binary: "SecretBinary" => Option<String>,
    }
    unsupported ["Type"]
}

shape! {
    /// UpdateSecret's output.
    UpdateSecretResponse = "UpdateSecretResponse" {
        arn: "ARN" => String,
        name: "Name" => String,
        version_id: "VersionId" => Option<String>,
    }
}

shape! {
    /// DescribeSecret's input.
    DescribeSecretRequest = "DescribeSecretRequest" {
        secret_id: "SecretId" => String,
    }
}

shape! {
    /// DescribeSecret's output.
    DescribeSecretResponse = "DescribeSecretResponse" {
        arn: "ARN" => String,
        name: "Name" => String,
        description: "Description" => Option<String>,
        last_changed_date: "LastChangedDate" => EpochSeconds,
        deleted_date: "DeletedDate" => Option<EpochSeconds>,
        created_date: "CreatedDate" => EpochSeconds,
        tags: "Tags" => Vec<Tag>,
        version_ids_to_stages: "VersionIdsToStages" => Option<Stages>,
    }
}

shape! {
    /// ListSecrets's input.
    ListSecretsRequest = "ListSecretsRequest" {
        include_planned_deletion: "IncludePlannedDeletion" => Option<bool>,
        max_results: "MaxResults" => Option<i64>,
        next_token: "NextToken" => Option<String>,
        filters: "Filters" => Option<Vec<Filter>>,
        sort_order: "SortOrder" => Option<String>,
    }
    unsupported ["SortBy"]
}

shape! {
    /// ListSecrets's output.
    ListSecretsResponse = "ListSecretsResponse" {
        secret_list: "SecretList" => Vec<SecretListEntry>,
        next_token: "NextToken" => Option<String>,
    }
}

shape! {
    /// A secret without its value.
    SecretListEntry = "SecretListEntry" {
        arn: "ARN" => String,
        name: "Name" => String,
        description: "Description" => Option<String>,
        last_changed_date: "LastChangedDate" => EpochSeconds,
        deleted_date: "DeletedDate" => Option<EpochSeconds>,
        created_date: "CreatedDate" => EpochSeconds,
        tags: "Tags" => Vec<Tag>,
        secret_versions_to_stages: "SecretVersionsToStages" => Option<Stages>,
    }
}

shape! {
    /// Name, description or tag that secrets must have.
    Filter = "Filter" {
        key: "Key" => String,
        values: "Values" => Vec<String>,
    }
}

shape! {
    /// DeleteSecret's input.
    DeleteSecretRequest = "DeleteSecretRequest" {
        secret_id: "SecretId" => String,
        recovery_window_in_days: "RecoveryWindowInDays" => Option<i64>,
        force_delete_without_recovery: "ForceDeleteWithoutRecovery" => Option<bool>,
    }
}

shape! {
    /// DeleteSecret's output.
    DeleteSecretResponse = "DeleteSecretResponse" {
        arn: "ARN" => String,
        name: "Name" => String,
        deletion_date: "DeletionDate" => EpochSeconds,
    }
}

shape! {
    /// RestoreSecret's input.
    RestoreSecretRequest = "RestoreSecretRequest" {
        secret_id: "SecretId" => String,
    }
}

shape! {
    /// RestoreSecret's output.
    RestoreSecretResponse = "RestoreSecretResponse" {
        arn: "ARN" => String,
        name: "Name" => String,
    }
}

shape! {
    /// ListSecretVersionIds's input.
    ListSecretVersionIdsRequest = "ListSecretVersionIdsRequest" {
        secret_id: "SecretId" => String,
        max_results: "MaxResults" => Option<i64>,
        next_token: "NextToken" => Option<String>,
        include_deprecated: "IncludeDeprecated" => Option<bool>,
    }
}

shape! {
    /// ListSecretVersionIds's output.
    ListSecretVersionIdsResponse = "ListSecretVersionIdsResponse" {
        versions: "Versions" => Vec<SecretVersionsListEntry>,
        next_token: "NextToken" => Option<String>,
        arn: "ARN" => String,
        name: "Name" => String,
    }
}

shape! {
    /// One version.
    SecretVersionsListEntry = "SecretVersionsListEntry" {
        version_id: "VersionId" => String,
        version_stages: "VersionStages" => Vec<String>,
        created_date: "CreatedDate" => EpochSeconds,
    }
}

shape! {
    /// UpdateSecretVersionStage's input.
    UpdateSecretVersionStageRequest = "UpdateSecretVersionStageRequest" {
        secret_id: "SecretId" => String,
        version_stage: "VersionStage" => String,
        remove_from_version_id: "RemoveFromVersionId" => Option<String>,
        move_to_version_id: "MoveToVersionId" => Option<String>,
    }
}

shape! {
    /// UpdateSecretVersionStage's output.
    UpdateSecretVersionStageResponse = "UpdateSecretVersionStageResponse" {
        arn: "ARN" => String,
        name: "Name" => String,
    }
}

shape! {
    /// TagResource's input.
    TagResourceRequest = "TagResourceRequest" {
        secret_id: "SecretId" => String,
        tags: "Tags" => Vec<Tag>,
    }
}

shape! {
    /// UntagResource's input.
    UntagResourceRequest = "UntagResourceRequest" {
        secret_id: "SecretId" => String,
        tag_keys: "TagKeys" => Vec<String>,
    }
}

shape! {
    /// GetResourcePolicy's input.
    GetResourcePolicyRequest = "GetResourcePolicyRequest" {
        secret_id: "SecretId" => String,
    }
}

shape! {
    /// GetResourcePolicy's output: no secret has one.
    GetResourcePolicyResponse = "GetResourcePolicyResponse" {
        arn: "ARN" => String,
        name: "Name" => String,
    }
}
