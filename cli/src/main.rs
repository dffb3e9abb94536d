//! `loadline`: what a person types. It speaks to the controller's API like any client of ECS, to
//! this machine's agent for images, and can start both (`loadline up`).
//!
//! Modules in reading order: `command` (what can be typed), `options`, `api` (the controller),
//! `agent` (images), `query` (questions that several commands ask), `output`, `text`, `failure`.

#![forbid(unsafe_code)]

mod agent;
mod api;
mod command;
mod exchange;
mod failure;
mod habit;
mod options;
mod output;
mod query;
mod text;

use std::error::Error as _;
use std::process::ExitCode;

use clap::Parser as _;

use crate::command::{Command, Line};
use crate::failure::Failure;

fn main() -> ExitCode {
    let line = match Line::try_parse() {
        Ok(line) => line,
        Err(error) => {
            // Help and version are no errors, and go to standard output.
            let _ = error.print();
            if let Some(hint) = habit::hint(error.kind(), std::env::args().skip(1)) {
                eprintln!("hint: {hint}");
            }
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(interruptible(line)),
        Err(source) => {
            Err(Failure::Io { step: "start", object: "the async runtime".to_owned(), source })
        }
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            tell(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Ctrl-C ends a command; what it started goes on, as it does at the end of any other. `up` has
/// its own order of ending.
async fn interruptible(line: Line) -> Result<u8, Failure> {
    if matches!(line.command, Command::Up(_)) {
        return line.run().await;
    }
    tokio::select! {
        done = line.run() => done,
        _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
    }
}

/// Prints a failure once, with its causes and what to do.
fn tell(failure: &Failure) {
    if failure.exit_code() == 0 {
        return;
    }
    let mut text = format!("error: {failure}");
    let mut cause = failure.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    eprintln!("{text}");
    if let Some(hint) = failure.hint() {
        eprintln!("hint: {hint}");
    }
}
