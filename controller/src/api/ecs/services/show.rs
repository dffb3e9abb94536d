//! Services as clients see them.

use loadline_model::{DesiredStatus, TaskStatus};

use super::super::network;
use super::super::placement::{show_constraints, show_strategies};
use super::super::shapes::show_tags;
use super::shapes::{
    Deployment as ShownDeployment, DeploymentCircuitBreaker, DeploymentConfiguration,
    DeploymentController, Service as Shown, ServiceCurrentRevisionSummary,
    ServiceEvent as ShownEvent, ThresholdConfiguration,
};
use crate::api::wire::EpochSeconds;
use crate::state::{
    Breaker, BreakerReset, Deployment, DeploymentConfig, Rollout, Service, ServiceEntry,
    ServiceTags, Threshold, View,
};

/// A service as of a view.
pub(super) fn service(view: &View, entry: &ServiceEntry, with_tags: bool) -> Shown {
    let record = &entry.record;
    let scope = &view.scope;
    let live = record.deployments.iter().enumerate().filter(|(n, d)| *n == 0 || d.live);
    let events = record.events.iter().map(|event| ShownEvent {
        id: event.id.clone(),
        created_at: EpochSeconds::from_ms(event.at_ms),
        message: event.message.clone(),
    });
    let primary = record.primary();
    let current = record.deployments.iter().enumerate().filter(|(n, d)| *n == 0 || d.live);
    let current = current.map(|(n, d)| revision(view, entry, d, n == 0));
    Shown {
        service_arn: scope.service_arn(&record.key),
        service_name: record.key.name.to_string(),
        cluster_arn: scope.cluster_arn(&record.key.cluster),
        load_balancers: vec![],
        service_registries: vec![],
        status: record.status.as_str().into(),
        desired_count: record.desired_count.into(),
        running_count: entry.running_tasks.into(),
        pending_count: entry.pending_tasks.into(),
        launch_type: "EC2".into(),
        task_definition: scope.definition_arn(&primary.definition),
        deployment_configuration: config(record.config),
        deployments: live.map(|(n, d)| deployment(view, entry, d, n == 0)).collect(),
        events: events.collect(),
        created_at: EpochSeconds::from_ms(record.created_at_ms),
        created_by: record.created_by.clone(),
        current_service_deployment: under_way(record)
            .map(|deployment| scope.service_deployment_arn(&record.key, &deployment.revision_id)),
        current_service_revisions: current.collect(),
        placement_constraints: show_constraints(&record.constraints),
        placement_strategy: show_strategies(&record.strategy),
        health_check_grace_period_seconds: record.health_check_grace_s.map(Into::into),
        network_configuration: record.network.as_ref().map(network::show),
        scheduling_strategy: record.scheduling.as_str().into(),
        deployment_controller: DeploymentController { kind: "ECS".into() },
        tags: if with_tags { show_tags(&record.tags) } else { vec![] },
        enable_ecs_managed_tags: record.managed_tags,
        propagate_tags: match record.propagate_tags {
            ServiceTags::None => "NONE".into(),
            ServiceTags::Service => "SERVICE".into(),
            ServiceTags::TaskDefinition => "TASK_DEFINITION".into(),
        },
        enable_execute_command: record.execute_command,
        availability_zone_rebalancing: record.rebalancing.as_str().into(),
    }
}

/// The service deployment that is under way: while an older revision comes back, the one that is
/// undone.
fn under_way(service: &Service) -> Option<&Deployment> {
    let undoing = |deployment: &&Deployment| {
        deployment.undo.as_ref().is_some_and(|undo| undo.rollout == Rollout::InProgress)
    };
    let undone = service.deployments.iter().find(undoing);
    let primary = service.primary();
    undone.or_else(|| (primary.rollout == Rollout::InProgress).then_some(primary))
}

fn revision(
    view: &View,
    entry: &ServiceEntry,
    deployment: &Deployment,
    primary: bool,
) -> ServiceCurrentRevisionSummary {
    let counts = Counts::of(view, entry, deployment);
    let record = &entry.record;
    ServiceCurrentRevisionSummary {
        arn: view.scope.service_revision_arn(&record.key, &deployment.revision_id),
        requested_task_count: if primary { record.desired_count.into() } else { counts.desired },
        running_task_count: counts.running,
        pending_task_count: counts.pending,
    }
}

/// A service's limits and breaker.
pub(super) fn config(config: DeploymentConfig) -> DeploymentConfiguration {
    let number = |percent: u32| i32::try_from(percent).ok();
    DeploymentConfiguration {
        deployment_circuit_breaker: Some(DeploymentCircuitBreaker {
            enable: config.breaker != Breaker::Off,
            rollback: config.breaker == Breaker::RollBack,
            reset_on_healthy_task: Some(config.reset == BreakerReset::OnHealthyTask),
            threshold_configuration: Some(threshold(config.threshold)),
        }),
        maximum_percent: number(config.maximum_percent),
        minimum_healthy_percent: number(config.minimum_healthy_percent),
        strategy: Some("ROLLING".into()),
        bake_time_in_minutes: Some(0),
    }
}

fn threshold(threshold: Threshold) -> ThresholdConfiguration {
    let (kind, value) = match threshold {
        Threshold::Count(value) => ("COUNT", value),
        Threshold::BoundedPercent(value) => ("BOUNDED_PERCENT", value),
        Threshold::UnboundedPercent(value) => ("UNBOUNDED_PERCENT", value),
    };
    let value = i32::try_from(value).unwrap_or(i32::MAX);
    ThresholdConfiguration { kind: kind.into(), value }
}

/// How many tasks a deployment has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) running: i64,
    pub(super) pending: i64,
    /// Those that are wanted.
    pub(super) desired: i64,
}

impl Counts {
    /// Of a deployment's tasks that are not STOPPED.
    pub(super) fn of(view: &View, entry: &ServiceEntry, deployment: &Deployment) -> Self {
        let mut counts = Self::default();
        let tasks = entry.tasks.iter().filter_map(|arn| view.task(arn));
        for task in tasks.filter(|task| task.started_by.as_deref() == Some(deployment.id.as_str()))
        {
            match task.last_status {
                TaskStatus::Running => counts.running += 1,
                TaskStatus::Provisioning | TaskStatus::Pending | TaskStatus::Activating => {
                    counts.pending += 1;
                }
                TaskStatus::Deactivating
                | TaskStatus::Stopping
                | TaskStatus::Deprovisioning
                | TaskStatus::Stopped => {}
            }
            counts.desired += i64::from(task.desired == DesiredStatus::Running);
        }
        counts
    }
}

fn deployment(
    view: &View,
    entry: &ServiceEntry,
    deployment: &Deployment,
    primary: bool,
) -> ShownDeployment {
    let counts = Counts::of(view, entry, deployment);
    ShownDeployment {
        id: deployment.id.clone(),
        status: if primary { "PRIMARY" } else { "ACTIVE" }.into(),
        task_definition: view.scope.definition_arn(&deployment.definition),
        desired_count: if primary { entry.record.desired_count.into() } else { counts.desired },
        pending_count: counts.pending,
        running_count: counts.running,
        failed_tasks: deployment.failed_tasks.into(),
        created_at: EpochSeconds::from_ms(deployment.created_at_ms),
        updated_at: EpochSeconds::from_ms(deployment.updated_at_ms),
        launch_type: "EC2".into(),
        network_configuration: entry.record.network.as_ref().map(network::show),
        rollout_state: deployment.rollout.as_str().into(),
        rollout_state_reason: deployment.rollout_reason.clone(),
    }
}
