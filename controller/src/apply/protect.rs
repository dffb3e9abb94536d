//! Task protection: a service's task that is busy asks not to be stopped by scale-in and
//! deployments until a time. StopTask, a lost node and the end of its service still stop it.

use std::sync::Arc;

use loadline_model::DesiredStatus;

use super::{Applied, active_cluster};
use crate::command::{ProtectTasks, Protection, Refusal, Reply};
use crate::state::{State, Task, Write};

const MS_PER_MINUTE: u64 = 60_000;

/// What can't be protected is left out: the caller sees it by the record.
pub(super) fn protect(
    state: &State,
    command: &ProtectTasks,
    now_ms: u64,
) -> Result<Applied, Refusal> {
    active_cluster(&state.view, &command.cluster)?;
    let until_ms = match command.protection {
        Protection::Off => None,
        Protection::ForMinutes(minutes) => {
            Some(now_ms.saturating_add(u64::from(minutes) * MS_PER_MINUTE))
        }
    };
    let tasks = command.tasks.iter().filter_map(|arn| state.view.task(arn));
    let fit = tasks.filter(|task| task.cluster == command.cluster && can_be_protected(task));
    let writes = fit.filter(|task| task.protected_until_ms != until_ms).map(|task| {
        let version = task.version + 1;
        let protected_until_ms = until_ms;
        Write::Task(Arc::new(Task { version, protected_until_ms, ..Task::clone(task) }))
    });
    Ok((writes.collect(), Reply::Noted(())))
}

/// Whether protection means anything to a task.
#[must_use]
pub fn can_be_protected(task: &Task) -> bool {
    task.service.is_some() && task.desired == DesiredStatus::Running
}
