//! REPLICA: as many tasks as wanted, rolled forward by `services::rolling`.

use std::collections::BTreeMap;
use std::sync::Arc;

use loadline_model::{InstanceArn, TaskStatus};

use super::history;
use super::reconcile::{Look, Standing, seed};
use crate::scheduler;
use crate::services::rolling::{Picture, Stops};
use crate::state::{Rollout, ServiceStatus, Task};

/// Most tasks that one look starts; the rest comes with the next.
const STARTS_PER_LOOK_MAX: u32 = 500;

/// A task, and whether it is RUNNING.
type Seen<'a> = (&'a Arc<Task>, bool);

/// The tasks by how they count.
#[derive(Default)]
struct Groups<'a> {
    current: Vec<Seen<'a>>,
    old: Vec<Seen<'a>>,
}

pub(super) fn step(look: &mut Look<'_>) {
    let mut groups = Groups::default();
    let picture = count(look, &mut groups);
    let wanted = if look.may_launch() { picture.starts() } else { 0 };
    let started = start(look, wanted);
    let stops = if look.service.status == ServiceStatus::Active && !may_replace(look) {
        // A deployment that failed, and is not rolled back, leaves the old tasks alone.
        Stops { surplus: picture.stops(0).surplus, ..Stops::default() }
    } else {
        picture.stops(started)
    };
    let mut stopped = choose(&groups.current, stops.surplus);
    let (running, pending): (Vec<_>, Vec<_>) = groups.old.iter().partition(|(_, running)| *running);
    stopped.extend(choose(&pending, stops.old_pending));
    stopped.extend(choose(&running, stops.old_running));
    look.stop(&stopped);
    if picture.is_stuck() && may_replace(look) && look.service.unplaced.is_empty() {
        look.complain(
            "was unable to stop or start tasks during a deployment because of the service \
             deployment configuration. Update the minimumHealthyPercent or maximumPercent value \
             and try again.",
        );
    }
    look.settle(picture.is_settled() && started == 0 && stopped.is_empty());
}

fn may_replace(look: &Look<'_>) -> bool {
    look.service.primary().rollout != Rollout::Failed
}

fn count<'a>(look: &mut Look<'a>, groups: &mut Groups<'a>) -> Picture {
    let desired = look.service.desired_count;
    let config = look.service.config;
    let (lower, upper) =
        Picture::limits(desired, config.minimum_healthy_percent, config.maximum_percent);
    let mut picture = Picture { desired, lower, upper, ..Picture::default() };
    for (task, standing) in look.tasks() {
        let running = task.last_status == TaskStatus::Running;
        match standing {
            Standing::Stopping => picture.stopping += 1,
            Standing::Old if running => picture.old_running += 1,
            Standing::Old => picture.old_pending += 1,
            Standing::Current if look.is_healthy(task) => picture.current_healthy += 1,
            Standing::Current if running => picture.current_young += 1,
            Standing::Current => picture.current_pending += 1,
        }
        match standing {
            Standing::Stopping => {}
            Standing::Old => groups.old.push((task, running)),
            Standing::Current => groups.current.push((task, running)),
        }
    }
    picture
}

/// Starts tasks of the primary deployment; says how many found a place.
fn start(look: &mut Look<'_>, wanted: u32) -> u32 {
    let now = wanted.min(STARTS_PER_LOOK_MAX);
    if now < wanted {
        look.wake_at(look.now_ms);
    }
    if now == 0 {
        look.service.unplaced.clear();
        return 0;
    }
    let state = look.draft.state;
    let Some(definition) = state.view.definitions.get(&look.service.primary().definition) else {
        return 0;
    };
    let group = format!("service:{}", look.service.key.name);
    let service = look.service.clone();
    let seed = seed(&service, definition, &group, look.now_ms);
    let need = seed.need(state);
    let constraints = definition.body.placement_constraints.iter().chain(&service.constraints);
    let request =
        scheduler::Request::new(&service.key.cluster, need, &group, constraints, &service.strategy);
    let ran = seed.place(&mut look.draft, &request, now, look.ids);
    if !ran.tasks.is_empty() {
        look.tell(&history::counted("started", "tasks", &ran.tasks));
        look.service.steady = false;
    }
    if !ran.failures.is_empty() {
        look.complain(&history::no_place(&ran.failures));
        let again_ms = look.now_ms.saturating_add(state.settings.place_again_ms);
        look.wake_at(again_ms);
    }
    look.service.unplaced = ran.failures;
    u32::try_from(ran.tasks.len()).unwrap_or(u32::MAX)
}

/// Which tasks go first: those that do not run yet, then those on the nodes that have the most of
/// the service, the newest of them.
fn choose<'a>(from: &[Seen<'a>], count: u32) -> Vec<&'a Arc<Task>> {
    let mut left: Vec<Seen<'a>> = from.to_vec();
    let mut on_node: BTreeMap<&InstanceArn, u32> = BTreeMap::new();
    for (task, _) in &left {
        *on_node.entry(&task.node).or_default() += 1;
    }
    let mut chosen = Vec::new();
    for _ in 0..count {
        let weight = |(task, running): &Seen<'a>| {
            (!running, on_node.get(&task.node).copied(), task.created_at_ms, task.arn.clone())
        };
        let most = left.iter().enumerate().max_by_key(|(_, seen)| weight(seen));
        let Some(n) = most.map(|(n, _)| n) else { break };
        let (task, _) = left.swap_remove(n);
        if let Some(count) = on_node.get_mut(&task.node) {
            *count -= 1;
        }
        chosen.push(task);
    }
    chosen
}
