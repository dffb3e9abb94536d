//! `loadline task-def`

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Value, json};

use crate::api::Client;
use crate::failure::Failure;
use crate::options::Context;
use crate::output::dash;
use crate::query;
use crate::text::short;

/// Largest file, in bytes: a task definition has at most 64 KiB.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Most task definitions of one DeleteTaskDefinitions (ECS's own bound).
const DELETE_MAX: usize = 10;

/// Register, list, show and deregister task definitions
#[derive(Debug, Subcommand)]
pub(crate) enum TaskDef {
    /// Register the next revision of a family from a JSON file, as `aws ecs
    /// register-task-definition --cli-input-json` takes it
    #[command(after_help = REGISTER_EXAMPLE)]
    Register {
        /// The file; - for standard input
        file: PathBuf,
    },
    /// List task definitions
    Ls {
        /// Only of this family
        #[arg(long)]
        family: Option<String>,
        /// Also those that were deregistered, and those that `loadline run IMAGE` made
        #[arg(long, short)]
        all: bool,
    },
    /// Deregister and delete what `loadline run IMAGE` made and no task uses
    Prune,
    /// Show one as JSON
    Show {
        /// FAMILY for its newest active revision, or FAMILY:REVISION
        name: String,
    },
    /// Start no new tasks of a revision
    #[command(visible_alias = "rm")]
    Deregister {
        /// FAMILY:REVISION
        name: String,
    },
}

const REGISTER_EXAMPLE: &str = r#"Example:
  loadline task-def register - <<'END'
  {"family": "web", "cpu": "256", "memory": "128", "containerDefinitions": [
    {"name": "web", "image": "busybox:latest", "command": ["sleep", "1000"]}]}
  END"#;

impl TaskDef {
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let client = context.client()?;
        match self {
            Self::Register { file } => {
                let request = read(&file)?;
                let made = client.ecs("RegisterTaskDefinition", request).await?;
                context.output.either(&made, &name_of(&made["taskDefinition"]))?;
            }
            Self::Show { name } => {
                let request = json!({"taskDefinition": name});
                let answer = client.ecs("DescribeTaskDefinition", request).await?;
                context.output.json(&answer["taskDefinition"])?;
            }
            Self::Deregister { name } => {
                let request = json!({"taskDefinition": name});
                let gone = client.ecs("DeregisterTaskDefinition", request).await?;
                context.output.either(&gone, &name_of(&gone["taskDefinition"]))?;
            }
            Self::Prune => prune(context).await?,
            Self::Ls { family, all } => ls(context, family.as_deref(), all).await?,
        }
        Ok(0)
    }
}

async fn ls(context: &Context, family: Option<&str>, all: bool) -> Result<(), Failure> {
    let client = context.client()?;
    let statuses: &[&str] = if all { &["ACTIVE", "INACTIVE"] } else { &["ACTIVE"] };
    let (mut arns, mut rows) = (Vec::new(), Vec::new());
    for status in statuses {
        let mut request = json!({ "status": status });
        if let Some(family) = family {
            request["familyPrefix"] = json!(family);
        }
        let mut some = definitions(&client, request).await?;
        some.retain(|arn| all || family.is_some() || !is_made_by_run(arn));
        rows.extend(some.iter().map(|arn| vec![short(arn).to_owned(), (*status).to_owned()]));
        arns.extend(some);
    }
    let value = json!({ "taskDefinitionArns": arns });
    context.output.table(&value, &["DEFINITION", "STATUS"], rows)
}

async fn definitions(client: &Client, request: Value) -> Result<Vec<String>, Failure> {
    query::list(client, "ListTaskDefinitions", request, "taskDefinitionArns").await
}

/// `run-IMAGE-HASH:REVISION`: see `loadline run --help`.
fn is_made_by_run(arn: &str) -> bool {
    let family = short(arn).split(':').next().unwrap_or_default();
    let hash = family.strip_prefix("run-").and_then(|rest| rest.rsplit_once('-'));
    hash.is_some_and(|(_, hash)| hash.len() == 8 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
}

async fn prune(context: &Context) -> Result<(), Failure> {
    let client = context.client()?;
    let cluster = context.cluster();
    let arns = query::task_arns(&client, cluster, &["RUNNING", "STOPPED"]).await?;
    let tasks = query::tasks(&client, cluster, &arns).await?;
    let used = |arn: &String| {
        let is_of_it = |task: &&Value| task["taskDefinitionArn"] == arn.as_str();
        tasks.iter().filter(|task| task["lastStatus"] != "STOPPED").any(|task| is_of_it(&task))
    };
    let all = definitions(&client, json!({"status": "ACTIVE"})).await?;
    let mut gone = Vec::new();
    for arn in all.into_iter().filter(|arn| is_made_by_run(arn) && !used(arn)) {
        client.ecs("DeregisterTaskDefinition", json!({"taskDefinition": arn})).await?;
        gone.push(arn);
    }
    let old = definitions(&client, json!({"status": "INACTIVE"})).await?;
    let old = old.into_iter().filter(|arn| is_made_by_run(arn) && !gone.contains(arn));
    let old: Vec<_> = old.collect();
    gone.extend(old);
    for some in gone.chunks(DELETE_MAX) {
        client.ecs("DeleteTaskDefinitions", json!({"taskDefinitions": some})).await?;
    }
    let names: Vec<&str> = gone.iter().map(|arn| short(arn)).collect();
    if gone.is_empty() && !context.output.is_json() {
        eprintln!("loadline: nothing to prune");
        return Ok(());
    }
    context.output.either(&json!({ "taskDefinitionArns": gone }), &names.join("\n"))
}

fn name_of(definition: &Value) -> String {
    dash(definition["taskDefinitionArn"].as_str().map(short))
}

fn read(file: &Path) -> Result<Value, Failure> {
    let mut text = String::new();
    let failed = |e| Failure::io("read", file, e);
    if file == Path::new("-") {
        std::io::stdin().take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    } else {
        let opened = std::fs::File::open(file).map_err(|e| Failure::io("open", file, e))?;
        opened.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    }
    if FILE_BYTES_MAX < text.len() as u64 {
        let text = format!("{}: larger than {FILE_BYTES_MAX} bytes", file.display());
        return Err(Failure::Usage(text));
    }
    serde_json::from_str(&text)
        .map_err(|e| Failure::Usage(format!("{} is not JSON: {e}", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_run_made_is_known_by_its_name() {
        let check = |name: &str| is_made_by_run(&format!("arn:x:task-definition/{name}"));
        assert!(check("run-busybox-0123abcd:1") && check("run-a-b-00000000:12"));
        assert!(!check("run-busybox:1") && !check("web:1") && !check("run-away-fastfood:1"));
    }
}
