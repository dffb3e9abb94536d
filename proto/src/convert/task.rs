//! Assignments and what they hold.

use loadline_model::{
    Assignment, ContainerName, ContainerSpec, DesiredStatus, KeyValue, NetworkMode, TaskArn,
    TaskSpec,
};

use super::{Fault, InvalidField, at_most, distinct, each, id};
use crate::v1;

/// Most containers of a task (ECS's own quota).
pub const CONTAINERS_MAX: usize = 10;

impl TryFrom<v1::Assignment> for Assignment {
    type Error = InvalidField;

    fn try_from(wire: v1::Assignment) -> Result<Self, InvalidField> {
        let task = wire.task.ok_or_else(|| InvalidField::new("task", Fault::Missing))?;
        Ok(Self {
            task: task.try_into().map_err(|e: InvalidField| e.within("task"))?,
            desired: desired_from_wire(wire.desired_status)?,
            stop_reason: wire.stop_reason,
        })
    }
}

impl From<Assignment> for v1::Assignment {
    fn from(assignment: Assignment) -> Self {
        let desired = match assignment.desired {
            DesiredStatus::Running => v1::DesiredStatus::Running,
            DesiredStatus::Stopped => v1::DesiredStatus::Stopped,
        };
        Self {
            task: Some(assignment.task.into()),
            desired_status: desired.into(),
            stop_reason: assignment.stop_reason,
        }
    }
}

fn desired_from_wire(value: i32) -> Result<DesiredStatus, InvalidField> {
    match v1::DesiredStatus::try_from(value) {
        Ok(v1::DesiredStatus::Running) => Ok(DesiredStatus::Running),
        Ok(v1::DesiredStatus::Stopped) => Ok(DesiredStatus::Stopped),
        Ok(v1::DesiredStatus::Unspecified) | Err(_) => {
            Err(InvalidField::new("desired_status", Fault::UnknownValue(value)))
        }
    }
}

impl TryFrom<v1::TaskSpec> for TaskSpec {
    type Error = InvalidField;

    fn try_from(wire: v1::TaskSpec) -> Result<Self, InvalidField> {
        at_most("containers", wire.containers.len(), CONTAINERS_MAX)?;
        let containers: Vec<ContainerSpec> = each("containers", wire.containers)?;
        distinct("containers", containers.iter().map(|c| c.name.as_str()))?;
        if !containers.iter().any(|c| c.essential) {
            let rule = "at least one container has to be essential";
            return Err(InvalidField::new("containers", Fault::Rule(rule)));
        }
        Ok(Self {
            arn: id("arn", TaskArn::parse(&wire.arn))?,
            family: wire.family,
            revision: wire.revision,
            cpu_units: wire.cpu_units,
            memory_mib: wire.memory_mib,
            network_mode: network_mode_from_wire(wire.network_mode)?,
            containers,
        })
    }
}

impl From<TaskSpec> for v1::TaskSpec {
    fn from(task: TaskSpec) -> Self {
        let network_mode = match task.network_mode {
            NetworkMode::None => v1::NetworkMode::None,
            NetworkMode::Host => v1::NetworkMode::Host,
        };
        Self {
            arn: task.arn.into(),
            family: task.family,
            revision: task.revision,
            cpu_units: task.cpu_units,
            memory_mib: task.memory_mib,
            network_mode: network_mode.into(),
            containers: task.containers.into_iter().map(Into::into).collect(),
        }
    }
}

fn network_mode_from_wire(value: i32) -> Result<NetworkMode, InvalidField> {
    match v1::NetworkMode::try_from(value) {
        Ok(v1::NetworkMode::None) => Ok(NetworkMode::None),
        Ok(v1::NetworkMode::Host) => Ok(NetworkMode::Host),
        Ok(v1::NetworkMode::Unspecified) | Err(_) => {
            Err(InvalidField::new("network_mode", Fault::UnknownValue(value)))
        }
    }
}

impl TryFrom<v1::ContainerSpec> for ContainerSpec {
    type Error = InvalidField;

    fn try_from(wire: v1::ContainerSpec) -> Result<Self, InvalidField> {
        Ok(Self {
            name: id("name", ContainerName::parse(&wire.name))?,
            image: wire.image,
            cpu_units: wire.cpu_units,
            memory_mib: wire.memory_mib,
            memory_reservation_mib: wire.memory_reservation_mib,
            essential: wire.essential,
            entry_point: wire.entry_point.map(|list| list.items),
            command: wire.command.map(|list| list.items),
            environment: pairs_from_wire(wire.environment),
            working_directory: wire.working_directory,
            user: wire.user,
            readonly_root_filesystem: wire.readonly_root_filesystem,
            stop_timeout_s: wire.stop_timeout_s,
            labels: pairs_from_wire(wire.labels),
        })
    }
}

impl From<ContainerSpec> for v1::ContainerSpec {
    fn from(container: ContainerSpec) -> Self {
        Self {
            name: container.name.into(),
            image: container.image,
            cpu_units: container.cpu_units,
            memory_mib: container.memory_mib,
            memory_reservation_mib: container.memory_reservation_mib,
            essential: container.essential,
            entry_point: container.entry_point.map(|items| v1::StringList { items }),
            command: container.command.map(|items| v1::StringList { items }),
            environment: pairs_to_wire(container.environment),
            working_directory: container.working_directory,
            user: container.user,
            readonly_root_filesystem: container.readonly_root_filesystem,
            stop_timeout_s: container.stop_timeout_s,
            labels: pairs_to_wire(container.labels),
        }
    }
}

fn pairs_from_wire(pairs: Vec<v1::KeyValue>) -> Vec<KeyValue> {
    pairs.into_iter().map(|pair| KeyValue { name: pair.name, value: pair.value }).collect()
}

fn pairs_to_wire(pairs: Vec<KeyValue>) -> Vec<v1::KeyValue> {
    pairs.into_iter().map(|pair| v1::KeyValue { name: pair.name, value: pair.value }).collect()
}
