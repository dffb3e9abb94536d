//! Tasks for tests.

use loadline_model::{ContainerName, ContainerSpec, TaskArn, TaskSpec};

use super::Task;

/// A container with nothing special about it.
pub(crate) fn container(name: &str) -> ContainerSpec {
    ContainerSpec {
        memory_mib: Some(16),
        stop_timeout_s: Some(2),
        ..ContainerSpec::new(ContainerName::parse(name).unwrap(), "probe:latest")
    }
}

/// Task number `n`, with one container, just accepted.
pub(crate) fn task(n: u32) -> Task {
    Task::accepted(spec(n), "boot")
}

/// The spec of task number `n`.
pub(crate) fn spec(n: u32) -> TaskSpec {
    let arn = TaskArn::parse(&format!("arn:aws:ecs:r:1:task/default/{n}")).unwrap();
    TaskSpec::new(arn, vec![container("main")])
}
