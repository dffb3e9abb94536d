//! Whether a container may start: `dependsOn` and `volumesFrom`, by the ECS agent's rules. Pure.

use loadline_model::{Condition, ContainerStatus, HealthStatus};

use super::reconcile::{End, Seen, Stage};
use super::record::{Container, Task};

/// What stands between a container and its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// Nothing.
    Open,
    /// Something that may still come; until then, in Unix milliseconds, where there is an end.
    Wait(Option<u64>),
    /// Something that never comes: why, in words.
    Never(String),
}

impl Gate {
    /// Both must be open; the first that never is wins.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Never(why), _) | (_, Self::Never(why)) => Self::Never(why),
            (Self::Wait(a), Self::Wait(b)) => Self::Wait(a.into_iter().chain(b).min()),
            (Self::Wait(at), Self::Open) | (Self::Open, Self::Wait(at)) => Self::Wait(at),
            (Self::Open, Self::Open) => Self::Open,
        }
    }
}

/// What container `at` waits for. The record must be as new as what was seen.
pub(super) fn gate(task: &Task, seen: &[Seen], at: usize, now_ms: u64) -> Gate {
    let spec = &task.spec.containers[at];
    let mut gate = Gate::Open;
    for dependency in &spec.depends_on {
        let Some(on) = task.spec.position(&dependency.container) else {
            let on = &dependency.container;
            return Gate::Never(format!("there is no container '{on}'"));
        };
        gate = gate.and(condition(task, on, dependency.condition, now_ms));
    }
    for from in &spec.volumes_from {
        let source = task.spec.position(&from.source_container);
        gate = gate.and(match source {
            Some(source) => volumes(task, seen, source),
            None => Gate::Never(format!("there is no container '{}'", from.source_container)),
        });
    }
    gate
}

fn condition(task: &Task, on: usize, condition: Condition, now_ms: u64) -> Gate {
    let (spec, container) = (&task.spec.containers[on], &task.containers[on]);
    let verdict = match condition {
        Condition::Start => return started(container),
        Condition::Complete => ended(container, |_| true),
        Condition::Success => ended(container, |code| code == 0),
        Condition::Healthy => healthy(container),
    };
    let never = |why: String| {
        Gate::Never(format!("{condition} of container '{}' was awaited, {why}", spec.name))
    };
    match verdict {
        Ok(true) => Gate::Open,
        Err(why) => never(why),
        Ok(false) => {
            let timeout_s = spec.start_timeout_s.filter(|seconds| 0 < *seconds);
            let until_ms = container
                .started_at_ms
                .zip(timeout_s)
                .map(|(started_ms, seconds)| started_ms + u64::from(seconds) * 1000);
            match until_ms {
                Some(until_ms) if until_ms <= now_ms => never(format!(
                    "and did not come within its startTimeout of {} s",
                    timeout_s.unwrap_or_default()
                )),
                until_ms => Gate::Wait(until_ms),
            }
        }
    }
}

fn started(container: &Container) -> Gate {
    match container.status {
        ContainerStatus::Running | ContainerStatus::Stopped => Gate::Open,
        ContainerStatus::Pending => Gate::Wait(None),
    }
}

fn ended(container: &Container, wanted: fn(i32) -> bool) -> Result<bool, String> {
    match (container.status, container.exit_code) {
        (ContainerStatus::Stopped, Some(code)) if wanted(code) => Ok(true),
        (ContainerStatus::Stopped, Some(code)) => {
            Err(with_cause(format!("but it ended with {code}"), container))
        }
        (ContainerStatus::Stopped, None) => {
            Err(with_cause("but it ended without an exit code".to_owned(), container))
        }
        (ContainerStatus::Pending | ContainerStatus::Running, _) => Ok(false),
    }
}

/// What `container` says of its end stands in the task's reason too: an image or a secret that
/// can't be had is what a person has to mend, not the wait for it.
fn with_cause(mut why: String, container: &Container) -> String {
    if let Some(cause) = &container.reason {
        why.push_str(": ");
        why.push_str(cause);
    }
    why
}

fn healthy(container: &Container) -> Result<bool, String> {
    let status = container.health.as_ref().map_or(HealthStatus::Unknown, |health| health.status);
    match container.status {
        ContainerStatus::Stopped => Err(with_cause("but it has ended".to_owned(), container)),
        ContainerStatus::Pending | ContainerStatus::Running => Ok(status == HealthStatus::Healthy),
    }
}

/// The source's mounts are known once its bundle was made.
fn volumes(task: &Task, seen: &[Seen], source: usize) -> Gate {
    match &seen[source].stage {
        Stage::Waiting | Stage::Pulling | Stage::Pulled | Stage::Preparing => Gate::Wait(None),
        Stage::Ended(End::NotStarted(_) | End::GaveUp(_) | End::Skipped)
            if task.containers[source].runs == 0 =>
        {
            let name = &task.spec.containers[source].name;
            let why = format!("the mounts of container '{name}' were never made");
            Gate::Never(with_cause(why, &task.containers[source]))
        }
        Stage::Prepared
        | Stage::Launching
        | Stage::Created
        | Stage::Starting
        | Stage::Running { .. }
        | Stage::Ended(_) => Gate::Open,
    }
}

/// Whether a container that waited for `at` has not ended yet: `at` is then stopped after it.
pub(super) fn has_dependents(task: &Task, seen: &[Seen], at: usize) -> bool {
    let name = &task.spec.containers[at].name;
    let others = task.spec.containers.iter().zip(seen);
    others
        .filter(|(_, seen)| !seen.has_ended())
        .any(|(spec, _)| spec.depends_on.iter().any(|dependency| dependency.container == *name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::testing;
    use loadline_model::Dependency;

    /// Container 1 waits for container 0.
    fn check(wait: Condition, change: fn(&mut Container), expected: &Gate) {
        let mut spec = testing::spec(1);
        spec.containers[0].start_timeout_s = Some(2);
        let mut dependent = testing::container("dependent");
        let container = spec.containers[0].name.clone();
        dependent.depends_on = vec![Dependency { container, condition: wait }];
        spec.containers.push(dependent);
        let mut task = Task::accepted(spec, "boot");
        change(&mut task.containers[0]);
        let seen = vec![Seen::nothing(); 2];
        assert_eq!(gate(&task, &seen, 1, 10_000), *expected, "{wait}");
    }

    fn runs(container: &mut Container) {
        container.status = ContainerStatus::Running;
        container.started_at_ms = Some(9_000);
    }

    fn runs_long(container: &mut Container) {
        container.status = ContainerStatus::Running;
        container.started_at_ms = Some(8_000);
    }

    fn is_well(container: &mut Container) {
        runs_long(container);
        let (status, exit_code, output) = (HealthStatus::Healthy, Some(0), String::new());
        container.health = Some(super::super::Health { status, since_ms: 1, exit_code, output });
    }

    fn is_over(container: &mut Container, exit_code: Option<i32>) {
        runs_long(container);
        container.status = ContainerStatus::Stopped;
        container.exit_code = exit_code;
    }

    #[test]
    fn each_condition_opens_waits_and_ends_as_in_ecs() {
        use Condition::{Complete, Healthy, Start, Success};
        let never =
            |text: &str| Gate::Never(text.replace("OF", "of container 'main' was awaited,"));
        let late = "and did not come within its startTimeout of 2 s";
        check(Start, |_| {}, &Gate::Wait(None));
        check(Start, runs, &Gate::Open);
        check(Start, |c| is_over(c, None), &Gate::Open);
        check(Complete, |_| {}, &Gate::Wait(None));
        check(Complete, runs, &Gate::Wait(Some(11_000)));
        check(Complete, runs_long, &never(&format!("COMPLETE OF {late}")));
        check(Complete, |c| is_over(c, Some(3)), &Gate::Open);
        let unknown = never("COMPLETE OF but it ended without an exit code");
        check(Complete, |c| is_over(c, None), &unknown);
        check(Success, |c| is_over(c, Some(0)), &Gate::Open);
        check(Success, |c| is_over(c, Some(3)), &never("SUCCESS OF but it ended with 3"));
        check(Healthy, runs, &Gate::Wait(Some(11_000)));
        check(Healthy, is_well, &Gate::Open);
        check(Healthy, runs_long, &never(&format!("HEALTHY OF {late}")));
        check(Healthy, |c| is_over(c, Some(0)), &never("HEALTHY OF but it has ended"));
    }

    #[test]
    fn who_waits_in_vain_names_the_cause_and_not_the_wait_alone() {
        fn fails(container: &mut Container) {
            is_over(container, None);
            container.reason = Some("CannotPullContainerError: no".into());
        }
        for (condition, why) in [
            (Condition::Success, "but it ended without an exit code"),
            (Condition::Healthy, "but it has ended"),
        ] {
            let waited = format!("{condition} of container 'main' was awaited");
            let never = format!("{waited}, {why}: CannotPullContainerError: no");
            check(condition, fails, &Gate::Never(never));
        }
    }
}
