//! Services: kept at their count, rolled forward within their limits, broken and rolled back.

use loadline_model::{DesiredStatus, StopCode, TaskArn, TaskStatus};

use super::super::testing::{World, cluster, definition, node_arn, run};
use crate::command::{
    CreateService, DefinitionRef, DeleteCluster, DeleteService, Deploy, Force, PlacementReason,
    Refusal, SetNodeStatus, StartTask, StopTask, Tick, UpdateService,
};
use crate::state::{
    BinpackField, Breaker, DeploymentConfig, Family, NodeStatus, PlacementStrategy, Rollout,
    Scheduling, Service, ServiceKey, ServiceName, ServiceStatus, ServiceTags, Task,
};

fn key() -> ServiceKey {
    ServiceKey { cluster: cluster(), name: ServiceName::parse("web").unwrap() }
}

fn newest() -> DefinitionRef {
    DefinitionRef { family: Family::parse("web").unwrap(), revision: None }
}

fn create(desired_count: u32) -> CreateService {
    CreateService {
        key: key(),
        definition: newest(),
        scheduling: Scheduling::Replica,
        desired_count,
        config: DeploymentConfig::default_of(Scheduling::Replica),
        health_check_grace_s: None,
        constraints: vec![],
        strategy: vec![],
        propagate_tags: ServiceTags::None,
        managed_tags: true,
        tags: vec![],
    }
}

fn update() -> UpdateService {
    UpdateService {
        key: key(),
        desired_count: None,
        definition: None,
        config: None,
        health_check_grace_s: None,
        constraints: None,
        strategy: None,
        propagate_tags: None,
        managed_tags: None,
        deploy: Deploy::IfChanged,
    }
}

fn limits(minimum_healthy_percent: u32, maximum_percent: u32) -> DeploymentConfig {
    DeploymentConfig { minimum_healthy_percent, maximum_percent, breaker: Breaker::Off }
}

/// Three nodes and a definition of 100 CPU units and 100 MiB.
fn world() -> World {
    let mut world = World::new();
    world.must(definition("web", 100, 100));
    world.node("n1", 4096, 4096).node("n2", 4096, 4096).node("n3", 4096, 4096);
    world
}

fn service(world: &World) -> &Service {
    &world.state.view.service(&key()).unwrap().record
}

/// The service's tasks that are not STOPPED.
fn tasks(world: &World) -> Vec<Task> {
    let entry = world.state.view.service(&key()).unwrap();
    entry.tasks.iter().map(|arn| world.task(arn).clone()).collect()
}

/// Every node does what it was told: what shall run runs, what shall stop has stopped.
fn agents_obey(world: &mut World) {
    for task in tasks(world) {
        let status = match task.desired {
            DesiredStatus::Running => TaskStatus::Running,
            DesiredStatus::Stopped => TaskStatus::Stopped,
        };
        world.says(&task.arn, task.report_version + 1, status);
    }
    world.looks();
}

fn fail(world: &mut World, arn: &TaskArn) {
    let node = world.task(arn).node.clone();
    let mut report = super::super::testing::report(arn, 9, TaskStatus::Stopped);
    report.containers.clear();
    world.must(crate::command::TaskReports { node, reports: vec![report] });
    world.looks();
}

/// `running/pending/stopping` of the service.
fn counts(world: &World) -> String {
    let tasks = tasks(world);
    let count = |which: &dyn Fn(&Task) -> bool| tasks.iter().filter(|task| which(task)).count();
    let wanted = |task: &Task| task.desired == DesiredStatus::Running;
    let runs = |task: &Task| task.last_status == TaskStatus::Running;
    let running = count(&|task| wanted(task) && runs(task));
    let pending = count(&|task| wanted(task) && !runs(task));
    format!("{running}/{pending}/{}", count(&|task| !wanted(task)))
}

fn last_event(world: &World) -> &str {
    &service(world).events[0].message
}

#[test]
fn a_service_starts_its_tasks_and_says_when_it_is_steady() {
    let mut world = world();
    world.must(create(4));
    world.looks();
    assert_eq!(counts(&world), "0/4/0");
    assert!(last_event(&world).starts_with("(service web) has started 4 tasks: (task "));
    let task = &tasks(&world)[0];
    assert_eq!(task.group, "service:web");
    assert_eq!(task.started_by.as_ref(), Some(&service(&world).primary().id));
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

#[test]
fn the_breaker_ends_a_deployment_that_keeps_failing_and_rolls_back() {
    let mut world = world();
    let config = DeploymentConfig { breaker: Breaker::RollBack, ..limits(100, 200) };
    world.must(CreateService { config, ..create(2) });
    agents_obey(world.looks());
    let first = service(&world).primary().clone();
    world.must(definition("web", 100, 100));
    world.must(UpdateService { definition: Some(newest()), ..update() });
    for failures in 1..=3 {
        world.looks();
        let bad = tasks(&world).into_iter().find(|task| task.definition.revision == 2).unwrap();
        fail(&mut world, &bad.arn);
        world.now_ms += 10_000;
        if failures < 3 {
            assert_eq!(service(&world).primary().failed_tasks, failures);
        }
    }
    world.looks();
    let seen = service(&world);
    assert_eq!((&seen.primary().id, seen.primary().is_rollback), (&first.id, true));
    assert_eq!(seen.deployments[1].rollout, Rollout::Failed);
    let told = |what: &str| seen.events.iter().any(|event| event.message.contains(what));
    assert!(told("deployment failed: tasks failed to start."));
    assert!(told(&format!("rolling back to (deployment {}).", first.id)));
    agents_obey(&mut world);
    agents_obey(&mut world);
    assert_eq!(counts(&world), "2/0/0");
    assert!(tasks(&world).iter().all(|task| task.definition.revision == 1));
    assert!(service(&world).steady);
}

#[test]
fn without_a_rollback_a_failed_deployment_stands_still_and_the_old_tasks_stay() {
    let mut world = world();
    let config = DeploymentConfig { breaker: Breaker::Fail, ..limits(50, 200) };
    world.must(CreateService { config, ..create(2) });
    agents_obey(world.looks());
    world.now_ms += 40_000;
    world.must(UpdateService { deploy: Deploy::Force, ..update() });
    for _ in 0..3 {
        world.looks();
        let young = tasks(&world).into_iter().find(|t| t.last_status == TaskStatus::Pending);
        fail(&mut world, &young.unwrap().arn);
        world.now_ms += 10_000;
    }
    world.looks();
    assert_eq!(service(&world).primary().rollout, Rollout::Failed);
    let running = tasks(&world).iter().filter(|t| t.last_status == TaskStatus::Running).count();
    assert_eq!(running, 2);
}

#[test]
fn launches_that_keep_failing_are_slowed_down_and_a_success_ends_that() {
    let mut world = world();
    world.must(create(1));
    for _ in 0..3 {
        world.looks();
        let arn = tasks(&world)[0].arn.clone();
        fail(&mut world, &arn);
    }
    assert_eq!(counts(&world), "0/0/0");
    assert!(last_event(&world).contains("is unable to consistently start tasks successfully."));
    world.now_ms += 999;
    world.looks();
    assert_eq!(counts(&world), "0/0/0");
    world.now_ms += 1;
    world.looks();
    assert_eq!(counts(&world), "0/1/0");
    agents_obey(&mut world);
    assert_eq!(service(&world).throttle, Default::default());
}

#[test]
fn a_draining_node_is_emptied_within_the_limits() {
    let mut world = world();
    world.must(create(3));
    agents_obey(world.looks());
    world.now_ms += 40_000;
    let standalone = world.run(run("web", 1)).tasks[0].clone();
    let node = tasks(&world)[0].node.clone();
    let status = NodeStatus::Draining;
    world.must(SetNodeStatus { cluster: cluster(), node: node.clone(), status });
    world.looks();
    assert_eq!(counts(&world), "3/1/0", "the replacement first");
    agents_obey(&mut world);
    world.now_ms += 40_000;
    world.looks();
    assert_eq!(counts(&world), "3/0/1");
    agents_obey(&mut world);
    assert!(tasks(&world).iter().all(|task| task.node != node));
    assert_eq!(world.task(&standalone.arn).desired, DesiredStatus::Running);
}

#[test]
fn a_lost_nodes_tasks_are_replaced_at_once_and_standalone_ones_wait() {
    let mut world = world();
    world.must(create(3));
    agents_obey(world.looks());
    let node = tasks(&world)[0].node.clone();
    let lost = vec![node.clone()];
    let silent = lost.clone();
    world.must(Tick { silent, lost, given_up: vec![] });
    world.looks();
    assert_eq!(counts(&world), "2/1/0");
    assert!(tasks(&world).iter().all(|task| task.node != node));
}

#[test]
fn a_daemon_runs_once_on_each_active_node() {
    let mut world = world();
    let config = DeploymentConfig::default_of(Scheduling::Daemon);
    world.must(CreateService { scheduling: Scheduling::Daemon, config, ..create(0) });
    agents_obey(world.looks());
    assert_eq!((counts(&world), service(&world).desired_count), ("3/0/0".into(), 3));
    world.node("n4", 4096, 4096);
    agents_obey(world.looks());
    assert_eq!(counts(&world), "4/0/0", "a node that joins gets its own");
    let status = NodeStatus::Draining;
    world.must(SetNodeStatus { cluster: cluster(), node: node_arn("n1"), status });
    world.looks();
    assert_eq!(counts(&world), "3/0/1");
    agents_obey(&mut world);
    assert_eq!((counts(&world), service(&world).steady), ("3/0/0".into(), true));
    world.must(UpdateService { deploy: Deploy::Force, ..update() });
    world.looks();
    assert_eq!(counts(&world), "0/0/3", "the old one stops before the new one starts");
    agents_obey(&mut world);
    assert_eq!(counts(&world), "0/3/0");
    agents_obey(&mut world);
    assert_eq!(counts(&world), "3/0/0");
    let refused = world.does(UpdateService { desired_count: Some(1), ..update() }).unwrap_err();
    assert!(matches!(refused, Refusal::Invalid { field: "desiredCount", .. }));
}

#[test]
fn a_service_is_deleted_when_it_wants_nothing_or_by_force() {
    let mut world = world();
    world.must(create(2));
    agents_obey(world.looks());
    let delete = |force| DeleteService { key: key(), force };
    let refused = world.does(delete(Force::No)).unwrap_err();
    assert_eq!(refused, Refusal::ServiceWantsTasks(key()));
    world.must(delete(Force::Yes));
    world.looks();
    assert_eq!((counts(&world), service(&world).status), ("0/0/2".into(), ServiceStatus::Draining));
    let refused = world.does(update()).unwrap_err();
    assert_eq!(refused, Refusal::ServiceNotActive(key()));
    agents_obey(&mut world);
    assert_eq!(service(&world).status, ServiceStatus::Inactive);
    world.must(create(1));
    assert_eq!(service(&world).status, ServiceStatus::Active, "the name is free again");
}

#[test]
fn the_same_create_again_is_the_same_service_and_another_one_is_refused() {
    let mut world = world();
    world.must(create(2));
    world.looks();
    let before = service(&world).clone();
    world.must(create(2));
    world.looks();
    assert_eq!(*service(&world), before);
    let refused = world.does(create(3)).unwrap_err();
    assert_eq!(refused, Refusal::ServiceExists(key()));
}

#[test]
fn a_cluster_with_a_service_is_not_deleted() {
    let mut world = World::new();
    world.must(definition("web", 1, 1));
    world.must(create(0));
    let refused = world.does(DeleteCluster { cluster: cluster() }).unwrap_err();
    assert_eq!(refused, Refusal::ClusterContainsServices { cluster: cluster(), services: 1 });
}

#[test]
fn start_task_places_on_the_named_nodes_or_says_why_not() {
    let mut world = world();
    world.node("small", 4096, 50);
    let nodes = ["n2", "small", "n2", "nowhere"].map(node_arn).to_vec();
    let crate::command::Reply::Ran(ran) = world.must(StartTask {
        cluster: cluster(),
        definition: newest(),
        nodes,
        overrides: None,
        group: None,
        started_by: None,
        tags: vec![],
        propagate_tags: crate::command::PropagateTags::None,
    }) else {
        panic!()
    };
    assert!(ran.tasks.iter().all(|task| task.node == node_arn("n2")));
    assert_eq!(ran.tasks.len(), 2);
    let reasons: Vec<_> = ran.failures.iter().map(|failure| failure.reason).collect();
    assert_eq!(reasons, [PlacementReason::Memory, PlacementReason::Missing]);
}
