//! A runtime under test, and how it has to be started on this machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use loadline_fixtures::Bundle;
use loadline_fixtures::bundle::PROBE;

use crate::{kernel, program, stop};

/// A runtime under test.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// Its file name, as it is shown.
    pub name: String,
    path: PathBuf,
    /// Whether the v2 hierarchy beside v1 has to be hidden: crun refuses such machines.
    hides_unified: bool,
    /// Whether `run` hangs where the process ends at once: youki 0.7 misses that.
    misses_quick_ends: bool,
    /// Whether systemd makes its cgroups.
    pub(super) by_systemd: bool,
}

impl Runtime {
    /// `name` is a path, or a program in PATH; none is the runtime of this build
    /// ([`program::runtime`]).
    ///
    /// # Errors
    /// Where there is no such program.
    pub fn new(name: Option<&str>) -> anyhow::Result<Self> {
        let path = program::runtime(name)?;
        let name = path.file_name().context("a runtime is a file")?;
        let name = name.to_string_lossy().into_owned();
        let hybrid = Path::new(kernel::CGROUPS).join("unified").is_dir();
        let hides_unified = hybrid && name.contains("crun");
        let misses_quick_ends = name.contains("youki");
        Ok(Self { name, path, hides_unified, misses_quick_ends, by_systemd: false })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same runtime, whose cgroups systemd makes.
    #[must_use]
    pub fn by_systemd(self) -> Self {
        Self { by_systemd: true, ..self }
    }

    /// Makes the probe of a bundle wait a little first, where the runtime needs that.
    pub(super) fn prepare(&self, bundle: &Bundle) -> anyhow::Result<()> {
        let words = bundle.config["process"]["args"].as_array().cloned().unwrap_or_default();
        let is_probe = words.first().is_some_and(|word| word == PROBE);
        if !self.misses_quick_ends || !is_probe {
            return Ok(());
        }
        let mut config = bundle.config.clone();
        let wait = [PROBE, "sleep", "0.3", "--"].map(serde_json::Value::from);
        config["process"]["args"] = wait.into_iter().chain(words.into_iter().skip(1)).collect();
        std::fs::write(bundle.path.join("config.json"), config.to_string())
            .context("write config.json")
    }

    /// Its name and version, as it tells them first.
    #[must_use]
    pub fn version(&self) -> String {
        let told = Command::new(&self.path).arg("--version").output();
        let told = told.map(|told| String::from_utf8_lossy(&told.stdout).into_owned());
        let told = told.unwrap_or_default();
        let first = told.lines().next().unwrap_or_default().replace(" version", "");
        if first.is_empty() { self.name.clone() } else { first }
    }

    /// The program itself.
    pub(super) fn bytes(&self) -> anyhow::Result<Vec<u8>> {
        std::fs::read(&self.path).with_context(|| format!("read {}", self.path.display()))
    }

    /// A call of it, without arguments.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = self.plain_command();
        command.args(self.by_systemd.then_some("--systemd-cgroup"));
        command
    }

    fn plain_command(&self) -> Command {
        let mut command = self.visible_command();
        stop::keep_from(&mut command);
        command
    }

    fn visible_command(&self) -> Command {
        if !self.hides_unified {
            return program::command(&self.path);
        }
        let script = "umount /sys/fs/cgroup/unified && exec \"$@\"";
        let mut command = program::command(Path::new("unshare"));
        command
            .args(["--mount", "--propagation", "slave", "sh", "-c", script, "sh"])
            .arg(&self.path);
        command
    }
}
