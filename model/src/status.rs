//! The states of a task and of its containers, in ECS's words, and the steps between them.
//!
//! ```text
//! PROVISIONING ─▶ PENDING ─▶ ACTIVATING ─▶ RUNNING
//!            ─▶ DEACTIVATING ─▶ STOPPING ─▶ DEPROVISIONING ─▶ STOPPED
//! ```
//!
//! Progress is monotonic: a state may be skipped, never taken twice or backwards. A report that
//! would go backwards is refused by [`TaskStatus::advance`]; a repeated one is no change.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A task's `lastStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TaskStatus {
    /// Resources that live outside the container are being prepared (network interface).
    Provisioning,
    /// Placed on a node (or waiting for one); the node has not yet started its containers.
    Pending,
    /// Containers run; registration outside (load balancer, discovery) is under way.
    Activating,
    /// Every essential container runs.
    Running,
    /// Being taken out of load balancers and discovery.
    Deactivating,
    /// Containers are being stopped.
    Stopping,
    /// Outside resources are being given back.
    Deprovisioning,
    /// Nothing of it runs any more, and never will again.
    Stopped,
}

/// A step that would lead backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a task that is {from} can't become {to}: progress is never undone")]
pub struct IllegalStep {
    /// The state that holds.
    pub from: TaskStatus,
    /// The state that was asked for.
    pub to: TaskStatus,
}

impl TaskStatus {
    /// Every state, in the order of progress.
    pub const ALL: [Self; 8] = [
        Self::Provisioning,
        Self::Pending,
        Self::Activating,
        Self::Running,
        Self::Deactivating,
        Self::Stopping,
        Self::Deprovisioning,
        Self::Stopped,
    ];

    /// Position in the order of progress, 0 to 7.
    #[must_use]
    pub const fn rank(self) -> u8 {
        match self {
            Self::Provisioning => 0,
            Self::Pending => 1,
            Self::Activating => 2,
            Self::Running => 3,
            Self::Deactivating => 4,
            Self::Stopping => 5,
            Self::Deprovisioning => 6,
            Self::Stopped => 7,
        }
    }

    /// Takes the step to `to`: forward or staying put.
    ///
    /// # Errors
    /// [`IllegalStep`] where `to` lies before `self`.
    pub const fn advance(self, to: Self) -> Result<Self, IllegalStep> {
        if to.rank() < self.rank() { Err(IllegalStep { from: self, to }) } else { Ok(to) }
    }

    /// Whether the task holds its reservation: every state but STOPPED does (law 7).
    #[must_use]
    pub const fn holds_reservation(self) -> bool {
        !matches!(self, Self::Stopped)
    }

    /// ECS's word, for example `RUNNING`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "PROVISIONING",
            Self::Pending => "PENDING",
            Self::Activating => "ACTIVATING",
            Self::Running => "RUNNING",
            Self::Deactivating => "DEACTIVATING",
            Self::Stopping => "STOPPING",
            Self::Deprovisioning => "DEPROVISIONING",
            Self::Stopped => "STOPPED",
        }
    }
}

impl fmt::Display for TaskStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the controller wants of a task. It only ever goes from running to stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DesiredStatus {
    /// Start it and keep it.
    Running,
    /// Stop it; its replacement, if any, is another task.
    Stopped,
}

impl DesiredStatus {
    /// ECS's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Stopped => "STOPPED",
        }
    }
}

impl fmt::Display for DesiredStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A container's `lastStatus` as a client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ContainerStatus {
    /// Not started yet.
    Pending,
    /// Its main process runs.
    Running,
    /// Its main process has ended, or it was never started and never will be.
    Stopped,
}

impl ContainerStatus {
    /// Position in the order of progress, 0 to 2. Only a restart policy leads back to running.
    #[must_use]
    pub const fn rank(self) -> u8 {
        match self {
            Self::Pending => 0,
            Self::Running => 1,
            Self::Stopped => 2,
        }
    }

    /// ECS's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Stopped => "STOPPED",
        }
    }
}

impl fmt::Display for ContainerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a task was stopped (ECS `stopCode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StopCode {
    /// A container could not be started, or the node refused the task.
    TaskFailedToStart,
    /// An essential container ended.
    EssentialContainerExited,
    /// Somebody called StopTask.
    UserInitiated,
    /// A service's deployment or scale-in.
    ServiceSchedulerInitiated,
    /// The host is going away (spot).
    SpotInterruption,
    /// The node was told to shut down.
    TerminationNotice,
    /// The node was lost, or its health failed.
    InfrastructureHealth,
}

impl StopCode {
    /// Every code.
    pub const ALL: [Self; 7] = [
        Self::TaskFailedToStart,
        Self::EssentialContainerExited,
        Self::UserInitiated,
        Self::ServiceSchedulerInitiated,
        Self::SpotInterruption,
        Self::TerminationNotice,
        Self::InfrastructureHealth,
    ];

    /// ECS's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TaskFailedToStart => "TaskFailedToStart",
            Self::EssentialContainerExited => "EssentialContainerExited",
            Self::UserInitiated => "UserInitiated",
            Self::ServiceSchedulerInitiated => "ServiceSchedulerInitiated",
            Self::SpotInterruption => "SpotInterruption",
            Self::TerminationNotice => "TerminationNotice",
            Self::InfrastructureHealth => "InfrastructureHealth",
        }
    }
}

impl fmt::Display for StopCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_states_goes_forward_or_is_refused() {
        for (i, from) in TaskStatus::ALL.into_iter().enumerate() {
            for (j, to) in TaskStatus::ALL.into_iter().enumerate() {
                let expected = if j < i { Err(IllegalStep { from, to }) } else { Ok(to) };
                assert_eq!(from.advance(to), expected, "{from} -> {to}");
            }
        }
    }

    #[test]
    fn only_a_stopped_task_gives_its_reservation_back() {
        for status in TaskStatus::ALL {
            assert_eq!(status.holds_reservation(), status != TaskStatus::Stopped);
        }
    }
}
