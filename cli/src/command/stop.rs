//! `loadline stop`

use clap::Args;
use serde_json::{Value, json};

use super::wait;
use crate::failure::Failure;
use crate::options::Context;
use crate::query;
use crate::text::short;

/// Stop tasks: SIGTERM, then SIGKILL after the container's stop timeout
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Stop {
    /// Ids, beginnings of ids, or ARNs
    #[arg(value_name = "TASK", required_unless_present = "all")]
    tasks: Vec<String>,
    /// Every task of the cluster
    #[arg(long, conflicts_with = "tasks")]
    all: bool,
    /// Why, for those who look later
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Come back when they have stopped
    #[arg(long, short)]
    wait: bool,
}

const EXAMPLES: &str = "\
Examples:
  loadline stop --wait 4f1c
  loadline stop --all --reason 'the machine moves'";

impl Stop {
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let client = context.client()?;
        let cluster = context.cluster();
        let mut arns = Vec::new();
        if self.all {
            arns = query::task_arns(&client, cluster, &["RUNNING"]).await?;
        }
        for name in &self.tasks {
            arns.push(query::find_task(&client, cluster, name).await?);
        }
        let mut stopped = Vec::new();
        if arns.is_empty() && !context.output.is_json() {
            eprintln!("loadline: nothing to stop: no task runs in {cluster}");
        }
        for arn in &arns {
            let mut request = json!({"cluster": cluster, "task": arn});
            if let Some(reason) = &self.reason {
                request["reason"] = json!(reason);
            }
            let mut answer = client.ecs("StopTask", request).await?;
            if answer["task"]["lastStatus"] == "STOPPED" {
                eprintln!("loadline: task {} has stopped already", short(arn));
            }
            stopped.push(answer["task"].take());
        }
        if self.wait {
            for arn in &arns {
                wait::until_stopped(&client, cluster, arn).await?;
            }
            stopped = query::tasks(&client, cluster, &arns).await?;
        }
        let ids: Vec<&str> = arns.iter().map(|arn| short(arn)).collect();
        if !ids.is_empty() || context.output.is_json() {
            let all = json!({ "tasks": Value::Array(stopped) });
            context.output.either(&all, &ids.join("\n"))?;
        }
        Ok(0)
    }
}
