//! `checkpoint`.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::delete::await_end;
use super::record::{Record, Status};
use super::state::status;
use super::store::Folder;
use super::{ContainerId, Error, Store, create, delete, readiness};
use crate::cgroup::{Controller, HierarchyId};
use crate::criu::request::{self, Checkpoint, External, Running};
use crate::criu::{Notice, Service};
use crate::host::Host;
use crate::init::rooted;
use crate::plan::{Begin, CgroupDriver, Console, Plan, plan};
use crate::spec::{NamespaceKind, Spec};

/// The file beside the images that says where 0, 1 and 2 of the first process led to. Its name and
/// form are runc's, so that each restores what the other wrote.
pub(super) const DESCRIPTORS: &str = "descriptors.json";
/// The stage at which the memory of a lazy checkpoint can be asked for.
const STAGE_PAGES_READY: &str = "status-ready";

/// Writes a running container into images. Unless it is left running, it ends and is removed; gives
/// the poststop hook that failed.
///
/// # Errors
/// What criu said. The container goes on then.
pub fn checkpoint(
    store: &Store,
    id: &ContainerId,
    asked: &Checkpoint,
) -> Result<Option<Error>, Error> {
    let folder = store.open(id)?;
    let record = folder.record()?;
    match status(&record, folder.awaits_start())? {
        Status::Running | Status::Paused => {}
        other => return Err(Error::CannotCheckpoint(other)),
    }
    if record.marked.is_some() {
        return Err(Error::CannotRestoreInto(NamespaceKind::Mount));
    }
    let process = record.process()?.ok_or(Error::NotRunning)?;
    let images = make(&asked.common.image_path)?;
    let work = asked.common.work_path.as_deref().map(make).transpose()?;
    if let Some(parent) = &asked.parent_path {
        let path = asked.common.image_path.join(parent);
        fs::metadata(&path)
            .map_err(|source| Error::io("--parent-path: find earlier images", path, source))?;
    }
    let (spec, plan) = decided(&record, &folder)?;
    let running = Running {
        images_dir_fd: images.as_raw_fd(),
        work_dir_fd: work.as_ref().map(AsRawFd::as_raw_fd),
        pid: record.pid,
        rootfs: record.rootfs.clone(),
        external_mounts: mount_points(&record, &plan)?,
        external_namespaces: namespaces(&record, &spec)?,
        freeze_cgroup: freezer(&record),
        config_file: request::config_file(&record.annotations),
    };
    if !asked.pre_dump {
        write_descriptors(&record, &asked.common.image_path)?;
    }
    let log = asked.common.work_path.as_ref().unwrap_or(&asked.common.image_path);
    let service = Service::start(&asked.common.program, &[], log.join(request::DUMP_LOG))?;
    let request = request::dump(asked, &running);
    service.ask(&request, |notice: Notice| match (notice.stage.as_str(), asked.status_fd) {
        (STAGE_PAGES_READY, Some(fd)) => tell_ready(fd),
        _ => Ok(()),
    })?;
    if asked.leave_running || asked.pre_dump {
        return Ok(None);
    }
    await_end(&process, record.pid)?;
    drop(folder);
    delete(store, id, super::Force::Yes)
}

/// The plan that the container was made by.
fn decided(record: &Record, folder: &Folder) -> Result<(Spec, Plan), Error> {
    let damaged = |source| Error::Damaged { path: PathBuf::from(&record.id), source };
    let mut spec = Spec::validate(&serde_json::from_str(&record.config).map_err(damaged)?)?;
    if readiness::has_folder(folder) {
        readiness::add_to(&mut spec, folder.path());
    }
    let host = Host::probe(&spec).map_err(Error::Host)?;
    let console = if spec.process.terminal { Console::Foreground } else { Console::None };
    let id = ContainerId::parse(&record.id)?;
    let ask = create::ask(&id, &record.bundle, Begin::AtOnce, console, CgroupDriver::Cgroupfs);
    let plan = plan(&spec, &host, &ask)?;
    Ok((spec, plan))
}

/// Opens a folder, made where it is missing, as are those above it.
pub(super) fn make(path: &Path) -> Result<File, Error> {
    let failed = |source| Error::io("make folder", path, source);
    DirBuilder::new().mode(0o700).recursive(true).create(path).map_err(failed)?;
    File::open(path).map_err(failed)
}

/// The mount points of the container whose sources are outside of it.
fn mount_points(record: &Record, plan: &Plan) -> Result<Vec<String>, Error> {
    let path = PathBuf::from(format!("/proc/{}/mountinfo", record.pid));
    let table = fs::read_to_string(&path).map_err(|source| Error::io("read", path, source))?;
    let points = resolved(&record.rootfs, &request::externals(plan));
    let is_there = |external: &External, point: &str| {
        let mut lines = table.lines().filter(|line| line.split(' ').nth(4) == Some(point));
        // A hidden folder is covered by a file system of the container's own.
        lines.any(|line| !external.is_mask || !line.contains(" - tmpfs "))
    };
    Ok(points.into_iter().filter(|(e, point)| is_there(e, point)).map(|(_, p)| p).collect())
}

/// Mount points as the kernel knows them: without links, from the container's root.
pub(super) fn resolved(rootfs: &Path, externals: &[External]) -> Vec<(External, String)> {
    let root = File::open(rootfs).ok();
    let own = root.as_ref().and_then(|root| path_of(root.as_raw_fd()));
    let real = |inside: &Path| {
        use std::os::fd::AsFd;
        let found = rooted::open(root.as_ref()?.as_fd(), inside).ok()?;
        let path = path_of(found.as_raw_fd())?;
        path.strip_prefix(own.as_ref()?).ok().map(Path::to_owned)
    };
    let point = |external: &External| {
        let inside = real(&external.inside).unwrap_or_else(|| external.inside.clone());
        (external.clone(), Path::new("/").join(inside).to_string_lossy().into_owned())
    };
    externals.iter().map(point).collect()
}

fn path_of(fd: i32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{fd}")).ok()
}

/// The inode numbers of namespaces that the container was put into.
fn namespaces(record: &Record, spec: &Spec) -> Result<Vec<(NamespaceKind, u64)>, Error> {
    let mut found = Vec::new();
    for namespace in spec.linux.namespaces.iter().filter(|n| n.path.is_some()) {
        let file = match namespace.kind {
            NamespaceKind::Network => "net",
            NamespaceKind::Pid => "pid",
            _ => continue,
        };
        let path = PathBuf::from(format!("/proc/{}/ns/{file}", record.pid));
        let failed = |source| Error::io("look at", &path, source);
        found.push((namespace.kind, fs::metadata(&path).map_err(failed)?.ino()));
    }
    Ok(found)
}

/// The cgroup by which the container's processes can be stopped all at once.
fn freezer(record: &Record) -> Option<PathBuf> {
    let places = &record.cgroup.as_ref()?.places;
    let has_freezer = |id: &HierarchyId| match id {
        HierarchyId::V1(controllers) => controllers.contains(Controller::Freezer),
        _ => false,
    };
    let v1 = places.iter().find(|place| has_freezer(&place.hierarchy));
    let place = v1.or_else(|| places.iter().find(|place| place.hierarchy == HierarchyId::V2))?;
    Some(place.path())
}

/// At a restore, pipes are replaced by those of whoever restores.
fn write_descriptors(record: &Record, images: &Path) -> Result<(), Error> {
    let link = |fd: u32| fs::read_link(format!("/proc/{}/fd/{fd}", record.pid));
    let text = |fd| link(fd).map_or_else(|_| String::new(), |l| l.to_string_lossy().into_owned());
    let descriptors: Vec<String> = (0..3).map(text).collect();
    let path = images.join(DESCRIPTORS);
    let bytes = serde_json::to_vec(&descriptors).map_err(io::Error::other);
    let written = bytes.and_then(|bytes| fs::write(&path, bytes));
    written.map_err(|source| Error::io("write", path, source))
}

fn tell_ready(fd: u32) -> Result<(), Error> {
    let path = PathBuf::from(format!("/proc/self/fd/{fd}"));
    let written = File::options().write(true).open(&path);
    let written = written.and_then(|mut file| io::Write::write_all(&mut file, &[0]));
    written.map_err(|source| Error::io("write to --status-fd", path, source))
}
