//! Claims about the query language and the strategies.

use super::query::{DEPTH_MAX, EXPRESSION_CHARS_MAX, Expression};
use crate::apply::testing::{World, definition, node_arn, run};
use crate::command::{PlacementReason, RunTask};
use crate::state::{BinpackField, PlacementConstraint, PlacementStrategy};

/// Three nodes: `a` and `b` in zone 1 and 2 with a type, `c` without attributes; `b` runs one task
/// of group `service:web`.
fn world() -> World {
    let mut world = World::new();
    world.must(definition("web", 100, 100));
    world.node_with("b", "zone", "2");
    world.run(RunTask { group: Some("service:web".into()), ..run("web", 1) });
    world.node_with("a", "zone", "1").node("c", 4096, 4096);
    let b = world.state.view.nodes.get(&node_arn("b")).unwrap().tasks.first().cloned().unwrap();
    world.says(&b, 1, loadline_model::TaskStatus::Running);
    world
}

#[track_caller]
fn check(world: &World, text: &str, expected: &str) {
    let expression = Expression::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let nodes = world.state.view.nodes.values();
    let selected = nodes.filter(|node| expression.selects(node, &world.state.view));
    let ids: Vec<_> = selected.map(|node| node.record.arn.id()).collect();
    assert_eq!(ids.join(" "), expected, "{text}");
}

#[test]
fn expressions_select_as_the_ecs_guide_says() {
    let world = world();
    for (text, expected) in [
        ("attribute:zone == 1", "a"),
        ("attribute:zone==1", "a"),
        ("attribute:zone equals '1'", "a"),
        ("attribute:zone != 1", "b c"),
        ("attribute:zone not_equals 1", "b c"),
        ("attribute:zone exists", "a b"),
        ("attribute:zone !exists", "c"),
        ("attribute:zone not_exists", "c"),
        ("attribute:zone in [1, 2]", "a b"),
        ("attribute:zone in ['2']", "b"),
        ("attribute:zone !in [1]", "b c"),
        ("attribute:zone not_in [1, \"2\"]", "c"),
        ("attribute:zone =~ [12]", "a b"),
        ("attribute:zone matches ^2$", "b"),
        ("attribute:zone !~ 1.*", "b c"),
        ("attribute:zone > 1", "b"),
        ("attribute:zone greater_than_equal 1", "a b"),
        ("attribute:zone <= 1", "a"),
        ("runningTasksCount == 1", "b"),
        ("runningTasksCount < 1", "a c"),
        ("task:group == service:web", "b"),
        ("not(task:group == service:web)", "a c"),
        ("!(task:group == service:web)", "a c"),
        ("agentConnected == true", "a b c"),
        ("agentVersion >= 1.2", "a b c"),
        ("agentVersion > 1.10.0", ""),
        ("agentVersion < 1.10.0", "a b c"),
        ("registeredAt < 2016-06-18", "a b c"),
        ("registeredAt > 2016-06-18T10:00:00Z", ""),
        ("ec2InstanceId exists", ""),
        ("attribute:zone == 1 or attribute:zone == 2 and runningTasksCount == 0", "a"),
        ("(attribute:zone == 1 || attribute:zone == 2) && runningTasksCount == 0", "a"),
        ("not attribute:zone exists", "c"),
    ] {
        check(&world, text, expected);
    }
}

#[test]
fn what_is_no_expression_is_refused_at_the_character_where_it_ends_to_be_one() {
    let deep = format!("{}agentConnected == true{}", "(".repeat(40), ")".repeat(40));
    let long = format!("attribute:a == {}", "x".repeat(EXPRESSION_CHARS_MAX));
    for (text, at) in [
        ("", 0),
        ("zone == 1", 0),
        ("attribute: == 1", 0),
        ("attribute:zone", 14),
        ("attribute:zone == ", 18),
        ("attribute:zone == 1 2", 20),
        ("(attribute:zone == 1", 20),
        ("attribute:zone in [1, ", 22),
        ("attribute:zone == 'x", 18),
        ("attribute:zone =~ '('", 21),
        ("attribute:zone =~ '(?=x)'", 25),
        ("registeredAt < yesterday", 24),
        (deep.as_str(), DEPTH_MAX),
        (long.as_str(), 0),
    ] {
        let error = Expression::parse(text).unwrap_err();
        assert_eq!(error.at, at, "{text}: {error}");
    }
}

fn with(strategy: Vec<PlacementStrategy>, constraints: Vec<PlacementConstraint>) -> RunTask {
    RunTask { strategy, constraints, group: Some("g".into()), ..run("web", 6) }
}

#[track_caller]
fn places(mut world: World, command: RunTask, expected: &str) {
    let ran = world.run(command);
    let ids: Vec<_> = ran.tasks.iter().map(|task| task.node.id()).collect();
    assert_eq!(ids.join(" "), expected);
}

#[test]
fn binpack_fills_the_fullest_node_first() {
    let mut world = World::new();
    world.must(definition("web", 100, 100));
    world.node("a", 1000, 1000).node("b", 1000, 250).node("c", 350, 1000);
    let pack = |field| with(vec![PlacementStrategy::Binpack(field)], vec![]);
    places(world.clone(), pack(BinpackField::Memory), "b b a a a a");
    places(world, pack(BinpackField::Cpu), "c c c a a a");
}

#[test]
fn spread_keeps_the_values_even_and_the_next_strategy_breaks_ties() {
    let mut world = World::new();
    world.must(definition("web", 100, 100));
    world.node_with("a1", "zone", "1").node_with("a2", "zone", "1").node_with("b", "zone", "2");
    let zone = PlacementStrategy::Spread("attribute:zone".into());
    let node = PlacementStrategy::Spread("instanceId".into());
    places(world.clone(), with(vec![node.clone()], vec![]), "a1 a2 b a1 a2 b");
    places(world.clone(), with(vec![zone.clone(), node], vec![]), "a1 b a2 b a1 b");
    places(world, with(vec![zone], vec![]), "a1 b a2 b a1 b");
}

#[test]
fn random_uses_every_node_in_the_end() {
    let mut world = World::new();
    world.must(definition("web", 1, 1));
    world.node("a", 1000, 1000).node("b", 1000, 1000).node("c", 1000, 1000);
    for _ in 0..20 {
        world.run(with(vec![PlacementStrategy::Random], vec![]));
    }
    assert!(world.state.view.nodes.values().all(|node| 10 < node.tasks.size()));
}

#[test]
fn constraints_bind_and_are_named_where_nothing_satisfies_them() {
    let mut world = world();
    let member = PlacementConstraint::MemberOf("attribute:zone in [1, 2]".into());
    let distinct = PlacementConstraint::DistinctInstance;
    let ran = world.run(with(vec![], vec![distinct, member]));
    let mut ids: Vec<_> = ran.tasks.iter().map(|task| task.node.id()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["a", "b"]);
    let why: Vec<_> = ran
        .failures
        .iter()
        .map(|failure| (failure.node.as_ref().unwrap().id(), failure.reason))
        .collect();
    assert_eq!(
        why,
        [
            ("a", PlacementReason::DistinctInstance),
            ("b", PlacementReason::DistinctInstance),
            ("c", PlacementReason::MemberOf),
        ]
    );
}
