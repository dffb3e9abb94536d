//! The structures of tasks on the wire.

use super::super::network::NetworkConfiguration;
use super::super::placement::{PlacementConstraint, PlacementStrategy};
use super::super::shapes::{Attribute, EnvironmentFile, Failure, NameValue, Tag};
use crate::api::wire::{EpochSeconds, Never, shape};

shape! {
    /// RunTask's input.
    RunTaskRequest = "RunTaskRequest" {
        /// Name or ARN; `default` where absent.
        cluster: "cluster" => Option<String>,
        /// `family`, `family:revision` or ARN.
        task_definition: "taskDefinition" => String,
        /// 1 to 10; 1 where absent.
        count: "count" => Option<i32>,
        /// Laid over the definition.
        overrides: "overrides" => Option<TaskOverride>,
        /// `family:FAMILY` where absent.
        group: "group" => Option<String>,
        /// `EC2`.
        launch_type: "launchType" => Option<String>,
        /// Bind, besides those of the definition.
        placement_constraints: "placementConstraints" => Option<Vec<PlacementConstraint>>,
        /// Best effort, in this order.
        placement_strategy: "placementStrategy" => Option<Vec<PlacementStrategy>>,
        /// Free text to find tasks by.
        started_by: "startedBy" => Option<String>,
        /// Tags.
        tags: "tags" => Option<Vec<Tag>>,
        /// Whether tasks get the tag `aws:ecs:clusterName`.
        enable_ecs_managed_tags: "enableECSManagedTags" => Option<bool>,
        /// TASK_DEFINITION or NONE.
        propagate_tags: "propagateTags" => Option<String>,
        /// Whether programs may be run in its containers.
        enable_execute_command: "enableExecuteCommand" => Option<bool>,
        /// With `awsvpc`; checked, and selects nothing.
        network_configuration: "networkConfiguration" => Option<NetworkConfiguration>,
        /// Makes a repeated call give the same tasks.
        client_token: "clientToken" => Option<String>,
    }
    unsupported [
        "capacityProviderStrategy", "platformVersion", "referenceId", "volumeConfigurations",
    ]
}

shape! {
    /// What RunTask lays over a definition, in both directions.
    TaskOverride = "TaskOverride" {
        /// At most one a container.
        container_overrides: "containerOverrides" => Option<Vec<ContainerOverride>>,
        /// None yet.
        inference_accelerator_overrides: "inferenceAcceleratorOverrides" => Option<Vec<Never>>,
        /// CPU units or vCPU.
        cpu: "cpu" => Option<String>,
        /// MiB or GB.
        memory: "memory" => Option<String>,
        /// Replaces the definition's: name or ARN.
        task_role_arn: "taskRoleArn" => Option<String>,
        /// Replaces the definition's: name or ARN.
        execution_role_arn: "executionRoleArn" => Option<String>,
    }
    unsupported ["ephemeralStorage"]
}

shape! {
    /// What is laid over one container.
    ContainerOverride = "ContainerOverride" {
        /// Which.
        name: "name" => Option<String>,
        /// Replaces the command.
        command: "command" => Option<Vec<String>>,
        /// Added, or replacing what has the same name.
        environment: "environment" => Option<Vec<NameValue>>,
        /// In place of the definition's.
        environment_files: "environmentFiles" => Option<Vec<EnvironmentFile>>,
        /// CPU units.
        cpu: "cpu" => Option<i32>,
        /// MiB.
        memory: "memory" => Option<i32>,
        /// MiB.
        memory_reservation: "memoryReservation" => Option<i32>,
    }
    unsupported ["resourceRequirements"]
}

shape! {
    /// RunTask's output.
    RunTaskResponse = "RunTaskResponse" {
        /// What was placed.
        tasks: "tasks" => Vec<Task>,
        /// Why the rest was not.
        failures: "failures" => Vec<Failure>,
    }
}

shape! {
    /// StartTask's input.
    StartTaskRequest = "StartTaskRequest" {
        /// Name or ARN; `default` where absent.
        cluster: "cluster" => Option<String>,
        /// `family`, `family:revision` or ARN.
        task_definition: "taskDefinition" => String,
        /// 1 to 10 ids or ARNs: one task on each.
        container_instances: "containerInstances" => Vec<String>,
        /// Laid over the definition.
        overrides: "overrides" => Option<TaskOverride>,
        /// `family:FAMILY` where absent.
        group: "group" => Option<String>,
        /// Free text to find tasks by.
        started_by: "startedBy" => Option<String>,
        /// Tags.
        tags: "tags" => Option<Vec<Tag>>,
        /// Whether tasks get the tag `aws:ecs:clusterName`.
        enable_ecs_managed_tags: "enableECSManagedTags" => Option<bool>,
        /// TASK_DEFINITION or NONE.
        propagate_tags: "propagateTags" => Option<String>,
        /// With `awsvpc`; checked, and selects nothing.
        network_configuration: "networkConfiguration" => Option<NetworkConfiguration>,
        /// Whether programs may be run in its containers.
        enable_execute_command: "enableExecuteCommand" => Option<bool>,
    }
    unsupported [
        "referenceId", "volumeConfigurations",
    ]
}

shape! {
    /// StartTask's output.
    StartTaskResponse = "StartTaskResponse" {
        /// What was placed.
        tasks: "tasks" => Vec<Task>,
        /// Why the rest was not.
        failures: "failures" => Vec<Failure>,
    }
}

shape! {
    /// StopTask's input.
    StopTaskRequest = "StopTaskRequest" {
        /// Name or ARN; `default` where absent.
        cluster: "cluster" => Option<String>,
        /// Id or ARN.
        task: "task" => String,
        /// For people.
        reason: "reason" => Option<String>,
    }
}

shape! {
    /// StopTask's output.
    StopTaskResponse = "StopTaskResponse" {
        /// As it is now.
        task: "task" => Task,
    }
}

shape! {
    /// DescribeTasks' input.
    DescribeTasksRequest = "DescribeTasksRequest" {
        /// Name or ARN; `default` where absent.
        cluster: "cluster" => Option<String>,
        /// 1 to 100 ids or ARNs.
        tasks: "tasks" => Vec<String>,
        /// TAGS.
        include: "include" => Option<Vec<String>>,
    }
}

shape! {
    /// DescribeTasks' output.
    DescribeTasksResponse = "DescribeTasksResponse" {
        /// Those that are there.
        tasks: "tasks" => Vec<Task>,
        /// Those that are not.
        failures: "failures" => Vec<Failure>,
    }
}

shape! {
    /// ListTasks' input.
    ListTasksRequest = "ListTasksRequest" {
        /// Name or ARN; `default` where absent.
        cluster: "cluster" => Option<String>,
        /// Only tasks of this node.
        container_instance: "containerInstance" => Option<String>,
        /// Only tasks of this family.
        family: "family" => Option<String>,
        /// Only tasks with this text.
        started_by: "startedBy" => Option<String>,
        /// Only tasks of this service.
        service_name: "serviceName" => Option<String>,
        /// RUNNING where absent.
        desired_status: "desiredStatus" => Option<String>,
        /// Every task is EC2.
        launch_type: "launchType" => Option<String>,
        /// From the page before.
        next_token: "nextToken" => Option<String>,
        /// 1 to 100.
        max_results: "maxResults" => Option<i32>,
    }
    unsupported ["daemonName"]
}

shape! {
    /// ListTasks' output.
    ListTasksResponse = "ListTasksResponse" {
        /// ARNs.
        task_arns: "taskArns" => Vec<String>,
        /// For the next page.
        next_token: "nextToken" => Option<String>,
    }
}

shape! {
    /// A task as it is shown. Times are by the controller's clock, but for `executionStoppedAt`
    /// and those of the pull.
    Task = "Task" {
        /// None yet.
        attachments: "attachments" => Vec<Attachment>,
        /// Its node's processor, `ecs.cpu-architecture`.
        attributes: "attributes" => Vec<Attribute>,
        /// Of its node, where it has the attribute `ecs.availability-zone`.
        availability_zone: "availabilityZone" => Option<String>,
        /// ARN.
        cluster_arn: "clusterArn" => String,
        /// CONNECTED while its node's agent has a session, else DISCONNECTED.
        connectivity: "connectivity" => String,
        /// Since when it is CONNECTED.
        connectivity_at: "connectivityAt" => Option<EpochSeconds>,
        /// Its node, for ever.
        container_instance_arn: "containerInstanceArn" => String,
        /// The containers.
        containers: "containers" => Vec<Container>,
        /// CPU units that it reserved.
        cpu: "cpu" => String,
        /// When it was placed.
        created_at: "createdAt" => EpochSeconds,
        /// RUNNING or STOPPED.
        desired_status: "desiredStatus" => String,
        /// Whether programs may be run in its containers.
        enable_execute_command: "enableExecuteCommand" => bool,
        /// When its last container had ended.
        execution_stopped_at: "executionStoppedAt" => Option<EpochSeconds>,
        /// `family:NAME`, or what RunTask said.
        group: "group" => String,
        /// Of its essential containers that have a health check.
        health_status: "healthStatus" => String,
        /// Where it stands.
        last_status: "lastStatus" => String,
        /// EC2.
        launch_type: "launchType" => String,
        /// MiB that it reserved.
        memory: "memory" => String,
        /// What RunTask laid over its definition.
        overrides: "overrides" => TaskOverride,
        /// When its node looked for the first of its images.
        pull_started_at: "pullStartedAt" => Option<EpochSeconds>,
        /// When the last of them was there or given up.
        pull_stopped_at: "pullStoppedAt" => Option<EpochSeconds>,
        /// When it reached RUNNING.
        started_at: "startedAt" => Option<EpochSeconds>,
        /// RunTask's text.
        started_by: "startedBy" => Option<String>,
        /// Why it stopped.
        stop_code: "stopCode" => Option<String>,
        /// When it was STOPPED.
        stopped_at: "stoppedAt" => Option<EpochSeconds>,
        /// The same for people.
        stopped_reason: "stoppedReason" => Option<String>,
        /// When it began to stop.
        stopping_at: "stoppingAt" => Option<EpochSeconds>,
        /// With `include` TAGS.
        tags: "tags" => Vec<Tag>,
        /// ARN.
        task_arn: "taskArn" => String,
        /// ARN with revision.
        task_definition_arn: "taskDefinitionArn" => String,
        /// Counts changes.
        version: "version" => u64,
    }
}

shape! {
    /// What a task has besides its containers: with `awsvpc` an interface.
    Attachment = "Attachment" {
        /// A UUID.
        id: "id" => String,
        /// ElasticNetworkInterface.
        kind: "type" => String,
        /// ATTACHED or DELETED.
        status: "status" => String,
        /// Its addresses.
        details: "details" => Vec<NameValue>,
    }
}

shape! {
    /// A task's interface, as one of its containers sees it.
    NetworkInterface = "NetworkInterface" {
        /// The attachment's.
        attachment_id: "attachmentId" => String,
        /// Its IPv4 address.
        private_ipv4_address: "privateIpv4Address" => String,
        /// Its IPv6 address, where the node has IPv6.
        ipv6_address: "ipv6Address" => Option<String>,
    }
}

shape! {
    /// A port of the host that a container uses.
    NetworkBinding = "NetworkBinding" {
        /// Every address of the host.
        bind_ip: "bindIP" => String,
        /// The container's.
        container_port: "containerPort" => i32,
        /// The host's.
        host_port: "hostPort" => i32,
        /// tcp or udp.
        protocol: "protocol" => String,
    }
}

shape! {
    /// What ECS runs in a container so that programs can be run there. Here nothing is needed, and
    /// it stands as the container does.
    ManagedAgent = "ManagedAgent" {
        /// When the container's task reached RUNNING.
        last_started_at: "lastStartedAt" => Option<EpochSeconds>,
        /// ExecuteCommandAgent.
        name: "name" => String,
        /// PENDING, RUNNING or STOPPED.
        last_status: "lastStatus" => String,
    }
}

shape! {
    /// One container of a task.
    Container = "Container" {
        /// ARN.
        container_arn: "containerArn" => String,
        /// Of its task.
        task_arn: "taskArn" => String,
        /// Name.
        name: "name" => String,
        /// The image's reference.
        image: "image" => Option<String>,
        /// The image's digest, once known.
        image_digest: "imageDigest" => Option<String>,
        /// The OCI runtime's id, once it exists.
        runtime_id: "runtimeId" => Option<String>,
        /// PENDING, RUNNING or STOPPED.
        last_status: "lastStatus" => String,
        /// Once it has ended.
        exit_code: "exitCode" => Option<i32>,
        /// For people.
        reason: "reason" => Option<String>,
        /// The host's ports that it uses, while it runs.
        network_bindings: "networkBindings" => Vec<NetworkBinding>,
        /// The task's interface, with `awsvpc`.
        network_interfaces: "networkInterfaces" => Vec<NetworkInterface>,
        /// With `enableExecuteCommand`, what AWS's tools wait for before they run a program.
        managed_agents: "managedAgents" => Option<Vec<ManagedAgent>>,
        /// What its health check says; UNKNOWN without one.
        health_status: "healthStatus" => String,
        /// CPU units.
        cpu: "cpu" => String,
        /// MiB.
        memory: "memory" => Option<String>,
        /// MiB.
        memory_reservation: "memoryReservation" => Option<String>,
    }
}
