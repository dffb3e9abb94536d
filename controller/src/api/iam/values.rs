//! The plain values of AWS's query protocol, where all is text, and structures that many share.

use loadline_model::KeyValue;
use serde::{Serialize, Serializer};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::api::wire::{DecodeError, Fault, Path, Wire, shape};

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

shape! {
    /// A managed policy that is attached to somebody.
    AttachedPolicy = "AttachedPolicy" {
        policy_name: "PolicyName" => String,
        policy_arn: "PolicyArn" => String,
    }
}

shape! {
    /// The boundary of a user or role.
    AttachedPermissionsBoundary = "AttachedPermissionsBoundary" {
        /// `Policy`
        permissions_boundary_type: "PermissionsBoundaryType" => String,
        permissions_boundary_arn: "PermissionsBoundaryArn" => String,
    }
}

/// Tags as they are shown; none are not shown.
pub(in crate::api) fn show_tags(tags: &[KeyValue]) -> Option<Vec<Tag>> {
    let show = |tag: &KeyValue| Tag { key: tag.name.clone(), value: tag.value.clone() };
    Some(tags.iter().map(show).collect::<Vec<_>>()).filter(|tags| !tags.is_empty())
}

/// A whole number that a form spells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(in crate::api) struct FormInt(pub(in crate::api) i64);

impl Wire for FormInt {
    fn decode(value: Value, at: Path<'_>) -> Result<Self, DecodeError> {
        let text = String::decode(value, at)?;
        text.parse().map(Self).map_err(|_| at.fault(Fault::OutOfRange))
    }
}

/// `true` or `false`, as a form spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(in crate::api) struct FormBool(pub(in crate::api) bool);

impl Wire for FormBool {
    fn decode(value: Value, at: Path<'_>) -> Result<Self, DecodeError> {
        match String::decode(value, at)?.as_str() {
            "true" => Ok(Self(true)),
            "false" => Ok(Self(false)),
            _ => Err(at.fault(Fault::OutOfRange)),
        }
    }
}

/// A time as the query protocol writes it: ISO 8601, whole seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::api) struct IsoTime(String);

impl IsoTime {
    /// From seconds since the Unix epoch.
    pub(in crate::api) fn from_s(seconds: i64) -> Self {
        let time = OffsetDateTime::from_unix_timestamp(seconds);
        let time = time.unwrap_or(OffsetDateTime::UNIX_EPOCH);
        Self(time.format(&Rfc3339).unwrap_or_default())
    }

    /// From milliseconds since the Unix epoch.
    pub(in crate::api) fn from_ms(ms: u64) -> Self {
        Self::from_s(i64::try_from(ms / 1000).unwrap_or(0))
    }
}

impl Serialize for IsoTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl Wire for IsoTime {
    fn decode(value: Value, at: Path<'_>) -> Result<Self, DecodeError> {
        String::decode(value, at).map(Self)
    }
}
