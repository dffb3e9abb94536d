//! RunTask: placement happens here, inside the one owner of the state, so two of them can never
//! share the same capacity (law 13).

use std::sync::Arc;

use loadline_model::{TaskArn, TaskSpec};
use sha2::{Digest, Sha256};

use super::seed::{Seed, merged};
use super::{Applied, Draft, active_cluster, definition, roles};
use crate::command::{PropagateTags, RUN_COUNT_MAX, Ran, Refusal, Reply, RunTask};
use crate::scheduler;
use crate::state::{IdSource, RunToken, Sha256Hash, State, TaskDefinition, TaskOverrides, Write};

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
    check_overrides(command.overrides.as_ref(), definition)?;
    roles::check(state, &definition.roles(command.overrides.as_ref()))?;
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

/// Whether overrides fit their definition.
///
/// # Errors
/// [`Refusal::Invalid`]
pub(super) fn check_overrides(
    overrides: Option<&TaskOverrides>,
    definition: &TaskDefinition,
) -> Result<(), Refusal> {
    let Some(overrides) = overrides else { return Ok(()) };
    let invalid = |why: String| Refusal::Invalid { field: "overrides", why };
    for (n, over) in overrides.containers.iter().enumerate() {
        if !definition.body.containers.iter().any(|container| container.name == over.name) {
            return Err(invalid(format!("container {} is not in the task definition", over.name)));
        }
        if overrides.containers[..n].iter().any(|earlier| earlier.name == over.name) {
            return Err(invalid(format!("container {} is overridden twice", over.name)));
        }
    }
    // The limits do not depend on who the task is.
    let any = TaskArn::parse("arn:aws:ecs:-:-:task/-/-").expect("it is one");
    check_limits(&definition.task_spec(any, Some(overrides))).map_err(invalid)
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
    let propagated = match command.propagate_tags {
        PropagateTags::None => &[][..],
        PropagateTags::TaskDefinition => &definition.body.tags,
    };
    let seed = Seed {
        cluster: &command.cluster,
        definition,
        overrides: command.overrides.as_ref(),
        group: &group,
        service: None,
        started_by: command.started_by.as_deref(),
        execute_command: command.execute_command,
        tags: merged(&command.tags, propagated),
        now_ms,
    };
    let constraints = definition.body.constraints().chain(&command.constraints);
    let need = seed.need(draft.state);
    let strategy = &command.strategy;
    let request = scheduler::Request::new(&command.cluster, need, &group, constraints, strategy)
        .with_ports(&definition.body.ports);
    seed.place(draft, &request, command.count, ids)
}
