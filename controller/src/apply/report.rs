//! What a node says of its tasks. A report counts only if it is newer than the last one, and moves
//! a task only forward; a repeated one is no change and is acknowledged again.

use std::sync::Arc;

use loadline_model::report::clip_reason;
use loadline_model::{
    ContainerName, ContainerStatus, DesiredStatus, StopCode, TaskReport, TaskStatus,
};

use super::{Applied, Draft};
use crate::command::{Acks, REPORTS_MAX, Refusal, Reply, TaskReports};
use crate::state::{Pool, State, Task, TaskDefinition, Write};

/// ECS's reason for a task that an essential container ended.
const ESSENTIAL_EXITED: &str = "Essential container in task exited";
/// ECS's reason for a task that never came to run.
const FAILED_TO_START: &str = "Task failed to start";

pub(super) fn reports(
    state: &State,
    command: &TaskReports,
    now_ms: u64,
) -> Result<Applied, Refusal> {
    if REPORTS_MAX < command.reports.len() {
        let max = REPORTS_MAX as u64;
        return Err(Refusal::LimitExceeded { what: "reports of one message", max });
    }
    let mut draft = Draft::new(state);
    let mut acks = Acks::default();
    for report in newest_of_each(&command.reports) {
        let acked = match state.view.task(&report.task) {
            Some(task) if task.node != command.node => {
                acks.foreign.push(report.task.clone());
                continue;
            }
            Some(task) if task.held && task.report_version < report.version => {
                take(&mut draft, task, report, now_ms);
                report.version
            }
            Some(task) => task.report_version.max(report.version),
            // Nobody asks about it any more, so there is nothing to keep.
            None => report.version,
        };
        acks.acks.push((report.task.clone(), acked));
    }
    Ok(draft.finish(Reply::Acks(acks)))
}

/// Of several reports of one task in one message only the newest means anything.
fn newest_of_each(reports: &[TaskReport]) -> impl Iterator<Item = &TaskReport> {
    reports.iter().enumerate().filter_map(move |(n, report)| {
        let newer = |(m, other): (usize, &TaskReport)| {
            other.task == report.task && (report.version, n) < (other.version, m)
        };
        (!reports.iter().enumerate().any(newer)).then_some(report)
    })
}

fn take(draft: &mut Draft<'_>, task: &Task, report: &TaskReport, now_ms: u64) {
    let definition = draft.state.view.definitions.get(&task.definition);
    let pool = draft.state.ledger.pool();
    let next = step(pool, task, report, definition.map(Arc::as_ref), now_ms);
    if next.held != task.held || next.desired != task.desired {
        draft.moves(&task.node);
    }
    draft.writes.push(Write::Task(Arc::new(next)));
}

/// The task after a report that is newer than the last one.
fn step(
    pool: &Pool,
    task: &Task,
    report: &TaskReport,
    definition: Option<&TaskDefinition>,
    now_ms: u64,
) -> Task {
    let mut next = task.clone();
    next.version += 1;
    next.report_version = report.version;
    take_containers(pool, &mut next, report);
    // A task that was given up is STOPPED already: the node's word only ends the holding.
    let given_up = task.last_status == TaskStatus::Stopped;
    next.last_status = task.last_status.advance(report.status).unwrap_or(task.last_status);
    next.pull_started_at_ms = report.pull_started_at_ms.or(task.pull_started_at_ms);
    next.pull_stopped_at_ms = report.pull_stopped_at_ms.or(task.pull_stopped_at_ms);
    if TaskStatus::Running.rank() <= report.status.rank() {
        next.started_at_ms = task
            .started_at_ms
            .or(report.started_at_ms)
            .or_else(|| (report.status == TaskStatus::Running).then_some(now_ms));
    }
    if TaskStatus::Running.rank() < next.last_status.rank() {
        next.desired = DesiredStatus::Stopped;
        next.stopping_at_ms = task.stopping_at_ms.or(report.stopping_at_ms).or(Some(now_ms));
        next.stop_code = task.stop_code.or(report.stop_code);
        let theirs = report.stopped_reason.as_deref().map(|text| pool.text(&clip_reason(text)));
        next.stopped_reason = task.stopped_reason.clone().or(theirs);
    }
    if report.status == TaskStatus::Stopped {
        next.held = false;
        next.execution_stopped_at_ms = report.stopped_at_ms;
        if !given_up {
            next.stopped_at_ms = Some(now_ms);
        }
        name_the_cause(pool, &mut next, definition);
    }
    next
}

/// Containers by name; one that the task does not have is not believed.
fn take_containers(pool: &Pool, task: &mut Task, report: &TaskReport) {
    for said in &report.containers {
        let Some(container) = task.containers.iter_mut().find(|have| have.name == said.name) else {
            continue;
        };
        container.last_status = said.status;
        container.health = said.health;
        container.restarts = said.restarts;
        let reason = said.reason.as_ref().map(|reason| pool.text(&clip_reason(reason)));
        // Before there is a container, the reason is why there is none yet.
        if reason.is_some() || container.runtime_id.is_none() {
            container.reason = reason;
        }
        if let Some(id) = &said.runtime_id
            && container.runtime_id.as_deref() != Some(id)
        {
            container.runtime_id = Some(id.as_str().into());
        }
        if let Some(digest) = &said.image_digest {
            container.image_digest = Some(pool.text(digest));
        }
        container.exit_code = said.exit_code.or(container.exit_code);
        container.network_bindings.clone_from(&said.network_bindings);
        container.addresses = said.addresses.or(container.addresses);
    }
    if report.status == TaskStatus::Stopped {
        for container in &mut task.containers {
            container.last_status = ContainerStatus::Stopped;
        }
    }
}

/// A stopped task always says why, also where its agent did not: from its containers.
fn name_the_cause(pool: &Pool, task: &mut Task, definition: Option<&TaskDefinition>) {
    let essential = |name: &ContainerName| {
        let body = definition.map(|definition| &definition.body);
        body.is_none_or(|body| body.containers.iter().any(|c| c.essential && c.name == *name))
    };
    let exited = task.containers.iter().any(|c| c.exit_code.is_some() && essential(&c.name));
    let (code, reason) = if exited || task.started_at_ms.is_some() {
        (StopCode::EssentialContainerExited, ESSENTIAL_EXITED)
    } else {
        (StopCode::TaskFailedToStart, FAILED_TO_START)
    };
    let code = *task.stop_code.get_or_insert(code);
    let reason = match code {
        StopCode::EssentialContainerExited => ESSENTIAL_EXITED,
        StopCode::TaskFailedToStart => FAILED_TO_START,
        _ => reason,
    };
    task.stopped_reason.get_or_insert_with(|| pool.text(reason));
}
