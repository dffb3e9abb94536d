//! RunTask's input, judged by ECS's rules as far as no state is needed for it.

use std::collections::BTreeSet;

use loadline_model::ContainerName;

use super::super::check;
use super::super::definitions::{
    CONSTRAINTS_MAX, container_cpu, container_memory, cpu_units, environment, member_of,
    memory_mib, words,
};
use super::super::reference::{cluster_name, definition_ref};
use super::shapes::{
    ContainerOverride, PlacementConstraint, PlacementStrategy, RunTaskRequest, TaskOverride,
};
use crate::api::ApiError;
use crate::command::{PropagateTags, RUN_COUNT_MAX, RunTask};
use crate::state::{self, BinpackField, Scope, TaskOverrides};

/// Most strategies (ECS's own bound).
const STRATEGIES_MAX: usize = 5;
/// Most characters of all overrides (ECS's own bound), as JSON.
const OVERRIDES_CHARS_MAX: usize = 8192;
const STARTED_BY_CHARS_MAX: usize = 128;
const CLIENT_TOKEN_CHARS_MAX: usize = 64;
const GROUP_CHARS_MAX: usize = 255;
/// Longest `attribute:NAME`.
const FIELD_CHARS_MAX: usize = 138;

/// The whole request.
pub(super) fn run_task(scope: &Scope, request: RunTaskRequest) -> Result<RunTask, ApiError> {
    let other_types = ["FARGATE", "EXTERNAL", "MANAGED_INSTANCES"];
    check::one_of("launchType", request.launch_type.as_deref(), &["EC2"], &other_types)?;
    let propagate = request.propagate_tags.as_deref();
    check::one_of("propagateTags", propagate, &["TASK_DEFINITION", "NONE"], &["SERVICE"])?;
    let count = request.count.unwrap_or(1);
    let count = u32::try_from(count).ok().filter(|n| (1..=RUN_COUNT_MAX).contains(n));
    Ok(RunTask {
        cluster: cluster_name(scope, request.cluster.as_deref())?,
        definition: definition_ref(scope, &request.task_definition)?,
        count: count.ok_or_else(|| {
            ApiError::invalid(format_args!("count must be between 1 and {RUN_COUNT_MAX}"))
        })?,
        overrides: request.overrides.map(overrides).transpose()?.flatten(),
        group: group(request.group)?,
        started_by: started_by(request.started_by)?,
        client_token: client_token(request.client_token)?,
        tags: check::tags(request.tags)?,
        propagate_tags: match propagate {
            Some("TASK_DEFINITION") => PropagateTags::TaskDefinition,
            _ => PropagateTags::None,
        },
        constraints: constraints(request.placement_constraints.unwrap_or_default())?,
        strategy: strategies(request.placement_strategy.unwrap_or_default())?,
    })
}

/// `None` where nothing is overridden.
fn overrides(given: TaskOverride) -> Result<Option<TaskOverrides>, ApiError> {
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
        containers: vec![],
    };
    let mut names = BTreeSet::new();
    for (index, over) in given.container_overrides.unwrap_or_default().into_iter().enumerate() {
        let at = format!("overrides.containerOverrides[{index}]");
        let over = container_override(&at, over)?;
        if !names.insert(over.name.clone()) {
            let message = format!("{at}.name: {} is overridden twice", over.name);
            return Err(ApiError::invalid(message));
        }
        read.containers.push(over);
    }
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

fn started_by(text: Option<String>) -> Result<Option<String>, ApiError> {
    let text = text.filter(|text| !text.is_empty());
    if let Some(text) = text.as_deref() {
        check::text("startedBy", text, STARTED_BY_CHARS_MAX)?;
        let allowed = |c: char| c.is_alphanumeric() || "-/_".contains(c);
        if !text.chars().all(allowed) {
            return Err(ApiError::invalid(
                "startedBy must have only letters, numbers, hyphens, slashes and underscores",
            ));
        }
    }
    Ok(text)
}

fn client_token(token: Option<String>) -> Result<Option<String>, ApiError> {
    let token = token.filter(|token| !token.is_empty());
    if let Some(token) = token.as_deref() {
        let printable = token.bytes().all(|b| b.is_ascii_graphic());
        if CLIENT_TOKEN_CHARS_MAX < token.len() || !printable {
            return Err(ApiError::invalid(format_args!(
                "clientToken must have at most {CLIENT_TOKEN_CHARS_MAX} printable ASCII characters"
            )));
        }
    }
    Ok(token)
}

fn constraints(
    given: Vec<PlacementConstraint>,
) -> Result<Vec<state::PlacementConstraint>, ApiError> {
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
                Some("memberOf") => member_of(&at, constraint.expression),
                Some("distinctInstance") => match constraint.expression.as_deref() {
                    None | Some("") => Ok(state::PlacementConstraint::DistinctInstance),
                    Some(_) => Err(ApiError::invalid(format_args!(
                        "{at}.expression must not be given with distinctInstance"
                    ))),
                },
                Some(kind) => {
                    Err(ApiError::invalid(format_args!("{at}.type has no value {kind:?}")))
                }
                None => Err(ApiError::invalid(format_args!("{at}.type is required"))),
            }
        })
        .collect()
}

fn strategies(given: Vec<PlacementStrategy>) -> Result<Vec<state::PlacementStrategy>, ApiError> {
    if STRATEGIES_MAX < given.len() {
        let message = format!("placementStrategy can have at most {STRATEGIES_MAX} items.");
        return Err(ApiError::invalid(message));
    }
    given
        .into_iter()
        .enumerate()
        .map(|(index, strategy)| {
            let at = format!("placementStrategy[{index}]");
            self::strategy(&at, strategy)
        })
        .collect()
}

fn strategy(at: &str, given: PlacementStrategy) -> Result<state::PlacementStrategy, ApiError> {
    let field = given.field.as_deref().filter(|field| !field.is_empty());
    let wrong = |what: &str| Err(ApiError::invalid(format_args!("{at}.{what}")));
    match (given.kind.as_deref(), field) {
        (Some("random"), None) => Ok(state::PlacementStrategy::Random),
        (Some("random"), Some(_)) => wrong("field must not be given with random"),
        (Some("binpack"), Some(field)) => match field.to_ascii_lowercase().as_str() {
            "cpu" => Ok(state::PlacementStrategy::Binpack(BinpackField::Cpu)),
            "memory" => Ok(state::PlacementStrategy::Binpack(BinpackField::Memory)),
            _ => wrong("field must be cpu or memory with binpack"),
        },
        (Some("spread"), Some(field)) => {
            let named = field.strip_prefix("attribute:").is_some_and(|name| !name.is_empty());
            let known = named || matches!(field, "instanceId" | "host");
            if !known || FIELD_CHARS_MAX < field.chars().count() {
                return wrong("field must be instanceId, host or attribute:NAME with spread");
            }
            Ok(state::PlacementStrategy::Spread(field.to_owned()))
        }
        (Some("binpack" | "spread"), None) => wrong("field is required"),
        (Some(_), _) => wrong("type must be random, spread or binpack"),
        (None, _) => wrong("type is required"),
    }
}
