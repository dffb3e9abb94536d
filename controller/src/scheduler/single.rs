//! One strategy that packs, or that draws at random, by the ledger's indexes. Packing gives the
//! same node as looking at every one ([`super::strategy`]) would, and looks only at those with the
//! least room that is enough; drawing gives each node that takes the task with the same likelihood.

use std::cmp::Reverse;

use loadline_model::InstanceArn;

use super::filter::Candidate;
use super::place::{Request, Tentative};
use super::strategy::mix;
use crate::state::{BinpackField, Floor, PlacementStrategy, State};

/// How often a node is drawn before those with room are looked at one by one: where one in ten
/// takes the task, all of these fail once in eight hundred.
const DRAWS_MAX: u64 = 64;

/// Chooses nodes for the tasks of one request.
#[derive(Debug)]
pub(super) struct Single<'a> {
    state: &'a State,
    request: &'a Request<'a>,
    floor: &'a Floor,
    way: Way,
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Pack(BinpackField),
    Draw,
}

/// Less is better: what is left of what is packed by; the most room; the ARN.
type Rank = (u64, Reverse<(u64, u64)>, InstanceArn);

impl<'a> Single<'a> {
    /// `None` where the strategy is another, or several.
    pub(super) fn new(state: &'a State, request: &'a Request<'a>) -> Option<Self> {
        let way = match request.strategy {
            [PlacementStrategy::Binpack(field)] => Way::Pack(*field),
            [PlacementStrategy::Random] => Way::Draw,
            _ => return None,
        };
        let floor = state.ledger.floor(request.cluster)?;
        Some(Self { state, request, floor, way })
    }

    /// The best node, after what was placed before.
    pub(super) fn choose(&self, tentative: &Tentative, seed: u64) -> Option<InstanceArn> {
        match self.way {
            Way::Pack(field) => self.pack(field, tentative),
            Way::Draw => self.draw(tentative, seed),
        }
    }

    /// The index knows nothing of this command's own placements, so the nodes that have some are
    /// judged beside it.
    fn pack(&self, field: BinpackField, tentative: &Tentative) -> Option<InstanceArn> {
        let need = self.request.need;
        let rank = |node: &InstanceArn| self.rank(field, node, tentative);
        let is_fresh = |node: &&InstanceArn| tentative.tasks(node) == 0;
        let fresh = match field {
            BinpackField::Memory => {
                let nodes = self.floor.all().tightest_first((need.memory_mib, need.cpu_units));
                nodes.filter(is_fresh).find_map(rank)
            }
            BinpackField::Cpu => {
                let nodes = self.floor.by_cpu().tightest_first((need.cpu_units, need.memory_mib));
                nodes.filter(is_fresh).find_map(rank)
            }
        };
        let used = tentative.nodes().filter_map(rank);
        used.chain(fresh).min().map(|(.., node)| node)
    }

    /// How good a node is, if it takes the task.
    fn rank(&self, field: BinpackField, node: &InstanceArn, tentative: &Tentative) -> Option<Rank> {
        let candidate = self.candidate(node, tentative)?;
        let left = candidate.left();
        let first = match field {
            BinpackField::Cpu => left.cpu_units,
            BinpackField::Memory => left.memory_mib,
        };
        Some((first, Reverse((left.memory_mib, left.cpu_units)), node.clone()))
    }

    fn draw(&self, tentative: &Tentative, seed: u64) -> Option<InstanceArn> {
        let nodes = self.floor.urn();
        let takes = |node: &&InstanceArn| self.candidate(node, tentative).is_some();
        let place = |n: u64| {
            let drawn = u128::from(mix(seed.wrapping_add(n), ""));
            // The high half of the product is evenly below the count.
            usize::try_from((drawn * nodes.len() as u128) >> 64).unwrap_or_default()
        };
        let drawn = (0..DRAWS_MAX).filter_map(|n| nodes.get(place(n))).find(takes);
        let with_room = || {
            let need = (self.request.need.memory_mib, self.request.need.cpu_units);
            let open = self.floor.all().least_first(need).filter(takes);
            open.min_by_key(|node| mix(seed, node.id()))
        };
        drawn.or_else(with_room).cloned()
    }

    /// A node that takes the task.
    fn candidate<'c>(
        &'c self,
        node: &InstanceArn,
        tentative: &'c Tentative,
    ) -> Option<Candidate<'c>> {
        let node = self.state.view.node(node)?;
        let Self { state, request, .. } = *self;
        let candidate = Candidate { state, tentative, node, request };
        candidate.check().is_ok().then_some(candidate)
    }
}
