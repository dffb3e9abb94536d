//! Why a command failed, what to do about it, and the exit code that says so to scripts.

use std::io;
use std::path::{Path, PathBuf};

/// A command that did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Nobody answers at the controller's address.
    #[error("can't reach the controller at {endpoint}")]
    NoController { endpoint: String, source: io::Error },
    /// Nobody answers at the agent's socket.
    #[error("can't reach this machine's agent at {socket}")]
    NoAgent { socket: PathBuf, source: io::Error },
    /// It answered, but not in HTTP, or not in time.
    #[error("{peer} gave no proper answer: {what}")]
    NoAnswer { peer: String, what: String },
    /// The controller refused; code and message are its own. `key` says with which access key it
    /// was asked.
    #[error("{operation}: {message} ({code})")]
    Refused { operation: String, code: String, message: String, key: String },
    /// A program in a container that could not be run, or whose end nobody knows.
    #[error("{why}")]
    NotRun { why: String, exit_code: u8 },
    /// A task that wrote nothing, because it never began.
    #[error("{0}")]
    NothingWritten(String),
    /// The agent refused.
    #[error("the agent refused: {0}")]
    AgentRefused(String),
    /// Not all tasks were placed.
    #[error("{wanted} wanted, {placed} placed: {why}")]
    NotPlaced { wanted: u32, placed: usize, why: String },
    /// No, or more than one, thing of that name.
    #[error("{0}")]
    NotFound(String),
    /// Nodes that stay, each with why.
    #[error("not removed: {}", .0.join("; "))]
    NotRemoved(Vec<String>),
    /// A service that will not have all its tasks.
    #[error("{0}")]
    NotSteady(String),
    /// No access key.
    #[error("no access key: {0}")]
    NoCredentials(String),
    /// The command line can't be carried out.
    #[error("{0}")]
    Usage(String),
    /// A file or a program.
    #[error("can't {step} {object}")]
    Io { step: &'static str, object: String, source: io::Error },
    /// A program that we started ended, or did not become ready.
    #[error("{0}")]
    Child(String),
    /// Standard output is closed or full.
    #[error("can't write the output")]
    Output(#[source] io::Error),
    /// Somebody pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

/// Exit codes; 2, for a wrong command line, is clap's.
pub(crate) mod exit {
    /// Refused, or it went wrong.
    pub(crate) const FAILED: u8 = 1;
    /// The command line is wrong.
    pub(crate) const USAGE: u8 = 2;
    /// The controller or the agent can't be reached, or gives no proper answer.
    pub(crate) const UNREACHABLE: u8 = 3;
    /// No node has room for the task, or none may take it.
    pub(crate) const NOT_PLACED: u8 = 4;
    /// `run`: the task ended without an exit code of its own.
    pub(crate) const TASK_FAILED: u8 = 125;
    /// As a shell does for SIGINT.
    pub(crate) const INTERRUPTED: u8 = 130;
}

impl Failure {
    /// A step on a file that failed.
    pub(crate) fn io(step: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { step, object: path.display().to_string(), source }
    }

    /// Whether the controller may only be away for a while.
    pub(crate) fn is_away(&self) -> bool {
        matches!(self, Self::NoController { .. } | Self::NoAnswer { .. })
    }

    /// What `main` ends with.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::NoController { .. } | Self::NoAgent { .. } | Self::NoAnswer { .. } => {
                exit::UNREACHABLE
            }
            Self::NotRun { exit_code, .. } => *exit_code,
            Self::NotPlaced { .. } => exit::NOT_PLACED,
            Self::Usage(_) | Self::NoCredentials(_) => exit::USAGE,
            Self::Interrupted => exit::INTERRUPTED,
            Self::Output(e) if e.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Refused { .. }
            | Self::AgentRefused(_)
            | Self::NotFound(_)
            | Self::NothingWritten(_)
            | Self::NotSteady(_)
            | Self::NotRemoved(_)
            | Self::Io { .. }
            | Self::Child(_)
            | Self::Output(_) => exit::FAILED,
        }
    }

    /// What a person can do now.
    pub(crate) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoController { .. } => {
                "start a cluster on this machine with `loadline up`, or name the controller with \
                 --endpoint http://HOST:PORT"
            }
            Self::NoAgent { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "the agent's socket is for root: run it with sudo"
            }
            Self::NoAgent { .. } => {
                "images are imported on the node that runs them: start its agent with \
                 `loadline up` or `loadline-agent run`, or name its socket with --agent-socket"
            }
            Self::NoAnswer { what, .. } if what.contains("HTTP version") => {
                "is it the API's port? That is 7070 unless --api-listen says otherwise; 7071 is \
                 for agents"
            }
            Self::Refused { code, message, key, .. } => return refusal_hint(code, message, key),
            Self::NotPlaced { why, .. } => return placement_hint(why),
            Self::NotRemoved(_) => {
                "--force gives up the tasks that they have, which may still run there"
            }
            Self::NotSteady(_) => "see what happened with `loadline service events NAME`",
            Self::NoCredentials(why) if why.contains("is set, but") => return None,
            Self::NoCredentials(why) if why.contains("no key in the profile") => {
                "name one of the file's profiles with AWS_PROFILE"
            }
            Self::NoCredentials(why) if why.contains("ermission denied") => {
                "the file is for root: run it with sudo, or name another key with \
                 --credentials-file"
            }
            Self::NoCredentials(_) => {
                "the controller makes a key at its first start: start a cluster on this machine \
                 with `sudo loadline up`; or name a controller's file with --credentials-file, or \
                 set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

fn refusal_hint(code: &str, message: &str, key: &str) -> Option<String> {
    let hint = match code {
        _ if message.starts_with("Credential should be scoped to a valid region") => {
            "sign for the controller's region: name it with --region, or set AWS_REGION"
        }
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignatureException"
        | "MissingAuthenticationTokenException" => {
            return Some(format!(
                "the access key is not this controller's: it is {key}; name another one with \
                 --credentials-file"
            ));
        }
        "AccessDeniedException" => {
            "the key's user needs a policy that allows it: the account's own key, or a user who \
             may, gives it one (`aws iam put-user-policy`)"
        }
        "ClusterNotFoundException" => "see `loadline cluster ls`",
        _ => return None,
    };
    Some(hint.to_owned())
}

fn placement_hint(why: &str) -> Option<String> {
    let hint = if why.contains("RESOURCE:") {
        "see what is left with `loadline nodes`; stop tasks, ask for less, or add a node"
    } else if why.contains("has no nodes") {
        "start one here with `loadline up`, or let one join: see `loadline token create --help`"
    } else if why.contains("DRAINING") {
        "let the node take tasks again with `loadline nodes activate NODE`, or add another one"
    } else if why.contains("AGENT") {
        "the node's agent is not connected: see `loadline nodes`"
    } else {
        return None;
    };
    Some(hint.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_leaves_is_no_failure() {
        let closed = Failure::Output(io::ErrorKind::BrokenPipe.into());
        assert_eq!(closed.exit_code(), 0);
        let full = Failure::Output(io::ErrorKind::StorageFull.into());
        assert_eq!(full.exit_code(), 1);
    }

    #[test]
    fn a_right_that_is_missing_is_not_taken_for_a_wrong_key() {
        let refused = |code: &str| Failure::Refused {
            operation: "StopTask".to_owned(),
            code: code.to_owned(),
            message: "no".to_owned(),
            key: "[default] in /k (by AWS_SHARED_CREDENTIALS_FILE)".to_owned(),
        };
        let hint = |code| refused(code).hint().unwrap();
        assert!(hint("AccessDeniedException").contains("needs a policy"));
        let wrong = hint("UnrecognizedClientException");
        let told = "not this controller's: it is [default] in /k (by AWS_SHARED_CREDENTIALS_FILE)";
        assert!(wrong.contains(told), "{wrong}");
    }

    #[test]
    fn a_port_that_does_not_speak_http_is_told_from_the_apis() {
        let what = "invalid HTTP version parsed".to_owned();
        let peer = "the controller at http://127.0.0.1:7071".to_owned();
        let hint = Failure::NoAnswer { peer, what }.hint();
        assert!(hint.is_some_and(|hint| hint.contains("7070")));
    }

    #[test]
    fn a_task_that_is_not_placed_says_what_to_do() {
        let why = "RESOURCE:MEMORY (node 0af1)".to_owned();
        let failure = Failure::NotPlaced { wanted: 3, placed: 1, why };
        assert_eq!(failure.exit_code(), 4);
        assert_eq!(failure.to_string(), "3 wanted, 1 placed: RESOURCE:MEMORY (node 0af1)");
        assert!(failure.hint().is_some_and(|hint| hint.contains("loadline nodes")));
    }
}
