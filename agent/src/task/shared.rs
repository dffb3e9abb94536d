//! What all containers of a task share where it says so: `pidMode` and `ipcMode` `task`.
//!
//! ```text
//!  tasks/TASK_ID/.shared/pid   a pid namespace, pinned; its first process reaps what is left to it
//!                        ipc   an IPC namespace, pinned
//!                        shm/  the memory file system that they have at /dev/shm
//! ```
//!
//! Invariants: making twice is as good as making once. The first process lives in a cgroup below
//! the task's, so that it goes with the task whoever is there to see it.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use loadline_model::{IpcMode, PidMode, TaskSpec};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::Pid;

use crate::cgroups::{Cgroups, CgroupsError};
use crate::network::space;
use crate::supervisor::init::HOLD;

/// No container's name has a dot.
pub(super) const FOLDER: &str = ".shared";
/// The group of the first process of a shared pid namespace.
const GROUP: &str = ".pid-namespace";
/// Size of /dev/shm where no container says one, in MiB (docker).
const SHM_MIB: u64 = 64;
/// Longest answer of the program that makes a pid namespace, in bytes.
const ANSWER_BYTES_MAX: u64 = 256;
/// A memory file system (statfs(2)).
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// Why something shared could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum SharedError {
    #[error("{step} {}", path.display())]
    Kernel { step: &'static str, path: PathBuf, source: io::Error },
    #[error("hold the task's pid namespace")]
    Group(#[from] CgroupsError),
    #[error("{} made no pid namespace: {said}", program.display())]
    Holder { program: PathBuf, said: String },
}

fn failed(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SharedError {
    let path = path.to_owned();
    move |source| SharedError::Kernel { step, path, source }
}

/// Where the pid namespace is, if the task's containers share one.
pub(super) fn pid(task_dir: &Path, spec: &TaskSpec) -> Option<PathBuf> {
    (spec.pid_mode == PidMode::Task).then(|| task_dir.join(FOLDER).join("pid"))
}

/// The same of IPC.
pub(super) fn ipc(task_dir: &Path, spec: &TaskSpec) -> Option<PathBuf> {
    (spec.ipc_mode == IpcMode::Task).then(|| task_dir.join(FOLDER).join("ipc"))
}

/// The same of /dev/shm.
pub(super) fn shm(task_dir: &Path, spec: &TaskSpec) -> Option<PathBuf> {
    (spec.ipc_mode == IpcMode::Task).then(|| task_dir.join(FOLDER).join("shm"))
}

/// Makes what is missing of it.
pub(super) fn make(
    task_dir: &Path,
    spec: &TaskSpec,
    supervisor: &Path,
    cgroups: &Cgroups,
) -> Result<(), SharedError> {
    let dir = task_dir.join(FOLDER);
    if let Some(path) = ipc(task_dir, spec).filter(|path| !space::is_pinned(path)) {
        std::fs::create_dir_all(&dir).map_err(failed("make", &dir))?;
        let made = new_ipc().map_err(failed("make an IPC namespace for", &path))?;
        space::pin(&made, &path).map_err(failed("pin", &path))?;
    }
    if let Some(path) = shm(task_dir, spec) {
        make_shm(&path, spec).map_err(failed("mount a memory file system at", &path))?;
    }
    if let Some(path) = pid(task_dir, spec).filter(|path| !space::is_pinned(path)) {
        std::fs::create_dir_all(&dir).map_err(failed("make", &dir))?;
        let holder = hold(spec.arn.id(), supervisor, cgroups)?;
        let namespace = File::open(format!("/proc/{holder}/ns/pid"));
        let namespace = OwnedFd::from(namespace.map_err(failed("open a namespace for", &path))?);
        space::pin(&namespace, &path).map_err(failed("pin", &path))?;
    }
    Ok(())
}

fn new_ipc() -> io::Result<OwnedFd> {
    let work = || {
        unshare(CloneFlags::CLONE_NEWIPC)?;
        Ok(File::open("/proc/thread-self/ns/ipc")?.into())
    };
    let thread = std::thread::Builder::new().name("ipc".into()).spawn(work)?;
    thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread failed")))
}

/// As large as the largest that a container asks for.
fn make_shm(path: &Path, spec: &TaskSpec) -> io::Result<()> {
    std::fs::create_dir_all(path)?;
    let own = nix::sys::statfs::statfs(path)?;
    let above = nix::sys::statfs::statfs(path.parent().unwrap_or(path))?;
    if own.filesystem_type().0 == TMPFS_MAGIC && own.filesystem_id() != above.filesystem_id() {
        return Ok(());
    }
    let asked = spec.containers.iter().filter_map(|c| c.linux.shared_memory_mib).max();
    let options = format!("mode=1777,size={}m", asked.unwrap_or(SHM_MIB));
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("shm"), path, Some("tmpfs"), flags, Some(options.as_str()))?;
    Ok(())
}

/// Starts the first process of a new pid namespace, in a group of the task's. The program that
/// does it waits until it is in the group: what it starts can't be left behind.
fn hold(task_id: &str, supervisor: &Path, cgroups: &Cgroups) -> Result<i32, SharedError> {
    let mut child = Command::new(supervisor)
        .arg(HOLD)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed("start", supervisor))?;
    let own = Pid::from_raw(i32::try_from(child.id()).unwrap_or(0));
    let attached = cgroups.attach_beside(task_id, GROUP, own);
    if let Some(mut go) = child.stdin.take().filter(|_| attached.is_ok()) {
        // Where it has ended already it says why.
        let _ = go.write_all(b"!");
    }
    let mut said = String::new();
    if let Some(stdout) = child.stdout.take() {
        // What can't be read is no pid.
        let _ = stdout.take(ANSWER_BYTES_MAX).read_to_string(&mut said);
    }
    if let Some(stderr) = child.stderr.take().filter(|_| said.is_empty()) {
        let _ = stderr.take(ANSWER_BYTES_MAX).read_to_string(&mut said);
    }
    child.wait().map_err(failed("wait for", supervisor))?;
    attached?;
    said.trim().parse().map_err(|_| SharedError::Holder {
        program: supervisor.to_owned(),
        said: said.trim().to_owned(),
    })
}
