//! `loadline why`

use clap::Args;
use serde_json::{Value, json};

use crate::api::Client;
use crate::failure::Failure;
use crate::options::Context;
use crate::output::dash;
use crate::query;
use crate::text::short;

/// Say why a task or a service stands where it stands: what it waits for, node by node
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Why {
    /// A task's id, or the beginning of it, or the name of a service
    name: String,
}

const EXAMPLES: &str = "\
Examples:
  loadline why 4f1c
  loadline why web";

impl Why {
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let client = context.client()?;
        let answer = ask(&client, context.cluster(), &self.name).await?;
        let subject = short(answer["subject"].as_str().unwrap_or_default());
        let (status, summary) = (dash(answer["status"].as_str()), dash(answer["summary"].as_str()));
        let head = format!("{subject} {status}: {summary}");
        let reasons = answer["reasons"].as_array().map_or(&[][..], Vec::as_slice);
        let lines = std::iter::once(head).chain(reasons.iter().map(line));
        let text = lines.collect::<Vec<_>>().join("\n");
        context.output.either(&answer, &text)?;
        Ok(0)
    }
}

/// Of the service of that name, else of the task.
async fn ask(client: &Client, cluster: &str, name: &str) -> Result<Value, Failure> {
    if !name.contains(":task/") {
        let request = json!({"cluster": cluster, "service": name});
        match client.own("DescribeReasons", request).await {
            Err(Failure::Refused { code, .. }) if code == "ServiceNotFoundException" => {}
            other => return other,
        }
    }
    let arn = query::find_task(client, cluster, name).await;
    let arn = arn.map_err(|failure| match failure {
        Failure::NotFound(text) if text.starts_with("no task") => {
            Failure::NotFound(format!("no task and no service {name:?} in {cluster}"))
        }
        other => other,
    })?;
    client.own("DescribeReasons", json!({"cluster": cluster, "task": arn})).await
}

fn line(reason: &Value) -> String {
    let node = reason["containerInstanceArn"].as_str().map(short);
    let node = node.map_or_else(String::new, |node| format!("node {node}: "));
    format!("  {node}{}: {}", dash(reason["reason"].as_str()), dash(reason["detail"].as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_names_its_node_if_it_has_one() {
        let reason = json!({"reason": "AGENT", "detail": "away", "containerInstanceArn": "a/c/1"});
        assert_eq!(line(&reason), "  node 1: AGENT: away");
        assert_eq!(line(&json!({"reason": "THROTTLED", "detail": "x"})), "  THROTTLED: x");
    }
}
