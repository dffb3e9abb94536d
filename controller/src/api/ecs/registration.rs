//! RegisterContainerInstance: a container instance without one of Loadline's agents. It is there,
//! has a size, attributes and tags, and no agent: tasks are refused on it with AGENT.
//!
//! A node with an agent registers itself by its certificate, and nobody can do that for it.

use loadline_model::{InstanceArn, KeyValue, Resources};
use serde_json::Value;

use super::instances::{ContainerInstance, show};
use super::reference::{active_cluster, cluster_name, instance_arn};
use super::shapes::{Attribute, Tag};
use super::{check, from_call};
use crate::api::wire::shape;
use crate::api::{Api, ApiError};
use crate::command::RegisterInstance;
use crate::state::{AZ_ATTRIBUTE, ClusterName, NodeAttribute, View};

/// Longest name or value of an attribute, in characters (ECS's own bound).
const ATTRIBUTE_CHARS_MAX: usize = 128;
/// Longest version of an agent, in characters.
const VERSION_CHARS_MAX: usize = 255;
/// Largest instance identity document, in bytes.
const DOCUMENT_BYTES_MAX: usize = 16 * 1024;

shape! {
    /// RegisterContainerInstance's input.
    RegisterContainerInstanceRequest = "RegisterContainerInstanceRequest" {
        /// Name or ARN; `default` where absent.
        cluster: "cluster" => Option<String>,
        /// JSON: `instanceId`, `availabilityZone` and `instanceType` are read.
        instance_identity_document: "instanceIdentityDocument" => Option<String>,
        /// CPU and MEMORY; lists of ports say which are kept.
        total_resources: "totalResources" => Option<Vec<TotalResource>>,
        /// The agent's version.
        version_info: "versionInfo" => Option<GivenVersion>,
        /// One that was registered in this way before.
        container_instance_arn: "containerInstanceArn" => Option<String>,
        /// What placement can ask for.
        attributes: "attributes" => Option<Vec<Attribute>>,
        /// Tags.
        tags: "tags" => Option<Vec<Tag>>,
    }
    unsupported ["instanceIdentityDocumentSignature", "platformDevices"]
}

shape! {
    /// RegisterContainerInstance's output.
    RegisterContainerInstanceResponse = "RegisterContainerInstanceResponse" {
        /// As it is now.
        container_instance: "containerInstance" => ContainerInstance,
    }
}

shape! {
    /// An amount that an instance has.
    TotalResource = "Resource" {
        /// CPU, MEMORY, PORTS or PORTS_UDP.
        name: "name" => Option<String>,
        /// INTEGER or STRINGSET.
        kind: "type" => Option<String>,
        /// Of an INTEGER.
        integer_value: "integerValue" => Option<i64>,
        /// Of a LONG.
        long_value: "longValue" => Option<i64>,
        /// Of a DOUBLE: 0, there is none here.
        double_value: "doubleValue" => Option<f64>,
        /// Of a STRINGSET.
        string_set_value: "stringSetValue" => Option<Vec<String>>,
    }
}

shape! {
    /// What runs on an instance.
    GivenVersion = "VersionInfo" {
        /// The agent's version.
        agent_version: "agentVersion" => Option<String>,
    }
    unsupported ["agentHash", "dockerVersion"]
}

pub(super) async fn register(
    api: &Api,
    request: RegisterContainerInstanceRequest,
) -> Result<RegisterContainerInstanceResponse, ApiError> {
    let view = api.engine.snapshot();
    let cluster = cluster_name(&view.scope, request.cluster.as_deref())?;
    active_cluster(&view, &cluster)?;
    let command = read(&view, cluster, request)?;
    let registered = api.engine.call(command).await.map_err(from_call)?;
    let view = api.engine.snapshot();
    let entry = view.node(&registered.node.arn);
    let entry = entry.ok_or_else(|| ApiError::client("the container instance is gone again"))?;
    Ok(RegisterContainerInstanceResponse { container_instance: show(&view, entry, true) })
}

fn read(
    view: &View,
    cluster: ClusterName,
    request: RegisterContainerInstanceRequest,
) -> Result<RegisterInstance, ApiError> {
    let again = request.container_instance_arn.as_deref().filter(|text| !text.is_empty());
    let node = again.map(|text| known(view, &cluster, text)).transpose()?;
    let (ec2_instance_id, described) = document(request.instance_identity_document.as_deref())?;
    let mut attributes = described;
    for (index, given) in request.attributes.unwrap_or_default().iter().enumerate() {
        let attribute = attribute(index, given)?;
        attributes.retain(|have| have.name != attribute.name);
        attributes.push(attribute);
    }
    let version = request.version_info.and_then(|info| info.agent_version).unwrap_or_default();
    check::text("versionInfo.agentVersion", &version, VERSION_CHARS_MAX)?;
    let tags: Option<Vec<KeyValue>> =
        request.tags.map(|tags| check::tags(Some(tags))).transpose()?;
    Ok(RegisterInstance {
        cluster,
        node,
        resources: resources(request.total_resources.unwrap_or_default())?,
        attributes,
        agent_version: version,
        ec2_instance_id,
        tags,
    })
}

fn known(view: &View, cluster: &ClusterName, text: &str) -> Result<InstanceArn, ApiError> {
    instance_arn(&view.scope, cluster, text).ok_or_else(|| {
        ApiError::invalid(format_args!("containerInstanceArn: {text:?} is not of this cluster"))
    })
}

/// CPU and MEMORY must be there; ports that are kept can only be those that are kept anyway.
fn resources(given: Vec<TotalResource>) -> Result<Resources, ApiError> {
    let (mut cpu, mut memory) = (None, None);
    for (index, one) in given.into_iter().enumerate() {
        let at = format!("totalResources[{index}]");
        let name = one.name.unwrap_or_default();
        let integer = one.integer_value.filter(|n| *n != 0).or(one.long_value);
        let amount = || {
            integer.and_then(|n| u64::try_from(n).ok()).ok_or_else(|| {
                ApiError::invalid(format_args!("{at}.integerValue must be 0 or more"))
            })
        };
        match name.as_str() {
            "CPU" => cpu = Some(amount()?),
            "MEMORY" => memory = Some(amount()?),
            "PORTS" | "PORTS_UDP" => {
                let kept = loadline_model::network::RESERVED_TCP_PORTS.map(|port| port.to_string());
                let set = one.string_set_value.unwrap_or_default();
                let tcp = name == "PORTS";
                if let Some(other) = set.iter().find(|port| !(tcp && kept.contains(port))) {
                    return Err(ApiError::unsupported(format_args!("{at}: port {other}")));
                }
            }
            other => return Err(ApiError::unsupported(format_args!("{at}.name {other}"))),
        }
    }
    match (cpu, memory) {
        (Some(cpu_units), Some(memory_mib)) => Ok(Resources { cpu_units, memory_mib }),
        _ => Err(ApiError::invalid("totalResources must name CPU and MEMORY")),
    }
}

fn attribute(index: usize, given: &Attribute) -> Result<NodeAttribute, ApiError> {
    let at = |field: &str| format!("attributes[{index}].{field}");
    check::one_of(&at("targetType"), given.target_type.as_deref(), &["container-instance"], &[])?;
    if given.name.is_empty() {
        return Err(ApiError::invalid(format_args!("{} is required", at("name"))));
    }
    check::text(&at("name"), &given.name, ATTRIBUTE_CHARS_MAX)?;
    check::text(&at("value"), given.value.as_deref().unwrap_or_default(), ATTRIBUTE_CHARS_MAX)?;
    Ok(NodeAttribute { name: given.name.clone(), value: given.value.clone() })
}

/// What an instance identity document says. Nobody here can verify its signature: whoever may
/// register an instance is believed.
fn document(text: Option<&str>) -> Result<(Option<String>, Vec<NodeAttribute>), ApiError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok((None, Vec::new())) };
    let bad = |why: &str| ApiError::invalid(format_args!("instanceIdentityDocument {why}"));
    if DOCUMENT_BYTES_MAX < text.len() {
        return Err(bad("is too long"));
    }
    let document: Value =
        crate::api::wire::from_slice(text.as_bytes()).map_err(|_| bad("is not JSON"))?;
    let read = |field: &str| {
        let text = document[field].as_str().filter(|text| !text.is_empty());
        let short = text.filter(|text| text.chars().count() <= ATTRIBUTE_CHARS_MAX);
        if text == short { Ok(text) } else { Err(bad("has a field that is too long")) }
    };
    let mut attributes = Vec::new();
    for (field, name) in [("availabilityZone", AZ_ATTRIBUTE), ("instanceType", "ecs.instance-type")]
    {
        if let Some(value) = read(field)? {
            attributes.push(NodeAttribute { name: name.into(), value: Some(value.into()) });
        }
    }
    Ok((read("instanceId")?.map(ToOwned::to_owned), attributes))
}
