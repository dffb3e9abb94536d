//! Strategies: among the nodes that pass the filters, which one. `spread` and `binpack` chains are
//! compared in their order, so the first decides and the next breaks its ties.

use std::collections::{BTreeMap, HashMap};

use loadline_model::InstanceArn;

use super::filter::Candidate;
use super::place::{Request, Tentative};
use crate::state::{BinpackField, NodeEntry, PlacementStrategy, State};

/// The best node by the request's strategy, or `None` where no node passes the filters.
pub(super) fn choose(
    state: &State,
    tentative: &Tentative,
    request: &Request<'_>,
    seed: u64,
) -> Option<InstanceArn> {
    let spreads = Spreads::count(state, tentative, request);
    state
        .ledger
        .rooms(request.cluster, request.need.memory_mib)
        .filter_map(|arn| state.view.node(arn))
        .map(|node| Candidate { state, tentative, node, request })
        .filter(|candidate| candidate.check().is_ok())
        .min_by_key(|candidate| (rank(candidate, &spreads, seed), &candidate.node.record.arn))
        .map(|candidate| candidate.node.record.arn.clone())
}

/// One number for each strategy: less is better.
fn rank(candidate: &Candidate<'_>, spreads: &Spreads, seed: u64) -> Vec<u64> {
    let left = candidate.left();
    candidate
        .request
        .strategy
        .iter()
        .map(|strategy| match strategy {
            PlacementStrategy::Random => mix(seed, candidate.node.record.arn.id()),
            PlacementStrategy::Binpack(BinpackField::Cpu) => left.cpu_units,
            PlacementStrategy::Binpack(BinpackField::Memory) => left.memory_mib,
            PlacementStrategy::Spread(field) => spreads.tasks(field, candidate.node),
        })
        .collect()
}

/// How many tasks of the group there are at each value of each field to spread over.
struct Spreads {
    by_field: HashMap<String, BTreeMap<String, u64>>,
}

impl Spreads {
    fn count(state: &State, tentative: &Tentative, request: &Request<'_>) -> Self {
        let mut by_node: BTreeMap<&InstanceArn, u64> = BTreeMap::new();
        for (node, count) in
            state.ledger.group(request.cluster, request.group).into_iter().flatten()
        {
            *by_node.entry(node).or_default() += u64::from(*count);
        }
        for node in tentative.nodes() {
            *by_node.entry(node).or_default() += u64::from(tentative.tasks(node));
        }
        let mut by_field = HashMap::new();
        for strategy in request.strategy {
            let PlacementStrategy::Spread(field) = strategy else { continue };
            let mut values: BTreeMap<String, u64> = BTreeMap::new();
            for (node, count) in &by_node {
                if let Some(value) =
                    state.view.node(node).and_then(|node| spread_value(node, field))
                {
                    *values.entry(value).or_default() += count;
                }
            }
            by_field.insert(field.clone(), values);
        }
        Self { by_field }
    }

    /// A node without the field comes last.
    fn tasks(&self, field: &str, node: &NodeEntry) -> u64 {
        let Some(value) = spread_value(node, field) else { return u64::MAX };
        self.by_field.get(field).and_then(|values| values.get(&value)).copied().unwrap_or(0)
    }
}

/// A node's value of a field to spread over: `instanceId`, `host` (both mean the node itself), or
/// `attribute:NAME`.
#[must_use]
pub fn spread_value(node: &NodeEntry, field: &str) -> Option<String> {
    match field.strip_prefix("attribute:") {
        Some(name) => node
            .record
            .attributes
            .iter()
            .find(|attribute| attribute.name == name)
            .map(|attribute| attribute.value.clone().unwrap_or_default()),
        None => Some(node.record.arn.id().to_owned()),
    }
}

/// FNV-1a over the seed and the id, then murmur's finish, without which ids that differ in their
/// last character only would stay neighbours. Good enough for a random choice, and needs no state.
fn mix(seed: u64, id: &str) -> u64 {
    let bytes = seed.to_le_bytes();
    let hash = bytes.iter().chain(id.as_bytes()).fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}
