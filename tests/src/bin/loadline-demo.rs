//! `loadline-demo`: what `cargo xtask demo` starts. Exit 0 only if everything that is claimed was
//! seen.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    match loadline_tests::demo::run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("loadline-demo: {error:#}");
            ExitCode::from(2)
        }
    }
}
