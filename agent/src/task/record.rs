//! What the ledger knows of a task.

use loadline_model::report::clip_reason;
use loadline_model::{
    Assignment, ContainerReport, ContainerStatus, DesiredStatus, HealthStatus, NetworkMode,
    StopCode, TaskReport, TaskSpec, TaskStatus,
};
use serde::{Deserialize, Serialize};

use crate::network::Allotment;

/// Why a task stops or stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// ECS's code.
    pub code: StopCode,
    /// For people.
    pub reason: String,
    /// When it was decided, in Unix milliseconds.
    pub at_ms: u64,
    /// Whether the controller decided it while the node was away, and may have replaced the task.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub given_up: bool,
}

/// When a container's image was looked for, and pulled where it had to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    /// When that began, in Unix milliseconds.
    pub began_at_ms: u64,
    /// When it was there, or was given up.
    pub ended_at_ms: u64,
}

/// A container of a task, as the ledger knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// How often a start was decided. Each number is one run, with a folder of its own.
    pub runs: u32,
    /// What is reported of it.
    pub status: ContainerStatus,
    /// The digest of its image, once known.
    pub image_digest: Option<String>,
    /// When that was looked for, once it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull: Option<Pull>,
    /// How its last run ended, where that is known.
    pub exit_code: Option<i32>,
    /// What went wrong, if something did.
    pub reason: Option<String>,
    /// When its last run started, in Unix milliseconds.
    pub started_at_ms: Option<u64>,
    /// When that ended.
    pub finished_at_ms: Option<u64>,
    /// When its stop signal was first sent, in milliseconds of the boot that the task's `boot_id`
    /// names: no restart of the agent and no set clock moves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_sent_boot_ms: Option<u64>,
    /// What its health check says, once there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

/// What a container's health check says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The verdict.
    pub status: HealthStatus,
    /// Since when, in Unix milliseconds.
    pub since_ms: u64,
    /// Of the check that led to it; `None` where it could not be run or took too long.
    pub exit_code: Option<i32>,
    /// What that said, at most `HEALTH_OUTPUT_CHARS_MAX` characters.
    pub output: String,
}

/// A task, as the ledger knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The work.
    pub spec: TaskSpec,
    /// The kernel's boot id when the task was accepted: no container survives a reboot.
    pub boot_id: String,
    /// Where it stands.
    pub status: TaskStatus,
    /// Of the newest report.
    pub version: u64,
    /// Set once it shall stop, whoever decided it.
    pub stop: Option<Stop>,
    /// In the order of `spec.containers`.
    pub containers: Vec<Container>,
    /// When it reached RUNNING, in Unix milliseconds.
    pub started_at_ms: Option<u64>,
    /// When the last container had ended.
    pub stopped_at_ms: Option<u64>,
    /// The controller knows its end and has let go of it: only its log is still kept.
    pub forgotten: bool,
    /// What it has of the node's network.
    #[serde(default)]
    pub network: Allotment,
}

impl Task {
    /// A task that was just accepted.
    #[must_use]
    pub fn accepted(spec: TaskSpec, boot_id: &str) -> Self {
        let container = Container {
            runs: 0,
            status: ContainerStatus::Pending,
            image_digest: None,
            pull: None,
            exit_code: None,
            reason: None,
            started_at_ms: None,
            finished_at_ms: None,
            stop_sent_boot_ms: None,
            health: None,
        };
        Self {
            containers: vec![container; spec.containers.len()],
            spec,
            boot_id: boot_id.to_owned(),
            status: TaskStatus::Pending,
            version: 1,
            stop: None,
            started_at_ms: None,
            stopped_at_ms: None,
            forgotten: false,
            network: Allotment::default(),
        }
    }

    /// A task that never begins: refused, or stopped before it got here.
    #[must_use]
    pub fn never_begun(spec: TaskSpec, boot_id: &str, stop: Stop) -> Self {
        let mut task = Self::accepted(spec, boot_id);
        task.status = TaskStatus::Stopped;
        task.stopped_at_ms = Some(stop.at_ms);
        task.stop = Some(Stop { reason: clip_reason(&stop.reason), ..stop });
        for container in &mut task.containers {
            container.status = ContainerStatus::Stopped;
        }
        task
    }

    /// What an assignment that asks for a stop means; `None` where it asks for no stop.
    #[must_use]
    pub fn stop_of(assignment: &Assignment, now_ms: u64) -> Option<Stop> {
        (assignment.desired == DesiredStatus::Stopped).then(|| Stop {
            code: StopCode::UserInitiated,
            reason: assignment.stop_reason.clone().unwrap_or_else(|| "Task stopped".to_owned()),
            at_ms: now_ms,
            given_up: false,
        })
    }

    /// Whether nothing of it runs any more, and never will again.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.status == TaskStatus::Stopped
    }

    /// What the controller is told.
    #[must_use]
    pub fn report(&self) -> TaskReport {
        let names = self.spec.containers.iter().zip(&self.containers).enumerate();
        TaskReport {
            task: self.spec.arn.clone(),
            version: self.version,
            status: self.status,
            containers: names
                .map(|(at, (spec, container))| ContainerReport {
                    name: spec.name.clone(),
                    runtime_id: (0 < container.runs).then(|| self.runtime_id(at)),
                    image_digest: container.image_digest.clone(),
                    status: container.status,
                    // A restart policy may have taken it back.
                    exit_code: container
                        .exit_code
                        .filter(|_| container.status == ContainerStatus::Stopped),
                    reason: container.reason.clone(),
                    started_at_ms: container.started_at_ms,
                    finished_at_ms: container.finished_at_ms,
                    health: container.health.as_ref().map_or_else(Default::default, |h| h.status),
                    restarts: container.runs.saturating_sub(1),
                    network_bindings: self.network.bindings(at).collect(),
                    addresses: self
                        .network
                        .attachment(self.network_mode(at), at)
                        .map(|place| place.addresses),
                })
                .collect(),
            stop_code: self.stop.as_ref().map(|stop| stop.code),
            stopped_reason: self.stop.as_ref().map(|stop| stop.reason.clone()),
            pull_started_at_ms: self.pull_started_at_ms(),
            pull_stopped_at_ms: self.pull_stopped_at_ms(),
            started_at_ms: self.started_at_ms,
            stopping_at_ms: self.stop.as_ref().map(|stop| stop.at_ms),
            stopped_at_ms: self.stopped_at_ms,
        }
    }

    /// When the first of its images was looked for.
    #[must_use]
    pub fn pull_started_at_ms(&self) -> Option<u64> {
        self.pulls().map(|pull| pull.began_at_ms).min()
    }

    /// When the last of them was there or given up; `None` while one is still to come.
    #[must_use]
    pub fn pull_stopped_at_ms(&self) -> Option<u64> {
        let settled =
            |one: &Container| one.pull.is_some() || one.status == ContainerStatus::Stopped;
        let all_settled = self.containers.iter().all(settled);
        self.pulls().map(|pull| pull.ended_at_ms).max().filter(|_| all_settled)
    }

    fn pulls(&self) -> impl Iterator<Item = Pull> {
        self.containers.iter().filter_map(|container| container.pull)
    }

    /// How a container meets the network.
    #[must_use]
    pub fn network_mode(&self, at: usize) -> NetworkMode {
        let of_task = self.spec.network_mode;
        self.spec.containers.get(at).map_or(of_task, |container| container.network.mode(of_task))
    }

    /// The OCI runtime's id of a container's newest run: short, whatever the container's name.
    #[must_use]
    pub fn runtime_id(&self, at: usize) -> String {
        let run = self.containers.get(at).map_or(0, |container| container.runs);
        let id = self.spec.arn.id();
        if run <= 1 { format!("{id}-{at}") } else { format!("{id}-{at}-{run}") }
    }
}
