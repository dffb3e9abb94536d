//! Options that every command takes, and what they resolve to.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::api::credentials::Sources;
use crate::api::{Client, Credentials, Endpoint};
use crate::failure::Failure;
use crate::output::Output;

/// Where a controller of this machine listens unless told otherwise.
pub(crate) const ENDPOINT_DEFAULT: &str = "http://127.0.0.1:7070";

/// Options of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// The controller's API [default: AWS_ENDPOINT_URL_ECS, or http://127.0.0.1:7070]
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "LOADLINE_ENDPOINT",
        hide_env_values = true
    )]
    pub(crate) endpoint: Option<Endpoint>,

    /// The access key to sign with, an AWS credentials file [default: AWS_ACCESS_KEY_ID and
    /// AWS_SECRET_ACCESS_KEY, or AWS_SHARED_CREDENTIALS_FILE, or DIR/credentials]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "LOADLINE_CREDENTIALS",
        hide_env_values = true
    )]
    pub(crate) credentials_file: Option<PathBuf>,

    /// The controller's region [default: AWS_REGION, AWS_DEFAULT_REGION, or us-east-1]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) region: Option<String>,

    /// The cluster
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "LOADLINE_CLUSTER",
        hide_env_values = true
    )]
    #[arg(default_value = "default")]
    pub(crate) cluster: String,

    /// What to print: a table, or the API's own answer
    #[arg(long, short, global = true, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: Format,

    /// This machine's state folder
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "LOADLINE_STATE_DIR",
        hide_env_values = true
    )]
    #[arg(default_value = "/var/lib/loadline")]
    pub(crate) state_dir: PathBuf,

    /// This machine's agent [default: DIR/agent/agent.sock]
    #[arg(
        long,
        global = true,
        value_name = "SOCKET",
        env = "LOADLINE_AGENT_SOCKET",
        hide_env_values = true
    )]
    pub(crate) agent_socket: Option<PathBuf>,
}

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
        Context { global: self.clone(), output: Output::new(self.output) }
    }

    fn agent_socket(&self) -> PathBuf {
        let beside = || self.state_dir.join("agent").join("agent.sock");
        self.agent_socket.clone().unwrap_or_else(beside)
    }

    /// The controller's endpoint.
    fn endpoint(&self) -> Result<Endpoint, Failure> {
        if let Some(endpoint) = &self.endpoint {
            return Ok(endpoint.clone());
        }
        let from_env = variable("AWS_ENDPOINT_URL_ECS").or_else(|| variable("AWS_ENDPOINT_URL"));
        let text = from_env.unwrap_or_else(|| ENDPOINT_DEFAULT.to_owned());
        text.parse().map_err(|e| Failure::Usage(format!("endpoint {text:?}: {e}")))
    }

    pub(crate) fn region(&self) -> String {
        let named = self.region.clone();
        let from_env = || variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
        named.or_else(from_env).unwrap_or_else(|| "us-east-1".to_owned())
    }

    fn credentials(&self) -> Result<Credentials, Failure> {
        let key = variable("AWS_ACCESS_KEY_ID").zip(variable("AWS_SECRET_ACCESS_KEY"));
        let environment = key.map(|(key_id, secret)| {
            let session_token = variable("AWS_SESSION_TOKEN");
            Credentials { key_id, secret, session_token }
        });
        let sources = Sources {
            named: self.credentials_file.clone(),
            environment,
            shared: variable("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from),
            profile: variable("AWS_PROFILE"),
            local: self.state_dir.join("credentials"),
        };
        sources.find()
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// What a command works with.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) global: Global,
    pub(crate) output: Output,
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
        &self.global.cluster
    }
}
