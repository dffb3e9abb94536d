//! Questions that several commands ask: lists in pages, details in batches, ids by their beginning.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::Client;
use crate::failure::Failure;
use crate::text::short;

/// Most pages of a list that are read.
const PAGES_MAX: usize = 10_000;
/// Most things that one Describe call takes (ECS's own bound).
const DESCRIBE_MAX: usize = 100;

/// A task, as far as tables need it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Task {
    pub(crate) task_arn: String,
    pub(crate) task_definition_arn: String,
    pub(crate) container_instance_arn: Option<String>,
    pub(crate) last_status: String,
    pub(crate) desired_status: String,
    pub(crate) cpu: Option<String>,
    pub(crate) memory: Option<String>,
    pub(crate) created_at: Option<f64>,
    pub(crate) stop_code: Option<String>,
    pub(crate) stopped_reason: Option<String>,
    #[serde(default)]
    pub(crate) containers: Vec<Container>,
}

/// A container of a [`Task`].
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Container {
    pub(crate) name: String,
    pub(crate) exit_code: Option<i64>,
    pub(crate) reason: Option<String>,
}

impl Task {
    pub(crate) fn id(&self) -> &str {
        short(&self.task_arn)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.last_status == "STOPPED"
    }

    /// Why it stopped, and what its containers say about it.
    pub(crate) fn why(&self) -> String {
        let mut why = self.stopped_reason.clone().unwrap_or_default();
        for container in &self.containers {
            if let Some(reason) = container.reason.as_ref().filter(|text| !why.contains(*text)) {
                let separator = if why.is_empty() { "" } else { "; " };
                // Writing to a String can't fail.
                let _ = write!(why, "{separator}{}: {reason}", container.name);
            }
        }
        why
    }

    /// Its containers' exit codes, in their order, once it has stopped: before, that of a container
    /// which only prepares something would look like the task's.
    pub(crate) fn exit_codes(&self) -> String {
        if self.last_status != "STOPPED" {
            return "-".to_owned();
        }
        let codes: Vec<String> =
            self.containers.iter().filter_map(|c| c.exit_code).map(|c| c.to_string()).collect();
        if codes.is_empty() { "-".to_owned() } else { codes.join(",") }
    }
}

/// Reads an answer's part into a type of ours.
pub(crate) fn part<T: serde::de::DeserializeOwned>(value: &Value, key: &str) -> Result<T, Failure> {
    let part = value.get(key).cloned().unwrap_or(Value::Null);
    serde_json::from_value(part).map_err(|e| Failure::NoAnswer {
        peer: "the controller".to_owned(),
        what: format!("field {key}: {e}"),
    })
}

/// All pages of a List call; `key` names the list in the answer.
pub(crate) async fn list(
    client: &Client,
    operation: &str,
    mut request: Value,
    key: &str,
) -> Result<Vec<String>, Failure> {
    let mut all = Vec::new();
    for _ in 0..PAGES_MAX {
        let answer = client.ecs(operation, request.clone()).await?;
        all.extend(part::<Vec<String>>(&answer, key)?);
        match answer.get("nextToken").and_then(Value::as_str).filter(|token| !token.is_empty()) {
            Some(token) => request["nextToken"] = json!(token),
            None => break,
        }
    }
    Ok(all)
}

/// Details in batches; `wanted` names the list in the request, `key` the one in the answer.
pub(crate) async fn describe(
    client: &Client,
    operation: &str,
    request: &Value,
    (wanted, key): (&str, &str),
    names: &[String],
) -> Result<Vec<Value>, Failure> {
    let mut all = Vec::new();
    for batch in names.chunks(DESCRIBE_MAX) {
        let mut request = request.clone();
        request[wanted] = json!(batch);
        let answer = client.ecs(operation, request).await?;
        all.extend(part::<Vec<Value>>(&answer, key)?);
    }
    Ok(all)
}

/// Details of tasks.
pub(crate) async fn tasks(
    client: &Client,
    cluster: &str,
    names: &[String],
) -> Result<Vec<Value>, Failure> {
    let request = json!({"cluster": cluster});
    describe(client, "DescribeTasks", &request, ("tasks", "tasks"), names).await
}

/// One task, read into our type.
pub(crate) async fn task(client: &Client, cluster: &str, name: &str) -> Result<Task, Failure> {
    let found = tasks(client, cluster, &[name.to_owned()]).await?;
    let value = found.into_iter().next();
    let value = value.ok_or_else(|| Failure::NotFound(format!("no task {name} in {cluster}")))?;
    part(&json!({ "task": value }), "task")
}

/// ARNs of tasks with one of these desired statuses.
pub(crate) async fn task_arns(
    client: &Client,
    cluster: &str,
    desired: &[&str],
) -> Result<Vec<String>, Failure> {
    let mut all = Vec::new();
    for status in desired {
        let request = json!({"cluster": cluster, "desiredStatus": status});
        all.extend(list(client, "ListTasks", request, "taskArns").await?);
    }
    Ok(all)
}

/// The ARN of the task that a person means by a whole ARN, an id, or the beginning of one.
pub(crate) async fn find_task(
    client: &Client,
    cluster: &str,
    name: &str,
) -> Result<String, Failure> {
    if name.starts_with("arn:") {
        return Ok(name.to_owned());
    }
    let all = task_arns(client, cluster, &["RUNNING", "STOPPED"]).await?;
    the_one("task", name, all)
}

/// The attribute in which a node's agent tells its host's name.
pub(crate) const HOSTNAME: &str = "loadline.hostname";

/// The ARN of the node that a person means: by its id, or by its host's name.
pub(crate) async fn find_node(
    client: &Client,
    cluster: &str,
    name: &str,
) -> Result<String, Failure> {
    if name.starts_with("arn:") {
        return Ok(name.to_owned());
    }
    let request = json!({"cluster": cluster});
    let operation = "ListContainerInstances";
    let all = list(client, operation, request, "containerInstanceArns").await?;
    let named = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let is_host = !name.is_empty() && name.bytes().all(named);
    if !is_host || all.iter().any(|arn| short(arn).starts_with(name)) {
        return the_one("node", name, all);
    }
    let request =
        json!({"cluster": cluster, "filter": format!("attribute:{HOSTNAME} == '{name}'")});
    let mut on_host = list(client, operation, request, "containerInstanceArns").await?;
    match on_host.len() {
        0 => the_one("node", name, all),
        1 => Ok(on_host.remove(0)),
        many => Err(Failure::NotFound(format!("{many} nodes are on a host named {name}"))),
    }
}

fn the_one(kind: &str, name: &str, all: Vec<String>) -> Result<String, Failure> {
    let mut found = all.into_iter().filter(|arn| short(arn).starts_with(name));
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(only),
        (Some(first), Some(second)) if first != second => {
            let (first, second) = (short(&first), short(&second));
            let text = format!("{kind} {name} is not one alone: {first}, {second}, …");
            Err(Failure::NotFound(text))
        }
        (Some(same), Some(_)) => Ok(same),
        (None, _) => Err(Failure::NotFound(format!("no {kind} {name:?} in this cluster"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_has_to_mean_one_thing() {
        let all = || vec!["arn:x/c/abc1".to_owned(), "arn:x/c/abd2".to_owned()];
        assert_eq!(the_one("task", "abc", all()).unwrap(), "arn:x/c/abc1");
        let refused = the_one("task", "ab", all()).unwrap_err().to_string();
        assert_eq!(refused, "task ab is not one alone: abc1, abd2, …");
        let refused = the_one("task", "x", all()).unwrap_err().to_string();
        assert_eq!(refused, "no task \"x\" in this cluster");
        let twice = vec!["arn:x/c/a".to_owned(); 2];
        assert_eq!(the_one("task", "a", twice).unwrap(), "arn:x/c/a");
    }

    #[test]
    fn a_task_says_why_it_stopped() {
        let value = json!({
            "taskArn": "arn:x/c/1", "taskDefinitionArn": "arn:x:task-definition/f:1",
            "lastStatus": "STOPPED", "desiredStatus": "STOPPED",
            "stoppedReason": "Essential container in task exited",
            "containers": [
                {"name": "a", "exitCode": 137, "reason": "OutOfMemoryError: killed"},
                {"name": "b", "exitCode": 0},
            ],
        });
        let mut task: Task = serde_json::from_value(value).unwrap();
        let expected = "Essential container in task exited; a: OutOfMemoryError: killed";
        assert_eq!((task.why().as_str(), task.exit_codes().as_str()), (expected, "137,0"));
        task.stopped_reason = Some("OutOfMemoryError: killed".to_owned());
        assert_eq!(task.why(), "OutOfMemoryError: killed", "told once");
        task.last_status = "RUNNING".to_owned();
        assert_eq!(task.exit_codes(), "-", "a container that has ended is not the task");
    }
}
