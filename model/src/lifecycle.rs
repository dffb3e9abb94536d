//! When a container starts, whether it is well, and what happens after it ends.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{ContainerName, TaskSpec};

/// One entry of `dependsOn`: what must hold of another container before this one starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// The container that is waited for.
    pub container: ContainerName,
    /// Until what.
    pub condition: Condition,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// It runs, or has run.
    Start,
    /// It has ended, with whatever exit code.
    Complete,
    /// It has ended with exit code 0; another code is the end of waiting.
    Success,
    /// Its health check says that it is healthy.
    Healthy,
}

impl Condition {
    /// Every condition.
    pub const ALL: [Self; 4] = [Self::Start, Self::Complete, Self::Success, Self::Healthy];

    /// ECS's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "START",
            Self::Complete => "COMPLETE",
            Self::Success => "SUCCESS",
            Self::Healthy => "HEALTHY",
        }
    }

    /// Whether it waits for an end, which an essential container's would be the whole task's.
    #[must_use]
    pub const fn awaits_end(self) -> bool {
        matches!(self, Self::Complete | Self::Success)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a container is asked whether it is well. The seconds' ranges are ECS's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// `CMD` and a program with its arguments, or `CMD-SHELL` and a text for `/bin/sh -c`.
    pub command: Vec<String>,
    /// From the end of one check to the next, 5 to 300 s.
    pub interval_s: u32,
    /// A check that takes longer has failed, 2 to 60 s.
    pub timeout_s: u32,
    /// So many failures in a row make the container unhealthy, 1 to 10.
    pub retries: u32,
    /// Failures count only after this, or after the first success, 0 to 300 s.
    pub start_period_s: u32,
}

/// The interval where a definition sets none, in seconds (ECS).
pub const HEALTH_INTERVAL_S: u32 = 30;
/// The timeout where a definition sets none, in seconds (ECS).
pub const HEALTH_TIMEOUT_S: u32 = 5;
/// The retries where a definition sets none (ECS).
pub const HEALTH_RETRIES: u32 = 3;
/// Most characters of a health check's output that are kept (the ECS agent's bound).
pub const HEALTH_OUTPUT_CHARS_MAX: usize = 1024;

/// Whether a container or a task is well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthStatus {
    /// Nobody asked, or nobody knows yet.
    #[default]
    Unknown,
    /// The newest check that counts succeeded.
    Healthy,
    /// As many checks as count have failed in a row.
    Unhealthy,
}

impl HealthStatus {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Unknown, Self::Healthy, Self::Unhealthy];

    /// ECS's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Healthy => "HEALTHY",
            Self::Unhealthy => "UNHEALTHY",
        }
    }

    /// A task's health, from its essential containers that have a health check: all must be
    /// healthy, one that is unhealthy is enough for the opposite.
    #[must_use]
    pub fn of_task(essential_and_checked: impl IntoIterator<Item = Self>) -> Self {
        let mut all = None;
        for status in essential_and_checked {
            all = match (all, status) {
                (_, Self::Unhealthy) => return Self::Unhealthy,
                (None | Some(Self::Healthy), status) => Some(status),
                (Some(known), _) => Some(known),
            };
        }
        all.unwrap_or_default()
    }
}

impl fmt::Display for HealthStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Starts a container again after it has ended, in the same root filesystem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartPolicy {
    /// Whether it does so.
    pub enabled: bool,
    /// An end with one of these is final.
    pub ignored_exit_codes: Vec<i32>,
    /// An end sooner than this after its start is final, 60 to 1800 s.
    pub attempt_period_s: u32,
}

/// `restartAttemptPeriod` where a definition sets none, in seconds (ECS).
pub const RESTART_ATTEMPT_PERIOD_S: u32 = 300;

/// What is wrong with the dependencies of a task's containers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DependencyFault {
    /// A container that waits for itself.
    #[error("container '{container}' depends on itself")]
    Itself {
        /// Which.
        container: ContainerName,
    },
    /// A container that the task does not have.
    #[error("container '{container}' depends on '{on}', which the task does not have")]
    Unknown {
        /// Which waits.
        container: ContainerName,
        /// For whom.
        on: ContainerName,
    },
    /// HEALTHY of a container that nobody checks.
    #[error(
        "container '{container}' waits for '{on}' to be HEALTHY, which has no health check: give \
         it one"
    )]
    NoHealthCheck {
        /// Which waits.
        container: ContainerName,
        /// For whom.
        on: ContainerName,
    },
    /// COMPLETE or SUCCESS of a container whose end ends the task.
    #[error(
        "container '{container}' waits for {condition} of '{on}', which is essential: when it \
         ends, so does the task"
    )]
    AwaitsEssential {
        /// Which waits.
        container: ContainerName,
        /// For whom.
        on: ContainerName,
        /// For what.
        condition: Condition,
    },
    /// Containers that wait for each other.
    #[error("the containers {} wait for each other in a circle", names(.0))]
    Cycle(Vec<ContainerName>),
}

fn names(circle: &[ContainerName]) -> String {
    let again = circle.first();
    let names: Vec<String> = circle.iter().chain(again).map(|name| format!("'{name}'")).collect();
    names.join(" -> ")
}

impl TaskSpec {
    /// Where a container stands in the list.
    #[must_use]
    pub fn position(&self, name: &ContainerName) -> Option<usize> {
        self.containers.iter().position(|container| container.name == *name)
    }

    /// The first thing that is wrong with `dependsOn` and `volumesFrom`: with such a fault some
    /// container could never start.
    #[must_use]
    pub fn dependency_fault(&self) -> Option<DependencyFault> {
        for container in &self.containers {
            let name = &container.name;
            for dependency in &container.depends_on {
                let fault = self.fault_of(name, &dependency.container, Some(dependency.condition));
                if fault.is_some() {
                    return fault;
                }
            }
            let sources = container.volumes_from.iter().map(|from| &from.source_container);
            if let Some(fault) = sources.into_iter().find_map(|on| self.fault_of(name, on, None)) {
                return Some(fault);
            }
        }
        self.cycle().map(DependencyFault::Cycle)
    }

    fn fault_of(
        &self,
        container: &ContainerName,
        on: &ContainerName,
        condition: Option<Condition>,
    ) -> Option<DependencyFault> {
        let (container, on) = (container.clone(), on.clone());
        if container == on {
            return Some(DependencyFault::Itself { container });
        }
        let Some(at) = self.position(&on) else {
            return Some(DependencyFault::Unknown { container, on });
        };
        let target = &self.containers[at];
        match condition? {
            Condition::Healthy if target.health_check.is_none() => {
                Some(DependencyFault::NoHealthCheck { container, on })
            }
            condition if condition.awaits_end() && target.essential => {
                Some(DependencyFault::AwaitsEssential { container, on, condition })
            }
            _ => None,
        }
    }

    /// Who must be there before container `at`: its dependencies and the sources of its volumes.
    pub fn needs(&self, at: usize) -> impl Iterator<Item = usize> {
        let container = self.containers.get(at);
        let waits = container.into_iter().flat_map(|c| c.depends_on.iter().map(|d| &d.container));
        let sources = container.into_iter().flat_map(|c| &c.volumes_from);
        let sources = sources.map(|from| &from.source_container);
        waits.chain(sources).filter_map(|name| self.position(name))
    }

    fn cycle(&self) -> Option<Vec<ContainerName>> {
        let mut done = vec![false; self.containers.len()];
        (0..done.len()).find_map(|at| self.cycle_from(at, &mut Vec::new(), &mut done))
    }

    fn cycle_from(
        &self,
        at: usize,
        path: &mut Vec<usize>,
        done: &mut [bool],
    ) -> Option<Vec<ContainerName>> {
        if let Some(begin) = path.iter().position(|seen| *seen == at) {
            let circle = &path[begin..];
            return Some(circle.iter().map(|at| self.containers[*at].name.clone()).collect());
        }
        if done[at] {
            return None;
        }
        path.push(at);
        let found = self.needs(at).find_map(|next| self.cycle_from(next, path, done));
        path.pop();
        done[at] = true;
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ContainerSpec, TaskArn, VolumeFrom};

    fn name(text: &str) -> ContainerName {
        ContainerName::parse(text).unwrap()
    }

    /// A task of containers written as `name`, or `name:on=CONDITION,…`; a name in capitals is
    /// essential, one that ends with `h` has a health check.
    fn task(containers: &[&str]) -> TaskSpec {
        let container = |text: &&str| {
            let (own, waits) = text.split_once(':').unwrap_or((text, ""));
            let mut spec = ContainerSpec::new(name(own), "x");
            spec.essential = own.chars().all(char::is_uppercase);
            spec.health_check = own.ends_with('h').then(|| HealthCheck {
                command: vec!["CMD".into(), "true".into()],
                interval_s: HEALTH_INTERVAL_S,
                timeout_s: HEALTH_TIMEOUT_S,
                retries: HEALTH_RETRIES,
                start_period_s: 0,
            });
            for wait in waits.split(',').filter(|wait| !wait.is_empty()) {
                let (on, condition) = wait.split_once('=').unwrap();
                let condition = Condition::ALL.into_iter().find(|c| c.as_str() == condition);
                match condition {
                    Some(condition) => {
                        spec.depends_on.push(Dependency { container: name(on), condition });
                    }
                    None => spec
                        .volumes_from
                        .push(VolumeFrom { source_container: name(on), read_only: false }),
                }
            }
            spec
        };
        let arn = TaskArn::parse("arn:aws:ecs:r:1:task/default/1").unwrap();
        TaskSpec::new(arn, containers.iter().map(container).collect())
    }

    fn check(containers: &[&str], expected: Option<&str>) {
        let fault = task(containers).dependency_fault().map(|fault| fault.to_string());
        assert_eq!(fault.as_deref(), expected, "{containers:?}");
    }

    #[test]
    fn dependencies_that_can_never_be_met_are_named() {
        check(&["a", "b:a=START", "c:a=COMPLETE,b=SUCCESS"], None);
        check(&["ah", "b:ah=HEALTHY,c=VOLUMES", "c"], None);
        check(&["a:a=START"], Some("container 'a' depends on itself"));
        let unknown = "container 'a' depends on 'b', which the task does not have";
        check(&["a:b=START"], Some(unknown));
        check(&["a:b=VOLUMES"], Some(unknown));
        let unchecked = "container 'b' waits for 'a' to be HEALTHY, which has no health check: \
                         give it one";
        check(&["a", "b:a=HEALTHY"], Some(unchecked));
        let essential = "container 'b' waits for SUCCESS of 'A', which is essential: when it ends, \
                         so does the task";
        check(&["A", "b:A=SUCCESS"], Some(essential));
    }

    #[test]
    fn a_circle_is_told_with_every_container_in_it() {
        let circle =
            |names: &str| format!("the containers {names} wait for each other in a circle");
        check(&["a:b=START", "b:a=START"], Some(&circle("'a' -> 'b' -> 'a'")));
        check(
            &["z:a=START", "a:b=START", "b:ch=HEALTHY", "ch:a=VOLUMES"],
            Some(&circle("'a' -> 'b' -> 'ch' -> 'a'")),
        );
        check(&["a", "b:a=START", "c:a=START,b=START", "d:b=START,c=START"], None);
    }

    #[test]
    fn a_task_is_as_well_as_its_essential_checked_containers() {
        use HealthStatus::{Healthy, Unhealthy, Unknown};
        for (containers, expected) in [
            (&[][..], Unknown),
            (&[Healthy, Healthy], Healthy),
            (&[Healthy, Unknown], Unknown),
            (&[Unknown, Healthy], Unknown),
            (&[Unknown, Unhealthy, Healthy], Unhealthy),
        ] {
            assert_eq!(HealthStatus::of_task(containers.iter().copied()), expected);
        }
    }
}
