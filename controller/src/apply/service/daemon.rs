//! DAEMON: one task on each ACTIVE node that the constraints select. A node's old task stops before
//! its new one starts, so that both never share the node.

use std::collections::BTreeMap;
use std::sync::Arc;

use loadline_model::{InstanceArn, TaskStatus};

use super::history;
use super::reconcile::{Look, Standing, seed};
use crate::scheduler::{self, Request, Tentative};
use crate::services::rolling::Picture;
use crate::state::{NodeStatus, ServiceStatus, Task, TaskDefinition};

/// What is on the nodes now.
#[derive(Default)]
struct Census<'a> {
    /// Tasks on nodes that do not match any more, or beyond the one of their node.
    surplus: Vec<&'a Arc<Task>>,
    /// Tasks that are to be replaced.
    old: Vec<&'a Arc<Task>>,
    /// How many of the nodes' own tasks are RUNNING, old ones included.
    running: u32,
    /// How many of them are current and RUNNING.
    settled: u32,
    /// Nodes without any task of the service.
    free: Vec<InstanceArn>,
}

pub(super) fn step(look: &mut Look<'_>) {
    let state = look.draft.state;
    let Some(definition) = state.view.definitions.get(&look.service.primary().definition) else {
        return;
    };
    let group = format!("service:{}", look.service.key.name);
    let service = look.service.clone();
    let need = seed(&service, definition, &group, look.now_ms).need(state);
    let constraints = definition.body.constraints().chain(&service.constraints);
    let request = Request::new(&service.key.cluster, need, &group, constraints, &[])
        .with_ports(&definition.body.ports);
    let nodes = matching(look, &request);
    let nodes_wanted = nodes.len();
    let desired = u32::try_from(nodes_wanted).unwrap_or(u32::MAX);
    look.service.desired_count = desired;

    let census = count(look, nodes);
    let wanted = if look.may_launch() { census.free.as_slice() } else { &[] };
    let started = start(look, definition, &request, wanted);
    let config = service.config;
    let (lower, _) =
        Picture::limits(desired, config.minimum_healthy_percent, config.maximum_percent);
    let spare = usize::try_from(census.running.saturating_sub(lower)).unwrap_or(usize::MAX);
    let (running, pending): (Vec<&Arc<Task>>, Vec<&Arc<Task>>) =
        census.old.iter().copied().partition(|task| task.last_status == TaskStatus::Running);
    let mut stopped = census.surplus;
    stopped.extend(pending);
    stopped.extend(running.into_iter().take(spare));
    look.stop(&stopped);
    let only_these = look.entry.tasks.size() == nodes_wanted;
    look.settle(census.settled == desired && only_these && stopped.is_empty() && started == 0);
}

/// The nodes that shall have a task, and whether they have none yet. A service that is being
/// deleted wants none.
fn matching(look: &Look<'_>, request: &Request<'_>) -> BTreeMap<InstanceArn, bool> {
    let state = look.draft.state;
    if look.service.status != ServiceStatus::Active {
        return BTreeMap::new();
    }
    let nodes = state.view.nodes_in(&look.service.key.cluster, None);
    let active = nodes.filter(|node| {
        node.record.status == NodeStatus::Active
            && !node.record.agentless
            && node.record.lost_at_ms.is_none()
            && scheduler::selects(state, request, node)
    });
    active.map(|node| (node.record.arn.clone(), true)).collect()
}

fn count<'a>(look: &Look<'a>, mut nodes: BTreeMap<InstanceArn, bool>) -> Census<'a> {
    let mut census = Census::default();
    for (task, standing) in look.tasks() {
        let running = u32::from(task.last_status == TaskStatus::Running);
        match (standing, nodes.get_mut(&task.node)) {
            (Standing::Stopping, None) => {}
            (Standing::Stopping, Some(free)) => *free = false,
            (Standing::Current | Standing::Old, None) => census.surplus.push(task),
            (Standing::Current, Some(false)) => census.surplus.push(task),
            (Standing::Current, Some(free)) => {
                *free = false;
                census.running += running;
                census.settled += running;
            }
            (Standing::Old, Some(free)) => {
                *free = false;
                census.running += running;
                census.old.push(task);
            }
        }
    }
    census.free = nodes.into_iter().filter(|(_, free)| *free).map(|(node, _)| node).collect();
    census
}

/// Starts a task on each of these nodes that has room for it; says how many.
fn start(
    look: &mut Look<'_>,
    definition: &TaskDefinition,
    request: &Request<'_>,
    nodes: &[InstanceArn],
) -> usize {
    let state = look.draft.state;
    let group = format!("service:{}", look.service.key.name);
    let service = look.service.clone();
    let seed = seed(&service, definition, &group, look.now_ms);
    let need = seed.need(state);
    let (mut started, mut failures) = (Vec::new(), Vec::new());
    failures.extend(seed.role_failure(state));
    let nodes = if failures.is_empty() { nodes } else { &[] };
    for node in nodes {
        match scheduler::ask(state, &Tentative::default(), request, node) {
            Some(Ok(())) => {
                let id = look.ids.fresh();
                started.push(seed.start(&mut look.draft, &id, node, need, look.ids));
            }
            Some(Err(failure)) => failures.push(failure),
            None => {}
        }
    }
    if !started.is_empty() {
        look.tell(&history::counted("started", "tasks", &started));
    }
    if !failures.is_empty() {
        look.complain(&history::no_place(&failures));
        look.wake_at(look.now_ms.saturating_add(state.settings.place_again_ms));
    }
    failures.truncate(crate::command::FAILURES_MAX);
    look.service.unplaced = failures;
    started.len()
}
