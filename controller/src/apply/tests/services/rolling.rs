//! Starting, updating, scaling in, placing.

use loadline_model::{DesiredStatus, StopCode, TaskStatus};

use super::{
    agents_obey, counts, create, last_event, limits, newest, service, tasks, update, world,
};
use crate::apply::testing::{World, cluster, definition, run};
use crate::command::{CreateService, Deploy, PlacementReason, StopTask, UpdateService};
use crate::state::{BinpackField, DeploymentConfig, PlacementStrategy, Rollout};

#[test]
fn a_service_starts_its_tasks_and_says_when_it_is_steady() {
    let mut world = world();
    world.must(create(4));
    world.looks();
    assert_eq!(counts(&world), "0/4/0");
    assert!(last_event(&world).starts_with("(service web) has started 4 tasks: (task "));
    let task = &tasks(&world)[0];
    assert_eq!(task.group, "service:web");
    assert_eq!(task.started_by.as_deref(), Some(service(&world).primary().id.as_str()));
    assert_eq!(task.tags.len(), 2, "aws:ecs:clusterName and aws:ecs:serviceName");
    agents_obey(&mut world);
    assert_eq!(counts(&world), "4/0/0");
    assert_eq!(service(&world).primary().rollout, Rollout::Completed);
    assert_eq!(last_event(&world), "(service web) has reached a steady state.");
    let before = service(&world).clone();
    world.now_ms += 1_000_000;
    world.looks();
    assert_eq!(*service(&world), before, "a steady service is left alone");
}

#[test]
fn a_task_that_ends_is_replaced_and_a_stopped_one_too() {
    let mut world = world();
    world.must(create(2));
    agents_obey(world.looks());
    let ended = tasks(&world)[0].arn.clone();
    world.says(&ended, 5, TaskStatus::Stopped);
    world.looks();
    assert_eq!(counts(&world), "1/1/0");
    agents_obey(&mut world);
    let stop = StopTask { cluster: cluster(), task: tasks(&world)[0].arn.clone(), reason: None };
    world.must(stop);
    world.looks();
    assert_eq!(counts(&world), "1/1/1");
    agents_obey(&mut world);
    assert_eq!(counts(&world), "2/0/0");
}

#[test]
fn a_deployment_that_was_replaced_says_by_which() {
    let mut world = world();
    world.must(create(2));
    world.looks();
    world.must(UpdateService { deploy: Deploy::Force, ..update() });
    let [newer, older] = &service(&world).deployments[..] else { panic!() };
    assert_eq!(older.rollout_reason, format!("Replaced by ECS deployment {}.", newer.id));
    assert_eq!(newer.rollout_reason, format!("ECS deployment {} in progress.", newer.id));
}

/// The counts at each step of an update of four tasks, until it is steady.
fn roll(config: DeploymentConfig) -> Vec<String> {
    let mut world = world();
    world.must(CreateService { config, ..create(4) });
    agents_obey(world.looks());
    world.now_ms += 40_000;
    world.must(definition("web", 100, 100));
    world.must(UpdateService { definition: Some(newest()), ..update() });
    let mut seen = Vec::new();
    for _ in 0..20 {
        world.looks();
        seen.push(counts(&world));
        assert!(tasks(&world).len() <= (4 * config.maximum_percent / 100) as usize);
        if service(&world).steady {
            let live = service(&world).deployments.iter().filter(|d| d.live).count();
            assert_eq!(live, 1, "the old deployment is over");
            break;
        }
        agents_obey(&mut world);
        seen.push(counts(&world));
        world.now_ms += 40_000;
    }
    seen.dedup();
    seen
}

#[test]
fn an_update_follows_the_exact_arithmetic_of_ecs() {
    let full = ["4/4/0", "8/0/0", "4/0/4", "4/0/0"];
    assert_eq!(roll(limits(100, 200)), full);
    let halves = ["2/0/2", "2/2/0", "4/0/0", "2/0/2", "2/2/0", "4/0/0"];
    assert_eq!(roll(limits(50, 100)), halves);
    assert_eq!(roll(limits(0, 100)), ["0/0/4", "0/4/0", "4/0/0"]);
}

#[test]
fn an_update_that_cannot_move_says_so() {
    let mut world = world();
    world.must(CreateService { config: limits(100, 100), ..create(4) });
    agents_obey(world.looks());
    world.now_ms += 40_000;
    world.must(UpdateService { deploy: Deploy::Force, ..update() });
    world.looks();
    assert_eq!(counts(&world), "4/0/0");
    assert!(last_event(&world).contains("because of the service deployment configuration"));
}

#[test]
fn scaling_in_stops_what_does_not_run_first_and_the_fullest_node_next() {
    let mut world = world();
    world.must(create(3));
    agents_obey(world.looks());
    world.must(UpdateService { desired_count: Some(5), ..update() });
    world.looks();
    assert_eq!(counts(&world), "3/2/0");
    world.must(UpdateService { desired_count: Some(2), ..update() });
    world.looks();
    assert_eq!(counts(&world), "2/0/3");
    let stopping = tasks(&world).into_iter().find(|task| task.desired == DesiredStatus::Stopped);
    let stopping = stopping.unwrap();
    assert_eq!(stopping.stop_code, Some(StopCode::ServiceSchedulerInitiated));
    assert!(stopping.stopped_reason.unwrap().starts_with("Scaling activity initiated by (depl"));
    agents_obey(&mut world);
    assert_eq!(counts(&world), "2/0/0");
}

#[test]
fn scaling_in_keeps_what_the_strategy_wants() {
    let scaled_in = |strategy, expected: &str| {
        let mut world = World::new();
        world.must(definition("web", 100, 100));
        world.node_with("a1", "zone", "1").node_with("a2", "zone", "1").node_with("b", "zone", "2");
        let spread = vec![PlacementStrategy::Spread("instanceId".into())];
        world.must(CreateService { strategy: spread, ..create(3) });
        agents_obey(world.looks());
        world.must(run("web", 1));
        world.must(UpdateService { strategy: Some(vec![strategy]), ..update() });
        world.must(UpdateService { desired_count: Some(2), ..update() });
        world.looks();
        let stopping = tasks(&world).into_iter().find(|t| t.desired == DesiredStatus::Stopped);
        assert_eq!(stopping.unwrap().node.id(), expected);
    };
    scaled_in(PlacementStrategy::Spread("attribute:zone".into()), "a2");
    scaled_in(PlacementStrategy::Binpack(BinpackField::Memory), "a2");
}

#[test]
fn a_service_that_finds_no_place_names_the_closest_node_and_goes_on_when_there_is_room() {
    let mut world = World::new();
    world.must(definition("web", 100, 3000));
    world.node("n1", 4096, 4096);
    world.must(create(2));
    world.looks();
    assert_eq!(counts(&world), "0/1/0");
    let expected = "(service web) was unable to place a task because no container instance met \
                    all of its requirements. The closest matching (container-instance n1) has \
                    insufficient memory available.";
    assert_eq!(last_event(&world), expected);
    assert_eq!(service(&world).unplaced[0].reason, PlacementReason::Memory);
    world.node("n2", 4096, 4096);
    world.looks();
    assert_eq!(counts(&world), "0/2/0", "a node that joins is used at once");
    assert!(service(&world).unplaced.is_empty());
    agents_obey(&mut world);
    assert!(service(&world).steady);
}
