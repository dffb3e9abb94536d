//! RunTask's and StartTask's input, judged by ECS's rules as far as no state is needed for it.

use std::collections::BTreeSet;

use loadline_model::{ContainerName, KeyValue};

use super::super::definitions::{
    container_cpu, container_memory, cpu_units, environment, memory_mib, words,
};
use super::super::placement::{constraints, strategies};
use super::super::reference::{cluster_name, definition_ref, instance_arn};
use super::super::shapes::Tag;
use super::super::{check, environment_files, roles};
use super::shapes::{ContainerOverride, RunTaskRequest, StartTaskRequest, TaskOverride};
use crate::api::ApiError;
use crate::command::{PropagateTags, RUN_COUNT_MAX, RunTask, StartTask};
use crate::state::{self, ClusterName, Scope, TaskOverrides};

/// Most characters of all overrides (ECS's own bound), as JSON.
const OVERRIDES_CHARS_MAX: usize = 8192;
const STARTED_BY_CHARS_MAX: usize = 128;
/// Most container instances of one StartTask (ECS's own bound).
const START_MAX: usize = 10;
const GROUP_CHARS_MAX: usize = 255;

/// The whole request.
pub(super) fn run_task(scope: &Scope, request: RunTaskRequest) -> Result<RunTask, ApiError> {
    let other_types = ["FARGATE", "EXTERNAL", "MANAGED_INSTANCES"];
    check::one_of("launchType", request.launch_type.as_deref(), &["EC2"], &other_types)?;
    let count = request.count.unwrap_or(1);
    let count = u32::try_from(count).ok().filter(|n| (1..=RUN_COUNT_MAX).contains(n));
    let cluster = cluster_name(scope, request.cluster.as_deref())?;
    let overrides = overrides(scope, request.overrides)?;
    let mut constraints = constraints(request.placement_constraints.unwrap_or_default())?;
    constraints.extend(overrides.as_ref().and_then(TaskOverrides::needs));
    Ok(RunTask {
        definition: definition_ref(scope, &request.task_definition)?,
        count: count.ok_or_else(|| {
            ApiError::invalid(format_args!("count must be between 1 and {RUN_COUNT_MAX}"))
        })?,
        overrides,
        group: group(request.group)?,
        started_by: started_by(request.started_by)?,
        client_token: check::client_token(request.client_token)?,
        tags: tags(request.tags, request.enable_ecs_managed_tags, &cluster)?,
        propagate_tags: propagate_tags(request.propagate_tags.as_deref())?,
        execute_command: request.enable_execute_command.unwrap_or(false),
        constraints,
        strategy: strategies(request.placement_strategy.unwrap_or_default())?,
        cluster,
    })
}

/// The whole request. A name that no container instance can have is refused here; one that is not
/// there is a failure in the answer.
pub(super) fn start_task(scope: &Scope, request: StartTaskRequest) -> Result<StartTask, ApiError> {
    check::count("containerInstances", &request.container_instances, START_MAX)?;
    let cluster = cluster_name(scope, request.cluster.as_deref())?;
    let node = |name: &String| {
        instance_arn(scope, &cluster, name).ok_or_else(|| {
            ApiError::invalid(format_args!("{name:?} names no container instance of {cluster}"))
        })
    };
    let nodes = request.container_instances.iter().map(node).collect::<Result<_, _>>()?;
    Ok(StartTask {
        definition: definition_ref(scope, &request.task_definition)?,
        nodes,
        overrides: overrides(scope, request.overrides)?,
        group: group(request.group)?,
        started_by: started_by(request.started_by)?,
        tags: tags(request.tags, request.enable_ecs_managed_tags, &cluster)?,
        propagate_tags: propagate_tags(request.propagate_tags.as_deref())?,
        execute_command: request.enable_execute_command.unwrap_or(false),
        cluster,
    })
}

/// The caller's tags, and the one that ECS manages where it is asked to.
fn tags(
    given: Option<Vec<Tag>>,
    managed: Option<bool>,
    cluster: &ClusterName,
) -> Result<Vec<KeyValue>, ApiError> {
    let mut tags = check::tags(given)?;
    if managed == Some(true) {
        tags.push(KeyValue { name: "aws:ecs:clusterName".into(), value: cluster.to_string() });
    }
    Ok(tags)
}

fn propagate_tags(word: Option<&str>) -> Result<PropagateTags, ApiError> {
    check::one_of("propagateTags", word, &["TASK_DEFINITION", "NONE"], &["SERVICE"])?;
    Ok(match word {
        Some("TASK_DEFINITION") => PropagateTags::TaskDefinition,
        _ => PropagateTags::None,
    })
}

/// `None` where nothing is overridden.
fn overrides(
    scope: &Scope,
    given: Option<TaskOverride>,
) -> Result<Option<TaskOverrides>, ApiError> {
    let Some(given) = given else { return Ok(None) };
    let chars = serde_json::to_string(&given).map_or(usize::MAX, |json| json.chars().count());
    if OVERRIDES_CHARS_MAX < chars {
        return Err(ApiError::invalid(format_args!(
            "overrides must have at most {OVERRIDES_CHARS_MAX} characters, not {chars}"
        )));
    }
    let cpu = given.cpu.as_deref();
    let memory = given.memory.as_deref();
    let mut read = TaskOverrides {
        cpu_units: cpu.map(|cpu| cpu_units("overrides.cpu", cpu)).transpose()?,
        memory_mib: memory.map(|memory| memory_mib("overrides.memory", memory)).transpose()?,
        roles: roles::read(scope, given.task_role_arn, given.execution_role_arn)?,
        containers: vec![],
    };
    let mut names = BTreeSet::new();
    let mut files = 0;
    for (index, over) in given.container_overrides.unwrap_or_default().into_iter().enumerate() {
        let at = format!("overrides.containerOverrides[{index}]");
        let over = container_override(&at, over)?;
        if !names.insert(over.name.clone()) {
            let message = format!("{at}.name: {} is overridden twice", over.name);
            return Err(ApiError::invalid(message));
        }
        files += over.environment_files.len();
        read.containers.push(over);
    }
    environment_files::at_most("overrides", files)?;
    Ok(Some(read).filter(|read| *read != TaskOverrides::default()))
}

fn container_override(
    at: &str,
    over: ContainerOverride,
) -> Result<state::ContainerOverride, ApiError> {
    let name = over.name.ok_or_else(|| ApiError::invalid(format_args!("{at}.name is required")))?;
    let field = |name: &str| format!("{at}.{name}");
    let soft = over.memory_reservation;
    Ok(state::ContainerOverride {
        name: ContainerName::parse(&name)
            .map_err(|bad| ApiError::invalid(format_args!("{at}.name: {}", bad.why)))?,
        command: words(&field("command"), over.command)?,
        environment: environment(&field("environment"), over.environment.unwrap_or_default())?,
        environment_files: environment_files::objects(
            &field("environmentFiles"),
            &over.environment_files.unwrap_or_default(),
        )?,
        cpu_units: container_cpu(&field("cpu"), over.cpu)?,
        memory_mib: container_memory(&field("memory"), over.memory)?,
        memory_reservation_mib: container_memory(&field("memoryReservation"), soft)?,
    })
}

/// Groups that begin with `service:` are the service scheduler's.
fn group(group: Option<String>) -> Result<Option<String>, ApiError> {
    let group = group.filter(|group| !group.is_empty());
    if let Some(name) = group.as_deref() {
        check::text("group", name, GROUP_CHARS_MAX)?;
        if name.starts_with("service:") {
            return Err(ApiError::invalid("Invalid namespace for group: service: is reserved"));
        }
    }
    Ok(group)
}

/// AWS's text allows letters, digits and -/_ only, AWS itself takes more, and tools send more
/// (ecs-deploy: spaces).
fn started_by(text: Option<String>) -> Result<Option<String>, ApiError> {
    let text = text.filter(|text| !text.is_empty());
    if let Some(text) = text.as_deref() {
        check::text("startedBy", text, STARTED_BY_CHARS_MAX)?;
    }
    Ok(text)
}
