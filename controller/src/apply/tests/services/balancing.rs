//! A service's tasks move to where there are too few of them.

use std::collections::BTreeMap;

use super::{agents_obey, counts, create, key, limits, service, tasks, update, world};
use crate::apply::testing::{World, cluster, connect, definition, node_arn, register, run};
use crate::command::{
    CreateService, NodeDisconnected, ProtectTasks, Protection, Refusal, RegisterNode, RunTask,
    SetNodeStatus, UpdateService,
};
use crate::state::{
    AZ_ATTRIBUTE, BinpackField, NodeAttribute, NodeStatus, PlacementStrategy, Rebalancing,
    Scheduling, SessionId,
};

fn spread(field: &str) -> Vec<PlacementStrategy> {
    vec![PlacementStrategy::Spread(field.to_owned())]
}

fn balanced(desired_count: u32) -> CreateService {
    CreateService { rebalancing: Rebalancing::Enabled, ..create(desired_count) }
}

fn zoned(world: &mut World, id: &str, zone: &str) {
    world.node_with(id, AZ_ATTRIBUTE, zone);
}

/// How many of the service's tasks each node has: `n1:2 n2:2`.
fn places(world: &World) -> String {
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for task in tasks(world) {
        *counts.entry(task.node.id().to_owned()).or_default() += 1;
    }
    let shown: Vec<_> = counts.iter().map(|(node, count)| format!("{node}:{count}")).collect();
    shown.join(" ")
}

/// Lets the agents obey and time pass until the service is at rest; the most and the fewest tasks
/// that ran on the way.
fn rest(world: &mut World) -> (usize, usize) {
    let (mut most, mut least) = (0, usize::MAX);
    for _ in 0..40 {
        agents_obey(world);
        world.now_ms += 20_000;
        world.looks();
        let there = tasks(world).len();
        most = most.max(there);
        let running = tasks(world).iter().filter(|t| t.last_status.as_str() == "RUNNING").count();
        least = least.min(running);
    }
    (most, least)
}

fn told(world: &World, what: &str) -> bool {
    service(world).events.iter().any(|event| event.message.contains(what))
}

#[test]
fn tasks_move_to_a_node_that_joins_and_none_is_stopped_before_its_successor_is_well() {
    let mut world = World::new();
    world.must(definition("web", 100, 100));
    world.node("n1", 4096, 4096);
    world.must(CreateService { strategy: spread("instanceId"), ..balanced(6) });
    rest(&mut world);
    assert_eq!(places(&world), "n1:6");
    world.node("n2", 4096, 4096);
    world.looks();
    let (most, least) = rest(&mut world);
    assert_eq!(places(&world), "n1:3 n2:3");
    assert_eq!((most, least), (7, 6), "one more at a time, and never fewer than wanted");
    assert!(told(&world, "is not balanced over instanceId with 6 tasks in n1, 0 tasks in n2."));
    assert!(service(&world).steady);
    let before = service(&world).clone();
    rest(&mut world);
    assert_eq!(*service(&world), before, "what is even is left alone");
}

#[test]
fn an_attribute_is_counted_from_the_first_service_that_spreads_over_it() {
    let mut world = World::new();
    world.must(definition("web", 100, 100));
    for (id, rack) in [("n1", "a"), ("n2", "a"), ("n3", "b"), ("n4", "b")] {
        world.node_with(id, "rack", rack);
    }
    let other = RunTask { group: Some("service:web".into()), ..run("web", 2) };
    world.run(other);
    assert!(!world.state.ledger.counts_by(&cluster(), "rack"));
    world.must(CreateService { strategy: spread("attribute:rack"), ..create(2) });
    assert!(world.state.ledger.counts_by(&cluster(), "rack"));
    rest(&mut world);
    let crowd = |world: &World, rack: &str| {
        let crowd = world.state.ledger.group(&cluster(), "service:web").unwrap();
        let at = crowd.at("rack", &Some(rack.to_owned()));
        (at.tasks, at.takers)
    };
    assert_eq!([crowd(&world, "a").0, crowd(&world, "b").0], [2, 2]);
    world.node_with("n4", "rack", "a");
    let (a, b) = (crowd(&world, "a"), crowd(&world, "b"));
    assert_eq!((a.0 + b.0, a.1 + b.1), (4, 4), "what a node takes along is counted there");
    assert!(2 < a.0 && b.0 < 2);
}

#[test]
fn a_service_that_says_nothing_spreads_over_zones_and_moves_to_one_that_joins() {
    let mut world = World::new();
    world.must(definition("web", 100, 100));
    zoned(&mut world, "a1", "a");
    zoned(&mut world, "b1", "b");
    // Twice as much room, and yet no more tasks.
    world.must(RegisterNode {
        attributes: vec![NodeAttribute { name: AZ_ATTRIBUTE.into(), value: Some("a".into()) }],
        ..register("a2", 8192, 8192)
    });
    world.must(connect("a2", "run"));
    world.must(balanced(6));
    rest(&mut world);
    let zone = |world: &World, zone: &str| {
        tasks(world).iter().filter(|task| task.node.id().starts_with(zone)).count()
    };
    assert_eq!((zone(&world, "a"), zone(&world, "b")), (3, 3));
    zoned(&mut world, "c1", "c");
    world.looks();
    rest(&mut world);
    assert_eq!((zone(&world, "a"), zone(&world, "b"), zone(&world, "c")), (2, 2, 2));
    assert!(told(&world, "is not AZ balanced with 3 tasks in a, 3 tasks in b, 0 tasks in c."));
}

#[test]
fn after_a_zone_went_its_tasks_come_back_when_it_does() {
    let mut world = World::new();
    world.must(definition("web", 100, 100));
    zoned(&mut world, "a1", "a");
    zoned(&mut world, "b1", "b");
    world.must(balanced(4));
    rest(&mut world);
    assert_eq!(places(&world), "a1:2 b1:2");
    let status = |status| SetNodeStatus { cluster: cluster(), node: node_arn("b1"), status };
    world.must(status(NodeStatus::Draining));
    world.looks();
    rest(&mut world);
    assert_eq!(places(&world), "a1:4");
    world.must(status(NodeStatus::Active));
    world.looks();
    rest(&mut world);
    assert_eq!(places(&world), "a1:2 b1:2");
}

#[test]
fn without_rebalancing_or_with_protected_tasks_nothing_moves() {
    let mut world = World::new();
    world.must(definition("web", 100, 100));
    world.node("n1", 4096, 4096);
    world.must(CreateService { strategy: spread("instanceId"), ..create(4) });
    rest(&mut world);
    world.node("n2", 4096, 4096);
    world.looks();
    rest(&mut world);
    assert_eq!(places(&world), "n1:4");
    let arns = tasks(&world).iter().map(|task| task.arn.clone()).collect();
    let protection = Protection::ForMinutes(60);
    world.must(ProtectTasks { cluster: cluster(), tasks: arns, protection });
    world.must(UpdateService { rebalancing: Some(Rebalancing::Enabled), ..update() });
    world.looks();
    rest(&mut world);
    assert_eq!(places(&world), "n1:4", "protected");
    world.now_ms += 3_600_000;
    world.looks();
    rest(&mut world);
    assert_eq!(places(&world), "n1:2 n2:2", "no longer protected");
}

#[test]
fn a_place_without_room_is_tried_again_later() {
    let mut world = World::new();
    world.must(definition("web", 100, 100));
    world.node("n1", 4096, 4096);
    world.must(CreateService { strategy: spread("instanceId"), ..balanced(4) });
    rest(&mut world);
    world.node("n2", 4096, 4096);
    let session = world.state.view.node(&node_arn("n2")).unwrap().connection.as_ref();
    let session: SessionId = session.unwrap().session;
    world.must(NodeDisconnected { node: node_arn("n2"), session });
    world.looks();
    rest(&mut world);
    assert_eq!(places(&world), "n1:4");
    world.must(connect("n2", "run"));
    world.looks();
    rest(&mut world);
    assert_eq!(places(&world), "n1:2 n2:2");
}

#[test]
fn a_move_that_fails_costs_no_task_and_is_tried_again() {
    let mut world = World::new();
    world.must(definition("web", 100, 100));
    world.node("n1", 4096, 4096);
    world.must(CreateService { strategy: spread("instanceId"), ..balanced(2) });
    rest(&mut world);
    world.node("n2", 4096, 4096);
    world.looks();
    assert_eq!(counts(&world), "2/1/0");
    let moved = tasks(&world).into_iter().find(|task| task.node.id() == "n2").unwrap();
    super::fail(&mut world, &moved.arn);
    assert_eq!(service(&world).moving, 1, "and again at once");
    assert_eq!(counts(&world), "2/1/0");
    rest(&mut world);
    assert_eq!(places(&world), "n1:1 n2:1");
}

#[test]
fn a_service_that_could_not_move_its_tasks_is_refused() {
    let mut world = world();
    let refused = |world: &mut World, create: CreateService| {
        let refused = world.does(create).unwrap_err();
        assert!(
            matches!(refused, Refusal::Invalid { field: "availabilityZoneRebalancing", .. }),
            "{refused}"
        );
    };
    let full = CreateService { config: limits(50, 100), ..balanced(2) };
    refused(&mut world, full.clone());
    let strategy = vec![PlacementStrategy::Binpack(BinpackField::Memory)];
    refused(&mut world, CreateService { strategy, ..balanced(2) });
    let daemon = CreateService { scheduling: Scheduling::Daemon, ..balanced(0) };
    refused(&mut world, daemon);
    world.must(CreateService { rebalancing: Rebalancing::Disabled, ..full });
    let enable = UpdateService { rebalancing: Some(Rebalancing::Enabled), ..update() };
    assert!(world.does(enable.clone()).is_err());
    world.must(UpdateService { config: Some(limits(50, 200)), ..enable });
    assert_eq!(world.state.view.service(&key()).unwrap().record.rebalancing, Rebalancing::Enabled);
}
