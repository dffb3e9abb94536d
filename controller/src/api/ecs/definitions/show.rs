//! Task definitions as clients see them.

use std::collections::BTreeMap;

use loadline_model::{ContainerSpec, IpcMode, KeyValue, PidMode};

use super::super::environment_files;
use super::super::shapes::{Attribute, show_pairs};
use super::network;
use super::shapes::{
    ContainerDefinition, RuntimePlatform, TaskDefinition as Shown,
    TaskDefinitionPlacementConstraint,
};
use super::{lifecycle, linux, logs, secrets, storage};
use crate::api::wire::EpochSeconds;
use crate::state::{DefinitionBody, PlacementConstraint, Scope, TaskDefinition};

/// A revision. The empty lists are there because AWS shows them and clients compare them.
pub(super) fn definition(scope: &Scope, record: &TaskDefinition) -> Shown {
    let body = &record.body;
    let requires = body.required_attributes();
    let compatibilities = &body.requires_compatibilities;
    Shown {
        task_definition_arn: scope.definition_arn(&record.key()),
        container_definitions: body.containers.iter().map(|spec| container(spec, body)).collect(),
        task_role_arn: body.roles.task.clone(),
        execution_role_arn: body.roles.execution.clone(),
        family: body.family.to_string(),
        network_mode: body.network_mode.as_str().into(),
        revision: record.revision.into(),
        volumes: body.volumes.iter().map(storage::show_volume).collect(),
        pid_mode: match body.pid_mode {
            PidMode::Container => None,
            PidMode::Task => Some("task".into()),
            PidMode::Host => Some("host".into()),
        },
        ipc_mode: match body.ipc_mode {
            IpcMode::Container => None,
            IpcMode::None => Some("none".into()),
            IpcMode::Task => Some("task".into()),
            IpcMode::Host => Some("host".into()),
        },
        status: record.status.as_str().into(),
        requires_attributes: requires.into_iter().map(attribute).collect(),
        placement_constraints: body.placement_constraints.iter().filter_map(constraint).collect(),
        compatibilities: vec!["EC2".into()],
        requires_compatibilities: Some(compatibilities.clone()).filter(|list| !list.is_empty()),
        runtime_platform: body.platform.as_ref().map(|platform| RuntimePlatform {
            cpu_architecture: platform.cpu_architecture.clone(),
            operating_system_family: Some("LINUX".into()),
        }),
        cpu: body.cpu_units.map(|units| units.to_string()),
        memory: body.memory_mib.map(|mib| mib.to_string()),
        registered_at: EpochSeconds::from_ms(record.registered_at_ms),
        registered_by: record.registered_by.clone(),
        deregistered_at: record.deregistered_at_ms.map(EpochSeconds::from_ms),
        delete_requested_at: record.delete_requested_at_ms.map(EpochSeconds::from_ms),
    }
}

fn container(spec: &ContainerSpec, body: &DefinitionBody) -> ContainerDefinition {
    let own = &spec.network;
    let number = |value: u64| i32::try_from(value).unwrap_or(i32::MAX);
    let mut shown = ContainerDefinition {
        name: Some(spec.name.to_string()),
        image: Some(spec.image.clone()),
        cpu: Some(number(spec.cpu_units)),
        memory: spec.memory_mib.map(number),
        memory_reservation: spec.memory_reservation_mib.map(number),
        port_mappings: Some(network::show_ports(spec, body, body.network_mode)),
        disable_networking: own.disabled.then_some(true),
        links: network::show_links(spec),
        hostname: own.hostname.clone(),
        extra_hosts: network::show_hosts(spec),
        dns_servers: network::some(own.dns_servers.iter().map(ToString::to_string).collect()),
        dns_search_domains: network::some(own.dns_search_domains.clone()),
        essential: Some(spec.essential),
        entry_point: spec.entry_point.clone(),
        command: spec.command.clone(),
        environment: Some(show_pairs(&spec.environment)),
        environment_files: environment_files::show(&body.environment_files, &spec.name),
        secrets: secrets::show(&body.secrets, &spec.name),
        log_configuration: logs::show(&body.logs, spec),
        mount_points: None,
        volumes_from: None,
        depends_on: None,
        start_timeout: None,
        health_check: None,
        restart_policy: None,
        privileged: None,
        ulimits: None,
        linux_parameters: None,
        docker_security_options: None,
        stop_timeout: spec.stop_timeout_s.map(|seconds| number(seconds.into())),
        user: spec.user.clone(),
        working_directory: spec.working_directory.clone(),
        readonly_root_filesystem: spec.readonly_root_filesystem.then_some(true),
        docker_labels: labels(&spec.labels),
        system_controls: None,
        interactive: spec.interactive.then_some(true),
        pseudo_terminal: spec.pseudo_terminal.then_some(true),
    };
    lifecycle::show(spec, &mut shown);
    storage::show(spec, &mut shown);
    linux::show(spec, &mut shown);
    shown
}

fn attribute(name: &str) -> Attribute {
    Attribute { name: name.to_owned(), value: None, target_type: None, target_id: None }
}

fn labels(labels: &[KeyValue]) -> Option<BTreeMap<String, String>> {
    let map: BTreeMap<_, _> =
        labels.iter().map(|label| (label.name.clone(), label.value.clone())).collect();
    Some(map).filter(|map| !map.is_empty())
}

fn constraint(constraint: &PlacementConstraint) -> Option<TaskDefinitionPlacementConstraint> {
    match constraint {
        PlacementConstraint::MemberOf(expression) => Some(TaskDefinitionPlacementConstraint {
            kind: Some("memberOf".into()),
            expression: Some(expression.clone()),
        }),
        // A task definition has none: AWS refuses it there, and so do we.
        PlacementConstraint::DistinctInstance => None,
    }
}
