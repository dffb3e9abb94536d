//! Samples, made small.

use serde::Serialize;

/// Milliseconds of calls.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Times {
    /// How many.
    pub calls: usize,
    /// The middle.
    pub p50: f64,
    /// What one of a hundred takes longer than.
    pub p99: f64,
}

impl Times {
    /// Of these samples.
    #[must_use]
    pub fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        // The nearest rank, so that it is one of the samples.
        let at = |share: f64| {
            let rank = (share * times.len() as f64).ceil() as usize;
            times.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
        };
        Self { calls: times.len(), p50: at(0.5), p99: at(0.99) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_samples() {
        let times = Times::of((1..=200).rev().map(f64::from).collect());
        assert_eq!((times.calls, times.p50, times.p99), (200, 100.0, 198.0));
        assert!(Times::of(Vec::new()).p50.is_nan());
    }
}
