//! What a node says about itself: resources and attributes.

use loadline_model::Resources;

use super::{Fault, InvalidField, at_most, distinct, each};
use crate::v1;

/// Most attributes of a node.
pub const ATTRIBUTES_MAX: usize = 100;
/// Longest attribute name and value, in bytes (ECS: Attribute.name, Attribute.value).
const ATTRIBUTE_BYTES_MAX: usize = 128;

/// A property of a node that placement can ask for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attribute {
    /// 1 to 128 of `[A-Za-z0-9_./-]`.
    pub name: String,
    /// Absent for an attribute that is only present.
    pub value: Option<String>,
}

impl Attribute {
    /// Checks a whole list: each attribute, how many there are, and that no name occurs twice.
    ///
    /// # Errors
    /// [`InvalidField`] with a path that begins with `attributes`.
    pub fn list_from_wire(attributes: Vec<v1::Attribute>) -> Result<Vec<Self>, InvalidField> {
        at_most("attributes", attributes.len(), ATTRIBUTES_MAX)?;
        let attributes: Vec<Self> = each("attributes", attributes)?;
        distinct("attributes", attributes.iter().map(|a| a.name.as_str()))?;
        Ok(attributes)
    }
}

impl TryFrom<v1::Attribute> for Attribute {
    type Error = InvalidField;

    fn try_from(wire: v1::Attribute) -> Result<Self, InvalidField> {
        at_most("name", wire.name.len(), ATTRIBUTE_BYTES_MAX)?;
        at_most("value", wire.value.as_ref().map_or(0, String::len), ATTRIBUTE_BYTES_MAX)?;
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_./-".contains(&b);
        if wire.name.is_empty() || !wire.name.bytes().all(allowed) {
            let rule = "only letters, digits and _ . / -, at least one";
            return Err(InvalidField::new("name", Fault::Rule(rule)));
        }
        if wire.value.as_ref().is_some_and(|value| value.chars().any(char::is_control)) {
            return Err(InvalidField::new("value", Fault::Rule("no control characters")));
        }
        Ok(Self { name: wire.name, value: wire.value })
    }
}

impl From<Attribute> for v1::Attribute {
    fn from(attribute: Attribute) -> Self {
        Self { name: attribute.name, value: attribute.value }
    }
}

impl From<v1::Resources> for Resources {
    fn from(wire: v1::Resources) -> Self {
        Self { cpu_units: wire.cpu_units, memory_mib: wire.memory_mib }
    }
}

impl From<Resources> for v1::Resources {
    fn from(resources: Resources) -> Self {
        Self { cpu_units: resources.cpu_units, memory_mib: resources.memory_mib }
    }
}
