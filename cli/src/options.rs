//! Options that every command takes, and what they resolve to.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::api::credentials::Sources;
use crate::api::{Client, Credentials, Endpoint};
use crate::failure::Failure;
use crate::output::Output;

/// Where a controller of this machine listens unless told otherwise.
pub(crate) const ENDPOINT_DEFAULT: &str = "http://127.0.0.1:7070";

/// Options of every command. Those with a variable are read from it here and not by clap, which
/// would print them in every usage line while their variable is set.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// The controller's API [default: LOADLINE_ENDPOINT, AWS_ENDPOINT_URL_ECS,
    /// AWS_ENDPOINT_URL, or http://127.0.0.1:7070]
    #[arg(long, global = true, value_name = "URL")]
    endpoint: Option<Endpoint>,

    /// The access key to sign with, an AWS credentials file [default: DIR/credentials of
    /// --state-dir, or LOADLINE_CREDENTIALS, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or
    /// AWS_SHARED_CREDENTIALS_FILE, or /var/lib/loadline/credentials]. AWS_PROFILE names the
    /// profile in it
    #[arg(long, global = true, value_name = "FILE")]
    credentials_file: Option<PathBuf>,

    /// The controller's region [default: AWS_REGION, AWS_DEFAULT_REGION, or us-east-1]
    #[arg(long, global = true, value_name = "NAME")]
    region: Option<String>,

    /// The cluster [default: LOADLINE_CLUSTER, or default]
    #[arg(long, global = true, value_name = "NAME")]
    cluster: Option<String>,

    /// What to print: a table, or the API's own answer
    #[arg(long, short, global = true, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: Format,

    /// This machine's state folder [default: LOADLINE_STATE_DIR, or /var/lib/loadline]
    #[arg(long, global = true, value_name = "DIR")]
    state_dir: Option<PathBuf>,

    /// This machine's agent [default: LOADLINE_AGENT_SOCKET, or DIR/agent/agent.sock]
    #[arg(long, global = true, value_name = "SOCKET")]
    agent_socket: Option<PathBuf>,
}

/// Where state is kept unless told otherwise.
pub(crate) const STATE_DIR_DEFAULT: &str = "/var/lib/loadline";

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

impl Global {
    /// What a command works with. No connection is made, and no key read, before a command needs
    /// one.
    pub(crate) fn context(&self) -> Context {
        let cluster = self.cluster.clone().or_else(|| variable("LOADLINE_CLUSTER"));
        let cluster = cluster.unwrap_or_else(|| "default".to_owned());
        Context { global: self.clone(), output: Output::new(self.output), cluster }
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        path(&self.state_dir, "LOADLINE_STATE_DIR").unwrap_or_else(|| STATE_DIR_DEFAULT.into())
    }

    /// The file that was named, if one was.
    pub(crate) fn credentials_file(&self) -> Option<PathBuf> {
        path(&self.credentials_file, "LOADLINE_CREDENTIALS")
    }

    fn agent_socket(&self) -> PathBuf {
        let beside = || self.state_dir().join("agent").join("agent.sock");
        path(&self.agent_socket, "LOADLINE_AGENT_SOCKET").unwrap_or_else(beside)
    }

    /// The controller's endpoint.
    fn endpoint(&self) -> Result<Endpoint, Failure> {
        if let Some(endpoint) = &self.endpoint {
            return Ok(endpoint.clone());
        }
        let names = ["LOADLINE_ENDPOINT", "AWS_ENDPOINT_URL_ECS", "AWS_ENDPOINT_URL"];
        let from_env = names.into_iter().find_map(variable);
        let text = from_env.unwrap_or_else(|| ENDPOINT_DEFAULT.to_owned());
        text.parse().map_err(|e| Failure::Usage(format!("endpoint {text:?}: {e}")))
    }

    pub(crate) fn region(&self) -> String {
        let named = self.region.clone();
        let from_env = || variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
        named.or_else(from_env).unwrap_or_else(|| "us-east-1".to_owned())
    }

    fn credentials(&self) -> Result<Credentials, Failure> {
        const ID: &str = "AWS_ACCESS_KEY_ID";
        const SECRET: &str = "AWS_SECRET_ACCESS_KEY";
        let named = self.credentials_file.clone();
        let beside = self.state_dir.as_ref().map(|folder| folder.join("credentials"));
        let own_variable = variable("LOADLINE_CREDENTIALS").map(PathBuf::from);
        let is_file_given = named.is_some()
            || own_variable.is_some()
            || beside.as_ref().is_some_and(|path| path.exists());
        let environment = match (variable(ID), variable(SECRET)) {
            (Some(key_id), Some(secret)) => {
                let session_token = variable("AWS_SESSION_TOKEN");
                let origin = format!("{key_id} (of {ID})");
                Some(Credentials { key_id, secret, session_token, origin })
            }
            (None, None) => None,
            // The other half would be taken from elsewhere, or the key be another one than meant.
            _ if is_file_given => None,
            (Some(_), None) => return Err(half(ID, SECRET)),
            (None, Some(_)) => return Err(half(SECRET, ID)),
        };
        let sources = Sources {
            named,
            beside,
            own_variable,
            environment,
            shared: variable("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from),
            profile: variable("AWS_PROFILE"),
            local: self.state_dir().join("credentials"),
        };
        sources.find()
    }
}

fn half(set: &str, missing: &str) -> Failure {
    Failure::NoCredentials(format!("{set} is set, but {missing} is not: set both, or neither"))
}

fn path(option: &Option<PathBuf>, name: &str) -> Option<PathBuf> {
    option.clone().or_else(|| variable(name).map(PathBuf::from))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// What a command works with.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) global: Global,
    pub(crate) output: Output,
    cluster: String,
}

impl Context {
    /// The controller.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Ok(Client {
            endpoint: self.global.endpoint()?,
            region: self.global.region(),
            credentials: self.global.credentials()?,
        })
    }

    /// This machine's agent.
    pub(crate) fn agent_socket(&self) -> PathBuf {
        self.global.agent_socket()
    }

    /// The cluster's name.
    pub(crate) fn cluster(&self) -> &str {
        &self.cluster
    }
}
