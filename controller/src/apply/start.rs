//! StartTask: one task on each of the nodes that the caller names, if it fits there.

use loadline_model::InstanceArn;

use super::seed::{Seed, merged};
use super::{Applied, Draft, active_cluster, definition, roles, run};
use crate::command::{
    PlacementFailure, PlacementReason, PropagateTags, RUN_COUNT_MAX, Ran, Refusal, Reply, StartTask,
};
use crate::scheduler::{self, Tentative};
use crate::state::{IdSource, State, TaskOverrides};

pub(super) fn start(
    state: &State,
    command: &StartTask,
    now_ms: u64,
    ids: &mut dyn IdSource,
) -> Result<Applied, Refusal> {
    active_cluster(&state.view, &command.cluster)?;
    if command.nodes.is_empty() || (RUN_COUNT_MAX as usize) < command.nodes.len() {
        let why = format!("{} is not between 1 and {RUN_COUNT_MAX}", command.nodes.len());
        return Err(Refusal::Invalid { field: "containerInstances", why });
    }
    let definition = definition::usable(state, &command.definition)?;
    run::check_overrides(command.overrides.as_ref(), definition)?;
    roles::check(state, &definition.roles(command.overrides.as_ref()))?;
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
    let need = seed.need(state);
    // No constraint of placement binds here, but a node that lacks a feature would ignore it.
    let of_overrides = command.overrides.as_ref().and_then(TaskOverrides::needs);
    let needs = definition.body.needs().chain(&of_overrides);
    let request = scheduler::Request::new(&command.cluster, need, &group, needs, &[])
        .with_ports(&definition.body.ports);
    let mut draft = Draft::new(state);
    let mut tentative = Tentative::default();
    let mut ran = Ran { tasks: Vec::new(), failures: Vec::new() };
    for node in &command.nodes {
        match ask(state, &tentative, &request, node) {
            Ok(()) => {
                tentative.add(node, need);
                let id = ids.fresh();
                ran.tasks.push(seed.start(&mut draft, &id, node, need, ids));
            }
            Err(failure) => ran.failures.push(failure),
        }
    }
    Ok(draft.finish(Reply::Ran(ran)))
}

fn ask(
    state: &State,
    tentative: &Tentative,
    request: &scheduler::Request<'_>,
    node: &InstanceArn,
) -> Result<(), PlacementFailure> {
    let missing = || PlacementFailure {
        node: Some(node.clone()),
        reason: PlacementReason::Missing,
        detail: "no such container instance in the cluster".to_owned(),
    };
    let asked = scheduler::ask(state, tentative, request, node);
    asked.unwrap_or_else(|| Err(missing())).map_err(|failure| match failure.reason {
        // Of the request's constraints each asks for an attribute.
        PlacementReason::MemberOf => {
            PlacementFailure { reason: PlacementReason::Attribute, ..failure }
        }
        _ => failure,
    })
}
