//! What a node needs to know to run a task: everything that a task definition, with the overrides
//! of RunTask applied, says about it.

use serde::{Deserialize, Serialize};

use crate::{ContainerName, DesiredStatus, Resources, TaskArn};

/// A pair of an environment variable, a label or a tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyValue {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

/// How a task's containers meet the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkMode {
    /// A network namespace of its own for each container, with loopback only.
    #[default]
    None,
    /// The host's network.
    Host,
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
    /// At least one container, with distinct names; at least one is essential.
    pub containers: Vec<ContainerSpec>,
}

impl TaskSpec {
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
            name: ContainerName::parse("c").unwrap(),
            image: "x".into(),
            cpu_units: cpu,
            memory_mib: hard,
            memory_reservation_mib: soft,
            essential: true,
            entry_point: None,
            command: None,
            environment: vec![],
            working_directory: None,
            user: None,
            readonly_root_filesystem: false,
            stop_timeout_s: None,
            labels: vec![],
        }
    }

    fn task(cpu: Option<u64>, mem: Option<u64>, containers: Vec<ContainerSpec>) -> TaskSpec {
        TaskSpec {
            arn: TaskArn::parse("arn:aws:ecs:r:1:task/default/1").unwrap(),
            family: "f".into(),
            revision: 1,
            cpu_units: cpu,
            memory_mib: mem,
            network_mode: NetworkMode::None,
            containers,
        }
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
