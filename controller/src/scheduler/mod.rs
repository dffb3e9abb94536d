//! Where a task goes. [`place`] is pure: it takes the state, what the command has placed already,
//! and a request, and names a node or says of each node why not.
//!
//! Filters run in one order, ECS's: the node's state, its agent, its room (CPU, then memory), the
//! constraints. Among the nodes that pass, the strategy chooses. Without a strategy the node with
//! the most memory left is taken, which the ledger's index gives without looking at the others.

mod filter;
mod place;
pub mod query;
mod strategy;
#[cfg(test)]
mod tests;

pub use filter::Objection;
pub use place::{Request, Tentative, ask, place, selects};
pub use strategy::spread_value;
