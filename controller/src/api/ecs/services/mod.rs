//! Services.

mod read;
mod rollout_shapes;
mod rollouts;
mod shapes;
mod show;

pub(super) use self::rollout_shapes::{
    DescribeServiceDeploymentsRequest, DescribeServiceDeploymentsResponse,
    DescribeServiceRevisionsRequest, DescribeServiceRevisionsResponse,
    ListServiceDeploymentsRequest, ListServiceDeploymentsResponse, StopServiceDeploymentRequest,
    StopServiceDeploymentResponse,
};
pub(super) use self::rollouts::{
    describe_deployments, describe_revisions, list_deployments, stop_deployment,
};
pub(super) use self::shapes::{
    CreateServiceRequest, CreateServiceResponse, DeleteServiceRequest, DeleteServiceResponse,
    DescribeServicesRequest, DescribeServicesResponse, ListServicesRequest, ListServicesResponse,
    UpdateServiceRequest, UpdateServiceResponse,
};

use super::page::Pager;
use super::reference::{active_cluster, cluster_name, service_key, service_not_found};
use super::shapes::Failure;
use super::{check, from_call};
use crate::api::{Api, ApiError};
use crate::command::{DefinitionRef, DeleteService, Force};
use crate::state::{
    ClusterName, DefinitionKey, ServiceEntry, ServiceKey, ServiceName, ServiceStatus, View,
};

/// Most services of one DescribeServices (ECS's own bound).
const DESCRIBE_MAX: usize = 10;
/// Services of a page where the caller does not say (ECS's own default).
const PAGE_DEFAULT: i32 = 10;

pub(super) async fn create(
    api: &Api,
    mut request: CreateServiceRequest,
) -> Result<CreateServiceResponse, ApiError> {
    let view = api.engine.snapshot();
    let cluster = cluster_name(&view.scope, request.cluster.as_deref())?;
    let network = request.network_configuration.take();
    let mut command = read::create(&view.scope, cluster, request)?;
    command.network = super::network::network(network, &view, &command.definition)?;
    command.by = api.caller_arn();
    let key = command.key.clone();
    api.engine.call(command).await.map_err(from_call)?;
    Ok(CreateServiceResponse { service: committed(api, &key)? })
}

pub(super) async fn update(
    api: &Api,
    mut request: UpdateServiceRequest,
) -> Result<UpdateServiceResponse, ApiError> {
    let view = api.engine.snapshot();
    let cluster = cluster_name(&view.scope, request.cluster.as_deref())?;
    let entry = find(&view, &cluster, &request.service)?;
    let network = request.network_configuration.take();
    let mut command = read::update(&view.scope, &entry.record, request)?;
    let definition = command.definition.clone().unwrap_or_else(|| {
        let DefinitionKey { family, revision } = entry.record.primary().definition.clone();
        DefinitionRef { family, revision: Some(revision) }
    });
    command.network = super::network::network(network, &view, &definition)?;
    let key = command.key.clone();
    api.engine.call(command).await.map_err(from_call)?;
    Ok(UpdateServiceResponse { service: committed(api, &key)? })
}

pub(super) async fn delete(
    api: &Api,
    request: DeleteServiceRequest,
) -> Result<DeleteServiceResponse, ApiError> {
    let view = api.engine.snapshot();
    let cluster = cluster_name(&view.scope, request.cluster.as_deref())?;
    let key = find(&view, &cluster, &request.service)?.record.key.clone();
    let force = if request.force == Some(true) { Force::Yes } else { Force::No };
    api.engine.call(DeleteService { key: key.clone(), force }).await.map_err(from_call)?;
    Ok(DeleteServiceResponse { service: committed(api, &key)? })
}

/// The service that a caller means, or AWS's refusal.
fn find<'a>(
    view: &'a View,
    cluster: &ClusterName,
    text: &str,
) -> Result<&'a ServiceEntry, ApiError> {
    active_cluster(view, cluster)?;
    service_key(&view.scope, cluster, text)
        .and_then(|key| view.service(&key))
        .ok_or_else(service_not_found)
}

/// The service as of the newest commit, which is not older than the command that was answered.
fn committed(api: &Api, key: &ServiceKey) -> Result<shapes::Service, ApiError> {
    let view = api.engine.snapshot();
    let entry = view.service(key).ok_or_else(service_not_found)?;
    Ok(show::service(&view, entry, true))
}

pub(super) async fn describe(
    api: &Api,
    request: DescribeServicesRequest,
) -> Result<DescribeServicesResponse, ApiError> {
    let with_tags = check::include_tags(request.include.as_deref(), &[])?;
    check::count("services", &request.services, DESCRIBE_MAX)?;
    let view = api.engine.snapshot();
    let cluster = cluster_name(&view.scope, request.cluster.as_deref())?;
    active_cluster(&view, &cluster)?;
    let mut answer = DescribeServicesResponse { services: vec![], failures: vec![] };
    for name in request.services {
        let key = service_key(&view.scope, &cluster, &name);
        match key.as_ref().and_then(|key| view.service(key)) {
            Some(entry) => answer.services.push(show::service(&view, entry, with_tags)),
            None => {
                let arn = key.map_or(name, |key| view.scope.service_arn(&key));
                answer.failures.push(Failure::missing(arn));
            }
        }
    }
    Ok(answer)
}

pub(super) async fn list(
    api: &Api,
    request: ListServicesRequest,
) -> Result<ListServicesResponse, ApiError> {
    let types = ["EC2", "FARGATE", "EXTERNAL", "MANAGED_INSTANCES"];
    let launch_type = request.launch_type.as_deref();
    check::one_of("launchType", launch_type, &types, &[])?;
    let scheduling = request.scheduling_strategy.as_deref();
    check::one_of("schedulingStrategy", scheduling, &["REPLICA", "DAEMON"], &[])?;
    let view = api.engine.snapshot();
    let cluster = cluster_name(&view.scope, request.cluster.as_deref())?;
    active_cluster(&view, &cluster)?;
    let question = format!("ListServices {cluster} {launch_type:?} {scheduling:?}");
    let token = request.next_token.as_deref();
    let pager = Pager::with_default(question, token, request.max_results, PAGE_DEFAULT)?;
    let after = pager.after().map(ServiceName::parse).transpose().map_err(ApiError::invalid)?;
    let services = view
        .services_in(&cluster, after.as_ref())
        .map(|entry| &entry.record)
        .filter(|record| record.status != ServiceStatus::Inactive)
        .filter(|record| scheduling.is_none_or(|word| record.scheduling.as_str() == word))
        .filter(|_| launch_type.is_none_or(|word| word == "EC2"));
    let (page, next_token) = pager.page(services, |record| record.key.name.to_string());
    let arns = page.into_iter().map(|record| view.scope.service_arn(&record.key));
    Ok(ListServicesResponse { service_arns: arns.collect(), next_token })
}
