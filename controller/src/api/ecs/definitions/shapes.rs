//! The structures of task definitions on the wire.

use std::collections::BTreeMap;

use super::super::shapes::{Attribute, EnvironmentFile, NameValue, Tag};
use super::lifecycle::{ContainerDependency, ContainerRestartPolicy, HealthCheckShape};
use super::linux::{LinuxParametersShape, SystemControl, UlimitShape};
use super::storage::{MountPointShape, VolumeFromShape, VolumeShape};
use crate::api::wire::{EpochSeconds, shape};

shape! {
    /// RegisterTaskDefinition's input.
    RegisterTaskDefinitionRequest = "RegisterTaskDefinitionRequest" {
        /// The family.
        family: "family" => String,
        /// What its containers may: name or ARN.
        task_role_arn: "taskRoleArn" => Option<String>,
        /// What is done with before its containers run: name or ARN.
        execution_role_arn: "executionRoleArn" => Option<String>,
        /// `bridge` (default), `none`, `host` or `awsvpc`.
        network_mode: "networkMode" => Option<String>,
        /// 1 to 10.
        container_definitions: "containerDefinitions" => Vec<ContainerDefinition>,
        /// What containers can mount.
        volumes: "volumes" => Option<Vec<VolumeShape>>,
        /// `host` or `task`.
        pid_mode: "pidMode" => Option<String>,
        /// `host`, `task` or `none`.
        ipc_mode: "ipcMode" => Option<String>,
        /// Bind every placement.
        placement_constraints:
            "placementConstraints" => Option<Vec<TaskDefinitionPlacementConstraint>>,
        /// `EC2`.
        requires_compatibilities: "requiresCompatibilities" => Option<Vec<String>>,
        /// LINUX, on X86_64 or ARM64.
        runtime_platform: "runtimePlatform" => Option<RuntimePlatform>,
        /// CPU units or vCPU.
        cpu: "cpu" => Option<String>,
        /// MiB or GB.
        memory: "memory" => Option<String>,
        /// Tags.
        tags: "tags" => Option<Vec<Tag>>,
    }
    unsupported [
        "proxyConfiguration",
        "inferenceAccelerators", "ephemeralStorage", "enableFaultInjection",
    ]
}

shape! {
    /// One container of a task definition, in both directions.
    ContainerDefinition = "ContainerDefinition" {
        /// The name.
        name: "name" => Option<String>,
        /// The image's reference.
        image: "image" => Option<String>,
        /// CPU units.
        cpu: "cpu" => Option<i32>,
        /// Hard limit, MiB.
        memory: "memory" => Option<i32>,
        /// Soft limit, MiB.
        memory_reservation: "memoryReservation" => Option<i32>,
        /// The ports that others shall reach.
        port_mappings: "portMappings" => Option<Vec<PortMapping>>,
        /// Whether the task ends with it; true where absent.
        essential: "essential" => Option<bool>,
        /// Replaces the image's entrypoint.
        entry_point: "entryPoint" => Option<Vec<String>>,
        /// Replaces the image's command.
        command: "command" => Option<Vec<String>>,
        /// On top of the image's environment.
        environment: "environment" => Option<Vec<NameValue>>,
        /// Files with more variables, read when a task is placed.
        environment_files: "environmentFiles" => Option<Vec<EnvironmentFile>>,
        /// The same, with values that are looked up when a task is placed.
        secrets: "secrets" => Option<Vec<Secret>>,
        /// Where its output goes besides its node.
        log_configuration: "logConfiguration" => Option<LogConfiguration>,
        /// The definition's volumes that it sees.
        mount_points: "mountPoints" => Option<Vec<MountPointShape>>,
        /// Containers whose mounts it sees too.
        volumes_from: "volumesFrom" => Option<Vec<VolumeFromShape>>,
        /// What must hold of other containers before it starts.
        depends_on: "dependsOn" => Option<Vec<ContainerDependency>>,
        /// Who waits for it gives up after so many seconds.
        start_timeout: "startTimeout" => Option<i32>,
        /// How it is asked whether it is well.
        health_check: "healthCheck" => Option<HealthCheckShape>,
        /// Whether it starts again after its end.
        restart_policy: "restartPolicy" => Option<ContainerRestartPolicy>,
        /// Whether it has the host's root rights.
        privileged: "privileged" => Option<bool>,
        /// Limits of its processes.
        ulimits: "ulimits" => Option<Vec<UlimitShape>>,
        /// Capabilities, devices, memory file systems, swap.
        linux_parameters: "linuxParameters" => Option<LinuxParametersShape>,
        /// `no-new-privileges`.
        docker_security_options: "dockerSecurityOptions" => Option<Vec<String>>,
        /// Seconds from SIGTERM to SIGKILL.
        stop_timeout: "stopTimeout" => Option<i32>,
        /// Replaces the image's user.
        user: "user" => Option<String>,
        /// Replaces the image's working directory.
        working_directory: "workingDirectory" => Option<String>,
        /// Whether the root filesystem is read-only.
        readonly_root_filesystem: "readonlyRootFilesystem" => Option<bool>,
        /// Whether it has loopback alone.
        disable_networking: "disableNetworking" => Option<bool>,
        /// Other containers that it finds by name: `NAME` or `NAME:ALIAS`.
        links: "links" => Option<Vec<String>>,
        /// Its host name.
        hostname: "hostname" => Option<String>,
        /// More lines of its hosts file.
        extra_hosts: "extraHosts" => Option<Vec<HostEntry>>,
        /// Its name servers.
        dns_servers: "dnsServers" => Option<Vec<String>>,
        /// What incomplete names are looked up in.
        dns_search_domains: "dnsSearchDomains" => Option<Vec<String>>,
        /// Labels.
        docker_labels: "dockerLabels" => Option<BTreeMap<String, String>>,
        /// Whether its standard input stays open.
        interactive: "interactive" => Option<bool>,
        /// Whether it has a terminal.
        pseudo_terminal: "pseudoTerminal" => Option<bool>,
        /// Sysctls of its own namespaces.
        system_controls: "systemControls" => Option<Vec<SystemControl>>,
    }
    unsupported [
        "repositoryCredentials", "versionConsistency",
        "resourceRequirements", "firelensConfiguration", "credentialSpecs",
    ]
}

shape! {
    /// A log driver, in both directions.
    LogConfiguration = "LogConfiguration" {
        /// `awslogs`
        log_driver: "logDriver" => String,
        /// The driver's own.
        options: "options" => Option<BTreeMap<String, String>>,
    }
    unsupported ["secretOptions"]
}

shape! {
    /// A variable whose value is kept elsewhere, in both directions.
    Secret = "Secret" {
        /// The variable.
        name: "name" => String,
        /// Name or ARN of a parameter, or ARN of a secret.
        value_from: "valueFrom" => String,
    }
}

shape! {
    /// What nodes must be, in both directions.
    RuntimePlatform = "RuntimePlatform" {
        /// X86_64 or ARM64.
        cpu_architecture: "cpuArchitecture" => Option<String>,
        /// LINUX.
        operating_system_family: "operatingSystemFamily" => Option<String>,
    }
}

shape! {
    /// A line of a hosts file, in both directions.
    HostEntry = "HostEntry" {
        /// The name.
        hostname: "hostname" => String,
        /// What it means.
        ip_address: "ipAddress" => String,
    }
}

shape! {
    /// A port of a container that others shall reach, in both directions.
    PortMapping = "PortMapping" {
        /// 1 to 65535.
        container_port: "containerPort" => Option<i32>,
        /// The host's; 0 or absent for one that the node chooses, with `bridge`.
        host_port: "hostPort" => Option<i32>,
        /// `tcp` (default) or `udp`.
        protocol: "protocol" => Option<String>,
        /// What services call it: kept and shown.
        name: "name" => Option<String>,
        /// `http`, `http2` or `grpc`: kept and shown.
        app_protocol: "appProtocol" => Option<String>,
        /// `FIRST-LAST` in place of `containerPort`.
        container_port_range: "containerPortRange" => Option<String>,
    }
}

shape! {
    /// A placement constraint of a task definition.
    TaskDefinitionPlacementConstraint = "TaskDefinitionPlacementConstraint" {
        /// `memberOf`.
        kind: "type" => Option<String>,
        /// In the cluster query language.
        expression: "expression" => Option<String>,
    }
}

shape! {
    /// A task definition as it is shown.
    TaskDefinition = "TaskDefinition" {
        /// `…:task-definition/FAMILY:REVISION`
        task_definition_arn: "taskDefinitionArn" => String,
        /// The containers.
        container_definitions: "containerDefinitions" => Vec<ContainerDefinition>,
        /// The family.
        family: "family" => String,
        /// ARN.
        task_role_arn: "taskRoleArn" => Option<String>,
        /// ARN.
        execution_role_arn: "executionRoleArn" => Option<String>,
        /// `none`, `host`, `bridge` or `awsvpc`.
        network_mode: "networkMode" => String,
        /// From 1.
        revision: "revision" => i64,
        /// What containers can mount.
        volumes: "volumes" => Vec<VolumeShape>,
        /// As it was given.
        pid_mode: "pidMode" => Option<String>,
        /// As it was given.
        ipc_mode: "ipcMode" => Option<String>,
        /// ACTIVE or INACTIVE.
        status: "status" => String,
        /// What a node needs to have: nothing special yet.
        requires_attributes: "requiresAttributes" => Vec<Attribute>,
        /// Bind every placement.
        placement_constraints:
            "placementConstraints" => Vec<TaskDefinitionPlacementConstraint>,
        /// `EC2`.
        compatibilities: "compatibilities" => Vec<String>,
        /// As it was given.
        requires_compatibilities: "requiresCompatibilities" => Option<Vec<String>>,
        /// As it was given.
        runtime_platform: "runtimePlatform" => Option<RuntimePlatform>,
        /// CPU units.
        cpu: "cpu" => Option<String>,
        /// MiB.
        memory: "memory" => Option<String>,
        /// When it was registered.
        registered_at: "registeredAt" => EpochSeconds,
        /// ARN of whoever registered it.
        registered_by: "registeredBy" => Option<String>,
        /// When it was deregistered.
        deregistered_at: "deregisteredAt" => Option<EpochSeconds>,
        /// When its deletion was asked for.
        delete_requested_at: "deleteRequestedAt" => Option<EpochSeconds>,
    }
}

shape! {
    /// RegisterTaskDefinition's output.
    RegisterTaskDefinitionResponse = "RegisterTaskDefinitionResponse" {
        /// The new revision.
        task_definition: "taskDefinition" => TaskDefinition,
        /// Its tags.
        tags: "tags" => Option<Vec<Tag>>,
    }
}

shape! {
    /// DeregisterTaskDefinition's input.
    DeregisterTaskDefinitionRequest = "DeregisterTaskDefinitionRequest" {
        /// `family:revision` or ARN.
        task_definition: "taskDefinition" => String,
    }
}

shape! {
    /// DeregisterTaskDefinition's output.
    DeregisterTaskDefinitionResponse = "DeregisterTaskDefinitionResponse" {
        /// As it is now.
        task_definition: "taskDefinition" => TaskDefinition,
    }
}

shape! {
    /// DescribeTaskDefinition's input.
    DescribeTaskDefinitionRequest = "DescribeTaskDefinitionRequest" {
        /// `family` (the newest ACTIVE revision), `family:revision` or ARN.
        task_definition: "taskDefinition" => String,
        /// TAGS.
        include: "include" => Option<Vec<String>>,
    }
}

shape! {
    /// DescribeTaskDefinition's output.
    DescribeTaskDefinitionResponse = "DescribeTaskDefinitionResponse" {
        /// As it is now.
        task_definition: "taskDefinition" => TaskDefinition,
        /// With `include` TAGS.
        tags: "tags" => Vec<Tag>,
    }
}

shape! {
    /// ListTaskDefinitions' input.
    ListTaskDefinitionsRequest = "ListTaskDefinitionsRequest" {
        /// The whole name of a family.
        family_prefix: "familyPrefix" => Option<String>,
        /// ACTIVE where absent.
        status: "status" => Option<String>,
        /// ASC where absent.
        sort: "sort" => Option<String>,
        /// From the page before.
        next_token: "nextToken" => Option<String>,
        /// 1 to 100.
        max_results: "maxResults" => Option<i32>,
    }
}

shape! {
    /// ListTaskDefinitions' output.
    ListTaskDefinitionsResponse = "ListTaskDefinitionsResponse" {
        /// By family, then by revision.
        task_definition_arns: "taskDefinitionArns" => Vec<String>,
        /// For the next page.
        next_token: "nextToken" => Option<String>,
    }
}

shape! {
    /// ListTaskDefinitionFamilies' input.
    ListTaskDefinitionFamiliesRequest = "ListTaskDefinitionFamiliesRequest" {
        /// What names begin with.
        family_prefix: "familyPrefix" => Option<String>,
        /// ACTIVE, INACTIVE or, where absent, ALL.
        status: "status" => Option<String>,
        /// From the page before.
        next_token: "nextToken" => Option<String>,
        /// 1 to 100.
        max_results: "maxResults" => Option<i32>,
    }
}

shape! {
    /// ListTaskDefinitionFamilies' output.
    ListTaskDefinitionFamiliesResponse = "ListTaskDefinitionFamiliesResponse" {
        /// By name.
        families: "families" => Vec<String>,
        /// For the next page.
        next_token: "nextToken" => Option<String>,
    }
}
