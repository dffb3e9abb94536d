//! Services: CreateService, UpdateService and DeleteService write down what is wanted;
//! [`reconcile`] brings the tasks there, step by step, whenever something happened.

mod daemon;
mod history;
mod reconcile;
mod replica;
mod spread;

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{Applied, active_cluster, definition};
use crate::command::{
    CreateService, DESIRED_COUNT_MAX, DeleteService, Deploy, Force, Refusal, Reply,
    StopServiceDeployment, UpdateService,
};
use crate::state::{
    DefinitionKey, Deployment, IdSource, PlacementStrategy, Rebalancing, Rollout, Scheduling,
    Service, ServiceEntry, ServiceKey, ServiceStatus, Sha256Hash, State, Throttle, UndoCause,
    Write,
};

pub(super) use reconcile::reconcile;

pub(super) fn create(
    state: &State,
    command: &CreateService,
    now_ms: u64,
    ids: &mut dyn IdSource,
) -> Result<Applied, Refusal> {
    active_cluster(&state.view, &command.key.cluster)?;
    let fingerprint = fingerprint(command);
    if let Some(there) = state.view.service(&command.key).map(|entry| &entry.record)
        && there.status != ServiceStatus::Inactive
    {
        if there.status == ServiceStatus::Active && there.fingerprint == fingerprint {
            return Ok((Vec::new(), Reply::Service(Arc::clone(there))));
        }
        return Err(Refusal::ServiceExists(command.key.clone()));
    }
    let definition = definition::usable(state, &command.definition)?.key();
    check(command.scheduling, Some(command.desired_count), !command.strategy.is_empty())?;
    let service = Service {
        key: command.key.clone(),
        status: ServiceStatus::Active,
        scheduling: command.scheduling,
        desired_count: match command.scheduling {
            Scheduling::Replica => command.desired_count,
            Scheduling::Daemon => 0,
        },
        config: command.config,
        health_check_grace_s: command.health_check_grace_s,
        constraints: command.constraints.clone(),
        strategy: command.strategy.clone(),
        rebalancing: command.rebalancing,
        moving: 0,
        network: command.network.clone(),
        propagate_tags: command.propagate_tags,
        managed_tags: command.managed_tags,
        execute_command: command.execute_command,
        tags: command.tags.clone(),
        created_at_ms: now_ms,
        created_by: command.by.clone(),
        fingerprint,
        deployments: vec![deployment(definition, now_ms, ids)],
        events: Vec::new(),
        steady: false,
        throttle: Throttle::default(),
        unplaced: Vec::new(),
    };
    check_rebalancing(&service)?;
    Ok(answer(service))
}

pub(super) fn update(
    state: &State,
    command: &UpdateService,
    now_ms: u64,
    ids: &mut dyn IdSource,
) -> Result<Applied, Refusal> {
    let mut service = Service::clone(&active(state, &command.key)?.record);
    let strategy = command.strategy.as_ref().is_some_and(|strategy| !strategy.is_empty());
    check(service.scheduling, command.desired_count, strategy)?;
    if service.scheduling == Scheduling::Daemon && command.desired_count.is_some() {
        let why = "a DAEMON service has as many tasks as there are nodes".to_owned();
        return Err(Refusal::Invalid { field: "desiredCount", why });
    }
    let wanted = match &command.definition {
        Some(wanted) => definition::usable(state, wanted)?.key(),
        None => service.primary().definition.clone(),
    };
    service.desired_count = command.desired_count.unwrap_or(service.desired_count);
    service.config = command.config.unwrap_or(service.config);
    service.health_check_grace_s = command.health_check_grace_s.or(service.health_check_grace_s);
    service.rebalancing = command.rebalancing.unwrap_or(service.rebalancing);
    service.propagate_tags = command.propagate_tags.unwrap_or(service.propagate_tags);
    service.execute_command = command.execute_command.unwrap_or(service.execute_command);
    service.managed_tags = command.managed_tags.unwrap_or(service.managed_tags);
    if let Some(constraints) = &command.constraints {
        service.constraints.clone_from(constraints);
    }
    if let Some(strategy) = &command.strategy {
        service.strategy.clone_from(strategy);
    }
    check_rebalancing(&service)?;
    let mut begins = command.deploy == Deploy::Force || wanted != service.primary().definition;
    if let Some(network) =
        command.network.as_ref().filter(|new| Some(*new) != service.network.as_ref())
    {
        service.network = Some(network.clone());
        begins = true;
    }
    if begins {
        history::supersede(&mut service, deployment(wanted, now_ms, ids), now_ms);
    }
    service.steady = false;
    Ok(answer(service))
}

pub(super) fn delete(
    state: &State,
    command: &DeleteService,
    _now_ms: u64,
    _ids: &mut dyn IdSource,
) -> Result<Applied, Refusal> {
    let entry = active(state, &command.key)?;
    let wants = entry.record.scheduling == Scheduling::Replica && 0 < entry.record.desired_count;
    if wants && command.force == Force::No {
        return Err(Refusal::ServiceWantsTasks(command.key.clone()));
    }
    let status = ServiceStatus::Draining;
    Ok(answer(Service { status, desired_count: 0, ..Service::clone(&entry.record) }))
}

/// Undoes the deployment under way, breaker or not.
pub(super) fn stop_deployment(
    state: &State,
    command: &StopServiceDeployment,
    now_ms: u64,
    ids: &mut dyn IdSource,
) -> Result<Applied, Refusal> {
    let mut service = Service::clone(&active(state, &command.key)?.record);
    let known = |id: &str| service.deployments.iter().any(|one| one.revision_id == id);
    let primary = service.primary();
    if !known(&command.revision_id) {
        return Err(Refusal::DeploymentNotFound(command.revision_id.clone()));
    }
    let under_way = primary.rollout == Rollout::InProgress && !primary.is_rollback;
    if primary.revision_id != command.revision_id || !under_way {
        return Err(Refusal::DeploymentOver(command.revision_id.clone()));
    }
    let id = primary.id.clone();
    let cause = (UndoCause::Request, "Service deployment stopped by StopServiceDeployment.");
    if !history::roll_back(&mut service, cause, now_ms, ids) {
        return Err(Refusal::NothingToRollBackTo(command.revision_id.clone()));
    }
    history::tell(&mut service, &format!("(deployment {id}) deployment stopped."), now_ms, ids);
    service.steady = false;
    Ok(answer(service))
}

fn answer(service: Service) -> Applied {
    let service = Arc::new(service);
    (vec![Write::Service(Arc::clone(&service))], Reply::Service(service))
}

fn active<'a>(state: &'a State, key: &ServiceKey) -> Result<&'a ServiceEntry, Refusal> {
    active_cluster(&state.view, &key.cluster)?;
    let entry = state.view.service(key).ok_or_else(|| Refusal::ServiceNotFound(key.clone()))?;
    match entry.record.status {
        ServiceStatus::Active => Ok(entry),
        ServiceStatus::Draining | ServiceStatus::Inactive => {
            Err(Refusal::ServiceNotActive(key.clone()))
        }
    }
}

fn check(scheduling: Scheduling, desired: Option<u32>, strategy: bool) -> Result<(), Refusal> {
    if DESIRED_COUNT_MAX < desired.unwrap_or(0) {
        let why = format!("at most {DESIRED_COUNT_MAX} tasks for each service");
        return Err(Refusal::Invalid { field: "desiredCount", why });
    }
    if scheduling == Scheduling::Daemon && strategy {
        let why = "a DAEMON service takes every node and has no strategy".to_owned();
        return Err(Refusal::Invalid { field: "placementStrategy", why });
    }
    Ok(())
}

/// Tasks can move only where the service spreads and may have one more than it shall.
fn check_rebalancing(service: &Service) -> Result<(), Refusal> {
    if service.rebalancing == Rebalancing::Disabled {
        return Ok(());
    }
    let first = service.strategy.first();
    let why = if service.scheduling == Scheduling::Daemon {
        "ENABLED is not for DAEMON services, which have a task on every node"
    } else if service.config.maximum_percent <= 100 {
        "ENABLED needs a maximumPercent above 100: a task is started before another is stopped"
    } else if !first.is_none_or(|first| matches!(first, PlacementStrategy::Spread(_))) {
        "ENABLED needs a placementStrategy that begins with spread, or none"
    } else {
        return Ok(());
    };
    Err(Refusal::Invalid { field: "availabilityZoneRebalancing", why: why.to_owned() })
}

/// Of the parameters: the same call again is answered with what it made.
fn fingerprint(command: &CreateService) -> Sha256Hash {
    let text = serde_json::to_vec(command).expect("a command has string keys only");
    Sha256Hash(Sha256::digest(text).into())
}

/// A deployment that begins now.
fn deployment(definition: DefinitionKey, now_ms: u64, ids: &mut dyn IdSource) -> Deployment {
    let hex = ids.fresh();
    let number = u64::from_str_radix(hex.get(16..).unwrap_or("0"), 16).unwrap_or(0);
    let id = format!("ecs-svc/{:019}", number % 10_u64.pow(19));
    Deployment {
        rollout_reason: format!("ECS deployment {id} in progress."),
        id,
        revision_id: ids.fresh().get(16..).unwrap_or_default().to_owned(),
        definition,
        rollout: Rollout::InProgress,
        failed_tasks: 0,
        is_rollback: false,
        undo: None,
        completed_at_ms: None,
        created_at_ms: now_ms,
        updated_at_ms: now_ms,
        live: true,
    }
}
