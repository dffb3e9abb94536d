//! Services: CreateService, UpdateService and DeleteService write down what is wanted;
//! [`reconcile`] brings the tasks there, step by step, whenever something happened.

mod daemon;
mod history;
mod reconcile;
mod replica;

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{Applied, active_cluster, definition};
use crate::command::{
    CreateService, DESIRED_COUNT_MAX, DeleteService, Deploy, Force, Refusal, Reply, UpdateService,
};
use crate::state::{
    DefinitionKey, Deployment, IdSource, Rollout, Scheduling, Service, ServiceEntry, ServiceKey,
    ServiceStatus, Sha256Hash, State, Throttle, Write,
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
        propagate_tags: command.propagate_tags,
        managed_tags: command.managed_tags,
        execute_command: command.execute_command,
        tags: command.tags.clone(),
        created_at_ms: now_ms,
        fingerprint,
        deployments: vec![deployment(definition, now_ms, ids)],
        events: Vec::new(),
        steady: false,
        throttle: Throttle::default(),
        unplaced: Vec::new(),
    };
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
    service.propagate_tags = command.propagate_tags.unwrap_or(service.propagate_tags);
    service.execute_command = command.execute_command.unwrap_or(service.execute_command);
    service.managed_tags = command.managed_tags.unwrap_or(service.managed_tags);
    if let Some(constraints) = &command.constraints {
        service.constraints.clone_from(constraints);
    }
    if let Some(strategy) = &command.strategy {
        service.strategy.clone_from(strategy);
    }
    if wanted != service.primary().definition || command.deploy == Deploy::Force {
        service.deployments.insert(0, deployment(wanted, now_ms, ids));
        service.throttle = Throttle::default();
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
        created_at_ms: now_ms,
        updated_at_ms: now_ms,
        live: true,
    }
}
