//! `loadline service`

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::wait::{self, Away};
use crate::api::Client;
use crate::failure::Failure;
use crate::options::Context;
use crate::output::{age, dash};
use crate::query;
use crate::text::{number, short};

/// Keep tasks running: make, list, scale, roll and remove services
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum Service {
    /// Keep a number of tasks of a definition running
    Create {
        /// Letters, digits, hyphens and underscores
        name: String,
        /// FAMILY or FAMILY:REVISION
        #[arg(long, value_name = "NAME")]
        task_def: String,
        /// How many tasks
        #[arg(long, short = 'n', value_name = "N", default_value = "1", value_parser = number)]
        count: u32,
        /// Let nobody run programs in its tasks with `loadline exec`
        #[arg(long)]
        no_exec: bool,
        #[command(flatten)]
        steady: Steady,
    },
    /// List the services
    Ls,
    /// Show one as JSON
    Show { name: String },
    /// Show what happened to it, and why tasks wait or fail
    Events { name: String },
    /// Change how many tasks it keeps running
    Scale {
        name: String,
        #[arg(value_parser = number)]
        count: u32,
        #[command(flatten)]
        steady: Steady,
    },
    /// Replace its tasks, step by step, by tasks of another definition
    Roll {
        name: String,
        /// FAMILY or FAMILY:REVISION; without it, the same definition again
        #[arg(long, value_name = "NAME")]
        task_def: Option<String>,
        #[command(flatten)]
        steady: Steady,
    },
    /// Remove a service; its tasks are stopped
    Rm {
        name: String,
        /// Also where it is not scaled to 0
        #[arg(long)]
        force: bool,
    },
}

/// Whether to come back at once.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Steady {
    /// Come back when all tasks run and no old one is left
    #[arg(long, short)]
    wait: bool,
}

const EXAMPLES: &str = "\
Examples:
  loadline service create web --task-def web --count 2 --wait
  loadline service scale web 4
  loadline service roll web --task-def web:2 --wait
  loadline service rm web --force";

impl Service {
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let client = context.client()?;
        let cluster = context.cluster();
        match self {
            Self::Create { name, task_def, count, no_exec, steady } => {
                let request = json!({
                    "cluster": cluster, "serviceName": name, "taskDefinition": task_def,
                    "desiredCount": count, "enableExecuteCommand": !no_exec,
                });
                change(context, &client, "CreateService", request, &name, steady).await?;
            }
            Self::Scale { name, count, steady } => {
                let request = json!({"cluster": cluster, "service": name, "desiredCount": count});
                change(context, &client, "UpdateService", request, &name, steady).await?;
            }
            Self::Roll { name, task_def, steady } => {
                let mut request =
                    json!({"cluster": cluster, "service": name, "forceNewDeployment": true});
                if let Some(definition) = task_def {
                    request["taskDefinition"] = json!(definition);
                }
                change(context, &client, "UpdateService", request, &name, steady).await?;
            }
            Self::Rm { name, force } => {
                let request = json!({"cluster": cluster, "service": name, "force": force});
                let gone = client.ecs("DeleteService", request).await?;
                context.output.either(&gone, &name)?;
            }
            Self::Show { name } => context.output.json(&find(&client, cluster, &name).await?)?,
            Self::Events { name } => events(context, &find(&client, cluster, &name).await?)?,
            Self::Ls => ls(context, &client).await?,
        }
        Ok(0)
    }
}

/// Asks for a change and, if wanted, waits for what follows from it.
async fn change(
    context: &Context,
    client: &Client,
    operation: &str,
    request: Value,
    name: &str,
    steady: Steady,
) -> Result<(), Failure> {
    let mut answer = client.ecs(operation, request).await?;
    if steady.wait {
        let wanted = answer["service"]["deployments"][0]["id"].as_str().unwrap_or_default();
        let steady = until_steady(client, context.cluster(), name, wanted).await?;
        answer = json!({ "service": steady });
    }
    context.output.either(&answer, name)
}

/// The wanted deployment alone is left and all its tasks run. A controller that is away is waited
/// for.
async fn until_steady(
    client: &Client,
    cluster: &str,
    name: &str,
    wanted: &str,
) -> Result<Value, Failure> {
    let mut looks = 0;
    let mut told = Progress::default();
    let mut away = Away::default();
    loop {
        let found = find(client, cluster, name).await;
        let Some(service) = away.outlast(found).await? else { continue };
        told.tell(&service);
        if is_steady(&service, wanted)? {
            return Ok(service);
        }
        wait::pause(&mut looks).await;
    }
}

/// What a waiting person has been told, on standard error: each change once.
#[derive(Debug, Default)]
struct Progress {
    line: String,
    /// Ids of events; none before the first look, which is of the past.
    events: Option<Vec<String>>,
    hinted: bool,
}

impl Progress {
    fn tell(&mut self, service: &Value) {
        let events = service["events"].as_array().map_or(&[][..], Vec::as_slice);
        let id = |event: &Value| event["id"].as_str().unwrap_or_default().to_owned();
        if let Some(known) = &self.events {
            for event in events.iter().rev().filter(|event| !known.contains(&id(event))) {
                eprintln!("  {}", dash(event["message"].as_str()));
            }
        }
        self.events = Some(events.iter().map(id).collect());
        let line = progress(service);
        if line != self.line {
            eprintln!("{line}");
            self.line = line;
        }
        if !self.hinted && has_failed(service) {
            self.hinted = true;
            let name = dash(service["serviceName"].as_str());
            eprintln!("  hint: `loadline why {name}` tells why its tasks fail");
        }
    }
}

/// Whether tasks of the newest deployment failed already.
fn has_failed(service: &Value) -> bool {
    service["deployments"][0]["failedTasks"].as_i64().is_some_and(|failed| 0 < failed)
}

/// `web: web:2 1/2 running, 1 pending; web:1 2 running`
fn progress(service: &Value) -> String {
    let deployments = service["deployments"].as_array().map_or(&[][..], Vec::as_slice);
    let part = |deployment: &Value| {
        let count = |key: &str| deployment[key].as_i64().unwrap_or(0);
        let definition = dash(deployment["taskDefinition"].as_str().map(short));
        let (running, pending) = (count("runningCount"), count("pendingCount"));
        let wanted = if deployment["status"] == "PRIMARY" {
            format!("{running}/{} running", count("desiredCount"))
        } else {
            format!("{running} running (old)")
        };
        let more = [(pending, "pending"), (count("failedTasks"), "failed")];
        let more = more.iter().filter(|(count, _)| 0 < *count);
        let more: String = more.map(|(count, what)| format!(", {count} {what}")).collect();
        format!("{definition} {wanted}{more}")
    };
    let parts: Vec<String> = deployments.iter().map(part).collect();
    format!("{}: {}", dash(service["serviceName"].as_str()), parts.join("; "))
}

fn is_steady(service: &Value, wanted: &str) -> Result<bool, Failure> {
    let deployments = service["deployments"].as_array().map_or(&[][..], Vec::as_slice);
    if let Some(failed) = deployments.iter().find(|d| d["rolloutState"] == "FAILED") {
        let why = dash(failed["rolloutStateReason"].as_str());
        let name = dash(service["serviceName"].as_str());
        return Err(Failure::NotSteady(format!("service {name} failed to roll: {why}")));
    }
    if service["status"] != "ACTIVE" {
        let name = dash(service["serviceName"].as_str());
        let status = dash(service["status"].as_str());
        return Err(Failure::NotSteady(format!("service {name} is {status}")));
    }
    let primary = dash(deployments.first().and_then(|primary| primary["id"].as_str()));
    if primary != wanted {
        let name = dash(service["serviceName"].as_str());
        return Err(Failure::NotSteady(format!(
            "service {name} failed to roll: its deployment {wanted} was rolled back or replaced; \
             {primary} took its place"
        )));
    }
    Ok(deployments.len() == 1 && service["runningCount"] == service["desiredCount"])
}

async fn find(client: &Client, cluster: &str, name: &str) -> Result<Value, Failure> {
    let request = json!({"cluster": cluster, "services": [name]});
    let mut answer = client.ecs("DescribeServices", request).await?;
    match answer["services"].get_mut(0) {
        Some(service) => Ok(service.take()),
        None => Err(Failure::NotFound(format!("no service {name:?} in {cluster}"))),
    }
}

/// Oldest first, as a log is read.
fn events(context: &Context, service: &Value) -> Result<(), Failure> {
    let events = service["events"].as_array().map_or(&[][..], Vec::as_slice);
    let row =
        |event: &Value| vec![age(event["createdAt"].as_f64()), dash(event["message"].as_str())];
    let rows = events.iter().rev().map(row).collect();
    context.output.table(&json!({ "events": events }), &["AGE", "EVENT"], rows)
}

/// Most services that one DescribeServices takes (ECS's own bound).
const DESCRIBE_MAX: usize = 10;

async fn ls(context: &Context, client: &Client) -> Result<(), Failure> {
    let request = json!({"cluster": context.cluster()});
    let arns = query::list(client, "ListServices", request.clone(), "serviceArns").await?;
    let mut all = Vec::new();
    for batch in arns.chunks(DESCRIBE_MAX) {
        let keys = ("services", "services");
        all.extend(query::describe(client, "DescribeServices", &request, keys, batch).await?);
    }
    let header = ["SERVICE", "STATUS", "DESIRED", "RUNNING", "PENDING", "DEFINITION", "ROLLOUT"];
    let rows = all.iter().map(row).collect();
    context.output.table(&json!({ "services": all }), &header, rows)
}

fn row(service: &Value) -> Vec<String> {
    vec![
        dash(service["serviceName"].as_str()),
        dash(service["status"].as_str()),
        dash(service["desiredCount"].as_i64()),
        dash(service["runningCount"].as_i64()),
        dash(service["pendingCount"].as_i64()),
        dash(service["taskDefinition"].as_str().map(short)),
        dash(service["deployments"][0]["rolloutState"].as_str()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(running: u32, deployments: &Value) -> Value {
        json!({
            "serviceName": "web", "status": "ACTIVE", "desiredCount": 2, "runningCount": running,
            "deployments": deployments,
        })
    }

    #[test]
    fn a_service_is_steady_when_one_deployment_has_all_its_tasks() {
        let one = json!([{"id": "b", "rolloutState": "COMPLETED"}]);
        let two = json!([
            {"id": "b", "rolloutState": "IN_PROGRESS"}, {"id": "a", "rolloutState": "COMPLETED"},
        ]);
        assert!(is_steady(&service(2, &one), "b").unwrap());
        assert!(!is_steady(&service(1, &one), "b").unwrap());
        assert!(!is_steady(&service(2, &two), "b").unwrap());
    }

    #[test]
    fn a_deployment_is_told_as_it_goes() {
        let two = json!([
            {"status": "PRIMARY", "taskDefinition": "a:task-definition/web:2", "runningCount": 1,
             "desiredCount": 2, "pendingCount": 1, "failedTasks": 3},
            {"status": "ACTIVE", "taskDefinition": "a:task-definition/web:1", "runningCount": 2},
        ]);
        let expected = "web: web:2 1/2 running, 1 pending, 3 failed; web:1 2 running (old)";
        assert_eq!(progress(&service(3, &two)), expected);
    }

    #[test]
    fn a_service_that_failed_is_not_waited_for() {
        let failed = json!([{"rolloutState": "FAILED", "rolloutStateReason": "tasks failed"}]);
        let refused = is_steady(&service(2, &failed), "b").unwrap_err().to_string();
        assert_eq!(refused, "service web failed to roll: tasks failed");
        assert!(!has_failed(&service(2, &failed)));
        let failing = json!([{"id": "b", "rolloutState": "IN_PROGRESS", "failedTasks": 1}]);
        assert!(has_failed(&service(2, &failing)));
        let back = json!([{"id": "a", "rolloutState": "COMPLETED"}]);
        let refused = is_steady(&service(2, &back), "b").unwrap_err().to_string();
        let said = "service web failed to roll: its deployment b was rolled back or replaced; a \
                    took its place";
        assert_eq!(refused, said);
        let mut gone = service(2, &json!([]));
        gone["status"] = json!("DRAINING");
        assert_eq!(is_steady(&gone, "b").unwrap_err().to_string(), "service web is DRAINING");
    }
}
