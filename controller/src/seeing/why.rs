//! Why a task or a service stands where it stands, for everything that waits, node by node in ECS's
//! words. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use loadline_model::{ContainerStatus, DesiredStatus, InstanceArn, StopCode, TaskStatus};

use crate::state::{NodeEntry, Rollout, ServiceEntry, ServiceStatus, Task, View};

/// Most reasons of one answer.
pub const REASONS_MAX: usize = 200;
/// How long a failure is told of a service of which all tasks run again, in milliseconds.
const RECENT_MS: u64 = 10 * 60 * 1000;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// `lastStatus` of a task, `status` of a service.
    pub status: String,
    /// In one sentence.
    pub summary: String,
    /// What makes it so, at most [`REASONS_MAX`].
    pub reasons: Vec<Reason>,
}

/// One reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Which node says so, if one does.
    pub node: Option<InstanceArn>,
    /// ECS's word: RESOURCE:MEMORY, AGENT, …
    pub word: String,
    /// For people.
    pub detail: String,
}

fn reason(node: Option<&NodeEntry>, word: &str, detail: impl Into<String>) -> Reason {
    let node = node.map(|node| node.record.arn.clone());
    Reason { node, word: word.to_owned(), detail: detail.into() }
}

/// The newest generation that a node said it has applied.
pub type Applied<'a> = &'a dyn Fn(&InstanceArn) -> Option<u64>;

/// Of a task.
#[must_use]
pub fn of_task(view: &View, task: &Task, applied: Applied<'_>) -> Why {
    let node = view.node(&task.node);
    let mut reasons: Vec<Reason> = node.into_iter().flat_map(of_node).collect();
    let stopped_reason = task.stopped_reason.clone().unwrap_or_default();
    let summary = match (task.last_status, task.desired) {
        (TaskStatus::Stopped, _) => {
            reasons.clear();
            reasons.extend(of_ends(task));
            format!("it has stopped: {}", or_unknown(&stopped_reason))
        }
        (_, DesiredStatus::Stopped) => {
            let still = "its containers get SIGTERM, and SIGKILL after their stopTimeout";
            reasons.push(reason(node, "STOPPING", still));
            format!("it shall stop: {}", or_unknown(&stopped_reason))
        }
        (TaskStatus::Running, _) => "it runs".to_owned(),
        _ => {
            reasons.extend(node.and_then(|node| not_applied(node, applied)));
            reasons.extend(of_begins(task));
            "it is placed, and waits for its node".to_owned()
        }
    };
    Why { status: task.last_status.as_str().to_owned(), summary, reasons }
}

fn or_unknown(reason: &str) -> &str {
    if reason.is_empty() { "no reason is known" } else { reason }
}

/// What keeps a node from doing what it is told.
fn of_node(node: &NodeEntry) -> Option<Reason> {
    let record = &node.record;
    if record.lost_at_ms.is_some() {
        let detail = "the container instance is lost: its agent was silent for too long";
        return Some(reason(Some(node), "AGENT", detail));
    }
    (!node.agent_connected()).then(|| {
        let detail = "the container instance's agent is not connected; what runs there goes on";
        reason(Some(node), "AGENT", detail)
    })
}

/// The node has not said that it holds the newest desired state.
fn not_applied(node: &NodeEntry, applied: Applied<'_>) -> Option<Reason> {
    let applied = applied(&node.record.arn).filter(|_| node.agent_connected())?;
    (applied < node.generation).then(|| {
        let detail = format!(
            "its agent has applied generation {applied} of {}: it is still taking in what changed",
            node.generation
        );
        reason(Some(node), "AGENT", detail)
    })
}

/// Containers on their way to RUNNING.
fn of_begins(task: &Task) -> impl Iterator<Item = Reason> {
    let waiting = task.containers.iter().filter(|c| c.last_status == ContainerStatus::Pending);
    waiting.map(|container| {
        let doing = match (&container.runtime_id, &container.image_digest) {
            (None, None) if let Some(why) = &container.reason => {
                let detail = format!("container {}: {why}", container.name);
                return reason(None, "CONTAINER", detail);
            }
            (Some(_), _) => "it is being created or started",
            (None, Some(_)) => "its image is there; it waits for its turn",
            (None, None) => "its image is being looked for or pulled, or it waits for its turn",
        };
        let why = container.reason.as_ref().map_or_else(String::new, |why| format!(": {why}"));
        reason(None, "CONTAINER", format!("container {}: {doing}{why}", container.name))
    })
}

fn of_ends(task: &Task) -> impl Iterator<Item = Reason> {
    let word = task.stop_code.map_or("STOPPED", |code| code.as_str());
    task.containers.iter().map(move |container| {
        let end = match container.exit_code {
            Some(code) => format!("ended with exit code {code}"),
            None if container.runtime_id.is_some() => "ended; nobody knows its exit code".into(),
            None => "was never started".to_owned(),
        };
        let why = container.reason.as_ref().map_or_else(String::new, |why| format!(": {why}"));
        reason(None, word, format!("container {} {end}{why}", container.name))
    })
}

/// Of a service.
#[must_use]
pub fn of_service(view: &View, entry: &ServiceEntry, now_ms: u64, applied: Applied<'_>) -> Why {
    let service = &entry.record;
    let mut reasons = Vec::new();
    for failure in &service.unplaced {
        let node = failure.node.as_ref().and_then(|arn| view.node(arn));
        reasons.push(reason(node, failure.reason.as_str(), failure.detail.clone()));
    }
    let failed = last_failure(view, entry);
    let named = failed.map(|task| format!("{}: {}", task.arn.id(), or_unknown(reason_of(task))));
    if now_ms < service.throttle.not_before_ms {
        let wait_s = (service.throttle.not_before_ms - now_ms).div_ceil(1000);
        let failures = service.throttle.failures;
        let last = named.map_or_else(String::new, |named| format!("; the last one, {named}"));
        let detail = format!(
            "{failures} tasks in a row stopped before they ran: the next one is started in \
             {wait_s} s{last}"
        );
        reasons.push(reason(None, "THROTTLED", detail));
    } else if let (Some(task), Some(named)) = (failed, named)
        && (entry.running_tasks < service.desired_count || is_recent(task, now_ms))
    {
        let word = task.stop_code.map_or("STOPPED", |code| code.as_str());
        reasons.push(reason(None, word, format!("the last task that failed, {named}")));
    }
    for deployment in service.deployments.iter().filter(|d| d.live) {
        if deployment.rollout != Rollout::Completed {
            let (of, why) = (&deployment.definition, &deployment.rollout_reason);
            let detail = format!("deployment of {}:{}: {why}", of.family, of.revision);
            reasons.push(reason(None, deployment.rollout.as_str(), detail));
        }
    }
    let tasks = || entry.tasks.iter().filter_map(|arn| view.task(arn));
    let away: Vec<Reason> = of_nodes(view, tasks()).collect();
    let steady = if away.is_empty() { "it is steady" } else { "it was steady when all were heard" };
    reasons.extend(away);
    for task in tasks().filter(|task| task.last_status != TaskStatus::Running) {
        let why = of_task(view, task, applied);
        let parts = why.reasons.iter().map(|reason| reason.detail.as_str());
        let parts = std::iter::once(why.summary.as_str()).chain(parts).collect::<Vec<_>>();
        let detail = format!("task {}: {}", task.arn.id(), parts.join("; "));
        reasons.push(reason(view.node(&task.node), &why.status, detail));
    }
    reasons.truncate(REASONS_MAX);
    let (running, wanted) = (entry.running_tasks, service.desired_count);
    let mut summary = format!("{running} of {wanted} tasks run");
    if service.status == ServiceStatus::Active && service.steady {
        summary.push_str(&format!(": {steady}"));
    } else if let Some(event) = service.events.first() {
        summary.push_str(&format!("; the last that happened: {}", event.message));
    }
    Why { status: service.status.as_str().to_owned(), summary, reasons }
}

/// What keeps the nodes from doing what they are told, of which tasks count as running: each once.
fn of_nodes<'a>(
    view: &'a View,
    tasks: impl Iterator<Item = &'a Arc<Task>>,
) -> impl Iterator<Item = Reason> {
    let running = tasks.filter(|task| task.last_status == TaskStatus::Running);
    let nodes: BTreeSet<&InstanceArn> = running.map(|task| &task.node).collect();
    nodes.into_iter().filter_map(|arn| of_node(view.node(arn)?))
}

/// The task of the primary deployment that failed last: it stopped, and nobody had asked it to.
fn last_failure<'a>(view: &'a View, entry: &ServiceEntry) -> Option<&'a Arc<Task>> {
    let service = &entry.record;
    let deployment = service.primary().id.as_str();
    let failed = |code: Option<StopCode>| {
        let of_itself = [StopCode::TaskFailedToStart, StopCode::EssentialContainerExited];
        code.is_some_and(|code| of_itself.contains(&code))
    };
    let tasks = view.tasks_in(&service.key.cluster, None).filter(|task| {
        task.service.as_ref() == Some(&service.key.name)
            && task.started_by.as_deref() == Some(deployment)
            && task.last_status == TaskStatus::Stopped
            && failed(task.stop_code)
    });
    tasks.max_by_key(|task| task.stopped_at_ms)
}

fn reason_of(task: &Task) -> &str {
    task.stopped_reason.as_deref().unwrap_or_default()
}

fn is_recent(task: &Task, now_ms: u64) -> bool {
    task.stopped_at_ms.is_some_and(|at_ms| now_ms.saturating_sub(at_ms) < RECENT_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::testing::{World, connect, definition, node_arn, register, report, run};
    use crate::command::{NodeDisconnected, TaskReports, Tick};

    fn why(world: &World) -> Why {
        let view = &world.state.view;
        of_task(view, view.tasks.values().next().unwrap(), &|_| Some(0))
    }

    fn words(why: &Why) -> Vec<&str> {
        why.reasons.iter().map(|reason| reason.word.as_str()).collect()
    }

    #[test]
    fn a_task_says_what_it_waits_for() {
        let mut world = World::new();
        world.must(definition("web", 10, 10));
        world.must(register("n1", 100, 100));
        world.must(connect("n1", "r"));
        let arn = world.run(run("web", 1)).tasks[0].arn.clone();
        assert_eq!(words(&why(&world)), ["AGENT", "CONTAINER"]);
        assert!(why(&world).reasons[0].detail.contains("has applied generation 0 of 2"));
        let say = |world: &mut World, version, reason: Option<&str>| {
            let mut said = report(&arn, version, TaskStatus::Pending);
            said.containers[0].runtime_id = None;
            said.containers[0].reason = reason.map(str::to_owned);
            world.must(TaskReports { node: node_arn("n1"), reports: vec![said] });
            why(world).reasons[1].detail.clone()
        };
        let waits = "it waits for the end of task old";
        assert_eq!(say(&mut world, 1, Some(waits)), format!("container main: {waits}"));
        let goes_on = say(&mut world, 2, None);
        assert!(!goes_on.contains(waits), "{goes_on}");
        let session = world.state.view.node(&node_arn("n1")).unwrap().connection.clone();
        let session = session.unwrap().session;
        world.must(NodeDisconnected { node: node_arn("n1"), session });
        assert!(why(&world).reasons[0].detail.contains("is not connected"));
        let lost = || vec![node_arn("n1")];
        world.must(Tick { silent: lost(), lost: lost(), given_up: vec![] });
        assert!(why(&world).reasons[0].detail.contains("is lost"));
        let reports = vec![report(&arn, 3, TaskStatus::Stopped)];
        world.must(TaskReports { node: node_arn("n1"), reports });
        let ended = why(&world);
        assert!(ended.summary.starts_with("it has stopped: "), "{}", ended.summary);
        assert!(ended.reasons[0].detail.starts_with("container main ended"), "{ended:?}");
    }
}
