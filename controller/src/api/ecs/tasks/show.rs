//! Tasks as clients see them.

use loadline_model::network::Addresses;
use loadline_model::{
    ContainerSpec, ContainerStatus, HealthStatus, NetworkMode, Protocol, TaskSpec, TaskStatus,
};

use super::super::environment_files;
use super::super::shapes::{Attribute, NameValue, show_pairs, show_tags};
use super::shapes::{
    Attachment, Container, ContainerOverride, ManagedAgent, NetworkBinding, NetworkInterface,
    Task as Shown, TaskOverride,
};
use crate::api::wire::EpochSeconds;
use crate::state::{
    ARCHITECTURE_ATTRIBUTE, NodeAttribute, NodeEntry, Scope, Task, TaskContainer, TaskOverrides,
    View,
};

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
    let time = |ms: Option<u64>| ms.map(EpochSeconds::from_ms);
    Shown {
        attachments: attachments(task, spec.as_ref()),
        attributes: attributes(node),
        availability_zone: node.and_then(|node| node.record.zone()).map(ToOwned::to_owned),
        cluster_arn: scope.cluster_arn(&task.cluster),
        container_instance_arn: task.node.to_string(),
        connectivity: connectivity(node).into(),
        connectivity_at: time(connected_at_ms(node, task)),
        containers: containers(view, task, spec.as_ref()),
        cpu: task.reserved.cpu_units.to_string(),
        created_at: EpochSeconds::from_ms(task.created_at_ms),
        desired_status: task.desired.as_str().into(),
        enable_execute_command: task.execute_command,
        execution_stopped_at: time(task.execution_stopped_at_ms),
        group: task.group.to_string(),
        health_status: health(view, task).to_string(),
        last_status: task.last_status.as_str().into(),
        launch_type: "EC2".into(),
        memory: task.reserved.memory_mib.to_string(),
        overrides: overrides(task),
        pull_started_at: time(task.pull_started_at_ms),
        pull_stopped_at: time(task.pull_stopped_at_ms),
        started_at: time(task.started_at_ms),
        started_by: task.started_by.clone().map(String::from),
        stop_code: task.stop_code.map(|code| code.as_str().into()),
        stopped_at: time(task.stopped_at_ms),
        stopped_reason: task.stopped_reason.clone().map(String::from),
        stopping_at: time(task.stopping_at_ms),
        tags: if tags == Tags::Shown { show_tags(&task.tags) } else { vec![] },
        task_arn: task.arn.to_string(),
        task_definition_arn: scope.definition_arn(&task.definition),
        version: task.version,
    }
}

/// AWS names the processor, and nothing else of the node.
fn attributes(node: Option<&NodeEntry>) -> Vec<Attribute> {
    let own = node.into_iter().flat_map(|node| &node.record.attributes);
    let own = own.filter(|attribute| attribute.name == ARCHITECTURE_ATTRIBUTE);
    let show = |attribute: &NodeAttribute| Attribute {
        name: attribute.name.clone(),
        value: attribute.value.clone(),
        target_type: None,
        target_id: None,
    };
    own.map(show).collect()
}

fn connectivity(node: Option<&NodeEntry>) -> &'static str {
    if node.is_some_and(NodeEntry::agent_connected) { "CONNECTED" } else { "DISCONNECTED" }
}

/// Since when its node's agent has its session; a task is no older than itself, and what began
/// after its end is not about it.
fn connected_at_ms(node: Option<&NodeEntry>, task: &Task) -> Option<u64> {
    let since_ms = node?.connection.as_ref()?.since_ms.max(task.created_at_ms);
    task.stopped_at_ms.is_none_or(|end_ms| since_ms <= end_ms).then_some(since_ms)
}

fn health(view: &View, task: &Task) -> HealthStatus {
    let definition = view.definition(&task.definition.family, task.definition.revision);
    definition.map_or(HealthStatus::Unknown, |definition| definition.health_of(task))
}

fn containers(view: &View, task: &Task, spec: Option<&TaskSpec>) -> Vec<Container> {
    let spec_of = |container: &TaskContainer| {
        spec.and_then(|spec| spec.containers.iter().find(|spec| spec.name == container.name))
    };
    let show = |record: &TaskContainer| Container {
        network_bindings: bindings(view, task, record),
        network_interfaces: interfaces(task, spec),
        ..container(&view.scope, task, record, spec_of(record))
    };
    task.containers.iter().map(show).collect()
}

/// While it runs: what its node said, or for one that says nothing, what its definition asks for.
fn bindings(view: &View, task: &Task, record: &TaskContainer) -> Vec<NetworkBinding> {
    if record.last_status != ContainerStatus::Running {
        return Vec::new();
    }
    let show = |container: u16, host: u16, protocol: Protocol| NetworkBinding {
        bind_ip: "0.0.0.0".into(),
        container_port: container.into(),
        host_port: host.into(),
        protocol: protocol.as_str().into(),
    };
    let said = &record.network_bindings;
    if !said.is_empty() {
        return said.iter().map(|b| show(b.container_port, b.host_port, b.protocol)).collect();
    }
    let definition = view.definition(&task.definition.family, task.definition.revision);
    let body = definition.map(|definition| &definition.body);
    let body = body.filter(|body| body.network_mode == NetworkMode::Host);
    let own = body.into_iter().flat_map(|body| &body.ports);
    let own = own.filter(|port| port.container == record.name);
    own.map(|port| show(port.port, port.port, port.protocol)).collect()
}

/// With `awsvpc` a task has an interface of its own, which all its containers share.
fn attachments(task: &Task, spec: Option<&TaskSpec>) -> Vec<Attachment> {
    let Some(addresses) = interface(task, spec) else { return Vec::new() };
    let pair =
        |name: &str, value: String| NameValue { name: Some(name.into()), value: Some(value) };
    let ipv4 = Some(pair("privateIPv4Address", addresses.ipv4.to_string()));
    let ipv6 = addresses.ipv6.map(|own| pair("ipv6Address", own.to_string()));
    let status = match task.last_status {
        TaskStatus::Stopped => "DELETED",
        _ => "ATTACHED",
    };
    vec![Attachment {
        id: attachment_id(task),
        kind: "ElasticNetworkInterface".into(),
        status: status.into(),
        details: ipv4.into_iter().chain(ipv6).collect(),
    }]
}

fn interfaces(task: &Task, spec: Option<&TaskSpec>) -> Vec<NetworkInterface> {
    let show = |addresses: Addresses| NetworkInterface {
        attachment_id: attachment_id(task),
        private_ipv4_address: addresses.ipv4.to_string(),
        ipv6_address: addresses.ipv6.map(|own| own.to_string()),
    };
    interface(task, spec).map(show).into_iter().collect()
}

fn interface(task: &Task, spec: Option<&TaskSpec>) -> Option<Addresses> {
    spec.filter(|spec| spec.network_mode == NetworkMode::Awsvpc)?;
    task.containers.iter().find_map(|container| container.addresses)
}

/// A UUID that is the same whenever the task is shown: the task's own id in that form.
fn attachment_id(task: &Task) -> String {
    let id = task.arn.id();
    let part = |range: std::ops::Range<usize>| id.get(range).unwrap_or("0");
    [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-")
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
        image_digest: record.image_digest.clone().map(String::from),
        runtime_id: record.runtime_id.clone().map(String::from),
        last_status: record.last_status.as_str().into(),
        exit_code: record.exit_code,
        reason: record.reason.clone().map(String::from),
        network_bindings: vec![],
        network_interfaces: vec![],
        managed_agents: task.execute_command.then(|| vec![exec_agent(task, record)]),
        health_status: record.health.to_string(),
        cpu: text(spec.map_or(0, |spec| spec.cpu_units)),
        memory: spec.and_then(|spec| spec.memory_mib).map(text),
        memory_reservation: spec.and_then(|spec| spec.memory_reservation_mib).map(text),
    }
}

fn exec_agent(task: &Task, record: &TaskContainer) -> ManagedAgent {
    let started = task.started_at_ms.filter(|_| record.last_status != ContainerStatus::Pending);
    ManagedAgent {
        last_started_at: started.map(EpochSeconds::from_ms),
        name: "ExecuteCommandAgent".into(),
        last_status: record.last_status.as_str().into(),
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
            environment_files: None,
            cpu: None,
            memory: None,
            memory_reservation: None,
        };
        if let Some(over) = over {
            let number = |value: u64| i32::try_from(value).unwrap_or(i32::MAX);
            let pairs = show_pairs(&over.environment);
            shown.command = over.command.clone();
            shown.environment = Some(pairs).filter(|pairs| !pairs.is_empty());
            shown.environment_files = environment_files::shown(&over.environment_files);
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
