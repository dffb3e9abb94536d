//! What a container mounts beside what every container has: volumes, another container's mounts,
//! and the volumes that its image declares.
//!
//! ```text
//!  TASK/.volumes/v-NAME       a volume of the task (removed with it)
//!  CONTAINER/volumes/N        volume N of the image (removed with the container)
//!  CONTAINER/mounts.json      all of them, for the containers that mount the same
//!  STATE/volumes/v-NAME       a shared volume, which outlives its tasks
//! ```
//!
//! [`plan`] decides, purely; [`make`] makes the folders. A folder of ours that is empty gets what
//! the image has at its place, as docker does it; a folder of the host is taken as it is.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use loadline_model::{ContainerName, ContainerSpec, TaskSpec, VolumeSource};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::copy;
use crate::rooted::{self, Inside};
use crate::supervise::disk::Durability;

/// File with a container's mounts.
const MOUNTS_FILE: &str = "mounts.json";
/// Largest such file: a hundred mounts with the longest paths.
const MOUNTS_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Where volumes are.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// The container's folder.
    pub container: &'a Path,
    /// The task's own volumes.
    pub task: &'a Path,
    /// The node's shared volumes.
    pub shared: &'a Path,
}

/// One mount of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// On the host.
    pub source: PathBuf,
    /// In the container.
    pub destination: String,
    /// Whether the container can't write to it.
    pub read_only: bool,
    /// How the source comes to be.
    pub made: Made,
}

/// How the source of a mount comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Made {
    /// The host's own: made as a folder where it is missing.
    OfHost,
    /// Made and filled by us.
    OfNode,
    /// Must be there.
    Found,
}

/// Why a container's mounts can't be had.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A mount point of a volume that the task does not have.
    #[error("there is no volume {name:?} in the task")]
    Unknown {
        /// The volume's name.
        name: String,
    },
    /// A container whose mounts are not known.
    #[error("the mounts of container '{container}' are not known")]
    NoSource {
        /// Whose.
        container: ContainerName,
    },
    /// A shared volume that is not here and may not be made.
    #[error(
        "the shared volume {} is not on this node, and its autoprovision is off", path.display()
    )]
    Missing {
        /// Where it would be.
        path: PathBuf,
    },
    /// A path that is not absolute, or climbs.
    #[error("{path:?} is not an absolute path without ..")]
    Path {
        /// As it is written.
        path: String,
    },
    /// The kernel said no.
    #[error("{step} {}", path.display())]
    Kernel {
        /// What was done.
        step: &'static str,
        /// To what.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
}

fn failed(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StorageError {
    let path = path.to_owned();
    move |source| StorageError::Kernel { step, path, source }
}

/// Decides a container's mounts. Its own mount points come before those of other containers, and
/// both before what its image declares. `theirs` knows the mounts of containers made before.
///
/// # Errors
/// [`StorageError`]
pub fn plan(
    task: &TaskSpec,
    container: &ContainerSpec,
    image_volumes: &[String],
    places: Places<'_>,
    theirs: impl Fn(&ContainerName) -> Option<Vec<Bind>>,
) -> Result<Vec<Bind>, StorageError> {
    let mut binds: Vec<Bind> = Vec::new();
    for mount in &container.mount_points {
        let name = &mount.source_volume;
        let volume = task.volumes.iter().find(|volume| volume.name == *name);
        let volume = volume.ok_or_else(|| StorageError::Unknown { name: name.clone() })?;
        let (source, made) = match &volume.source {
            VolumeSource::HostPath(path) => (PathBuf::from(absolute(path)?), Made::OfHost),
            VolumeSource::Task => (places.task.join(folder(name)?), Made::OfNode),
            VolumeSource::Shared { autoprovision } => {
                let made = if *autoprovision { Made::OfNode } else { Made::Found };
                (places.shared.join(folder(name)?), made)
            }
        };
        let destination = absolute(&mount.container_path)?.to_owned();
        binds.push(Bind { source, destination, read_only: mount.read_only, made });
    }
    for from in &container.volumes_from {
        let source = &from.source_container;
        let inherited =
            theirs(source).ok_or_else(|| StorageError::NoSource { container: source.clone() })?;
        for bind in inherited {
            if !is_taken(&binds, container, &bind.destination) {
                let read_only = bind.read_only || from.read_only;
                binds.push(Bind { read_only, made: Made::Found, ..bind });
            }
        }
    }
    for (n, destination) in image_volumes.iter().enumerate() {
        let destination = absolute(destination)?.to_owned();
        if !is_taken(&binds, container, &destination) {
            let source = places.container.join("volumes").join(n.to_string());
            binds.push(Bind { source, destination, read_only: false, made: Made::OfNode });
        }
    }
    // What lies inside another mount comes after it.
    binds.sort_by_key(|bind| parts(&bind.destination).count());
    Ok(binds)
}

fn is_taken(binds: &[Bind], container: &ContainerSpec, destination: &str) -> bool {
    let same = |other: &str| parts(other).eq(parts(destination));
    binds.iter().any(|bind| same(&bind.destination))
        || container.linux.tmpfs.iter().any(|tmpfs| same(&tmpfs.container_path))
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".")
}

fn absolute(path: &str) -> Result<&str, StorageError> {
    let climbs = parts(path).any(|part| part == "..");
    if !path.starts_with('/') || climbs || path.contains('\0') {
        return Err(StorageError::Path { path: path.to_owned() });
    }
    Ok(path)
}

/// A volume's folder; its name came over the wire.
fn folder(name: &str) -> Result<String, StorageError> {
    if name.contains(['/', '\0']) {
        return Err(StorageError::Unknown { name: name.to_owned() });
    }
    Ok(format!("v-{name}"))
}

/// Makes and fills the sources of the mounts. What is there already is left as it is.
///
/// # Errors
/// [`StorageError`]
pub(super) fn make(binds: &[Bind], root: BorrowedFd<'_>) -> Result<(), StorageError> {
    for bind in binds {
        let path = &bind.source;
        let exists = path.try_exists().map_err(failed("look for", path))?;
        match bind.made {
            Made::Found if !exists => return Err(StorageError::Missing { path: path.clone() }),
            Made::OfHost if !exists => {
                std::fs::create_dir_all(path).map_err(failed("make", path))?;
            }
            Made::OfNode => {
                if let Some(parent) = path.parent() {
                    private_dir(parent).map_err(failed("make", parent))?;
                }
                let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(path);
                made.map_err(failed("make", path))?;
                fill(path, &bind.destination, root).map_err(failed("fill", path))?;
            }
            Made::Found | Made::OfHost => {}
        }
    }
    Ok(())
}

/// Below it are setuid programs and device nodes that this host's users must not reach.
fn private_dir(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Copies what the image has at `destination` into the empty folder `path`.
fn fill(path: &Path, destination: &str, root: BorrowedFd<'_>) -> io::Result<()> {
    let target = rooted::open_dir(path)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let source = match rooted::open(root, destination.as_bytes(), flags, Inside::AsRoot) {
        Ok(source) => source,
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    if copy::is_empty(target.as_fd())? {
        copy::tree(source.as_fd(), target.as_fd())?;
    }
    Ok(())
}

/// Writes down a container's mounts, for [`read`].
pub(super) fn write(folder: BorrowedFd<'_>, binds: &[Bind]) -> io::Result<()> {
    let json = serde_json::to_vec(binds).map_err(io::Error::other)?;
    rooted::write_atomic(folder, MOUNTS_FILE, &json, Durability::Process)
}

/// The mounts of the container in `dir`; `None` where it was not made.
#[must_use]
pub fn read(dir: &Path) -> Option<Vec<Bind>> {
    let folder = rooted::open_dir(dir).ok()?;
    let file = rooted::open_file(folder.as_fd(), MOUNTS_FILE.as_bytes(), Inside::Beneath).ok()?;
    let bytes = rooted::read_max(file, MOUNTS_FILE_BYTES_MAX).ok()?;
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use loadline_model::{MountPoint, Tmpfs, Volume, VolumeFrom};

    use super::*;
    use crate::task::testing;

    fn mount(volume: &str, path: &str, read_only: bool) -> MountPoint {
        let (source_volume, container_path) = (volume.to_owned(), path.to_owned());
        MountPoint { source_volume, container_path, read_only }
    }

    fn task() -> TaskSpec {
        let mut task = testing::spec(1);
        let volume = |name: &str, source| Volume { name: name.into(), source };
        task.volumes = vec![
            volume("host", VolumeSource::HostPath("/srv/data".into())),
            volume("own", VolumeSource::Task),
            volume("shared", VolumeSource::Shared { autoprovision: true }),
            volume("found", VolumeSource::Shared { autoprovision: false }),
        ];
        task
    }

    /// Each mount as `source destination ro|rw how`.
    fn planned(container: &ContainerSpec, image: &[&str]) -> Result<Vec<String>, String> {
        let places = Places {
            container: Path::new("/c"),
            task: Path::new("/t/.volumes"),
            shared: Path::new("/s"),
        };
        let image: Vec<String> = image.iter().map(|&path| path.to_owned()).collect();
        let theirs = |name: &ContainerName| {
            let bind = |source: &str, destination: &str, read_only| Bind {
                source: source.into(),
                destination: destination.into(),
                read_only,
                made: Made::OfNode,
            };
            let theirs = vec![bind("/o/1", "/logs", false), bind("/o/2", "/conf", true)];
            (name.as_str() == "other").then_some(theirs)
        };
        let binds = plan(&task(), container, &image, places, theirs);
        let show = |bind: Bind| {
            let access = if bind.read_only { "ro" } else { "rw" };
            format!("{} {} {access} {:?}", bind.source.display(), bind.destination, bind.made)
        };
        binds.map(|binds| binds.into_iter().map(show).collect()).map_err(|e| e.to_string())
    }

    #[test]
    fn each_kind_of_volume_has_its_place_and_outer_mounts_come_first() {
        let mut container = testing::container("c");
        container.mount_points = vec![
            mount("host", "/a/b", false),
            mount("own", "/a", true),
            mount("shared", "/s", false),
            mount("found", "/f", false),
        ];
        let expected = [
            "/t/.volumes/v-own /a ro OfNode",
            "/s/v-shared /s rw OfNode",
            "/s/v-found /f rw Found",
            "/c/volumes/0 /image rw OfNode",
            "/srv/data /a/b rw OfHost",
        ];
        assert_eq!(planned(&container, &["/image", "/a/"]).unwrap(), expected);
    }

    #[test]
    fn another_containers_mounts_come_after_ones_own_and_before_the_images() {
        let mut container = testing::container("c");
        let source_container = ContainerName::parse("other").unwrap();
        container.mount_points = vec![mount("own", "/conf", false)];
        container.volumes_from = vec![VolumeFrom { source_container, read_only: true }];
        let expected = ["/t/.volumes/v-own /conf rw OfNode", "/o/1 /logs ro Found"];
        assert_eq!(planned(&container, &["/logs"]).unwrap(), expected);
        let (container_path, size_mib) = ("/logs".to_owned(), 1);
        container.linux.tmpfs = vec![Tmpfs { container_path, size_mib, mount_options: vec![] }];
        assert_eq!(planned(&container, &[]).unwrap(), expected[..1]);
    }

    #[test]
    fn what_is_not_there_or_leads_astray_is_refused() {
        let check = |volume: &str, path: &str, expected: &str| {
            let mut container = testing::container("c");
            container.mount_points = vec![mount(volume, path, false)];
            assert_eq!(planned(&container, &[]).unwrap_err(), expected);
        };
        check("none", "/a", "there is no volume \"none\" in the task");
        check("own", "a", "\"a\" is not an absolute path without ..");
        check("own", "/a/../b", "\"/a/../b\" is not an absolute path without ..");
        let mut container = testing::container("c");
        let source_container = ContainerName::parse("gone").unwrap();
        container.volumes_from = vec![VolumeFrom { source_container, read_only: true }];
        let unknown = "the mounts of container 'gone' are not known";
        assert_eq!(planned(&container, &[]).unwrap_err(), unknown);
    }
}
