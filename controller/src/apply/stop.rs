//! Stopping tasks: by a call here, by a report of their node in `report`.

use std::sync::Arc;

use loadline_model::report::clip_reason;
use loadline_model::{ContainerStatus, DesiredStatus, StopCode, TaskStatus};

use super::{Applied, Draft, active_cluster};
use crate::command::{Refusal, Reply, StopTask};
use crate::state::{State, Task, Write};

/// ECS's reason for a StopTask without one.
const STOPPED_BY_USER: &str = "Task stopped by user";

pub(super) fn stop(state: &State, command: &StopTask, now_ms: u64) -> Result<Applied, Refusal> {
    active_cluster(&state.view, &command.cluster)?;
    let task = state
        .view
        .task(&command.task)
        .filter(|task| task.cluster == command.cluster)
        .ok_or_else(|| Refusal::TaskNotFound(command.task.clone()))?;
    if task.desired == DesiredStatus::Stopped {
        return Ok((Vec::new(), Reply::Task(Arc::clone(task))));
    }
    let reason = command.reason.as_deref().unwrap_or(STOPPED_BY_USER);
    let stopping = Arc::new(Task {
        desired: DesiredStatus::Stopped,
        version: task.version + 1,
        stop_code: Some(StopCode::UserInitiated),
        stopped_reason: Some(clip_reason(reason).into()),
        stopping_at_ms: Some(now_ms),
        ..Task::clone(task)
    });
    let mut draft = Draft::new(state);
    draft.writes.push(Write::Task(Arc::clone(&stopping)));
    draft.moves(&task.node);
    Ok(draft.finish(Reply::Task(stopping)))
}

/// The task as it is when its node is given up: STOPPED for everybody, and still held until the
/// node says that nothing of it is left.
pub(super) fn give_up(task: &Task, reason: &str, now_ms: u64) -> Task {
    let mut task = Task {
        desired: DesiredStatus::Stopped,
        last_status: TaskStatus::Stopped,
        version: task.version + 1,
        stop_code: task.stop_code.or(Some(StopCode::InfrastructureHealth)),
        stopped_reason: task.stopped_reason.clone().or_else(|| Some(clip_reason(reason).into())),
        stopping_at_ms: task.stopping_at_ms.or(Some(now_ms)),
        stopped_at_ms: Some(now_ms),
        ..task.clone()
    };
    for container in &mut task.containers {
        container.last_status = ContainerStatus::Stopped;
    }
    task
}
