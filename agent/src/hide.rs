//! Takes a join token out of the process's command line and environment, where `/proc` shows it to
//! others for as long as the process lives: the program replaces itself by itself, with the token
//! on standard input. The pid stays, and what it starts later inherits no token.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::options::{Command as Wanted, Options};

const OPTION: &str = "--join-token";
const VARIABLE: &str = "LOADLINE_JOIN_TOKEN";

/// Returns at once where no token is in sight, and otherwise only where it can't be hidden.
///
/// # Errors
/// The kernel's.
pub fn token(options: &Options) -> io::Result<()> {
    let token = match &options.command {
        Wanted::Run(run) => &run.join_token,
        Wanted::Hollow(hollow) => &hollow.join_token,
        Wanted::HollowPlot(_) => return Ok(()),
    };
    let Some(token) = token else { return Ok(()) };
    let (reader, mut writer) = io::pipe()?;
    // Far less than a pipe holds (pipe(7): 64 KiB), so that nobody has to read yet.
    let most = token.len().min(TOKEN_BYTES_MAX);
    writer.write_all(&token.as_bytes()[..most])?;
    drop(writer);
    let arguments = without_token(std::env::args_os().skip(1));
    Err(Command::new("/proc/self/exe")
        .arg0(std::env::args_os().next().unwrap_or_else(|| "loadline-agent".into()))
        .args(arguments)
        .args(["--join-token-file", "-"])
        .env_remove(VARIABLE)
        .stdin(reader)
        .exec())
}

/// A longer text is no token, and is refused as such with its beginning.
const TOKEN_BYTES_MAX: usize = 4_096;

fn without_token(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let with_value = [OPTION.as_bytes(), b"="].concat();
    let mut kept = Vec::new();
    let mut arguments = arguments.peekable();
    while let Some(argument) = arguments.next() {
        if argument == OsStr::new(OPTION) {
            arguments.next();
        } else if !argument.as_bytes().starts_with(&with_value) {
            kept.push(argument);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(given: &[&str], kept: &[&str]) {
        let given = given.iter().map(OsString::from);
        assert_eq!(without_token(given), kept.iter().map(OsString::from).collect::<Vec<_>>());
    }

    #[test]
    fn only_the_token_leaves_the_command_line() {
        check(&["run", "--join-token", "t", "--state-dir", "d"], &["run", "--state-dir", "d"]);
        check(&["run", "--join-token=t", "--attribute", "a=b"], &["run", "--attribute", "a=b"]);
        check(&["run", "--join-token-file", "f"], &["run", "--join-token-file", "f"]);
        check(&["run", "--join-token"], &["run"]);
    }
}
