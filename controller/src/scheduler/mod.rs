//! Where a task goes. A [`Placer`] is pure: it takes the state and a request, and names a node for
//! one task after the other, or says of each node why not.
//!
//! Filters run in one order, ECS's: the node's state, its agent, its room (CPU, then memory), the
//! constraints. Among the nodes that pass, the strategy chooses. Without a strategy the node with
//! the most memory left is taken, which the ledger's index gives without looking at the others; a
//! few tasks are spread by its counts, and tasks are packed or drawn by its rooms, in the same way.

mod even;
mod filter;
#[cfg(test)]
mod index_tests;
mod place;
pub mod query;
mod single;
mod strategy;
#[cfg(test)]
mod tests;

pub use even::is_even;
pub use filter::Objection;
pub use place::{Placer, Request, Tentative, ask, selects};
pub use strategy::spread_value;
