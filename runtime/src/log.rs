//! What is told besides results: errors, warnings and, with `--debug`, each step; in the file of
//! `--log` that shims read, and, errors always and the rest without such a file, on standard error.
//!
//! Invariants: an error is told once. Nothing is told by the container's own process.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use crate::container::rfc3339;
use crate::verb::{Global, LogFormat};

/// How grave a message is, in the log's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Debug,
    Error,
    Warning,
}

/// Where steps are told, where they are.
static DEBUG: OnceLock<Global> = OnceLock::new();

/// Whether it was told that the log cannot be written.
static IS_LOST: AtomicBool = AtomicBool::new(false);

/// Opens the log, so that a mistake in its name is told before anything is done. From now on
/// [`debug`] tells, where the command line asks for that.
///
/// # Errors
/// That the log cannot be opened.
pub(crate) fn begin(global: &Global) -> io::Result<()> {
    if let Some(path) = &global.log {
        open(path)?;
    }
    if global.debug {
        // Once for each process; a second command line in it has no say.
        let _ = DEBUG.set(global.clone());
    }
    Ok(())
}

fn open(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).open(path)
}

/// Tells a step. As in runc, not on standard error where there is a log: engines take what stands
/// there for an error.
pub(crate) fn debug(message: impl FnOnce() -> String) {
    if let Some(global) = DEBUG.get() {
        tell(global, Level::Debug, &message());
    }
}

/// Tells `message` where `global` says.
pub(crate) fn tell(global: &Global, level: Level, message: &str) {
    let line = line(global.log_format, level, message);
    let mut is_logged = false;
    if let Some(path) = &global.log {
        let written = open(path).and_then(|mut log| writeln!(log, "{line}"));
        is_logged = written.is_ok();
        if let Err(error) = written
            && !IS_LOST.swap(true, Ordering::Relaxed)
        {
            say(&format!("loadline-runtime: write log {}: {error}", path.display()));
        }
    }
    match (level, global.log_format, &global.log) {
        (Level::Debug, _, Some(_)) => {}
        // As with runc: engines hand on what stands there as the container's own words.
        (Level::Warning, ..) if is_logged => {}
        (Level::Debug, _, None) | (_, LogFormat::Json, None) => say(&line),
        (Level::Warning, ..) => say(&format!("loadline-runtime: warning: {message}")),
        (Level::Error, ..) => say(&format!("loadline-runtime: {message}")),
    }
}

/// On standard error. Where nobody reads that any more, there is nobody to tell so; what is under
/// way goes on.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// A command line as it may be told: without what stands after an equals sign, for the values of
/// variables are nobody's business.
pub(crate) fn told(words: &[String]) -> String {
    let name = |word: &String| word.split_inclusive('=').next().unwrap_or_default().to_owned();
    words.iter().map(name).collect::<Vec<String>>().join(" ")
}

fn line(format: LogFormat, level: Level, message: &str) -> String {
    let time = rfc3339(SystemTime::now());
    let level = match level {
        Level::Debug => "debug",
        Level::Error => "error",
        Level::Warning => "warning",
    };
    match format {
        LogFormat::Json => {
            serde_json::json!({ "level": level, "msg": message, "time": time }).to_string()
        }
        LogFormat::Text => format!("time=\"{time}\" level={level} msg={message:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_variables_are_not_told() {
        let words =
            ["exec", "--env", "KEY=secret", "--env=KEY=secret", "-eKEY=secret", "web", "ls"];
        let words: Vec<String> = words.map(str::to_owned).to_vec();
        assert_eq!(told(&words), "exec --env KEY= --env= -eKEY= web ls");
    }

    #[test]
    fn a_line_has_level_and_message_in_both_formats() {
        let text = line(LogFormat::Text, Level::Debug, "step \"1\"");
        assert!(
            text.starts_with("time=\"") && text.ends_with("level=debug msg=\"step \\\"1\\\"\"")
        );
        let json: serde_json::Value =
            serde_json::from_str(&line(LogFormat::Json, Level::Warning, "x\ny")).unwrap();
        assert_eq!((&json["level"], &json["msg"]), (&"warning".into(), &"x\ny".into()));
    }
}
