//! The edge of the world: time and randomness, which everything below takes as arguments.

use std::fmt;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::state::IdSource;

/// Two clocks: one for records, one for leases.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Milliseconds since the Unix epoch. May jump.
    fn unix_ms(&self) -> u64;
    /// Milliseconds since some moment. Never jumps.
    fn steady_ms(&self) -> u64;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Steady time counts from now.
    #[must_use]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn unix_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn steady_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Ids from the operating system's randomness.
#[derive(Clone, Copy, Debug)]
pub struct RandomIds;

impl IdSource for RandomIds {
    fn fresh(&mut self) -> String {
        hex::encode(rand::random::<[u8; 16]>())
    }
}
