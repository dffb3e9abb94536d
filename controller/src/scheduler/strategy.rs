//! Strategies: among the nodes that pass the filters, which one. Several are applied in their
//! order: the first leaves the nodes that it likes best, the next chooses among these.

use std::collections::HashMap;

use loadline_model::{InstanceArn, Resources};

use super::filter::Candidate;
use super::place::{Request, Tentative};
use crate::state::{BinpackField, Crowd, NodeEntry, PlacementStrategy, State};

/// The nodes that may take the tasks of one request, and how many tasks of its group there are at
/// each value that it spreads over.
#[derive(Debug)]
pub(super) struct Field<'a> {
    state: &'a State,
    request: &'a Request<'a>,
    /// By ARN.
    slots: Vec<Slot<'a>>,
    /// For each strategy, the tasks at each of its values; empty where it spreads nothing.
    counts: Vec<Vec<u64>>,
}

/// One node.
#[derive(Debug)]
struct Slot<'a> {
    node: &'a NodeEntry,
    left: Resources,
    /// For each strategy, which of its values the node has.
    values: Vec<Option<usize>>,
    /// Whether it would take the next task.
    open: bool,
}

impl<'a> Field<'a> {
    pub(super) fn new(state: &'a State, request: &'a Request<'a>) -> Self {
        let tentative = Tentative::default();
        let nodes = state.ledger.rooms(request.cluster, request.need);
        let mut nodes: Vec<_> = nodes.filter_map(|arn| state.view.node(arn)).collect();
        nodes.sort_unstable_by(|a, b| a.record.arn.cmp(&b.record.arn));
        let mut names: Vec<HashMap<String, usize>> = vec![HashMap::new(); request.strategy.len()];
        let mut slots = Vec::new();
        for node in nodes {
            let candidate = Candidate { state, tentative: &tentative, node, request };
            let values = values(request, node, &mut names);
            let (left, open) = (candidate.left(), candidate.check().is_ok());
            slots.push(Slot { node, left, values, open });
        }
        let counts = count(state, request, &mut names);
        Self { state, request, slots, counts }
    }

    /// The best node, which is then counted. `tentative` is what was placed before.
    pub(super) fn choose(&mut self, tentative: &Tentative, seed: u64) -> Option<InstanceArn> {
        let open = self.slots.iter().enumerate().filter(|(_, slot)| slot.open);
        let mut best: Vec<usize> = open.map(|(n, _)| n).collect();
        for (at, strategy) in self.request.strategy.iter().enumerate() {
            let rank = |n: &usize| self.rank(at, strategy, *n, seed);
            let least = best.iter().map(rank).min()?;
            best.retain(|n| rank(n) == least);
        }
        // What the strategies leave open is decided as without any: by the most memory left, then
        // CPU, then (so that the same state gives the same answer) the ARN.
        let room = |n: &usize| (self.slots[*n].left.memory_mib, self.slots[*n].left.cpu_units);
        let n = best.into_iter().rev().max_by_key(room)?;
        self.take(n, tentative);
        Some(self.slots[n].node.record.arn.clone())
    }

    /// Less is better. A node without the field to spread over comes last.
    fn rank(&self, at: usize, strategy: &PlacementStrategy, n: usize, seed: u64) -> u64 {
        let slot = &self.slots[n];
        match strategy {
            PlacementStrategy::Random => mix(seed, slot.node.record.arn.id()),
            PlacementStrategy::Binpack(BinpackField::Cpu) => slot.left.cpu_units,
            PlacementStrategy::Binpack(BinpackField::Memory) => slot.left.memory_mib,
            PlacementStrategy::Spread(_) => {
                slot.values[at].map_or(u64::MAX, |value| self.counts[at][value])
            }
        }
    }

    fn take(&mut self, n: usize, tentative: &Tentative) {
        let slot = &mut self.slots[n];
        for (at, value) in slot.values.iter().enumerate() {
            if let Some(value) = value {
                self.counts[at][*value] += 1;
            }
        }
        slot.left = slot.left.saturating_sub(self.request.need);
        let mut tentative = tentative.clone();
        tentative.add(&slot.node.record.arn, self.request.need);
        let (state, request) = (self.state, self.request);
        let candidate = Candidate { state, tentative: &tentative, node: slot.node, request };
        slot.open = candidate.check().is_ok();
    }
}

/// The node's value for each strategy that spreads, as a small number; new values get new ones.
fn values(
    request: &Request<'_>,
    node: &NodeEntry,
    names: &mut [HashMap<String, usize>],
) -> Vec<Option<usize>> {
    let each = request.strategy.iter().zip(names);
    each.map(|(strategy, names)| {
        let PlacementStrategy::Spread(field) = strategy else { return None };
        let value = spread_value(node, field)?;
        let next = names.len();
        Some(*names.entry(value).or_insert(next))
    })
    .collect()
}

/// The tasks of the group at each value, those on nodes that take nothing now included.
fn count(
    state: &State,
    request: &Request<'_>,
    names: &mut [HashMap<String, usize>],
) -> Vec<Vec<u64>> {
    let group = state.ledger.group(request.cluster, request.group);
    let nodes = group.into_iter().flat_map(Crowd::nodes);
    let at: Vec<_> = nodes
        .filter_map(|(arn, tasks)| Some((state.view.node(arn)?, u64::from(*tasks))))
        .map(|(node, tasks)| (values(request, node, names), tasks))
        .collect();
    let mut counts: Vec<Vec<u64>> = names.iter().map(|names| vec![0; names.len()]).collect();
    for (values, tasks) in at {
        for (counts, value) in counts.iter_mut().zip(values) {
            if let Some(value) = value {
                counts[value] += tasks;
            }
        }
    }
    counts
}

/// A node's value of a field to spread over: `instanceId`, `host` (both mean the node itself), or
/// `attribute:NAME`.
#[must_use]
pub fn spread_value(node: &NodeEntry, field: &str) -> Option<String> {
    match field.strip_prefix("attribute:") {
        Some(name) => node.record.attribute(name).map(ToOwned::to_owned),
        None => Some(node.record.arn.id().to_owned()),
    }
}

/// FNV-1a over the seed and the id, then murmur's finish, without which ids that differ in their
/// last character only would stay neighbours. Good enough for a random choice, and needs no state.
pub(super) fn mix(seed: u64, id: &str) -> u64 {
    let bytes = seed.to_le_bytes();
    let hash = bytes.iter().chain(id.as_bytes()).fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}
