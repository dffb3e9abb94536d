//! Reports of tasks.

use loadline_model::report::REASON_CHARS_MAX;
use loadline_model::{
    ContainerName, ContainerReport, ContainerStatus, HealthStatus, StopCode, TaskArn, TaskReport,
    TaskStatus,
};

use super::task::CONTAINERS_MAX;
use super::{Fault, InvalidField, at_most, distinct, each, id, network};
use crate::v1;

/// Most reports in one message.
pub const REPORTS_MAX: usize = 64;
/// 128 + the signal is at most 192; 255 is the largest status that a process can exit with.
const EXIT_CODE_MAX: i32 = 255;

/// Checks one message's reports.
///
/// # Errors
/// [`InvalidField`] with a path that begins with `reports`.
pub fn reports_from_wire(wire: v1::Reports) -> Result<Vec<TaskReport>, InvalidField> {
    at_most("reports", wire.reports.len(), REPORTS_MAX)?;
    each("reports", wire.reports)
}

impl TryFrom<v1::TaskReport> for TaskReport {
    type Error = InvalidField;

    fn try_from(wire: v1::TaskReport) -> Result<Self, InvalidField> {
        at_most("containers", wire.containers.len(), CONTAINERS_MAX)?;
        check_reason("stopped_reason", wire.stopped_reason.as_deref())?;
        let containers: Vec<ContainerReport> = each("containers", wire.containers)?;
        distinct("containers", containers.iter().map(|c| c.name.as_str()))?;
        Ok(Self {
            task: id("task_arn", TaskArn::parse(&wire.task_arn))?,
            version: wire.version,
            status: task_status_from_wire(wire.status)?,
            containers,
            stop_code: wire.stop_code.map(stop_code_from_wire).transpose()?,
            stopped_reason: wire.stopped_reason,
            pull_started_at_ms: wire.pull_started_at_ms,
            pull_stopped_at_ms: wire.pull_stopped_at_ms,
            started_at_ms: wire.started_at_ms,
            stopping_at_ms: wire.stopping_at_ms,
            stopped_at_ms: wire.stopped_at_ms,
        })
    }
}

impl From<TaskReport> for v1::TaskReport {
    fn from(report: TaskReport) -> Self {
        Self {
            task_arn: report.task.into(),
            version: report.version,
            status: task_status_to_wire(report.status).into(),
            containers: report.containers.into_iter().map(Into::into).collect(),
            stop_code: report.stop_code.map(|code| stop_code_to_wire(code).into()),
            stopped_reason: report.stopped_reason,
            started_at_ms: report.started_at_ms,
            stopping_at_ms: report.stopping_at_ms,
            stopped_at_ms: report.stopped_at_ms,
            pull_started_at_ms: report.pull_started_at_ms,
            pull_stopped_at_ms: report.pull_stopped_at_ms,
        }
    }
}

impl TryFrom<v1::ContainerReport> for ContainerReport {
    type Error = InvalidField;

    fn try_from(wire: v1::ContainerReport) -> Result<Self, InvalidField> {
        check_reason("reason", wire.reason.as_deref())?;
        if let Some(code) = wire.exit_code.filter(|code| !(0..=EXIT_CODE_MAX).contains(code)) {
            let fault = Fault::OutOfRange { found: code.into(), min: 0, max: EXIT_CODE_MAX.into() };
            return Err(InvalidField::new("exit_code", fault));
        }
        Ok(Self {
            name: id("name", ContainerName::parse(&wire.name))?,
            runtime_id: wire.runtime_id,
            image_digest: wire.image_digest,
            status: container_status_from_wire(wire.status)?,
            exit_code: wire.exit_code,
            reason: wire.reason,
            started_at_ms: wire.started_at_ms,
            finished_at_ms: wire.finished_at_ms,
            health: health_from_wire(wire.health)?,
            restarts: wire.restarts,
            network_bindings: network::bindings_from_wire(wire.network_bindings)?,
            addresses: network::addresses_from_wire(
                wire.ipv4_address.as_deref(),
                wire.ipv6_address.as_deref(),
            )?,
        })
    }
}

impl From<ContainerReport> for v1::ContainerReport {
    fn from(report: ContainerReport) -> Self {
        let status = match report.status {
            ContainerStatus::Pending => v1::ContainerStatus::Pending,
            ContainerStatus::Running => v1::ContainerStatus::Running,
            ContainerStatus::Stopped => v1::ContainerStatus::Stopped,
        };
        Self {
            name: report.name.into(),
            runtime_id: report.runtime_id,
            image_digest: report.image_digest,
            status: status.into(),
            exit_code: report.exit_code,
            reason: report.reason,
            started_at_ms: report.started_at_ms,
            finished_at_ms: report.finished_at_ms,
            health: match report.health {
                HealthStatus::Unknown => None,
                HealthStatus::Healthy => Some(v1::HealthStatus::Healthy.into()),
                HealthStatus::Unhealthy => Some(v1::HealthStatus::Unhealthy.into()),
            },
            restarts: report.restarts,
            network_bindings: report.network_bindings.into_iter().map(Into::into).collect(),
            ipv4_address: report.addresses.map(|own| own.ipv4.to_string()),
            ipv6_address: report.addresses.and_then(|own| own.ipv6).map(|ip| ip.to_string()),
        }
    }
}

fn health_from_wire(value: Option<i32>) -> Result<HealthStatus, InvalidField> {
    let Some(value) = value else { return Ok(HealthStatus::Unknown) };
    match v1::HealthStatus::try_from(value) {
        Ok(v1::HealthStatus::Healthy) => Ok(HealthStatus::Healthy),
        Ok(v1::HealthStatus::Unhealthy) => Ok(HealthStatus::Unhealthy),
        Ok(v1::HealthStatus::Unspecified) | Err(_) => {
            Err(InvalidField::new("health", Fault::UnknownValue(value)))
        }
    }
}

fn check_reason(path: &str, reason: Option<&str>) -> Result<(), InvalidField> {
    at_most(path, reason.map_or(0, |text| text.chars().count()), REASON_CHARS_MAX)
}

fn task_status_from_wire(value: i32) -> Result<TaskStatus, InvalidField> {
    Ok(match v1::TaskStatus::try_from(value) {
        Ok(v1::TaskStatus::Provisioning) => TaskStatus::Provisioning,
        Ok(v1::TaskStatus::Pending) => TaskStatus::Pending,
        Ok(v1::TaskStatus::Activating) => TaskStatus::Activating,
        Ok(v1::TaskStatus::Running) => TaskStatus::Running,
        Ok(v1::TaskStatus::Deactivating) => TaskStatus::Deactivating,
        Ok(v1::TaskStatus::Stopping) => TaskStatus::Stopping,
        Ok(v1::TaskStatus::Deprovisioning) => TaskStatus::Deprovisioning,
        Ok(v1::TaskStatus::Stopped) => TaskStatus::Stopped,
        Ok(v1::TaskStatus::Unspecified) | Err(_) => {
            return Err(InvalidField::new("status", Fault::UnknownValue(value)));
        }
    })
}

fn task_status_to_wire(status: TaskStatus) -> v1::TaskStatus {
    match status {
        TaskStatus::Provisioning => v1::TaskStatus::Provisioning,
        TaskStatus::Pending => v1::TaskStatus::Pending,
        TaskStatus::Activating => v1::TaskStatus::Activating,
        TaskStatus::Running => v1::TaskStatus::Running,
        TaskStatus::Deactivating => v1::TaskStatus::Deactivating,
        TaskStatus::Stopping => v1::TaskStatus::Stopping,
        TaskStatus::Deprovisioning => v1::TaskStatus::Deprovisioning,
        TaskStatus::Stopped => v1::TaskStatus::Stopped,
    }
}

fn stop_code_from_wire(value: i32) -> Result<StopCode, InvalidField> {
    Ok(match v1::StopCode::try_from(value) {
        Ok(v1::StopCode::TaskFailedToStart) => StopCode::TaskFailedToStart,
        Ok(v1::StopCode::EssentialContainerExited) => StopCode::EssentialContainerExited,
        Ok(v1::StopCode::UserInitiated) => StopCode::UserInitiated,
        Ok(v1::StopCode::ServiceSchedulerInitiated) => StopCode::ServiceSchedulerInitiated,
        Ok(v1::StopCode::SpotInterruption) => StopCode::SpotInterruption,
        Ok(v1::StopCode::TerminationNotice) => StopCode::TerminationNotice,
        Ok(v1::StopCode::InfrastructureHealth) => StopCode::InfrastructureHealth,
        Ok(v1::StopCode::Unspecified) | Err(_) => {
            return Err(InvalidField::new("stop_code", Fault::UnknownValue(value)));
        }
    })
}

fn stop_code_to_wire(code: StopCode) -> v1::StopCode {
    match code {
        StopCode::TaskFailedToStart => v1::StopCode::TaskFailedToStart,
        StopCode::EssentialContainerExited => v1::StopCode::EssentialContainerExited,
        StopCode::UserInitiated => v1::StopCode::UserInitiated,
        StopCode::ServiceSchedulerInitiated => v1::StopCode::ServiceSchedulerInitiated,
        StopCode::SpotInterruption => v1::StopCode::SpotInterruption,
        StopCode::TerminationNotice => v1::StopCode::TerminationNotice,
        StopCode::InfrastructureHealth => v1::StopCode::InfrastructureHealth,
    }
}

fn container_status_from_wire(value: i32) -> Result<ContainerStatus, InvalidField> {
    match v1::ContainerStatus::try_from(value) {
        Ok(v1::ContainerStatus::Pending) => Ok(ContainerStatus::Pending),
        Ok(v1::ContainerStatus::Running) => Ok(ContainerStatus::Running),
        Ok(v1::ContainerStatus::Stopped) => Ok(ContainerStatus::Stopped),
        Ok(v1::ContainerStatus::Unspecified) | Err(_) => {
            Err(InvalidField::new("status", Fault::UnknownValue(value)))
        }
    }
}
