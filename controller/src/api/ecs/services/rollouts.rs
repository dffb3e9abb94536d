//! Service deployments and service revisions: the history of a service's rollouts.

use loadline_model::ContainerName;

use super::super::page::Pager;
use super::super::reference::{cluster_name, own_resource};
use super::super::shapes::Failure;
use super::super::{check, from_call};
use super::find;
use super::rollout_shapes::{
    ContainerImage, DescribeServiceDeploymentsRequest, DescribeServiceDeploymentsResponse,
    DescribeServiceRevisionsRequest, DescribeServiceRevisionsResponse,
    ListServiceDeploymentsRequest, ListServiceDeploymentsResponse, Rollback, ServiceDeployment,
    ServiceDeploymentBrief, ServiceDeploymentCircuitBreaker, ServiceRevision,
    ServiceRevisionSummary, StopServiceDeploymentRequest, StopServiceDeploymentResponse,
};
use super::show::{self, Counts};
use crate::api::wire::EpochSeconds;
use crate::api::{Api, ApiError, Code};
use crate::command::StopServiceDeployment;
use crate::services::breaker;
use crate::state::{
    Breaker, ClusterName, Deployment, Rollout, ServiceEntry, ServiceKey, ServiceName, UndoCause,
    View,
};

/// Most ARNs of one Describe (ECS's own bound).
const DESCRIBE_MAX: usize = 20;

/// AWS's statuses of a service deployment.
const STATUSES: [&str; 9] = [
    "PENDING",
    "SUCCESSFUL",
    "STOPPED",
    "STOP_REQUESTED",
    "IN_PROGRESS",
    "ROLLBACK_REQUESTED",
    "ROLLBACK_IN_PROGRESS",
    "ROLLBACK_SUCCESSFUL",
    "ROLLBACK_FAILED",
];

/// A deployment and its place among its service's, where the newest is 0.
#[derive(Clone, Copy)]
struct Placed<'a> {
    entry: &'a ServiceEntry,
    index: usize,
    deployment: &'a Deployment,
}

impl Placed<'_> {
    fn status(self) -> &'static str {
        let undo = self.deployment.undo.as_ref().map(|undo| undo.rollout);
        match (self.deployment.rollout, undo) {
            // What was completed once stays so, also when it comes back later.
            _ if self.deployment.completed_at_ms.is_some() => "SUCCESSFUL",
            (Rollout::Completed, _) => "SUCCESSFUL",
            (Rollout::InProgress, _) if self.index == 0 => "IN_PROGRESS",
            // A newer deployment took its place before it was done, or it failed and nothing was
            // there to go back to.
            (Rollout::InProgress, _) | (Rollout::Failed, None) => "STOPPED",
            (Rollout::Failed, Some(Rollout::InProgress)) => "ROLLBACK_IN_PROGRESS",
            (Rollout::Failed, Some(Rollout::Completed)) => "ROLLBACK_SUCCESSFUL",
            (Rollout::Failed, Some(Rollout::Failed)) => "ROLLBACK_FAILED",
        }
    }

    fn finished_at(self) -> Option<EpochSeconds> {
        let over = !matches!(self.status(), "IN_PROGRESS" | "ROLLBACK_IN_PROGRESS");
        let undone = self.deployment.undo.as_ref().and_then(|undo| undo.until_ms);
        let at_ms = self.deployment.completed_at_ms.or(undone);
        over.then(|| EpochSeconds::from_ms(at_ms.unwrap_or(self.deployment.updated_at_ms)))
    }

    /// When it was stopped: by the breaker, a caller, or a newer deployment.
    fn stopped_at(self) -> Option<EpochSeconds> {
        let stopped = self.status() == "STOPPED" || self.deployment.undo.is_some();
        stopped.then(|| EpochSeconds::from_ms(self.deployment.updated_at_ms))
    }
}

/// A service's deployments, the newest first; one that came back stands where it began.
fn placed(entry: &ServiceEntry) -> impl Iterator<Item = Placed<'_>> {
    let all = entry.record.deployments.iter().enumerate();
    let mut all: Vec<_> =
        all.map(|(index, deployment)| Placed { entry, index, deployment }).collect();
    all.sort_by_key(|placed| std::cmp::Reverse(placed.deployment.created_at_ms));
    all.into_iter()
}

pub(in crate::api::ecs) async fn list_deployments(
    api: &Api,
    request: ListServiceDeploymentsRequest,
) -> Result<ListServiceDeploymentsResponse, ApiError> {
    for status in request.status.iter().flatten() {
        check::one_of("status", Some(status), &STATUSES, &[])?;
    }
    let view = api.engine.snapshot();
    let cluster = cluster_name(&view.scope, request.cluster.as_deref())?;
    let entry = find(&view, &cluster, &request.service)?;
    let wanted = |placed: &Placed<'_>| {
        let at_ms = placed.deployment.created_at_ms;
        let (after, before) = request
            .created_at
            .as_ref()
            .map_or((None, None), |stretch| (stretch.after, stretch.before));
        let statuses = request.status.as_deref().filter(|list| !list.is_empty());
        statuses.is_none_or(|list| list.iter().any(|word| word == placed.status()))
            && after.is_none_or(|after| after.is_before_ms(at_ms))
            && before.is_none_or(|before| before.is_after_ms(at_ms))
    };
    let question = format!(
        "ListServiceDeployments {} {:?} {:?}",
        entry.record.key, request.status, request.created_at
    );
    let pager = Pager::new(question, request.next_token.as_deref(), request.max_results)?;
    let rest = placed(entry).filter(wanted);
    let mut after = pager.after();
    let rest = rest.skip_while(|placed| match after {
        None => false,
        Some(id) => {
            if placed.deployment.revision_id == id {
                after = None;
            }
            true
        }
    });
    let (page, next_token) = pager.page(rest, |placed| placed.deployment.revision_id.clone());
    let service_deployments = page.into_iter().map(|placed| brief(&view, placed)).collect();
    Ok(ListServiceDeploymentsResponse { service_deployments, next_token })
}

fn brief(view: &View, placed: Placed<'_>) -> ServiceDeploymentBrief {
    let (scope, key) = (&view.scope, &placed.entry.record.key);
    let deployment = placed.deployment;
    let began = EpochSeconds::from_ms(deployment.created_at_ms);
    ServiceDeploymentBrief {
        service_deployment_arn: scope.service_deployment_arn(key, &deployment.revision_id),
        service_arn: scope.service_arn(key),
        cluster_arn: scope.cluster_arn(&key.cluster),
        started_at: began,
        created_at: began,
        finished_at: placed.finished_at(),
        target_service_revision_arn: scope.service_revision_arn(key, &deployment.revision_id),
        status: placed.status().into(),
        status_reason: Some(deployment.rollout_reason.clone()).filter(|text| !text.is_empty()),
    }
}

pub(in crate::api::ecs) async fn describe_deployments(
    api: &Api,
    request: DescribeServiceDeploymentsRequest,
) -> Result<DescribeServiceDeploymentsResponse, ApiError> {
    check::count("serviceDeploymentArns", &request.service_deployment_arns, DESCRIBE_MAX)?;
    let view = api.engine.snapshot();
    let mut answer =
        DescribeServiceDeploymentsResponse { service_deployments: vec![], failures: vec![] };
    for arn in request.service_deployment_arns {
        let named = read_arn(&view, &arn, "service-deployment/")?;
        let found = named.as_ref().and_then(|(key, id)| {
            placed(view.service(key)?).find(|placed| placed.deployment.revision_id == *id)
        });
        match found {
            Some(placed) => answer.service_deployments.push(whole(&view, placed)),
            None => answer.failures.push(Failure::missing(arn)),
        }
    }
    Ok(answer)
}

/// Service and id of `…:KIND/CLUSTER/SERVICE/ID`.
fn read_arn<'a>(
    view: &View,
    arn: &'a str,
    kind: &str,
) -> Result<Option<(ServiceKey, &'a str)>, ApiError> {
    let path = own_resource(&view.scope, arn)?.strip_prefix(kind).ok_or_else(|| {
        ApiError::invalid(format_args!(
            "{arn:?} is not the ARN of a {}",
            kind.trim_end_matches('/')
        ))
    })?;
    let mut parts = path.split('/');
    let (Some(cluster), Some(name), Some(id), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Ok(None);
    };
    let cluster = ClusterName::parse(cluster).ok();
    let name = ServiceName::parse(name).ok();
    Ok(cluster.zip(name).map(|(cluster, name)| (ServiceKey { cluster, name }, id)))
}

fn whole(view: &View, placed: Placed<'_>) -> ServiceDeployment {
    let Placed { entry, deployment, .. } = placed;
    let record = &entry.record;
    let brief = brief(view, placed);
    let began = deployment.created_at_ms;
    let live = record.deployments.iter().filter(|older| older.live);
    let older = live.filter(|older| older.created_at_ms < began);
    let undo = deployment.undo.as_ref();
    let updated_ms = undo.and_then(|undo| undo.until_ms).unwrap_or(deployment.updated_at_ms);
    ServiceDeployment {
        service_deployment_arn: brief.service_deployment_arn,
        service_arn: brief.service_arn,
        cluster_arn: brief.cluster_arn,
        created_at: brief.created_at,
        started_at: brief.started_at,
        finished_at: brief.finished_at,
        stopped_at: placed.stopped_at(),
        updated_at: EpochSeconds::from_ms(updated_ms),
        source_service_revisions: older.map(|older| summary(view, entry, older, false)).collect(),
        target_service_revision: summary(view, entry, deployment, placed.index == 0),
        status: brief.status,
        status_reason: brief.status_reason,
        deployment_configuration: show::config(record.config),
        rollback: undo.map(|undo| Rollback {
            reason: deployment.rollout_reason.clone(),
            started_at: EpochSeconds::from_ms(undo.since_ms),
            service_revision_arn: view.scope.service_revision_arn(&record.key, &undo.revision_id),
        }),
        deployment_circuit_breaker: watched(placed),
    }
}

fn summary(
    view: &View,
    entry: &ServiceEntry,
    deployment: &Deployment,
    primary: bool,
) -> ServiceRevisionSummary {
    let counts = Counts::of(view, entry, deployment);
    let record = &entry.record;
    ServiceRevisionSummary {
        arn: view.scope.service_revision_arn(&record.key, &deployment.revision_id),
        requested_task_count: if primary { record.desired_count.into() } else { counts.desired },
        running_task_count: counts.running,
        pending_task_count: counts.pending,
    }
}

fn watched(placed: Placed<'_>) -> ServiceDeploymentCircuitBreaker {
    let record = &placed.entry.record;
    let deployment = placed.deployment;
    let asked = deployment.undo.as_ref().is_some_and(|undo| undo.cause == UndoCause::Request);
    let status = match (record.config.breaker, deployment.rollout) {
        (Breaker::Off, _) => "DISABLED",
        (_, Rollout::Failed) if !asked => "TRIGGERED",
        (_, Rollout::InProgress) if placed.status() == "IN_PROGRESS" => "MONITORING",
        _ => "MONITORING_COMPLETE",
    };
    ServiceDeploymentCircuitBreaker {
        status: status.into(),
        failure_count: deployment.failed_tasks.into(),
        threshold: breaker::threshold(record.config.threshold, record.desired_count).into(),
    }
}

pub(in crate::api::ecs) async fn stop_deployment(
    api: &Api,
    request: StopServiceDeploymentRequest,
) -> Result<StopServiceDeploymentResponse, ApiError> {
    check::one_of("stopType", request.stop_type.as_deref(), &["ROLLBACK"], &["ABORT"])?;
    let arn = request.service_deployment_arn;
    let view = api.engine.snapshot();
    let named = read_arn(&view, &arn, "service-deployment/")?;
    let (key, id) = named.filter(|(key, _)| view.service(key).is_some()).ok_or_else(|| {
        let message = format!("service deployment {arn} not found");
        ApiError::new(Code::ServiceDeploymentNotFound, message)
    })?;
    let command = StopServiceDeployment { key, revision_id: id.to_owned() };
    api.engine.call(command).await.map_err(from_call)?;
    Ok(StopServiceDeploymentResponse { service_deployment_arn: arn })
}

/// What the containers of a deployment run.
fn images(view: &View, key: &ServiceKey, deployment: &Deployment) -> Vec<ContainerImage> {
    let Some(definition) = view.definitions.get(&deployment.definition) else { return vec![] };
    let tasks = view.service(key).into_iter().flat_map(|entry| &entry.tasks);
    let tasks = tasks.filter_map(|arn| view.task(arn));
    let of_it: Vec<_> =
        tasks.filter(|task| task.started_by.as_deref() == Some(deployment.id.as_str())).collect();
    let digest = |name: &ContainerName| {
        let containers = of_it.iter().flat_map(|task| &task.containers);
        containers.filter(|one| one.name == *name).find_map(|one| one.image_digest.clone())
    };
    let containers = definition.body.containers.iter();
    containers
        .map(|container| ContainerImage {
            container_name: container.name.to_string(),
            image: container.image.clone(),
            image_digest: digest(&container.name).map(String::from),
        })
        .collect()
}

pub(in crate::api::ecs) async fn describe_revisions(
    api: &Api,
    request: DescribeServiceRevisionsRequest,
) -> Result<DescribeServiceRevisionsResponse, ApiError> {
    check::count("serviceRevisionArns", &request.service_revision_arns, DESCRIBE_MAX)?;
    let view = api.engine.snapshot();
    let mut answer =
        DescribeServiceRevisionsResponse { service_revisions: vec![], failures: vec![] };
    for arn in request.service_revision_arns {
        let named = read_arn(&view, &arn, "service-revision/")?;
        let found = named.as_ref().and_then(|(key, id)| {
            let deployments = &view.service(key)?.record.deployments;
            Some((key, deployments.iter().find(|deployment| deployment.revision_id == *id)?))
        });
        match found {
            Some((key, deployment)) => answer.service_revisions.push(ServiceRevision {
                service_revision_arn: arn.clone(),
                service_arn: view.scope.service_arn(key),
                cluster_arn: view.scope.cluster_arn(&key.cluster),
                task_definition: view.scope.definition_arn(&deployment.definition),
                launch_type: "EC2".into(),
                container_images: images(&view, key, deployment),
                created_at: EpochSeconds::from_ms(deployment.created_at_ms),
            }),
            None => answer.failures.push(Failure::missing(arn)),
        }
    }
    Ok(answer)
}
