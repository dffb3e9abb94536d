//! Everything that can change the cluster, as values: commands in, answers or refusals out.
//!
//! The API and the node side decode their wire formats into these; `apply` decides them. Texts
//! that come in here are within their bounds already; what needs the state to judge (is there
//! such a cluster? is this container part of the definition?) is judged by `apply`.

mod answer;
mod operation;
mod refusal;
mod service;

use loadline_model::{InstanceArn, KeyValue, Resources, TaskArn, TaskReport};
use serde::Serialize;

pub use answer::{
    Acks, Connected, FAILURES_MAX, JoinTokenMade, PlacementFailure, PlacementReason, Ran,
    Registered, Reply, Ticked,
};
pub use operation::Operation;
pub use refusal::{JoinTokenRefusal, Refusal};
pub use service::{
    CreateService, DESIRED_COUNT_MAX, DeleteService, Deploy, Force, Reconcile, StartTask,
    StopServiceDeployment, UpdateService,
};

use crate::state::{
    ClusterName, DefinitionBody, DefinitionKey, Family, NodeAttribute, NodeStatus,
    PlacementConstraint, PlacementStrategy, ServiceKey, SessionId, Sha256Hash, TaskOverrides,
    TokenId,
};

/// Most tasks of one RunTask (ECS's own bound).
pub const RUN_COUNT_MAX: u32 = 10;

/// A change that somebody asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// See [`CreateCluster`].
    CreateCluster(CreateCluster),
    /// See [`DeleteCluster`].
    DeleteCluster(DeleteCluster),
    /// See [`RegisterTaskDefinition`].
    RegisterTaskDefinition(RegisterTaskDefinition),
    /// See [`DeregisterTaskDefinition`].
    DeregisterTaskDefinition(DeregisterTaskDefinition),
    /// See [`DeleteTaskDefinition`].
    DeleteTaskDefinition(DeleteTaskDefinition),
    /// See [`RunTask`].
    RunTask(RunTask),
    /// See [`StartTask`].
    StartTask(StartTask),
    /// See [`CreateService`].
    CreateService(Box<CreateService>),
    /// See [`UpdateService`].
    UpdateService(Box<UpdateService>),
    /// See [`DeleteService`].
    DeleteService(DeleteService),
    /// See [`StopServiceDeployment`].
    StopServiceDeployment(StopServiceDeployment),
    /// See [`Reconcile`].
    Reconcile(Reconcile),
    /// See [`StopTask`].
    StopTask(StopTask),
    /// See [`CreateJoinToken`].
    CreateJoinToken(CreateJoinToken),
    /// See [`RevokeJoinToken`].
    RevokeJoinToken(RevokeJoinToken),
    /// See [`UseJoinToken`].
    UseJoinToken(UseJoinToken),
    /// See [`RegisterNode`].
    RegisterNode(RegisterNode),
    /// See [`RegisterInstance`].
    RegisterInstance(RegisterInstance),
    /// See [`SetNodeStatus`].
    SetNodeStatus(SetNodeStatus),
    /// See [`DeregisterNode`].
    DeregisterNode(DeregisterNode),
    /// See [`ProtectTasks`].
    ProtectTasks(ProtectTasks),
    /// See [`SetTags`].
    SetTags(SetTags),
    /// See [`SetAttributes`].
    SetAttributes(SetAttributes),
    /// See [`NodeConnected`].
    NodeConnected(NodeConnected),
    /// See [`NodeDisconnected`].
    NodeDisconnected(NodeDisconnected),
    /// See [`TaskReports`].
    TaskReports(TaskReports),
    /// See [`crate::vault::Command`].
    Vault(Box<crate::vault::Command>),
    /// See [`crate::iam::Command`].
    Iam(Box<crate::iam::Command>),
    /// See [`Tick`].
    Tick(Tick),
}

/// Makes a cluster; one that is ACTIVE already is answered as it is (ECS does so too), one that
/// is INACTIVE becomes a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateCluster {
    /// Its name.
    pub cluster: ClusterName,
    /// Its tags.
    pub tags: Vec<KeyValue>,
}

/// Makes a cluster INACTIVE. Refused while it has tasks or container instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteCluster {
    /// Which.
    pub cluster: ClusterName,
}

/// Adds the next revision of a family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterTaskDefinition {
    /// What it says.
    pub body: DefinitionBody,
    /// The ARN of whoever registers it, where that is known.
    pub by: Option<String>,
}

/// Makes a revision INACTIVE; one that is so already stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeregisterTaskDefinition {
    /// The family.
    pub family: Family,
    /// The revision; ECS demands it here.
    pub revision: u32,
}

/// Deletes an INACTIVE revision. It is DELETE_IN_PROGRESS until nothing uses it, and then gone; its
/// number is not given out again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteTaskDefinition {
    /// Which.
    pub definition: DefinitionKey,
}

/// Which task definition a caller means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DefinitionRef {
    /// The family.
    pub family: Family,
    /// `None`: the newest ACTIVE one.
    pub revision: Option<u32>,
}

/// Places and starts up to [`RUN_COUNT_MAX`] tasks. What fits is placed, what does not is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunTask {
    /// Where.
    pub cluster: ClusterName,
    /// What.
    pub definition: DefinitionRef,
    /// How many, 1 to [`RUN_COUNT_MAX`].
    pub count: u32,
    /// Laid over the definition.
    pub overrides: Option<TaskOverrides>,
    /// `None`: `family:FAMILY`.
    pub group: Option<String>,
    /// Free text to find tasks by.
    pub started_by: Option<String>,
    /// A repeated call with the same token and the same parameters gives the same tasks.
    pub client_token: Option<String>,
    /// The tasks' tags.
    pub tags: Vec<KeyValue>,
    /// Where else tags come from.
    pub propagate_tags: PropagateTags,
    /// Bind, besides those of the definition.
    pub constraints: Vec<PlacementConstraint>,
    /// Best effort, in this order.
    pub strategy: Vec<PlacementStrategy>,
    /// `enableExecuteCommand`
    pub execute_command: bool,
}

/// RunTask's `propagateTags`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum PropagateTags {
    /// `NONE`, or absent.
    None,
    /// `TASK_DEFINITION`: the definition's tags, below those of the call.
    TaskDefinition,
}

/// Wants a task stopped. One that is stopping or stopped already stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopTask {
    /// The cluster that the caller named.
    pub cluster: ClusterName,
    /// Which.
    pub task: TaskArn,
    /// ECS's default, `Task stopped by user`, where not set.
    pub reason: Option<String>,
}

/// Makes a join token. The caller chose the secret at random and hands over only its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateJoinToken {
    /// 16 random hex digits.
    pub id: TokenId,
    /// SHA-256 of the secret's 64 hex digits as text.
    pub secret_hash: Sha256Hash,
    /// The cluster that nodes shall join.
    pub cluster: ClusterName,
    /// How long it holds, milliseconds.
    pub valid_for_ms: u64,
    /// How many nodes it brings in.
    pub uses: u32,
}

/// Refuses a join token from now on. Twice is no change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokeJoinToken {
    /// Which.
    pub id: TokenId,
}

/// A node presents a join token. The same key again gives the same node again and does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UseJoinToken {
    /// The public part.
    pub id: TokenId,
    /// SHA-256 of the secret's 64 hex digits as text.
    pub secret_hash: Sha256Hash,
    /// SHA-256 of the node's public key (SubjectPublicKeyInfo, DER).
    pub key_hash: Sha256Hash,
}

/// What a node has. Idempotent; the same node registers again at each start of its agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterNode {
    /// From the certificate.
    pub node: InstanceArn,
    /// What tasks may reserve.
    pub resources: Resources,
    /// At most [`ATTRIBUTES_MAX`], each name once.
    pub attributes: Vec<NodeAttribute>,
    /// For people.
    pub agent_version: String,
}

/// A caller of the API registers a container instance that has no agent of ours: it takes no tasks.
/// A node with an agent is refused, because it alone speaks for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterInstance {
    /// Where.
    pub cluster: ClusterName,
    /// One that was registered so before; `None` for a new one.
    pub node: Option<InstanceArn>,
    /// What it has.
    pub resources: Resources,
    /// Each name once.
    pub attributes: Vec<NodeAttribute>,
    /// For people.
    pub agent_version: String,
    /// For people, and for constraints.
    pub ec2_instance_id: Option<String>,
    /// `None`: those that it has.
    pub tags: Option<Vec<KeyValue>>,
}

/// Most attributes of a node.
pub const ATTRIBUTES_MAX: usize = 100;

/// UpdateContainerInstancesState: ACTIVE or DRAINING.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetNodeStatus {
    /// The cluster that the caller named.
    pub cluster: ClusterName,
    /// Which.
    pub node: InstanceArn,
    /// ACTIVE or DRAINING; INACTIVE is refused here.
    pub status: NodeStatus,
}

/// Removes a node. Refused while it has tasks, unless forced: they then count as stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeregisterNode {
    /// The cluster that the caller named.
    pub cluster: ClusterName,
    /// Which.
    pub node: InstanceArn,
    /// What to do with its tasks.
    pub tasks: NodeTasks,
}

/// What [`DeregisterNode`] does with the node's tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeTasks {
    /// Refuse while there are any.
    Keep,
    /// `force`: give them up.
    GiveUp,
}

/// Puts attributes on nodes, or deletes them: all of them or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAttributes {
    /// The cluster that the caller named.
    pub cluster: ClusterName,
    /// Whose, and which.
    pub of: Vec<(InstanceArn, NodeAttribute)>,
    /// How.
    pub change: AttributeChange,
}

/// What is done to a node's attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttributeChange {
    /// Adds it; a name that is there already gets this value.
    Put,
    /// Removes it; one that is not there is no change.
    Delete,
}

/// Protects tasks of services from scale-in and deployments, or no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtectTasks {
    /// The cluster that the caller named.
    pub cluster: ClusterName,
    /// Which. One that is of no service, or is to stop, is left as it is.
    pub tasks: Vec<TaskArn>,
    /// Whether, and for how long.
    pub protection: Protection,
}

/// Longest protection, in minutes (ECS's own bound).
pub const PROTECTION_MINUTES_MAX: u32 = 2880;
/// How long a task is protected where nothing is said, in minutes (ECS).
pub const PROTECTION_MINUTES_DEFAULT: u32 = 120;

/// UpdateTaskProtection's `protectionEnabled` and `expiresInMinutes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// No longer.
    Off,
    /// From now on for so long, 1 to 2,880.
    ForMinutes(u32),
}

/// Puts or removes tags of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetTags {
    /// Whose.
    pub of: Tagged,
    /// How.
    pub change: TagChange,
}

/// What can have tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tagged {
    /// An ACTIVE cluster.
    Cluster(ClusterName),
    /// A revision, which must be named.
    Definition(DefinitionRef),
    /// A service that is not INACTIVE.
    Service(ServiceKey),
    /// A task that is not forgotten yet.
    Task(TaskArn),
    /// A container instance that is not INACTIVE.
    Node(InstanceArn),
}

/// What is done to an object's tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagChange {
    /// Adds these; a name that is there already gets this value.
    Put(Vec<KeyValue>),
    /// Removes these names; one that is not there is no change.
    Remove(Vec<String>),
}

/// Most tags of one object (ECS's own bound).
pub const TAGS_MAX: usize = 50;

/// A node's agent opened a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConnected {
    /// From the certificate.
    pub node: InstanceArn,
    /// From `Hello`: the same run may replace its own session at once.
    pub run_id: String,
    /// From `Hello`.
    pub generation: u64,
}

/// The session ended. One that is not the node's newest is no change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeDisconnected {
    /// From the certificate.
    pub node: InstanceArn,
    /// Which session.
    pub session: SessionId,
}

/// Newest states of a node's tasks. The answer says what may be acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskReports {
    /// From the certificate; a node can speak only for its own tasks.
    pub node: InstanceArn,
    /// At most [`REPORTS_MAX`].
    pub reports: Vec<TaskReport>,
}

/// Most reports of one message.
pub const REPORTS_MAX: usize = 64;

/// Time has passed. The engine sends it to itself; nobody else does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tick {
    /// Nodes whose session is dead: silent for longer than the lease.
    pub silent: Vec<InstanceArn>,
    /// Nodes that count as lost from now on, by the rules of `liveness`: services replace what
    /// they had there.
    pub lost: Vec<InstanceArn>,
    /// Lost nodes whose tasks count as stopped from now on.
    pub given_up: Vec<InstanceArn>,
}
