//! How many tasks of a group there are, node by node and at each value of what is spread over;
//! and the nodes that take tasks, by what they have left. Placement reads both, so that it need not
//! look at every node.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use loadline_model::InstanceArn;

/// What is left below a line: memory in MiB first, then CPU units; or the other way round.
pub(super) type RoomKey = (u64, u64);
/// A node's value of each attribute that is spread over in its cluster.
pub(super) type Values = BTreeMap<String, Option<String>>;

/// Nodes that take tasks, by what they have left.
#[derive(Clone, Debug, Default)]
pub struct Rooms {
    nodes: BTreeMap<RoomKey, BTreeSet<InstanceArn>>,
    count: usize,
}

impl Rooms {
    fn insert(&mut self, key: RoomKey, node: &InstanceArn) {
        self.count += usize::from(self.nodes.entry(key).or_default().insert(node.clone()));
    }

    fn remove(&mut self, key: RoomKey, node: &InstanceArn) {
        let Some(nodes) = self.nodes.get_mut(&key) else { return };
        self.count -= usize::from(nodes.remove(node));
        if nodes.is_empty() {
            self.nodes.remove(&key);
        }
    }

    /// How many nodes.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Those with this much left or more, those with the least first.
    pub fn least_first(&self, need: RoomKey) -> impl DoubleEndedIterator<Item = &InstanceArn> {
        self.enough(need).flat_map(|(_, nodes)| nodes)
    }

    /// The same, those with the most first, and equal ones by their ARNs.
    pub fn most_first(&self, need: RoomKey) -> impl Iterator<Item = &InstanceArn> {
        self.enough(need).rev().flat_map(|(_, nodes)| nodes)
    }

    /// The same, those with the least of the first first, of these those with the most of the
    /// second, and equal ones by their ARNs.
    pub fn tightest_first(&self, need: RoomKey) -> impl Iterator<Item = &InstanceArn> {
        let next = move |after: Option<u64>| {
            let least = after.map_or(Some(need.0), |after| after.checked_add(1))?;
            self.nodes.range((least, 0)..).next().map(|((first, _), _)| *first)
        };
        let levels = std::iter::successors(next(None), move |level| next(Some(*level)));
        levels.flat_map(move |level| {
            let level = self.nodes.range((level, need.1)..=(level, u64::MAX));
            level.rev().flat_map(|(_, nodes)| nodes)
        })
    }

    fn enough(
        &self,
        need: RoomKey,
    ) -> impl DoubleEndedIterator<Item = (&RoomKey, &BTreeSet<InstanceArn>)> {
        self.nodes.range((need.0, 0)..).filter(move |((_, second), _)| need.1 <= *second)
    }
}

/// Nodes in no order, of which any can be drawn.
#[derive(Clone, Debug, Default)]
struct Urn {
    nodes: Vec<InstanceArn>,
    places: HashMap<InstanceArn, usize>,
}

impl Urn {
    fn insert(&mut self, node: &InstanceArn) {
        if let Entry::Vacant(place) = self.places.entry(node.clone()) {
            place.insert(self.nodes.len());
            self.nodes.push(node.clone());
        }
    }

    fn remove(&mut self, node: &InstanceArn) {
        let Some(place) = self.places.remove(node) else { return };
        self.nodes.swap_remove(place);
        if let Some(moved) = self.nodes.get(place) {
            self.places.insert(moved.clone(), place);
        }
    }
}

/// The nodes of a cluster that take tasks: all of them, and by their values.
#[derive(Clone, Debug, Default)]
pub struct Floor {
    all: Rooms,
    by_cpu: Rooms,
    urn: Urn,
    by: BTreeMap<String, BTreeMap<Option<String>, Rooms>>,
}

impl Floor {
    /// A node has something else left (`None`: it takes no tasks).
    pub(super) fn moves(
        &mut self,
        node: &InstanceArn,
        (from, to): (Option<RoomKey>, Option<RoomKey>),
        values: &Values,
    ) {
        if let Some(key) = from {
            self.remove(key, node, values);
        }
        if let Some(key) = to {
            self.insert(key, node, values);
        }
        match (from, to) {
            (None, Some(_)) => self.urn.insert(node),
            (Some(_), None) => self.urn.remove(node),
            _ => {}
        }
    }

    fn insert(&mut self, key: RoomKey, node: &InstanceArn, values: &Values) {
        self.all.insert(key, node);
        self.by_cpu.insert((key.1, key.0), node);
        for (field, value) in values {
            self.insert_at(field, value, key, node);
        }
    }

    pub(super) fn insert_at(
        &mut self,
        field: &str,
        value: &Option<String>,
        key: RoomKey,
        node: &InstanceArn,
    ) {
        let by = match self.by.get_mut(field) {
            Some(by) => by,
            None => self.by.entry(field.to_owned()).or_default(),
        };
        match by.get_mut(value) {
            Some(rooms) => rooms.insert(key, node),
            None => by.entry(value.clone()).or_default().insert(key, node),
        }
    }

    fn remove(&mut self, key: RoomKey, node: &InstanceArn, values: &Values) {
        self.all.remove(key, node);
        self.by_cpu.remove((key.1, key.0), node);
        for (field, value) in values {
            let Some(by) = self.by.get_mut(field) else { continue };
            let Some(rooms) = by.get_mut(value) else { continue };
            rooms.remove(key, node);
            if rooms.count == 0 {
                by.remove(value);
            }
        }
    }

    /// Every one, by memory and then CPU.
    #[must_use]
    pub fn all(&self) -> &Rooms {
        &self.all
    }

    /// Every one, by CPU and then memory.
    #[must_use]
    pub fn by_cpu(&self) -> &Rooms {
        &self.by_cpu
    }

    /// Every one, in no order.
    #[must_use]
    pub fn urn(&self) -> &[InstanceArn] {
        &self.urn.nodes
    }

    /// By their values of an attribute; `None` are those that lack it.
    pub fn by(&self, field: &str) -> impl Iterator<Item = (&Option<String>, &Rooms)> {
        self.by.get(field).into_iter().flatten()
    }
}

/// Tasks of a group at one value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct At {
    /// How many.
    pub tasks: u64,
    /// How many of their nodes take tasks.
    pub takers: usize,
}

/// The live tasks of a group.
#[derive(Clone, Debug, Default)]
pub struct Crowd {
    nodes: BTreeMap<InstanceArn, u32>,
    /// How many nodes have so many.
    levels: BTreeMap<u32, usize>,
    takers: usize,
    by: BTreeMap<String, BTreeMap<Option<String>, At>>,
}

impl Crowd {
    /// One more on a node, `taking` or not; whether it is the first there.
    pub(super) fn add<'a>(
        &mut self,
        node: &InstanceArn,
        taking: bool,
        values: impl Iterator<Item = (&'a str, &'a Option<String>)>,
    ) -> bool {
        let count = match self.nodes.get_mut(node) {
            Some(count) => count,
            None => self.nodes.entry(node.clone()).or_default(),
        };
        let before = *count;
        *count += 1;
        self.level(before, before + 1);
        let first = before == 0;
        self.takers += usize::from(first && taking);
        for (field, value) in values {
            let at = self.at_mut(field, value);
            at.tasks += 1;
            at.takers += usize::from(first && taking);
        }
        first
    }

    /// One less on a node; whether it was the last there.
    pub(super) fn remove<'a>(
        &mut self,
        node: &InstanceArn,
        taking: bool,
        values: impl Iterator<Item = (&'a str, &'a Option<String>)>,
    ) -> bool {
        let Some(count) = self.nodes.get_mut(node) else { return false };
        *count -= 1;
        let after = *count;
        let last = after == 0;
        if last {
            self.nodes.remove(node);
        }
        self.level(after + 1, after);
        self.takers -= usize::from(last && taking);
        for (field, value) in values {
            self.shift(field, value, At { tasks: 1, takers: usize::from(last && taking) });
        }
        last
    }

    /// One of its nodes begins or ends to take tasks.
    pub(super) fn takes(&mut self, taking: bool, values: &Values) {
        if taking {
            self.takers += 1;
        } else {
            self.takers -= 1;
        }
        for (field, value) in values {
            if taking {
                self.at_mut(field, value).takers += 1;
            } else {
                self.shift(field, value, At { tasks: 0, takers: 1 });
            }
        }
    }

    /// A node's value changed, or is counted for the first time where there is no `old` one.
    pub(super) fn moved(
        &mut self,
        node: &InstanceArn,
        taking: bool,
        field: &str,
        old: Option<&Option<String>>,
        new: &Option<String>,
    ) {
        let at = At { tasks: self.on(node).into(), takers: usize::from(taking) };
        if let Some(old) = old {
            self.shift(field, old, at);
        }
        let there = self.at_mut(field, new);
        there.tasks += at.tasks;
        there.takers += at.takers;
    }

    fn level(&mut self, from: u32, to: u32) {
        if let Some(nodes) = self.levels.get_mut(&from) {
            *nodes -= 1;
            if *nodes == 0 {
                self.levels.remove(&from);
            }
        }
        if 0 < to {
            *self.levels.entry(to).or_default() += 1;
        }
    }

    fn at_mut(&mut self, field: &str, value: &Option<String>) -> &mut At {
        let by = self.by.entry(field.to_owned()).or_default();
        by.entry(value.clone()).or_default()
    }

    fn shift(&mut self, field: &str, value: &Option<String>, less: At) {
        let Some(by) = self.by.get_mut(field) else { return };
        let Some(at) = by.get_mut(value) else { return };
        at.tasks -= less.tasks;
        at.takers -= less.takers;
        if at.tasks == 0 {
            by.remove(value);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// How many each node has that has some.
    #[must_use]
    pub fn nodes(&self) -> &BTreeMap<InstanceArn, u32> {
        &self.nodes
    }

    /// How many a node has.
    #[must_use]
    pub fn on(&self, node: &InstanceArn) -> u32 {
        self.nodes.get(node).copied().unwrap_or(0)
    }

    /// How many of its nodes take tasks.
    #[must_use]
    pub fn takers(&self) -> usize {
        self.takers
    }

    /// The fewest and the most on one of its nodes.
    #[must_use]
    pub fn extremes(&self) -> (u32, u32) {
        let first = self.levels.first_key_value().map_or(0, |(level, _)| *level);
        let last = self.levels.last_key_value().map_or(0, |(level, _)| *level);
        (first, last)
    }

    /// What there is at a value of an attribute; `None` are nodes that lack it.
    #[must_use]
    pub fn at(&self, field: &str, value: &Option<String>) -> At {
        self.by.get(field).and_then(|by| by.get(value)).copied().unwrap_or_default()
    }

    /// The most at one value of an attribute.
    #[must_use]
    pub fn most_at(&self, field: &str) -> u64 {
        let values = self.by.get(field).into_iter().flatten();
        values.filter(|(value, _)| value.is_some()).map(|(_, at)| at.tasks).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_urn_holds_each_node_once_however_often_it_is_put_in() {
        let arn = |n| format!("arn:aws:ecs:r:1:container-instance/c/{n}");
        let nodes: Vec<_> = (0..3).map(|n| InstanceArn::parse(&arn(n)).unwrap()).collect();
        let mut urn = Urn::default();
        nodes.iter().chain(&nodes[..1]).for_each(|node| urn.insert(node));
        assert_eq!(urn.nodes, nodes);
        urn.remove(&nodes[0]);
        assert_eq!(urn.nodes, [nodes[2].clone(), nodes[1].clone()]);
        urn.remove(&nodes[1]);
        urn.remove(&nodes[2]);
        assert!(urn.nodes.is_empty() && urn.places.is_empty());
    }
}
