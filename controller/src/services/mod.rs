//! How a service moves: pure arithmetic on counts, without tasks, nodes or ids. `apply::service`
//! counts, asks here, and carries out what is said.
//!
//! ```text
//!   what happened ─▶ breaker::judge ─▶ starts() ─▶ placement ─▶ stops() ─▶ completed? steady?
//! ```

pub mod balance;
pub mod breaker;
pub mod rolling;

/// What of a service's behaviour is a matter of taste, and is shortened in tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A task without a health check counts as healthy this long after it reached RUNNING
    /// (ECS: 40 s), milliseconds.
    pub healthy_after_ms: u64,
    /// A service that found no place tries again at least this often, milliseconds.
    pub place_again_ms: u64,
    /// A service that could not be evened out tries again after this long, milliseconds.
    pub balance_again_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { healthy_after_ms: 40_000, place_again_ms: 30_000, balance_again_ms: 60_000 }
    }
}
