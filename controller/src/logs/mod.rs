//! Log groups, streams and events (CloudWatch Logs), in a store of their own beside the cluster's,
//! so that what containers write never stands in the way of what the cluster decides.
//!
//! ```text
//!   put, create, delete ─▶ inbox ─▶ writer thread: many requests, one transaction ─▶ answers
//!   get, filter, describe ─▶ a read transaction of its own
//! ```
//!
//! Invariants: an answer to a write is given after its commit; events of a stream are in the order
//! of their time; the whole store has a bound, and what is over it is refused, not dropped in
//! silence.

mod keep;
mod pattern;
mod read;
mod store;
mod writer;

pub use self::keep::{Kept, Refill};
pub use self::pattern::{Pattern, Unreadable};
pub use self::read::{Filter, Found, Page, Position, Range};
pub use self::store::{
    EVENT_OVERHEAD_BYTES, Event, Group, LogStore, LogsError, NewEvent, Refusal, STORED_BYTES_MAX,
    Stream, Write, Written,
};
