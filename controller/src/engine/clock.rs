//! The edge of the world: time and randomness, which everything below takes as arguments.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::state::IdSource;

/// Two clocks: one for records, one for leases.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Milliseconds since the Unix epoch. May jump.
    fn unix_ms(&self) -> u64;
    /// Milliseconds since some moment. Never jumps.
    fn steady_ms(&self) -> u64;
    /// Of the steady time, how much this process was able to hear its nodes in. The silence of a
    /// node is measured in it: who was stopped or starved knows nothing of the others' silence.
    fn hearing_ms(&self) -> u64 {
        self.steady_ms()
    }
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

/// How often a [`PulseClock`] is looked at.
const PULSE_MS: u64 = 100;
/// How late a look may be before it says that this process did not run.
const LATE_MS_MAX: u64 = 400;
/// A stall that is worth a line in the log, milliseconds.
const STALL_TOLD_MS: u64 = 1_000;

/// The machine's clocks, and the process's own pulse: a task beside those that hear the nodes looks
/// at the time again and again. Where it comes late, they did too.
#[derive(Debug, Default)]
pub struct PulseClock {
    system: SystemClock,
    pulse: Mutex<Pulse>,
}

/// When was last looked, and how much of the time until then counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pulse {
    looked_ms: u64,
    hearing_ms: u64,
}

impl Pulse {
    /// Looks at the time; how long this process did not run, milliseconds.
    fn look(&mut self, now_ms: u64) -> u64 {
        let since = now_ms.saturating_sub(self.looked_ms);
        let counted = if PULSE_MS + LATE_MS_MAX < since { PULSE_MS } else { since };
        self.looked_ms = now_ms;
        self.hearing_ms += counted;
        since - counted
    }
}

impl PulseClock {
    /// Looks at the time for ever, on the async runtime that hears the nodes.
    pub async fn keep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(Duration::from_millis(PULSE_MS)).await;
            let stalled_ms = self.pulse().look(self.system.steady_ms());
            if STALL_TOLD_MS <= stalled_ms {
                tracing::warn!(
                    stalled_ms,
                    "this controller did not run for a while: its nodes' leases are longer by that"
                );
            }
        }
    }

    fn pulse(&self) -> MutexGuard<'_, Pulse> {
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for PulseClock {
    fn unix_ms(&self) -> u64 {
        self.system.unix_ms()
    }

    fn steady_ms(&self) -> u64 {
        self.system.steady_ms()
    }

    fn hearing_ms(&self) -> u64 {
        self.pulse().hearing_ms
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_in_which_this_process_did_not_run_is_not_silence() {
        let mut pulse = Pulse::default();
        assert_eq!(pulse.look(100), 0);
        assert_eq!(pulse.look(600), 0, "a late look is no stall");
        assert_eq!(pulse.look(5_600), 4_900);
        assert_eq!(pulse, Pulse { looked_ms: 5_600, hearing_ms: 700 });
    }
}
