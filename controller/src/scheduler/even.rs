//! Spreading a few tasks by the ledger's counts: over nodes, over an attribute that it counts by,
//! or over such an attribute and then over nodes. It gives the same node as looking at every one
//! ([`super::strategy`]) would, and looks only at those with the most room, until one is found that
//! nothing can be better than.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use loadline_model::InstanceArn;

use super::filter::Candidate;
use super::place::{Request, Tentative};
use crate::state::{ClusterName, Crowd, Floor, PlacementStrategy, Rooms, State};

/// Most tasks that are spread so: more than ECS allows in one call, less than a service starts at
/// once, for which looking at every node once costs less.
const COUNT_MAX: u32 = 16;

/// What the tasks of one request are spread over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Over<'a> {
    /// First over the values of this attribute.
    attribute: Option<&'a str>,
    /// Then over nodes.
    nodes: bool,
}

/// Chooses nodes for the tasks of one request.
#[derive(Debug)]
pub(super) struct Even<'a> {
    state: &'a State,
    request: &'a Request<'a>,
    over: Over<'a>,
    floor: &'a Floor,
    crowd: Option<&'a Crowd>,
}

/// Less is better: tasks at the node's value, a missing value last; tasks on the node; the most
/// room; the ARN.
type Rank = (u64, u32, Reverse<(u64, u64)>, InstanceArn);

impl<'a> Even<'a> {
    /// `None` where the counts do not say enough, or `count` is too large.
    pub(super) fn new(state: &'a State, request: &'a Request<'a>, count: u32) -> Option<Self> {
        let only = spreads(request.strategy).count() == request.strategy.len();
        let over = over(state, request.cluster, request.strategy);
        let over = over.filter(|_| only && count <= COUNT_MAX)?;
        let floor = state.ledger.floor(request.cluster)?;
        let crowd = state.ledger.group(request.cluster, request.group);
        Some(Self { state, request, over, floor, crowd })
    }

    /// The best node, after what was placed before.
    pub(super) fn choose(&self, tentative: &Tentative) -> Option<InstanceArn> {
        let look = Look { even: self, tentative, placed: self.placed(tentative) };
        let used = tentative.nodes().filter_map(|node| look.rank(node));
        used.chain(look.fresh()).min().map(|(.., node)| node)
    }

    /// What the same command placed at each value.
    fn placed(&self, tentative: &Tentative) -> BTreeMap<Option<String>, u64> {
        let mut placed = BTreeMap::new();
        if let Some(attribute) = self.over.attribute {
            for node in tentative.nodes() {
                let tasks = u64::from(tentative.tasks(node));
                *placed.entry(self.value(attribute, node)).or_default() += tasks;
            }
        }
        placed
    }

    fn value(&self, attribute: &str, node: &InstanceArn) -> Option<String> {
        let entry = self.state.view.node(node)?;
        entry.record.attribute(attribute).map(ToOwned::to_owned)
    }
}

/// One task's look.
struct Look<'l, 'a> {
    even: &'l Even<'a>,
    tentative: &'l Tentative,
    placed: BTreeMap<Option<String>, u64>,
}

impl Look<'_, '_> {
    /// How good a node is, if it takes the task.
    fn rank(&self, node: &InstanceArn) -> Option<Rank> {
        let Even { state, request, over, crowd, .. } = self.even;
        let node = state.view.node(node)?;
        let candidate = Candidate { state, tentative: self.tentative, node, request };
        if node.record.cluster != *request.cluster || candidate.check().is_err() {
            return None;
        }
        let arn = &node.record.arn;
        let at = over.attribute.map(|name| (name, node.record.attribute(name)));
        let at = at.map_or(0, |(name, value)| self.at(name, &value.map(ToOwned::to_owned)));
        let on = crowd.map_or(0, |crowd| crowd.on(arn)) + self.tentative.tasks(arn);
        let left = candidate.left();
        let room = Reverse((left.memory_mib, left.cpu_units));
        Some((at, if over.nodes { on } else { 0 }, room, arn.clone()))
    }

    /// Tasks at a value of the attribute.
    fn at(&self, attribute: &str, value: &Option<String>) -> u64 {
        if value.is_none() {
            return u64::MAX;
        }
        let before = self.even.crowd.map_or(0, |crowd| crowd.at(attribute, value).tasks);
        before + self.placed.get(value).copied().unwrap_or(0)
    }

    /// The best of the nodes on which the same command has placed nothing.
    fn fresh(&self) -> Option<Rank> {
        let Even { over, floor, crowd, .. } = self.even;
        let Some(attribute) = over.attribute else {
            let takers = crowd.map_or(0, |crowd| crowd.takers());
            return self.best_of(floor.all(), takers);
        };
        let values = floor.by(attribute).map(|(value, rooms)| {
            let takers = crowd.map_or(0, |crowd| crowd.at(attribute, value).takers);
            (self.at(attribute, value), takers, rooms)
        });
        let mut values: Vec<_> = values.collect();
        values.sort_by_key(|(tasks, ..)| *tasks);
        values.chunk_by(|(one, ..), (other, ..)| one == other).find_map(|alike| {
            alike.iter().filter_map(|(_, takers, rooms)| self.best_of(rooms, *takers)).min()
        })
    }

    /// The best of some nodes that are alike but for their own tasks and room; `having` of them
    /// have tasks of the group.
    fn best_of(&self, rooms: &Rooms, having: usize) -> Option<Rank> {
        let Even { request, over, crowd, .. } = self.even;
        let on = |node: &InstanceArn| match crowd {
            Some(crowd) if over.nodes => crowd.on(node),
            _ => 0,
        };
        let fewest = match crowd {
            Some(crowd) if over.nodes && rooms.count() <= having => crowd.extremes().0,
            _ => 0,
        };
        let mut best: Option<Rank> = None;
        for node in rooms.most_first(request.need.memory_mib) {
            // Of two with as many tasks, the one that came first has more room.
            let better = best.as_ref().is_none_or(|best| on(node) < best.1);
            if !better || 0 < self.tentative.tasks(node) {
                continue;
            }
            best = self.rank(node).or(best);
            if best.as_ref().is_some_and(|best| best.1 <= fewest) {
                break;
            }
        }
        best
    }
}

fn spreads(strategy: &[PlacementStrategy]) -> impl Iterator<Item = &str> {
    strategy.iter().filter_map(|strategy| match strategy {
        PlacementStrategy::Spread(field) => Some(field.as_str()),
        PlacementStrategy::Binpack(_) | PlacementStrategy::Random => None,
    })
}

fn over<'a>(
    state: &State,
    cluster: &ClusterName,
    strategy: &'a [PlacementStrategy],
) -> Option<Over<'a>> {
    let fields: Vec<_> = spreads(strategy).map(|field| field.strip_prefix("attribute:")).collect();
    let over = match fields.as_slice() {
        [attribute] => Over { attribute: *attribute, nodes: attribute.is_none() },
        [Some(attribute), None] => Over { attribute: Some(attribute), nodes: true },
        _ => return None,
    };
    over.attribute.is_none_or(|name| state.ledger.counts_by(cluster, name)).then_some(over)
}

/// Whether no task of a group could be better spread, by the counts alone. `false` where they do
/// not say enough.
#[must_use]
pub fn is_even(
    state: &State,
    cluster: &ClusterName,
    group: &str,
    strategy: &[PlacementStrategy],
) -> bool {
    let Some(over) = over(state, cluster, strategy) else { return false };
    let floor = state.ledger.floor(cluster);
    let (Some(floor), Some(crowd)) = (floor, state.ledger.group(cluster, group)) else {
        return false;
    };
    let values = over.attribute.is_none_or(|attribute| {
        let there = floor.by(attribute).filter(|(value, _)| value.is_some());
        let fewest = there.map(|(value, _)| crowd.at(attribute, value).tasks).min();
        fewest.is_none_or(|fewest| crowd.most_at(attribute) <= fewest + 1)
    });
    let (fewest, most) = crowd.extremes();
    let fewest = if crowd.takers() < floor.all().count() { 0 } else { fewest };
    values && (!over.nodes || most <= fewest + 1)
}

#[cfg(test)]
mod tests {
    use loadline_model::Resources;
    use proptest::prelude::*;

    use super::super::Placer;
    use super::*;
    use crate::apply::testing::{World, cluster, connect, definition, node_arn, register, run};
    use crate::command::{RegisterNode, RunTask, SetNodeStatus};
    use crate::state::{AZ_ATTRIBUTE, NodeAttribute, NodeStatus};

    const NODES: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];

    fn strategy(n: usize) -> Vec<PlacementStrategy> {
        let zone = format!("attribute:{AZ_ATTRIBUTE}");
        let fields: &[&str] = match n % 4 {
            0 => &["instanceId"],
            1 => &["host"],
            2 => &[&zone],
            _ => &[&zone, "instanceId"],
        };
        fields.iter().map(|field| PlacementStrategy::Spread((*field).to_owned())).collect()
    }

    /// A node of one of three sizes, in one of two zones or in none, joins or comes back.
    fn node(world: &mut World, id: &str, n: u32) {
        let value = (!n.is_multiple_of(3)).then(|| (n % 3).to_string());
        let zone =
            value.map(|value| NodeAttribute { name: AZ_ATTRIBUTE.into(), value: Some(value) });
        let attributes = zone.into_iter().collect();
        let memory_mib = 400 + 100 * u64::from(n / 3 % 3);
        world.must(RegisterNode { attributes, ..register(id, 1000, memory_mib) });
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

    fn chosen(world: &World, group: &str, n: usize, count: u32) -> Vec<String> {
        let (cluster, strategy) = (cluster(), strategy(n));
        let need = Resources { cpu_units: 10, memory_mib: 100 };
        let none = std::iter::empty();
        let request = Request::new(&cluster, need, group, none, &strategy);
        let mut placer = Placer::new(&world.state, &request, count);
        let next = |_| placer.next(0).map_or_else(|_| "-".to_owned(), |node| node.id().to_owned());
        (0..8).map(next).collect()
    }

    proptest! {
        #[test]
        fn it_gives_the_nodes_that_looking_at_every_one_gives(
            events in prop::collection::vec((0..8_u8, 0..100_usize, 0..100_u32), 0..60),
        ) {
            let mut world = World::new();
            world.must(definition("web", 10, 100));
            for (n, id) in (0..).zip(NODES) {
                node(&mut world, id, n);
            }
            for event in events {
                happen(&mut world, event);
                for n in 0..4 {
                    let fast = chosen(&world, "g0", n, 1);
                    prop_assert_eq!(fast, chosen(&world, "g0", n, COUNT_MAX + 1), "{}", n);
                }
            }
        }
    }
}
