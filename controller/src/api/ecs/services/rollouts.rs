//! Service deployments and service revisions: the history of a service's rollouts.

use super::super::check;
use super::super::page::Pager;
use super::super::reference::{cluster_name, own_resource};
use super::super::shapes::Failure;
use super::find;
use super::rollout_shapes::{
    DescribeServiceDeploymentsRequest, DescribeServiceDeploymentsResponse,
    DescribeServiceRevisionsRequest, DescribeServiceRevisionsResponse,
    ListServiceDeploymentsRequest, ListServiceDeploymentsResponse, Rollback, ServiceDeployment,
    ServiceDeploymentBrief, ServiceDeploymentCircuitBreaker, ServiceRevision,
    ServiceRevisionSummary,
};
use super::show::{self, Counts};
use crate::api::wire::EpochSeconds;
use crate::api::{Api, ApiError};
use crate::state::{
    Breaker, ClusterName, Deployment, Rollout, ServiceEntry, ServiceKey, ServiceName, View,
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

impl<'a> Placed<'a> {
    /// The deployment that undid this one: the next newer, if it was made for that.
    fn undone_by(self) -> Option<&'a Deployment> {
        let newer = self.index.checked_sub(1).map(|newer| &self.entry.record.deployments[newer]);
        newer.filter(|newer| newer.is_rollback && self.deployment.rollout == Rollout::Failed)
    }

    fn status(self) -> &'static str {
        match (self.deployment.rollout, self.undone_by().map(|newer| newer.rollout)) {
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
        let last = self.undone_by().unwrap_or(self.deployment);
        let over = !matches!(self.status(), "IN_PROGRESS" | "ROLLBACK_IN_PROGRESS");
        over.then(|| EpochSeconds::from_ms(last.updated_at_ms))
    }
}

/// A service's deployments, the newest first. One that undoes another is part of that one.
fn placed(entry: &ServiceEntry) -> impl Iterator<Item = Placed<'_>> {
    let all = entry.record.deployments.iter().enumerate();
    all.map(move |(index, deployment)| Placed { entry, index, deployment })
        .filter(|placed| !placed.deployment.is_rollback)
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
    let older = record.deployments.iter().skip(placed.index + 1).filter(|older| older.live);
    let last = placed.undone_by().unwrap_or(deployment);
    ServiceDeployment {
        service_deployment_arn: brief.service_deployment_arn,
        service_arn: brief.service_arn,
        cluster_arn: brief.cluster_arn,
        created_at: brief.created_at,
        started_at: brief.started_at,
        finished_at: brief.finished_at,
        updated_at: EpochSeconds::from_ms(last.updated_at_ms),
        source_service_revisions: older.map(|older| summary(view, entry, older, false)).collect(),
        target_service_revision: summary(view, entry, deployment, placed.index == 0),
        status: brief.status,
        status_reason: brief.status_reason,
        deployment_configuration: show::config(record.config),
        rollback: placed.undone_by().map(|newer| Rollback {
            reason: deployment.rollout_reason.clone(),
            started_at: EpochSeconds::from_ms(newer.created_at_ms),
            service_revision_arn: view.scope.service_revision_arn(&record.key, &newer.revision_id),
        }),
        deployment_circuit_breaker: breaker(placed),
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

fn breaker(placed: Placed<'_>) -> ServiceDeploymentCircuitBreaker {
    let record = &placed.entry.record;
    let status = match (record.config.breaker, placed.deployment.rollout) {
        (Breaker::Off, _) => "DISABLED",
        (_, Rollout::Failed) => "TRIGGERED",
        (_, Rollout::InProgress) => "MONITORING",
        (_, Rollout::Completed) => "MONITORING_COMPLETE",
    };
    ServiceDeploymentCircuitBreaker {
        status: status.into(),
        failure_count: placed.deployment.failed_tasks.into(),
        threshold: crate::services::breaker::threshold(record.desired_count).into(),
    }
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
                created_at: EpochSeconds::from_ms(deployment.created_at_ms),
            }),
            None => answer.failures.push(Failure::missing(arn)),
        }
    }
    Ok(answer)
}
