//! From samples to what is reported: rows, ratios, and whether the goals are met.

use serde::Serialize;

use crate::measure::{Block, SCENARIOS, Scenario};
use crate::noise::Noise;
use crate::spawn::Samples;
use crate::stats::{self, Percentiles, Ratio};
use crate::subject::{FLOOR, OURS, Subject};

const NS_PER_MS: f64 = 1e6;
const NS_PER_S: f64 = 1e9;
const US_PER_MS: f64 = 1e3;

/// All that is reported.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) kernel: String,
    pub(crate) cpus: usize,
    pub(crate) subjects: Vec<Named>,
    pub(crate) noise: Noise,
    pub(crate) rows: Vec<Row>,
    pub(crate) goals: Vec<Goal>,
}

/// A subject and its version.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) version: String,
    /// The smallest limit of memory that starts.
    pub(crate) memory_limit_kib: Option<u64>,
}

/// One subject in one scenario.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) scenario: &'static str,
    pub(crate) subject: String,
    pub(crate) samples: usize,
    /// From the first start of a round to its last end, waiting for the program left out.
    pub(crate) wall_ms: Percentiles,
    pub(crate) per_second: f64,
    /// Means of a round; the kernel counts ticks, so only many rounds mean something.
    pub(crate) user_ms: f64,
    pub(crate) system_ms: f64,
    /// The largest process of all rounds.
    pub(crate) peak_rss_kib: u64,
    /// The middle as a multiple of the floor's.
    pub(crate) to_floor: Option<Ratio>,
    /// Loadline's middle as a share of this one's.
    pub(crate) loadline_share: Option<Ratio>,
}

/// Something that was promised.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Goal {
    pub(crate) what: String,
    pub(crate) bound: f64,
    pub(crate) is_upper: bool,
    pub(crate) seen: Option<Ratio>,
    pub(crate) verdict: Verdict,
}

/// How a goal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    Met,
    Missed,
    /// The blocks of a noisy run disagree.
    TooNoisyToTell,
    /// A subject that it is about is not there.
    NotMeasured,
}

/// What of a block a ratio is made of.
type Figure = fn(&Samples) -> f64;

impl Summary {
    pub(crate) fn of(
        subjects: &[Subject],
        blocks: &[Block],
        limits: &[Option<u64>],
        load_before: f64,
    ) -> Summary {
        let seen = Seen { subjects, blocks };
        let floor = seen.each(Scenario::Run, FLOOR, middle).map(|ns| ns / NS_PER_MS);
        let noise = Noise::judge(load_before, floor.collect());
        let rows = SCENARIOS.iter().flat_map(|scenario| seen.rows(*scenario)).collect();
        let named = subjects.iter().zip(limits).map(|(subject, limit)| Named {
            name: subject.name.clone(),
            version: subject.version.clone(),
            memory_limit_kib: *limit,
        });
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let mut summary = Summary {
            kernel: kernel.trim().to_owned(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            subjects: named.collect(),
            noise,
            rows,
            goals: Vec::new(),
        };
        summary.goals = seen.goals(&summary);
        summary
    }
}

struct Seen<'a> {
    subjects: &'a [Subject],
    blocks: &'a [Block],
}

impl Seen<'_> {
    fn index(&self, name: &str) -> Option<usize> {
        self.subjects.iter().position(|subject| subject.name == name)
    }

    /// A figure of a subject, block by block.
    fn each(&self, scenario: Scenario, name: &str, of: Figure) -> impl Iterator<Item = f64> {
        let index = self.index(name);
        let samples = move |block| index.and_then(|index| Block::get(block, &(scenario, index)));
        self.blocks.iter().filter_map(samples).map(of)
    }

    fn ratio(&self, scenario: Scenario, of: &str, to: &str, figure: Figure) -> Option<Ratio> {
        let pairs = self.each(scenario, of, figure).zip(self.each(scenario, to, figure));
        stats::ratio(pairs.map(|(of, to)| of / to))
    }

    fn rows(&self, scenario: Scenario) -> Vec<Row> {
        let row = |(index, subject): (usize, &Subject)| {
            let samples: Vec<&Samples> =
                self.blocks.iter().filter_map(|block| block.get(&(scenario, index))).collect();
            let rounds: Vec<f64> = samples.iter().flat_map(|samples| rounds_ns(samples)).collect();
            let total_ns: u64 = samples.iter().map(|samples| samples.total_ns).sum();
            let each = || samples.iter().flat_map(|samples| &samples.each);
            let mean_ms = |us: u64| us as f64 / US_PER_MS / rounds.len() as f64;
            let name = subject.name.as_str();
            (!rounds.is_empty()).then(|| Row {
                scenario: scenario.name(),
                subject: name.to_owned(),
                samples: rounds.len(),
                wall_ms: stats::percentiles(rounds.iter().map(|ns| ns / NS_PER_MS)),
                per_second: rounds.len() as f64 / (total_ns as f64 / NS_PER_S),
                user_ms: mean_ms(each().map(|sample| sample.user_us).sum()),
                system_ms: mean_ms(each().map(|sample| sample.system_us).sum()),
                peak_rss_kib: each().map(|sample| sample.peak_rss_kib).max().unwrap_or(0),
                to_floor: self.ratio(scenario, name, FLOOR, middle),
                loadline_share: self.ratio(scenario, OURS, name, middle),
            })
        };
        self.subjects.iter().enumerate().filter_map(row).collect()
    }

    fn goals(&self, summary: &Summary) -> Vec<Goal> {
        let noisy = !summary.noise.doubts.is_empty();
        let ours = summary.rows.iter().find(|row| row.subject == OURS);
        let rss = ours.map(|row| row.peak_rss_kib as f64 / 1024.0);
        let limit = summary.subjects.iter().find(|subject| subject.name == OURS);
        let limit = limit.and_then(|subject| subject.memory_limit_kib).map(|kib| kib as f64);
        let exact = |value: Option<f64>| value.and_then(|value| stats::ratio([value]));
        let (run, seccomp) = (Scenario::Run, Scenario::RunSeccomp);
        let (at_8, at_64) = (Scenario::Run8, Scenario::Run64);
        let share = |scenario, to| self.ratio(scenario, OURS, to, middle);
        let per_second = self.ratio(at_8, OURS, "crun", throughput);
        let tail = self.ratio(at_64, OURS, FLOOR, tail);
        let list = [
            ("run: p50, of the floor's", 1.3, true, share(run, FLOOR)),
            ("run: p50, of crun's", 0.5, true, share(run, "crun")),
            ("run with seccomp: p50, of crun's", 0.15, true, share(seccomp, "crun")),
            ("exec: p50, of crun's", 0.4, true, share(Scenario::Exec, "crun")),
            ("8 at once: containers/s, of crun's", 4.0, false, per_second),
            ("64 at once: p99, of the floor's", 3.0, true, tail),
            ("peak RSS of run, MiB", 2.5, true, exact(rss)),
            ("smallest memory limit that starts, KiB", 512.0, true, exact(limit)),
        ];
        list.into_iter()
            .map(|(what, bound, is_upper, seen)| Goal {
                what: what.to_owned(),
                bound,
                is_upper,
                seen,
                verdict: judge(seen, bound, is_upper, noisy),
            })
            .collect()
    }
}

fn judge(seen: Option<Ratio>, bound: f64, is_upper: bool, noisy: bool) -> Verdict {
    let Some(seen) = seen else { return Verdict::NotMeasured };
    let holds = |value: f64| if is_upper { value <= bound } else { value >= bound };
    if noisy && holds(seen.lowest) != holds(seen.highest) {
        return Verdict::TooNoisyToTell;
    }
    if holds(seen.median) { Verdict::Met } else { Verdict::Missed }
}

/// The wall time of each round: the sum of its steps. Rounds that run at once have one step.
fn rounds_ns(samples: &Samples) -> Vec<f64> {
    let mut rounds: Vec<f64> = Vec::new();
    for sample in &samples.each {
        match rounds.last_mut() {
            Some(last) if sample.step > 0 => *last += sample.wall_ns as f64,
            _ => rounds.push(sample.wall_ns as f64),
        }
    }
    rounds
}

fn middle(samples: &Samples) -> f64 {
    stats::percentiles(rounds_ns(samples)).p50
}

fn tail(samples: &Samples) -> f64 {
    stats::percentiles(rounds_ns(samples)).p99
}

fn throughput(samples: &Samples) -> f64 {
    rounds_ns(samples).len() as f64 / samples.total_ns as f64
}

#[cfg(test)]
mod tests {
    use super::{Verdict, judge, rounds_ns};
    use crate::spawn::{Sample, Samples};
    use crate::stats::Ratio;

    #[test]
    fn the_steps_of_a_round_are_added() {
        let sample =
            |step, wall_ns| Sample { step, wall_ns, user_us: 0, system_us: 0, peak_rss_kib: 0 };
        let each = vec![sample(0, 5), sample(1, 2), sample(3, 1), sample(0, 4), sample(1, 1)];
        assert_eq!(rounds_ns(&Samples { each, total_ns: 20 }), [8.0, 5.0]);
    }

    #[test]
    fn a_noisy_run_tells_only_what_all_blocks_agree_on() {
        let seen = |lowest, median, highest| Some(Ratio { lowest, median, highest });
        assert_eq!(judge(seen(0.3, 0.4, 0.6), 0.5, true, true), Verdict::TooNoisyToTell);
        assert_eq!(judge(seen(0.3, 0.4, 0.6), 0.5, true, false), Verdict::Met);
        assert_eq!(judge(seen(0.3, 0.4, 0.45), 0.5, true, true), Verdict::Met);
        assert_eq!(judge(seen(2.0, 3.0, 3.5), 4.0, false, true), Verdict::Missed);
        assert_eq!(judge(None, 4.0, false, true), Verdict::NotMeasured);
    }
}
