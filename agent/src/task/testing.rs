//! Tasks for tests.

use loadline_model::{ContainerName, ContainerSpec, NetworkMode, TaskArn, TaskSpec};

use super::Task;

/// A container with nothing special about it.
pub(crate) fn container(name: &str) -> ContainerSpec {
    ContainerSpec {
        name: ContainerName::parse(name).unwrap(),
        image: "probe:latest".into(),
        cpu_units: 0,
        memory_mib: Some(16),
        memory_reservation_mib: None,
        essential: true,
        entry_point: None,
        command: None,
        environment: vec![],
        working_directory: None,
        user: None,
        readonly_root_filesystem: false,
        stop_timeout_s: Some(2),
        labels: vec![],
    }
}

/// Task number `n`, with one container, just accepted.
pub(crate) fn task(n: u32) -> Task {
    Task::accepted(spec(n), "boot")
}

/// The spec of task number `n`.
pub(crate) fn spec(n: u32) -> TaskSpec {
    TaskSpec {
        arn: TaskArn::parse(&format!("arn:aws:ecs:r:1:task/default/{n}")).unwrap(),
        family: "f".into(),
        revision: 1,
        cpu_units: None,
        memory_mib: None,
        network_mode: NetworkMode::None,
        containers: vec![container("main")],
    }
}
