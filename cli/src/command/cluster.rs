//! `loadline cluster`

use clap::Subcommand;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::options::Context;
use crate::output::dash;
use crate::query;

/// Make, list, show and delete clusters
#[derive(Debug, Subcommand)]
pub(crate) enum Cluster {
    /// Make a cluster; one that exists already is left as it is
    Create {
        /// Letters, digits, hyphens and underscores
        name: String,
    },
    /// List the clusters
    Ls,
    /// Show one as JSON
    Show { name: String },
    /// Delete a cluster that has no tasks and no nodes
    Rm { name: String },
}

impl Cluster {
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let client = context.client()?;
        match self {
            Self::Create { name } => {
                let made = client.ecs("CreateCluster", json!({"clusterName": name})).await?;
                let arn = dash(made["cluster"]["clusterArn"].as_str());
                context.output.either(&made, &arn)?;
            }
            Self::Rm { name } => {
                let gone = client.ecs("DeleteCluster", json!({"cluster": name})).await?;
                let arn = dash(gone["cluster"]["clusterArn"].as_str());
                context.output.either(&gone, &arn)?;
            }
            Self::Show { name } => {
                let found = describe(&client, std::slice::from_ref(&name)).await?;
                let found = found.into_iter().next();
                let missing = || Failure::NotFound(format!("no cluster {name:?}"));
                context.output.json(&found.ok_or_else(missing)?)?;
            }
            Self::Ls => {
                let arns = query::list(&client, "ListClusters", json!({}), "clusterArns").await?;
                let all = describe(&client, &arns).await?;
                let rows = all.iter().map(row).collect();
                let header = ["CLUSTER", "STATUS", "NODES", "RUNNING", "PENDING"];
                context.output.table(&json!({ "clusters": all }), &header, rows)?;
            }
        }
        Ok(0)
    }
}

async fn describe(client: &crate::api::Client, names: &[String]) -> Result<Vec<Value>, Failure> {
    let keys = ("clusters", "clusters");
    query::describe(client, "DescribeClusters", &json!({}), keys, names).await
}

fn row(cluster: &Value) -> Vec<String> {
    vec![
        dash(cluster["clusterName"].as_str()),
        dash(cluster["status"].as_str()),
        dash(cluster["registeredContainerInstancesCount"].as_i64()),
        dash(cluster["runningTasksCount"].as_i64()),
        dash(cluster["pendingTasksCount"].as_i64()),
    ]
}
