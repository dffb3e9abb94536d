//! What goes over the wire as JSON, declared once. [`shape!`] makes from one declaration the Rust
//! type, its reading from a request and its writing into an answer, and the list of its fields that
//! a test compares with AWS's published model.
//!
//! Invariants: reading refuses, with the whole path, a wrong type, a field that AWS does not know
//! (`Fault::Unknown`), and a field that AWS knows and Loadline does not serve
//! (`Fault::Unsupported`) unless its value says "nothing" anyway: null, false, or empty. No input
//! is ignored in silence, and none makes it panic.

mod operations;
mod value;

use std::fmt;

use serde_json::{Map, Value};

#[cfg(test)]
pub(crate) use self::operations::OperationShapes;
pub(crate) use self::operations::{operations, to_json, unknown_operation};
pub(crate) use self::value::{EpochSeconds, Never};
pub(crate) use crate::json::from_slice;

/// A value of the API, in both directions.
pub(crate) trait Wire: Sized {
    /// Reads a value that is there.
    ///
    /// # Errors
    /// [`DecodeError`] naming the path.
    fn decode(value: Value, at: Path<'_>) -> Result<Self, DecodeError>;

    /// What stands for a value that is not there.
    ///
    /// # Errors
    /// [`Fault::Missing`] where it is required.
    fn absent(at: Path<'_>) -> Result<Self, DecodeError> {
        Err(at.fault(Fault::Missing))
    }

    /// Whether writing leaves it out.
    fn is_absent(&self) -> bool {
        false
    }

    /// Adds the shapes that it is made of.
    #[cfg(test)]
    fn describe(_into: &mut Vec<Shape>) {}
}

/// A structure's name and fields, for comparison with AWS's model.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// AWS's name of the structure; empty where it is our own.
    pub(crate) aws_name: &'static str,
    /// The fields that are served.
    pub(crate) fields: &'static [&'static str],
    /// The fields that AWS has and that are refused by name.
    pub(crate) unsupported: &'static [&'static str],
}

/// Where in a request a value stands; lives on the stack, spelt only for an error.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Path<'a> {
    /// The request itself.
    Root,
    /// A field of a structure.
    Field(&'a Path<'a>, &'a str),
    /// An element of a list, from 0.
    Index(&'a Path<'a>, usize),
}

impl Path<'_> {
    /// An error at this place.
    #[must_use]
    pub(crate) fn fault(self, fault: Fault) -> DecodeError {
        DecodeError { path: self.to_string(), fault }
    }

    fn wrong_type(self, expected: &'static str, found: &Value) -> DecodeError {
        let found = match found {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "a list",
            Value::Object(_) => "a structure",
        };
        self.fault(Fault::WrongType { expected, found })
    }
}

/// Longest name of an unknown field that a message repeats, in characters.
const NAME_SHOWN_CHARS_MAX: usize = 128;

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Field(Path::Root, name) => f.write_str(name),
            Path::Field(parent, name) => write!(f, "{parent}.{name}"),
            Path::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// Why a request can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DecodeError {
    /// For example `containerDefinitions[0].cpu`; empty for the request itself.
    pub(crate) path: String,
    /// What is wrong there.
    pub(crate) fault: Fault,
}

/// What is wrong with a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Another JSON type.
    WrongType {
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A number that its field can't hold.
    OutOfRange,
    /// A required field that is not there.
    Missing,
    /// A field that the named structure of AWS's does not have.
    Unknown(&'static str),
    /// A field that AWS has and Loadline does not serve yet.
    Unsupported,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "the request" } else { &self.path };
        match &self.fault {
            Fault::WrongType { expected, found } => {
                write!(f, "{path} must be {expected}, not {found}")
            }
            Fault::OutOfRange => write!(f, "{path} is out of range"),
            Fault::Missing => write!(f, "{path} is required"),
            Fault::Unknown(shape) => write!(f, "{path} is not a field of {shape}"),
            Fault::Unsupported => write!(f, "{path} is not supported yet"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// A JSON structure that is being read field by field.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    map: Map<String, Value>,
    at: Path<'a>,
}

impl<'a> Fields<'a> {
    /// Opens a structure.
    ///
    /// # Errors
    /// [`Fault::WrongType`] where the value is none.
    pub(crate) fn open(value: Value, at: Path<'a>) -> Result<Self, DecodeError> {
        match value {
            Value::Object(map) => Ok(Self { map, at }),
            other => Err(at.wrong_type("a structure", &other)),
        }
    }

    /// Takes one field out. Null is the same as absent, as AWS has it.
    ///
    /// # Errors
    /// As [`Wire::decode`] and [`Wire::absent`].
    pub(crate) fn take<T: Wire>(&mut self, name: &'static str) -> Result<T, DecodeError> {
        let at = Path::Field(&self.at, name);
        match self.map.remove(name) {
            None | Some(Value::Null) => T::absent(at),
            Some(value) => T::decode(value, at),
        }
    }

    /// Refuses what is left over.
    ///
    /// # Errors
    /// [`Fault::Unsupported`] or [`Fault::Unknown`] for the first field in order of names.
    pub(crate) fn close(
        self,
        unsupported: &[&str],
        shape: &'static str,
    ) -> Result<(), DecodeError> {
        for (name, value) in &self.map {
            let shown: String = name.chars().take(NAME_SHOWN_CHARS_MAX).collect();
            let at = Path::Field(&self.at, &shown);
            if !unsupported.contains(&name.as_str()) {
                return Err(at.fault(Fault::Unknown(shape)));
            }
            if !says_nothing(value) {
                return Err(at.fault(Fault::Unsupported));
            }
        }
        Ok(())
    }
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) | Value::Number(_) => false,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.values().all(says_nothing),
    }
}

/// Declares a structure of the wire: `field: "wireName" => Type,` and, after the fields, the names
/// that AWS has and that are refused.
macro_rules! shape {
    (
        $(#[$doc:meta])*
        $name:ident = $aws:literal {
            $( $(#[$field_doc:meta])* $field:ident: $wire:literal => $type:ty, )*
        }
        $( unsupported [ $( $unsupported:literal ),* $(,)? ] )?
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, ::serde::Serialize)]
        pub(crate) struct $name {
            $(
                $(#[$field_doc])*
                #[serde(rename = $wire, skip_serializing_if = "crate::api::wire::Wire::is_absent")]
                pub(crate) $field: $type,
            )*
        }

        impl $name {
            const UNSUPPORTED: &[&str] = &[$( $($unsupported),* )?];

            #[cfg(test)]
            const SHAPE: $crate::api::wire::Shape = $crate::api::wire::Shape {
                aws_name: $aws,
                fields: &[$($wire),*],
                unsupported: Self::UNSUPPORTED,
            };
        }

        impl $crate::api::wire::Wire for $name {
            fn decode(
                value: ::serde_json::Value,
                at: $crate::api::wire::Path<'_>,
            ) -> Result<Self, $crate::api::wire::DecodeError> {
                #[allow(unused_mut, reason = "a structure may have no field")]
                let mut fields = $crate::api::wire::Fields::open(value, at)?;
                let shape = Self { $( $field: fields.take($wire)?, )* };
                let name = if $aws.is_empty() { stringify!($name) } else { $aws };
                fields.close(Self::UNSUPPORTED, name)?;
                Ok(shape)
            }

            #[cfg(test)]
            fn describe(into: &mut Vec<$crate::api::wire::Shape>) {
                if into.contains(&Self::SHAPE) {
                    return;
                }
                into.push(Self::SHAPE);
                $( <$type as $crate::api::wire::Wire>::describe(into); )*
            }
        }
    };
}

pub(crate) use shape;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    shape! {
        /// A leaf.
        Leaf = "Leaf" {
            /// A number.
            size: "size" => i32,
            /// A text.
            text: "text" => Option<String>,
        }
        unsupported ["later"]
    }

    shape! {
        /// A tree.
        Tree = "Tree" {
            /// Leaves.
            leaves: "leaves" => Vec<Leaf>,
            /// Twigs, of which there are none yet.
            twigs: "twigs" => Option<Vec<Never>>,
        }
    }

    fn check(value: Value, expected: Result<(), &str>) {
        let got = Tree::decode(value, Path::Root).map(drop).map_err(|error| error.to_string());
        assert_eq!(got, expected.map_err(ToOwned::to_owned));
    }

    #[test]
    fn every_fault_names_its_path() {
        check(json!({"leaves": [{"size": 1}]}), Ok(()));
        check(json!({"leaves": [{"size": 1, "text": null, "later": []}], "twigs": []}), Ok(()));
        check(json!([]), Err("the request must be a structure, not a list"));
        check(json!({}), Err("leaves is required"));
        check(json!({"leaves": {}}), Err("leaves must be a list, not a structure"));
        check(json!({"leaves": [{}]}), Err("leaves[0].size is required"));
        check(
            json!({"leaves": [{"size": 1}, {"size": "1"}]}),
            Err("leaves[1].size must be an integer, not a string"),
        );
        check(json!({"leaves": [{"size": 1.5}]}), Err("leaves[0].size is out of range"));
        check(json!({"leaves": [{"size": 1u64 << 40}]}), Err("leaves[0].size is out of range"));
        check(
            json!({"leaves": [{"size": 1, "soon": 1}]}),
            Err("leaves[0].soon is not a field of Leaf"),
        );
        let later = Err("leaves[0].later is not supported yet");
        check(json!({"leaves": [{"size": 1, "later": true}]}), later);
        check(json!({"leaves": [], "twigs": [1]}), Err("twigs[0] is not supported yet"));
    }

    #[test]
    fn what_is_absent_is_not_written() {
        let leaf = Leaf { size: 3, text: None };
        assert_eq!(serde_json::to_string(&leaf).unwrap(), r#"{"size":3}"#);
    }

    #[test]
    fn a_shape_describes_itself_and_what_it_holds() {
        let mut shapes = Vec::new();
        Tree::describe(&mut shapes);
        let names: Vec<_> = shapes.iter().map(|shape| shape.aws_name).collect();
        assert_eq!(names, ["Tree", "Leaf"]);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-z]{0,6}".prop_map(Value::String),
        ];
        let name = prop_oneof![
            Just("leaves".to_owned()),
            Just("size".to_owned()),
            Just("text".to_owned()),
            Just("later".to_owned()),
            ".{0,4}",
        ];
        leaf.prop_recursive(4, 32, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
                prop::collection::btree_map(name.clone(), inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_json_makes_it_panic_and_what_is_read_is_read_again_the_same(value in any_json()) {
            if let Ok(tree) = Tree::decode(value, Path::Root) {
                let written = serde_json::to_value(&tree).unwrap();
                prop_assert_eq!(Tree::decode(written, Path::Root).unwrap(), tree);
            }
        }
    }
}
