//! The cgroups of tasks, as the rest of this module needs them.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use loadline_model::{TaskArn, TaskSpec};

use crate::supervise::OomSettings;

const ROOT: &str = "/sys/fs/cgroup";
const KILL_S_MAX: u64 = 10;

/// Below one parent, in every hierarchy.
#[derive(Clone, Debug)]
pub struct Groups {
    parent: String,
}

/// A cgroup that can't be handled.
#[derive(Debug, thiserror::Error)]
#[error("{step} cgroup {}", path.display())]
pub struct GroupsError {
    step: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl Groups {
    /// Below `parent`.
    #[must_use]
    pub fn new(parent: &str) -> Self {
        Self { parent: parent.trim_matches('/').to_owned() }
    }

    fn hierarchies(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(ROOT).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.path())
            .filter(|path| path.join("cgroup.procs").exists())
            .collect()
    }

    /// Makes the task's cgroup.
    ///
    /// # Errors
    /// [`GroupsError`].
    pub fn create(&self, _spec: &TaskSpec) -> Result<(), GroupsError> {
        Ok(())
    }

    /// Where OOM kills of a container are counted.
    #[must_use]
    pub fn oom(&self, arn: &TaskArn, container: &str) -> Option<OomSettings> {
        let dir = Path::new(ROOT).join("memory").join(&self.parent).join(arn.id()).join(container);
        Some(OomSettings {
            counter_file: dir.join("memory.oom_control"),
            event_control_file: Some(dir.join("cgroup.event_control")),
        })
    }

    /// Kills a container's processes.
    ///
    /// # Errors
    /// [`GroupsError`].
    pub fn kill(&self, arn: &TaskArn, container: &str) -> Result<(), GroupsError> {
        for root in self.hierarchies() {
            kill(&root.join(&self.parent).join(arn.id()).join(container))?;
        }
        Ok(())
    }

    /// Removes a task's cgroups.
    ///
    /// # Errors
    /// [`GroupsError`].
    pub fn remove(&self, arn: &TaskArn) -> Result<(), GroupsError> {
        self.destroy(arn.id())
    }

    /// Kills and removes all below a task's cgroup.
    ///
    /// # Errors
    /// [`GroupsError`].
    pub fn destroy(&self, task_id: &str) -> Result<(), GroupsError> {
        for root in self.hierarchies() {
            let task = root.join(&self.parent).join(task_id);
            for entry in std::fs::read_dir(&task).into_iter().flatten().flatten() {
                if entry.path().is_dir() {
                    kill(&entry.path())?;
                    remove(&entry.path())?;
                }
            }
            remove(&task)?;
        }
        Ok(())
    }

    /// The ids of tasks that have cgroups.
    #[must_use]
    pub fn tasks(&self) -> Vec<String> {
        let mut names = Vec::new();
        for root in self.hierarchies() {
            for entry in std::fs::read_dir(root.join(&self.parent)).into_iter().flatten().flatten()
            {
                if entry.path().is_dir() {
                    names.extend(entry.file_name().into_string().ok());
                }
            }
        }
        names
    }
}

fn remove(path: &Path) -> Result<(), GroupsError> {
    match std::fs::remove_dir(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(GroupsError { step: "remove", path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

fn kill(path: &Path) -> Result<(), GroupsError> {
    let until = Instant::now() + Duration::from_secs(KILL_S_MAX);
    loop {
        let text = std::fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
        let pids: Vec<i32> = text.lines().filter_map(|line| line.parse().ok()).collect();
        if pids.is_empty() {
            return Ok(());
        }
        if until < Instant::now() {
            let source = io::ErrorKind::TimedOut.into();
            return Err(GroupsError { step: "empty", path: path.to_owned(), source });
        }
        for pid in pids {
            let pid = nix::unistd::Pid::from_raw(pid);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
