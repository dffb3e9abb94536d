//! Health checks as decisions: when the next one is due, and what its outcome means. Pure.

use loadline_model::lifecycle::HEALTH_OUTPUT_CHARS_MAX;
use loadline_model::{HealthCheck, HealthStatus};

use super::record::Health;

/// What is seen of one container's health checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    /// Whether one is being made.
    pub under_way: bool,
    /// When the newest of this run ended, as far as this agent saw it, in Unix milliseconds.
    pub last_end_ms: Option<u64>,
    /// Failures in a row that count.
    pub failures: u32,
    /// The verdict so far; `None` before the first that counts.
    pub verdict: Option<Health>,
}

/// How one check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Of the command; `None` where it could not be run, or took too long and was ended.
    pub exit_code: Option<i32>,
    /// What it said, or why there is no exit code.
    pub output: String,
}

/// When the next check is due, in Unix milliseconds: an interval after the container's start, and
/// after the end of the check before.
#[must_use]
pub fn due_at_ms(check: &HealthCheck, checks: &Checks, started_at_ms: u64) -> u64 {
    let since = checks.last_end_ms.unwrap_or(started_at_ms);
    since.saturating_add(u64::from(check.interval_s) * 1000)
}

/// Takes in the outcome of a check that ended now. A failure during the start period counts only
/// once a check has succeeded; as many in a row as `retries` make the container unhealthy.
pub fn take_in(
    check: &HealthCheck,
    checks: &mut Checks,
    outcome: Outcome,
    started_at_ms: u64,
    now_ms: u64,
) {
    checks.under_way = false;
    checks.last_end_ms = Some(now_ms);
    let before = checks.verdict.as_ref().map_or(HealthStatus::Unknown, |verdict| verdict.status);
    let status = if outcome.exit_code == Some(0) {
        checks.failures = 0;
        HealthStatus::Healthy
    } else {
        let starting = now_ms < started_at_ms + u64::from(check.start_period_s) * 1000;
        if !starting || before != HealthStatus::Unknown {
            checks.failures = checks.failures.saturating_add(1);
        }
        if check.retries <= checks.failures { HealthStatus::Unhealthy } else { before }
    };
    if status != before {
        let output = outcome.output.chars().take(HEALTH_OUTPUT_CHARS_MAX).collect();
        let exit_code = outcome.exit_code;
        checks.verdict = Some(Health { status, since_ms: now_ms, exit_code, output });
    }
}

/// What to run for a check.
#[must_use]
pub fn arguments(check: &HealthCheck) -> Vec<String> {
    match check.command.split_first() {
        Some((kind, rest)) if kind == "CMD-SHELL" => ["/bin/sh".to_owned(), "-c".to_owned()]
            .into_iter()
            .chain(rest.iter().cloned())
            .collect(),
        Some((_, rest)) => rest.to_vec(),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(retries: u32, start_period_s: u32) -> HealthCheck {
        let command = vec!["CMD-SHELL".into(), "exit 0".into()];
        HealthCheck { command, interval_s: 10, timeout_s: 5, retries, start_period_s }
    }

    /// Makes checks 10 s apart from 10 s after the start; the status after each.
    fn statuses(check: &HealthCheck, exit_codes: &[Option<i32>]) -> Vec<&'static str> {
        let mut checks = Checks::default();
        let mut seen = Vec::new();
        for (n, exit_code) in exit_codes.iter().enumerate() {
            let now_ms = 1_000 + (n as u64 + 1) * 10_000;
            let outcome = Outcome { exit_code: *exit_code, output: String::new() };
            take_in(check, &mut checks, outcome, 1_000, now_ms);
            seen.push(checks.verdict.as_ref().map_or("-", |verdict| verdict.status.as_str()));
        }
        seen
    }

    #[test]
    fn a_success_is_enough_and_a_row_of_failures_is_needed() {
        let (good, bad, hung) = (Some(0), Some(1), None);
        let (h, u) = ("HEALTHY", "UNHEALTHY");
        assert_eq!(statuses(&check(3, 0), &[good, bad, bad, hung]), [h, h, h, u]);
        assert_eq!(statuses(&check(2, 0), &[bad, hung, good, bad, bad]), ["-", u, h, h, u]);
        assert_eq!(statuses(&check(2, 0), &[bad, good, bad]), ["-", h, h], "not in a row");
        assert_eq!(statuses(&check(1, 0), &[hung]), [u]);
    }

    #[test]
    fn failures_in_the_start_period_count_only_after_a_success() {
        let (good, bad) = (Some(0), Some(1));
        let (h, u) = ("HEALTHY", "UNHEALTHY");
        assert_eq!(statuses(&check(2, 25), &[bad, bad, bad, bad]), ["-", "-", "-", u]);
        assert_eq!(statuses(&check(2, 300), &[good, bad, bad]), [h, h, u]);
    }

    #[test]
    fn a_verdict_keeps_its_time_and_words_until_it_changes() {
        let mut checks = Checks::default();
        let said = |text: &str| Outcome { exit_code: Some(0), output: text.to_owned() };
        take_in(&check(1, 0), &mut checks, said(&"x".repeat(2_000)), 0, 10);
        take_in(&check(1, 0), &mut checks, said("later"), 0, 20);
        let verdict = checks.verdict.unwrap();
        assert_eq!((verdict.since_ms, verdict.output.len()), (10, HEALTH_OUTPUT_CHARS_MAX));
    }

    #[test]
    fn checks_are_an_interval_apart() {
        let mut checks = Checks::default();
        assert_eq!(due_at_ms(&check(1, 0), &checks, 5), 10_005);
        checks.last_end_ms = Some(20_000);
        assert_eq!(due_at_ms(&check(1, 0), &checks, 5), 30_000);
    }

    #[test]
    fn both_forms_of_a_command_are_run_as_docker_runs_them() {
        assert_eq!(arguments(&check(1, 0)), ["/bin/sh", "-c", "exit 0"]);
        let command = ["CMD", "/probe", "a b"].map(str::to_owned).to_vec();
        assert_eq!(arguments(&HealthCheck { command, ..check(1, 0) }), ["/probe", "a b"]);
    }
}
