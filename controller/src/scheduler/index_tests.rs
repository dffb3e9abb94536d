//! The ways that ask the ledger's indexes give what looking at every node gives.

use std::collections::BTreeMap;

use loadline_model::Resources;
use proptest::prelude::*;

use super::{Placer, Request, ask};
use crate::apply::testing::{World, cluster, connect, definition, node_arn, register, run};
use crate::command::{RegisterNode, RunTask, SetNodeStatus};
use crate::state::{AZ_ATTRIBUTE, BinpackField, NodeAttribute, NodeStatus, PlacementStrategy};

const NODES: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];
/// How many [`strategy`] knows.
const STRATEGIES: usize = 6;

fn strategy(n: usize) -> Vec<PlacementStrategy> {
    let zone = format!("attribute:{AZ_ATTRIBUTE}");
    let fields: &[&str] = match n % STRATEGIES {
        0 => &["instanceId"],
        1 => &["host"],
        2 => &[&zone],
        3 => &[&zone, "instanceId"],
        4 => return vec![PlacementStrategy::Binpack(BinpackField::Memory)],
        _ => return vec![PlacementStrategy::Binpack(BinpackField::Cpu)],
    };
    fields.iter().map(|field| PlacementStrategy::Spread((*field).to_owned())).collect()
}

/// A node of one of nine sizes, in one of two zones or in none, joins or comes back.
fn node(world: &mut World, id: &str, n: u32) {
    let value = (!n.is_multiple_of(3)).then(|| (n % 3).to_string());
    let zone = value.map(|value| NodeAttribute { name: AZ_ATTRIBUTE.into(), value: Some(value) });
    let attributes = zone.into_iter().collect();
    let (cpu_units, memory_mib) = (40 + 10 * u64::from(n % 3), 400 + 100 * u64::from(n / 3 % 3));
    world.must(RegisterNode { attributes, ..register(id, cpu_units, memory_mib) });
    world.must(connect(id, "run"));
}

/// Something that happens to the cluster; what is refused is no change.
fn happen(world: &mut World, (what, which, n): (u8, usize, u32)) {
    let id = NODES[which % NODES.len()];
    match what {
        0..=4 => {
            let strategy = if n.is_multiple_of(3) { vec![] } else { strategy(which) };
            let group = Some(format!("g{}", which % 2));
            let _ = world.does(RunTask { group, strategy, ..run("web", 1 + n % 4) });
        }
        5 => {
            let tasks = &world.state.view.tasks;
            let task = tasks.values().nth(which % tasks.size().max(1));
            if let Some(task) = task.map(|task| task.arn.clone()) {
                world.says(&task, 9, loadline_model::TaskStatus::Stopped);
            }
        }
        6 => {
            let status = [NodeStatus::Active, NodeStatus::Draining][n as usize % 2];
            let (cluster, node) = (cluster(), node_arn(id));
            let _ = world.does(SetNodeStatus { cluster, node, status });
        }
        _ => node(world, id, n),
    }
}

fn world() -> World {
    let mut world = World::new();
    world.must(definition("web", 10, 100));
    for (n, id) in (0..).zip(NODES) {
        node(&mut world, id, n);
    }
    world
}

/// The nodes of eight tasks, by the indexes and by looking at every node.
fn chosen(world: &World, strategy: &[PlacementStrategy]) -> (Vec<String>, Vec<String>) {
    let cluster = cluster();
    let need = Resources { cpu_units: 10, memory_mib: 100 };
    let request = Request::new(&cluster, need, "g0", std::iter::empty(), strategy);
    let eight = |mut placer: Placer<'_>| {
        let next = |_| placer.next(0).map_or_else(|_| "-".to_owned(), |node| node.id().to_owned());
        (0..8).map(next).collect()
    };
    (eight(Placer::new(&world.state, &request, 1)), eight(Placer::plain(&world.state, &request)))
}

/// Draws eight nodes: each takes the task, and none is found only where none would take it.
fn draws(world: &World, seed: u64) {
    let (cluster, strategy) = (cluster(), [PlacementStrategy::Random]);
    let need = Resources { cpu_units: 10, memory_mib: 100 };
    let request = Request::new(&cluster, need, "g0", std::iter::empty(), &strategy);
    let mut placer = Placer::new(&world.state, &request, 1);
    for n in 0..8 {
        let before = placer.tentative().clone();
        let takes = |id: &&str| {
            let asked = ask(&world.state, &before, &request, &node_arn(id));
            asked.is_some_and(|asked| asked.is_ok())
        };
        let open: Vec<_> = NODES.into_iter().filter(takes).collect();
        match placer.next(seed.wrapping_mul(n)) {
            Ok(node) => assert!(open.contains(&node.id()), "{node} is not of {open:?}"),
            Err(why) => assert!(open.is_empty(), "{open:?} would take it: {why:?}"),
        }
    }
}

proptest! {
    #[test]
    fn it_gives_the_nodes_that_looking_at_every_one_gives(
        events in prop::collection::vec((0..8_u8, 0..100_usize, 0..100_u32), 0..60),
        seed: u64,
    ) {
        let mut world = world();
        for event in events {
            happen(&mut world, event);
            for n in 0..STRATEGIES {
                let (indexed, plain) = chosen(&world, &strategy(n));
                prop_assert_eq!(indexed, plain, "{}", n);
            }
            draws(&world, seed);
        }
    }
}

#[test]
fn each_node_that_takes_the_task_is_drawn_as_often_as_any_other() {
    let mut world = world();
    let status = NodeStatus::Draining;
    world.must(SetNodeStatus { cluster: cluster(), node: node_arn("c"), status });
    let (cluster, strategy) = (cluster(), [PlacementStrategy::Random]);
    let need = Resources { cpu_units: 10, memory_mib: 100 };
    let request = Request::new(&cluster, need, "g0", std::iter::empty(), &strategy);
    let mut counts = BTreeMap::new();
    for seed in 0..6_000 {
        let drawn = Placer::new(&world.state, &request, 1).next(seed * 7_919).unwrap();
        *counts.entry(drawn.id().to_owned()).or_insert(0) += 1;
    }
    assert_eq!(counts.len(), 6, "{counts:?}");
    assert!(counts.values().all(|count| (900..1_100).contains(count)), "{counts:?}");
}
