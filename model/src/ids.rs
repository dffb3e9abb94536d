//! Identifiers, each a type of its own, so that none is taken for another. Their clones share one
//! text: a controller keeps each of them in several places, a million times.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest id accepted, in bytes: an ARN with the longest cluster name is well below it.
pub const ID_BYTES_MAX: usize = 512;

/// Text that is not an id of the asked kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {kind}: {text:?} ({why})")]
pub struct InvalidId {
    /// What it should have been, for example "task ARN".
    pub kind: &'static str,
    /// The text that was given, cut to `ID_BYTES_MAX`.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

fn invalid(kind: &'static str, text: &str, why: &'static str) -> InvalidId {
    InvalidId { kind, text: text.chars().take(ID_BYTES_MAX).collect(), why }
}

/// The resource part after `arn:PARTITION:ecs:REGION:ACCOUNT:`, if `text` has that form.
fn ecs_resource(text: &str) -> Option<&str> {
    let mut parts = text.splitn(6, ':');
    (parts.next()? == "arn").then_some(())?;
    parts.next().filter(|partition| !partition.is_empty())?;
    (parts.next()? == "ecs").then_some(())?;
    parts.next().filter(|region| !region.is_empty())?;
    parts.next().filter(|account| !account.is_empty())?;
    parts.next()
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

macro_rules! arn {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $resource:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Reads an ARN in ECS's new (long) format: `…:TYPE/CLUSTER/ID`.
            ///
            /// # Errors
            /// [`InvalidId`] where the text is not such an ARN or is longer than
            /// [`ID_BYTES_MAX`].
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                if ID_BYTES_MAX < text.len() {
                    return Err(invalid($kind, text, "longer than 512 bytes"));
                }
                let resource = ecs_resource(text)
                    .ok_or_else(|| invalid($kind, text, "not arn:PARTITION:ecs:REGION:ACCOUNT:…"))?;
                let mut parts = resource.split('/');
                match (parts.next(), parts.next(), parts.next(), parts.next()) {
                    (Some($resource), Some(cluster), Some(id), None)
                        if is_plain(cluster) && is_plain(id) => {}
                    _ => {
                        let why = concat!("the resource is not ", $resource, "/CLUSTER/ID");
                        return Err(invalid($kind, text, why));
                    }
                }
                Ok(Self(text.into()))
            }

            /// The whole ARN.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The cluster's name.
            #[must_use]
            pub fn cluster(&self) -> &str {
                self.0.rsplit('/').nth(1).unwrap_or_default()
            }

            /// The last part: unique, and safe as a file name.
            #[must_use]
            pub fn id(&self) -> &str {
                self.0.rsplit('/').next().unwrap_or_default()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(arn: $name) -> String {
                arn.0.as_ref().to_owned()
            }
        }
    };
}

arn!(
    /// A task's ARN: `arn:aws:ecs:REGION:ACCOUNT:task/CLUSTER/ID`. Assigned to one node for ever.
    TaskArn,
    "task ARN",
    "task"
);
arn!(
    /// A node's ARN: `arn:aws:ecs:REGION:ACCOUNT:container-instance/CLUSTER/ID`.
    InstanceArn,
    "container instance ARN",
    "container-instance"
);

/// A container's name inside its task: 1 to 255 of `[A-Za-z0-9_-]` (ECS: ContainerDefinition.name).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerName(Arc<str>);

impl ContainerName {
    /// Longest name, in bytes (ECS's own bound).
    pub const BYTES_MAX: usize = 255;

    /// Reads a name.
    ///
    /// # Errors
    /// [`InvalidId`] where it is empty, too long, or has another character.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        if Self::BYTES_MAX < text.len() {
            return Err(invalid("container name", text, "longer than 255 bytes"));
        }
        if !is_plain(text) {
            let why = "only letters, digits, hyphens and underscores, at least one";
            return Err(invalid("container name", text, why));
        }
        Ok(Self(text.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ContainerName {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        Self::parse(&text)
    }
}

impl From<ContainerName> for String {
    fn from(name: ContainerName) -> String {
        name.0.as_ref().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_arn_gives_its_cluster_and_id() {
        let arn = TaskArn::parse("arn:aws:ecs:us-east-1:000000000000:task/default/0af1").unwrap();
        assert_eq!((arn.cluster(), arn.id()), ("default", "0af1"));
    }

    #[test]
    fn what_could_climb_out_of_a_folder_is_no_arn() {
        for text in [
            "",
            "task/default/1",
            "arn:aws:ecs:r:1:task/default/..",
            "arn:aws:ecs:r:1:task/default/a/b",
            "arn:aws:ecs:r:1:task/../x",
            "arn:aws:ecs:r:1:task/default/",
            "arn:aws:ec2:r:1:task/default/x",
            "arn:aws:ecs:r:1:container-instance/default/x",
        ] {
            assert!(TaskArn::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_longest_container_name_fits_and_one_more_does_not() {
        assert!(ContainerName::parse(&"a".repeat(255)).is_ok());
        assert!(ContainerName::parse(&"a".repeat(256)).is_err());
        assert!(ContainerName::parse("").is_err());
        assert!(ContainerName::parse("../x").is_err());
    }
}
