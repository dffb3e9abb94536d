//! `loadline-supervisor RUN_FOLDER`: see `loadline_agent::supervisor`.

#![forbid(unsafe_code)]

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(run_dir), None) = (arguments.next(), arguments.next()) else {
        return refuse("usage: loadline-supervisor RUN_FOLDER (started by loadline-agent)");
    };
    match loadline_agent::supervisor::run(&PathBuf::from(run_dir)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(&chain(&error)),
    }
}

/// Nobody may be left to read it, and that is no reason to panic.
fn refuse(message: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "loadline-supervisor: {message}");
    ExitCode::FAILURE
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
