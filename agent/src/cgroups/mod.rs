//! The agent's side of the kernel's accounting: one parent group for all tasks, a group for each
//! task below it, and below that the containers' groups, which the runtime makes.
//!
//! ```text
//!  PARENT                 weight against the host, the line as a limit
//!  PARENT/TASK            quota and weight, memory limit, no swap
//!  PARENT/TASK/CONTAINER  made by the runtime from config.json
//! ```
//!
//! Invariants: what a group gets is decided in [`plan`]; making a task's group twice is no change;
//! removing what is not there is no error. All of it blocks for as long as the kernel takes.

pub mod plan;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use loadline_model::{Resources, TaskSpec};
use loadline_runtime::cgroup::{
    self, CgroupPath, Controller, Controllers, Current, Decision, Existing, Group, Layout,
    Location, OomWatch, Refusals, Stats, Version,
};

use crate::bundle::MemoryAccounting;

/// Most groups that are looked at below the parent: far more than tasks fit on a node.
pub const GROUPS_MAX: usize = 100_000;

/// Node, task, container: the groups of the first two have others in them.
const CONTAINER_DEPTH: usize = 2;

/// What the agent's groups can't do without.
const CONTROLLERS: [Controller; 2] = [Controller::Cpu, Controller::Memory];

/// Why the kernel's accounting could not be set up or read.
#[derive(Debug, thiserror::Error)]
pub enum CgroupsError {
    /// The kernel, or the way its hierarchies are mounted.
    #[error("{step} {group}")]
    Kernel {
        /// What was done.
        step: &'static str,
        /// To which group.
        group: String,
        /// What went wrong.
        source: Box<cgroup::Error>,
    },
    /// The host lacks what the agent cannot do without.
    #[error("this host can't hold what {group} needs")]
    Refused {
        /// The group.
        group: String,
        /// All that is missing.
        source: Refusals,
    },
    /// A folder that can't be listed.
    #[error("list the groups in {}", path.display())]
    List {
        /// The folder.
        path: PathBuf,
        /// The kernel's error.
        source: std::io::Error,
    },
}

/// What a group has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time, in nanoseconds.
    pub cpu_ns: u64,
    /// Memory in use, page cache included, in bytes.
    pub memory_bytes: u64,
    /// The most memory that was in use, in bytes; the current one where the kernel keeps no peak
    /// (v2 before Linux 5.19).
    pub memory_peak_bytes: u64,
    /// Processes that the OOM killer has ended, below included.
    pub oom_kills: u64,
    /// Processes and threads.
    pub pids: u64,
}

/// The groups of one agent.
#[derive(Debug)]
pub struct Cgroups {
    kernel: plan::Kernel,
    parent: CgroupPath,
    parent_name: String,
    registered: Resources,
    gives_swap: bool,
}

fn kernel(
    step: &'static str,
    group: impl Into<String>,
) -> impl FnOnce(cgroup::Error) -> CgroupsError {
    let group = group.into();
    move |source| CgroupsError::Kernel { step, group, source: Box::new(source) }
}

impl Cgroups {
    /// Makes the parent group, or takes the one that is there, and gives it what `registered` of
    /// `host` asks for. Tasks that run in it already stay unharmed, also where the line was
    /// lowered.
    ///
    /// # Errors
    /// [`CgroupsError`] where a controller is missing or the kernel refuses.
    pub fn open(
        parent_name: &str,
        registered: Resources,
        host: Resources,
        gives_swap: bool,
    ) -> Result<Self, CgroupsError> {
        let parent_name = parent_name.trim_matches('/').to_owned();
        let layout = Layout::probe().map_err(kernel("find the hierarchies for", &parent_name))?;
        let path = format!("/{parent_name}");
        let parent = CgroupPath::parse(Some(Path::new(&path)), &parent_name)
            .map_err(kernel("name the group", &parent_name))?;
        let kernel = plan::Kernel { counts_swap: counts_swap(&layout), layout };
        let cgroups = Self { kernel, parent, parent_name, registered, gives_swap };
        cgroups.set_up_parent(host)?;
        Ok(cgroups)
    }

    /// How this host accounts memory: for the containers' bundles.
    #[must_use]
    pub fn memory_accounting(&self) -> MemoryAccounting {
        match self.kernel.layout.version_of(Controller::Memory) {
            Some(Version::V2) => MemoryAccounting::V2,
            _ if self.kernel.counts_swap => MemoryAccounting::V1WithSwap,
            _ => MemoryAccounting::V1WithoutSwap,
        }
    }

    /// Makes the group of `task` and sets its limits, or sets them again where it is there.
    ///
    /// # Errors
    /// [`CgroupsError`]; a group that this call made is removed again.
    pub fn create_task(&self, task: &TaskSpec) -> Result<(), CgroupsError> {
        self.set_up(&[task.arn.id()], |current| {
            plan::task(task, self.registered, &self.kernel, current)
        })
    }

    /// Moves a process into a group below the task's that is no container's. Both are made where
    /// they are missing; what is in the group already is killed.
    ///
    /// # Errors
    /// [`CgroupsError`]; a group that this call made is removed again.
    pub fn attach_beside(
        &self,
        task_id: &str,
        name: &str,
        process: nix::unistd::Pid,
    ) -> Result<(), CgroupsError> {
        self.remove(&[task_id, name])?;
        let path = [task_id, name];
        let wanted = Controllers::NONE;
        let group = Group::create(&self.location(&path), wanted, Existing::Share)
            .map_err(kernel("make the group", self.name(&path)))?;
        group.attach(process).map_err(kernel("move a process into", self.name(&path)))?;
        group.release();
        Ok(())
    }

    /// What a task, or one of its containers, has used, with all that the kernel tells. `None`
    /// where there is no such group.
    ///
    /// # Errors
    /// [`CgroupsError`] where a file can't be read.
    pub fn stats(
        &self,
        task_id: &str,
        container: Option<&str>,
    ) -> Result<Option<Stats>, CgroupsError> {
        let path = path_of(task_id, container);
        let Some(group) = self.group(&path)? else { return Ok(None) };
        group.stats().map(Some).map_err(kernel("read the use of", self.name(&path)))
    }

    /// Kills what is left in the task's group and removes it, its containers' groups included.
    ///
    /// # Errors
    /// [`CgroupsError`] where something stays; calling again goes on.
    pub fn remove_task(&self, task_id: &str) -> Result<(), CgroupsError> {
        self.remove(&[task_id])
    }

    /// Kills what is left in one container's group and removes it.
    ///
    /// # Errors
    /// [`CgroupsError`] where something stays; calling again goes on.
    pub fn remove_container(&self, task_id: &str, container: &str) -> Result<(), CgroupsError> {
        self.remove(&[task_id, container])
    }

    /// What a task, or one of its containers, has used. `None` where there is no such group.
    ///
    /// # Errors
    /// [`CgroupsError`] where a file can't be read.
    pub fn usage(
        &self,
        task_id: &str,
        container: Option<&str>,
    ) -> Result<Option<Usage>, CgroupsError> {
        let Some(stats) = self.stats(task_id, container)? else { return Ok(None) };
        let memory_bytes = stats.memory.usage_bytes.unwrap_or(0);
        Ok(Some(Usage {
            cpu_ns: stats.cpu.usage_ns.unwrap_or(0),
            memory_bytes,
            memory_peak_bytes: stats.memory.usage_bytes_max.unwrap_or(memory_bytes),
            oom_kills: stats.memory.oom_kills,
            pids: stats.pids.current.unwrap_or(0),
        }))
    }

    /// How many processes of a task or container the OOM killer has ended, also where its main
    /// process lives on. `None` where there is no such group.
    ///
    /// # Errors
    /// [`CgroupsError`] where the count can't be read.
    pub fn oom_kills(
        &self,
        task_id: &str,
        container: Option<&str>,
    ) -> Result<Option<u64>, CgroupsError> {
        let path = path_of(task_id, container);
        let Some(group) = self.group(&path)? else { return Ok(None) };
        group.oom_kills().map(Some).map_err(kernel("count the OOM kills of", self.name(&path)))
    }

    /// Something to poll that says when to look at [`Self::oom_kills`]. `None` where there is no
    /// such group.
    ///
    /// # Errors
    /// [`CgroupsError`] where the kernel gives no notification.
    pub fn watch_oom(
        &self,
        task_id: &str,
        container: Option<&str>,
    ) -> Result<Option<OomWatch>, CgroupsError> {
        let path = path_of(task_id, container);
        let Some(group) = self.group(&path)? else { return Ok(None) };
        group.watch_oom().map(Some).map_err(kernel("watch for OOM kills in", self.name(&path)))
    }

    /// The processes in a task's or container's group and below. None where there is no group.
    ///
    /// # Errors
    /// [`CgroupsError`] where the list can't be read.
    pub fn processes(
        &self,
        task_id: &str,
        container: Option<&str>,
    ) -> Result<Vec<i32>, CgroupsError> {
        let path = path_of(task_id, container);
        let Some(group) = self.group(&path)? else { return Ok(Vec::new()) };
        let pids = group.all_processes();
        let pids = pids.map_err(kernel("list the processes of", self.name(&path)))?;
        Ok(pids.into_iter().map(nix::unistd::Pid::as_raw).collect())
    }

    /// The ids of all tasks that have a group here: at the agent's start, those that its ledger
    /// does not know are leftovers.
    ///
    /// # Errors
    /// [`CgroupsError`] where a hierarchy can't be listed.
    pub fn task_ids(&self) -> Result<BTreeSet<String>, CgroupsError> {
        let mut ids = BTreeSet::new();
        for place in &self.location(&[]).places {
            let path = place.path();
            let failed = |source| CgroupsError::List { path: path.clone(), source };
            let entries = match std::fs::read_dir(&path) {
                Ok(entries) => entries,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(error)),
            };
            for entry in entries.take(GROUPS_MAX) {
                let entry = entry.map_err(failed)?;
                if entry.file_type().map_err(failed)?.is_dir() {
                    ids.extend(entry.file_name().into_string());
                }
            }
        }
        Ok(ids)
    }

    /// Removes the parent group if no task has a group in it; says whether it did.
    ///
    /// # Errors
    /// [`CgroupsError`] where the kernel refuses.
    pub fn remove_parent_if_empty(&self) -> Result<bool, CgroupsError> {
        if !self.task_ids()?.is_empty() {
            return Ok(false);
        }
        cgroup::remove(&self.location(&[])).map_err(kernel("remove", &self.parent_name))?;
        Ok(true)
    }

    fn set_up_parent(&self, host: Resources) -> Result<(), CgroupsError> {
        let facts = plan::ParentFacts {
            registered: self.registered,
            host,
            task_quota_units_max: self.task_quota_units_max()?,
            gives_swap: self.gives_swap,
            used_bytes: self.used_bytes()?,
        };
        self.set_up(&[], |current| plan::parent(&facts, &self.kernel, current))
    }

    /// Makes a group, or takes the one that is there, and does what `decide` says for what it has.
    fn set_up(
        &self,
        path: &[&str],
        decide: impl FnOnce(&Current) -> Result<Decision, Refusals>,
    ) -> Result<(), CgroupsError> {
        let name = self.name(path);
        let group =
            Group::create(&self.location(path), CONTROLLERS.into_iter().collect(), Existing::Share)
                .map_err(kernel("make the group", &name))?;
        if path.len() < CONTAINER_DEPTH {
            group.hand_cpuset_on();
        }
        let current = group.current().map_err(kernel("read", &name))?;
        let decision = decide(&current)
            .map_err(|source| CgroupsError::Refused { group: name.clone(), source })?;
        group.apply(&decision).map_err(kernel("set the limits of", &name))?;
        group.release();
        Ok(())
    }

    fn task_quota_units_max(&self) -> Result<u64, CgroupsError> {
        let mut units_max = 0;
        for id in self.task_ids()? {
            let Some(group) = self.group(&[&id])? else { continue };
            let current = group.current().map_err(kernel("read", self.name(&[&id])))?;
            if let Some(quota_us) = current.cpu_quota_us {
                let period_us = current.cpu_period_us.unwrap_or(plan::CPU_PERIOD_US);
                units_max = units_max.max(plan::units_of_quota(quota_us, period_us));
            }
        }
        Ok(units_max)
    }

    fn used_bytes(&self) -> Result<u64, CgroupsError> {
        let Some(group) = self.group(&[])? else { return Ok(0) };
        let memory = group.memory_stats().map_err(kernel("read the use of", &self.parent_name))?;
        Ok(memory.usage_bytes.unwrap_or(0))
    }

    fn remove(&self, path: &[&str]) -> Result<(), CgroupsError> {
        let Some(group) = self.group(path)? else { return Ok(()) };
        let name = self.name(path);
        group.kill_all().map_err(kernel("kill what is left in", &name))?;
        group.remove().map_err(kernel("remove", name))
    }

    fn group(&self, path: &[&str]) -> Result<Option<Group>, CgroupsError> {
        Group::open(&self.location(path)).map_err(kernel("open", self.name(path)))
    }

    fn location(&self, path: &[&str]) -> Location {
        let below = path.iter().fold(self.parent.clone(), |parent, name| parent.join(name));
        self.kernel.layout.locate(&below)
    }

    fn name(&self, path: &[&str]) -> String {
        path.iter().fold(format!("/{}", self.parent_name), |name, part| format!("{name}/{part}"))
    }
}

/// Whether v1's memory controller limits memory and swap together (CONFIG_MEMCG_SWAP and, before
/// Linux 5.8, `swapaccount=1`).
fn counts_swap(layout: &Layout) -> bool {
    let memory = layout.hierarchies.iter().find(|h| h.controllers.contains(Controller::Memory));
    memory.is_some_and(|h| h.mount_point.join("memory.memsw.limit_in_bytes").exists())
}

fn path_of<'a>(task_id: &'a str, container: Option<&'a str>) -> Vec<&'a str> {
    [Some(task_id), container].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests;
