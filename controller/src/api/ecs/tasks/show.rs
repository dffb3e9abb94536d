//! Tasks as clients see them.

use loadline_model::{ContainerSpec, ContainerStatus, TaskSpec};

use super::super::shapes::{show_pairs, show_tags};
use super::shapes::{Container, ContainerOverride, NetworkBinding, Task as Shown, TaskOverride};
use crate::api::wire::EpochSeconds;
use crate::state::{HostPort, Scope, Task, TaskContainer, TaskOverrides, View};

/// Whether a task is shown with its tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tags {
    Shown,
    Left,
}

/// A task as of a view that knows its definition.
pub(super) fn task(view: &View, task: &Task, tags: Tags) -> Shown {
    let scope = &view.scope;
    let spec = view.assignment(task).map(|assignment| assignment.task);
    let node = view.node(&task.node);
    let zone = node.and_then(|node| {
        node.record.attributes.iter().find(|attribute| attribute.name == "ecs.availability-zone")
    });
    let time = |ms: Option<u64>| ms.map(EpochSeconds::from_ms);
    Shown {
        attachments: vec![],
        attributes: vec![],
        availability_zone: zone.and_then(|attribute| attribute.value.clone()),
        cluster_arn: scope.cluster_arn(&task.cluster),
        container_instance_arn: task.node.to_string(),
        containers: containers(view, task, spec.as_ref()),
        cpu: task.reserved.cpu_units.to_string(),
        created_at: EpochSeconds::from_ms(task.created_at_ms),
        desired_status: task.desired.as_str().into(),
        enable_execute_command: false,
        execution_stopped_at: time(task.execution_stopped_at_ms),
        group: task.group.clone(),
        health_status: "UNKNOWN".into(),
        last_status: task.last_status.as_str().into(),
        launch_type: "EC2".into(),
        memory: task.reserved.memory_mib.to_string(),
        overrides: overrides(task),
        started_at: time(task.started_at_ms),
        started_by: task.started_by.clone(),
        stop_code: task.stop_code.map(|code| code.as_str().into()),
        stopped_at: time(task.stopped_at_ms),
        stopped_reason: task.stopped_reason.clone(),
        stopping_at: time(task.stopping_at_ms),
        tags: if tags == Tags::Shown { show_tags(&task.tags) } else { vec![] },
        task_arn: task.arn.to_string(),
        task_definition_arn: scope.definition_arn(&task.definition),
        version: task.version,
    }
}

fn containers(view: &View, task: &Task, spec: Option<&TaskSpec>) -> Vec<Container> {
    let spec_of = |container: &TaskContainer| {
        spec.and_then(|spec| spec.containers.iter().find(|spec| spec.name == container.name))
    };
    let show = |record: &TaskContainer| Container {
        network_bindings: bindings(view, task, record),
        ..container(&view.scope, task, record, spec_of(record))
    };
    task.containers.iter().map(show).collect()
}

fn bindings(view: &View, task: &Task, record: &TaskContainer) -> Vec<NetworkBinding> {
    let key = &task.definition;
    let definition = view.definition(&key.family, key.revision);
    let ports = definition.map_or(&[][..], |definition| &definition.body.ports);
    let runs = record.last_status == ContainerStatus::Running;
    let own = ports.iter().filter(|port| runs && port.container == record.name);
    let show = |port: &HostPort| NetworkBinding {
        bind_ip: "0.0.0.0".into(),
        container_port: port.port.into(),
        host_port: port.port.into(),
        protocol: port.protocol.as_str().into(),
    };
    own.map(show).collect()
}

fn container(
    scope: &Scope,
    task: &Task,
    record: &TaskContainer,
    spec: Option<&ContainerSpec>,
) -> Container {
    let text = |number: u64| number.to_string();
    Container {
        container_arn: scope.container_arn(&task.arn, &record.id),
        task_arn: task.arn.to_string(),
        name: record.name.to_string(),
        image: spec.map(|spec| spec.image.clone()),
        image_digest: record.image_digest.clone(),
        runtime_id: record.runtime_id.clone(),
        last_status: record.last_status.as_str().into(),
        exit_code: record.exit_code,
        reason: record.reason.clone(),
        network_bindings: vec![],
        network_interfaces: vec![],
        health_status: "UNKNOWN".into(),
        cpu: text(spec.map_or(0, |spec| spec.cpu_units)),
        memory: spec.and_then(|spec| spec.memory_mib).map(text),
        memory_reservation: spec.and_then(|spec| spec.memory_reservation_mib).map(text),
    }
}

/// AWS names every container here, also those that nothing was laid over.
fn overrides(task: &Task) -> TaskOverride {
    let given = task.overrides.as_deref();
    let containers = task.containers.iter().map(|container| {
        let over =
            given.and_then(|given| given.containers.iter().find(|c| c.name == container.name));
        let mut shown = ContainerOverride {
            name: Some(container.name.to_string()),
            command: None,
            environment: None,
            cpu: None,
            memory: None,
            memory_reservation: None,
        };
        if let Some(over) = over {
            let number = |value: u64| i32::try_from(value).unwrap_or(i32::MAX);
            let pairs = show_pairs(&over.environment);
            shown.command = over.command.clone();
            shown.environment = Some(pairs).filter(|pairs| !pairs.is_empty());
            shown.cpu = over.cpu_units.map(number);
            shown.memory = over.memory_mib.map(number);
            shown.memory_reservation = over.memory_reservation_mib.map(number);
        }
        shown
    });
    let text = |of: fn(&TaskOverrides) -> Option<u64>| given.and_then(of).map(|n| n.to_string());
    TaskOverride {
        container_overrides: Some(containers.collect()),
        inference_accelerator_overrides: Some(vec![]),
        cpu: text(|given| given.cpu_units),
        memory: text(|given| given.memory_mib),
        task_role_arn: given.and_then(|given| given.roles.task.clone()),
        execution_role_arn: given.and_then(|given| given.roles.execution.clone()),
    }
}
