//! `loadline run`

use std::ops::RangeInclusive;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{logs, wait};
use crate::api::Client;
use crate::failure::Failure;
use crate::options::Context;
use crate::query::{self, Task};
use crate::text::{self, cpu_units, memory_mib, pair, short};

/// Run a task: of an image, or of a task definition
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Run {
    /// The image; its task reserves --cpu and --memory and can't use more
    #[arg(required_unless_present = "task_def", conflicts_with = "task_def")]
    #[arg(value_parser = text::image)]
    image: Option<String>,
    /// The command and its arguments, in place of the image's
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,

    /// Run this task definition: FAMILY or FAMILY:REVISION
    #[arg(long, value_name = "NAME")]
    task_def: Option<String>,
    /// How many tasks
    #[arg(long, short = 'n', value_name = "N", default_value_t = 1)]
    #[arg(value_parser = text::task_count, allow_negative_numbers = true)]
    count: u32,
    /// Set an environment variable
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = pair)]
    env: Vec<Value>,
    /// Which container --env and COMMAND are for [default: the only one]
    #[arg(long, value_name = "NAME", requires = "task_def")]
    container: Option<String>,
    /// Let nobody run programs in it with `loadline exec`
    #[arg(long)]
    no_exec: bool,
    /// Free text to find the task by
    #[arg(long, value_name = "TEXT")]
    started_by: Option<String>,
    /// A repeated call with the same token starts nothing new
    #[arg(long, value_name = "TEXT")]
    client_token: Option<String>,

    #[command(flatten)]
    direct: Direct,

    /// Come back when the task has stopped, with its exit code
    #[arg(long, short)]
    wait: bool,
    /// Print what it writes until it stops, and end with its exit code
    #[arg(long, short)]
    follow: bool,
}

/// What a task definition says, where there is none.
#[derive(Debug, Args)]
#[command(next_help_heading = "With an image")]
struct Direct {
    /// CPU to reserve, and the most it can use: CPU units (1024 are one vCPU), or 0.25vcpu
    #[arg(long, value_name = "UNITS", default_value = "128", value_parser = cpu_units)]
    #[arg(conflicts_with = "task_def", allow_negative_numbers = true)]
    cpu: u64,
    /// Let it use idle CPU beyond --cpu
    #[arg(long, conflicts_with = "task_def")]
    burst: bool,
    /// Memory to reserve, and the most it can use: MiB, or 2g
    #[arg(long, value_name = "MIB", default_value = "128", value_parser = memory_mib)]
    #[arg(conflicts_with = "task_def", allow_negative_numbers = true)]
    memory: u64,
    /// Replace the image's entrypoint
    #[arg(long, value_name = "PROGRAM", conflicts_with = "task_def")]
    entrypoint: Option<String>,
    /// Run as this user: NAME, UID, NAME:GROUP or UID:GID
    #[arg(long, value_name = "USER", conflicts_with = "task_def")]
    user: Option<String>,
    /// Run in this directory
    #[arg(long, value_name = "DIR", conflicts_with = "task_def")]
    workdir: Option<String>,
    /// Mount the root filesystem read-only
    #[arg(long, conflicts_with = "task_def")]
    read_only: bool,
    /// How it meets the network [default: bridge with --publish, else none]
    #[arg(long, value_name = "MODE", conflicts_with = "task_def")]
    network: Option<Network>,
    /// Let a port of the node lead to one of the container's: HOST:CONTAINER, or CONTAINER for a
    /// port that the node chooses; /udp behind it for UDP; may be repeated
    #[arg(long, short, value_name = "HOST:CONTAINER", value_parser = text::published)]
    #[arg(conflicts_with = "task_def")]
    publish: Vec<Value>,
    /// Seconds from SIGTERM to SIGKILL when it is stopped
    #[arg(long, value_name = "SECONDS", conflicts_with = "task_def")]
    stop_timeout: Option<u32>,
}

/// What a task may reserve (ECS's own bounds); with --burst its CPU is its container's, which has
/// none.
const TASK_CPU_UNITS: RangeInclusive<u64> = 128..=196_608;
/// The least that a container runs in (ECS's own bound).
const MEMORY_MIB_MIN: u64 = 4;

impl Direct {
    fn check(&self) -> Result<(), Failure> {
        let (cpu, memory) = (self.cpu, self.memory);
        if !self.burst && !TASK_CPU_UNITS.contains(&cpu) {
            let (least, most) = TASK_CPU_UNITS.into_inner();
            let text = format!(
                "--cpu {cpu}: a task reserves {least} to {most} CPU units (1024 are one vCPU); \
                 with --burst fewer are allowed"
            );
            return Err(Failure::Usage(text));
        }
        if memory < MEMORY_MIB_MIN {
            let text = format!("--memory {memory}: a task needs {MEMORY_MIB_MIN} MiB or more");
            return Err(Failure::Usage(text));
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Network {
    /// Loopback of its own, nothing else.
    None,
    /// An address of its own behind the node's; others reach it by published ports.
    Bridge,
    /// An address of its own at which all of its ports are reached.
    Awsvpc,
    /// The node's network.
    Host,
}

const EXAMPLES: &str = "\
Examples:
  loadline run --follow busybox:latest -- echo hello
  loadline run --cpu 0.25vcpu --memory 64 --wait busybox:latest -- sh -c 'exit 3'; echo $?
  loadline run --publish 8080:80 nginx:latest     # curl http://localhost:8080/ on its node
  loadline run --task-def web:3 --count 2 --env MODE=test

An image is kept as a task definition run-IMAGE-HASH, one for each set of options:
`loadline task-def ls --all` shows them, `loadline task-def prune` deregisters those of no task.";

impl Run {
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        if (self.wait || self.follow) && self.count != 1 {
            let text = "--wait and --follow are for one task: leave --count out";
            return Err(Failure::Usage(text.to_owned()));
        }
        self.direct.check()?;
        let client = context.client()?;
        let request = self.request(context, &client).await?;
        let answer = client.ecs("RunTask", request).await;
        let answer = answer.map_err(|failure| no_node(failure, self.count, context.cluster()))?;
        let tasks: Vec<Task> = query::part(&answer, "tasks")?;
        self.report(context, &answer, &tasks)?;
        if usize::try_from(self.count).is_ok_and(|wanted| tasks.len() < wanted) {
            let why = failures(&answer);
            return Err(Failure::NotPlaced { wanted: self.count, placed: tasks.len(), why });
        }
        match tasks.first() {
            Some(task) if self.follow => follow(context, &client, task).await,
            Some(task) if self.wait => {
                let cluster = context.cluster();
                let ended = wait::until_stopped(&client, cluster, &task.task_arn).await?;
                if context.output.is_json() {
                    let arns = [task.task_arn.clone()];
                    let tasks = query::tasks(&client, cluster, &arns).await?;
                    context.output.json(&json!({ "tasks": tasks }))?;
                }
                Ok(finish(&ended))
            }
            _ => Ok(0),
        }
    }

    /// Which tasks there are now. `--follow` leaves standard output to the task, and `--wait` with
    /// JSON to the task as it is in the end.
    fn report(&self, context: &Context, answer: &Value, tasks: &[Task]) -> Result<(), Failure> {
        if self.follow {
            return Ok(());
        }
        if context.output.is_json() {
            let waits = self.wait && !tasks.is_empty();
            return if waits { Ok(()) } else { context.output.json(answer) };
        }
        tasks.iter().try_for_each(|task| context.output.line(task.id()))
    }

    async fn request(&self, context: &Context, client: &Client) -> Result<Value, Failure> {
        let definition = match (&self.task_def, &self.image) {
            (Some(name), _) => name.clone(),
            (None, Some(image)) => self.define(client, image).await?,
            (None, None) => return Err(Failure::Usage("an image, or --task-def".to_owned())),
        };
        let mut request = json!({
            "cluster": context.cluster(), "taskDefinition": definition, "count": self.count,
            "enableExecuteCommand": !self.no_exec,
        });
        if let Some(text) = &self.started_by {
            request["startedBy"] = json!(text);
        }
        if let Some(token) = &self.client_token {
            request["clientToken"] = json!(token);
        }
        let overridden = !self.command.is_empty() || !self.env.is_empty();
        if self.task_def.is_some() && overridden {
            let name = self.container_to_override(client, &definition).await?;
            let mut over = json!({ "name": name });
            if !self.command.is_empty() {
                over["command"] = json!(self.command);
            }
            if !self.env.is_empty() {
                over["environment"] = json!(self.env);
            }
            request["overrides"] = json!({"containerOverrides": [over]});
        }
        Ok(request)
    }

    async fn container_to_override(
        &self,
        client: &Client,
        definition: &str,
    ) -> Result<String, Failure> {
        if let Some(name) = &self.container {
            return Ok(name.clone());
        }
        let request = json!({"taskDefinition": definition});
        let answer = client.ecs("DescribeTaskDefinition", request).await?;
        let all: Vec<Value> = query::part(&answer["taskDefinition"], "containerDefinitions")?;
        match all.as_slice() {
            [only] => Ok(only["name"].as_str().unwrap_or_default().to_owned()),
            _ => {
                let text = "the task definition has several containers: name one with --container";
                Err(Failure::Usage(text.to_owned()))
            }
        }
    }

    /// The definition that stands for these options; registered the first time.
    async fn define(&self, client: &Client, image: &str) -> Result<String, Failure> {
        let definition = self.definition(image);
        let family = definition["family"].as_str().unwrap_or_default().to_owned();
        let request = json!({ "taskDefinition": family });
        match client.ecs("DescribeTaskDefinition", request).await {
            Ok(found) if found["taskDefinition"]["status"] == "ACTIVE" => return Ok(family),
            Ok(_) | Err(Failure::Refused { .. }) => {}
            Err(failure) => return Err(failure),
        }
        client.ecs("RegisterTaskDefinition", definition).await?;
        Ok(family)
    }

    fn definition(&self, image: &str) -> Value {
        let direct = &self.direct;
        let name = plain_name(image);
        let mut container = json!({
            "name": name, "image": image, "essential": true, "memory": direct.memory,
        });
        let mut set = |key: &str, value: Value| container[key] = value;
        if !self.command.is_empty() {
            set("command", json!(self.command));
        }
        if !self.env.is_empty() {
            set("environment", json!(self.env));
        }
        if let Some(program) = &direct.entrypoint {
            set("entryPoint", json!([program]));
        }
        if let Some(user) = &direct.user {
            set("user", json!(user));
        }
        if let Some(folder) = &direct.workdir {
            set("workingDirectory", json!(folder));
        }
        if direct.read_only {
            set("readonlyRootFilesystem", json!(true));
        }
        if let Some(seconds) = direct.stop_timeout {
            set("stopTimeout", json!(seconds));
        }
        if direct.burst {
            set("cpu", json!(direct.cpu));
        }
        if !direct.publish.is_empty() {
            set("portMappings", json!(direct.publish));
        }
        let network = match direct.network {
            None if !direct.publish.is_empty() => "bridge",
            None | Some(Network::None) => "none",
            Some(Network::Bridge) => "bridge",
            Some(Network::Awsvpc) => "awsvpc",
            Some(Network::Host) => "host",
        };
        let mut definition = json!({
            "networkMode": network,
            "memory": direct.memory.to_string(),
            "containerDefinitions": [container],
        });
        if !direct.burst {
            definition["cpu"] = json!(direct.cpu.to_string());
        }
        let hash = hex::encode(Sha256::digest(definition.to_string().as_bytes()));
        definition["family"] = json!(format!("run-{name}-{}", &hash[..8]));
        definition
    }
}

/// Longest part of an image's name that goes into a family's name, in characters.
const NAME_CHARS_MAX: usize = 64;

/// `registry/a/web-server:1.2` is `web-server`.
fn plain_name(image: &str) -> String {
    let name = image.split('@').next().unwrap_or(image);
    let name = name.rsplit('/').next().unwrap_or(name);
    let name = name.split(':').next().unwrap_or(name);
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let name: String = name.chars().take(NAME_CHARS_MAX).map(plain).collect();
    if name.is_empty() { "task".to_owned() } else { name }
}

/// AWS's refusal of a cluster without nodes is one more reason why a task is not placed.
fn no_node(failure: Failure, wanted: u32, cluster: &str) -> Failure {
    match failure {
        Failure::Refused { message, .. } if message.starts_with("No Container Instances") => {
            let why = format!("cluster {cluster} has no nodes");
            Failure::NotPlaced { wanted, placed: 0, why }
        }
        other => other,
    }
}

/// Why tasks were not placed, each reason once.
fn failures(answer: &Value) -> String {
    let all = answer["failures"].as_array().map_or(&[][..], Vec::as_slice);
    let mut texts: Vec<String> = Vec::new();
    for failure in all {
        let reason = failure["reason"].as_str().unwrap_or("no reason");
        let detail = failure["detail"].as_str().map(|text| format!(": {text}"));
        let node = failure["arn"].as_str().map(|arn| format!(" (node {})", short(arn)));
        let text = format!("{reason}{}{}", detail.unwrap_or_default(), node.unwrap_or_default());
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    if texts.is_empty() { "no reason given".to_owned() } else { texts.join("; ") }
}

/// Prints what the task writes until it stops.
async fn follow(context: &Context, client: &Client, task: &Task) -> Result<u8, Failure> {
    let cluster = context.cluster();
    let id = task.id();
    eprintln!("task {id}; Ctrl-C ends the watching, not the task: `loadline stop {id}` does that");
    let mut readers = logs::readers(context, client, &task.task_arn, None).await?;
    match logs::print_all(client, &mut readers, true, None).await {
        // One that never began has its reason told below.
        Ok(()) | Err(Failure::NothingWritten(_)) => {}
        Err(refused @ Failure::Refused { .. }) => {
            if !query::task(client, cluster, &task.task_arn).await?.is_stopped() {
                return Err(refused);
            }
        }
        Err(failure) => return Err(failure),
    }
    let ended = wait::until_stopped(client, cluster, &task.task_arn).await?;
    Ok(finish(&ended))
}

/// Says why a task ended, where it did not end well.
fn finish(task: &Task) -> u8 {
    let code = wait::exit_code(task);
    if code != 0 {
        eprintln!("task {} ended: {}", task.id(), task.why());
    }
    code
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        run: Run,
    }

    fn parse(line: &str) -> Result<Run, clap::Error> {
        let words = std::iter::once("run").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.run)
    }

    #[test]
    fn an_image_becomes_a_definition_that_reserves_what_was_asked() {
        let run = parse("--cpu 0.25vcpu --memory 64 -e A=b r.io/x/busybox:1 -- echo hi").unwrap();
        let definition = run.definition(run.image.as_deref().unwrap());
        assert_eq!((&definition["cpu"], &definition["memory"]), (&json!("256"), &json!("64")));
        assert_eq!(
            definition["containerDefinitions"][0],
            json!({
                "name": "busybox", "image": "r.io/x/busybox:1", "essential": true, "memory": 64,
                "command": ["echo", "hi"], "environment": [{"name": "A", "value": "b"}],
            })
        );
        let family = definition["family"].as_str().unwrap();
        assert!(family.starts_with("run-busybox-"), "{family}");
        assert_eq!(run.definition("r.io/x/busybox:1")["family"], family, "the same again");
        assert_ne!(run.definition("busybox:2")["family"], family);
    }

    #[test]
    fn a_published_port_asks_for_a_bridge_unless_told_otherwise() {
        let check = |line: &str, mode: &str, ports: Value| {
            let definition = parse(line).unwrap().definition("x");
            assert_eq!(definition["networkMode"], mode, "{line}");
            assert_eq!(definition["containerDefinitions"][0]["portMappings"], ports, "{line}");
        };
        check("x", "none", Value::Null);
        check("--network awsvpc x", "awsvpc", Value::Null);
        let port = |host: u16, container: u16, protocol: &str| {
            let ports = (host, container);
            json!({ "hostPort": ports.0, "containerPort": ports.1, "protocol": protocol })
        };
        check("-p 8080:80 x", "bridge", json!([port(8080, 80, "tcp")]));
        check("-p 53/udp -p 1:2 x", "bridge", json!([port(0, 53, "udp"), port(1, 2, "tcp")]));
        check("--network host -p 80:80 x", "host", json!([port(80, 80, "tcp")]));
        for line in ["-p 0:80 x", "-p 80:0 x", "-p a x", "-p 1:2:3 x", "-p 80/sctp x"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn burst_reserves_cpu_without_a_ceiling() {
        let definition = parse("--cpu 256 --burst x").unwrap().definition("x");
        assert_eq!(definition["containerDefinitions"][0]["cpu"], 256);
        assert!(definition.get("cpu").is_none());
    }

    #[test]
    fn an_image_and_a_definition_exclude_each_other() {
        assert!(parse("").is_err());
        assert!(parse("--task-def web image").is_err());
        assert!(parse("--task-def web --cpu 5").is_err());
        assert!(parse("--task-def web -e A=b -- ls").is_ok());
        assert!(parse("--count 11 x").is_err() && parse("--count 0 x").is_err());
    }

    #[test]
    fn any_reference_gives_a_plain_name() {
        let check = |image: &str, expected: &str| assert_eq!(plain_name(image), expected);
        check("busybox", "busybox");
        check("host:5000/a/web.server:1.2", "web_server");
        check("a@sha256:00", "a");
        check(":", "task");
    }

    #[test]
    fn each_reason_is_told_once_with_its_node() {
        let answer = json!({"failures": [
            {"arn": "arn:x/default/ab", "reason": "RESOURCE:CPU", "detail": "9 left"},
            {"arn": "arn:x/default/ab", "reason": "RESOURCE:CPU", "detail": "9 left"},
            {"reason": "AGENT"},
        ]});
        assert_eq!(failures(&answer), "RESOURCE:CPU: 9 left (node ab); AGENT");
    }
}
