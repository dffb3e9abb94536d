//! `loadline-leaky-runtime`: a container runtime that makes the mistakes of the past on purpose, so
//! that the escape suite can be seen to find them: it follows links, trusts what the image has in
//! /dev and /proc, leaks descriptors, keeps the caller's groups and capabilities. It is a test of
//! tests, runs only their bundles, and must never run anything else.

#![forbid(unsafe_code)]

mod inside;
mod outside;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};
use serde_json::Value;

/// Set once the process has an inheritable capability, which real callers may have too.
const PREPARED: &str = "LEAKY_RUNTIME_PREPARED";

/// A call: the verb, its options with values, the words that follow.
#[derive(Debug, Default)]
struct Call {
    root: PathBuf,
    verb: String,
    options: Vec<(String, String)>,
    words: Vec<String>,
}

impl Call {
    fn parse(arguments: impl Iterator<Item = String>) -> Self {
        let mut call = Self::default();
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let flag = ["--force", "--version"].contains(&argument.as_str());
            if call.words.is_empty() && argument.starts_with("--") && !flag {
                let value = arguments.next().unwrap_or_default();
                match argument.as_str() {
                    "--root" => call.root = value.into(),
                    _ => call.options.push((argument, value)),
                }
            } else if call.verb.is_empty() {
                call.verb = argument;
            } else if !call.words.is_empty() || !flag {
                call.words.push(argument);
            }
        }
        call
    }

    fn option(&self, name: &str) -> Option<&str> {
        let found = self.options.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    fn id(&self) -> anyhow::Result<&str> {
        self.words.first().map(String::as_str).context("no id is given")
    }

    /// The file with the container's pid and bundle.
    fn record(&self) -> anyhow::Result<PathBuf> {
        Ok(self.root.join(self.id()?))
    }

    fn read_record(&self) -> anyhow::Result<Value> {
        let text = std::fs::read(self.record()?).context("no such container")?;
        serde_json::from_slice(&text).context("read the record")
    }
}

fn main() -> ExitCode {
    let call = Call::parse(std::env::args().skip(1));
    if std::env::var_os(PREPARED).is_none() && ["run", "create", "exec"].contains(&&*call.verb) {
        return prepared();
    }
    match run(&call) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("loadline-leaky-runtime: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs itself again with inheritable capabilities.
fn prepared() -> ExitCode {
    use std::os::unix::process::CommandExt as _;
    let own = std::env::current_exe().unwrap_or_default();
    let mut command = Command::new("setpriv");
    command.args(["--inh-caps", "+chown,+net_raw"]).arg(own).args(std::env::args().skip(1));
    let error = command.env(PREPARED, "1").exec();
    eprintln!("loadline-leaky-runtime: setpriv: {error}");
    ExitCode::FAILURE
}

fn run(call: &Call) -> anyhow::Result<u8> {
    match call.verb.as_str() {
        "run" | "create" => outside::create(call),
        "init" => inside::init(call),
        "start" => outside::start(call),
        "state" => outside::state(call),
        "kill" => outside::kill(call),
        "delete" => outside::delete(call),
        "exec" => inside::exec(call),
        "--version" => {
            println!("loadline-leaky-runtime version 0");
            Ok(0)
        }
        verb => bail!("no verb {verb:?}"),
    }
}
