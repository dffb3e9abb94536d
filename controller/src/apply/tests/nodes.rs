//! Nodes: registration, sessions, draining, loss.

use loadline_model::{DesiredStatus, Resources, StopCode, TaskStatus};

use super::super::STOPPED_KEPT_MS;
use super::super::testing::{World, cluster, connect, definition, node_arn, register, run};
use crate::command::{
    DeregisterNode, NodeConnected, NodeDisconnected, NodeTasks, PlacementReason, Refusal,
    RegisterInstance, Reply, SetNodeStatus, Tick,
};
use crate::state::{NodeAttribute, NodeEntry, NodeStatus, SessionId};
use crate::store::Table;

fn world() -> World {
    let mut world = World::new();
    world.node("n1", 1024, 1000);
    world.must(definition("web", 100, 300));
    world
}

fn node<'a>(world: &'a World, id: &str) -> &'a NodeEntry {
    world.state.view.node(&node_arn(id)).unwrap()
}

fn deregister(tasks: NodeTasks) -> DeregisterNode {
    DeregisterNode { cluster: cluster(), node: node_arn("n1"), tasks }
}

#[test]
fn registering_twice_is_no_change_and_with_other_resources_moves_the_line() {
    let mut world = world();
    let before = node(&world, "n1").clone();
    world.must(register("n1", 1024, 1000));
    assert_eq!(*node(&world, "n1"), before);
    world.run(run("web", 3));
    world.must(register("n1", 1024, 500));
    assert_eq!(node(&world, "n1").left().memory_mib, 0, "a line lowered below what is reserved");
    assert_eq!(node(&world, "n1").record.version, 2);
    let failures = world.run(run("web", 1)).failures;
    assert_eq!(failures[0].reason, PlacementReason::Memory);
}

#[test]
fn an_attribute_twice_is_refused() {
    let attribute = |value: &str| NodeAttribute { name: "a".into(), value: Some(value.into()) };
    let mut twice = register("n9", 1, 1);
    twice.attributes = vec![attribute("1"), attribute("2")];
    let refused = world().does(twice).unwrap_err();
    assert_eq!(refused.to_string(), "attributes: a is there twice");
}

#[test]
fn a_session_is_replaced_by_its_own_process_only() {
    let mut world = world();
    let refused = world.does(connect("n1", "other")).unwrap_err();
    assert_eq!(refused, Refusal::SessionAlive(node_arn("n1")));
    let Reply::Connected(second) = world.must(connect("n1", "run")) else { panic!() };
    let old = SessionId(second.session.0 - 1);
    world.must(NodeDisconnected { node: node_arn("n1"), session: old });
    assert!(node(&world, "n1").agent_connected(), "the end of an old session is no news");
    world.must(NodeDisconnected { node: node_arn("n1"), session: second.session });
    world.must(connect("n1", "other"));
}

#[test]
fn a_node_that_was_never_registered_or_was_removed_has_no_session() {
    let mut world = world();
    let refused = world.does(connect("n2", "run")).unwrap_err();
    assert_eq!(refused, Refusal::NotRegistered(node_arn("n2")));
    world.must(deregister(NodeTasks::Keep));
    let refused = world.does(connect("n1", "run")).unwrap_err();
    assert_eq!(refused, Refusal::NodeRemoved(node_arn("n1")));
    let refused = world.does(register("n1", 1, 1)).unwrap_err();
    assert_eq!(refused, Refusal::NodeRemoved(node_arn("n1")));
}

#[test]
fn a_generation_that_the_node_is_ahead_of_jumps_over_it() {
    let mut world = world();
    let ahead = NodeConnected { generation: 41, ..connect("n1", "run") };
    let Reply::Connected(connected) = world.must(ahead) else { panic!() };
    assert_eq!((connected.generation, node(&world, "n1").generation), (42, 42));
    world.run(run("web", 1));
    assert_eq!(node(&world, "n1").generation, 43);
}

#[test]
fn a_draining_node_keeps_its_tasks_and_takes_no_new_ones() {
    let mut world = world();
    world.run(run("web", 1));
    let set = |status| SetNodeStatus { cluster: cluster(), node: node_arn("n1"), status };
    world.must(set(NodeStatus::Draining));
    let ran = world.run(run("web", 1));
    assert!(ran.tasks.is_empty());
    assert_eq!(ran.failures[0].to_string(), "INACTIVE: the container instance is DRAINING");
    assert_eq!(node(&world, "n1").tasks.size(), 1);
    world.must(set(NodeStatus::Active));
    assert_eq!(world.run(run("web", 1)).tasks.len(), 1);
    assert!(world.does(set(NodeStatus::Inactive)).is_err());
}

#[test]
fn a_node_with_tasks_is_removed_only_by_force() {
    let mut world = world();
    let arn = world.run(run("web", 1)).tasks[0].arn.clone();
    let refused = world.does(deregister(NodeTasks::Keep)).unwrap_err();
    assert_eq!(refused, Refusal::NodeHasTasks { node: node_arn("n1"), tasks: 1 });
    world.must(deregister(NodeTasks::GiveUp));
    let task = world.task(&arn);
    assert_eq!((task.last_status, task.held), (TaskStatus::Stopped, false));
    assert_eq!(node(&world, "n1").reserved, Resources::ZERO);
    assert_eq!(world.state.view.cluster(&cluster()).unwrap().nodes, 0);
    let refused = world.does(deregister(NodeTasks::GiveUp)).unwrap_err();
    assert_eq!(refused, Refusal::NodeNotFound(node_arn("n1")));
}

#[test]
fn a_lost_nodes_tasks_are_given_up_and_a_node_that_returns_is_told_to_stop_them() {
    let mut world = world();
    let arn = world.run(run("web", 1)).tasks[0].arn.clone();
    world.says(&arn, 1, TaskStatus::Running);
    let n1 = || vec![node_arn("n1")];
    world.must(Tick { silent: n1(), lost: n1(), given_up: vec![] });
    assert_eq!(world.task(&arn).last_status, TaskStatus::Running, "it may come back");
    assert_eq!(world.run(run("web", 1)).failures[0].reason, PlacementReason::Agent);
    let generation = node(&world, "n1").generation;
    for _ in 0..2 {
        world.must(Tick { silent: vec![], lost: n1(), given_up: n1() });
        let task = world.task(&arn);
        assert_eq!(task.last_status, TaskStatus::Stopped);
        assert_eq!(task.stop_code, Some(StopCode::InfrastructureHealth));
        assert!(task.held, "the node may still run it");
        assert_eq!(node(&world, "n1").generation, generation + 1, "twice is no change");
    }
    world.must(connect("n1", "run2"));
    assert_eq!(node(&world, "n1").record.lost_at_ms, None);
    assert_eq!(node(&world, "n1").left().memory_mib, 700, "held until the node says otherwise");
    let (_, desired) = world.state.view.desired_state(&node_arn("n1")).unwrap();
    assert_eq!(desired.len(), 1);
    assert_eq!(desired[0].desired, DesiredStatus::Stopped);
    world.says(&arn, 2, TaskStatus::Stopped);
    let task = world.task(&arn);
    assert_eq!(task.stop_code, Some(StopCode::InfrastructureHealth), "the verdict stands");
    assert_eq!(task.containers[0].exit_code, Some(7), "what the node knows is taken");
    assert_eq!(node(&world, "n1").left().memory_mib, 1000);
}

#[test]
fn a_node_that_comes_and_goes_takes_no_tasks_for_a_while() {
    let mut world = world();
    for loss in 1..=3 {
        let lost = || vec![node_arn("n1")];
        world.must(Tick { silent: lost(), lost: lost(), given_up: vec![] });
        world.must(connect("n1", "run"));
        world.now_ms += 60_000;
        let placed = world.run(run("web", 1));
        assert_eq!(placed.tasks.len(), usize::from(loss < 3), "after {loss} losses");
        if loss == 3 {
            assert_eq!(placed.failures[0].reason, PlacementReason::Agent);
            assert!(placed.failures[0].detail.contains("lost 3 times"), "{:?}", placed.failures);
        }
    }
    world.now_ms += crate::liveness::QUARANTINE_MS;
    world.must(Tick::default());
    assert_eq!(world.run(run("web", 1)).tasks.len(), 1, "then it is trusted again");
}

#[test]
fn stopped_tasks_and_client_tokens_are_kept_for_their_time_and_then_forgotten() {
    let mut world = world();
    let call = crate::command::RunTask { client_token: Some("t".into()), ..run("web", 2) };
    let tasks = world.run(call).tasks;
    world.says(&tasks[0].arn, 1, TaskStatus::Stopped);
    world.now_ms += STOPPED_KEPT_MS - 1;
    world.must(Tick::default());
    assert_eq!(world.state.view.tasks.size(), 2);
    world.now_ms += 1;
    let Reply::Ticked(ticked) = world.must(Tick::default()) else { panic!() };
    assert_eq!((ticked.tasks_expired, world.state.view.tasks.size()), (1, 1));
    assert_eq!(world.state.view.run_tokens.size(), 1);
    world.now_ms += 24 * 60 * 60 * 1000;
    world.must(Tick::default());
    assert_eq!(world.state.view.run_tokens.size(), 0);
    assert_eq!(world.task(&tasks[1].arn).last_status, TaskStatus::Pending, "a live one stays");
}

#[test]
fn a_removed_node_is_forgotten_once_no_certificate_of_it_can_be_valid() {
    let mut world = world();
    world.must(deregister(NodeTasks::Keep));
    world.now_ms += 31 * 24 * 3_600_000 - 1;
    world.must(Tick::default());
    assert_eq!(node(&world, "n1").record.status, NodeStatus::Inactive);
    world.now_ms += 1;
    world.must(Tick::default());
    assert!(world.state.view.node(&node_arn("n1")).is_none());
    let left = |table| world.disk.keys().filter(|(of, _)| *of == table).count();
    assert_eq!((left(Table::Nodes), left(Table::Generations)), (0, 0), "nor on disk");
}

#[test]
fn an_instance_that_a_caller_registers_has_no_agent_and_takes_no_tasks() {
    let mut world = World::new();
    world.must(definition("web", 100, 300));
    let register_it = RegisterInstance {
        cluster: cluster(),
        node: None,
        resources: Resources { cpu_units: 2048, memory_mib: 4096 },
        attributes: vec![NodeAttribute { name: "disk".into(), value: Some("ssd".into()) }],
        agent_version: "1.0".into(),
        ec2_instance_id: Some("i-1".into()),
        tags: None,
    };
    let Reply::Registered(made) = world.must(register_it.clone()) else { panic!() };
    let arn = made.node.arn.clone();
    let failures = world.run(run("web", 1)).failures;
    assert_eq!(failures[0].reason, PlacementReason::Agent);
    let again = RegisterInstance { node: Some(arn.clone()), ..register_it.clone() };
    world.must(again.clone());
    let record = |world: &World| world.state.view.node(&arn).unwrap().record.clone();
    assert_eq!(record(&world).version, 1, "the same again is no change");
    let smaller = Resources { cpu_units: 1024, memory_mib: 1024 };
    world.must(RegisterInstance { resources: smaller, ..again });
    assert_eq!((record(&world).registered, record(&world).version), (smaller, 2));
    world.node("n1", 1024, 1000);
    let stolen = RegisterInstance { node: Some(node_arn("n1")), ..register_it };
    let refused = world.does(stolen).unwrap_err();
    assert!(matches!(refused, Refusal::Invalid { field: "containerInstanceArn", .. }), "{refused}");
}
