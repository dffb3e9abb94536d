//! The plain values that structures are made of.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::Value;

#[cfg(test)]
use super::Shape;
use super::{DecodeError, Fault, Path, Wire};

impl Wire for String {
    fn decode(value: Value, at: Path<'_>) -> Result<Self, DecodeError> {
        match value {
            Value::String(text) => Ok(text),
            other => Err(at.wrong_type("a string", &other)),
        }
    }
}

impl Wire for bool {
    fn decode(value: Value, at: Path<'_>) -> Result<Self, DecodeError> {
        match value {
            Value::Bool(flag) => Ok(flag),
            other => Err(at.wrong_type("a boolean", &other)),
        }
    }
}

macro_rules! integer {
    ($($type:ty),*) => { $(
        impl Wire for $type {
            fn decode(value: Value, at: Path<'_>) -> Result<Self, DecodeError> {
                match value {
                    Value::Number(number) => number
                        .as_i64()
                        .and_then(|number| Self::try_from(number).ok())
                        .ok_or_else(|| at.fault(Fault::OutOfRange)),
                    other => Err(at.wrong_type("an integer", &other)),
                }
            }
        }
    )* };
}

integer!(i32, i64, u64);

impl Wire for f64 {
    fn decode(value: Value, at: Path<'_>) -> Result<Self, DecodeError> {
        match value {
            Value::Number(number) => number.as_f64().ok_or_else(|| at.fault(Fault::OutOfRange)),
            other => Err(at.wrong_type("a number", &other)),
        }
    }
}

impl<T: Wire> Wire for Option<T> {
    fn decode(value: Value, at: Path<'_>) -> Result<Self, DecodeError> {
        T::decode(value, at).map(Some)
    }

    fn absent(_at: Path<'_>) -> Result<Self, DecodeError> {
        Ok(None)
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }

    #[cfg(test)]
    fn describe(into: &mut Vec<Shape>) {
        T::describe(into);
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn decode(value: Value, at: Path<'_>) -> Result<Self, DecodeError> {
        match value {
            Value::Array(items) => items
                .into_iter()
                .enumerate()
                .map(|(index, item)| T::decode(item, Path::Index(&at, index)))
                .collect(),
            other => Err(at.wrong_type("a list", &other)),
        }
    }

    #[cfg(test)]
    fn describe(into: &mut Vec<Shape>) {
        T::describe(into);
    }
}

impl Wire for BTreeMap<String, String> {
    fn decode(value: Value, at: Path<'_>) -> Result<Self, DecodeError> {
        match value {
            Value::Object(map) => map
                .into_iter()
                .map(|(name, value)| {
                    let value = String::decode(value, Path::Field(&at, &name))?;
                    Ok((name, value))
                })
                .collect(),
            other => Err(at.wrong_type("a structure", &other)),
        }
    }
}

/// Nothing: the element of a list that AWS always shows and of which Loadline serves none yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Never {}

impl Wire for Never {
    fn decode(_value: Value, at: Path<'_>) -> Result<Self, DecodeError> {
        Err(at.fault(Fault::Unsupported))
    }
}

/// A time on the wire: a JSON number of seconds since the Unix epoch, with milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct EpochSeconds(f64);

impl EpochSeconds {
    /// From milliseconds since the Unix epoch. Exact to the millisecond until the year 287396.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "2^53 ms are enough for every date in use")]
    pub(crate) fn from_ms(ms: u64) -> Self {
        Self(ms as f64 / 1000.0)
    }

    /// Whether it is before this time, in milliseconds since the Unix epoch.
    pub(crate) fn is_before_ms(self, ms: u64) -> bool {
        self.0 < Self::from_ms(ms).0
    }

    /// Whether it is after this time, in milliseconds since the Unix epoch.
    pub(crate) fn is_after_ms(self, ms: u64) -> bool {
        Self::from_ms(ms).0 < self.0
    }
}

impl Serialize for EpochSeconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0)
    }
}

impl Wire for EpochSeconds {
    fn decode(value: Value, at: Path<'_>) -> Result<Self, DecodeError> {
        f64::decode(value, at).map(Self)
    }
}
