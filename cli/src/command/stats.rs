//! `loadline stats`

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::Client;
use crate::failure::Failure;
use crate::options::Context;
use crate::output::{dash, render};
use crate::query;
use crate::text::short;

/// Most pages of an answer that are read.
const PAGES_MAX: usize = 1_000;
/// How often the table is drawn anew: nodes measure about every ten seconds.
const REFRESH: Duration = Duration::from_secs(2);
/// Back to the upper left corner; then, behind the table, clear what an older one left.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// Show what containers use: CPU, memory, network, block I/O
///
/// On a terminal the table is drawn anew every two seconds, until Ctrl-C.
#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// Ids of tasks, or their beginnings [default: all that run]
    #[arg(value_name = "TASK")]
    tasks: Vec<String>,
    /// Print once and end
    #[arg(long)]
    no_stream: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Task {
    task_arn: String,
    cpu_units_reserved: u64,
    containers: Vec<Container>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    name: String,
    cpu_units: Option<u64>,
    memory_working_set_bytes: u64,
    memory_limit_bytes: Option<u64>,
    processes: u64,
    network: Option<Network>,
    block_read_bytes: u64,
    block_write_bytes: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Network {
    rx_bytes: u64,
    tx_bytes: u64,
}

impl Stats {
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let client = context.client()?;
        let mut arns = Vec::new();
        for name in &self.tasks {
            arns.push(query::find_task(&client, context.cluster(), name).await?);
        }
        let once = self.no_stream || context.output.is_json() || !std::io::stdout().is_terminal();
        if once {
            let usage = read(&client, context.cluster(), &arns).await?;
            let tasks: Vec<Task> = query::part(&usage, "tasks")?;
            context.output.table(&usage, &HEADER, rows(&tasks))?;
            return Ok(0);
        }
        loop {
            let usage = read(&client, context.cluster(), &arns).await?;
            let tasks: Vec<Task> = query::part(&usage, "tasks")?;
            draw(&render(&HEADER, rows(&tasks))).map_err(Failure::Output)?;
            tokio::time::sleep(REFRESH).await;
        }
    }
}

const HEADER: [&str; 8] =
    ["TASK", "CONTAINER", "CPU UNITS", "MEMORY", "LIMIT", "NET I/O", "BLOCK I/O", "PIDS"];

/// Everything that was measured lately.
async fn read(client: &Client, cluster: &str, arns: &[String]) -> Result<Value, Failure> {
    let mut all: Vec<Value> = Vec::new();
    let mut token = Value::Null;
    for _ in 0..PAGES_MAX {
        let request = json!({ "cluster": cluster, "tasks": arns, "nextToken": token });
        let answer = client.own("ReadTaskUsage", request).await?;
        all.extend(answer["tasks"].as_array().cloned().unwrap_or_default());
        token = answer["nextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    Ok(json!({ "tasks": all }))
}

fn rows(tasks: &[Task]) -> Vec<Vec<String>> {
    let both = |one: u64, other: u64| format!("{} / {}", bytes(one), bytes(other));
    let mut rows = Vec::new();
    for task in tasks {
        for container in &task.containers {
            let cpu = match (container.cpu_units, task.cpu_units_reserved) {
                (Some(used), 0) => used.to_string(),
                (Some(used), reserved) => format!("{used} of {reserved}"),
                (None, _) => "-".to_owned(),
            };
            rows.push(vec![
                short(&task.task_arn).to_owned(),
                container.name.clone(),
                cpu,
                bytes(container.memory_working_set_bytes),
                dash(container.memory_limit_bytes.map(bytes)),
                dash(container.network.as_ref().map(|own| both(own.rx_bytes, own.tx_bytes))),
                both(container.block_read_bytes, container.block_write_bytes),
                container.processes.to_string(),
            ]);
        }
    }
    rows
}

/// In the largest unit that leaves a number of at least one.
fn bytes(count: u64) -> String {
    const UNITS: [(&str, f64); 3] =
        [("GiB", 1_073_741_824.0), ("MiB", 1_048_576.0), ("KiB", 1_024.0)];
    let number = count as f64;
    match UNITS.iter().find(|(_, size)| *size <= number) {
        Some((unit, size)) => format!("{:.1} {unit}", number / size),
        None => format!("{count} B"),
    }
}

/// Over what was drawn before, without flicker.
fn draw(table: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let lines: String = table.lines().map(|line| format!("{line}{CLEAR_LINE}\n")).collect();
    write!(out, "{HOME}{lines}{CLEAR_BELOW}")?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_told_in_the_largest_unit_that_fits() {
        let check = |count: u64, expected: &str| assert_eq!(bytes(count), expected);
        check(0, "0 B");
        check(1023, "1023 B");
        check(1536, "1.5 KiB");
        check(64 << 20, "64.0 MiB");
        check(5 << 30, "5.0 GiB");
    }

    #[test]
    fn a_container_is_a_row_and_what_it_has_not_is_a_dash() {
        let answer = json!({ "tasks": [{
            "taskArn": "arn:aws:ecs:r:1:task/default/ab", "cpuUnitsReserved": 256,
            "containers": [{
                "name": "web", "cpuUnits": 64, "memoryWorkingSetBytes": 1024, "processes": 2,
                "memoryLimitBytes": null, "network": { "rxBytes": 1, "txBytes": 2048 },
                "blockReadBytes": 0, "blockWriteBytes": 0,
            }],
        }]});
        let tasks: Vec<Task> = query::part(&answer, "tasks").unwrap();
        let row = ["ab", "web", "64 of 256", "1.0 KiB", "-", "1 B / 2.0 KiB", "0 B / 0 B", "2"];
        assert_eq!(rows(&tasks), [row.map(str::to_owned)]);
    }
}
