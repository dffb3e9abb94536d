//! Failures, nodes that go, daemons, and a service's end.

use loadline_model::{ContainerName, DesiredStatus, TaskStatus};

use super::{
    agents_obey, counts, create, fail, key, last_event, limits, newest, service, tasks, update,
    world,
};
use crate::apply::testing::{World, cluster, definition, node_arn, run};
use crate::command::{
    CreateService, DeleteCluster, DeleteService, Deploy, Force, NodeDisconnected, PlacementReason,
    Refusal, SetNodeStatus, StartTask, StopServiceDeployment, Tick, UpdateService,
};
use crate::state::{
    Breaker, BreakerReset, ContainerOverride, DeploymentConfig, NodeStatus, Rollout, Scheduling,
    ServiceStatus, TaskOverrides, Threshold, UndoCause,
};

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
    assert!(told("deployment failed: tasks failed to start. The newest failure: Task failed"));
    let why = &seen.deployments[1].rollout_reason;
    assert!(why.contains("tasks failed to start. The newest failure: Task failed"), "{why}");
    assert!(told(&format!("rolling back to (deployment {}).", first.id)));
    agents_obey(&mut world);
    agents_obey(&mut world);
    assert_eq!(counts(&world), "2/0/0");
    assert!(tasks(&world).iter().all(|task| task.definition.revision == 1));
    assert!(service(&world).steady);
}

#[test]
fn what_a_rollback_undid_stays_told_when_there_is_another_one() {
    let mut world = world();
    let config = DeploymentConfig {
        breaker: Breaker::RollBack,
        threshold: Threshold::Count(1),
        ..limits(100, 200)
    };
    world.must(CreateService { config, ..create(2) });
    agents_obey(world.looks());
    let first = service(&world).primary().revision_id.clone();
    for _ in 0..2 {
        world.must(UpdateService { deploy: Deploy::Force, ..update() });
        world.looks();
        let young = tasks(&world).into_iter().find(|t| t.last_status == TaskStatus::Pending);
        fail(&mut world, &young.unwrap().arn);
        agents_obey(&mut world);
        agents_obey(&mut world);
    }
    let seen = service(&world);
    assert_eq!(seen.primary().revision_id, first);
    let undone: Vec<_> = seen.deployments[1..].iter().map(|d| d.undo.clone().unwrap()).collect();
    assert_eq!(undone.len(), 2);
    for undo in undone {
        assert_eq!((undo.cause, undo.rollout), (UndoCause::Breaker, Rollout::Completed));
        assert_eq!(undo.revision_id, first);
        assert!(undo.until_ms.is_some());
    }
}

#[test]
fn what_is_told_of_a_failure_is_the_containers_own_reason_and_is_bounded() {
    let mut world = world();
    world.must(create(1));
    world.looks();
    for _ in 0..3 {
        let task = tasks(&world)[0].clone();
        let mut report = crate::apply::testing::report(&task.arn, 9, TaskStatus::Stopped);
        report.containers[0].reason =
            Some(format!("CannotPullContainerError: {}", "ü".repeat(999)));
        world.must(crate::command::TaskReports { node: task.node.clone(), reports: vec![report] });
        world.looks();
    }
    let event = last_event(&world);
    assert!(event.contains("CannotPullContainerError: üü"), "{event}");
    assert!(event.ends_with("ü…") && event.chars().count() < 500, "{event}");
}

#[test]
fn the_count_of_failures_goes_on_where_a_healthy_task_does_not_end_it() {
    for (reset, failed) in [(BreakerReset::OnHealthyTask, 0), (BreakerReset::Never, 1)] {
        let mut world = world();
        let config = DeploymentConfig { breaker: Breaker::Fail, reset, ..limits(100, 200) };
        world.must(CreateService { config, ..create(2) });
        world.looks();
        let one = tasks(&world)[0].arn.clone();
        fail(&mut world, &one);
        assert_eq!(service(&world).primary().failed_tasks, 1);
        agents_obey(&mut world);
        assert_eq!(service(&world).primary().failed_tasks, failed);
    }
}

#[test]
fn a_deployment_is_stopped_and_the_last_completed_one_comes_back() {
    let mut world = world();
    world.must(create(2));
    agents_obey(world.looks());
    let first = service(&world).primary().clone();
    let stop = |world: &World| StopServiceDeployment {
        key: key(),
        revision_id: service(world).primary().revision_id.clone(),
    };
    let over = stop(&world);
    let refused = world.does(over).unwrap_err();
    assert_eq!(refused, Refusal::DeploymentOver(first.revision_id.clone()));
    let unknown = StopServiceDeployment { key: key(), revision_id: "x".into() };
    assert_eq!(world.does(unknown).unwrap_err(), Refusal::DeploymentNotFound("x".into()));
    world.must(definition("web", 100, 100));
    world.must(UpdateService { definition: Some(newest()), ..update() });
    world.looks();
    assert_eq!(counts(&world), "2/2/0");
    let stopped = stop(&world);
    world.must(stopped.clone());
    world.looks();
    assert_eq!(service(&world).primary().id, first.id);
    agents_obey(&mut world);
    assert_eq!(counts(&world), "2/0/0");
    assert!(tasks(&world).iter().all(|task| task.definition.revision == 1));
    let undone = &service(&world).deployments[1];
    assert_eq!(undone.rollout, Rollout::Failed);
    let undo = undone.undo.as_ref().unwrap();
    assert_eq!((undo.cause, undo.rollout), (UndoCause::Request, Rollout::Completed));
    assert!(matches!(world.does(stopped).unwrap_err(), Refusal::DeploymentOver(_)));
}

#[test]
fn a_first_deployment_can_not_be_undone() {
    let mut world = world();
    world.must(create(2));
    world.looks();
    let revision_id = service(&world).primary().revision_id.clone();
    let stop = StopServiceDeployment { key: key(), revision_id: revision_id.clone() };
    assert_eq!(world.does(stop).unwrap_err(), Refusal::NothingToRollBackTo(revision_id));
    assert_eq!(service(&world).primary().rollout, Rollout::InProgress);
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
    let told = "is unable to consistently start tasks successfully. The newest failure: Task";
    assert!(last_event(&world).contains(told), "{}", last_event(&world));
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
    let of_cluster = |world: &World| {
        let entry = world.state.view.cluster(&cluster()).unwrap();
        (entry.services, entry.draining_services)
    };
    assert_eq!(of_cluster(&world), (1, 1));
    let refused = world.does(update()).unwrap_err();
    assert_eq!(refused, Refusal::ServiceNotActive(key()));
    agents_obey(&mut world);
    assert_eq!(service(&world).status, ServiceStatus::Inactive);
    assert_eq!(of_cluster(&world), (0, 0));
    world.must(create(1));
    assert_eq!(service(&world).status, ServiceStatus::Active, "the name is free again");
}

#[test]
fn the_same_create_of_another_caller_is_the_same_service_and_still_the_first_ones() {
    let mut world = world();
    world.must(CreateService { by: Some("a".into()), ..create(2) });
    world.must(CreateService { by: Some("b".into()), ..create(2) });
    assert_eq!(service(&world).created_by.as_deref(), Some("a"));
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

fn start(nodes: &[&str]) -> StartTask {
    StartTask {
        cluster: cluster(),
        definition: newest(),
        nodes: nodes.iter().map(|node| node_arn(node)).collect(),
        overrides: None,
        group: None,
        started_by: None,
        execute_command: false,
        tags: vec![],
        propagate_tags: crate::command::PropagateTags::None,
    }
}

#[test]
fn start_task_starts_nothing_on_a_node_that_would_ignore_what_the_task_asks_for() {
    const ISOLATES: &str = "loadline.capability.disable-networking";
    let mut world = World::new();
    world.node("old", 4096, 4096).node_with("new", ISOLATES, "");
    let mut isolated = definition("web", 100, 100);
    isolated.body.containers[0].network.disabled = true;
    isolated.body.require();
    world.must(isolated);
    let mut starts = |overrides: Option<TaskOverrides>| {
        let reply = world.must(StartTask { overrides, ..start(&["old", "new"]) });
        let crate::command::Reply::Ran(ran) = reply else { panic!() };
        let failed = ran.failures.iter().map(|failure| (failure.node.clone(), failure.reason));
        let started: Vec<_> = ran.tasks.iter().map(|task| task.node.clone()).collect();
        (started, failed.collect::<Vec<_>>())
    };
    let lacks = |node: &str| (Some(node_arn(node)), PlacementReason::Attribute);
    assert_eq!(starts(None), (vec![node_arn("new")], vec![lacks("old")]));
    let files = ContainerOverride {
        name: ContainerName::parse("main").unwrap(),
        command: None,
        environment: vec![],
        environment_files: vec!["arn:aws:s3:::bucket/app.env".to_owned()],
        cpu_units: None,
        memory_mib: None,
        memory_reservation_mib: None,
    };
    let files = TaskOverrides { containers: vec![files], ..TaskOverrides::default() };
    assert_eq!(starts(Some(files)), (vec![], vec![lacks("old"), lacks("new")]));
}

#[test]
fn start_task_places_on_the_named_nodes_or_says_why_not() {
    let mut world = world();
    world.node("small", 4096, 50);
    let crate::command::Reply::Ran(ran) = world.must(start(&["n2", "small", "n2", "nowhere"]))
    else {
        panic!()
    };
    assert!(ran.tasks.iter().all(|task| task.node == node_arn("n2")));
    assert_eq!(ran.tasks.len(), 2);
    let reasons: Vec<_> = ran.failures.iter().map(|failure| failure.reason).collect();
    assert_eq!(reasons, [PlacementReason::Memory, PlacementReason::Missing]);
}

#[test]
fn why_a_service_names_a_node_that_is_away_once() {
    let mut world = World::new();
    world.must(definition("web", 100, 100));
    world.node("n1", 4096, 4096);
    world.must(create(2));
    agents_obey(world.looks());
    let why = |world: &World| {
        let view = &world.state.view;
        let service = view.service(&key()).unwrap();
        crate::seeing::why::of_service(view, service, world.now_ms, &|_| None)
    };
    let seen = why(&world);
    assert_eq!((&*seen.summary, seen.reasons), ("2 of 2 tasks run: it is steady", vec![]));
    let node = node_arn("n1");
    let session = world.state.view.node(&node).unwrap().connection.clone().unwrap().session;
    world.must(NodeDisconnected { node: node.clone(), session });
    let seen = why(&world);
    assert_eq!(seen.summary, "2 of 2 tasks run: it was steady when all were heard");
    let [only] = &seen.reasons[..] else { panic!("{seen:?}") };
    assert_eq!((only.word.as_str(), only.node.as_ref()), ("AGENT", Some(&node)));
    assert!(only.detail.contains("is not connected"), "{only:?}");
}

#[test]
fn why_a_service_waits_between_launches_names_the_last_failure() {
    let mut world = world();
    world.must(create(1));
    world.looks();
    let mut last = String::new();
    for _ in 0..3 {
        let task = tasks(&world)[0].arn.clone();
        last = task.id().to_owned();
        fail(&mut world, &task);
    }
    let view = &world.state.view;
    let service = view.service(&key()).unwrap();
    let why = crate::seeing::why::of_service(view, service, world.now_ms, &|_| None);
    let details: Vec<_> = why.reasons.iter().map(|reason| reason.detail.as_str()).collect();
    let told = format!("the last one, {last}: Task failed to start");
    assert!(details[0].contains(&told), "{details:?}");
    // Between two failures nothing is throttled, and it is told all the same.
    let (service, later) = (view.service(&key()).unwrap(), world.now_ms + 3_600_000);
    let why = crate::seeing::why::of_service(view, service, later, &|_| None);
    let first = &why.reasons[0];
    assert_eq!(first.word, "TaskFailedToStart", "{why:?}");
    let told = format!("the last task that failed, {last}: Task failed to start");
    assert_eq!(first.detail, told);
}
