//! RegisterTaskDefinition's input, judged by ECS's rules and turned into the controller's record.

use std::collections::BTreeSet;

use loadline_model::{ContainerName, ContainerSpec, KeyValue, NetworkMode};

use super::super::shapes::NameValue;
use super::super::{check, environment_files, roles};
use super::shapes::{
    ContainerDefinition, RegisterTaskDefinitionRequest, RuntimePlatform,
    TaskDefinitionPlacementConstraint,
};
use super::units::{MEMORY_MIB_MIN, cpu_units, memory_mib};
use super::{lifecycle, linux, logs, network, secrets, storage};
use crate::api::ApiError;
use crate::scheduler::query::Expression;
use crate::state::{
    ARCHITECTURE_ATTRIBUTE, DefinitionBody, Family, PlacementConstraint, Platform, PortDetail,
    Scope,
};

/// Most containers of a task (ECS's own bound).
pub(super) const CONTAINERS_MAX: usize = 10;
/// Most bytes of a task definition as JSON (ECS's own bound).
pub(super) const DEFINITION_BYTES_MAX: usize = 64 * 1024;
/// Most placement constraints (ECS's own bound).
pub(in crate::api::ecs) const CONSTRAINTS_MAX: usize = 10;
const EXPRESSION_CHARS_MAX: usize = 2000;
const IMAGE_CHARS_MAX: usize = 255;
const TEXT_CHARS_MAX: usize = 255;

/// The whole request.
pub(super) fn definition(
    scope: &Scope,
    request: RegisterTaskDefinitionRequest,
) -> Result<DefinitionBody, ApiError> {
    let bytes = serde_json::to_vec(&request).map_or(usize::MAX, |json| json.len());
    if DEFINITION_BYTES_MAX < bytes {
        return Err(ApiError::client(format_args!(
            "Actual length: '{bytes}'. Max allowed length is '{DEFINITION_BYTES_MAX}' bytes."
        )));
    }
    let family = Family::parse(&request.family)
        .map_err(|invalid| ApiError::client(format_args!("family: {}", invalid.why)))?;
    let compatibilities = request.requires_compatibilities.unwrap_or_default();
    for name in &compatibilities {
        let known = ["FARGATE", "EXTERNAL", "MANAGED_INSTANCES"];
        check::one_of("requiresCompatibilities", Some(name), &["EC2"], &known)?;
    }
    let task_cpu = request.cpu.as_deref().map(|cpu| cpu_units("cpu", cpu)).transpose()?;
    let task_memory = request.memory.as_deref().map(|m| memory_mib("memory", m)).transpose()?;
    let network_mode = network::mode(request.network_mode.as_deref())?;
    let roles = roles::read(scope, request.task_role_arn, request.execution_role_arn)?;
    let given = request.container_definitions;
    let secrets = secrets::read(&given, &roles)?;
    let environment_files = environment_files::read(&given)?;
    let port_details = port_details(&given)?;
    let logs = logs::read(scope, &given)?;
    let containers = containers(given, network_mode, task_cpu, task_memory)?;
    let mut body = DefinitionBody {
        family,
        cpu_units: task_cpu,
        memory_mib: task_memory,
        network_mode,
        ports: network::together(&containers, network_mode)?,
        containers,
        port_details,
        secrets,
        environment_files,
        logs,
        requires_compatibilities: compatibilities,
        platform: request.runtime_platform.map(platform).transpose()?,
        placement_constraints: constraints(request.placement_constraints.unwrap_or_default())?,
        requires: Vec::new(),
        volumes: storage::read_volumes(request.volumes.unwrap_or_default())?,
        pid_mode: linux::pid_mode(request.pid_mode.as_deref())?,
        ipc_mode: linux::ipc_mode(request.ipc_mode.as_deref())?,
        roles,
        tags: check::tags(request.tags)?,
    };
    lifecycle::check_dependencies(&body.containers)?;
    storage::check_mounts(&body.containers, &body.volumes)?;
    linux::check_controls(&body)?;
    body.require();
    Ok(body)
}

fn port_details(given: &[ContainerDefinition]) -> Result<Vec<PortDetail>, ApiError> {
    let mut all = Vec::new();
    for (index, container) in given.iter().enumerate() {
        // One without a good name is refused with its other fields.
        let name = container.name.as_deref().and_then(|name| ContainerName::parse(name).ok());
        let mappings = container.port_mappings.as_deref().unwrap_or_default();
        if let Some(name) = name {
            all.extend(network::details(index, &name, mappings)?);
        }
    }
    network::distinct_names(&all)?;
    Ok(all)
}

/// Nodes say what they are by attributes of ECS's names; the platform asks for these.
fn platform(given: RuntimePlatform) -> Result<Platform, ApiError> {
    let family = given.operating_system_family.as_deref();
    let windows: Vec<&str> =
        family.into_iter().filter(|family| family.starts_with("WINDOWS_SERVER_")).collect();
    check::one_of("runtimePlatform.operatingSystemFamily", family, &["LINUX"], &windows)?;
    let architecture = given.cpu_architecture;
    let at = "runtimePlatform.cpuArchitecture";
    check::one_of(at, architecture.as_deref(), &["X86_64", "ARM64"], &[])?;
    let asked = |name: &str, value: &str| {
        PlacementConstraint::MemberOf(format!("attribute:{name} == {value}"))
    };
    let mut constraints = vec![asked("ecs.os-type", "linux")];
    if let Some(architecture) = &architecture {
        constraints.push(asked(ARCHITECTURE_ATTRIBUTE, &architecture.to_ascii_lowercase()));
    }
    Ok(Platform { cpu_architecture: architecture, constraints })
}

fn constraints(
    given: Vec<TaskDefinitionPlacementConstraint>,
) -> Result<Vec<PlacementConstraint>, ApiError> {
    if CONSTRAINTS_MAX < given.len() {
        let message = format!("placementConstraints can have at most {CONSTRAINTS_MAX} items.");
        return Err(ApiError::invalid(message));
    }
    given
        .into_iter()
        .enumerate()
        .map(|(index, constraint)| {
            let at = format!("placementConstraints[{index}]");
            match constraint.kind.as_deref() {
                Some("memberOf") => {}
                Some(kind) => {
                    return Err(ApiError::client(format_args!("{at}.type has no value {kind:?}")));
                }
                None => return Err(ApiError::client(format_args!("{at}.type is required"))),
            }
            member_of(&at, constraint.expression)
        })
        .collect()
}

/// A `memberOf` constraint with an expression that can be read.
pub(in crate::api::ecs) fn member_of(
    at: &str,
    expression: Option<String>,
) -> Result<PlacementConstraint, ApiError> {
    let expression = expression.filter(|text| !text.is_empty()).ok_or_else(|| {
        ApiError::invalid(format_args!("{at}.expression is required with memberOf"))
    })?;
    if EXPRESSION_CHARS_MAX < expression.chars().count() {
        return Err(ApiError::invalid(format_args!(
            "{at}.expression must have at most {EXPRESSION_CHARS_MAX} characters"
        )));
    }
    Expression::parse(&expression)
        .map_err(|bad| ApiError::invalid(format_args!("{at}.expression: {bad}")))?;
    Ok(PlacementConstraint::MemberOf(expression))
}

fn containers(
    given: Vec<ContainerDefinition>,
    mode: NetworkMode,
    task_cpu: Option<u64>,
    task_memory: Option<u64>,
) -> Result<Vec<ContainerSpec>, ApiError> {
    if given.is_empty() {
        return Err(ApiError::client("Container list cannot be empty."));
    }
    if CONTAINERS_MAX < given.len() {
        let message = format!("containerDefinitions can have at most {CONTAINERS_MAX} items.");
        return Err(ApiError::client(message));
    }
    let containers = given
        .into_iter()
        .enumerate()
        .map(|(index, container)| spec(index, container, mode))
        .collect::<Result<Vec<_>, _>>()?;
    let mut names = BTreeSet::new();
    for container in &containers {
        if !names.insert(&container.name) {
            let message = format!("Container name {} is used more than once.", container.name);
            return Err(ApiError::client(message));
        }
        memory_rules(container, task_memory)?;
    }
    if !containers.iter().any(|container| container.essential) {
        return Err(ApiError::client("At least one container must be essential."));
    }
    let total: u64 = containers.iter().map(|c| c.cpu_units).fold(0, u64::saturating_add);
    if let Some(task) = task_cpu.filter(|task| *task < total) {
        return Err(ApiError::client(format_args!(
            "Invalid 'cpu' setting for task. The containers' cpu sums up to {total}, more than \
             the task's {task}."
        )));
    }
    Ok(containers)
}

/// What holds for a container's memory. `apply` holds a task's overrides to the same rules.
fn memory_rules(container: &ContainerSpec, task_memory: Option<u64>) -> Result<(), ApiError> {
    let name = container.name.as_str();
    let refuse = |why: String| {
        let message = format!("Invalid setting for container '{name}'. {why}");
        Err(ApiError::client(message))
    };
    let (hard, soft) = (container.memory_mib, container.memory_reservation_mib);
    if hard.is_none() && soft.is_none() && task_memory.is_none() {
        return refuse("At least one of 'memory' or 'memoryReservation' must be specified.".into());
    }
    if let (Some(hard), Some(soft)) = (hard, soft)
        && hard < soft
    {
        return refuse(format!(
            "'memory' ({hard}) must not be less than 'memoryReservation' ({soft})."
        ));
    }
    for (field, value) in [("memory", hard), ("memoryReservation", soft)] {
        if let (Some(value), Some(task)) = (value, task_memory)
            && task < value
        {
            return refuse(format!("'{field}' ({value}) is more than the task's memory ({task})."));
        }
    }
    Ok(())
}

fn spec(
    index: usize,
    mut given: ContainerDefinition,
    mode: NetworkMode,
) -> Result<ContainerSpec, ApiError> {
    let network = network::read(index, &given, mode)?;
    let mut spec = ContainerSpec { network, ..basic_spec(index, &mut given)? };
    let at = |field: &str| format!("containerDefinitions[{index}].{field}");
    lifecycle::read(&at, &mut given, &mut spec)?;
    storage::read(&at, &mut given, &mut spec)?;
    linux::read(&at, &mut given, &mut spec)?;
    Ok(spec)
}

/// What a container runs, and how much of the node it takes.
fn basic_spec(index: usize, given: &mut ContainerDefinition) -> Result<ContainerSpec, ApiError> {
    let at = |field: &str| format!("containerDefinitions[{index}].{field}");
    let required = |field: &str, value: Option<String>| {
        value.filter(|text| !text.is_empty()).ok_or_else(|| {
            ApiError::client(format_args!("{} should not be null or empty", at(field)))
        })
    };
    let name = required("name", given.name.take())?;
    let image = required("image", given.image.take())?;
    check_image(&at("image"), &image)?;
    for (field, value) in [("user", &given.user), ("workingDirectory", &given.working_directory)] {
        check::text(&at(field), value.as_deref().unwrap_or_default(), TEXT_CHARS_MAX)?;
    }
    let stop_timeout = given.stop_timeout.map(u32::try_from).transpose();
    let stop_timeout =
        stop_timeout.ok().filter(|seconds| *seconds != Some(0)).ok_or_else(|| {
            ApiError::client(format_args!("{} must be at least 1 second", at("stopTimeout")))
        })?;
    let parsed = ContainerName::parse(&name)
        .map_err(|bad| ApiError::client(format_args!("{}: {}", at("name"), bad.why)))?;
    Ok(ContainerSpec {
        cpu_units: container_cpu(&at("cpu"), given.cpu)?.unwrap_or(0),
        memory_mib: container_memory(&at("memory"), given.memory)?,
        memory_reservation_mib: container_memory(
            &at("memoryReservation"),
            given.memory_reservation,
        )?,
        essential: given.essential.unwrap_or(true),
        entry_point: words(&at("entryPoint"), given.entry_point.take())?,
        command: words(&at("command"), given.command.take())?,
        environment: environment(&at("environment"), given.environment.take().unwrap_or_default())?,
        working_directory: given.working_directory.take().filter(|text| !text.is_empty()),
        user: given.user.take().filter(|text| !text.is_empty()),
        readonly_root_filesystem: given.readonly_root_filesystem.unwrap_or(false),
        stop_timeout_s: stop_timeout,
        log: logs::of_node(&at("logConfiguration"), given.log_configuration.as_ref())?,
        interactive: given.interactive.unwrap_or(false),
        pseudo_terminal: given.pseudo_terminal.unwrap_or(false),
        labels: labels(&at("dockerLabels"), given.docker_labels.take().unwrap_or_default())?,
        ..ContainerSpec::new(parsed, image)
    })
}

/// ECS's characters for an image (API reference, ContainerDefinition).
fn check_image(at: &str, image: &str) -> Result<(), ApiError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_:./#@+".contains(c);
    if IMAGE_CHARS_MAX < image.chars().count() {
        let message = format!("{at} must have at most {IMAGE_CHARS_MAX} characters");
        return Err(ApiError::client(message));
    }
    if !image.chars().all(allowed) {
        return Err(ApiError::client(format_args!(
            "{at} is not a valid image reference: {image:?}"
        )));
    }
    Ok(())
}

/// A container's CPU units.
pub(in crate::api::ecs) fn container_cpu(
    at: &str,
    value: Option<i32>,
) -> Result<Option<u64>, ApiError> {
    let negative = || ApiError::client(format_args!("{at} must not be negative"));
    value.map(|units| u64::try_from(units).map_err(|_| negative())).transpose()
}

/// A container's memory or reservation, MiB.
pub(in crate::api::ecs) fn container_memory(
    at: &str,
    value: Option<i32>,
) -> Result<Option<u64>, ApiError> {
    let small = || ApiError::client(format_args!("{at} must be at least {MEMORY_MIB_MIN} MiB"));
    value
        .map(|mib| u64::try_from(mib).ok().filter(|mib| MEMORY_MIB_MIN <= *mib).ok_or_else(small))
        .transpose()
}

/// Arguments. An empty list is the same as none, as with Docker's API behind ECS.
pub(in crate::api::ecs) fn words(
    at: &str,
    list: Option<Vec<String>>,
) -> Result<Option<Vec<String>>, ApiError> {
    let list = list.filter(|list| !list.is_empty());
    for (index, word) in list.iter().flatten().enumerate() {
        no_nul(&format!("{at}[{index}]"), word)?;
    }
    Ok(list)
}

/// Environment variables.
pub(in crate::api::ecs) fn environment(
    at: &str,
    pairs: Vec<NameValue>,
) -> Result<Vec<KeyValue>, ApiError> {
    pairs
        .into_iter()
        .enumerate()
        .map(|(index, pair)| {
            let at = format!("{at}[{index}]");
            let name = pair.name.filter(|name| !name.is_empty()).ok_or_else(|| {
                ApiError::client(format_args!("{at}.name should not be null or empty"))
            })?;
            if name.contains('=') {
                return Err(ApiError::client(format_args!("{at}.name must not contain '='")));
            }
            let value = pair.value.unwrap_or_default();
            no_nul(&format!("{at}.name"), &name)?;
            no_nul(&format!("{at}.value"), &value)?;
            Ok(KeyValue { name, value })
        })
        .collect()
}

fn labels(
    at: &str,
    map: std::collections::BTreeMap<String, String>,
) -> Result<Vec<KeyValue>, ApiError> {
    map.into_iter()
        .map(|(name, value)| {
            no_nul(at, &name)?;
            no_nul(at, &value)?;
            Ok(KeyValue { name, value })
        })
        .collect()
}

/// The kernel's strings end at NUL: one inside would cut the text off.
pub(super) fn no_nul(at: &str, text: &str) -> Result<(), ApiError> {
    if text.contains('\0') {
        return Err(ApiError::client(format_args!("{at} must not contain a NUL character")));
    }
    Ok(())
}
