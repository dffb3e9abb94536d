//! `loadline-supervisor RUN_FOLDER`, or `… --front PARENT PROGRAM [ARGUMENT ...]`: see
//! `loadline_agent::supervisor`. Called `docker-init` it is a container's first process: see
//! `loadline_agent::supervisor::init`.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use loadline_agent::supervise::version::HANDOVER_VERSION;
use loadline_agent::supervisor::{self, init};

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    if init::is_init(Path::new(&words.next().unwrap_or_default())) {
        return init::init(words);
    }
    let arguments: Vec<OsString> = words.collect();
    match arguments.as_slice() {
        [holder] if holder == init::HOLDER => init::holder(),
        [hold] if hold == init::HOLD => match init::hold() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => refuse(&format!("make a pid namespace: {error}")),
        },
        [option] if option == "--handover" => tell_version(),
        [run_dir] => end(supervisor::run(Path::new(run_dir))),
        [run_dir, option] if option == supervisor::RESUME => {
            end(supervisor::resume(Path::new(run_dir)))
        }
        [option, parent, program, arguments @ ..] if option == "--front" => {
            let Some(parent) = parent.to_str().and_then(|text| text.parse().ok()) else {
                return refuse("--front: the first argument is the pid of the agent");
            };
            let error = supervisor::front(parent, program, arguments);
            refuse(&format!("run {}: {error}", PathBuf::from(program).display()))
        }
        _ => refuse("usage: loadline-supervisor RUN_FOLDER (started by loadline-agent)"),
    }
}

fn end(done: Result<(), supervisor::Error>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(&chain(&error)),
    }
}

/// Whose runs this program can go on with.
fn tell_version() -> ExitCode {
    match writeln!(std::io::stdout(), "{HANDOVER_VERSION}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
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
