//! What a command that was carried out answers. Every answer is durable before it is given.

use std::fmt;
use std::sync::Arc;

use loadline_model::{InstanceArn, TaskArn};
use serde::{Deserialize, Serialize};

use crate::state::{Cluster, JoinToken, Node, Service, SessionId, Task, TaskDefinition};

/// The answer of any command.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Of `CreateCluster` and `DeleteCluster`: the cluster as it is now.
    Cluster(Arc<Cluster>),
    /// Of `RegisterTaskDefinition`, `DeregisterTaskDefinition` and `DeleteTaskDefinition`.
    Definition(Arc<TaskDefinition>),
    /// Of `RunTask` and `StartTask`.
    Ran(Ran),
    /// Of `CreateService`, `UpdateService` and `DeleteService`: the service as it is after the
    /// command itself; what follows from it (tasks that start) is in the next view.
    Service(Arc<Service>),
    /// Of `StopTask`.
    Task(Arc<Task>),
    /// Of `CreateJoinToken` and `RevokeJoinToken`.
    Token(JoinTokenMade),
    /// Of `UseJoinToken`: who the node is.
    Enrolled(InstanceArn),
    /// Of `RegisterNode` and `RegisterInstance`.
    Registered(Registered),
    /// Of `SetNodeStatus` and `DeregisterNode`.
    Node(Arc<Node>),
    /// Of `NodeConnected`.
    Connected(Connected),
    /// Of `TaskReports`.
    Acks(Acks),
    /// Of `ProtectTasks`, `SetTags`, `SetAttributes` and `NodeDisconnected`.
    Noted(()),
    /// Of a command about a secret or parameter: as it is now, or as it was.
    Vault(crate::vault::Record),
    /// Of an IAM command: the user, role or policy as it is now, or as it was.
    Iam(crate::iam::Record),
    /// Of `Tick`.
    Ticked(Ticked),
}

/// What RunTask did.
#[derive(Clone, Debug, PartialEq)]
pub struct Ran {
    /// The tasks that were placed.
    pub tasks: Vec<Arc<Task>>,
    /// Why the others were not: one for each node that was asked and said no, at most
    /// [`FAILURES_MAX`]. Empty only where all were placed.
    pub failures: Vec<PlacementFailure>,
}

/// Most failures that one answer lists.
pub const FAILURES_MAX: usize = 100;

/// Why a task could not be placed on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementFailure {
    /// The node (ECS `arn`); `None` where no node was there to be asked.
    pub node: Option<InstanceArn>,
    /// ECS's word.
    pub reason: PlacementReason,
    /// For people, for example `600 MiB asked for, 412 left`.
    pub detail: String,
}

impl fmt::Display for PlacementFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.as_str(), self.detail)
    }
}

/// ECS's words for why a node can't take a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PlacementReason {
    /// `RESOURCE:CPU`
    Cpu,
    /// `RESOURCE:MEMORY`
    Memory,
    /// `RESOURCE:PORTS`
    Ports,
    /// `AGENT`: its agent is not connected.
    Agent,
    /// `ATTRIBUTE`: it lacks an attribute that the task needs.
    Attribute,
    /// `MemberOf placement constraint unsatisfied.`
    MemberOf,
    /// `DistinctInstance placement constraint unsatisfied.`
    DistinctInstance,
    /// `DRAINING`, or another state in which a node takes no new tasks.
    Inactive,
    /// `MISSING`: there is no such node.
    Missing,
    /// `ROLE`: a role of the task can't be assumed, on whatever node.
    Role,
}

impl PlacementReason {
    /// The `reason` of the failure.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "RESOURCE:CPU",
            Self::Memory => "RESOURCE:MEMORY",
            Self::Ports => "RESOURCE:PORTS",
            Self::Agent => "AGENT",
            Self::Attribute => "ATTRIBUTE",
            Self::MemberOf => "MemberOf placement constraint unsatisfied.",
            Self::DistinctInstance => "DistinctInstance placement constraint unsatisfied.",
            Self::Inactive => "INACTIVE",
            Self::Missing => "MISSING",
            Self::Role => "ROLE",
        }
    }
}

/// A join token, without its secret.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinTokenMade(pub Arc<JoinToken>);

/// What a node learns when it registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The node as it is now.
    pub node: Arc<Node>,
}

/// A session's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connected {
    /// Names this session in what follows.
    pub session: SessionId,
    /// The node's generation now.
    pub generation: u64,
}

/// What a node may be told that it was heard. In the order of the reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acks {
    /// This version and every older one is durable (or means a task that nobody knows any more).
    pub acks: Vec<(TaskArn, u64)>,
    /// Not acknowledged: tasks that belong to another node. To be logged, as it can't happen with
    /// an honest agent.
    pub foreign: Vec<TaskArn>,
}

/// What a tick did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ticked {
    /// Stopped tasks that were forgotten.
    pub tasks_expired: usize,
    /// Tasks that were given up with their lost nodes.
    pub tasks_lost: usize,
    /// Whether more is left for the next tick.
    pub more: bool,
}
