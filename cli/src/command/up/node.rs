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

/// Waits until this machine's node is ACTIVE and its agent connected; its ARN.
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
    let ready = node["agentConnected"] == true && node["status"] == "ACTIVE";
    Ok(ready.then(|| arn.to_owned()))
}

/// Stops every task of the node and waits for it.
pub(super) async fn stop_tasks(client: &Client, cluster: &str, node: &str) -> Result<(), Failure> {
    let request = json!({"cluster": cluster, "containerInstance": node});
    let arns = query::list(client, "ListTasks", request, "taskArns").await?;
    if arns.is_empty() {
        return Ok(());
    }
    eprintln!("loadline: stopping {} tasks; once more to not wait for them", arns.len());
    for arn in &arns {
        let request = json!({"cluster": cluster, "task": arn, "reason": "loadline up ended"});
        client.ecs("StopTask", request).await?;
    }
    let all = async {
        for arn in &arns {
            wait::until_stopped(client, cluster, arn).await?;
        }
        Ok(())
    };
    let stopped = tokio::time::timeout(Duration::from_secs(STOP_S_MAX), all).await;
    stopped.unwrap_or_else(|_| {
        let text = format!("not all tasks had stopped after {STOP_S_MAX} s");
        Err(Failure::Child(text))
    })
}
