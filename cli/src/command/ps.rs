//! `loadline ps`

use clap::Args;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::options::Context;
use crate::output::{age, clip, dash};
use crate::query::{self, Task};
use crate::text::short;

/// List tasks
#[derive(Debug, Args)]
pub(crate) struct Ps {
    /// Also those that have stopped (they are remembered for an hour)
    #[arg(long, short)]
    all: bool,
    /// Print the whole of WHY, however long
    #[arg(long)]
    no_trunc: bool,
    /// Print ids alone
    #[arg(long, short)]
    quiet: bool,
}

impl Ps {
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let client = context.client()?;
        let statuses: &[&str] = if self.all { &["RUNNING", "STOPPED"] } else { &["RUNNING"] };
        let mut arns = query::task_arns(&client, context.cluster(), statuses).await?;
        if !self.all {
            // Wanted STOPPED, but still there.
            let stopping = query::task_arns(&client, context.cluster(), &["STOPPED"]).await?;
            arns.extend(stopping);
        }
        let mut found = query::tasks(&client, context.cluster(), &arns).await?;
        found.retain(|task| self.all || task["lastStatus"] != "STOPPED");
        found.sort_by(|a, b| created_at(b).total_cmp(&created_at(a)));
        let all = json!({ "tasks": found });
        let tasks: Vec<Task> = query::part(&all, "tasks")?;
        if self.quiet && !context.output.is_json() {
            for task in &tasks {
                context.output.line(task.id())?;
            }
            return Ok(0);
        }
        let why_max = if self.no_trunc { usize::MAX } else { WHY_CHARS_MAX };
        let header =
            ["TASK", "DEFINITION", "STATUS", "NODE", "CPU", "MEMORY", "AGE", "EXIT", "WHY"];
        context.output.table(
            &all,
            &header,
            tasks.iter().map(|task| row(task, why_max)).collect(),
        )?;
        Ok(0)
    }
}

fn created_at(task: &Value) -> f64 {
    task["createdAt"].as_f64().unwrap_or_default()
}

/// As much of a reason as a table bears; `loadline why TASK` tells the rest.
const WHY_CHARS_MAX: usize = 60;

fn row(task: &Task, why_max: usize) -> Vec<String> {
    let going = ["PROVISIONING", "PENDING", "ACTIVATING", "RUNNING"];
    let status = if task.desired_status == "STOPPED" && going.contains(&&*task.last_status) {
        format!("{} (stopping)", task.last_status)
    } else {
        task.last_status.clone()
    };
    let node = task.container_instance_arn.as_deref().map(short);
    vec![
        task.id().to_owned(),
        short(&task.task_definition_arn).to_owned(),
        status,
        dash(node.map(|node| node.chars().take(8).collect::<String>())),
        dash(task.cpu.as_deref()),
        dash(task.memory.as_deref()),
        age(task.created_at),
        task.exit_codes(),
        clip(&task.why(), why_max),
    ]
}
