//! Choosing a node for one task.

use std::collections::{BTreeMap, HashMap};

use loadline_model::{InstanceArn, Resources};

use super::even::Even;
use super::filter::{Candidate, constraints};
use super::query::Expression;
use super::single::Single;
use super::strategy::Field;
use crate::command::{FAILURES_MAX, PlacementFailure, PlacementReason};
use crate::state::{
    ClusterName, HostPort, NodeEntry, PlacementConstraint, PlacementStrategy, State,
};

/// What is to be placed.
#[derive(Debug)]
pub struct Request<'a> {
    /// Where.
    pub(super) cluster: &'a ClusterName,
    /// What it takes from the node's line.
    pub(super) need: Resources,
    /// `spread` and `distinctInstance` count the tasks of this group.
    pub(super) group: &'a str,
    /// Bind.
    pub(super) constraints: Vec<&'a PlacementConstraint>,
    /// Best effort, the first weighs most.
    pub(super) strategy: &'a [PlacementStrategy],
    /// The host's ports that it uses.
    pub(super) ports: &'a [HostPort],
    /// Each expression of `constraints`, parsed once.
    pub(super) expressions: HashMap<&'a str, Result<Expression, String>>,
}

impl<'a> Request<'a> {
    /// Prepares a request; it can then be placed any number of times.
    pub fn new(
        cluster: &'a ClusterName,
        need: Resources,
        group: &'a str,
        constraints: impl Iterator<Item = &'a PlacementConstraint>,
        strategy: &'a [PlacementStrategy],
    ) -> Self {
        let constraints: Vec<_> = constraints.collect();
        let expressions = constraints.iter().filter_map(|constraint| match constraint {
            PlacementConstraint::MemberOf(text) => {
                let parsed = Expression::parse(text).map_err(|why| why.to_string());
                Some((text.as_str(), parsed))
            }
            PlacementConstraint::DistinctInstance => None,
        });
        let expressions = expressions.collect();
        Self { cluster, need, group, constraints, strategy, ports: &[], expressions }
    }

    /// The same, for tasks that use these ports of the host.
    #[must_use]
    pub fn with_ports(self, ports: &'a [HostPort]) -> Self {
        Self { ports, ..self }
    }

    /// How many tasks of the group the candidate has, those of the same command included.
    pub(super) fn group_tasks_on(&self, candidate: &Candidate<'_>) -> u32 {
        let node = &candidate.node.record.arn;
        let group = candidate.state.ledger.group(self.cluster, self.group);
        let placed = group.map_or(0, |crowd| crowd.on(node));
        placed + candidate.tentative.tasks(node)
    }
}

/// What one command has placed so far: not part of the state before the command is.
#[derive(Clone, Debug, Default)]
pub struct Tentative {
    by_node: BTreeMap<InstanceArn, (Resources, u32)>,
}

impl Tentative {
    /// Notes a placement. The line was asked, so the sum is within it.
    pub fn add(&mut self, node: &InstanceArn, need: Resources) {
        let (sum, count) = self.by_node.entry(node.clone()).or_default();
        *sum = sum
            .checked_add(need)
            .unwrap_or(Resources { cpu_units: u64::MAX, memory_mib: u64::MAX });
        *count += 1;
    }

    /// What the command reserved on this node.
    #[must_use]
    pub fn reserved(&self, node: &InstanceArn) -> Resources {
        self.by_node.get(node).map_or(Resources::ZERO, |(sum, _)| *sum)
    }

    pub(super) fn tasks(&self, node: &InstanceArn) -> u32 {
        self.by_node.get(node).map_or(0, |(_, count)| *count)
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = &InstanceArn> {
        self.by_node.keys()
    }
}

/// Places the tasks of one request, one after the other.
#[derive(Debug)]
pub struct Placer<'a> {
    state: &'a State,
    request: &'a Request<'a>,
    tentative: Tentative,
    way: Way<'a>,
}

/// How a node is found.
#[derive(Debug)]
enum Way<'a> {
    /// Without a strategy: the ledger's rooms know.
    Widest,
    /// By the ledger's counts, where they know enough.
    Even(Even<'a>),
    /// By the ledger's rooms, packing or at random.
    Single(Single<'a>),
    /// By looking at every node of the cluster for the first task, and for the next only at what
    /// the last one changed.
    Field(Field<'a>),
}

impl<'a> Placer<'a> {
    /// Nothing is placed yet; so many tasks shall be.
    #[must_use]
    pub fn new(state: &'a State, request: &'a Request<'a>, count: u32) -> Self {
        let way = if request.strategy.is_empty() {
            Way::Widest
        } else if let Some(even) = Even::new(state, request, count) {
            Way::Even(even)
        } else if let Some(single) = Single::new(state, request) {
            Way::Single(single)
        } else {
            Way::Field(Field::new(state, request))
        };
        Self { state, request, tentative: Tentative::default(), way }
    }

    /// The same, by looking at every node.
    #[cfg(test)]
    pub(super) fn plain(state: &'a State, request: &'a Request<'a>) -> Self {
        let way = Way::Field(Field::new(state, request));
        Self { state, request, tentative: Tentative::default(), way }
    }

    /// What was placed so far.
    #[cfg(test)]
    pub(super) const fn tentative(&self) -> &Tentative {
        &self.tentative
    }

    /// Names the node that takes the next task, and counts it there. `seed` decides where the
    /// strategy says `random`.
    ///
    /// # Errors
    /// Why not, for each node of the cluster that is not INACTIVE, at most [`FAILURES_MAX`]; never
    /// empty.
    pub fn next(&mut self, seed: u64) -> Result<InstanceArn, Vec<PlacementFailure>> {
        let (state, request) = (self.state, self.request);
        let chosen = match &mut self.way {
            Way::Widest => widest(state, &self.tentative, request),
            Way::Even(even) => even.choose(&self.tentative),
            Way::Single(single) => single.choose(&self.tentative, seed),
            Way::Field(field) => field.choose(&self.tentative, seed),
        };
        let Some(node) = chosen else { return Err(explain(state, &self.tentative, request)) };
        self.tentative.add(&node, request.need);
        Ok(node)
    }
}

/// Whether this very node takes the task; `None` where the cluster has no such node.
pub fn ask(
    state: &State,
    tentative: &Tentative,
    request: &Request<'_>,
    node: &InstanceArn,
) -> Option<Result<(), PlacementFailure>> {
    let node = state.view.node(node).filter(|node| node.record.cluster == *request.cluster)?;
    let candidate = Candidate { state, tentative, node, request };
    Some(candidate.check().map_err(|objection| objection.failure(node)))
}

/// Whether the constraints select this node, whatever room it has.
pub fn selects(state: &State, request: &Request<'_>, node: &NodeEntry) -> bool {
    let tentative = Tentative::default();
    constraints(&Candidate { state, tentative: &tentative, node, request }).is_ok()
}

/// The node with the most memory left, then CPU. The index knows nothing of this command's own
/// placements, so the few nodes that have some are judged beside it.
fn widest(state: &State, tentative: &Tentative, request: &Request<'_>) -> Option<InstanceArn> {
    let candidate = |node: &InstanceArn| {
        let node = state.view.node(node)?;
        let candidate = Candidate { state, tentative, node, request };
        (node.record.cluster == *request.cluster && candidate.check().is_ok())
            .then(|| (candidate.left(), node.record.arn.clone()))
    };
    let fresh = state
        .ledger
        .rooms(request.cluster, request.need)
        .rev()
        .filter(|node| tentative.tasks(node) == 0)
        .find_map(candidate);
    let used = tentative.nodes().filter_map(candidate);
    used.chain(fresh)
        .max_by_key(|(left, _)| (left.memory_mib, left.cpu_units))
        .map(|(_, node)| node)
}

fn explain(state: &State, tentative: &Tentative, request: &Request<'_>) -> Vec<PlacementFailure> {
    let failures: Vec<_> = state
        .view
        .nodes_in(request.cluster, None)
        .filter(|node| node.record.status != crate::state::NodeStatus::Inactive)
        .filter_map(|node| {
            let candidate = Candidate { state, tentative, node, request };
            candidate.check().err().map(|objection| objection.failure(node))
        })
        .take(FAILURES_MAX)
        .collect();
    if !failures.is_empty() {
        return failures;
    }
    vec![PlacementFailure {
        node: None,
        reason: PlacementReason::Missing,
        detail: format!("cluster {} has no container instances", request.cluster),
    }]
}
