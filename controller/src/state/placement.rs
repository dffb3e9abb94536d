//! What a placement may ask for besides room: constraints bind, strategies are best effort.

use serde::{Deserialize, Serialize};

/// ECS's placement constraint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlacementConstraint {
    /// Each task of the group on a node of its own.
    DistinctInstance,
    /// Only nodes that the cluster query language expression (at most 2000 characters) selects.
    /// The API checks it with `scheduler::query::Expression::parse` before it sends the command.
    MemberOf(String),
}

/// ECS's placement strategy; several are applied one after the other, the first weighs most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlacementStrategy {
    /// Any node that fits.
    Random,
    /// Evenly over the values of a field: `instanceId`, `host`, or `attribute:NAME`.
    Spread(String),
    /// The node with the least left of this resource that still fits.
    Binpack(BinpackField),
}

/// What [`PlacementStrategy::Binpack`] packs by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BinpackField {
    /// CPU units.
    Cpu,
    /// Memory.
    Memory,
}
