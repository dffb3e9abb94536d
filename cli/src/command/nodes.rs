//! `loadline nodes`

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::api::Client;
use crate::failure::Failure;
use crate::options::Context;
use crate::output::dash;
use crate::query;
use crate::text::short;

/// List nodes with what is left on them; drain, activate and remove them
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Nodes {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the nodes (as without a subcommand)
    Ls,
    /// Place no new tasks on a node
    Drain {
        /// Its id, the beginning of it, or its host's name
        node: String,
    },
    /// Place tasks on a node again
    Activate {
        /// Its id, the beginning of it, or its host's name
        node: String,
    },
    /// Remove a node, or all whose agent is away: their certificates are refused from then on
    Rm {
        /// Its id, the beginning of it, or its host's name
        #[arg(required_unless_present = "away")]
        node: Option<String>,
        /// Every node of the cluster whose agent is not connected, such as those of
        /// `loadline-agent hollow` that has ended. Nothing is asked
        #[arg(long, conflicts_with = "node")]
        away: bool,
        /// Also where it has tasks: they are given up
        #[arg(long)]
        force: bool,
    },
}

impl Nodes {
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let client = context.client()?;
        let cluster = context.cluster();
        match self.action.unwrap_or(Action::Ls) {
            Action::Ls => ls(context).await?,
            Action::Drain { node } => set_state(context, &node, "DRAINING").await?,
            Action::Activate { node } => set_state(context, &node, "ACTIVE").await?,
            Action::Rm { node: Some(node), force, .. } => {
                let arn = query::find_node(&client, cluster, &node).await?;
                let gone = remove(&client, cluster, &arn, force).await?;
                context.output.either(&gone, short(&arn))?;
            }
            Action::Rm { node: None, force, .. } => remove_away(context, force).await?,
        }
        Ok(0)
    }
}

async fn remove(client: &Client, cluster: &str, arn: &str, force: bool) -> Result<Value, Failure> {
    let request = json!({"cluster": cluster, "containerInstance": arn, "force": force});
    client.ecs("DeregisterContainerInstance", request).await
}

/// Removes every node that has an agent which is away. One that is refused, because it has tasks,
/// keeps no other from going.
async fn remove_away(context: &Context, force: bool) -> Result<(), Failure> {
    let client = context.client()?;
    let (mut gone, mut refused) = (Vec::new(), Vec::new());
    for node in all(context, &client).await?.iter().filter(|node| is_away(node)) {
        let arn = node["containerInstanceArn"].as_str().unwrap_or_default();
        match remove(&client, context.cluster(), arn, force).await {
            Ok(answer) => gone.push(answer["containerInstance"].clone()),
            Err(Failure::Refused { message, .. }) => {
                refused.push(message);
            }
            Err(failure) => return Err(failure),
        }
    }
    let names: Vec<String> =
        gone.iter().map(|node| dash(node["containerInstanceArn"].as_str().map(short))).collect();
    if context.output.is_json() {
        context.output.json(&json!({ "containerInstances": gone }))?;
    } else if !names.is_empty() {
        context.output.line(&names.join("\n"))?;
    } else if refused.is_empty() {
        eprintln!("loadline: no node's agent is away");
    }
    if refused.is_empty() {
        return Ok(());
    }
    Err(Failure::NotRemoved(refused))
}

/// Whether its agent has no session. A node that a caller of the API registered has no agent that
/// could be away.
fn is_away(node: &Value) -> bool {
    let has_agent = node["versionInfo"]["agentVersion"].as_str().is_some_and(|v| !v.is_empty());
    has_agent && node["agentConnected"] != true
}

async fn set_state(context: &Context, node: &str, state: &str) -> Result<(), Failure> {
    let client = context.client()?;
    let arn = query::find_node(&client, context.cluster(), node).await?;
    let request = json!({"cluster": context.cluster(), "containerInstances": [arn]});
    let before = client.ecs("DescribeContainerInstances", request).await?;
    if before["containerInstances"][0]["status"] == state {
        eprintln!("loadline: node {} is {state} already", short(&arn));
    }
    let request = json!({
        "cluster": context.cluster(), "containerInstances": [arn], "status": state,
    });
    let answer = client.ecs("UpdateContainerInstancesState", request).await?;
    if let Some(failure) = answer["failures"].as_array().and_then(|all| all.first()) {
        let reason = dash(failure["reason"].as_str());
        return Err(Failure::NotFound(format!("node {}: {reason}", short(&arn))));
    }
    context.output.either(&answer, short(&arn))
}

async fn all(context: &Context, client: &Client) -> Result<Vec<Value>, Failure> {
    let request = json!({"cluster": context.cluster()});
    let operation = "ListContainerInstances";
    let arns = query::list(client, operation, request.clone(), "containerInstanceArns").await?;
    let keys = ("containerInstances", "containerInstances");
    let operation = "DescribeContainerInstances";
    query::describe(client, operation, &request, keys, &arns).await
}

async fn ls(context: &Context) -> Result<(), Failure> {
    let client = context.client()?;
    let all = all(context, &client).await?;
    let rows = all.iter().map(row).collect();
    let header =
        ["NODE", "HOST", "STATUS", "AGENT", "CPU LEFT", "MEMORY LEFT", "RUNNING", "PENDING"];
    context.output.table(&json!({ "containerInstances": all }), &header, rows)
}

fn row(node: &Value) -> Vec<String> {
    let agent = match node["agentConnected"].as_bool() {
        Some(true) if node["statusReason"].is_string() => "quarantined",
        Some(true) => "connected",
        _ => "away",
    };
    let left = |name| {
        let of = |list: &str| resource(&node[list], name);
        format!("{}/{}", dash(of("remainingResources")), dash(of("registeredResources")))
    };
    vec![
        dash(node["containerInstanceArn"].as_str().map(short)),
        dash(host(node)),
        dash(node["status"].as_str()),
        agent.to_owned(),
        left("CPU"),
        left("MEMORY"),
        dash(node["runningTasksCount"].as_i64()),
        dash(node["pendingTasksCount"].as_i64()),
    ]
}

/// The name of the node's host, as its agent tells it.
fn host(node: &Value) -> Option<&str> {
    let all = node["attributes"].as_array()?;
    all.iter().find(|attribute| attribute["name"] == query::HOSTNAME)?["value"].as_str()
}

fn resource(list: &Value, name: &str) -> Option<i64> {
    let list = list.as_array()?;
    list.iter().find(|resource| resource["name"] == name)?["integerValue"].as_i64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_shows_what_is_left_of_what_it_has() {
        let of = |cpu: i64| json!([{"name": "CPU", "integerValue": cpu}]);
        let node = json!({
            "containerInstanceArn": "arn:x/default/ab", "status": "ACTIVE", "agentConnected": true,
            "remainingResources": of(512), "registeredResources": of(2048),
            "runningTasksCount": 3, "pendingTasksCount": 0,
            "attributes": [{"name": "x"}, {"name": "loadline.hostname", "value": "web-1"}],
        });
        let expected = ["ab", "web-1", "ACTIVE", "connected", "512/2048", "-/-", "3", "0"];
        assert_eq!(row(&node), expected);
    }
}
