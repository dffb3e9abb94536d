//! Everything below a container that has to be made before it and removed after it. Blocking.
//!
//! ```text
//!  tasks/TASK_ID/CONTAINER/box/      bundle, root filesystem (removed with the task)
//!                          run.N/    what the agent and the supervisor of run N share (removed)
//!                          log/      its output (kept with the ledger's record)
//! ```
//!
//! Invariants: making twice is as good as making once, so that a crash in between needs no thought;
//! removing what is not there is no error. Errors are in ECS's words, ready to be a reason.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use loadline_model::{ContainerName, ContainerSpec, HealthCheck, Right, TaskArn, TaskSpec};
use loadline_runtime::cgroup::Stats;

use super::calls;
use super::groups::Groups;
use super::health;
use super::init::Init;
use super::logging;
use super::probe::Probe;
use super::record::Task;
use super::{execed, shared, signal};
use crate::bundle::{self, Surroundings};
use crate::exec::ExecPlace;
use crate::image::registry::{PullBehaviour, Puller};
use crate::image::{Digest, Image};
use crate::metadata::{self, Directory};
use crate::network::plan::Attachment;
use crate::network::{self, Network};
use crate::rootfs;
use crate::supervise::settings::FORMAT_VERSION;
use crate::supervise::{SETTINGS_FILE, Settings, State, disk};
use crate::text::{chain, chain_of_images};
use crate::usage::meter::or_none;

/// What a workshop is set up with.
#[derive(Clone, Debug)]
pub struct Tools {
    /// The folder of all tasks.
    pub tasks_dir: PathBuf,
    /// Where the node's shared volumes are.
    pub shared_volumes: PathBuf,
    /// What tasks may not ask for here.
    pub refused: BTreeSet<Right>,
    /// Whether tasks that ask for swap get it.
    pub gives_swap: bool,
    /// Why no task gets a network of its own here, if none does.
    pub without_networks: Option<&'static str>,
    /// The program that supervises containers, and holds what they share.
    pub supervisor: PathBuf,
    /// The OCI runtime's program.
    pub runtime: PathBuf,
    /// Its `--root`.
    pub runtime_root: PathBuf,
    /// Size at which a log file is followed by the next.
    pub log_file_bytes_max: u64,
    /// How many log files a container keeps.
    pub log_files_max: u32,
    /// Where the node's journal listens.
    pub journal_socket: PathBuf,
    /// Facts of this host for bundles.
    pub host: bundle::Host,
    /// Where images come from that are not here.
    pub pulls: Pulls,
    /// The tasks' networks.
    pub network: Arc<Network>,
    /// The tasks that may ask this node about themselves.
    pub directory: Arc<Directory>,
}

/// How images are pulled.
#[derive(Clone, Debug)]
pub struct Pulls {
    /// Pulls them.
    pub puller: Arc<Puller>,
    /// When.
    pub behaviour: PullBehaviour,
}

/// A container that can be launched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// The digest of its image.
    pub image_digest: String,
    /// What asks it to end.
    pub stop_signal: i32,
}

/// Makes and removes.
#[derive(Debug)]
pub struct Workshop {
    tools: Tools,
    groups: Groups,
    /// Held while something is made that several containers share.
    sharing: Mutex<()>,
}

impl Workshop {
    /// A workshop with these tools.
    #[must_use]
    pub fn new(tools: Tools, groups: Groups) -> Self {
        Self { tools, groups, sharing: Mutex::new(()) }
    }

    /// Why this node can never run such a task, if it can't.
    #[must_use]
    pub fn refuses(&self, spec: &TaskSpec) -> Option<String> {
        if let Some(fault) = spec.dependency_fault() {
            return Some(format!("TaskDependencyError: {fault}"));
        }
        let mut asked = spec.rights();
        asked.retain(|right| self.tools.refused.contains(right));
        if !asked.is_empty() {
            let names: Vec<&str> = asked.iter().map(|right| right.as_str()).collect();
            return Some(format!(
                "HostConfigError: the owner of this node refuses {} (--refuse)",
                names.join(", ")
            ));
        }
        let fault = spec.containers.iter().find_map(|container| {
            let why = container.log.as_ref()?.driver().err()?;
            Some(format!("CannotCreateContainerError: {}: logConfiguration: {why}", container.name))
        });
        if fault.is_some() {
            return fault;
        }
        if let Some(why) = self.lacks(spec) {
            return Some(format!("HostConfigError: {why}"));
        }
        let task_mib = spec.memory_mib?;
        let above = |mib: &u64| task_mib < *mib;
        let largest = spec.containers.iter().filter_map(|container| container.memory_mib).max();
        largest.filter(above).map(|mib| {
            format!(
                "container memory limit({mib}) greater than task memory limit({task_mib}): lower \
                 the container's or raise the task's"
            )
        })
    }

    /// What this node has not, and the task asks for.
    fn lacks(&self, spec: &TaskSpec) -> Option<&'static str> {
        let any = |of: fn(&ContainerSpec) -> bool| spec.containers.iter().any(of);
        if any(|c| c.linux.swaps()) && !self.tools.gives_swap {
            return Some("this node gives no swap (maxSwap): its owner can with --allow-swap");
        }
        if any(|c| c.linux.init_process) && self.tools.host.init.is_none() {
            return Some(
                "this node has no init for initProcessEnabled: its loadline-supervisor is not a \
                 static program",
            );
        }
        self.tools.without_networks.filter(|_| spec.network_mode.has_addresses())
    }

    /// Makes root filesystem, cgroups and bundle of a container ready.
    ///
    /// # Errors
    /// The reason why the container can't be started, in ECS's words.
    pub fn prepare(&self, task: &Task, at: usize, image: &Image) -> Result<Prepared, String> {
        let spec = &task.spec;
        let container = &spec.containers[at];
        self.groups
            .cgroups
            .create_task(spec)
            .map_err(|error| format!("ResourceInitializationError: {}", chain(&error)))?;
        let dir = self.box_dir(task, at);
        let create =
            |error: &dyn std::error::Error| format!("CannotCreateContainerError: {}", chain(error));
        // What an agent that was killed in the middle has left.
        bundle::remove(&dir).map_err(|error| create(&error))?;
        make_dir(&self.container_dir(task, at)).map_err(|error| create(&error))?;
        make_dir(&self.log_dir(&spec.arn, container.name.as_str()))
            .map_err(|error| create(&error))?;
        self.tools
            .network
            .attach(task, at)
            .map_err(|error| format!("ResourceInitializationError: {}", chain(&error)))?;
        self.share(spec)?;
        let request = bundle::Request {
            dir: &dir,
            image,
            task: spec,
            container,
            host: &self.tools.host,
            network: &self.surroundings(task, at),
            task_dir: &self.task_dir(spec.arn.id()),
            shared_volumes: &self.tools.shared_volumes,
        };
        let made = bundle::prepare(&request).map_err(|error| create(&error))?;
        let stop_signal = made.stop_signal.as_deref().and_then(signal::number);
        Ok(Prepared {
            image_digest: image.digest.to_string(),
            stop_signal: stop_signal.unwrap_or(super::reconcile::SIGTERM),
        })
    }

    /// Makes what the task's containers share.
    fn share(&self, spec: &TaskSpec) -> Result<(), String> {
        let dir = self.task_dir(spec.arn.id());
        let _alone = self.sharing.lock().unwrap_or_else(PoisonError::into_inner);
        shared::make(&dir, spec, &self.tools.supervisor, &self.groups.cgroups)
            .map_err(|error| format!("ResourceInitializationError: {}", chain(&error)))
    }

    /// What a container uses, while it has a group.
    #[must_use]
    pub fn stats(&self, task: &Task, at: usize) -> Option<Stats> {
        let name = task.spec.containers[at].name.as_str();
        or_none(self.groups.cgroups.stats(task.spec.arn.id(), Some(name)))
    }

    /// The host's end of the link of a place in the tasks' network.
    #[must_use]
    pub fn link_of(&self, place: &Attachment) -> String {
        self.tools.network.plan().link(place.number)
    }

    /// The processes of a task's containers.
    #[must_use]
    pub fn processes(&self, task_id: &str) -> Vec<i32> {
        self.groups.cgroups.processes(task_id, None).unwrap_or_default()
    }

    fn surroundings(&self, task: &Task, at: usize) -> Surroundings {
        let task_dir = self.task_dir(task.spec.arn.id());
        Surroundings {
            pid: shared::pid(&task_dir, &task.spec),
            ipc: shared::ipc(&task_dir, &task.spec),
            shm: shared::shm(&task_dir, &task.spec),
            namespace: self.tools.network.namespace(task, at),
            addresses: network::addresses_of(task, at),
            links: network::links_of(task, at),
            environment: metadata::environment(task, at, self.tools.directory.serves_host()),
        }
    }

    /// The image, from here or from its registry.
    ///
    /// # Errors
    /// The reason why the container can't be started, in ECS's words.
    pub async fn obtain(&self, reference: &str) -> Result<Image, String> {
        let Pulls { puller, behaviour } = &self.tools.pulls;
        puller
            .obtain(reference, *behaviour, &|_| {})
            .await
            .map_err(|error| format!("CannotPullContainerError: {}", chain_of_images(&error)))
    }

    /// Makes the folder of a container's newest run, with the settings for its supervisor.
    ///
    /// # Errors
    /// The reason why the container can't be started, in ECS's words.
    pub fn write_settings(&self, task: &Task, at: usize, stop_signal: i32) -> Result<(), String> {
        let container = &task.spec.containers[at];
        let place = logging::Place {
            task,
            at,
            hostname: &self.tools.host.hostname,
            journal_socket: &self.tools.journal_socket,
        };
        let limits = (self.tools.log_file_bytes_max, self.tools.log_files_max);
        let log_dir = self.log_dir(&task.spec.arn, container.name.as_str());
        let log = logging::settings(&place, log_dir, limits)
            .map_err(|why| format!("CannotCreateContainerError: logConfiguration: {why}"))?;
        let mut settings = Settings {
            format_version: FORMAT_VERSION,
            runtime: self.tools.runtime.clone(),
            runtime_root: self.tools.runtime_root.clone(),
            id: task.runtime_id(at),
            bundle: self.box_dir(task, at),
            stop_signal,
            log,
            terminal: container.pseudo_terminal,
            stdin_open: container.interactive,
            only_run: !container.restart_policy.as_ref().is_some_and(|policy| policy.enabled),
            oom: self.groups.oom(&task.spec.arn, container.name.as_str()),
        };
        settings.format_version = settings.format_needed();
        let json = serde_json::to_vec(&settings).expect("paths and numbers make JSON");
        let dir = self.run_dir(task, at);
        make_dir(&dir)
            .and_then(|()| disk::replace(&dir, SETTINGS_FILE, &json, disk::Durability::Process))
            .map_err(|error| {
                format!("CannotCreateContainerError: write {}: {error}", dir.display())
            })
    }

    /// Takes away what is left of a run that has ended, before the next one begins in the same
    /// root filesystem.
    ///
    /// # Errors
    /// The reason why the container can't be started again, in ECS's words.
    pub fn renew(&self, task: &Task, at: usize) -> Result<(), String> {
        // A supervisor that died right behind the end has not called delete.
        let is_known = self.tools.runtime_root.join(task.runtime_id(at)).exists();
        let name = task.spec.containers[at].name.as_str();
        let left = self.groups.cgroups.processes(task.spec.arn.id(), Some(name));
        if is_known || !left.is_ok_and(|left| left.is_empty()) {
            let killed = self.kill_all(task, at);
            return killed.map_err(|error| format!("CannotStartContainerError: {error}"));
        }
        Ok(())
    }

    /// Removes the folder of the run before the newest one, whose own folder tells how it stands.
    pub fn forget_run_before(&self, task: &Task, at: usize) {
        let Some(before) = task.containers[at].runs.checked_sub(1).filter(|run| 0 < *run) else {
            return;
        };
        // What stays is removed with the task.
        let _ = remove_dir(&self.container_dir(task, at).join(format!("run.{before}")));
    }

    /// A health check of a container's newest run, and the processes of its cgroup.
    pub(super) fn probe(&self, task: &Task, at: usize, check: &HealthCheck) -> (Probe, Vec<i32>) {
        let name = task.spec.containers[at].name.as_str();
        let processes = self.groups.cgroups.processes(task.spec.arn.id(), Some(name));
        let probe = Probe {
            runtime: self.tools.runtime.clone(),
            runtime_root: self.tools.runtime_root.clone(),
            id: task.runtime_id(at),
            run_dir: self.run_dir(task, at),
            arguments: health::arguments(check),
            timeout: Duration::from_secs(check.timeout_s.into()),
        };
        (probe, processes.unwrap_or_default())
    }

    /// How a program is run in a container.
    ///
    /// # Errors
    /// Why it can't be, in words.
    pub fn exec_place(
        &self,
        arn: &TaskArn,
        container: &ContainerName,
        runtime_id: &str,
    ) -> Result<ExecPlace, String> {
        let dir = self.tools.tasks_dir.join(arn.id()).join(container.as_str());
        let number = |run: &PathBuf| run.extension().and_then(|n| n.to_str()?.parse::<u32>().ok());
        let newest = runs_in(&dir).filter(|run| number(run).is_some()).max_by_key(number);
        Ok(ExecPlace {
            runtime: self.tools.runtime.clone(),
            runtime_root: self.tools.runtime_root.clone(),
            id: runtime_id.to_owned(),
            run_dir: newest.ok_or("the container has no run any more")?,
            front: PathBuf::new(),
        })
    }

    /// The programs that an earlier agent ran in a container: their pid files.
    pub(super) fn execs_left(&self, task: &Task, at: usize) -> Vec<PathBuf> {
        execed::left_behind(&self.run_dir(task, at))
    }

    /// Ends those of them that still run.
    pub(super) fn end_execs(&self, task_id: &str, container: &str, left: Vec<PathBuf>) {
        let there = self.groups.cgroups.processes(task_id, Some(container));
        execed::end_all(left, &there.unwrap_or_default());
    }

    /// Whether a run got as far as its settings, without which no supervisor starts.
    #[must_use]
    pub fn has_settings(&self, run_dir: &Path) -> bool {
        run_dir.join(SETTINGS_FILE).exists()
    }

    /// The stop signal of a run from before the agent's restart.
    #[must_use]
    pub fn stop_signal(&self, task: &Task, at: usize) -> i32 {
        let settings = Settings::read(&self.run_dir(task, at));
        settings.map_or(super::reconcile::SIGTERM, |settings| settings.stop_signal)
    }

    /// Sends SIGKILL to every process of a container, whoever is its parent, and removes its
    /// group and what the runtime knows of it.
    ///
    /// # Errors
    /// What stayed, in words.
    pub fn kill_all(&self, task: &Task, at: usize) -> Result<(), String> {
        let name = task.spec.containers[at].name.as_str();
        // A call that a dead supervisor left behind could make the container after this.
        calls::end(&self.tools.runtime_root, &task.runtime_id(at))?;
        let removed = self.groups.cgroups.remove_container(task.spec.arn.id(), name);
        removed.map_err(|error| chain(&error))?;
        self.delete_from_runtime(task, at);
        Ok(())
    }

    /// Holds the init of a container that has lost its supervisor, where it still lives.
    #[must_use]
    pub(super) fn hold_init(&self, task: &Task, at: usize) -> Option<Init> {
        let state = State::read(&self.run_dir(task, at)).ok().flatten()?;
        let (State::Created { pid } | State::Running { pid, .. }) = state else { return None };
        Init::hold(pid, task.spec.arn.id(), task.spec.containers[at].name.as_str())
    }

    /// Removes everything of a task that has ended, but its logs.
    ///
    /// # Errors
    /// What stayed, in words; the rest is gone.
    pub fn clean_up(&self, task: &Task) -> Result<(), String> {
        let mut wrong = Vec::new();
        for at in 0..task.spec.containers.len() {
            let run_dir = self.run_dir(task, at);
            let ended = State::read(&run_dir);
            let has_ended = matches!(ended, Ok(Some(state)) if state.is_final());
            // A supervisor that died right behind the end has not called delete.
            let is_known = self.tools.runtime_root.join(task.runtime_id(at)).exists();
            if 0 < task.containers[at].runs && (is_known || !has_ended) {
                self.delete_from_runtime(task, at);
            }
            wrong.extend(bundle::remove(&self.box_dir(task, at)).err().map(|error| chain(&error)));
        }
        for own in [bundle::TASK_VOLUMES, shared::FOLDER] {
            let folder = self.task_dir(task.spec.arn.id()).join(own);
            wrong.extend(rootfs::remove(&folder).err().map(|error| chain(&error)));
        }
        let removed = self.groups.cgroups.remove_task(task.spec.arn.id());
        wrong.extend(removed.err().map(|error| chain(&error)));
        wrong.extend(self.tools.network.detach(task).err().map(|error| chain(&error)));
        // Last, because they say how the containers ended.
        for at in 0..task.spec.containers.len() {
            for dir in runs_in(&self.container_dir(task, at)) {
                wrong.extend(remove_dir(&dir).err().map(|error| error.to_string()));
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
    }

    /// Removes a stopped task's folder, logs and all, and what a clean-up that failed left.
    ///
    /// # Errors
    /// What stayed, in words.
    pub fn remove_task(&self, arn: &TaskArn) -> Result<(), String> {
        self.sweep_task(arn.id())
    }

    /// Removes folders, mounts, processes and cgroups of tasks that the ledger does not know.
    /// A task of `live` keeps what it has of the network.
    pub fn sweep(&self, known: impl Fn(&str) -> bool, live: &BTreeMap<String, Task>) {
        if let Err(error) = self.tools.network.sweep(live) {
            let error = chain(&error);
            tracing::error!(error, "the network of earlier tasks can't be put in order");
        }
        let folders = std::fs::read_dir(&self.tools.tasks_dir).into_iter().flatten().flatten();
        let names = folders.filter_map(|entry| entry.file_name().into_string().ok());
        let groups = self.groups.cgroups.task_ids().unwrap_or_else(|error| {
            tracing::error!(error = %chain(&error), "the tasks' cgroups can't be listed");
            BTreeSet::new()
        });
        let mut unknown: Vec<String> =
            names.chain(groups).filter(|task_id| !known(task_id)).collect();
        unknown.sort_unstable();
        unknown.dedup();
        for task_id in unknown {
            tracing::warn!(%task_id, "removing what is left of a task that the ledger has not");
            if let Err(error) = self.sweep_task(&task_id) {
                tracing::error!(%task_id, %error, "something of an unknown task is left behind");
            }
        }
    }

    /// At the end of the agent: removes the parent group, unless a task runs on in it.
    pub fn leave(&self) {
        if let Err(error) = self.groups.cgroups.remove_parent_if_empty() {
            tracing::warn!(error = %chain(&error), "the parent cgroup is left behind");
        }
        self.tools.network.leave();
    }

    fn sweep_task(&self, task_id: &str) -> Result<(), String> {
        self.groups.cgroups.remove_task(task_id).map_err(|error| chain(&error))?;
        let dir = self.tools.tasks_dir.join(task_id);
        rootfs::remove(&dir).map_err(|error| chain(&error))
    }

    /// The layers that containers are mounted from.
    ///
    /// # Errors
    /// The kernel's: what is in use is then not known.
    pub fn used_layers(&self) -> io::Result<BTreeSet<Digest>> {
        let subdirs = |dir: &Path| -> io::Result<Vec<PathBuf>> {
            let mut found = Vec::new();
            for entry in std::fs::read_dir(dir)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    found.push(entry.path());
                }
            }
            Ok(found)
        };
        let mut used = BTreeSet::new();
        for task in subdirs(&self.tools.tasks_dir)? {
            // A task that goes away meanwhile uses nothing any more.
            for container in gone_is_empty(subdirs(&task))? {
                let layers = rootfs::layers_of(&container.join(BOX));
                used.extend(layers.map_err(io::Error::other)?);
            }
        }
        Ok(used)
    }

    fn delete_from_runtime(&self, task: &Task, at: usize) {
        let deleted = Command::new(&self.tools.runtime)
            .arg("--root")
            .arg(&self.tools.runtime_root)
            .args(["delete", "--force", &task.runtime_id(at)])
            .output();
        if let Err(error) = deleted {
            tracing::warn!(%error, runtime = %self.tools.runtime.display(), "can't call delete");
        }
    }
}

const BOX: &str = "box";

fn gone_is_empty(found: io::Result<Vec<PathBuf>>) -> io::Result<Vec<PathBuf>> {
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        found => found,
    }
}

/// Places.
impl Workshop {
    /// The folder of a container's newest run.
    #[must_use]
    pub fn run_dir(&self, task: &Task, at: usize) -> PathBuf {
        let run = task.containers[at].runs.max(1);
        self.container_dir(task, at).join(format!("run.{run}"))
    }

    /// Where a container's log is.
    #[must_use]
    pub fn log_dir(&self, arn: &TaskArn, container_name: &str) -> PathBuf {
        self.tools.tasks_dir.join(arn.id()).join(container_name).join("log")
    }

    /// Whether a supervisor of the container lives.
    #[must_use]
    pub fn is_supervised(&self, arn: &TaskArn, container_name: &str) -> bool {
        let dir = self.tools.tasks_dir.join(arn.id()).join(container_name);
        runs_in(&dir).any(|run| super::watch::is_locked(&run))
    }

    fn task_dir(&self, task_id: &str) -> PathBuf {
        self.tools.tasks_dir.join(task_id)
    }

    fn container_dir(&self, task: &Task, at: usize) -> PathBuf {
        let name = task.spec.containers[at].name.as_str();
        self.tools.tasks_dir.join(task.spec.arn.id()).join(name)
    }

    fn box_dir(&self, task: &Task, at: usize) -> PathBuf {
        self.container_dir(task, at).join(BOX)
    }
}

/// The folders of a container's runs.
fn runs_in(container_dir: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(container_dir).into_iter().flatten().flatten();
    let runs = entries.filter(|e| e.file_name().as_encoded_bytes().starts_with(b"run."));
    runs.map(|run| run.path())
}

fn make_dir(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn remove_dir(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
