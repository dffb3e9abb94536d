//! REPLICA: as many tasks as wanted, rolled forward by `services::rolling`.

use std::sync::Arc;

use loadline_model::{HealthStatus, TaskStatus};

use super::history;
use super::reconcile::{Look, Standing, seed};
use super::spread::{choose, even_out, strategy};
use crate::scheduler;
use crate::services::rolling::{Picture, Stops};
use crate::state::{Rollout, ServiceStatus, Task};

/// Most tasks that one look starts; the rest comes with the next.
const STARTS_PER_LOOK_MAX: u32 = 500;

/// A task, and whether it is RUNNING.
pub(super) type Seen<'a> = (&'a Arc<Task>, bool);

/// The tasks by how they count.
#[derive(Default)]
struct Groups<'a> {
    current: Vec<Seen<'a>>,
    old: Vec<Seen<'a>>,
    unhealthy: Vec<Seen<'a>>,
}

impl Groups<'_> {
    /// Takes protected tasks out of those to choose from; says until when they are.
    fn leave_protected(&mut self, now_ms: u64) -> Vec<u64> {
        let mut until = Vec::new();
        for group in [&mut self.current, &mut self.old] {
            group.retain(|(task, _)| {
                let protected = task.is_protected(now_ms);
                until.extend(task.protected_until_ms.filter(|_| protected));
                !protected
            });
        }
        until
    }
}

pub(super) fn step(look: &mut Look<'_>) {
    let mut groups = Groups::default();
    let picture = count(look, &mut groups);
    let mut protected = false;
    if look.service.status == ServiceStatus::Active {
        for until_ms in groups.leave_protected(look.now_ms) {
            look.wake_at(until_ms);
            protected = true;
        }
    }
    look.service.moving = picture.moving;
    let wanted = if look.may_launch() { picture.starts() } else { 0 };
    let started = start(look, wanted);
    let stops = if look.service.status == ServiceStatus::Active && !may_replace(look) {
        // A deployment that failed, and is not rolled back, leaves the old tasks alone.
        let Stops { surplus, unhealthy, .. } = picture.stops(0);
        Stops { surplus, unhealthy, ..Stops::default() }
    } else {
        picture.stops(started)
    };
    if 0 < picture.moving {
        // What moves is not well yet, and is no surplus.
        groups.current.retain(|(_, running)| *running);
    }
    let mut stopped = choose(look, &groups.current, stops.surplus);
    let (running, pending): (Vec<_>, Vec<_>) = groups.old.iter().partition(|(_, running)| *running);
    stopped.extend(choose(look, &pending, stops.old_pending));
    stopped.extend(choose(look, &running, stops.old_running));
    look.stop(&stopped);
    let unhealthy = choose(look, &groups.unhealthy, stops.unhealthy);
    replace(look, &unhealthy);
    if picture.is_stuck() && may_replace(look) && look.service.unplaced.is_empty() {
        look.complain(
            "was unable to stop or start tasks during a deployment because of the service \
             deployment configuration. Update the minimumHealthyPercent or maximumPercent value \
             and try again.",
        );
    }
    let quiet = started == 0 && stopped.is_empty() && unhealthy.is_empty();
    if quiet && !protected && 0 < even_out(look, &picture, &groups.current) {
        return;
    }
    look.settle(picture.is_settled() && quiet);
}

/// Stops tasks that are not well; each counts as a failure of the deployment.
fn replace(look: &mut Look<'_>, unhealthy: &[&Arc<Task>]) {
    if unhealthy.is_empty() {
        return;
    }
    let why = "Task failed container health checks";
    look.stop_for(unhealthy, why);
    look.fail(u32::try_from(unhealthy.len()).unwrap_or(u32::MAX), Some(why));
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
        let health = look.health(task);
        let sick = health == Some(HealthStatus::Unhealthy) && !look.is_in_grace(task);
        match standing {
            Standing::Stopping => picture.stopping += 1,
            Standing::Old if running && !sick => picture.old_running += 1,
            Standing::Old => picture.old_pending += 1,
            Standing::Current if sick => picture.current_unhealthy += 1,
            // It becomes healthy by its checks, not by time alone.
            Standing::Current if health.is_some_and(|health| health != HealthStatus::Healthy) => {
                picture.current_pending += 1;
            }
            Standing::Current if look.is_healthy(task) => picture.current_healthy += 1,
            Standing::Current if running => picture.current_young += 1,
            Standing::Current => picture.current_pending += 1,
        }
        match standing {
            Standing::Stopping => {}
            Standing::Old => groups.old.push((task, running && !sick)),
            Standing::Current if sick => groups.unhealthy.push((task, running)),
            Standing::Current => groups.current.push((task, running)),
        }
    }
    let not_well = picture.current_pending + picture.current_young;
    picture.moving = look.service.moving.min(not_well);
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
    let strategy = strategy(look);
    let constraints = definition.body.constraints().chain(&service.constraints);
    let request =
        scheduler::Request::new(&service.key.cluster, need, &group, constraints, &strategy)
            .with_ports(&definition.body.ports);
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
