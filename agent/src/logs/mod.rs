//! A container's output on disk: what its supervisor writes and the agent reads.
//!
//! ```text
//!  DIR/log.1  log.2  …     whole records only, oldest first; the number never goes back
//!  1764144000123 oF hello  Unix milliseconds, o(ut) or e(rr), F(ull) or P(artial), the bytes
//! ```
//!
//! Invariants: a record ends with the only newline in it; files and their number are bounded; a
//! cursor names a place in the output for ever, and skips what rotation has removed since.

pub mod files;
pub mod reader;
pub mod record;

pub use reader::{Batch, Cursor, ReadError, read};
pub use record::{Record, Stream};
