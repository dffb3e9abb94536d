//! A runtime under test, and how it has to be started on this machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::{kernel, program};

/// A runtime under test.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// Its file name, as it is shown.
    pub name: String,
    path: PathBuf,
    /// Whether the v2 hierarchy beside v1 has to be hidden: crun refuses such machines.
    hides_unified: bool,
}

impl Runtime {
    /// `name` is a path, or a program of this build or in PATH.
    ///
    /// # Errors
    /// Where there is no such program.
    pub fn new(name: &str) -> anyhow::Result<Self> {
        let path = program::find(name)?;
        let name = path.file_name().context("a runtime is a file")?;
        let name = name.to_string_lossy().into_owned();
        let hybrid = Path::new(kernel::CGROUPS).join("unified").is_dir();
        let hides_unified = hybrid && name.contains("crun");
        Ok(Self { name, path, hides_unified })
    }

    /// The program itself.
    pub(super) fn bytes(&self) -> anyhow::Result<Vec<u8>> {
        std::fs::read(&self.path).with_context(|| format!("read {}", self.path.display()))
    }

    /// A call of it, without arguments.
    #[must_use]
    pub fn command(&self) -> Command {
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
