//! The deployment circuit breaker and the launch throttle: what failures lead to.

use crate::state::{Threshold, Throttle};

/// Fewest failures that break a deployment (ECS).
const THRESHOLD_MIN: u32 = 3;
/// Most failures that break a deployment (ECS).
const THRESHOLD_MAX: u32 = 200;
/// Failures in a row that cost nothing yet.
const FREE_FAILURES: u32 = 2;
/// The first delay, which doubles with each further failure, milliseconds.
const DELAY_FIRST_MS: u64 = 1_000;
/// Longest delay between launches (ECS: 15 minutes), milliseconds.
const DELAY_MS_MAX: u64 = 15 * 60 * 1_000;

/// How many failures break a deployment of a service with this desired count.
#[must_use]
pub fn threshold(of: Threshold, desired: u32) -> u32 {
    let share = |percent: u32| {
        let tasks = (u64::from(desired) * u64::from(percent)).div_ceil(100);
        u32::try_from(tasks).unwrap_or(u32::MAX)
    };
    match of {
        Threshold::Count(count) => count.max(1),
        Threshold::BoundedPercent(percent) => share(percent).clamp(THRESHOLD_MIN, THRESHOLD_MAX),
        Threshold::UnboundedPercent(percent) => share(percent).max(1),
    }
}

/// The throttle after `failed` launches ended before RUNNING. It never gives up.
#[must_use]
pub fn slow_down(before: Throttle, failed: u32, now_ms: u64) -> Throttle {
    let failures = before.failures.saturating_add(failed);
    let Some(paid) = failures.checked_sub(FREE_FAILURES + 1) else {
        return Throttle { failures, ..before };
    };
    let delay_ms = DELAY_FIRST_MS.checked_shl(paid.min(30)).unwrap_or(DELAY_MS_MAX);
    Throttle { failures, not_before_ms: now_ms.saturating_add(delay_ms.min(DELAY_MS_MAX)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_is_half_the_desired_count_within_ecs_s_bounds() {
        for (desired, expected) in
            [(0, 3), (1, 3), (6, 3), (7, 4), (25, 13), (400, 200), (5_000, 200)]
        {
            assert_eq!(threshold(Threshold::default(), desired), expected, "{desired}");
        }
    }

    #[test]
    fn the_threshold_is_what_was_configured() {
        for (of, desired, expected) in [
            (Threshold::Count(1), 5_000, 1),
            (Threshold::Count(500), 1, 500),
            (Threshold::BoundedPercent(10), 25, 3),
            (Threshold::BoundedPercent(10), 45, 5),
            (Threshold::BoundedPercent(100), 5_000, 200),
            (Threshold::UnboundedPercent(10), 25, 3),
            (Threshold::UnboundedPercent(10), 11, 2),
            (Threshold::UnboundedPercent(10), 0, 1),
            (Threshold::UnboundedPercent(100), 5_000, 5_000),
        ] {
            assert_eq!(threshold(of, desired), expected, "{of:?} of {desired}");
        }
    }

    #[test]
    fn delays_double_up_to_a_quarter_of_an_hour() {
        let mut throttle = Throttle::default();
        let mut delays = Vec::new();
        for _ in 0..14 {
            throttle = slow_down(throttle, 1, 1_000_000);
            delays.push(throttle.not_before_ms.saturating_sub(1_000_000) / 1_000);
        }
        assert_eq!(delays, [0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
        let many = slow_down(Throttle::default(), u32::MAX, 0);
        assert_eq!(many.not_before_ms, DELAY_MS_MAX);
    }
}
