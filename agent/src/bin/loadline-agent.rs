//! `loadline-agent`: see `loadline_agent`.

#![forbid(unsafe_code)]

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;
use loadline_agent::hide;
use loadline_agent::options::{Command, Options};
use loadline_agent::priority::{self, Standing};
use loadline_runtime::sys::malloc;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    // One that refuses costs some memory and nothing else.
    let _ = malloc::share_one_heap();
    let options = Options::parse();
    if let Err(error) = hide::token(&options) {
        eprintln!("loadline-agent: take the join token out of sight: {error}");
        return ExitCode::FAILURE;
    }
    let filter = EnvFilter::try_from_env("LOADLINE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("loadline-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> anyhow::Result<()> {
    let standing = match options.command {
        Command::Run(_) => Standing::Raised,
        Command::Hollow(_) | Command::HollowPlot(_) => Standing::Usual,
    };
    let runtime = priority::runtime(standing)?;
    let ended = match options.command {
        Command::Run(run) => runtime.block_on(loadline_agent::daemon::run(*run)),
        Command::HollowPlot(plot) => loadline_agent::hollow::plot::run(&plot),
        Command::Hollow(hollow) => runtime.block_on(loadline_agent::hollow::run(*hollow)),
    };
    // Threads that block on a hung disk must not keep the agent from ending.
    runtime.shutdown_background();
    ended
}
