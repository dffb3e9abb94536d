//! Amazon ECS's operations that are not served, each with the reason: a caller learns what is
//! missing, not that the name is unknown.

use crate::api::{ApiError, Code};

/// Why, and which.
const ABSENT: [(&str, &[&str]); 9] = [
    (
        "capacity providers are not supported yet: tasks run on the cluster's own container \
         instances, launchType EC2",
        &[
            "CreateCapacityProvider",
            "DescribeCapacityProviders",
            "UpdateCapacityProvider",
            "DeleteCapacityProvider",
            "PutClusterCapacityProviders",
        ],
    ),
    (
        "task sets are not supported: deployments are ECS's own, deploymentController ECS",
        &[
            "CreateTaskSet",
            "DescribeTaskSets",
            "UpdateTaskSet",
            "DeleteTaskSet",
            "UpdateServicePrimaryTaskSet",
        ],
    ),
    (
        "managed daemons are not supported: a service with schedulingStrategy DAEMON runs one \
         task on each container instance",
        &[
            "CreateDaemon",
            "DescribeDaemon",
            "UpdateDaemon",
            "DeleteDaemon",
            "ListDaemons",
            "DescribeDaemonDeployments",
            "ListDaemonDeployments",
            "DescribeDaemonRevisions",
            "RegisterDaemonTaskDefinition",
            "DescribeDaemonTaskDefinition",
            "DeleteDaemonTaskDefinition",
            "ListDaemonTaskDefinitions",
        ],
    ),
    (
        "express services are not supported: they need load balancers; use CreateService",
        &[
            "CreateExpressGatewayService",
            "DescribeExpressGatewayService",
            "UpdateExpressGatewayService",
            "DeleteExpressGatewayService",
        ],
    ),
    (
        "gateways are not supported",
        &[
            "CreateGateway",
            "DescribeGateway",
            "DescribeGatewayResources",
            "DescribeGatewayRoute",
            "UpdateGateway",
            "DeleteGateway",
            "ListGateways",
            "ListGatewayRoutes",
            "AssociateGatewayWithCluster",
            "DisassociateGatewayFromCluster",
            "ListGatewayClusterAssociations",
        ],
    ),
    (
        "Cloud Map namespaces are not supported yet, so no service is in one; ListServices \
         lists those of a cluster",
        &["ListServicesByNamespace"],
    ),
    (
        "lifecycle hooks are not supported, so no deployment pauses; StopServiceDeployment \
         rolls one back",
        &["ContinueServiceDeployment"],
    ),
    (
        "agents speak loadline.agent.v1 here, and only a node's own certificate tells the \
         states of its tasks",
        &[
            "DiscoverPollEndpoint",
            "SubmitTaskStateChange",
            "SubmitContainerStateChange",
            "SubmitAttachmentStateChanges",
        ],
    ),
    (
        "an agent is updated on its node, by replacing its program and starting it again",
        &["UpdateContainerAgent"],
    ),
];

/// The refusal of an operation that AWS has and Loadline has not.
pub(in crate::api) fn absent(operation: &str) -> Option<ApiError> {
    let (why, _) = ABSENT.iter().find(|(_, names)| names.contains(&operation))?;
    Some(ApiError::new(Code::UnsupportedFeature, format_args!("{operation}: {why}")))
}

/// Every operation that is refused by name.
#[cfg(test)]
pub(in crate::api) fn absent_names() -> impl Iterator<Item = &'static str> {
    ABSENT.iter().flat_map(|(_, names)| names.iter().copied())
}
