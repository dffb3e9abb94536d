//! Objects of an S3-compatible store that somebody else runs (MinIO, Ceph, AWS itself): read only,
//! by signed GET requests. The environment files of tasks lie there.
//!
//! ```text
//!   ARN ─▶ ObjectName (pure) ─▶ sign (pure) ─▶ get (one connection a try) ─▶ bytes, or why not
//! ```
//!
//! Invariants: an answer is bounded in size and time; a redirect is an answer like another and is
//! never followed, so that what is signed goes to the endpoint that the operator named and nowhere
//! else; a key that a server could read as another one is no [`ObjectName`].

mod endpoint;
mod get;
mod name;
mod sign;

use std::time::Duration;

pub use self::endpoint::{Endpoint, NotAnEndpoint};
pub use self::get::{ObjectStore, StoreError, StoreOptions, Waiter};
pub use self::name::{NotAnObject, ObjectName};

/// Largest object that is read, in bytes.
pub const OBJECT_BYTES_MAX: usize = 256 * 1024;
/// How long one try may take, from connecting to the last byte.
const TRY_TIMEOUT: Duration = Duration::from_secs(10);
/// Tries of one object: a store that is restarted or busy is asked again.
const TRIES_MAX: u32 = 3;
/// Pause before the second try; the third waits twice as long.
const PAUSE: Duration = Duration::from_millis(500);
/// Most objects that are being read at once, over all nodes.
const READ_AT_ONCE_MAX: usize = 32;
/// Most of these for tasks that run already: places are kept for those that start.
const READ_FOR_RUNNING_MAX: usize = 16;
/// How long an object waits for its turn among them. With all its tries it takes less than the two
/// minutes for which a node waits.
const TURN_MAX: Duration = Duration::from_secs(60);
