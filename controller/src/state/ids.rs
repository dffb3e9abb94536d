//! Names and ids of the controller's records, and where new ones come from.

use std::fmt;
use std::sync::Arc;

use loadline_model::{InstanceArn, InvalidId, TaskArn};
use serde::{Deserialize, Serialize};

macro_rules! plain_name {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Longest name, in bytes (ECS's own bound).
            pub const BYTES_MAX: usize = 255;

            /// Reads a name: 1 to 255 letters, digits, hyphens and underscores.
            ///
            /// # Errors
            /// [`InvalidId`] where it is empty, too long, or has another character.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                let invalid = |why| InvalidId {
                    kind: $kind,
                    text: text.chars().take(Self::BYTES_MAX).collect(),
                    why,
                };
                if Self::BYTES_MAX < text.len() {
                    return Err(invalid("longer than 255 bytes"));
                }
                let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
                if text.is_empty() || !text.bytes().all(plain) {
                    return Err(invalid(
                        "only letters, digits, hyphens and underscores, at least one",
                    ));
                }
                Ok(Self(text.into()))
            }

            /// The name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
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
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }
    };
}

plain_name!(
    /// A cluster's name.
    ClusterName,
    "cluster name"
);
plain_name!(
    /// A task definition's family.
    Family,
    "task definition family"
);
plain_name!(
    /// A service's name.
    ServiceName,
    "service name"
);
plain_name!(
    /// The public part of a join token: 16 hex digits.
    TokenId,
    "join token id"
);

/// A text that many records have in common, such as a task's group: clones share it.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Text(Arc<str>);

impl Text {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::ops::Deref for Text {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Text {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == **other
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.0.as_ref().to_owned()
    }
}

/// A service: its name is unique among the active ones of its cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceKey {
    /// The cluster.
    pub cluster: ClusterName,
    /// The name.
    pub name: ServiceName,
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.cluster, self.name)
    }
}

/// One revision of a task definition: `family:revision`. Revisions count from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DefinitionKey {
    /// The family.
    pub family: Family,
    /// The revision.
    pub revision: u32,
}

impl fmt::Display for DefinitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.family, self.revision)
    }
}

/// Partition, region and account: what every ARN of this controller begins with. Fixed at the
/// store's first open; opening it with another one is refused, because ARNs would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// `aws`, except in AWS's other partitions.
    pub partition: String,
    /// For example `us-east-1`.
    pub region: String,
    /// Twelve digits.
    pub account: String,
}

impl Scope {
    fn arn(&self, resource: &str) -> String {
        format!("arn:{}:ecs:{}:{}:{resource}", self.partition, self.region, self.account)
    }

    /// `arn:…:cluster/NAME`
    #[must_use]
    pub fn cluster_arn(&self, cluster: &ClusterName) -> String {
        self.arn(&format!("cluster/{cluster}"))
    }

    /// `arn:…:task-definition/FAMILY:REVISION`
    #[must_use]
    pub fn definition_arn(&self, key: &DefinitionKey) -> String {
        self.arn(&format!("task-definition/{key}"))
    }

    /// `arn:…:service/CLUSTER/NAME`
    #[must_use]
    pub fn service_arn(&self, key: &ServiceKey) -> String {
        self.arn(&format!("service/{key}"))
    }

    /// `arn:…:service-deployment/CLUSTER/NAME/ID`
    #[must_use]
    pub fn service_deployment_arn(&self, key: &ServiceKey, id: &str) -> String {
        self.arn(&format!("service-deployment/{key}/{id}"))
    }

    /// `arn:…:service-revision/CLUSTER/NAME/ID`
    #[must_use]
    pub fn service_revision_arn(&self, key: &ServiceKey, id: &str) -> String {
        self.arn(&format!("service-revision/{key}/{id}"))
    }

    /// `arn:…:container/CLUSTER/TASK_ID/ID`
    #[must_use]
    pub fn container_arn(&self, task: &TaskArn, id: &str) -> String {
        self.arn(&format!("container/{}/{}/{id}", task.cluster(), task.id()))
    }

    /// The ARN of the task with this id; `None` where `id` is not 1 to 255 plain characters.
    #[must_use]
    pub fn task_arn(&self, cluster: &ClusterName, id: &str) -> Option<TaskArn> {
        TaskArn::parse(&self.arn(&format!("task/{cluster}/{id}"))).ok()
    }

    /// The ARN of the container instance with this id; `None` as in [`Scope::task_arn`].
    #[must_use]
    pub fn instance_arn(&self, cluster: &ClusterName, id: &str) -> Option<InstanceArn> {
        InstanceArn::parse(&self.arn(&format!("container-instance/{cluster}/{id}"))).ok()
    }
}

/// Where new ids come from: an argument of `apply`, so that deciding needs no randomness.
pub trait IdSource: fmt::Debug {
    /// 128 fresh bits as 32 lower-case hex digits.
    fn fresh(&mut self) -> String;
}

/// Ids that count up: for tests and simulations, where a run must repeat itself.
#[derive(Clone, Debug, Default)]
pub struct CountingIds(pub u64);

impl IdSource for CountingIds {
    fn fresh(&mut self) -> String {
        self.0 += 1;
        format!("{:032x}", self.0)
    }
}
