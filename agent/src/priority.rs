//! The agent's own threads come before what else the host runs: where tasks have reserved all
//! processors, a heartbeat that waits for its turn is a node that seems dead.
//!
//! Only threads that do little work are raised: the session, the ledger's writer and the workers of
//! the async runtime. Blocking ones, which unpack images and read files, stay as they are, and so
//! does every process that the agent starts: the raise ends at a fork.

use std::sync::atomic::{AtomicUsize, Ordering};

use loadline_runtime::sys::process::{SchedAttr, set_scheduler};

/// The niceness of a raised thread: about nine times the weight of one at 0 (`sched(7)`).
pub const NICE: i32 = -10;

/// Of the async runtime; each thread costs memory, and the agent mostly waits.
pub const WORKERS: usize = 2;
const WORKER: &str = "worker";
const BLOCKING: &str = "blocking";

/// `SCHED_FLAG_RESET_ON_FORK` of `sched_setattr(2)`: children begin at niceness 0.
const RESET_ON_FORK: u64 = 1;

/// How the threads of an async runtime stand against the rest of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The calling thread and the workers come first: for a real node.
    Raised,
    /// Like anything else: for simulated nodes, which must not disturb what they measure.
    Usual,
}

/// Raises the calling thread. A host that refuses (no CAP_SYS_NICE) loses nothing but that.
pub fn raise(thread: &str) {
    let attr = SchedAttr { flags: RESET_ON_FORK, nice: NICE, ..SchedAttr::default() };
    if let Err(error) = set_scheduler(attr) {
        tracing::warn!(
            %thread, %error,
            "the thread keeps its usual priority: on a fully reserved node it may be slow"
        );
    }
}

/// The async runtime of the agent, for the calling thread.
///
/// # Errors
/// The kernel's, where there are no threads or no event queue for it.
pub fn runtime(standing: Standing) -> std::io::Result<tokio::runtime::Runtime> {
    if standing == Standing::Raised {
        raise("main");
    }
    // The runtime asks for the names in order, and for those of its workers first.
    let named = AtomicUsize::new(0);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(32)
        .thread_name_fn(move || {
            let kind =
                if named.fetch_add(1, Ordering::Relaxed) < WORKERS { WORKER } else { BLOCKING };
            kind.to_owned()
        })
        .on_thread_start(move || {
            if standing == Standing::Raised && std::thread::current().name() == Some(WORKER) {
                raise(WORKER);
            }
        })
        .enable_all()
        .build()
}
