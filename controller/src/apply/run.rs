//! RunTask: placement happens here, inside the one owner of the state, so two of them can never
//! share the same capacity (law 13).

use std::sync::Arc;

use loadline_model::{
    ContainerStatus, DesiredStatus, InstanceArn, KeyValue, Resources, TaskArn, TaskSpec, TaskStatus,
};
use sha2::{Digest, Sha256};

use super::{Applied, Draft, active_cluster, definition};
use crate::command::{PropagateTags, RUN_COUNT_MAX, Ran, Refusal, Reply, RunTask};
use crate::scheduler::{self, Tentative};
use crate::state::{
    IdSource, RunToken, Sha256Hash, State, Task, TaskContainer, TaskDefinition, Write,
};

/// How long a client token is remembered.
const RUN_TOKEN_KEPT_MS: u64 = 24 * 60 * 60 * 1000;

pub(super) fn run(
    state: &State,
    command: &RunTask,
    now_ms: u64,
    ids: &mut dyn IdSource,
) -> Result<Applied, Refusal> {
    let cluster = active_cluster(&state.view, &command.cluster)?;
    if command.count < 1 || RUN_COUNT_MAX < command.count {
        let why = format!("{} is not between 1 and {RUN_COUNT_MAX}", command.count);
        return Err(Refusal::Invalid { field: "count", why });
    }
    if let Some(before) = already_ran(state, command)? {
        return Ok((Vec::new(), Reply::Ran(before)));
    }
    let definition = definition::usable(state, &command.definition)?;
    check_overrides(command, definition)?;
    if cluster.nodes == 0 {
        return Err(Refusal::NoContainerInstances(command.cluster.clone()));
    }
    let mut draft = Draft::new(state);
    let ran = place_all(&mut draft, command, definition, now_ms, ids);
    if let Some(token) = &command.client_token
        && !ran.tasks.is_empty()
    {
        draft.writes.push(Write::RunToken(Arc::new(RunToken {
            cluster: command.cluster.clone(),
            token: token.clone(),
            fingerprint: fingerprint(command),
            tasks: ran.tasks.iter().map(|task| task.arn.clone()).collect(),
            failures: ran.failures.clone(),
            expires_at_ms: now_ms.saturating_add(RUN_TOKEN_KEPT_MS),
        })));
    }
    Ok(draft.finish(Reply::Ran(ran)))
}

/// What an earlier call with the same client token did. A call that placed nothing leaves no
/// token behind: trying again is what its caller wants.
fn already_ran(state: &State, command: &RunTask) -> Result<Option<Ran>, Refusal> {
    let Some(token) = &command.client_token else { return Ok(None) };
    let key = (command.cluster.clone(), token.clone());
    let Some(record) = state.view.run_tokens.get(&key) else { return Ok(None) };
    if record.fingerprint != fingerprint(command) {
        let tasks = record.tasks.clone();
        return Err(Refusal::ClientTokenConflict { token: token.clone(), tasks });
    }
    let tasks = record.tasks.iter().filter_map(|arn| state.view.task(arn).cloned()).collect();
    Ok(Some(Ran { tasks, failures: record.failures.clone() }))
}

/// Of the parameters, without the token itself.
fn fingerprint(command: &RunTask) -> Sha256Hash {
    let bare = RunTask { client_token: None, ..command.clone() };
    let text = serde_json::to_vec(&bare).expect("a command has string keys only");
    Sha256Hash(Sha256::digest(text).into())
}

fn check_overrides(command: &RunTask, definition: &TaskDefinition) -> Result<(), Refusal> {
    let Some(overrides) = &command.overrides else { return Ok(()) };
    let invalid = |why: String| Refusal::Invalid { field: "overrides", why };
    for (n, over) in overrides.containers.iter().enumerate() {
        if !definition.body.containers.iter().any(|container| container.name == over.name) {
            return Err(invalid(format!("container {} is not in the task definition", over.name)));
        }
        if overrides.containers[..n].iter().any(|earlier| earlier.name == over.name) {
            return Err(invalid(format!("container {} is overridden twice", over.name)));
        }
    }
    let arn = command_arn(command);
    let spec = arn.map(|arn| definition.task_spec(arn, Some(overrides)));
    spec.map_or(Ok(()), |spec| check_limits(&spec)).map_err(invalid)
}

/// Any ARN will do where only the limits are looked at.
fn command_arn(command: &RunTask) -> Option<TaskArn> {
    TaskArn::parse(&format!("arn:aws:ecs:-:-:task/{}/-", command.cluster)).ok()
}

/// Whether a task's own limits contradict each other, as ECS judges it.
///
/// # Errors
/// Which of them, in words.
pub(crate) fn check_limits(spec: &TaskSpec) -> Result<(), String> {
    for container in &spec.containers {
        let name = &container.name;
        let (hard, soft) = (container.memory_mib, container.memory_reservation_mib);
        if hard.is_none() && soft.is_none() && spec.memory_mib.is_none() {
            return Err(format!("container {name}: one of memory and memoryReservation is needed"));
        }
        if let (Some(hard), Some(soft)) = (hard, soft)
            && hard < soft
        {
            return Err(format!("container {name}: memory {hard} is below its reservation {soft}"));
        }
        if let (Some(most), Some(task)) = (hard.max(soft), spec.memory_mib)
            && task < most
        {
            return Err(format!("container {name}: memory {most} is above the task's {task}"));
        }
    }
    Ok(())
}

fn place_all(
    draft: &mut Draft<'_>,
    command: &RunTask,
    definition: &TaskDefinition,
    now_ms: u64,
    ids: &mut dyn IdSource,
) -> Ran {
    let group =
        command.group.clone().unwrap_or_else(|| format!("family:{}", definition.body.family));
    let tags = tags(command, definition);
    let overrides = command.overrides.clone().map(Box::new);
    let constraints = definition.body.placement_constraints.iter().chain(&command.constraints);
    let mut ran = Ran { tasks: Vec::new(), failures: Vec::new() };
    let mut tentative = Tentative::default();
    let need = need(draft.state, command, definition);
    let request =
        scheduler::Request::new(&command.cluster, need, &group, constraints, &command.strategy);
    for _ in 0..command.count {
        let id = ids.fresh();
        let seed = u64::from_str_radix(id.get(16..).unwrap_or("0"), 16).unwrap_or(0);
        let node = match scheduler::place(draft.state, &tentative, &request, seed) {
            Ok(node) => node,
            Err(failures) => {
                ran.failures = failures;
                break;
            }
        };
        tentative.add(&node, need);
        let arn = draft
            .state
            .view
            .scope
            .task_arn(&command.cluster, &id)
            .expect("an id is 32 hex digits and a cluster's name is plain");
        let task = Arc::new(Task {
            overrides: overrides.clone(),
            group: group.clone(),
            started_by: command.started_by.clone(),
            tags: tags.clone(),
            ..new_task(arn, &node, definition, command, need, now_ms, ids)
        });
        draft.moves(&node);
        draft.writes.push(Write::Task(Arc::clone(&task)));
        ran.tasks.push(task);
    }
    ran
}

fn need(state: &State, command: &RunTask, definition: &TaskDefinition) -> Resources {
    let any = state.view.scope.task_arn(&command.cluster, "-");
    let any = any.expect("a cluster's name is plain");
    definition.task_spec(any, command.overrides.as_ref()).reservation()
}

fn new_task(
    arn: TaskArn,
    node: &InstanceArn,
    definition: &TaskDefinition,
    command: &RunTask,
    reserved: Resources,
    now_ms: u64,
    ids: &mut dyn IdSource,
) -> Task {
    let containers = definition.body.containers.iter().map(|container| TaskContainer {
        name: container.name.clone(),
        id: uuid(&ids.fresh()),
        last_status: ContainerStatus::Pending,
        runtime_id: None,
        image_digest: None,
        exit_code: None,
        reason: None,
    });
    Task {
        arn,
        cluster: command.cluster.clone(),
        node: node.clone(),
        definition: definition.key(),
        overrides: None,
        reserved,
        desired: DesiredStatus::Running,
        last_status: TaskStatus::Pending,
        held: true,
        version: 1,
        report_version: 0,
        group: String::new(),
        started_by: None,
        tags: Vec::new(),
        containers: containers.collect(),
        stop_code: None,
        stopped_reason: None,
        created_at_ms: now_ms,
        started_at_ms: None,
        stopping_at_ms: None,
        execution_stopped_at_ms: None,
        stopped_at_ms: None,
    }
}

/// The call's tags, and below them the definition's where they propagate.
fn tags(command: &RunTask, definition: &TaskDefinition) -> Vec<KeyValue> {
    let mut tags = command.tags.clone();
    if command.propagate_tags == PropagateTags::TaskDefinition {
        for tag in &definition.body.tags {
            if !tags.iter().any(|have| have.name == tag.name) {
                tags.push(tag.clone());
            }
        }
    }
    tags
}

/// 32 hex digits in the form 8-4-4-4-12, which ECS gives container ids.
fn uuid(hex: &str) -> String {
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}
