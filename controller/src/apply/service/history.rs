//! What a service says of itself: events in ECS's words, and how far its deployments are.

use std::sync::Arc;

use super::super::seed::uuid;
use crate::command::{PlacementFailure, PlacementReason};
use crate::state::{
    DEPLOYMENTS_MAX, Deployment, EVENTS_MAX, IdSource, Rollout, Service, ServiceEvent, Task,
    Throttle, Undo, UndoCause,
};

/// A complaint that lasts is told again after this long, milliseconds.
const REPEAT_AFTER_MS: u64 = 5 * 60 * 1_000;
/// Most characters of a task's reason in what is told of its service.
const NEWEST_CHARS_MAX: usize = 300;

/// Tells an event.
pub(super) fn tell(service: &mut Service, what: &str, now_ms: u64, ids: &mut dyn IdSource) {
    let message = format!("(service {}) {what}", service.key.name);
    let id = uuid(&ids.fresh());
    service.events.insert(0, ServiceEvent { id, at_ms: now_ms, message });
    service.events.truncate(EVENTS_MAX);
}

/// Tells an event that would come with every look, but not again and again.
pub(super) fn complain(service: &mut Service, what: &str, now_ms: u64, ids: &mut dyn IdSource) {
    let message = format!("(service {}) {what}", service.key.name);
    let is_fresh = |event: &ServiceEvent| now_ms < event.at_ms.saturating_add(REPEAT_AFTER_MS);
    let mut fresh = service.events.iter().take_while(|event| is_fresh(event));
    if !fresh.any(|event| event.message == message) {
        tell(service, what, now_ms, ids);
    }
}

/// ECS's sentence, and why the newest of the tasks that it is about failed.
pub(super) fn with_newest(told: &str, why: Option<&str>) -> String {
    let Some(why) = why else { return told.to_owned() };
    let clipped: String = why.chars().take(NEWEST_CHARS_MAX).collect();
    let dots = if clipped.len() < why.len() { "…" } else { "" };
    format!("{told} The newest failure: {clipped}{dots}")
}

/// `has started 2 tasks: (task a) (task b).`
pub(super) fn counted(verb: &str, noun: &str, tasks: &[Arc<Task>]) -> String {
    let names: Vec<_> = tasks.iter().map(|task| format!("(task {})", task.arn.id())).collect();
    format!("has {verb} {} {noun}: {}.", tasks.len(), names.join(" "))
}

/// ECS's sentence for a launch that found no place, with the node that was closest to taking it.
pub(super) fn no_place(failures: &[PlacementFailure]) -> String {
    let told = "was unable to place a task because no container instance met all of its \
                requirements.";
    if let Some(role) = failures.iter().find(|failure| failure.reason == PlacementReason::Role) {
        return format!("failed to launch a task with (error {}).", role.detail);
    }
    let closest = failures.iter().find(|failure| failure.node.is_some());
    let Some((failure, node)) = closest.and_then(|f| Some((f, f.node.as_ref()?))) else {
        return format!("{told} Reason: No Container Instances were found in your cluster.");
    };
    let why = match failure.reason {
        PlacementReason::Cpu => "has insufficient CPU units available".to_owned(),
        PlacementReason::Memory => "has insufficient memory available".to_owned(),
        PlacementReason::Ports => "is already using a port required by your task".to_owned(),
        PlacementReason::Agent => "encountered error \"AGENT\"".to_owned(),
        other => format!("encountered error \"{}\"", other.as_str().trim_end_matches('.')),
    };
    format!("{told} The closest matching (container-instance {}) {why}.", node.id())
}

/// Moves the primary deployment's rollout on.
pub(super) fn roll(service: &mut Service, rollout: Rollout, reason: &str, now_ms: u64) {
    if let Some(primary) = service.deployments.first_mut() {
        primary.rollout = rollout;
        reason.clone_into(&mut primary.rollout_reason);
        primary.updated_at_ms = now_ms;
    }
}

/// Undoes the primary deployment: the last completed one comes back, with the tasks that it still
/// has. `false` where there is none.
pub(super) fn roll_back(
    service: &mut Service,
    (cause, why): (UndoCause, &str),
    now_ms: u64,
    ids: &mut dyn IdSource,
) -> bool {
    let completed = |deployment: &Deployment| deployment.rollout == Rollout::Completed;
    let Some(n) = service.deployments.iter().position(completed) else { return false };
    let mut back = service.deployments.remove(n);
    let reason = format!("{why} Rolling back to {}.", back.id);
    roll(service, Rollout::Failed, &reason, now_ms);
    if let Some(undone) = service.deployments.first_mut() {
        undone.undo = Some(Undo {
            cause,
            revision_id: back.revision_id.clone(),
            rollout: Rollout::InProgress,
            since_ms: now_ms,
            until_ms: None,
        });
    }
    tell(service, &format!("rolling back to (deployment {}).", back.id), now_ms, ids);
    back.is_rollback = true;
    back.failed_tasks = 0;
    service.deployments.insert(0, back);
    service.throttle = Throttle::default();
    let reason = format!("ECS deployment {} in progress.", service.primary().id);
    roll(service, Rollout::InProgress, &reason, now_ms);
    true
}

/// A rollback that was under way has come to this end.
pub(super) fn end_undo(service: &mut Service, rollout: Rollout, now_ms: u64) {
    let undos = service.deployments.iter_mut().filter_map(|deployment| deployment.undo.as_mut());
    for undo in undos.filter(|undo| undo.rollout == Rollout::InProgress) {
        undo.rollout = rollout;
        undo.until_ms = Some(now_ms);
    }
}

/// A newer deployment takes the place of the primary one.
pub(super) fn supersede(service: &mut Service, newer: Deployment, now_ms: u64) {
    end_undo(service, Rollout::Failed, now_ms);
    if let Some(primary) = service.deployments.first_mut()
        && primary.rollout == Rollout::InProgress
    {
        primary.updated_at_ms = now_ms;
        primary.rollout_reason = format!("Replaced by ECS deployment {}.", newer.id);
    }
    service.deployments.insert(0, newer);
    service.throttle = Throttle::default();
    service.moving = 0;
}

/// Marks which deployments still have tasks, and forgets the oldest that do not.
pub(super) fn prune(service: &mut Service, has_tasks: impl Fn(&str) -> bool) {
    for (n, deployment) in service.deployments.iter_mut().enumerate() {
        deployment.live = n == 0 || has_tasks(&deployment.id);
    }
    while DEPLOYMENTS_MAX < service.deployments.len() {
        let last_idle = service.deployments.iter().rposition(|deployment| !deployment.live);
        let Some(n) = last_idle else { break };
        service.deployments.remove(n);
    }
}
