//! What a person can type, one file a command.

mod backup;
mod cluster;
mod events;
mod exec;
mod image;
mod inspect;
mod key;
mod logs;
mod meta;
mod nodes;
mod ps;
mod run;
mod service;
mod stats;
mod stop;
mod task_def;
mod token;
mod up;
mod wait;
mod why;

use clap::{Parser, Subcommand};

use crate::failure::Failure;
use crate::options::Global;

/// Runs containers on machines of your own, and never loads a machine past its line.
#[derive(Debug, Parser)]
#[command(name = "loadline", version, after_long_help = EXAMPLES)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Line {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  A whole cluster on this machine, in the foreground:
    sudo loadline up

  In another terminal:
    sudo loadline image import busybox.tar --name busybox:latest
    sudo loadline run --cpu 256 --memory 64 --follow busybox:latest -- echo hello
    sudo loadline ps --all

  A second machine joins:
    loadline token create                            # where the controller is
    sudo loadline-agent run --controller HOST:7071 --join-token-file -   # on the new machine

Exit codes:
  0    done
  1    refused, or it went wrong
  2    the command line is wrong, or there is no access key
  3    the controller or the agent can't be reached
  4    a task was not placed: no node has room, or none may take it
  130  interrupted
  `run --wait` and `run --follow` end with the exit code of the task, or 125 if it has none;
  `exec` with that of the program, or 126.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Up(up::Up),
    Run(run::Run),
    Ps(ps::Ps),
    Logs(logs::Logs),
    Stats(stats::Stats),
    Exec(exec::Exec),
    Stop(stop::Stop),
    Why(why::Why),
    Events(events::Events),
    Inspect(inspect::Inspect),
    #[command(subcommand)]
    Image(image::Image),
    Nodes(nodes::Nodes),
    #[command(subcommand)]
    Token(token::Token),
    #[command(subcommand)]
    Key(key::Key),
    #[command(subcommand, name = "task-def")]
    TaskDef(task_def::TaskDef),
    #[command(subcommand)]
    Service(service::Service),
    #[command(subcommand)]
    Cluster(cluster::Cluster),
    Backup(backup::Backup),
    Completions(meta::Completions),
    Man(meta::Man),
}

impl Line {
    /// Does what was typed; the exit code where it was done.
    pub(crate) async fn run(self) -> Result<u8, Failure> {
        let context = self.global.context();
        match self.command {
            Command::Up(up) => Box::pin(up.run(&context)).await,
            Command::Run(run) => Box::pin(run.run(&context)).await,
            Command::Ps(ps) => ps.run(&context).await,
            Command::Logs(logs) => logs.run(&context).await,
            Command::Stats(stats) => stats.run(&context).await,
            Command::Exec(exec) => Box::pin(exec.run(&context)).await,
            Command::Stop(stop) => stop.run(&context).await,
            Command::Why(why) => why.run(&context).await,
            Command::Events(events) => events.run(&context).await,
            Command::Inspect(inspect) => inspect.run(&context).await,
            Command::Image(image) => image.run(&context).await,
            Command::Nodes(nodes) => nodes.run(&context).await,
            Command::Token(token) => token.run(&context).await,
            Command::Key(key) => key.run(&context).await,
            Command::TaskDef(task_def) => task_def.run(&context).await,
            Command::Service(service) => service.run(&context).await,
            Command::Cluster(cluster) => cluster.run(&context).await,
            Command::Backup(backup) => backup.run(&context).await,
            Command::Completions(completions) => completions.run(),
            Command::Man(man) => man.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Line::command().debug_assert();
    }
}
