//! Amazon ECS's operations: requests checked by AWS's rules, commands to the engine or a look at
//! the newest view, answers in AWS's shapes.

mod absent;
mod attributes;
mod check;
mod clusters;
mod definitions;
mod environment_files;
mod execute;
mod instances;
mod needs;
mod network;
mod page;
mod placement;
mod protection;
mod reference;
mod refusal;
mod registration;
mod roles;
mod services;
mod settings;
mod shapes;
mod tags;
mod tasks;

use crate::api::wire::operations;

pub(super) use self::absent::absent;
#[cfg(test)]
pub(super) use self::absent::absent_names;
pub(super) use self::execute::{Session, Wish, container_of, session};
pub(super) use self::needs::{execute_needs, needs};
pub(super) use self::reference::{cluster_name, find_service, find_task};
pub(super) use self::refusal::from_call;

operations! {
    "CreateCluster" => clusters::create,
        clusters::CreateClusterRequest => clusters::CreateClusterResponse;
    "DeleteCluster" => clusters::delete,
        clusters::DeleteClusterRequest => clusters::DeleteClusterResponse;
    "DescribeClusters" => clusters::describe,
        clusters::DescribeClustersRequest => clusters::DescribeClustersResponse;
    "UpdateCluster" => clusters::update,
        clusters::UpdateClusterRequest => clusters::UpdateClusterResponse;
    "UpdateClusterSettings" => clusters::update_settings,
        clusters::UpdateClusterSettingsRequest => clusters::UpdateClusterSettingsResponse;
    "ListAccountSettings" => settings::list,
        settings::ListAccountSettingsRequest => settings::ListAccountSettingsResponse;
    "PutAccountSetting" => settings::put,
        settings::PutAccountSettingRequest => settings::PutAccountSettingResponse;
    "PutAccountSettingDefault" => settings::put_default,
        settings::PutAccountSettingDefaultRequest
            => settings::PutAccountSettingDefaultResponse;
    "DeleteAccountSetting" => settings::delete,
        settings::DeleteAccountSettingRequest => settings::DeleteAccountSettingResponse;
    "ListClusters" => clusters::list,
        clusters::ListClustersRequest => clusters::ListClustersResponse;
    "RegisterTaskDefinition" => definitions::register,
        definitions::RegisterTaskDefinitionRequest
            => definitions::RegisterTaskDefinitionResponse;
    "DeregisterTaskDefinition" => definitions::deregister,
        definitions::DeregisterTaskDefinitionRequest
            => definitions::DeregisterTaskDefinitionResponse;
    "DeleteTaskDefinitions" => definitions::delete,
        definitions::DeleteTaskDefinitionsRequest
            => definitions::DeleteTaskDefinitionsResponse;
    "DescribeTaskDefinition" => definitions::describe,
        definitions::DescribeTaskDefinitionRequest
            => definitions::DescribeTaskDefinitionResponse;
    "ListTaskDefinitions" => definitions::list,
        definitions::ListTaskDefinitionsRequest => definitions::ListTaskDefinitionsResponse;
    "ListTaskDefinitionFamilies" => definitions::list_families,
        definitions::ListTaskDefinitionFamiliesRequest
            => definitions::ListTaskDefinitionFamiliesResponse;
    "TagResource" => tags::tag, tags::TagResourceRequest => tags::TagResourceResponse;
    "UntagResource" => tags::untag, tags::UntagResourceRequest => tags::UntagResourceResponse;
    "ListTagsForResource" => tags::list,
        tags::ListTagsForResourceRequest => tags::ListTagsForResourceResponse;
    "RunTask" => tasks::run, tasks::RunTaskRequest => tasks::RunTaskResponse;
    "StartTask" => tasks::start, tasks::StartTaskRequest => tasks::StartTaskResponse;
    "ExecuteCommand" => execute::execute,
        execute::ExecuteCommandRequest => execute::ExecuteCommandResponse;
    "CreateService" => services::create,
        services::CreateServiceRequest => services::CreateServiceResponse;
    "UpdateService" => services::update,
        services::UpdateServiceRequest => services::UpdateServiceResponse;
    "DeleteService" => services::delete,
        services::DeleteServiceRequest => services::DeleteServiceResponse;
    "DescribeServices" => services::describe,
        services::DescribeServicesRequest => services::DescribeServicesResponse;
    "ListServices" => services::list,
        services::ListServicesRequest => services::ListServicesResponse;
    "ListServiceDeployments" => services::list_deployments,
        services::ListServiceDeploymentsRequest => services::ListServiceDeploymentsResponse;
    "DescribeServiceDeployments" => services::describe_deployments,
        services::DescribeServiceDeploymentsRequest
            => services::DescribeServiceDeploymentsResponse;
    "StopServiceDeployment" => services::stop_deployment,
        services::StopServiceDeploymentRequest => services::StopServiceDeploymentResponse;
    "DescribeServiceRevisions" => services::describe_revisions,
        services::DescribeServiceRevisionsRequest => services::DescribeServiceRevisionsResponse;
    "StopTask" => tasks::stop, tasks::StopTaskRequest => tasks::StopTaskResponse;
    "DescribeTasks" => tasks::describe,
        tasks::DescribeTasksRequest => tasks::DescribeTasksResponse;
    "GetTaskProtection" => protection::get,
        protection::GetTaskProtectionRequest => protection::GetTaskProtectionResponse;
    "UpdateTaskProtection" => protection::update,
        protection::UpdateTaskProtectionRequest => protection::UpdateTaskProtectionResponse;
    "ListTasks" => tasks::list, tasks::ListTasksRequest => tasks::ListTasksResponse;
    "RegisterContainerInstance" => registration::register,
        registration::RegisterContainerInstanceRequest
            => registration::RegisterContainerInstanceResponse;
    "DescribeContainerInstances" => instances::describe,
        instances::DescribeContainerInstancesRequest
            => instances::DescribeContainerInstancesResponse;
    "ListContainerInstances" => instances::list,
        instances::ListContainerInstancesRequest => instances::ListContainerInstancesResponse;
    "PutAttributes" => attributes::put,
        attributes::PutAttributesRequest => attributes::PutAttributesResponse;
    "DeleteAttributes" => attributes::delete,
        attributes::DeleteAttributesRequest => attributes::DeleteAttributesResponse;
    "ListAttributes" => attributes::list,
        attributes::ListAttributesRequest => attributes::ListAttributesResponse;
    "DeregisterContainerInstance" => instances::deregister,
        instances::DeregisterContainerInstanceRequest
            => instances::DeregisterContainerInstanceResponse;
    "UpdateContainerInstancesState" => instances::update_state,
        instances::UpdateContainerInstancesStateRequest
            => instances::UpdateContainerInstancesStateResponse;
}
