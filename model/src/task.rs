//! What a node needs to know to run a task: everything that a task definition, with the overrides
//! of RunTask applied, says about it.

use serde::{Deserialize, Serialize};

use crate::logging::LogConfiguration;
use crate::network::{ContainerNetwork, NetworkMode};
use crate::{
    ContainerName, Dependency, DesiredStatus, HealthCheck, IpcMode, LinuxParameters, MountPoint,
    PidMode, Resources, RestartPolicy, TaskArn, Ulimit, Volume, VolumeFrom,
};

/// A pair of an environment variable, a label or a tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyValue {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

/// What is as everywhere takes no room in records.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A task as it is assigned to a node. Immutable: an ARN means the same work for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// Who it is.
    pub arn: TaskArn,
    /// The task definition's family.
    pub family: String,
    /// The task definition's revision, from 1.
    pub revision: u32,
    /// Task-level CPU units: a quota (ceiling) for the whole task, 1024 a vCPU.
    pub cpu_units: Option<u64>,
    /// Task-level memory in MiB: a hard limit for the whole task.
    pub memory_mib: Option<u64>,
    /// How it meets the network.
    pub network_mode: NetworkMode,
    /// The role whose credentials its containers get, an IAM ARN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_role_arn: Option<String>,
    /// Whether its containers wait for values of their environment that come apart, and are kept in
    /// memory only.
    #[serde(default, skip_serializing_if = "is_default")]
    pub awaits_secrets: bool,
    /// At least one container, with distinct names; at least one is essential.
    pub containers: Vec<ContainerSpec>,
    /// What its containers can mount, with distinct names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    /// Whose processes its containers see.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pid_mode: PidMode,
    /// With whom its containers share IPC.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ipc_mode: IpcMode,
}

impl TaskSpec {
    /// A task with nothing special about it.
    #[must_use]
    pub fn new(arn: TaskArn, containers: Vec<ContainerSpec>) -> Self {
        Self {
            arn,
            family: "task".to_owned(),
            revision: 1,
            cpu_units: None,
            memory_mib: None,
            network_mode: NetworkMode::None,
            task_role_arn: None,
            awaits_secrets: false,
            containers,
            volumes: Vec::new(),
            pid_mode: PidMode::Container,
            ipc_mode: IpcMode::Container,
        }
    }

    /// What the task takes from its node's line, by the ECS agent's rules: the task-level value
    /// where one is set, else the containers' sum (for memory, a container's reservation where it
    /// has one, else its limit). Sums saturate: such a task fits on no node.
    #[must_use]
    pub fn reservation(&self) -> Resources {
        let sum = |of: fn(&ContainerSpec) -> u64| {
            self.containers.iter().map(of).fold(0, u64::saturating_add)
        };
        Resources {
            cpu_units: self.cpu_units.unwrap_or_else(|| sum(|c| c.cpu_units)),
            memory_mib: self.memory_mib.unwrap_or_else(|| {
                sum(|c| match c.memory_reservation_mib {
                    Some(soft) if 0 < soft => soft,
                    _ => c.memory_mib.unwrap_or(0),
                })
            }),
        }
    }
}

/// One container of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Its name inside the task.
    pub name: ContainerName,
    /// The image's reference, for example `busybox:latest`.
    pub image: String,
    /// CPU units: a weight (floor) inside the task; 0 counts as 2, the kernel's least.
    pub cpu_units: u64,
    /// Hard memory limit in MiB.
    pub memory_mib: Option<u64>,
    /// Soft memory limit in MiB: what it is reserved.
    pub memory_reservation_mib: Option<u64>,
    /// Whether the task ends when this container ends.
    pub essential: bool,
    /// Replaces the image's entrypoint.
    pub entry_point: Option<Vec<String>>,
    /// Replaces the image's command.
    pub command: Option<Vec<String>>,
    /// Set on top of the image's environment.
    pub environment: Vec<KeyValue>,
    /// Replaces the image's working directory.
    pub working_directory: Option<String>,
    /// `user`, `uid`, `user:group` or `uid:gid`; replaces the image's user.
    pub user: Option<String>,
    /// Whether the root filesystem is mounted read-only.
    pub readonly_root_filesystem: bool,
    /// Seconds from SIGTERM to SIGKILL; the agent's default (30 s) where not set.
    pub stop_timeout_s: Option<u32>,
    /// `dockerLabels`: kept with the container, never read as instructions.
    pub labels: Vec<KeyValue>,
    /// Ports, names and name servers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub network: ContainerNetwork,
    /// What must hold of other containers before it starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<Dependency>,
    /// Who waits for it gives up so many seconds after its start (`startTimeout`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_timeout_s: Option<u32>,
    /// How it is asked whether it is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// Whether it starts again after its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<RestartPolicy>,
    /// The task's volumes that it sees.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mount_points: Vec<MountPoint>,
    /// Containers whose mounts it sees too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes_from: Vec<VolumeFrom>,
    /// Whether it has the host's root rights and devices.
    #[serde(default, skip_serializing_if = "is_default")]
    pub privileged: bool,
    /// Limits of its processes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ulimits: Vec<Ulimit>,
    /// `linuxParameters`
    #[serde(default, skip_serializing_if = "is_default")]
    pub linux: LinuxParameters,
    /// `systemControls`: sysctls of its own namespaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub system_controls: Vec<KeyValue>,
    /// Whether its programs can't gain rights (`dockerSecurityOptions`: `no-new-privileges`).
    #[serde(default, skip_serializing_if = "is_default")]
    pub no_new_privileges: bool,
    /// Where its output goes; to the node's own files where it says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogConfiguration>,
    /// Whether its standard input stays open, though nobody writes to it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub interactive: bool,
    /// Whether it has a terminal.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pseudo_terminal: bool,
}

impl ContainerSpec {
    /// An essential container with nothing special about it.
    #[must_use]
    pub fn new(name: ContainerName, image: impl Into<String>) -> Self {
        Self {
            name,
            image: image.into(),
            cpu_units: 0,
            memory_mib: None,
            memory_reservation_mib: None,
            essential: true,
            entry_point: None,
            command: None,
            environment: Vec::new(),
            working_directory: None,
            user: None,
            readonly_root_filesystem: false,
            stop_timeout_s: None,
            labels: Vec::new(),
            network: ContainerNetwork::default(),
            depends_on: Vec::new(),
            start_timeout_s: None,
            health_check: None,
            restart_policy: None,
            mount_points: Vec::new(),
            volumes_from: Vec::new(),
            privileged: false,
            ulimits: Vec::new(),
            linux: LinuxParameters::default(),
            system_controls: Vec::new(),
            no_new_privileges: false,
            log: None,
            interactive: false,
            pseudo_terminal: false,
        }
    }
}

/// One line of a node's desired state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The work.
    pub task: TaskSpec,
    /// Whether it shall run or stop.
    pub desired: DesiredStatus,
    /// Why it shall stop (StopTask's `reason`), where `desired` is stopped.
    pub stop_reason: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(cpu: u64, hard: Option<u64>, soft: Option<u64>) -> ContainerSpec {
        ContainerSpec {
            cpu_units: cpu,
            memory_mib: hard,
            memory_reservation_mib: soft,
            ..ContainerSpec::new(ContainerName::parse("c").unwrap(), "x")
        }
    }

    fn task(cpu: Option<u64>, mem: Option<u64>, containers: Vec<ContainerSpec>) -> TaskSpec {
        let arn = TaskArn::parse("arn:aws:ecs:r:1:task/default/1").unwrap();
        TaskSpec { cpu_units: cpu, memory_mib: mem, ..TaskSpec::new(arn, containers) }
    }

    #[test]
    fn a_reservation_follows_the_ecs_agents_rules() {
        let both = vec![container(100, Some(64), Some(32)), container(28, Some(16), None)];
        let check = |task: TaskSpec, cpu_units, memory_mib| {
            assert_eq!(task.reservation(), Resources { cpu_units, memory_mib });
        };
        check(task(None, None, both.clone()), 128, 48);
        check(task(Some(256), None, both.clone()), 256, 48);
        check(task(None, Some(512), both), 128, 512);
        check(task(None, None, vec![container(0, Some(9), Some(0))]), 0, 9);
        check(task(None, None, vec![container(u64::MAX, None, None); 2]), u64::MAX, 0);
    }
}
