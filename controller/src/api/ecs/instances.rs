//! Container instances: the nodes of a cluster.

use loadline_model::network::RESERVED_TCP_PORTS;
use loadline_model::{InstanceArn, Protocol, Resources};

use super::page::Pager;
use super::reference::{active_cluster, cluster_name, instance_arn};
use super::shapes::{Attribute, Failure, Tag, show_tags};
use super::{check, from_call};
use crate::api::wire::{EpochSeconds, Never, shape};
use crate::api::{Api, ApiError};
use crate::command::{DeregisterNode, NodeTasks, SetNodeStatus};
use crate::scheduler::query::Expression;
use crate::state::{ClusterName, NodeEntry, NodeStatus, View};

/// Most container instances of one DescribeContainerInstances (ECS's own bound).
const DESCRIBE_MAX: usize = 100;
/// Most container instances of one UpdateContainerInstancesState (ECS's own bound).
const UPDATE_MAX: usize = 10;

shape! {
    /// DescribeContainerInstances' input.
    DescribeContainerInstancesRequest = "DescribeContainerInstancesRequest" {
        /// Name or ARN; `default` where absent.
        cluster: "cluster" => Option<String>,
        /// 1 to 100 ids or ARNs.
        container_instances: "containerInstances" => Vec<String>,
        /// TAGS.
        include: "include" => Option<Vec<String>>,
    }
}

shape! {
    /// DescribeContainerInstances' output.
    DescribeContainerInstancesResponse = "DescribeContainerInstancesResponse" {
        /// Those that are there.
        container_instances: "containerInstances" => Vec<ContainerInstance>,
        /// Those that are not.
        failures: "failures" => Vec<Failure>,
    }
}

shape! {
    /// ListContainerInstances' input.
    ListContainerInstancesRequest = "ListContainerInstancesRequest" {
        /// Name or ARN; `default` where absent.
        cluster: "cluster" => Option<String>,
        /// Only those that this expression of the cluster query language selects.
        filter: "filter" => Option<String>,
        /// ACTIVE or DRAINING; both where absent.
        status: "status" => Option<String>,
        /// From the page before.
        next_token: "nextToken" => Option<String>,
        /// 1 to 100.
        max_results: "maxResults" => Option<i32>,
    }
}

shape! {
    /// ListContainerInstances' output.
    ListContainerInstancesResponse = "ListContainerInstancesResponse" {
        /// ARNs.
        container_instance_arns: "containerInstanceArns" => Vec<String>,
        /// For the next page.
        next_token: "nextToken" => Option<String>,
    }
}

shape! {
    /// DeregisterContainerInstance's input.
    DeregisterContainerInstanceRequest = "DeregisterContainerInstanceRequest" {
        /// Name or ARN; `default` where absent.
        cluster: "cluster" => Option<String>,
        /// Id or ARN.
        container_instance: "containerInstance" => String,
        /// Whether to give up its tasks.
        force: "force" => Option<bool>,
    }
}

shape! {
    /// DeregisterContainerInstance's output.
    DeregisterContainerInstanceResponse = "DeregisterContainerInstanceResponse" {
        /// As it is now.
        container_instance: "containerInstance" => ContainerInstance,
    }
}

shape! {
    /// UpdateContainerInstancesState's input.
    UpdateContainerInstancesStateRequest = "UpdateContainerInstancesStateRequest" {
        /// Name or ARN; `default` where absent.
        cluster: "cluster" => Option<String>,
        /// 1 to 10 ids or ARNs.
        container_instances: "containerInstances" => Vec<String>,
        /// ACTIVE or DRAINING.
        status: "status" => String,
    }
}

shape! {
    /// UpdateContainerInstancesState's output.
    UpdateContainerInstancesStateResponse = "UpdateContainerInstancesStateResponse" {
        /// Those that are there.
        container_instances: "containerInstances" => Vec<ContainerInstance>,
        /// Those that are not.
        failures: "failures" => Vec<Failure>,
    }
}

shape! {
    /// A node as it is shown.
    ContainerInstance = "ContainerInstance" {
        /// ARN.
        container_instance_arn: "containerInstanceArn" => String,
        /// Of an instance that was registered by a call that named it.
        ec2_instance_id: "ec2InstanceId" => Option<String>,
        /// Counts changes.
        version: "version" => u64,
        /// The agent's version.
        version_info: "versionInfo" => VersionInfo,
        /// What is left below its line.
        remaining_resources: "remainingResources" => Vec<Resource>,
        /// Its line.
        registered_resources: "registeredResources" => Vec<Resource>,
        /// ACTIVE, DRAINING or INACTIVE.
        status: "status" => String,
        /// For people.
        status_reason: "statusReason" => Option<String>,
        /// Whether its agent has a session now.
        agent_connected: "agentConnected" => bool,
        /// RUNNING tasks.
        running_tasks_count: "runningTasksCount" => i64,
        /// Tasks before RUNNING.
        pending_tasks_count: "pendingTasksCount" => i64,
        /// What placement can ask for.
        attributes: "attributes" => Vec<Attribute>,
        /// When it first registered.
        registered_at: "registeredAt" => EpochSeconds,
        /// None yet.
        attachments: "attachments" => Vec<Never>,
        /// With `include` TAGS.
        tags: "tags" => Vec<Tag>,
    }
}

shape! {
    /// What runs on a node.
    VersionInfo = "VersionInfo" {
        /// The agent's own version.
        agent_version: "agentVersion" => String,
    }
}

shape! {
    /// An amount of CPU units or MiB, or the ports in use, in AWS's form.
    Resource = "Resource" {
        /// CPU, MEMORY, PORTS or PORTS_UDP.
        name: "name" => String,
        /// INTEGER or STRINGSET.
        kind: "type" => String,
        /// 0: the value is an integer.
        double_value: "doubleValue" => f64,
        /// 0: the value is an integer.
        long_value: "longValue" => i64,
        /// The value of an INTEGER.
        integer_value: "integerValue" => i32,
        /// The value of a STRINGSET.
        string_set_value: "stringSetValue" => Option<Vec<String>>,
    }
}

pub(super) async fn describe(
    api: &Api,
    request: DescribeContainerInstancesRequest,
) -> Result<DescribeContainerInstancesResponse, ApiError> {
    let health = ["CONTAINER_INSTANCE_HEALTH"];
    let tags = check::include_tags(request.include.as_deref(), &health)?;
    check::count("containerInstances", &request.container_instances, DESCRIBE_MAX)?;
    let view = api.engine.snapshot();
    let cluster = cluster_name(&view.scope, request.cluster.as_deref())?;
    active_cluster(&view, &cluster)?;
    let mut answer =
        DescribeContainerInstancesResponse { container_instances: vec![], failures: vec![] };
    for name in request.container_instances {
        match find(&view, &cluster, &name) {
            Ok(entry) => answer.container_instances.push(show(&view, entry, tags)),
            Err(missing) => answer.failures.push(missing),
        }
    }
    Ok(answer)
}

/// The node that a caller means, or AWS's failure for it.
fn find<'a>(view: &'a View, cluster: &ClusterName, text: &str) -> Result<&'a NodeEntry, Failure> {
    let arn = instance_arn(&view.scope, cluster, text);
    let entry = arn.as_ref().and_then(|arn| view.node(arn));
    entry.ok_or_else(|| Failure::missing(arn.map_or_else(|| text.into(), |arn| arn.to_string())))
}

pub(super) async fn list(
    api: &Api,
    request: ListContainerInstancesRequest,
) -> Result<ListContainerInstancesResponse, ApiError> {
    let other = ["REGISTERING", "DEREGISTERING", "REGISTRATION_FAILED"];
    let status = request.status.as_deref();
    check::one_of("status", status, &["ACTIVE", "DRAINING"], &other)?;
    let filter = request.filter.as_deref().filter(|text| !text.is_empty());
    let selected = filter.map(Expression::parse).transpose();
    let selected = selected.map_err(|bad| ApiError::invalid(format_args!("filter: {bad}")))?;
    let view = api.engine.snapshot();
    let cluster = cluster_name(&view.scope, request.cluster.as_deref())?;
    active_cluster(&view, &cluster)?;
    let question = format!("ListContainerInstances {cluster} {status:?} {filter:?}");
    let pager = Pager::new(question, request.next_token.as_deref(), request.max_results)?;
    let after = pager.after().map(InstanceArn::parse).transpose().map_err(ApiError::invalid)?;
    let nodes = view
        .nodes_in(&cluster, after.as_ref())
        .filter(|entry| entry.record.status != NodeStatus::Inactive)
        .filter(|entry| status.is_none_or(|status| entry.record.status.as_str() == status))
        .filter(|entry| selected.as_ref().is_none_or(|filter| filter.selects(entry, &view)));
    let (page, next_token) = pager.page(nodes, |entry| entry.record.arn.to_string());
    let arns = page.into_iter().map(|entry| entry.record.arn.to_string());
    Ok(ListContainerInstancesResponse { container_instance_arns: arns.collect(), next_token })
}

pub(super) async fn deregister(
    api: &Api,
    request: DeregisterContainerInstanceRequest,
) -> Result<DeregisterContainerInstanceResponse, ApiError> {
    let view = api.engine.snapshot();
    let cluster = cluster_name(&view.scope, request.cluster.as_deref())?;
    active_cluster(&view, &cluster)?;
    let node = match find(&view, &cluster, &request.container_instance) {
        Ok(entry) => entry.record.arn.clone(),
        Err(_) => return Err(not_found()),
    };
    let tasks = match request.force {
        Some(true) => NodeTasks::GiveUp,
        Some(false) | None => NodeTasks::Keep,
    };
    let command = DeregisterNode { cluster, node: node.clone(), tasks };
    api.engine.call(command).await.map_err(from_call)?;
    let view = api.engine.snapshot();
    let entry = view.node(&node).ok_or_else(not_found)?;
    Ok(DeregisterContainerInstanceResponse { container_instance: show(&view, entry, true) })
}

fn not_found() -> ApiError {
    ApiError::invalid("Referenced container instance not found.")
}

pub(super) async fn update_state(
    api: &Api,
    request: UpdateContainerInstancesStateRequest,
) -> Result<UpdateContainerInstancesStateResponse, ApiError> {
    check::count("containerInstances", &request.container_instances, UPDATE_MAX)?;
    let status = match request.status.as_str() {
        "ACTIVE" => NodeStatus::Active,
        "DRAINING" => NodeStatus::Draining,
        _ => {
            return Err(ApiError::invalid(
                "Container instances status should be one of [ACTIVE, DRAINING].",
            ));
        }
    };
    let view = api.engine.snapshot();
    let cluster = cluster_name(&view.scope, request.cluster.as_deref())?;
    active_cluster(&view, &cluster)?;
    let mut answer =
        UpdateContainerInstancesStateResponse { container_instances: vec![], failures: vec![] };
    for name in request.container_instances {
        let node = match find(&view, &cluster, &name) {
            Ok(entry) => entry.record.arn.clone(),
            Err(missing) => {
                answer.failures.push(missing);
                continue;
            }
        };
        let command = SetNodeStatus { cluster: cluster.clone(), node: node.clone(), status };
        api.engine.call(command).await.map_err(from_call)?;
        let view = api.engine.snapshot();
        if let Some(entry) = view.node(&node) {
            answer.container_instances.push(show(&view, entry, true));
        }
    }
    Ok(answer)
}

/// A node as of a view.
pub(super) fn show(view: &View, entry: &NodeEntry, tags: bool) -> ContainerInstance {
    let record = &entry.record;
    let attribute = |attribute: &crate::state::NodeAttribute| Attribute {
        name: attribute.name.clone(),
        value: attribute.value.clone(),
        target_type: None,
        target_id: None,
    };
    let lost = record.lost_at_ms.map(|_| "the agent was silent for too long".to_owned());
    let status_reason = lost.or_else(|| record.quarantine_reason());
    ContainerInstance {
        container_instance_arn: record.arn.to_string(),
        ec2_instance_id: record.ec2_instance_id.clone(),
        version: record.version,
        version_info: VersionInfo { agent_version: record.agent_version.clone() },
        remaining_resources: resources(entry.left(), view.ports_on(entry)),
        registered_resources: resources(record.registered, std::iter::empty()),
        status: record.status.as_str().into(),
        status_reason,
        agent_connected: entry.agent_connected(),
        running_tasks_count: entry.running_tasks.into(),
        pending_tasks_count: entry.pending_tasks.into(),
        attributes: record.attributes.iter().map(attribute).collect(),
        registered_at: EpochSeconds::from_ms(record.registered_at_ms),
        attachments: vec![],
        tags: if tags { show_tags(&record.tags) } else { vec![] },
    }
}

/// AWS lists ports that are in use among what remains, and those that no task can have in both.
fn resources(amount: Resources, ports: impl Iterator<Item = (u16, Protocol)>) -> Vec<Resource> {
    let resource = |name: &str, value: u64| Resource {
        name: name.into(),
        kind: "INTEGER".into(),
        double_value: 0.0,
        long_value: 0,
        integer_value: i32::try_from(value).unwrap_or(i32::MAX),
        string_set_value: None,
    };
    let set = |name: &str, ports: Vec<u16>| Resource {
        kind: "STRINGSET".into(),
        string_set_value: Some(ports.iter().map(ToString::to_string).collect()),
        ..resource(name, 0)
    };
    let (mut tcp, mut udp) = (RESERVED_TCP_PORTS.to_vec(), Vec::new());
    for (port, protocol) in ports {
        match protocol {
            Protocol::Tcp => tcp.push(port),
            Protocol::Udp => udp.push(port),
        }
    }
    for ports in [&mut tcp, &mut udp] {
        ports.sort_unstable();
        ports.dedup();
    }
    vec![
        resource("CPU", amount.cpu_units),
        resource("MEMORY", amount.memory_mib),
        set("PORTS", tcp),
        set("PORTS_UDP", udp),
    ]
}
