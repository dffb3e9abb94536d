//! Whether the machine was quiet enough for its times to mean something.

use serde::Serialize;

use crate::stats;

/// From which share of the processors' time on, used by others before the start, times are doubted.
const LOAD_MAX: f64 = 0.5;
/// How far the floor's own middle may wander between blocks, as a share of it.
const SPREAD_MAX: f64 = 0.3;

/// What was seen of the machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Noise {
    /// Processes that wanted a processor in the last minute before the start, for each processor.
    pub(crate) load_per_cpu: f64,
    /// The floor's middle in each block, milliseconds.
    pub(crate) floor_p50_ms: Vec<f64>,
    /// (highest - lowest) / middle of these.
    pub(crate) floor_spread: f64,
    /// Why times can't be told; empty on a quiet machine.
    pub(crate) doubts: Vec<String>,
}

/// The load of the last minute for each processor.
pub(crate) fn load() -> f64 {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = text.split(' ').next().and_then(|word| word.parse::<f64>().ok());
    load.unwrap_or(0.0) / cpus as f64
}

impl Noise {
    pub(crate) fn judge(load_per_cpu: f64, floor_p50_ms: Vec<f64>) -> Noise {
        let middle = stats::median(floor_p50_ms.iter().copied());
        let highest = floor_p50_ms.iter().copied().fold(f64::MIN, f64::max);
        let lowest = floor_p50_ms.iter().copied().fold(f64::MAX, f64::min);
        let floor_spread = (highest - lowest) / middle;
        let mut doubts = Vec::new();
        if load_per_cpu > LOAD_MAX {
            doubts.push(format!(
                "{load_per_cpu:.1} processes a processor were running before the start"
            ));
        }
        if floor_spread > SPREAD_MAX {
            let share = floor_spread * 100.0;
            doubts.push(format!(
                "the floor itself took {lowest:.2} to {highest:.2} ms, {share:.0} % apart"
            ));
        }
        Noise { load_per_cpu, floor_p50_ms, floor_spread, doubts }
    }
}

#[cfg(test)]
mod tests {
    use super::Noise;

    #[test]
    fn a_quiet_machine_leaves_no_doubt() {
        assert!(Noise::judge(0.1, vec![2.0, 2.1, 2.2]).doubts.is_empty());
    }

    #[test]
    fn load_and_a_wandering_floor_are_doubts() {
        assert_eq!(Noise::judge(3.0, vec![2.0, 2.1]).doubts.len(), 1);
        assert_eq!(Noise::judge(0.0, vec![2.0, 4.0, 2.1]).doubts.len(), 1);
    }
}
