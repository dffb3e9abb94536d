//! What is told besides results: errors, warnings and, with `--debug`, each step; in the file of
//! `--log` that shims read, and on standard error.
//!
//! Invariants: an error is told once. Nothing is told by the container's own process.

use std::fs::File;
use std::io::Write as _;
use std::sync::OnceLock;
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

/// From now on [`debug`] tells, where the command line asks for that.
pub(crate) fn begin(global: &Global) {
    if global.debug {
        // Once for each process; a second command line in it has no say.
        let _ = DEBUG.set(global.clone());
    }
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
    if let Some(path) = &global.log {
        let log = File::options().append(true).create(true).open(path);
        let written = log.and_then(|mut log| writeln!(log, "{line}"));
        if let Err(error) = written {
            eprintln!("loadline-runtime: write log {}: {error}", path.display());
        }
    }
    match (level, global.log_format, &global.log) {
        (Level::Debug, _, Some(_)) => {}
        (Level::Debug, _, None) | (_, LogFormat::Json, None) => eprintln!("{line}"),
        (Level::Warning, ..) => eprintln!("loadline-runtime: warning: {message}"),
        (Level::Error, ..) => eprintln!("loadline-runtime: {message}"),
    }
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
