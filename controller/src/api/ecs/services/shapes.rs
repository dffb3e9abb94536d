//! The structures of services on the wire.

use super::super::network::NetworkConfiguration;
use super::super::placement::{PlacementConstraint, PlacementStrategy};
use super::super::shapes::{Failure, Tag};
use crate::api::wire::{EpochSeconds, Never, shape};

shape! {
    /// CreateService's input.
    CreateServiceRequest = "CreateServiceRequest" {
        /// Name or ARN; `default` where absent.
        cluster: "cluster" => Option<String>,
        /// The name.
        service_name: "serviceName" => String,
        /// `family`, `family:revision` or ARN.
        task_definition: "taskDefinition" => Option<String>,
        /// How many tasks; required for REPLICA.
        desired_count: "desiredCount" => Option<i32>,
        /// Makes a repeated call answer with the service that the first one made.
        client_token: "clientToken" => Option<String>,
        /// `EC2`.
        launch_type: "launchType" => Option<String>,
        /// Limits of a rolling update, and the circuit breaker.
        deployment_configuration: "deploymentConfiguration" => Option<DeploymentConfiguration>,
        /// `ECS`.
        deployment_controller: "deploymentController" => Option<DeploymentController>,
        /// Bind, besides those of the definition.
        placement_constraints: "placementConstraints" => Option<Vec<PlacementConstraint>>,
        /// Best effort, in this order.
        placement_strategy: "placementStrategy" => Option<Vec<PlacementStrategy>>,
        /// So long after its start a task's failing health checks are ignored.
        health_check_grace_period_seconds: "healthCheckGracePeriodSeconds" => Option<i32>,
        /// With `awsvpc`; kept, and selects nothing.
        network_configuration: "networkConfiguration" => Option<NetworkConfiguration>,
        /// REPLICA or DAEMON.
        scheduling_strategy: "schedulingStrategy" => Option<String>,
        /// ENABLED or DISABLED.
        availability_zone_rebalancing: "availabilityZoneRebalancing" => Option<String>,
        /// Tags.
        tags: "tags" => Option<Vec<Tag>>,
        /// Whether tasks get `aws:ecs:` tags.
        enable_ecs_managed_tags: "enableECSManagedTags" => Option<bool>,
        /// TASK_DEFINITION, SERVICE or NONE.
        propagate_tags: "propagateTags" => Option<String>,
        /// Whether programs may be run in its tasks' containers.
        enable_execute_command: "enableExecuteCommand" => Option<bool>,
    }
    unsupported [
        "loadBalancers", "serviceRegistries", "capacityProviderStrategy", "platformVersion",
        "role", "serviceConnectConfiguration",
        "volumeConfigurations", "vpcLatticeConfigurations", "gatewayConnectors", "monitoring",
    ]
}

shape! {
    /// UpdateService's input. What is absent stays as it is.
    UpdateServiceRequest = "UpdateServiceRequest" {
        /// Name or ARN; `default` where absent.
        cluster: "cluster" => Option<String>,
        /// Name or ARN.
        service: "service" => String,
        /// How many tasks.
        desired_count: "desiredCount" => Option<i32>,
        /// `family`, `family:revision` or ARN.
        task_definition: "taskDefinition" => Option<String>,
        /// Limits of a rolling update, and the circuit breaker.
        deployment_configuration: "deploymentConfiguration" => Option<DeploymentConfiguration>,
        /// `ECS`.
        deployment_controller: "deploymentController" => Option<DeploymentController>,
        /// ENABLED or DISABLED.
        availability_zone_rebalancing: "availabilityZoneRebalancing" => Option<String>,
        /// With `awsvpc`; kept, and selects nothing.
        network_configuration: "networkConfiguration" => Option<NetworkConfiguration>,
        /// Replaces the constraints.
        placement_constraints: "placementConstraints" => Option<Vec<PlacementConstraint>>,
        /// Replaces the strategy.
        placement_strategy: "placementStrategy" => Option<Vec<PlacementStrategy>>,
        /// Whether to begin a deployment in any case.
        force_new_deployment: "forceNewDeployment" => Option<bool>,
        /// So long after its start a task's failing health checks are ignored.
        health_check_grace_period_seconds: "healthCheckGracePeriodSeconds" => Option<i32>,
        /// Whether tasks get `aws:ecs:` tags.
        enable_ecs_managed_tags: "enableECSManagedTags" => Option<bool>,
        /// TASK_DEFINITION, SERVICE or NONE.
        propagate_tags: "propagateTags" => Option<String>,
        /// Whether programs may be run in its tasks' containers.
        enable_execute_command: "enableExecuteCommand" => Option<bool>,
    }
    unsupported [
        "capacityProviderStrategy", "platformVersion", "loadBalancers", "serviceRegistries",
        "serviceConnectConfiguration", "volumeConfigurations", "vpcLatticeConfigurations",
        "gatewayConnectors", "monitoring",
    ]
}

shape! {
    /// How a service is rolled forward, in both directions.
    DeploymentConfiguration = "DeploymentConfiguration" {
        /// What happens when new tasks keep failing.
        deployment_circuit_breaker: "deploymentCircuitBreaker" => Option<DeploymentCircuitBreaker>,
        /// Tasks never rise above this share of the desired count.
        maximum_percent: "maximumPercent" => Option<i32>,
        /// Healthy tasks never fall below this share of the desired count.
        minimum_healthy_percent: "minimumHealthyPercent" => Option<i32>,
        /// ROLLING.
        strategy: "strategy" => Option<String>,
        /// 0.
        bake_time_in_minutes: "bakeTimeInMinutes" => Option<i32>,
    }
    unsupported [
        "alarms", "lifecycleHooks", "linearConfiguration", "canaryConfiguration",
        "earlySuccessCriteria",
    ]
}

shape! {
    /// The circuit breaker, in both directions.
    DeploymentCircuitBreaker = "DeploymentCircuitBreaker" {
        /// Whether a deployment can fail.
        enable: "enable" => bool,
        /// Whether the last completed one then comes back.
        rollback: "rollback" => bool,
        /// Whether a healthy task ends the count; true where absent.
        reset_on_healthy_task: "resetOnHealthyTask" => Option<bool>,
        /// How many failures are too many.
        threshold_configuration: "thresholdConfiguration" => Option<ThresholdConfiguration>,
    }
}

shape! {
    /// How many failures break a deployment, in both directions.
    ThresholdConfiguration = "ThresholdConfiguration" {
        /// COUNT, BOUNDED_PERCENT or UNBOUNDED_PERCENT.
        kind: "type" => String,
        /// Tasks, or a share of the desired count.
        value: "value" => i32,
    }
}

shape! {
    /// Who deploys, in both directions.
    DeploymentController = "DeploymentController" {
        /// ECS.
        kind: "type" => String,
    }
}

shape! {
    /// CreateService's output.
    CreateServiceResponse = "CreateServiceResponse" {
        /// As it is now.
        service: "service" => Service,
    }
}

shape! {
    /// UpdateService's output.
    UpdateServiceResponse = "UpdateServiceResponse" {
        /// As it is now.
        service: "service" => Service,
    }
}

shape! {
    /// DeleteService's input.
    DeleteServiceRequest = "DeleteServiceRequest" {
        /// Name or ARN; `default` where absent.
        cluster: "cluster" => Option<String>,
        /// Name or ARN.
        service: "service" => String,
        /// Whether to stop its tasks.
        force: "force" => Option<bool>,
    }
}

shape! {
    /// DeleteService's output.
    DeleteServiceResponse = "DeleteServiceResponse" {
        /// As it is now.
        service: "service" => Service,
    }
}

shape! {
    /// DescribeServices' input.
    DescribeServicesRequest = "DescribeServicesRequest" {
        /// Name or ARN; `default` where absent.
        cluster: "cluster" => Option<String>,
        /// 1 to 10 names or ARNs.
        services: "services" => Vec<String>,
        /// TAGS.
        include: "include" => Option<Vec<String>>,
    }
}

shape! {
    /// DescribeServices' output.
    DescribeServicesResponse = "DescribeServicesResponse" {
        /// Those that are there.
        services: "services" => Vec<Service>,
        /// Those that are not.
        failures: "failures" => Vec<Failure>,
    }
}

shape! {
    /// ListServices' input.
    ListServicesRequest = "ListServicesRequest" {
        /// Name or ARN; `default` where absent.
        cluster: "cluster" => Option<String>,
        /// Every service is EC2.
        launch_type: "launchType" => Option<String>,
        /// REPLICA or DAEMON.
        scheduling_strategy: "schedulingStrategy" => Option<String>,
        /// From the page before.
        next_token: "nextToken" => Option<String>,
        /// 1 to 100; 10 where absent.
        max_results: "maxResults" => Option<i32>,
    }
    unsupported ["resourceManagementType"]
}

shape! {
    /// ListServices' output.
    ListServicesResponse = "ListServicesResponse" {
        /// ARNs.
        service_arns: "serviceArns" => Vec<String>,
        /// For the next page.
        next_token: "nextToken" => Option<String>,
    }
}

shape! {
    /// A service as it is shown.
    Service = "Service" {
        /// ARN.
        service_arn: "serviceArn" => String,
        /// Name.
        service_name: "serviceName" => String,
        /// ARN of its cluster.
        cluster_arn: "clusterArn" => String,
        /// None yet.
        load_balancers: "loadBalancers" => Vec<Never>,
        /// None yet.
        service_registries: "serviceRegistries" => Vec<Never>,
        /// ACTIVE, DRAINING or INACTIVE.
        status: "status" => String,
        /// How many tasks it shall have.
        desired_count: "desiredCount" => i64,
        /// RUNNING ones.
        running_count: "runningCount" => i64,
        /// Those before RUNNING.
        pending_count: "pendingCount" => i64,
        /// EC2.
        launch_type: "launchType" => String,
        /// What new tasks run: ARN with revision.
        task_definition: "taskDefinition" => String,
        /// Limits of a rolling update, and the circuit breaker.
        deployment_configuration: "deploymentConfiguration" => DeploymentConfiguration,
        /// Those that have, or may yet get, tasks; PRIMARY first.
        deployments: "deployments" => Vec<Deployment>,
        /// The newest first.
        events: "events" => Vec<ServiceEvent>,
        /// When it was made.
        created_at: "createdAt" => EpochSeconds,
        /// ARN of whoever made it.
        created_by: "createdBy" => Option<String>,
        /// ARN of the deployment under way.
        current_service_deployment: "currentServiceDeployment" => Option<String>,
        /// What has tasks now.
        current_service_revisions:
            "currentServiceRevisions" => Vec<ServiceCurrentRevisionSummary>,
        /// Bind.
        placement_constraints: "placementConstraints" => Vec<PlacementConstraint>,
        /// Best effort.
        placement_strategy: "placementStrategy" => Vec<PlacementStrategy>,
        /// As it was given.
        health_check_grace_period_seconds: "healthCheckGracePeriodSeconds" => Option<i64>,
        /// As it was given.
        network_configuration: "networkConfiguration" => Option<NetworkConfiguration>,
        /// REPLICA or DAEMON.
        scheduling_strategy: "schedulingStrategy" => String,
        /// ECS.
        deployment_controller: "deploymentController" => DeploymentController,
        /// With `include` TAGS.
        tags: "tags" => Vec<Tag>,
        /// Whether tasks get `aws:ecs:` tags.
        enable_ecs_managed_tags: "enableECSManagedTags" => bool,
        /// TASK_DEFINITION, SERVICE or NONE.
        propagate_tags: "propagateTags" => String,
        /// Whether programs may be run in its tasks' containers.
        enable_execute_command: "enableExecuteCommand" => bool,
        /// ENABLED or DISABLED.
        availability_zone_rebalancing: "availabilityZoneRebalancing" => String,
    }
}

shape! {
    /// A service revision and its tasks, of a service.
    ServiceCurrentRevisionSummary = "ServiceCurrentRevisionSummary" {
        /// ARN.
        arn: "arn" => String,
        /// How many tasks it shall have.
        requested_task_count: "requestedTaskCount" => i64,
        /// RUNNING ones.
        running_task_count: "runningTaskCount" => i64,
        /// Those before RUNNING.
        pending_task_count: "pendingTaskCount" => i64,
    }
}

shape! {
    /// A deployment of a service.
    Deployment = "Deployment" {
        /// `ecs-svc/…`: its tasks' `startedBy`.
        id: "id" => String,
        /// PRIMARY, or ACTIVE while tasks of it are left.
        status: "status" => String,
        /// ARN with revision.
        task_definition: "taskDefinition" => String,
        /// How many tasks it shall have.
        desired_count: "desiredCount" => i64,
        /// Those before RUNNING.
        pending_count: "pendingCount" => i64,
        /// RUNNING ones.
        running_count: "runningCount" => i64,
        /// How many failed to start, since one last ran.
        failed_tasks: "failedTasks" => i64,
        /// When it began.
        created_at: "createdAt" => EpochSeconds,
        /// When its state last changed.
        updated_at: "updatedAt" => EpochSeconds,
        /// The service's.
        network_configuration: "networkConfiguration" => Option<NetworkConfiguration>,
        /// EC2.
        launch_type: "launchType" => String,
        /// IN_PROGRESS, COMPLETED or FAILED.
        rollout_state: "rolloutState" => String,
        /// The same for people.
        rollout_state_reason: "rolloutStateReason" => String,
    }
}

shape! {
    /// A line of a service's history.
    ServiceEvent = "ServiceEvent" {
        /// Unique.
        id: "id" => String,
        /// When.
        created_at: "createdAt" => EpochSeconds,
        /// In ECS's words.
        message: "message" => String,
    }
}
