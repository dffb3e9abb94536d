//! The counting program's face.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// The program of benches/c/count.c.
#[derive(Debug)]
pub(crate) struct Counter {
    pub(crate) program: PathBuf,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Calls,
    Instructions,
}

impl Counter {
    /// Runs a command to its end and counts what it and all that it starts do.
    pub(crate) fn count(&self, what: What, command: &[OsString]) -> anyhow::Result<u64> {
        let what = match what {
            What::Calls => "calls",
            What::Instructions => "instructions",
        };
        let output = Command::new(&self.program)
            .arg(what)
            .args(command)
            .env_clear()
            .envs([("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), ("LANG", "C")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .output()
            .with_context(|| format!("start {}", self.program.display()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            bail!("{command:?}: {} {}", output.status, said.trim());
        }
        let last = said.lines().last().unwrap_or_default();
        last.parse().with_context(|| format!("count: expected a number, not {last:?}"))
    }
}
