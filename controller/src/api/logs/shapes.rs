//! The structures of logs on the wire.

use std::collections::BTreeMap;

use crate::api::wire::shape;

shape! {
    /// Nothing at all.
    Nothing = "" {}
}

shape! {
    /// CreateLogGroup's input.
    CreateLogGroupRequest = "CreateLogGroupRequest" {
        log_group_name: "logGroupName" => String,
        tags: "tags" => Option<BTreeMap<String, String>>,
    }
    unsupported ["kmsKeyId", "logGroupClass", "deletionProtectionEnabled"]
}

shape! {
    /// DeleteLogGroup's input.
    DeleteLogGroupRequest = "DeleteLogGroupRequest" {
        log_group_name: "logGroupName" => String,
    }
}

shape! {
    /// DescribeLogGroups's input.
    DescribeLogGroupsRequest = "DescribeLogGroupsRequest" {
        log_group_name_prefix: "logGroupNamePrefix" => Option<String>,
        log_group_name_pattern: "logGroupNamePattern" => Option<String>,
        next_token: "nextToken" => Option<String>,
        limit: "limit" => Option<i64>,
    }
    unsupported [
        "accountIdentifiers", "includeLinkedAccounts", "logGroupClass", "logGroupIdentifiers",
    ]
}

shape! {
    /// DescribeLogGroups's output.
    DescribeLogGroupsResponse = "DescribeLogGroupsResponse" {
        log_groups: "logGroups" => Vec<LogGroup>,
        next_token: "nextToken" => Option<String>,
    }
}

shape! {
    /// A log group as it is shown.
    LogGroup = "LogGroup" {
        log_group_name: "logGroupName" => String,
        creation_time: "creationTime" => i64,
        retention_in_days: "retentionInDays" => Option<i64>,
        metric_filter_count: "metricFilterCount" => i64,
        arn: "arn" => String,
        stored_bytes: "storedBytes" => i64,
        log_group_class: "logGroupClass" => String,
        log_group_arn: "logGroupArn" => String,
    }
}

shape! {
    /// PutRetentionPolicy's input.
    PutRetentionPolicyRequest = "PutRetentionPolicyRequest" {
        log_group_name: "logGroupName" => String,
        retention_in_days: "retentionInDays" => i64,
    }
}

shape! {
    /// DeleteRetentionPolicy's input.
    DeleteRetentionPolicyRequest = "DeleteRetentionPolicyRequest" {
        log_group_name: "logGroupName" => String,
    }
}

shape! {
    /// CreateLogStream's input.
    CreateLogStreamRequest = "CreateLogStreamRequest" {
        log_group_name: "logGroupName" => String,
        log_stream_name: "logStreamName" => String,
    }
}

shape! {
    /// DeleteLogStream's input.
    DeleteLogStreamRequest = "DeleteLogStreamRequest" {
        log_group_name: "logGroupName" => String,
        log_stream_name: "logStreamName" => String,
    }
}

shape! {
    /// DescribeLogStreams's input.
    DescribeLogStreamsRequest = "DescribeLogStreamsRequest" {
        log_group_name: "logGroupName" => Option<String>,
        log_group_identifier: "logGroupIdentifier" => Option<String>,
        log_stream_name_prefix: "logStreamNamePrefix" => Option<String>,
        order_by: "orderBy" => Option<String>,
        descending: "descending" => Option<bool>,
        next_token: "nextToken" => Option<String>,
        limit: "limit" => Option<i64>,
    }
}

shape! {
    /// DescribeLogStreams's output.
    DescribeLogStreamsResponse = "DescribeLogStreamsResponse" {
        log_streams: "logStreams" => Vec<LogStream>,
        next_token: "nextToken" => Option<String>,
    }
}

shape! {
    /// A log stream as it is shown.
    LogStream = "LogStream" {
        log_stream_name: "logStreamName" => String,
        creation_time: "creationTime" => i64,
        first_event_timestamp: "firstEventTimestamp" => Option<i64>,
        last_event_timestamp: "lastEventTimestamp" => Option<i64>,
        last_ingestion_time: "lastIngestionTime" => Option<i64>,
        arn: "arn" => String,
        stored_bytes: "storedBytes" => i64,
    }
}

shape! {
    /// PutLogEvents's input.
    PutLogEventsRequest = "PutLogEventsRequest" {
        log_group_name: "logGroupName" => String,
        log_stream_name: "logStreamName" => String,
        log_events: "logEvents" => Vec<InputLogEvent>,
        sequence_token: "sequenceToken" => Option<String>,
    }
    unsupported ["entity"]
}

shape! {
    /// An event to be stored.
    InputLogEvent = "InputLogEvent" {
        timestamp: "timestamp" => i64,
        message: "message" => String,
    }
}

shape! {
    /// PutLogEvents's output.
    PutLogEventsResponse = "PutLogEventsResponse" {
        next_sequence_token: "nextSequenceToken" => String,
        rejected_log_events_info: "rejectedLogEventsInfo" => Option<RejectedLogEventsInfo>,
    }
}

shape! {
    /// What was too old or too new.
    RejectedLogEventsInfo = "RejectedLogEventsInfo" {
        too_new_log_event_start_index: "tooNewLogEventStartIndex" => Option<i64>,
        too_old_log_event_end_index: "tooOldLogEventEndIndex" => Option<i64>,
        expired_log_event_end_index: "expiredLogEventEndIndex" => Option<i64>,
    }
}

shape! {
    /// GetLogEvents's input.
    GetLogEventsRequest = "GetLogEventsRequest" {
        log_group_name: "logGroupName" => Option<String>,
        log_group_identifier: "logGroupIdentifier" => Option<String>,
        log_stream_name: "logStreamName" => String,
        start_time: "startTime" => Option<i64>,
        end_time: "endTime" => Option<i64>,
        next_token: "nextToken" => Option<String>,
        limit: "limit" => Option<i64>,
        start_from_head: "startFromHead" => Option<bool>,
    }
    unsupported ["unmask"]
}

shape! {
    /// GetLogEvents's output.
    GetLogEventsResponse = "GetLogEventsResponse" {
        events: "events" => Vec<OutputLogEvent>,
        next_forward_token: "nextForwardToken" => String,
        next_backward_token: "nextBackwardToken" => String,
    }
}

shape! {
    /// A stored event.
    OutputLogEvent = "OutputLogEvent" {
        timestamp: "timestamp" => i64,
        message: "message" => String,
        ingestion_time: "ingestionTime" => i64,
    }
}

shape! {
    /// FilterLogEvents's input.
    FilterLogEventsRequest = "FilterLogEventsRequest" {
        log_group_name: "logGroupName" => Option<String>,
        log_group_identifier: "logGroupIdentifier" => Option<String>,
        log_stream_names: "logStreamNames" => Option<Vec<String>>,
        log_stream_name_prefix: "logStreamNamePrefix" => Option<String>,
        start_time: "startTime" => Option<i64>,
        end_time: "endTime" => Option<i64>,
        filter_pattern: "filterPattern" => Option<String>,
        next_token: "nextToken" => Option<String>,
        limit: "limit" => Option<i64>,
        interleaved: "interleaved" => Option<bool>,
    }
    unsupported ["unmask"]
}

shape! {
    /// FilterLogEvents's output.
    FilterLogEventsResponse = "FilterLogEventsResponse" {
        events: "events" => Vec<FilteredLogEvent>,
        searched_log_streams: "searchedLogStreams" => Vec<SearchedLogStream>,
        next_token: "nextToken" => Option<String>,
    }
}

shape! {
    /// A stored event that passed.
    FilteredLogEvent = "FilteredLogEvent" {
        log_stream_name: "logStreamName" => String,
        timestamp: "timestamp" => i64,
        message: "message" => String,
        ingestion_time: "ingestionTime" => i64,
        event_id: "eventId" => String,
    }
}

shape! {
    /// A stream that was looked into.
    SearchedLogStream = "SearchedLogStream" {
        log_stream_name: "logStreamName" => String,
        searched_completely: "searchedCompletely" => bool,
    }
}

shape! {
    /// TagResource's input.
    TagResourceRequest = "TagResourceRequest" {
        resource_arn: "resourceArn" => String,
        tags: "tags" => BTreeMap<String, String>,
    }
}

shape! {
    /// UntagResource's input.
    UntagResourceRequest = "UntagResourceRequest" {
        resource_arn: "resourceArn" => String,
        tag_keys: "tagKeys" => Vec<String>,
    }
}

shape! {
    /// ListTagsForResource's input.
    ListTagsForResourceRequest = "ListTagsForResourceRequest" {
        resource_arn: "resourceArn" => String,
    }
}

shape! {
    /// ListTagsForResource's output.
    ListTagsForResourceResponse = "ListTagsForResourceResponse" {
        tags: "tags" => BTreeMap<String, String>,
    }
}
