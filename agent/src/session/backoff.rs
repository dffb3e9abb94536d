//! How long to wait before the next attempt: 250 ms to 10 s, x1.5, jitter 0.2. The ECS agent goes
//! up to 2 minutes; here, a controller that was away for long would count a node that waits so long
//! as lost, and replace its tasks.

use std::time::Duration;

/// The first wait, in milliseconds.
pub const WAIT_MS_MIN: u64 = 250;
/// The longest, before its jitter.
pub const WAIT_MS_MAX: u64 = 10_000;
// Two attempts are within the grace, for one may come just before the controller listens.
const _: () = assert!(2 * WAIT_MS_MAX * 12 / 10 < loadline_proto::START_GRACE_MS);
/// A session that lived for this long was a good one: the waits begin anew.
pub const GOOD_SESSION_S: u64 = 30;

/// Grows with every failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    next_ms: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next_ms: WAIT_MS_MIN }
    }
}

impl Backoff {
    /// The next wait. `luck` is a random number from 0 to 1.
    pub fn next(&mut self, luck: f64) -> Duration {
        let base = Duration::from_millis(self.next_ms);
        self.next_ms = (self.next_ms * 3 / 2).min(WAIT_MS_MAX);
        base + base.mul_f64(0.2 * luck.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_by_half_up_to_ten_seconds_and_a_fifth() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..4).map(|_| backoff.next(0.0).as_millis()).collect();
        assert_eq!(waits, [250, 375, 562, 843]);
        let longest = (0..100).map(|_| backoff.next(1.0)).max();
        assert_eq!(longest, Some(Duration::from_secs(12)));
    }
}
