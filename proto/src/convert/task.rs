//! Assignments and what they hold.

use loadline_model::{
    Assignment, ContainerSpec, DesiredStatus, IpcMode, PidMode, TaskArn, TaskSpec, Volume,
    VolumeSource,
};

use super::{Fault, InvalidField, at_most, distinct, each, id, network};
use crate::v1;

/// Most containers of a task (ECS's own quota).
pub const CONTAINERS_MAX: usize = 10;
/// Most volumes of a task.
const VOLUMES_MAX: usize = 100;

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
        at_most("volumes", wire.volumes.len(), VOLUMES_MAX)?;
        let volumes: Vec<Volume> = each("volumes", wire.volumes)?;
        distinct("volumes", volumes.iter().map(|volume| volume.name.as_str()))?;
        Ok(Self {
            arn: id("arn", TaskArn::parse(&wire.arn))?,
            family: wire.family,
            revision: wire.revision,
            cpu_units: wire.cpu_units,
            memory_mib: wire.memory_mib,
            network_mode: network::mode_from_wire(wire.network_mode)?,
            task_role_arn: wire.task_role_arn,
            awaits_secrets: wire.awaits_secrets,
            containers,
            volumes,
            pid_mode: match namespace_mode("pid_mode", wire.pid_mode)? {
                None => PidMode::Container,
                Some(v1::NamespaceMode::Host) => PidMode::Host,
                Some(v1::NamespaceMode::None) => {
                    let rule = "a container always has processes: NONE is of ipc_mode only";
                    return Err(InvalidField::new("pid_mode", Fault::Rule(rule)));
                }
                Some(_) => PidMode::Task,
            },
            ipc_mode: match namespace_mode("ipc_mode", wire.ipc_mode)? {
                None => IpcMode::Container,
                Some(v1::NamespaceMode::Host) => IpcMode::Host,
                Some(v1::NamespaceMode::None) => IpcMode::None,
                Some(_) => IpcMode::Task,
            },
        })
    }
}

impl From<TaskSpec> for v1::TaskSpec {
    fn from(task: TaskSpec) -> Self {
        Self {
            arn: task.arn.into(),
            family: task.family,
            revision: task.revision,
            cpu_units: task.cpu_units,
            memory_mib: task.memory_mib,
            network_mode: network::mode_to_wire(task.network_mode).into(),
            task_role_arn: task.task_role_arn,
            awaits_secrets: task.awaits_secrets,
            containers: task.containers.into_iter().map(Into::into).collect(),
            volumes: task.volumes.into_iter().map(Into::into).collect(),
            pid_mode: match task.pid_mode {
                PidMode::Container => None,
                PidMode::Task => Some(v1::NamespaceMode::Task.into()),
                PidMode::Host => Some(v1::NamespaceMode::Host.into()),
            },
            ipc_mode: match task.ipc_mode {
                IpcMode::Container => None,
                IpcMode::None => Some(v1::NamespaceMode::None.into()),
                IpcMode::Task => Some(v1::NamespaceMode::Task.into()),
                IpcMode::Host => Some(v1::NamespaceMode::Host.into()),
            },
        }
    }
}

fn namespace_mode(
    path: &str,
    value: Option<i32>,
) -> Result<Option<v1::NamespaceMode>, InvalidField> {
    let Some(value) = value else { return Ok(None) };
    match v1::NamespaceMode::try_from(value) {
        Ok(v1::NamespaceMode::Unspecified) | Err(_) => {
            Err(InvalidField::new(path, Fault::UnknownValue(value)))
        }
        Ok(mode) => Ok(Some(mode)),
    }
}

impl TryFrom<v1::Volume> for Volume {
    type Error = InvalidField;

    fn try_from(wire: v1::Volume) -> Result<Self, InvalidField> {
        use v1::volume::Source;
        let source = match wire.source {
            Some(Source::HostPath(path)) => VolumeSource::HostPath(path),
            Some(Source::Task(v1::TaskVolume {})) => VolumeSource::Task,
            Some(Source::Shared(v1::SharedVolume { autoprovision })) => {
                VolumeSource::Shared { autoprovision }
            }
            None => return Err(InvalidField::new("source", Fault::Missing)),
        };
        Ok(Self { name: wire.name, source })
    }
}

impl From<Volume> for v1::Volume {
    fn from(volume: Volume) -> Self {
        use v1::volume::Source;
        let source = match volume.source {
            VolumeSource::HostPath(path) => Source::HostPath(path),
            VolumeSource::Task => Source::Task(v1::TaskVolume {}),
            VolumeSource::Shared { autoprovision } => {
                Source::Shared(v1::SharedVolume { autoprovision })
            }
        };
        Self { name: volume.name, source: Some(source) }
    }
}
