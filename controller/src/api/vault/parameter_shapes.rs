//! The structures of ssm on the wire.

use super::values::Tag;
use crate::api::wire::{EpochSeconds, shape};

shape! {
    /// PutParameter's input.
    PutParameterRequest = "PutParameterRequest" {
        name: "Name" => String,
        description: "Description" => Option<String>,
        value: "Value" => String,
        kind: "Type" => Option<String>,
        key_id: "KeyId" => Option<String>,
        overwrite: "Overwrite" => Option<bool>,
        allowed_pattern: "AllowedPattern" => Option<String>,
        tags: "Tags" => Option<Vec<Tag>>,
        tier: "Tier" => Option<String>,
        data_type: "DataType" => Option<String>,
    }
    unsupported ["Policies"]
}

shape! {
    /// PutParameter's output.
    PutParameterResponse = "PutParameterResult" {
        version: "Version" => i64,
        tier: "Tier" => String,
    }
}

shape! {
    /// GetParameter's input.
    GetParameterRequest = "GetParameterRequest" {
        name: "Name" => String,
        with_decryption: "WithDecryption" => Option<bool>,
    }
}

shape! {
    /// GetParameter's output.
    GetParameterResponse = "GetParameterResult" {
        parameter: "Parameter" => Parameter,
    }
}

shape! {
    /// GetParameters's input.
    GetParametersRequest = "GetParametersRequest" {
        names: "Names" => Vec<String>,
        with_decryption: "WithDecryption" => Option<bool>,
    }
}

shape! {
    /// GetParameters's output.
    GetParametersResponse = "GetParametersResult" {
        parameters: "Parameters" => Vec<Parameter>,
        invalid_parameters: "InvalidParameters" => Vec<String>,
    }
}

shape! {
    /// GetParametersByPath's input.
    GetParametersByPathRequest = "GetParametersByPathRequest" {
        path: "Path" => String,
        recursive: "Recursive" => Option<bool>,
        with_decryption: "WithDecryption" => Option<bool>,
        max_results: "MaxResults" => Option<i64>,
        next_token: "NextToken" => Option<String>,
    }
    unsupported ["ParameterFilters"]
}

shape! {
    /// GetParametersByPath's output.
    GetParametersByPathResponse = "GetParametersByPathResult" {
        parameters: "Parameters" => Vec<Parameter>,
        next_token: "NextToken" => Option<String>,
    }
}

shape! {
    /// DescribeParameters's input.
    DescribeParametersRequest = "DescribeParametersRequest" {
        filters: "Filters" => Option<Vec<ParametersFilter>>,
        parameter_filters: "ParameterFilters" => Option<Vec<ParameterStringFilter>>,
        max_results: "MaxResults" => Option<i64>,
        next_token: "NextToken" => Option<String>,
    }
    unsupported ["Shared"]
}

shape! {
    /// DescribeParameters's output.
    DescribeParametersResponse = "DescribeParametersResult" {
        parameters: "Parameters" => Vec<ParameterMetadata>,
        next_token: "NextToken" => Option<String>,
    }
}

shape! {
    /// What parameters must have, the old way.
    ParametersFilter = "ParametersFilter" {
        key: "Key" => String,
        values: "Values" => Vec<String>,
    }
}

shape! {
    /// What parameters must have.
    ParameterStringFilter = "ParameterStringFilter" {
        key: "Key" => String,
        option: "Option" => Option<String>,
        values: "Values" => Option<Vec<String>>,
    }
}

shape! {
    /// DeleteParameter's input.
    DeleteParameterRequest = "DeleteParameterRequest" {
        name: "Name" => String,
    }
}

shape! {
    /// DeleteParameter's output.
    DeleteParameterResponse = "DeleteParameterResult" {}
}

shape! {
    /// DeleteParameters's input.
    DeleteParametersRequest = "DeleteParametersRequest" {
        names: "Names" => Vec<String>,
    }
}

shape! {
    /// DeleteParameters's output.
    DeleteParametersResponse = "DeleteParametersResult" {
        deleted_parameters: "DeletedParameters" => Vec<String>,
        invalid_parameters: "InvalidParameters" => Vec<String>,
    }
}

shape! {
    /// GetParameterHistory's input.
    GetParameterHistoryRequest = "GetParameterHistoryRequest" {
        name: "Name" => String,
        with_decryption: "WithDecryption" => Option<bool>,
        max_results: "MaxResults" => Option<i64>,
        next_token: "NextToken" => Option<String>,
    }
}

shape! {
    /// GetParameterHistory's output.
    GetParameterHistoryResponse = "GetParameterHistoryResult" {
        parameters: "Parameters" => Vec<ParameterHistory>,
        next_token: "NextToken" => Option<String>,
    }
}

shape! {
    /// AddTagsToResource's input.
    AddTagsToResourceRequest = "AddTagsToResourceRequest" {
        resource_type: "ResourceType" => String,
        resource_id: "ResourceId" => String,
        tags: "Tags" => Vec<Tag>,
    }
}

shape! {
    /// AddTagsToResource's output.
    AddTagsToResourceResponse = "AddTagsToResourceResult" {}
}

shape! {
    /// RemoveTagsFromResource's input.
    RemoveTagsFromResourceRequest = "RemoveTagsFromResourceRequest" {
        resource_type: "ResourceType" => String,
        resource_id: "ResourceId" => String,
        tag_keys: "TagKeys" => Vec<String>,
    }
}

shape! {
    /// RemoveTagsFromResource's output.
    RemoveTagsFromResourceResponse = "RemoveTagsFromResourceResult" {}
}

shape! {
    /// ListTagsForResource's input.
    ListTagsForResourceRequest = "ListTagsForResourceRequest" {
        resource_type: "ResourceType" => String,
        resource_id: "ResourceId" => String,
    }
}

shape! {
    /// ListTagsForResource's output.
    ListTagsForResourceResponse = "ListTagsForResourceResult" {
        tag_list: "TagList" => Vec<Tag>,
    }
}

shape! {
    /// A parameter with its value.
    Parameter = "Parameter" {
        name: "Name" => String,
        kind: "Type" => String,
        value: "Value" => String,
        version: "Version" => i64,
        selector: "Selector" => Option<String>,
        last_modified_date: "LastModifiedDate" => EpochSeconds,
        arn: "ARN" => String,
        data_type: "DataType" => String,
    }
}

shape! {
    /// A parameter without its value.
    ParameterMetadata = "ParameterMetadata" {
        name: "Name" => String,
        arn: "ARN" => String,
        kind: "Type" => String,
        last_modified_date: "LastModifiedDate" => EpochSeconds,
        description: "Description" => Option<String>,
        allowed_pattern: "AllowedPattern" => Option<String>,
        version: "Version" => i64,
        tier: "Tier" => String,
        data_type: "DataType" => String,
    }
}

shape! {
    /// One version of a parameter.
    ParameterHistory = "ParameterHistory" {
        name: "Name" => String,
        kind: "Type" => String,
        last_modified_date: "LastModifiedDate" => EpochSeconds,
        description: "Description" => Option<String>,
        value: "Value" => String,
        allowed_pattern: "AllowedPattern" => Option<String>,
        version: "Version" => i64,
        labels: "Labels" => Vec<String>,
        tier: "Tier" => String,
        data_type: "DataType" => String,
    }
}
