//! A service whose containers have health checks goes by their verdict.

use loadline_model::{DesiredStatus, HealthCheck, HealthStatus, TaskStatus};

use super::{agents_obey, counts, create, key, limits, service, tasks};
use crate::apply::testing::{World, definition, report};
use crate::command::{CreateService, TaskReports};
use crate::state::{Breaker, DeploymentConfig, Rollout, Task};

/// Three nodes and a definition with a health check.
fn world() -> World {
    let mut world = World::new();
    let mut command = definition("web", 100, 100);
    command.body.containers[0].health_check = Some(HealthCheck {
        command: vec!["CMD".into(), "true".into()],
        interval_s: 30,
        timeout_s: 5,
        retries: 3,
        start_period_s: 0,
    });
    world.must(command);
    world.node("n1", 4096, 4096).node("n2", 4096, 4096).node("n3", 4096, 4096);
    world
}

fn says(world: &mut World, task: &Task, health: HealthStatus) {
    let mut report = report(&task.arn, task.report_version + 1, TaskStatus::Running);
    report.containers[0].health = health;
    world.must(TaskReports { node: task.node.clone(), reports: vec![report] });
    world.looks();
}

/// Every task that runs is well.
fn all_are_well(world: &mut World) {
    for task in tasks(world) {
        if task.last_status == TaskStatus::Running {
            says(world, &task, HealthStatus::Healthy);
        }
    }
}

#[test]
fn a_deployment_waits_for_healthy_and_not_for_time() {
    let mut world = world();
    world.must(create(2));
    agents_obey(world.looks());
    world.now_ms += 400_000;
    world.looks();
    assert_eq!((counts(&world).as_str(), service(&world).steady), ("2/0/0", false));
    assert_eq!(service(&world).primary().rollout, Rollout::InProgress);
    let one = tasks(&world)[0].clone();
    let definition = world.state.view.definition(&one.definition.family, 1).unwrap().clone();
    assert_eq!(definition.health_of(&one), HealthStatus::Unknown);
    all_are_well(&mut world);
    let one = world.task(&one.arn).clone();
    assert_eq!(definition.health_of(&one), HealthStatus::Healthy);
    assert_eq!(service(&world).primary().rollout, Rollout::Completed);
}

#[test]
fn an_unhealthy_task_is_replaced_and_the_replacement_comes_first() {
    let mut world = world();
    world.must(create(2));
    agents_obey(world.looks());
    all_are_well(&mut world);
    let sick = tasks(&world)[0].clone();
    says(&mut world, &sick, HealthStatus::Unhealthy);
    assert_eq!(counts(&world), "2/1/0", "a replacement, and nobody is stopped yet");
    for task in tasks(&world) {
        if task.last_status == TaskStatus::Pending {
            says(&mut world, &task, HealthStatus::Unknown);
            assert_eq!(counts(&world), "3/0/0", "it runs, and is not known to be well");
            let task = world.task(&task.arn).clone();
            says(&mut world, &task, HealthStatus::Healthy);
        }
    }
    assert_eq!(counts(&world), "2/0/1");
    let stopped = world.task(&sick.arn);
    assert_eq!(stopped.stopped_reason.as_deref(), Some("Task failed container health checks"));
}

#[test]
fn where_there_is_no_room_the_unhealthy_make_it_one_by_one() {
    let mut world = world();
    world.must(CreateService { config: limits(100, 100), ..create(2) });
    agents_obey(world.looks());
    for task in tasks(&world) {
        says(&mut world, &task, HealthStatus::Unhealthy);
    }
    assert_eq!(counts(&world), "1/0/1");
}

#[test]
fn tasks_that_never_become_healthy_break_a_deployment() {
    let mut world = world();
    let config = DeploymentConfig { breaker: Breaker::Fail, ..limits(0, 200) };
    world.must(CreateService { config, ..create(1) });
    for _ in 0..12 {
        world.looks();
        for task in tasks(&world) {
            if task.desired == DesiredStatus::Running {
                says(&mut world, &task, HealthStatus::Unhealthy);
            } else {
                world.says(&task.arn, task.report_version + 1, TaskStatus::Stopped);
            }
        }
    }
    let seen = world.state.view.service(&key()).unwrap();
    assert_eq!(seen.record.primary().rollout, Rollout::Failed, "{:#?}", seen.record);
}

#[test]
fn failing_checks_are_believed_only_after_the_grace_period() {
    let mut world = world();
    world.must(CreateService { health_check_grace_s: Some(120), ..create(2) });
    agents_obey(world.looks());
    all_are_well(&mut world);
    let one = tasks(&world)[0].clone();
    world.now_ms = one.started_at_ms.unwrap() + 119_999;
    says(&mut world, &one, HealthStatus::Unhealthy);
    assert_eq!(counts(&world), "2/0/0", "its grace is not over");
    world.now_ms += 1;
    world.looks();
    assert_eq!(counts(&world), "2/1/0", "it is over, and a replacement starts");
}
