//! The typed face of commands: which answer belongs to which.

use std::sync::Arc;

use loadline_model::InstanceArn;

use super::{
    Acks, Command, Connected, CreateCluster, CreateJoinToken, CreateService, DeleteCluster,
    DeleteService, DeleteTaskDefinition, DeregisterNode, DeregisterTaskDefinition, JoinTokenMade,
    NodeConnected, NodeDisconnected, ProtectTasks, Ran, Reconcile, RegisterInstance, RegisterNode,
    RegisterTaskDefinition, Registered, Reply, RevokeJoinToken, RunTask, SetAttributes,
    SetNodeStatus, SetTags, StartTask, StopServiceDeployment, StopTask, TaskReports, Tick, Ticked,
    UpdateService, UseJoinToken,
};
use crate::state::{Cluster, Node, Service, Task, TaskDefinition};

/// A command whose answer has a type of its own: `engine.call(RunTask { … })` gives a [`Ran`].
pub trait Operation: Into<Command> {
    /// The answer.
    type Answer;

    /// Takes the answer out of a reply; `None` where the reply is another command's.
    fn answer(reply: Reply) -> Option<Self::Answer>;
}

macro_rules! operations {
    ($($command:ident => $variant:ident($answer:ty)),* $(,)?) => {
        $(
            impl From<$command> for Command {
                fn from(command: $command) -> Self {
                    Self::$command(command.into())
                }
            }

            impl Operation for $command {
                type Answer = $answer;

                fn answer(reply: Reply) -> Option<$answer> {
                    match reply {
                        Reply::$variant(answer) => Some(answer),
                        _ => None,
                    }
                }
            }
        )*
    };
}

impl From<crate::vault::Command> for Command {
    fn from(command: crate::vault::Command) -> Self {
        Self::Vault(Box::new(command))
    }
}

impl Operation for crate::vault::Command {
    type Answer = crate::vault::Record;

    fn answer(reply: Reply) -> Option<Self::Answer> {
        match reply {
            Reply::Vault(record) => Some(record),
            _ => None,
        }
    }
}

impl From<crate::iam::Command> for Command {
    fn from(command: crate::iam::Command) -> Self {
        Self::Iam(Box::new(command))
    }
}

impl Operation for crate::iam::Command {
    type Answer = crate::iam::Record;

    fn answer(reply: Reply) -> Option<Self::Answer> {
        match reply {
            Reply::Iam(record) => Some(record),
            _ => None,
        }
    }
}

operations! {
    CreateCluster => Cluster(Arc<Cluster>),
    DeleteCluster => Cluster(Arc<Cluster>),
    RegisterTaskDefinition => Definition(Arc<TaskDefinition>),
    DeregisterTaskDefinition => Definition(Arc<TaskDefinition>),
    DeleteTaskDefinition => Definition(Arc<TaskDefinition>),
    RunTask => Ran(Ran),
    StartTask => Ran(Ran),
    CreateService => Service(Arc<Service>),
    UpdateService => Service(Arc<Service>),
    DeleteService => Service(Arc<Service>),
    StopServiceDeployment => Service(Arc<Service>),
    Reconcile => Noted(()),
    StopTask => Task(Arc<Task>),
    CreateJoinToken => Token(JoinTokenMade),
    RevokeJoinToken => Token(JoinTokenMade),
    UseJoinToken => Enrolled(InstanceArn),
    RegisterNode => Registered(Registered),
    RegisterInstance => Registered(Registered),
    SetNodeStatus => Node(Arc<Node>),
    DeregisterNode => Node(Arc<Node>),
    NodeConnected => Connected(Connected),
    TaskReports => Acks(Acks),
    ProtectTasks => Noted(()),
    SetTags => Noted(()),
    SetAttributes => Noted(()),
    NodeDisconnected => Noted(()),
    Tick => Ticked(Ticked),
}
