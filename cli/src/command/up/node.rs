//! This machine's node: when it is connected, and its tasks when all ends.

use std::time::Duration;

use http::Method;
use serde_json::json;

use crate::agent::Agent;
use crate::api::Client;
use crate::command::wait;
use crate::failure::Failure;
use crate::options::Context;
use crate::query;

/// How long the agent may take to enrol, register and open its session.
const CONNECT_S_MAX: u64 = 60;
/// How long tasks may take to stop: ECS's longest stopTimeout and some more.
const STOP_S_MAX: u64 = 150;
/// How long to look for what is left, when nobody wants to wait.
const LEFT_S_MAX: u64 = 2;
/// Why tasks stop, for those who look later.
const REASON: &str = "loadline up ended";

/// Waits until this machine's node is connected; its ARN.
pub(super) async fn connected(context: &Context, client: &Client) -> Result<String, Failure> {
    let limit = Duration::from_secs(CONNECT_S_MAX);
    let found = tokio::time::timeout(limit, async {
        let agent = Agent::new(context.agent_socket());
        let mut looks = 0;
        loop {
            if let Some(node) = look(context.cluster(), client, &agent).await? {
                return Ok(node);
            }
            wait::pause(&mut looks).await;
        }
    });
    found.await.unwrap_or_else(|_| {
        let text = format!("the agent's node was not connected after {CONNECT_S_MAX} s");
        Err(Failure::Child(text))
    })
}

/// The node's ARN, once the agent knows it and the controller says that it is connected.
async fn look(cluster: &str, client: &Client, agent: &Agent) -> Result<Option<String>, Failure> {
    // The socket appears when the agent is far enough.
    let Ok(status) = agent.call(Method::GET, "/v1/status").await else { return Ok(None) };
    let Some(arn) = status["container_instance_arn"].as_str() else { return Ok(None) };
    let request = json!({"cluster": cluster, "containerInstances": [arn]});
    let answer = client.ecs("DescribeContainerInstances", request).await?;
    let node = &answer["containerInstances"][0];
    if node["agentConnected"] != true {
        return Ok(None);
    }
    if node["status"] != "ACTIVE" {
        let status = node["status"].as_str().unwrap_or("of no status");
        eprintln!("loadline: the node is {status}: see `loadline nodes activate --help`");
    }
    Ok(Some(arn.to_owned()))
}

/// Stops every task of the node and waits for it. The node takes no new ones meanwhile: a service
/// would replace what is stopped. [`activate`] undoes that.
pub(super) async fn stop_tasks(client: &Client, cluster: &str, node: &str) -> Result<(), Failure> {
    set_status(client, cluster, node, "DRAINING").await?;
    let going = going(client, cluster, node).await?;
    if !going.is_empty() {
        eprintln!("loadline: stopping {} tasks; once more to not wait for them", going.len());
    }
    let all = async {
        let mut looks = 0;
        loop {
            let going = self::going(client, cluster, node).await?;
            if going.is_empty() {
                return Ok(());
            }
            for arn in &going {
                let request = json!({"cluster": cluster, "task": arn, "reason": REASON});
                client.ecs("StopTask", request).await?;
            }
            wait::pause(&mut looks).await;
        }
    };
    let stopped = tokio::time::timeout(Duration::from_secs(STOP_S_MAX), all).await;
    stopped.unwrap_or_else(|_| {
        let text = format!("not all tasks had stopped after {STOP_S_MAX} s");
        Err(Failure::Child(text))
    })
}

/// Says what is left where nobody waits for it: the agent that ends now asked it to stop, and its
/// supervisors go on without it.
pub(super) async fn tell_left(client: &Client, cluster: &str, node: &str) {
    let limit = Duration::from_secs(LEFT_S_MAX);
    let left = tokio::time::timeout(limit, going(client, cluster, node)).await;
    let left = match left {
        Ok(Ok(left)) => left.len().to_string(),
        // The cluster ends; how many there are is no reason to stay.
        Ok(Err(_)) | Err(_) => "some".to_owned(),
    };
    eprintln!(
        "loadline: not waiting any longer: {left} tasks are still stopping; the next `loadline up` \
         finds them and sees to their end"
    );
}

/// Lets the node take tasks again when it is back.
pub(super) async fn activate(client: &Client, cluster: &str, node: &str) -> Result<(), Failure> {
    set_status(client, cluster, node, "ACTIVE").await
}

/// The node's tasks that have not stopped, also those that are about to.
async fn going(client: &Client, cluster: &str, node: &str) -> Result<Vec<String>, Failure> {
    let mut arns = Vec::new();
    for desired in ["RUNNING", "STOPPED"] {
        let request =
            json!({"cluster": cluster, "containerInstance": node, "desiredStatus": desired});
        arns.extend(query::list(client, "ListTasks", request, "taskArns").await?);
    }
    let tasks = query::tasks(client, cluster, &arns).await?;
    let going = tasks.into_iter().filter(|task| task["lastStatus"] != "STOPPED");
    Ok(going.filter_map(|task| task["taskArn"].as_str().map(str::to_owned)).collect())
}

async fn set_status(
    client: &Client,
    cluster: &str,
    node: &str,
    status: &str,
) -> Result<(), Failure> {
    let request = json!({"cluster": cluster, "containerInstances": [node], "status": status});
    client.ecs("UpdateContainerInstancesState", request).await.map(|_| ())
}
