//! Task definitions, RunTask, StopTask and the reports that move a task along.

use loadline_model::{
    ContainerName, DesiredStatus, KeyValue, Resources, StopCode, TaskReport, TaskStatus,
};

use super::super::STOPPED_KEPT_MS;
use super::super::testing::{World, cluster, container, definition, node_arn, report, run};
use crate::command::{
    DefinitionRef, DeleteCluster, DeleteTaskDefinition, DeregisterTaskDefinition, PlacementReason,
    PropagateTags, Refusal, RegisterTaskDefinition, Reply, RunTask, StopTask, TaskReports, Tick,
};
use crate::state::{ContainerOverride, DefinitionKey, DefinitionStatus, Family, TaskOverrides};

fn world() -> World {
    let mut world = World::new();
    world.node("n1", 1024, 1000);
    world.must(definition("web", 100, 300));
    world
}

#[test]
fn revisions_count_up_and_are_never_used_again() {
    let mut world = world();
    let revision = |reply| match reply {
        Reply::Definition(definition) => definition.revision,
        other => panic!("{other:?}"),
    };
    assert_eq!(revision(world.must(definition("web", 1, 1))), 2);
    let family = Family::parse("web").unwrap();
    for revision in [1, 2, 2] {
        world.must(DeregisterTaskDefinition { family: family.clone(), revision });
    }
    assert!(world.state.view.latest_active(&family).is_none());
    assert_eq!(world.state.view.families().collect::<Vec<_>>(), [(&family, false)]);
    let refused = world.does(run("web", 1)).unwrap_err();
    let newest = DefinitionRef { family: family.clone(), revision: None };
    assert_eq!(refused, Refusal::DefinitionNotFound(newest));
    let second = DefinitionRef { family, revision: Some(2) };
    let by_number = RunTask { definition: second.clone(), ..run("web", 1) };
    assert_eq!(world.does(by_number).unwrap_err(), Refusal::DefinitionInactive(second));
    assert_eq!(revision(world.must(definition("web", 1, 1))), 3);
}

#[test]
fn what_fits_is_placed_and_what_does_not_says_why_for_each_node() {
    let mut world = world();
    world.node("n2", 150, 2000);
    let ran = world.run(run("web", 10));
    assert_eq!(ran.tasks.len(), 4, "three by memory on n1, one by CPU on n2");
    let mut why: Vec<_> = ran.failures.iter().map(|f| (f.node.clone(), f.to_string())).collect();
    why.sort();
    assert_eq!(
        why,
        [
            (Some(node_arn("n1")), "RESOURCE:MEMORY: 300 MiB asked for, 100 left".into()),
            (Some(node_arn("n2")), "RESOURCE:CPU: 100 CPU units asked for, 50 left".into()),
        ]
    );
    let left = world.state.view.node(&node_arn("n1")).unwrap().left();
    assert_eq!(left, Resources { cpu_units: 724, memory_mib: 100 });
}

#[test]
fn without_a_strategy_the_node_with_the_most_memory_left_is_taken() {
    let mut world = world();
    world.node("n2", 1024, 1100);
    let ran = world.run(run("web", 4));
    let nodes: Vec<_> = ran.tasks.iter().map(|task| task.node.id().to_owned()).collect();
    assert_eq!(nodes, ["n2", "n1", "n2", "n1"]);
}

#[test]
fn a_cluster_without_container_instances_runs_nothing() {
    let mut world = World::new();
    world.must(definition("web", 1, 1));
    let refused = world.does(run("web", 1)).unwrap_err();
    assert_eq!(refused, Refusal::NoContainerInstances(cluster()));
}

#[test]
fn counts_outside_one_to_ten_are_refused() {
    let mut world = world();
    for count in [0, 11] {
        let refused = world.does(run("web", count)).unwrap_err();
        assert!(matches!(refused, Refusal::Invalid { field: "count", .. }), "{refused}");
    }
}

#[test]
fn a_repeated_client_token_gives_the_same_tasks_and_another_call_a_conflict() {
    let mut world = world();
    let call = RunTask { client_token: Some("t".into()), ..run("web", 2) };
    let first = world.run(call.clone());
    assert_eq!(world.run(call.clone()), first);
    assert_eq!(world.state.view.tasks.size(), 2);
    let refused = world.does(RunTask { count: 1, ..call.clone() }).unwrap_err();
    let arns: Vec<_> = first.tasks.iter().map(|task| task.arn.clone()).collect();
    assert_eq!(refused, Refusal::ClientTokenConflict { token: "t".into(), tasks: arns });
    let full = RunTask { client_token: Some("u".into()), ..run("web", 2) };
    assert_eq!(world.run(full.clone()).tasks.len(), 1);
    let nothing = RunTask { client_token: Some("v".into()), ..run("web", 2) };
    assert!(world.run(nothing.clone()).tasks.is_empty());
    world.says(&first.tasks[0].arn, 1, TaskStatus::Stopped);
    assert_eq!(world.run(nothing).tasks.len(), 1, "a call that placed nothing may be tried again");
    assert_eq!(world.run(full).tasks.len(), 1, "one that placed something may not");
}

#[test]
fn overrides_change_the_work_and_the_reservation() {
    let mut world = world();
    let pair = |name: &str, value: &str| KeyValue { name: name.into(), value: value.into() };
    let over = ContainerOverride {
        name: ContainerName::parse("main").unwrap(),
        command: Some(vec!["sleep".into()]),
        environment: vec![pair("A", "1")],
        environment_files: vec![],
        cpu_units: Some(10),
        memory_mib: Some(20),
        memory_reservation_mib: None,
    };
    let overrides = TaskOverrides { containers: vec![over.clone()], ..TaskOverrides::default() };
    let ran = world.run(RunTask { overrides: Some(overrides), ..run("web", 1) });
    let task = &ran.tasks[0];
    assert_eq!(task.reserved, Resources { cpu_units: 10, memory_mib: 20 });
    let work = world.state.view.assignment(task).unwrap().task;
    assert_eq!(work.containers[0].command, Some(vec!["sleep".to_owned()]));
    assert_eq!(work.containers[0].environment, [pair("A", "1")]);
    assert_eq!(work.reservation(), task.reserved);

    let refused = |world: &mut World, overrides: TaskOverrides| {
        let refused = world.does(RunTask { overrides: Some(overrides), ..run("web", 1) });
        refused.unwrap_err().to_string()
    };
    let mut stranger = over.clone();
    stranger.name = ContainerName::parse("other").unwrap();
    let containers = vec![stranger];
    let said = refused(&mut world, TaskOverrides { containers, ..TaskOverrides::default() });
    assert_eq!(said, "overrides: container other is not in the task definition");
    let small = TaskOverrides { memory_mib: Some(10), ..TaskOverrides::default() };
    let said = refused(&mut world, small);
    assert_eq!(said, "overrides: container main: memory 300 is above the task's 10");
}

#[test]
fn tags_propagate_from_the_definition_below_those_of_the_call() {
    let mut world = world();
    let pair = |name: &str, value: &str| KeyValue { name: name.into(), value: value.into() };
    let mut tagged = definition("web", 1, 1);
    tagged.body.tags = vec![pair("a", "definition"), pair("b", "definition")];
    world.must(RegisterTaskDefinition { ..tagged });
    let call = RunTask { tags: vec![pair("a", "call")], ..run("web", 1) };
    assert_eq!(world.run(call.clone()).tasks[0].tags, [pair("a", "call")]);
    let call = RunTask { propagate_tags: PropagateTags::TaskDefinition, ..call };
    assert_eq!(world.run(call).tasks[0].tags, [pair("a", "call"), pair("b", "definition")]);
}

#[test]
fn a_task_goes_forward_by_newer_reports_only() {
    let mut world = world();
    let arn = world.run(run("web", 1)).tasks[0].arn.clone();
    world.says(&arn, 3, TaskStatus::Running);
    world.now_ms += 5;
    let seen = world.task(&arn).clone();
    assert_eq!((seen.last_status, seen.started_at_ms), (TaskStatus::Running, Some(1_000_000)));
    world.says(&arn, 3, TaskStatus::Stopped);
    world.says(&arn, 2, TaskStatus::Stopped);
    assert_eq!(*world.task(&arn), seen, "an older or equal version is no news");
    world.says(&arn, 4, TaskStatus::Pending);
    assert_eq!(world.task(&arn).last_status, TaskStatus::Running, "never backwards");
    world.says(&arn, 5, TaskStatus::Stopped);
    let seen = world.task(&arn);
    assert_eq!(seen.stop_code, Some(StopCode::EssentialContainerExited));
    assert_eq!(seen.stopped_reason.as_deref(), Some("Essential container in task exited"));
    assert_eq!((seen.desired, seen.held), (DesiredStatus::Stopped, false));
    assert_eq!(seen.containers[0].exit_code, Some(7));
    assert_eq!(world.state.view.node(&node_arn("n1")).unwrap().reserved, Resources::ZERO);
}

#[test]
fn the_times_of_the_pull_are_the_nodes_and_stay_where_a_report_leaves_them_out() {
    let mut world = world();
    let arn = world.run(run("web", 1)).tasks[0].arn.clone();
    let mut says = |report: TaskReport| {
        world.must(TaskReports { node: node_arn("n1"), reports: vec![report] });
        let seen = world.task(&arn);
        (seen.pull_started_at_ms, seen.pull_stopped_at_ms)
    };
    let pulling = report(&arn, 1, TaskStatus::Pending);
    assert_eq!(says(TaskReport { pull_started_at_ms: Some(7), ..pulling }), (Some(7), None));
    let pulled = report(&arn, 2, TaskStatus::Running);
    assert_eq!(says(TaskReport { pull_stopped_at_ms: Some(9), ..pulled }), (Some(7), Some(9)));
    assert_eq!(says(report(&arn, 3, TaskStatus::Stopped)), (Some(7), Some(9)));
}

#[test]
fn a_task_that_never_started_says_so_in_its_agents_words_or_in_ecs_s() {
    let mut world = world();
    let ran = world.run(run("web", 2));
    let silent =
        TaskReport { containers: vec![], ..report(&ran.tasks[0].arn, 1, TaskStatus::Stopped) };
    let refusal = "RESOURCE:MEMORY: 300 MiB asked for, 1 left";
    let refusing = TaskReport {
        containers: vec![],
        stop_code: Some(StopCode::TaskFailedToStart),
        stopped_reason: Some(refusal.into()),
        ..report(&ran.tasks[1].arn, 1, TaskStatus::Stopped)
    };
    world.must(TaskReports { node: node_arn("n1"), reports: vec![silent, refusing] });
    for (task, reason) in ran.tasks.iter().zip(["Task failed to start", refusal]) {
        let seen = world.task(&task.arn);
        assert_eq!(seen.stop_code, Some(StopCode::TaskFailedToStart));
        assert_eq!(seen.stopped_reason.as_deref(), Some(reason));
    }
}

#[test]
fn a_stop_is_told_once_and_keeps_its_reason_and_its_reservation_until_the_node_says_so() {
    let mut world = world();
    let arn = world.run(run("web", 1)).tasks[0].arn.clone();
    world.says(&arn, 1, TaskStatus::Running);
    let stop = |reason: Option<&str>| StopTask {
        cluster: cluster(),
        task: arn.clone(),
        reason: reason.map(str::to_owned),
    };
    let generation = |world: &World| world.state.view.node(&node_arn("n1")).unwrap().generation;
    let before = generation(&world);
    world.must(stop(Some("enough")));
    assert_eq!(generation(&world), before + 1);
    let seen = world.task(&arn).clone();
    assert_eq!((seen.desired, seen.held), (DesiredStatus::Stopped, true));
    world.must(stop(None));
    assert_eq!((world.task(&arn), generation(&world)), (&seen, before + 1), "twice is no change");
    let (_, desired) = world.state.view.desired_state(&node_arn("n1")).unwrap();
    assert_eq!(desired[0].stop_reason.as_deref(), Some("enough"));
    world.says(&arn, 2, TaskStatus::Stopped);
    let seen = world.task(&arn);
    assert_eq!(seen.stop_code, Some(StopCode::UserInitiated));
    assert_eq!(seen.stopped_reason.as_deref(), Some("enough"));
    assert!(world.state.view.desired_state(&node_arn("n1")).unwrap().1.is_empty());
    assert_eq!(generation(&world), before + 2);
}

#[test]
fn a_node_speaks_only_for_its_own_tasks() {
    let mut world = world();
    let arn = world.run(run("web", 1)).tasks[0].arn.clone();
    world.node("n2", 1, 1);
    let unknown = world.state.view.scope.task_arn(&cluster(), "unknown").unwrap();
    let reports = vec![
        report(&arn, 9, TaskStatus::Stopped),
        report(&unknown, 4, TaskStatus::Running),
        report(&unknown, 5, TaskStatus::Running),
    ];
    let reply = world.must(TaskReports { node: node_arn("n2"), reports });
    let Reply::Acks(acks) = reply else { panic!("{reply:?}") };
    assert_eq!((acks.foreign, acks.acks), (vec![arn.clone()], vec![(unknown, 5)]));
    assert_eq!(world.task(&arn).last_status, TaskStatus::Pending);
}

#[test]
fn a_cluster_with_nodes_or_tasks_is_not_deleted() {
    let mut world = world();
    let refused = world.does(DeleteCluster { cluster: cluster() }).unwrap_err();
    assert_eq!(refused, Refusal::ClusterContainsNodes { cluster: cluster(), nodes: 1 });
}

#[test]
fn a_node_whose_agent_is_away_takes_nothing_and_says_agent() {
    let mut world = world();
    world.must(super::super::testing::register("n2", 1, 1));
    let session = world.state.view.node(&node_arn("n1")).unwrap().connection.clone().unwrap();
    world.must(crate::command::NodeDisconnected { node: node_arn("n1"), session: session.session });
    let ran = world.run(run("web", 1));
    let reasons: Vec<_> = ran.failures.iter().map(|failure| failure.reason).collect();
    assert_eq!(reasons, [PlacementReason::Agent, PlacementReason::Agent]);
}

#[test]
fn several_containers_reserve_their_sum() {
    let mut world = world();
    let mut two = definition("two", 1, 1);
    two.body.containers = vec![container("a", 100, 200), container("b", 50, 300)];
    world.must(two);
    let ran = world.run(run("two", 3));
    assert_eq!(ran.tasks.len(), 2);
    assert_eq!(ran.tasks[0].reserved, Resources { cpu_units: 150, memory_mib: 500 });
    assert_eq!(ran.tasks[0].containers.len(), 2);
}

#[test]
fn a_deleted_revision_goes_when_its_last_task_is_forgotten() {
    let mut world = World::new();
    world.must(definition("web", 100, 100));
    world.node("n1", 4096, 4096);
    let key = DefinitionKey { family: Family::parse("web").unwrap(), revision: 1 };
    let delete = DeleteTaskDefinition { definition: key.clone() };
    let refused = world.does(delete.clone()).unwrap_err();
    assert_eq!(refused, Refusal::DefinitionActive(key.clone()));
    let task = world.run(run("web", 1)).tasks[0].arn.clone();
    world.must(DeregisterTaskDefinition { family: key.family.clone(), revision: 1 });
    world.must(delete.clone());
    world.must(delete);
    let there = |world: &World| world.state.view.definition(&key.family, 1).cloned();
    assert_eq!(there(&world).unwrap().status, DefinitionStatus::DeleteInProgress);
    assert!(world.does(run("web", 1)).is_err());
    world.must(Tick::default());
    assert!(there(&world).is_some(), "a task runs of it");
    world.says(&task, 5, TaskStatus::Stopped);
    world.must(Tick::default());
    assert!(there(&world).is_some(), "its stopped task is still shown");
    world.now_ms += STOPPED_KEPT_MS + 1;
    world.must(Tick::default());
    world.must(Tick::default());
    assert!(there(&world).is_none());
    assert_eq!(world.state.view.families().count(), 0);
    assert!(!world.disk.keys().any(|(table, _)| *table == crate::store::Table::Definitions));
    let Reply::Definition(next) = world.must(definition("web", 1, 1)) else { panic!() };
    assert_eq!(next.revision, 2, "a number is not given out again");
}
