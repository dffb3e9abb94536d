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
        let need = (request.need.memory_mib, request.need.cpu_units);
        for node in rooms.most_first(need) {
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
