//! Task definitions: immutable but for their status.

use loadline_model::{
    ContainerName, ContainerSpec, IpcMode, KeyValue, NetworkMode, PidMode, Protocol, TaskArn,
    TaskSpec, Volume,
};
use serde::{Deserialize, Serialize};

use super::{DefinitionKey, Family, PlacementConstraint};

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
    /// `requiresCompatibilities` as given: kept for Describe.
    pub requires_compatibilities: Vec<String>,
    /// Bind every placement of this definition, besides those of RunTask.
    pub placement_constraints: Vec<PlacementConstraint>,
    /// `runtimePlatform`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// What its containers can mount.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    /// Whose processes its containers see.
    #[serde(default)]
    pub pid_mode: PidMode,
    /// With whom its containers share IPC.
    #[serde(default)]
    pub ipc_mode: IpcMode,
    /// Whose rights its tasks have.
    #[serde(default)]
    pub roles: Roles,
    /// The definition's tags.
    pub tags: Vec<KeyValue>,
}

impl DefinitionBody {
    /// A definition with nothing special about it.
    #[must_use]
    pub fn new(family: Family, containers: Vec<ContainerSpec>) -> Self {
        Self {
            roles: Roles::default(),
            family,
            cpu_units: None,
            memory_mib: None,
            network_mode: NetworkMode::None,
            containers,
            ports: Vec::new(),
            requires_compatibilities: Vec::new(),
            placement_constraints: Vec::new(),
            platform: None,
            volumes: Vec::new(),
            pid_mode: PidMode::Container,
            ipc_mode: IpcMode::Container,
            tags: Vec::new(),
        }
    }

    /// What binds every placement: the definition's own constraints, and its platform's.
    pub fn constraints(&self) -> impl Iterator<Item = &PlacementConstraint> {
        let platform = self.platform.iter().flat_map(|platform| &platform.constraints);
        self.placement_constraints.iter().chain(platform)
    }
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

/// A port of the host that a container uses, by its number. No two held tasks of a node have the same one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPort {
    /// Which container of the definition.
    pub container: ContainerName,
    /// 1 to 65535.
    pub port: u16,
    /// Over what.
    pub protocol: Protocol,
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
    /// Set once it is INACTIVE, Unix milliseconds.
    pub deregistered_at_ms: Option<u64>,
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
            containers: self.body.containers.clone(),
            volumes: self.body.volumes.clone(),
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
}

impl DefinitionStatus {
    /// ECS's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Inactive => "INACTIVE",
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
