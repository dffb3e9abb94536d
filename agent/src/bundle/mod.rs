//! The bundle of a container: what a task definition, an image and this host make together, as an
//! OCI `config.json` beside a mounted root filesystem.
//!
//! ```text
//!  CONTAINER/config.json  rootfs/ upper/ work/ layers.json  etc/hostname hosts resolv.conf
//!            mounts.json  volumes/N
//! ```
//!
//! Invariants:
//! - [`spec::spec`] decides everything, purely; [`prepare`] only gathers its arguments and writes.
//! - What the image says is read through a descriptor of its root and can't lead out of it.
//! - The inheritable and ambient capability sets are empty.
//! - Labels are data: they become annotations under a prefix that no runtime acts upon.

mod command;
mod copy;
mod defaults;
mod etc;
pub mod features;
mod linux;
mod seccomp;
pub mod spec;
pub mod storage;
mod user;

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use loadline_model::network::HostEntry;
use loadline_model::{ContainerName, ContainerSpec, KeyValue, TaskSpec};
use oci_spec::runtime::Capability;
use rustix::fs::{Mode, OFlags};

use crate::image::Image;
use crate::rooted::{self, Inside};
use crate::rootfs::{self, RootfsError, Writes};
use crate::supervise::disk::Durability;

pub use command::CommandError;
pub use features::{Features, ReadOnly};
pub use linux::{FoundDevice, LinuxError, capabilities_in};
pub use seccomp::Seccomp;
pub use spec::SpecError;
pub use storage::StorageError;
pub use user::{Identity, UserError};

/// Facts of this host and choices of its owner that a bundle depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The agent's parent cgroup, without slashes around it.
    pub cgroup_parent: String,
    /// How this host accounts memory.
    pub memory: MemoryAccounting,
    /// The host's own name, which containers on its network share.
    pub hostname: String,
    /// Most processes of a container; the host's bound alone where not set.
    pub pids_limit: Option<i64>,
    /// Every capability that a process here can have.
    pub capabilities: Vec<Capability>,
    /// What the runtime can do.
    pub runtime: Features,
    /// A static program that is a container's first process, where there is one.
    pub init: Option<PathBuf>,
}

/// What the memory controller of this host can do about swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryAccounting {
    /// cgroup v1 that counts swap (`memory.memsw.*` exist).
    V1WithSwap,
    /// cgroup v1 that does not.
    V1WithoutSwap,
    /// cgroup v2.
    V2,
}

/// What to make a bundle of.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The container's folder: made, and the bundle's from now on.
    pub dir: &'a Path,
    /// The image.
    pub image: &'a Image,
    /// The task.
    pub task: &'a TaskSpec,
    /// Which of its containers.
    pub container: &'a ContainerSpec,
    /// This host.
    pub host: &'a Host,
    /// The task's folder, with a folder for each container's and for the task's volumes.
    pub task_dir: &'a Path,
    /// Where the node's shared volumes are.
    pub shared_volumes: &'a Path,
    /// What its network is.
    pub network: &'a Surroundings,
}

/// What a container finds around it that its definition and image do not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The network namespace that it joins; a new one for each container where there is none and
    /// the task is not on the host's network.
    pub namespace: Option<PathBuf>,
    /// The addresses that its own name stands for.
    pub addresses: Vec<IpAddr>,
    /// Containers of the task that it is linked to.
    pub links: Vec<HostEntry>,
    /// The task's own pid namespace, where its containers share one.
    pub pid: Option<PathBuf>,
    /// The task's own IPC namespace, where its containers share one.
    pub ipc: Option<PathBuf>,
    /// What they then have at /dev/shm.
    pub shm: Option<PathBuf>,
    /// Environment variables, unless the task or the image has them.
    pub environment: Vec<KeyValue>,
}

/// A bundle that is ready for an OCI runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// The folder with `config.json`.
    pub dir: PathBuf,
    /// The signal that asks the container to end, where the image names one: a name or number.
    pub stop_signal: Option<String>,
    /// The cgroup of the container, as it stands in `config.json`.
    pub cgroups_path: String,
}

/// Why a bundle could not be made. What was made of it is removed again.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The root filesystem.
    #[error("make the root filesystem")]
    Rootfs(#[from] RootfsError),
    /// The user to run as.
    #[error("find the user of the container")]
    User(#[from] UserError),
    /// What the task definition and the image say together.
    #[error("make the container's configuration")]
    Spec(#[from] SpecError),
    /// What it mounts.
    #[error("InvalidVolumeError: make the container's mounts")]
    Storage(#[from] StorageError),
    /// The kernel said no.
    #[error("{step} {object:?}")]
    Kernel {
        /// What was done.
        step: &'static str,
        /// To what.
        object: String,
        /// The kernel's error.
        source: io::Error,
    },
}

fn failed(step: &'static str, object: impl Into<String>) -> impl FnOnce(io::Error) -> BundleError {
    let object = object.into();
    move |source| BundleError::Kernel { step, object, source }
}

/// Mounts the root filesystem and writes everything that an OCI runtime needs to create the
/// container.
///
/// # Errors
/// [`BundleError`]; the folder is removed again then.
pub fn prepare(request: &Request<'_>) -> Result<Bundle, BundleError> {
    let restarts = request.container.restart_policy.as_ref().is_some_and(|policy| policy.enabled);
    let writes = if restarts { Writes::Kept } else { Writes::Volatile };
    let rootfs = rootfs::mount(request.dir, request.image, writes)?;
    let bundle = fill(request, &rootfs);
    if bundle.is_err() {
        // The first error is the one to report; the sweep at the agent's start removes the rest.
        let _ = remove(request.dir);
    }
    bundle
}

/// Takes a bundle away: mounts first, then the folder. Nothing there is no error.
///
/// # Errors
/// [`RootfsError`] where something stays; calling again goes on.
pub fn remove(dir: &Path) -> Result<(), RootfsError> {
    rootfs::remove_own(dir)
}

fn fill(request: &Request<'_>, rootfs: &Path) -> Result<Bundle, BundleError> {
    let Request { dir, image, task, container, host, network, .. } = *request;
    let root = rooted::open_dir(rootfs).map_err(failed("open", "rootfs"))?;
    let wanted = container.user.as_deref().unwrap_or(&image.config.user);
    let identity = user::resolve(root.as_fd(), wanted)?;
    let cgroups_path = format!(
        "/{}/{}/{}",
        host.cgroup_parent.trim_matches('/'),
        task.arn.id(),
        container.name.as_str()
    );
    let binds = binds(request)?;
    let devices = linux::devices(container)
        .map_err(|(path, source)| failed("find the device", path.to_string_lossy())(source))?;
    let input = spec::Input {
        image: &image.config,
        task,
        container,
        host,
        identity: &identity,
        network,
        cgroups_path: &cgroups_path,
        dir,
        binds: &binds,
        devices: &devices,
    };
    let spec = spec::spec(&input)?;
    let cwd = spec::working_directory(&input)?;
    for path in image.config.volumes.iter().chain([&cwd]) {
        make_dirs_inside(root.as_fd(), path)
            .map_err(failed("make in the root filesystem", path))?;
    }
    storage::make(&binds, root.as_fd())?;
    let folder = rooted::open_dir(dir).map_err(failed("open", "the container's folder"))?;
    storage::write(folder.as_fd(), &binds).map_err(failed("write", "mounts.json"))?;
    let mode = container.network.mode(task.network_mode);
    let files = etc::Files::of(mode, container, network, &spec::hostname(&input));
    etc::write(folder.as_fd(), &files).map_err(failed("write", "etc"))?;
    let json = spec::to_json(&spec).map_err(io::Error::other);
    json.and_then(|json| {
        // As all of the bundle: no container outlives a loss of power, and none begins without
        // its bundle being made anew.
        rooted::write_atomic(folder.as_fd(), "config.json", &json, Durability::Process)
    })
    .map_err(failed("write", "config.json"))?;
    let stop_signal = Some(image.config.stop_signal.clone()).filter(|signal| !signal.is_empty());
    Ok(Bundle { dir: dir.to_owned(), stop_signal, cgroups_path })
}

/// Where a task's own volumes are, below its folder. No container's name has a dot.
pub const TASK_VOLUMES: &str = ".volumes";

fn binds(request: &Request<'_>) -> Result<Vec<storage::Bind>, StorageError> {
    let task_volumes = request.task_dir.join(TASK_VOLUMES);
    let places = storage::Places {
        container: request.dir,
        task: &task_volumes,
        shared: request.shared_volumes,
    };
    let name = request.dir.file_name().unwrap_or_default();
    let theirs =
        |source: &ContainerName| storage::read(&request.task_dir.join(source.as_str()).join(name));
    let image_volumes = &request.image.config.volumes;
    storage::plan(request.task, request.container, image_volumes, places, theirs)
}

/// Makes the directories of `path` that are missing, as the container sees them: links are
/// followed inside the root only.
fn make_dirs_inside(root: BorrowedFd<'_>, path: &str) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let mut dir = rooted::open(root, b".", flags, Inside::AsRoot)?;
    let mut done = Vec::new();
    for name in path.split('/').filter(|name| !name.is_empty() && *name != ".") {
        if name == ".." {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        done.push(b'/');
        done.extend_from_slice(name.as_bytes());
        dir = match rooted::open(root, &done, flags, Inside::AsRoot) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                rustix::fs::mkdirat(&dir, name, Mode::from_raw_mode(0o755))?;
                rooted::open(root, &done, flags, Inside::AsRoot)?
            }
            result => result?,
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests;
