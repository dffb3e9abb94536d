//! Structures that several operations share.

use loadline_model::KeyValue;

use crate::api::wire::shape;

shape! {
    /// A tag.
    Tag = "Tag" {
        /// 1 to 128 characters.
        key: "key" => Option<String>,
        /// Up to 256 characters.
        value: "value" => Option<String>,
    }
}

shape! {
    /// A name and a value: an environment variable, or a statistic.
    NameValue = "KeyValuePair" {
        /// The name.
        name: "name" => Option<String>,
        /// The value.
        value: "value" => Option<String>,
    }
}

shape! {
    /// A file of variables, in both directions.
    EnvironmentFile = "EnvironmentFile" {
        /// The ARN of an S3 object whose key ends with `.env`.
        value: "value" => String,
        /// `s3`.
        kind: "type" => String,
    }
}

shape! {
    /// Why something that was asked for is not in the answer.
    Failure = "Failure" {
        /// What it is about.
        arn: "arn" => Option<String>,
        /// ECS's word.
        reason: "reason" => Option<String>,
        /// For people.
        detail: "detail" => Option<String>,
    }
}

shape! {
    /// A property of a node, or one that a task needs.
    Attribute = "Attribute" {
        /// The name.
        name: "name" => String,
        /// Absent for one that is only present.
        value: "value" => Option<String>,
        /// `container-instance`.
        target_type: "targetType" => Option<String>,
        /// Id or ARN of the node.
        target_id: "targetId" => Option<String>,
    }
}

impl Failure {
    /// `MISSING`: nothing has this name or ARN.
    pub(super) fn missing(arn: impl Into<String>) -> Self {
        Self { arn: Some(arn.into()), reason: Some("MISSING".into()), detail: None }
    }
}

/// Tags as they are shown.
pub(super) fn show_tags(tags: &[KeyValue]) -> Vec<Tag> {
    let show = |tag: &KeyValue| Tag { key: Some(tag.name.clone()), value: Some(tag.value.clone()) };
    tags.iter().map(show).collect()
}

/// Environment variables as they are shown.
pub(super) fn show_pairs(pairs: &[KeyValue]) -> Vec<NameValue> {
    let show = |pair: &KeyValue| NameValue {
        name: Some(pair.name.clone()),
        value: Some(pair.value.clone()),
    };
    pairs.iter().map(show).collect()
}
