//! One record's change. A command's writes are committed together or not at all.

use std::sync::Arc;

use loadline_model::{InstanceArn, TaskArn};

use super::{
    Cluster, ClusterName, Connection, DefinitionKey, Family, JoinToken, Node, RunToken, Service,
    ServiceKey, Task, TaskDefinition, TokenId,
};

/// A record's new value, or its end.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// A cluster's new value.
    Cluster(Arc<Cluster>),
    /// A revision's new value.
    Definition(Arc<TaskDefinition>),
    /// A revision that was deleted is gone.
    ForgetDefinition(DefinitionKey),
    /// The newest revision number that a family has given out: never reused.
    Family(Family, u32),
    /// A task's new value.
    Task(Arc<Task>),
    /// A stopped task is forgotten.
    ForgetTask(TaskArn),
    /// A node's new value.
    Node(Arc<Node>),
    /// A node that was removed is forgotten, its generation with it.
    ForgetNode(InstanceArn),
    /// The same, for the record of its generation.
    ForgetGeneration(InstanceArn),
    /// A node's new generation.
    Generation(InstanceArn, u64),
    /// A join token's new value.
    JoinToken(Arc<JoinToken>),
    /// A join token that has expired is forgotten.
    ForgetJoinToken(TokenId),
    /// A RunTask's client token.
    RunToken(Arc<RunToken>),
    /// A client token is forgotten.
    ForgetRunToken(ClusterName, String),
    /// A secret's or parameter's new value.
    Vault(crate::vault::Record),
    /// A secret or parameter is gone, by its key.
    ForgetVault(String),
    /// A user's, role's or policy's new value.
    Iam(crate::iam::Record),
    /// A user, role or policy is gone, by its key.
    ForgetIam(String),
    /// A service's new value.
    Service(Arc<Service>),
    /// When time alone moves the service next; `None`: never. Never stored.
    Wake(ServiceKey, Option<u64>),
    /// A node's session began, changed or ended. Never stored.
    Connection(InstanceArn, Option<Connection>),
}
