//! Values and checks that secretsmanager and ssm share.

use std::collections::BTreeMap;

use loadline_model::KeyValue;
use serde::Serialize;
use serde_json::Value;

use crate::api::wire::{DecodeError, Path, Wire, shape};
use crate::api::{ApiError, Code};

shape! {
    /// Nothing at all.
    Nothing = "" {}
}

shape! {
    /// A tag.
    Tag = "Tag" {
        key: "Key" => String,
        value: "Value" => String,
    }
}

/// Each version's labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Stages(pub(super) BTreeMap<String, Vec<String>>);

impl Wire for Stages {
    fn decode(value: Value, at: Path<'_>) -> Result<Self, DecodeError> {
        let map = serde_json::Map::<String, Value>::decode_map(value, at)?;
        let lists = map.into_iter().map(|(name, value)| {
            let list = Vec::decode(value, Path::Field(&at, &name))?;
            Ok((name, list))
        });
        Ok(Self(lists.collect::<Result<_, _>>()?))
    }
}

trait DecodeMap: Sized {
    fn decode_map(value: Value, at: Path<'_>) -> Result<Self, DecodeError>;
}

impl DecodeMap for serde_json::Map<String, Value> {
    fn decode_map(value: Value, at: Path<'_>) -> Result<Self, DecodeError> {
        match value {
            Value::Object(map) => Ok(map),
            // Only answers hold it; a string in its place reads as the wrong type.
            other => String::decode(other, at).map(|_| Self::new()),
        }
    }
}

/// A page that begins after `token`, the last key of the page before.
pub(super) fn page<T>(
    items: impl Iterator<Item = T>,
    key: impl Fn(&T) -> String,
    token: Option<&str>,
    asked: Option<i64>,
    (default, max): (i64, i64),
    invalid: fn(String) -> ApiError,
) -> Result<(Vec<T>, Option<String>), ApiError> {
    let size = asked.unwrap_or(default);
    if !(1..=max).contains(&size) {
        return Err(invalid(format!("MaxResults must be between 1 and {max}, not {size}")));
    }
    let size = usize::try_from(size).unwrap_or(1);
    let after = |item: &T| token.is_none_or(|token| *token < *key(item));
    let mut items: Vec<T> = items.filter(after).take(size + 1).collect();
    let more = size < items.len();
    items.truncate(size);
    let next = items.last().filter(|_| more).map(key);
    Ok((items, next))
}

/// Tags as they are given.
pub(super) fn read_tags(
    tags: Option<Vec<Tag>>,
    invalid: fn(String) -> ApiError,
) -> Result<Vec<KeyValue>, ApiError> {
    let mut read: Vec<KeyValue> = Vec::new();
    for Tag { key, value } in tags.unwrap_or_default() {
        if key.is_empty() || 128 < key.chars().count() || 256 < value.chars().count() {
            let message = "a tag's key has 1 to 128 characters and its value at most 256";
            return Err(invalid(message.to_owned()));
        }
        if read.iter().any(|have| have.name == key) {
            return Err(invalid(format!("the tag {key} is there twice")));
        }
        read.push(KeyValue { name: key, value });
    }
    Ok(read)
}

/// Tags as they are shown.
pub(super) fn show_tags(tags: &[KeyValue]) -> Vec<Tag> {
    tags.iter().map(|tag| Tag { key: tag.name.clone(), value: tag.value.clone() }).collect()
}

/// ssm's `ValidationException`.
pub(super) fn validation(message: String) -> ApiError {
    ApiError::new(Code::of("ValidationException", 400), message)
}

/// secretsmanager's `InvalidParameterException`.
pub(super) fn invalid(message: String) -> ApiError {
    ApiError::invalid(message)
}
