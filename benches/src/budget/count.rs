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
    /// And where they are.
    Addresses,
}

impl Counter {
    /// Runs a command to its end and counts what it and all that it starts do.
    pub(crate) fn count(&self, what: What, command: &[OsString]) -> anyhow::Result<u64> {
        let said = self.run(what, command)?;
        let last = said.lines().last().unwrap_or_default();
        last.parse().with_context(|| format!("count: expected a number, not {last:?}"))
    }

    /// Where the instructions are, in the order of their first use.
    pub(crate) fn addresses(&self, command: &[OsString]) -> anyhow::Result<Vec<u64>> {
        let said = self.run(What::Addresses, command)?;
        let mut lines: Vec<&str> = said.lines().collect();
        lines.pop();
        let address = |line: &str| u64::from_str_radix(line, 16);
        lines.into_iter().map(|line| address(line).context("count: expected an address")).collect()
    }

    fn run(&self, what: What, command: &[OsString]) -> anyhow::Result<String> {
        let what = match what {
            What::Calls => "calls",
            What::Instructions => "instructions",
            What::Addresses => "addresses",
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
        Ok(said.into_owned())
    }
}
