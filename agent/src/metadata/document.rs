//! What the endpoints say, in the ECS agent's form. Pure.

use std::collections::BTreeMap;

use loadline_model::{
    ContainerStatus, DesiredStatus, HealthStatus, KeyValue, LogConfiguration, NetworkMode,
};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::network::plan::Attachment;
use crate::task::Task;

/// The name of the task's cluster: part of every ARN that is given out.
fn cluster(task: &Task) -> &str {
    let arn = task.spec.arn.as_str();
    arn.split('/').rev().nth(1).unwrap_or_default()
}

/// What the controller knows of a task, and never changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The service that it is of.
    pub service: Option<String>,
    /// The ARN of each container, by its name.
    pub container_arns: BTreeMap<String, String>,
    /// The log drivers that are the controller's, by their containers' names.
    pub logs: BTreeMap<String, LogConfiguration>,
}

/// A task with its containers (`/task`).
#[must_use]
pub fn task(task: &Task, about: &About) -> Value {
    let spec = &task.spec;
    let stopping = task.stop.is_some();
    let desired = if stopping { DesiredStatus::Stopped } else { DesiredStatus::Running };
    let containers = 0..spec.containers.len();
    let containers: Vec<Value> = containers.map(|at| container(task, at, about)).collect();
    let mut limits = Map::new();
    if let Some(units) = spec.cpu_units {
        // In vCPU here, in CPU units everywhere else.
        limits.insert("CPU".into(), json!(units as f64 / 1024.0));
    }
    if let Some(mib) = spec.memory_mib {
        limits.insert("Memory".into(), json!(mib));
    }
    let mut all = json!({
        "Cluster": cluster(task),
        "TaskARN": spec.arn.as_str(),
        "Family": spec.family,
        "Revision": spec.revision.to_string(),
        "DesiredStatus": desired.as_str(),
        "KnownStatus": task.status.as_str(),
        "Containers": containers,
        "LaunchType": "EC2",
    });
    put(&mut all, "ServiceName", about.service.clone().map(Value::from));
    put(&mut all, "Limits", (!limits.is_empty()).then_some(Value::Object(limits)));
    put(&mut all, "PullStartedAt", time(task.pull_started_at_ms()));
    put(&mut all, "PullStoppedAt", time(task.pull_stopped_at_ms()));
    put(&mut all, "ExecutionStoppedAt", time(task.stopped_at_ms));
    all
}

/// The same for who asks with tags: the task's, and its node's; or why there are none.
#[must_use]
pub fn task_with_tags(of: &Task, about: &About, tags: Result<[&[KeyValue]; 2], &str>) -> Value {
    let mut all = task(of, about);
    let map = |pairs: &[KeyValue]| {
        let pairs = pairs.iter().map(|tag| (tag.name.clone(), Value::from(tag.value.clone())));
        Value::Object(pairs.collect())
    };
    match tags {
        Ok([own, instances]) => {
            put(&mut all, "TaskTags", (!own.is_empty()).then(|| map(own)));
            let instances = (!instances.is_empty()).then(|| map(instances));
            put(&mut all, "ContainerInstanceTags", instances);
        }
        Err(why) => {
            let error = json!({
                "ErrorField": "TaskTags",
                "ErrorCode": "ServerException",
                "ErrorMessage": why,
                "StatusCode": 503,
                "ResourceARN": of.spec.arn.as_str(),
            });
            put(&mut all, "Errors", Some(json!([error])));
        }
    }
    all
}

/// One container.
#[must_use]
pub fn container(task: &Task, at: usize, about: &About) -> Value {
    let (spec, known) = (&task.spec.containers[at], &task.containers[at]);
    let id = task.runtime_id(at);
    let status = match known.status {
        ContainerStatus::Pending if known.runs == 0 => "NONE",
        ContainerStatus::Pending => "CREATED",
        ContainerStatus::Running => "RUNNING",
        ContainerStatus::Stopped => "STOPPED",
    };
    let desired = if task.stop.is_some() { "STOPPED" } else { "RUNNING" };
    let memory = spec.memory_mib.unwrap_or(0);
    let mut all = json!({
        "DockerId": id,
        "Name": spec.name.as_str(),
        "DockerName": id,
        "Image": spec.image,
        "ImageID": known.image_digest.clone().unwrap_or_default(),
        "Labels": labels(task, at),
        "DesiredStatus": desired,
        "KnownStatus": status,
        "Limits": { "CPU": spec.cpu_units, "Memory": memory },
        "Type": "NORMAL",
        "Networks": networks(task, at),
        "RestartCount": known.runs.saturating_sub(1),
    });
    let log = about.logs.get(spec.name.as_str()).or(spec.log.as_ref());
    all["LogDriver"] = log.map_or("json-file", |log| &log.driver).into();
    let options = log.map(|log| &log.options).filter(|options| !options.is_empty());
    put(&mut all, "LogOptions", options.map(|options| json!(options)));
    let arn = about.container_arns.get(spec.name.as_str());
    put(&mut all, "ContainerARN", arn.map(|arn| Value::from(arn.as_str())));
    let ports = ports(task, at);
    put(&mut all, "Ports", (!ports.is_empty()).then_some(Value::Array(ports)));
    put(&mut all, "ExitCode", known.exit_code.map(Value::from));
    put(&mut all, "CreatedAt", time(known.started_at_ms));
    put(&mut all, "StartedAt", time(known.started_at_ms));
    put(&mut all, "FinishedAt", time(known.finished_at_ms));
    let health = known.health.as_ref().filter(|health| health.status != HealthStatus::Unknown);
    let health = health.map(|health| {
        json!({
            "status": health.status.as_str(),
            "statusSince": time(Some(health.since_ms)),
            "exitCode": health.exit_code,
            "output": health.output,
        })
    });
    put(&mut all, "Health", health);
    all
}

fn labels(task: &Task, at: usize) -> Value {
    let (spec, container) = (&task.spec, &task.spec.containers[at]);
    let own = container.labels.iter();
    let mut all: Map<String, Value> =
        own.map(|label| (label.name.clone(), Value::from(label.value.clone()))).collect();
    for (name, value) in [
        ("task-arn", spec.arn.as_str()),
        ("container-name", container.name.as_str()),
        ("task-definition-family", &spec.family),
        ("task-definition-version", &spec.revision.to_string()),
        ("cluster", cluster(task)),
    ] {
        all.insert(format!("com.amazonaws.ecs.{name}"), value.into());
    }
    Value::Object(all)
}

fn ports(task: &Task, at: usize) -> Vec<Value> {
    let shown = task.network.bindings(at).map(|binding| {
        json!({
            "ContainerPort": binding.container_port,
            "Protocol": binding.protocol.as_str(),
            "HostPort": binding.host_port,
            "HostIp": "0.0.0.0",
        })
    });
    shown.collect()
}

fn networks(task: &Task, at: usize) -> Value {
    let mode = task.network_mode(at);
    let mut all = json!({ "NetworkMode": mode.as_str() });
    if let Some(place) = task.network.attachment(mode, at) {
        put(&mut all, "IPv4Addresses", Some(json!([place.addresses.ipv4])));
        put(&mut all, "IPv6Addresses", place.addresses.ipv6.map(|own| json!([own])));
        let mac = (mode == NetworkMode::Awsvpc).then(|| mac(place));
        put(&mut all, "MACAddress", mac.map(Value::from));
    }
    json!([all])
}

fn mac(place: &Attachment) -> String {
    place.mac().map(|byte| format!("{byte:02x}")).join(":")
}

/// A task for the host's own people.
#[must_use]
pub fn introspected(of: &Task) -> Value {
    let whole = task(of, &About::default());
    let containers = whole["Containers"].as_array().into_iter().flatten();
    let containers: Vec<Value> = containers
        .map(|one| {
            json!({
                "DockerId": one["DockerId"],
                "DockerName": one["DockerName"],
                "Name": one["Name"],
                "Ports": one["Ports"],
                "Networks": one["Networks"],
            })
        })
        .collect();
    json!({
        "Arn": whole["TaskARN"],
        "DesiredStatus": whole["DesiredStatus"],
        "KnownStatus": whole["KnownStatus"],
        "Family": whole["Family"],
        "Version": whole["Revision"],
        "Containers": containers,
    })
}

pub(super) fn put(into: &mut Value, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        into[name] = value;
    }
}

pub(super) fn time(ms: Option<u64>) -> Option<Value> {
    let text = rfc3339(ms?)?;
    Some(Value::from(text))
}

/// A time as these documents write it.
pub(super) fn rfc3339(ms: u64) -> Option<String> {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok()?;
    at.format(&Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::plan::Plan;
    use crate::task::{Pull, testing};

    #[test]
    fn a_task_and_its_container_are_told_in_ecss_form() {
        let mut task = testing::task(7);
        task.spec.network_mode = NetworkMode::Awsvpc;
        task.spec.cpu_units = Some(512);
        let plan = Plan::new("n", "10.0.0.0/16".parse().unwrap(), None).unwrap();
        task.network.attachments = vec![plan.attachment(9)];
        task.containers[0].runs = 1;
        task.containers[0].status = ContainerStatus::Running;
        task.containers[0].started_at_ms = Some(1_000);
        task.containers[0].pull = Some(Pull { began_at_ms: 250, ended_at_ms: 750 });
        let shown = super::task(&task, &About::default());
        assert_eq!(shown["Cluster"], "default");
        assert_eq!(shown["PullStartedAt"], "1970-01-01T00:00:00.25Z");
        assert_eq!(shown["PullStoppedAt"], "1970-01-01T00:00:00.75Z");
        assert_eq!(shown["Limits"], json!({ "CPU": 0.5 }));
        let container = &shown["Containers"][0];
        assert_eq!(container["KnownStatus"], "RUNNING");
        assert_eq!(container["StartedAt"], "1970-01-01T00:00:01Z");
        let network = json!({
            "NetworkMode": "awsvpc", "IPv4Addresses": ["10.0.0.9"],
            "MACAddress": "02:6c:0a:00:00:09"
        });
        assert_eq!(container["Networks"][0], network);
        assert_eq!(container["Labels"]["com.amazonaws.ecs.container-name"], "main");
        assert_eq!(introspected(&task)["Version"], "1");
    }

    #[test]
    fn a_log_driver_is_the_containers_own_with_its_options() {
        let log = |driver: &str, name: &str, value: &str| {
            let options = BTreeMap::from([(name.to_owned(), value.to_owned())]);
            LogConfiguration { driver: driver.to_owned(), options }
        };
        let mut task = testing::task(7);
        let shown = container(&task, 0, &About::default());
        assert_eq!((&shown["LogDriver"], shown.get("LogOptions")), (&json!("json-file"), None));
        task.spec.containers[0].log = Some(log("syslog", "tag", "web"));
        let shown = container(&task, 0, &About::default());
        assert_eq!(
            (&shown["LogDriver"], &shown["LogOptions"]["tag"]),
            (&json!("syslog"), &json!("web"))
        );
        let name = task.spec.containers[0].name.to_string();
        let logs = BTreeMap::from([(name, log("awslogs", "awslogs-group", "/web"))]);
        let shown = container(&task, 0, &About { logs, ..About::default() });
        let options = json!({ "awslogs-group": "/web" });
        assert_eq!((&shown["LogDriver"], &shown["LogOptions"]), (&json!("awslogs"), &options));
    }
}
