//! Whether counts are within the budget. Pure.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::Deserialize;

/// How far above the budget is still within it: kernels differ in a capability or a cgroup
/// controller, each of which costs a call or two.
const CALLS_TOLERANCE: f64 = 0.03;
/// The C library chooses its loops by the processor, and hashes have a random start.
const INSTRUCTIONS_TOLERANCE: f64 = 0.10;

/// What one run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) system_calls: u64,
    /// `None` where they were not counted.
    pub(crate) instructions: Option<u64>,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>6} system calls", self.system_calls)?;
        match self.instructions {
            Some(count) => write!(f, ", {count:>9} instructions"),
            None => Ok(()),
        }
    }
}

/// The budget, by scenario.
pub(crate) type Budget = BTreeMap<String, Allowed>;

/// What a scenario may do.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Allowed {
    system_calls: u64,
    instructions: u64,
}

/// What came out, as text and as numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) text: String,
    pub(crate) passed: usize,
    pub(crate) failed: usize,
}

/// Compares each scenario with its budget.
pub(crate) fn judge(budget: &Budget, seen: &[(&str, Counts)]) -> Verdict {
    let mut verdict = Verdict { text: String::new(), passed: 0, failed: 0 };
    for (scenario, counts) in seen {
        let Some(allowed) = budget.get(*scenario) else {
            verdict.failed += 1;
            let _ = writeln!(verdict.text, "FAILED {scenario}: benches/budget.json has no entry");
            continue;
        };
        let calls = Some(counts.system_calls);
        verdict.add(scenario, "system calls", calls, allowed.system_calls, CALLS_TOLERANCE);
        let (count, allowed) = (counts.instructions, allowed.instructions);
        verdict.add(scenario, "instructions", count, allowed, INSTRUCTIONS_TOLERANCE);
    }
    verdict
}

impl Verdict {
    fn add(&mut self, scenario: &str, what: &str, seen: Option<u64>, budget: u64, tolerance: f64) {
        let Some(seen) = seen else { return };
        let most = (budget as f64 * (1.0 + tolerance)) as u64;
        let least = (budget as f64 * (1.0 - 2.0 * tolerance)) as u64;
        if seen > most {
            self.failed += 1;
            let percent = tolerance * 100.0;
            let _ = writeln!(
                self.text,
                "FAILED {scenario}: {seen} {what}, the budget is {budget} (+{percent:.0} %)\n  \
                 What made the runtime do more? `strace -f` and `cargo xtask bench counts` show \
                 it.\n  If it is worth its price, raise the number in benches/budget.json and say \
                 in the commit what it buys."
            );
            return;
        }
        self.passed += 1;
        let _ = writeln!(self.text, "ok - {scenario}: {seen} {what} of {budget}");
        if seen < least {
            let _ = writeln!(self.text, "  well below: lower the number in benches/budget.json");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, Counts, judge};

    fn check(system_calls: u64, instructions: Option<u64>) -> (usize, usize) {
        let budget: Budget =
            serde_json::from_str(r#"{ "run": { "system_calls": 100, "instructions": 1000 } }"#)
                .unwrap();
        let verdict = judge(&budget, &[("run", Counts { system_calls, instructions })]);
        (verdict.passed, verdict.failed)
    }

    #[test]
    fn the_tolerance_is_the_limit() {
        assert_eq!(check(103, Some(1100)), (2, 0));
        assert_eq!(check(104, Some(1100)), (1, 1));
        assert_eq!(check(103, Some(1101)), (1, 1));
        assert_eq!(check(50, None), (1, 0));
    }

    #[test]
    fn a_scenario_without_a_budget_fails() {
        let counts = Counts { system_calls: 1, instructions: None };
        assert_eq!(judge(&Budget::new(), &[("run", counts)]).failed, 1);
    }
}
