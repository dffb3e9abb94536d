//! A folder, and controllers started on it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub(crate) struct World {
    folder: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }
}

/// Killed where a test leaves it.
pub(crate) struct Controller {
    child: Child,
}

impl Controller {
    /// On ports of its own unless `options` say otherwise: the last word counts.
    pub(crate) fn start(world: &World, options: &[&str]) -> Self {
        let state = world.state();
        let mut command = Command::new(env!("CARGO_BIN_EXE_loadline-controller"));
        command.env("LOADLINE_LOG", "error").env_remove("LOADLINE_STATE_DIR");
        let mut set = |name: &str, value: &Path| {
            if !options.contains(&name) {
                command.arg(name).arg(value);
            }
        };
        set("--state-dir", &state);
        set("--api-listen", Path::new("127.0.0.1:0"));
        set("--agent-listen", Path::new("127.0.0.1:0"));
        command.args(options).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { child: command.spawn().unwrap() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its line; the API's and the agents' addresses.
    pub(crate) fn ready(&mut self) -> (SocketAddr, SocketAddr) {
        let mut line = String::new();
        BufReader::new(self.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line.is_empty() {
            panic!("it ended: {}", self.said());
        }
        let mut words = line.split_whitespace();
        assert_eq!(words.next(), Some("ready"), "{line}");
        let mut address = |name: &str| {
            words.next().and_then(|word| word.strip_prefix(name)).unwrap().parse().unwrap()
        };
        (address("api="), address("agents="))
    }

    /// Waits until it ends by itself; its exit code and what it said.
    pub(crate) fn ended(mut self) -> (Option<i32>, String) {
        let said = self.said();
        (self.child.wait().unwrap().code(), said)
    }

    pub(crate) fn end(mut self, signal: Signal) -> (Option<i32>, String) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
        let said = self.said();
        (self.child.wait().unwrap().code(), said)
    }

    fn said(&mut self) -> String {
        let mut said = String::new();
        self.child.stderr.as_mut().unwrap().read_to_string(&mut said).unwrap();
        said
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
