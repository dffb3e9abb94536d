//! `loadline-runtime`: a drop-in for runc's command line.
//!
//! argv becomes a verb, the verb becomes an exit code, and an error is printed once: as a chain on
//! standard error, and as a line of the log that shims read.

use std::process::ExitCode;

use loadline_runtime::cli;

fn main() -> ExitCode {
    let words: Option<Vec<String>> =
        std::env::args_os().skip(1).map(|word| word.into_string().ok()).collect();
    cli::run(words)
}
