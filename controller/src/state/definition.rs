//! Task definitions: immutable but for their status.

use std::collections::BTreeMap;

use loadline_model::network::WITHOUT_NETWORKS;
use loadline_model::{
    Assignment, ContainerName, ContainerSpec, DesiredStatus, HealthStatus, IpcMode, KeyValue,
    NetworkMode, PidMode, Protocol, Right, TaskArn, TaskSpec, Volume,
};
use serde::{Deserialize, Serialize};

use super::{DefinitionKey, Family, PlacementConstraint, Task};

/// What RegisterTaskDefinition said, validated by the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefinitionBody {
    /// The family.
    pub family: Family,
    /// Task-level CPU units.
    pub cpu_units: Option<u64>,
    /// Task-level memory in MiB.
    pub memory_mib: Option<u64>,
    /// How tasks meet the network.
    pub network_mode: NetworkMode,
    /// The containers, in the order given.
    pub containers: Vec<ContainerSpec>,
    /// The host's ports that its containers ask for by number. Placement keeps them apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<HostPort>,
    /// What was said about ports that no node needs to know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub port_details: Vec<PortDetail>,
    /// `requiresCompatibilities` as given: kept for Describe.
    pub requires_compatibilities: Vec<String>,
    /// Bind every placement of this definition, besides those of RunTask.
    pub placement_constraints: Vec<PlacementConstraint>,
    /// The attributes that nodes must have, as constraints; see [`Self::require`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<PlacementConstraint>,
    /// `runtimePlatform`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// What its containers can mount.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeDefinition>,
    /// Whose processes its containers see.
    #[serde(default)]
    pub pid_mode: PidMode,
    /// With whom its containers share IPC.
    #[serde(default)]
    pub ipc_mode: IpcMode,
    /// Whose rights its tasks have.
    #[serde(default)]
    pub roles: Roles,
    /// Variables whose values are looked up when a task is placed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<ContainerSecret>,
    /// Files of variables, which are read when a task is placed; each container's in its order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environment_files: Vec<EnvironmentFile>,
    /// Where containers' output goes besides their node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub logs: BTreeMap<ContainerName, AwsLogs>,
    /// The definition's tags.
    pub tags: Vec<KeyValue>,
}

/// The attribute of nodes that take the variables of environment files.
pub const ENVIRONMENT_FILES: &str = "ecs.capability.env-files.s3";

/// Log drivers of nodes, and the attributes of nodes that have them.
const LOG_DRIVERS: [(&str, &str); 4] = [
    ("json-file", "com.amazonaws.ecs.capability.logging-driver.json-file"),
    ("none", "com.amazonaws.ecs.capability.logging-driver.none"),
    ("syslog", "com.amazonaws.ecs.capability.logging-driver.syslog"),
    ("journald", "com.amazonaws.ecs.capability.logging-driver.journald"),
];

impl DefinitionBody {
    /// A definition with nothing special about it.
    #[must_use]
    pub fn new(family: Family, containers: Vec<ContainerSpec>) -> Self {
        Self {
            roles: Roles::default(),
            secrets: Vec::new(),
            environment_files: Vec::new(),
            logs: BTreeMap::new(),
            family,
            cpu_units: None,
            memory_mib: None,
            network_mode: NetworkMode::None,
            containers,
            ports: Vec::new(),
            port_details: Vec::new(),
            requires_compatibilities: Vec::new(),
            placement_constraints: Vec::new(),
            requires: Vec::new(),
            platform: None,
            volumes: Vec::new(),
            pid_mode: PidMode::Container,
            ipc_mode: IpcMode::Container,
            tags: Vec::new(),
        }
    }

    /// What binds every placement: the definition's own constraints, its platform's, and the
    /// attributes that it needs.
    pub fn constraints(&self) -> impl Iterator<Item = &PlacementConstraint> {
        self.placement_constraints.iter().chain(self.needs())
    }

    /// What binds also where the caller names the node: the platform's constraints, and the
    /// attributes that the definition needs.
    pub fn needs(&self) -> impl Iterator<Item = &PlacementConstraint> {
        let platform = self.platform.iter().flat_map(|platform| &platform.constraints);
        platform.chain(&self.requires)
    }

    /// The attributes that a node must have for it: each says that the node grants a right, or
    /// knows a feature.
    #[must_use]
    pub fn required_attributes(&self) -> Vec<&'static str> {
        let any = |of: fn(&ContainerSpec) -> bool| self.containers.iter().any(of);
        let features = [
            ("ecs.capability.container-ordering", any(|c| !c.depends_on.is_empty())),
            ("ecs.capability.container-health-check", any(|c| c.health_check.is_some())),
            ("ecs.capability.container-restart-policy", any(|c| c.restart_policy.is_some())),
            ("loadline.capability.init-process", any(|c| c.linux.init_process)),
            ("loadline.capability.swap", any(|c| c.linux.swaps())),
            ("loadline.capability.shared-namespaces", self.shares_namespaces()),
            ("loadline.capability.disable-networking", any(|c| c.network.disabled)),
            (ENVIRONMENT_FILES, !self.environment_files.is_empty()),
            ("loadline.capability.terminal", any(|c| c.pseudo_terminal || c.interactive)),
        ];
        let features = features.into_iter().filter(|(_, used)| *used).map(|(name, _)| name);
        // Rights do not depend on who the task is.
        let any = TaskArn::parse("arn:aws:ecs:-:-:task/-/-").expect("it is one");
        let task = TaskSpec {
            volumes: self.volumes.iter().map(|volume| volume.volume.clone()).collect(),
            pid_mode: self.pid_mode,
            ipc_mode: self.ipc_mode,
            ..TaskSpec::new(any, self.containers.clone())
        };
        let features = features.chain(LOG_DRIVERS.into_iter().filter_map(|(driver, name)| {
            let uses = |c: &ContainerSpec| c.log.as_ref().is_some_and(|log| log.driver == driver);
            self.containers.iter().any(uses).then_some(name)
        }));
        features.chain(task.rights().into_iter().map(Right::attribute)).collect()
    }

    fn shares_namespaces(&self) -> bool {
        let with_task = self.pid_mode == PidMode::Task;
        with_task || matches!(self.ipc_mode, IpcMode::Task | IpcMode::None)
    }

    /// Sets what nodes must have for it, once everything else is set.
    pub fn require(&mut self) {
        let exists = |name| PlacementConstraint::MemberOf(format!("attribute:{name} exists"));
        self.requires = self.required_attributes().into_iter().map(exists).collect();
        if self.network_mode.has_addresses() {
            let offered = format!("attribute:{WITHOUT_NETWORKS} !exists");
            self.requires.push(PlacementConstraint::MemberOf(offered));
        }
    }
}

/// A volume, and how it was declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeDefinition {
    /// What nodes are told.
    pub volume: Volume,
    /// The labels of its `dockerVolumeConfiguration`; `None` where it was declared as `host`.
    pub docker: Option<Vec<KeyValue>>,
}

/// The log driver awslogs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AwsLogs {
    /// The log group.
    pub group: String,
    /// What the streams' names begin with.
    pub stream_prefix: Option<String>,
    /// Whether the group is made where it is missing.
    pub create_group: bool,
    /// The options as they were given.
    pub options: BTreeMap<String, String>,
}

/// A variable of a container whose value is kept by secretsmanager or ssm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSecret {
    /// Which container of the definition.
    pub container: ContainerName,
    /// The variable.
    pub name: String,
    /// The name or ARN of a parameter, or the ARN of a secret, which a key of its JSON, a label
    /// and a version may follow.
    pub value_from: String,
}

/// An object of an S3-compatible store that holds variables of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentFile {
    /// Which container of the definition.
    pub container: ContainerName,
    /// The object's ARN.
    pub object: String,
}

/// The roles of a task: ARNs of this account's IAM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roles {
    /// `taskRoleArn`: what its containers may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// `executionRoleArn`: what is done with before its containers run, and for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<String>,
}

impl Roles {
    /// Each of them, once.
    pub fn each(&self) -> impl Iterator<Item = &String> {
        let execution = self.execution.iter().filter(|role| self.task.as_ref() != Some(*role));
        self.task.iter().chain(execution)
    }

    /// These, and where there is none that of `under`.
    #[must_use]
    pub fn over(&self, under: &Self) -> Self {
        Self {
            task: self.task.clone().or_else(|| under.task.clone()),
            execution: self.execution.clone().or_else(|| under.execution.clone()),
        }
    }
}

/// ECS's `runtimePlatform`. The operating system is always Linux.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// `X86_64` or `ARM64`, where it says.
    pub cpu_architecture: Option<String>,
    /// What nodes must be for it.
    pub constraints: Vec<PlacementConstraint>,
}

/// A port of the host that a container uses, by its number. No two held tasks of a node have the
/// same one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPort {
    /// Which container of the definition.
    pub container: ContainerName,
    /// 1 to 65535.
    pub port: u16,
    /// Over what.
    pub protocol: Protocol,
}

/// What a port mapping says besides the ports: kept and shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortDetail {
    /// Which container of the definition.
    pub container: ContainerName,
    /// Which of the container's ports the mapping begins with.
    pub first: usize,
    /// How many ports it is.
    pub count: usize,
    /// Whether it was given as a range.
    #[serde(default)]
    pub is_range: bool,
    /// What services call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `http`, `http2` or `grpc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
}

/// One revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDefinition {
    /// What was registered.
    pub body: DefinitionBody,
    /// From 1, never reused within the family.
    pub revision: u32,
    /// Whether new tasks may use it.
    pub status: DefinitionStatus,
    /// Unix milliseconds.
    pub registered_at_ms: u64,
    /// The ARN of whoever registered it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registered_by: Option<String>,
    /// Set once it is INACTIVE, Unix milliseconds.
    pub deregistered_at_ms: Option<u64>,
    /// Set once its deletion was asked for, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_requested_at_ms: Option<u64>,
}

impl TaskDefinition {
    /// `family:revision`
    #[must_use]
    pub fn key(&self) -> DefinitionKey {
        DefinitionKey { family: self.body.family.clone(), revision: self.revision }
    }

    /// The roles of a task of this definition.
    #[must_use]
    pub fn roles(&self, overrides: Option<&TaskOverrides>) -> Roles {
        match overrides {
            Some(overrides) => overrides.roles.over(&self.body.roles),
            None => self.body.roles.clone(),
        }
    }

    /// Whether an essential container has a health check: a service then waits for its verdict.
    #[must_use]
    pub fn checks_health(&self) -> bool {
        self.body.containers.iter().any(|c| c.essential && c.health_check.is_some())
    }

    /// How well a task of this definition is.
    #[must_use]
    pub fn health_of(&self, task: &Task) -> HealthStatus {
        let checked = self.body.containers.iter().zip(&task.containers);
        let checked = checked.filter(|(spec, _)| spec.essential && spec.health_check.is_some());
        HealthStatus::of_task(checked.map(|(_, container)| container.health))
    }

    /// A task of this definition as its node is told about it.
    #[must_use]
    pub fn assignment(&self, task: &Task) -> Assignment {
        let stopping = task.desired == DesiredStatus::Stopped;
        Assignment {
            task: self.task_spec(task.arn.clone(), task.overrides.as_deref()),
            desired: task.desired,
            stop_reason: task.stopped_reason.clone().filter(|_| stopping).map(String::from),
        }
    }

    /// Whether a task can't start before the controller has looked its secrets up, has read its
    /// environment files, and has seen that its output has a place.
    fn awaits(&self, overrides: Option<&TaskOverrides>) -> bool {
        let body = &self.body;
        let told = !body.logs.is_empty() || !body.secrets.is_empty();
        told || !self.environment_files(overrides).is_empty()
    }

    /// The environment files of a task of this definition. Those of an override are in place of
    /// the container's own.
    #[must_use]
    pub fn environment_files(&self, overrides: Option<&TaskOverrides>) -> Vec<EnvironmentFile> {
        let over = overrides.map_or(&[][..], |overrides| &overrides.containers);
        let over = || over.iter().filter(|over| !over.environment_files.is_empty());
        let kept = self.body.environment_files.iter();
        let kept = kept.filter(|file| over().all(|over| over.name != file.container)).cloned();
        let instead = over().flat_map(|over| {
            let file = |object: &String| EnvironmentFile {
                container: over.name.clone(),
                object: object.clone(),
            };
            over.environment_files.iter().map(file)
        });
        kept.chain(instead).collect()
    }

    /// The work of a task of this definition: the definition with the overrides laid over it.
    #[must_use]
    pub fn task_spec(&self, arn: TaskArn, overrides: Option<&TaskOverrides>) -> TaskSpec {
        let mut spec = TaskSpec {
            arn,
            family: self.body.family.as_str().to_owned(),
            revision: self.revision,
            cpu_units: self.body.cpu_units,
            memory_mib: self.body.memory_mib,
            network_mode: self.body.network_mode,
            task_role_arn: self.roles(overrides).task,
            awaits_secrets: self.awaits(overrides),
            containers: self.body.containers.clone(),
            volumes: self.body.volumes.iter().map(|volume| volume.volume.clone()).collect(),
            pid_mode: self.body.pid_mode,
            ipc_mode: self.body.ipc_mode,
        };
        if let Some(overrides) = overrides {
            overrides.lay_over(&mut spec);
        }
        spec
    }
}

/// ECS's task definition status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DefinitionStatus {
    /// New tasks may use it.
    Active,
    /// Deregistered: existing tasks keep it, new ones are refused.
    Inactive,
    /// Deleted: it is there until the last task and service of it are gone.
    DeleteInProgress,
}

impl DefinitionStatus {
    /// ECS's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Inactive => "INACTIVE",
            Self::DeleteInProgress => "DELETE_IN_PROGRESS",
        }
    }
}

/// RunTask's `overrides`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskOverrides {
    /// Replaces the task-level CPU units.
    pub cpu_units: Option<u64>,
    /// Replaces the task-level memory, MiB.
    pub memory_mib: Option<u64>,
    /// Replace the roles.
    #[serde(default)]
    pub roles: Roles,
    /// At most one for each container of the definition.
    pub containers: Vec<ContainerOverride>,
}

impl TaskOverrides {
    /// What a node must have for what the overrides bring in. A definition asks for its own.
    #[must_use]
    pub fn needs(&self) -> Option<PlacementConstraint> {
        let any = self.containers.iter().any(|over| !over.environment_files.is_empty());
        any.then(|| PlacementConstraint::MemberOf(format!("attribute:{ENVIRONMENT_FILES} exists")))
    }

    fn lay_over(&self, spec: &mut TaskSpec) {
        spec.cpu_units = self.cpu_units.or(spec.cpu_units);
        spec.memory_mib = self.memory_mib.or(spec.memory_mib);
        for over in &self.containers {
            if let Some(container) = spec.containers.iter_mut().find(|c| c.name == over.name) {
                over.lay_over(container);
            }
        }
    }
}

/// The overrides of one container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerOverride {
    /// Which container; one that the definition does not have is refused.
    pub name: ContainerName,
    /// Replaces the command.
    pub command: Option<Vec<String>>,
    /// Added to the definition's environment; a name that is there already gets this value.
    pub environment: Vec<KeyValue>,
    /// ARNs of objects: in place of the definition's environment files, where there are any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environment_files: Vec<String>,
    /// Replaces the CPU units.
    pub cpu_units: Option<u64>,
    /// Replaces the hard memory limit, MiB.
    pub memory_mib: Option<u64>,
    /// Replaces the memory reservation, MiB.
    pub memory_reservation_mib: Option<u64>,
}

impl ContainerOverride {
    fn lay_over(&self, container: &mut ContainerSpec) {
        if let Some(command) = &self.command {
            container.command = Some(command.clone());
        }
        for pair in &self.environment {
            match container.environment.iter_mut().find(|have| have.name == pair.name) {
                Some(have) => have.value.clone_from(&pair.value),
                None => container.environment.push(pair.clone()),
            }
        }
        container.cpu_units = self.cpu_units.unwrap_or(container.cpu_units);
        container.memory_mib = self.memory_mib.or(container.memory_mib);
        container.memory_reservation_mib =
            self.memory_reservation_mib.or(container.memory_reservation_mib);
    }
}
