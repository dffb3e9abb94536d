//! The structures of service deployments and service revisions on the wire.

use super::super::shapes::Failure;
use super::shapes::DeploymentConfiguration;
use crate::api::wire::{EpochSeconds, shape};

shape! {
    /// ListServiceDeployments' input.
    ListServiceDeploymentsRequest = "ListServiceDeploymentsRequest" {
        /// Name or ARN.
        service: "service" => String,
        /// Name or ARN; `default` where absent.
        cluster: "cluster" => Option<String>,
        /// Only these.
        status: "status" => Option<Vec<String>>,
        /// Only those of this time.
        created_at: "createdAt" => Option<CreatedAt>,
        /// From the page before.
        next_token: "nextToken" => Option<String>,
        /// 1 to 100.
        max_results: "maxResults" => Option<i32>,
    }
}

shape! {
    /// A stretch of time, without its ends.
    CreatedAt = "CreatedAt" {
        /// Its end.
        before: "before" => Option<EpochSeconds>,
        /// Its beginning.
        after: "after" => Option<EpochSeconds>,
    }
}

shape! {
    /// ListServiceDeployments' output.
    ListServiceDeploymentsResponse = "ListServiceDeploymentsResponse" {
        /// The newest first.
        service_deployments: "serviceDeployments" => Vec<ServiceDeploymentBrief>,
        /// For the next page.
        next_token: "nextToken" => Option<String>,
    }
}

shape! {
    /// A service deployment in a list.
    ServiceDeploymentBrief = "ServiceDeploymentBrief" {
        /// ARN.
        service_deployment_arn: "serviceDeploymentArn" => String,
        /// ARN of its service.
        service_arn: "serviceArn" => String,
        /// ARN of its cluster.
        cluster_arn: "clusterArn" => String,
        /// When it began.
        started_at: "startedAt" => EpochSeconds,
        /// When it was asked for.
        created_at: "createdAt" => EpochSeconds,
        /// When it ended.
        finished_at: "finishedAt" => Option<EpochSeconds>,
        /// ARN of what it rolls out.
        target_service_revision_arn: "targetServiceRevisionArn" => String,
        /// How far it is.
        status: "status" => String,
        /// The same for people.
        status_reason: "statusReason" => Option<String>,
    }
}

shape! {
    /// DescribeServiceDeployments' input.
    DescribeServiceDeploymentsRequest = "DescribeServiceDeploymentsRequest" {
        /// 1 to 20.
        service_deployment_arns: "serviceDeploymentArns" => Vec<String>,
    }
}

shape! {
    /// DescribeServiceDeployments' output.
    DescribeServiceDeploymentsResponse = "DescribeServiceDeploymentsResponse" {
        /// Those that are there.
        service_deployments: "serviceDeployments" => Vec<ServiceDeployment>,
        /// Those that are not.
        failures: "failures" => Vec<Failure>,
    }
}

shape! {
    /// A service deployment, whole.
    ServiceDeployment = "ServiceDeployment" {
        /// ARN.
        service_deployment_arn: "serviceDeploymentArn" => String,
        /// ARN of its service.
        service_arn: "serviceArn" => String,
        /// ARN of its cluster.
        cluster_arn: "clusterArn" => String,
        /// When it was asked for.
        created_at: "createdAt" => EpochSeconds,
        /// When it began.
        started_at: "startedAt" => EpochSeconds,
        /// When it ended.
        finished_at: "finishedAt" => Option<EpochSeconds>,
        /// When somebody or something stopped it.
        stopped_at: "stoppedAt" => Option<EpochSeconds>,
        /// When its state last changed.
        updated_at: "updatedAt" => EpochSeconds,
        /// What it replaces, while that has tasks.
        source_service_revisions: "sourceServiceRevisions" => Vec<ServiceRevisionSummary>,
        /// What it rolls out.
        target_service_revision: "targetServiceRevision" => ServiceRevisionSummary,
        /// How far it is.
        status: "status" => String,
        /// The same for people.
        status_reason: "statusReason" => Option<String>,
        /// Limits of the rolling update, and the circuit breaker.
        deployment_configuration: "deploymentConfiguration" => DeploymentConfiguration,
        /// What undid it.
        rollback: "rollback" => Option<Rollback>,
        /// Whether the breaker watches it.
        deployment_circuit_breaker: "deploymentCircuitBreaker" => ServiceDeploymentCircuitBreaker,
    }
}

shape! {
    /// A service revision and its tasks.
    ServiceRevisionSummary = "ServiceRevisionSummary" {
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
    /// What undid a service deployment.
    Rollback = "Rollback" {
        /// For people.
        reason: "reason" => String,
        /// When.
        started_at: "startedAt" => EpochSeconds,
        /// ARN of what came back.
        service_revision_arn: "serviceRevisionArn" => String,
    }
}

shape! {
    /// The circuit breaker of a service deployment.
    ServiceDeploymentCircuitBreaker = "ServiceDeploymentCircuitBreaker" {
        /// TRIGGERED, MONITORING, MONITORING_COMPLETE or DISABLED.
        status: "status" => String,
        /// Tasks that failed to start, since one last ran.
        failure_count: "failureCount" => i64,
        /// How many trigger it.
        threshold: "threshold" => i64,
    }
}

shape! {
    /// StopServiceDeployment's input.
    StopServiceDeploymentRequest = "StopServiceDeploymentRequest" {
        /// ARN.
        service_deployment_arn: "serviceDeploymentArn" => String,
        /// ROLLBACK.
        stop_type: "stopType" => Option<String>,
    }
}

shape! {
    /// StopServiceDeployment's output.
    StopServiceDeploymentResponse = "StopServiceDeploymentResponse" {
        /// As it was given.
        service_deployment_arn: "serviceDeploymentArn" => String,
    }
}

shape! {
    /// DescribeServiceRevisions' input.
    DescribeServiceRevisionsRequest = "DescribeServiceRevisionsRequest" {
        /// 1 to 20.
        service_revision_arns: "serviceRevisionArns" => Vec<String>,
    }
}

shape! {
    /// DescribeServiceRevisions' output.
    DescribeServiceRevisionsResponse = "DescribeServiceRevisionsResponse" {
        /// Those that are there.
        service_revisions: "serviceRevisions" => Vec<ServiceRevision>,
        /// Those that are not.
        failures: "failures" => Vec<Failure>,
    }
}

shape! {
    /// What a deployment rolls out.
    ServiceRevision = "ServiceRevision" {
        /// ARN.
        service_revision_arn: "serviceRevisionArn" => String,
        /// ARN of its service.
        service_arn: "serviceArn" => String,
        /// ARN of its cluster.
        cluster_arn: "clusterArn" => String,
        /// ARN with revision.
        task_definition: "taskDefinition" => String,
        /// EC2.
        launch_type: "launchType" => String,
        /// Those of its definition, while that is there.
        container_images: "containerImages" => Vec<ContainerImage>,
        /// When it was made.
        created_at: "createdAt" => EpochSeconds,
    }
}

shape! {
    /// What a container of a service revision runs.
    ContainerImage = "ContainerImage" {
        /// The container.
        container_name: "containerName" => String,
        /// The reference of its image.
        image: "image" => String,
        /// The digest that its tasks run, once one is known.
        image_digest: "imageDigest" => Option<String>,
    }
}
