//! Order statistics.

use serde::Serialize;

/// Percentiles of a set of samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
}

/// The value that `share` (0 to 1) of the samples do not exceed: the nearest rank, so it is one of
/// the samples.
pub(crate) fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
}

/// Percentiles of samples in any order.
pub(crate) fn percentiles(samples: impl IntoIterator<Item = f64>) -> Percentiles {
    let sorted = sorted(samples);
    let at = |share| percentile(&sorted, share);
    Percentiles { p50: at(0.5), p90: at(0.9), p99: at(0.99) }
}

/// The middle of samples in any order.
pub(crate) fn median(samples: impl IntoIterator<Item = f64>) -> f64 {
    percentile(&sorted(samples), 0.5)
}

fn sorted(samples: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut samples: Vec<f64> = samples.into_iter().collect();
    samples.sort_by(f64::total_cmp);
    samples
}

/// A ratio as each block saw it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
}

/// Of one ratio a block; `None` without blocks.
pub(crate) fn ratio(blocks: impl IntoIterator<Item = f64>) -> Option<Ratio> {
    let sorted = sorted(blocks);
    let (lowest, highest) = (*sorted.first()?, *sorted.last()?);
    Some(Ratio { median: percentile(&sorted, 0.5), lowest, highest })
}

#[cfg(test)]
mod tests {
    use super::{median, percentile, ratio};

    #[test]
    fn a_percentile_is_one_of_the_samples() {
        let samples: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&samples, 0.5), 50.0);
        assert_eq!(percentile(&samples, 0.99), 99.0);
        assert_eq!(percentile(&samples[..1], 0.99), 1.0);
        assert!(percentile(&[], 0.5).is_nan());
    }

    #[test]
    fn order_does_not_matter() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        let seen = ratio([0.5, 0.4, 0.9]).unwrap();
        assert_eq!((seen.lowest, seen.median, seen.highest), (0.4, 0.5, 0.9));
    }
}
