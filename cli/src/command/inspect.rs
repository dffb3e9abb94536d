//! `loadline inspect`

use clap::Args;
use serde_json::{Value, json};

use crate::api::Client;
use crate::failure::Failure;
use crate::options::Context;
use crate::query;

/// Show everything about tasks, nodes or task definitions, as JSON
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// Ids (or beginnings of ids, or ARNs) of tasks and nodes; FAMILY or FAMILY:REVISION of task
    /// definitions
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

impl Inspect {
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let client = context.client()?;
        let mut found = Vec::new();
        for name in &self.names {
            found.push(inspect(&client, context.cluster(), name).await?);
        }
        context.output.json(&Value::Array(found))?;
        Ok(0)
    }
}

/// A task, else a node, else a task definition of that name.
async fn inspect(client: &Client, cluster: &str, name: &str) -> Result<Value, Failure> {
    if !name.contains(":task-definition/") {
        if let Ok(arn) = query::find_task(client, cluster, name).await {
            let tasks = query::tasks(client, cluster, &[arn]).await?;
            if let Some(task) = tasks.into_iter().next() {
                return Ok(task);
            }
        }
        if let Ok(arn) = query::find_node(client, cluster, name).await {
            let request = json!({"cluster": cluster});
            let keys = ("containerInstances", "containerInstances");
            let operation = "DescribeContainerInstances";
            let nodes = query::describe(client, operation, &request, keys, &[arn]).await?;
            if let Some(node) = nodes.into_iter().next() {
                return Ok(node);
            }
        }
    }
    let request = json!({"taskDefinition": name});
    match client.ecs("DescribeTaskDefinition", request).await {
        Ok(mut answer) => Ok(answer["taskDefinition"].take()),
        Err(Failure::Refused { .. }) => {
            let text = format!("no task, node or task definition {name:?} in {cluster}");
            Err(Failure::NotFound(text))
        }
        Err(failure) => Err(failure),
    }
}
