//! `create`, and the first half of `run`.

use std::ffi::OsString;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::launch::{Known, Launched, Progress, Setting, launch};
use super::readiness::{self, Readiness};
use super::record::{RECORD_VERSION, Record};
use super::store::{Folder, write_atomically};
use super::{ContainerId, Error, Store, clock};
use crate::bundle::Bundle;
use crate::cgroup::{self, Note};
use crate::host::Host;
use crate::init::hook::State;
use crate::init::mountinfo::refuse_anothers_mark;
use crate::plan::{Ask, Begin, CgroupDriver, Console, Plan, Withheld, plan};
use crate::spec::{CAPABILITY_NAMES, CapMask, MountKind, Namespace, NamespaceKind, Spec};

/// What the command line says.
#[derive(Clone, Debug)]
pub struct CreateOptions {
    /// The bundle's directory.
    pub bundle: PathBuf,
    /// When the program is executed.
    pub begin: Begin,
    /// Who gets the terminal's master.
    pub console_socket: Option<PathBuf>,
    /// Whether the runtime stays and can keep a terminal itself.
    pub stays: bool,
    /// Where the first process's pid is written.
    pub pid_file: Option<PathBuf>,
    /// Do not use pivot_root.
    pub no_pivot: bool,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
    /// Who makes the cgroup.
    pub cgroup_driver: CgroupDriver,
    /// How many descriptors from 3 on the program inherits.
    pub preserve_fds: u32,
    /// How many of these, the first ones, are sockets that a service manager opened.
    pub listen_fds: u32,
    /// Who gets the first process as a descriptor.
    pub pidfd_socket: Option<PathBuf>,
    /// The socket of a service manager that waits for the container's word (sd_notify(3)).
    pub notify_socket: Option<OsString>,
    /// Refuse properties that the specification does not know.
    pub strict: bool,
    /// The number of the step that a test lets fail.
    pub fail_step: Option<usize>,
}

/// A container that was created.
#[derive(Debug)]
pub struct Created {
    /// The first process's pid.
    pub pid: i32,
    /// The first process.
    pub pidfd: OwnedFd,
    /// Where the terminal's master arrives, if the runtime keeps it.
    pub console: Option<OwnedFd>,
    /// The container's record; `None` for a further process of a container.
    pub record: Option<Record>,
    /// Where the container tells that it is ready, if its program runs and anybody waits for that.
    pub readiness: Option<Readiness>,
    /// Whether the process becomes the program by an exec: one that was restored did so before.
    pub executes: bool,
    /// What is to be told although nothing failed.
    pub warnings: Vec<String>,
}

/// Creates a container; with [`Begin::AtOnce`] its program runs when this returns.
///
/// # Errors
/// What failed. Nothing is left of it.
pub fn create(store: &Store, id: &ContainerId, options: &CreateOptions) -> Result<Created, Error> {
    let (bundle, spec, plan) = decide(store, id, options)?;
    refuse_anothers_root(store, &bundle, &spec)?;
    let mut folder = store.reserve(id)?;
    let (readiness, unheard) = prepare_readiness(&folder, &spec, options)?;
    bundle.config.keep(&spec, &store.filters());
    let executes_at_once = options.begin == Begin::AtOnce;
    let no_new_keyring = options.no_new_keyring;
    let draft = Draft { executes_at_once, no_new_keyring, ..Draft::new(id, &bundle, &spec) };
    let folder_path = folder.path().to_owned();
    let mut written = None;
    let mut pid_file = PidFile::at(options.pid_file.as_deref());
    let mut write_record = |known: Known<'_>, progress| {
        let record = draft.record(&bundle, known, progress);
        folder.write_record(&record)?;
        written = Some(record);
        if progress == Progress::Done { pid_file.write(known.pid) } else { Ok(()) }
    };
    let setting = Setting {
        folder: &folder_path,
        hook_state: draft.hook_state.clone(),
        foreground: console(&spec, options) == Console::Foreground,
        stays: options.stays,
        write_record: &mut write_record,
        fail_step: options.fail_step,
    };
    let Launched { process, group, console } = launch(&plan, setting)?;
    // From here on nothing fails: the guards let go.
    folder.keep();
    pid_file.keep();
    group.map(cgroup::Group::release);
    let pid = process.pid();
    let mut warnings = warnings(&bundle, &spec, &plan);
    if options.notify_socket.is_some() && !readiness::is_possible(&spec) {
        warnings.push("NOTIFY_SOCKET: not passed on, which needs a new mount namespace".to_owned());
    }
    warnings.extend(unheard.map(|error| crate::cli::chain(&error)));
    let pidfd = process.release();
    Ok(Created { pid, pidfd, console, record: written, readiness, executes: true, warnings })
}

/// Makes the folder of the container's socket, and listens where its program runs at once, or says
/// why nobody can be told.
fn prepare_readiness(
    folder: &Folder,
    spec: &Spec,
    options: &CreateOptions,
) -> Result<(Option<Readiness>, Option<Error>), Error> {
    let has_folder = readiness::make_folder(folder, spec, options)?;
    match &options.notify_socket {
        Some(name) if has_folder && options.begin == Begin::AtOnce => {
            Ok(readiness::or_warning(Readiness::listen(folder, name)))
        }
        _ => Ok((None, None)),
    }
}

/// See [`refuse_anothers_mark`]. In a joined namespace, paths are looked up there, by the child.
pub(super) fn refuse_anothers_root(
    store: &Store,
    bundle: &Bundle,
    spec: &Spec,
) -> Result<(), Error> {
    let is_joined = |n: &Namespace| n.kind == NamespaceKind::Mount && n.path.is_some();
    if spec.linux.namespaces.iter().any(is_joined) {
        return store.note_marks();
    }
    // Thousands of mounts take longer to read than a container to make.
    if !spec.linux.creates(NamespaceKind::Mount) {
        store.note_marks()?;
    } else if !store.has_marks() {
        return Ok(());
    }
    let path = bundle.path.join(&spec.rootfs);
    // One that cannot be looked up is told by the step that needs it.
    let Ok(place) = open(&path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()) else {
        return Ok(());
    };
    refuse_anothers_mark(place.as_fd()).map_err(|source| Error::Root { path, source })
}

/// The specification wants a warning of the capabilities that cannot be granted, and no failure.
pub(super) fn capability_warnings(unknown: &[String], withheld: Withheld) -> Vec<String> {
    let names = |mask: CapMask| {
        let has = |(number, _): &(usize, &&str)| mask & 1 << number != 0;
        let names = CAPABILITY_NAMES.iter().enumerate().filter(has).map(|(_, name)| *name);
        names.collect::<Vec<&str>>().join(", ")
    };
    let mut warnings = Vec::new();
    if !unknown.is_empty() {
        let names = unknown.join(", ");
        warnings.push(format!("process.capabilities has what is no capability: {names}"));
    }
    if withheld.lacking != 0 {
        let (why, names) = ("the runtime itself lacks them", names(withheld.lacking));
        warnings.push(format!("process.capabilities: not granted, as {why}: {names}"));
    }
    if withheld.not_ambient != 0 {
        let why = "they are not both permitted and inheritable";
        let names = names(withheld.not_ambient);
        warnings.push(format!("process.capabilities.ambient: not granted, as {why}: {names}"));
    }
    warnings
}

/// What is to be told of a container although nothing failed.
pub(super) fn warnings(bundle: &Bundle, spec: &Spec, plan: &Plan) -> Vec<String> {
    let mut warnings = capability_warnings(&bundle.unknown_capabilities, plan.withheld);
    let ignoring = spec.mounts.iter().enumerate().filter(|(_, mount)| !mount.ignored.is_empty());
    warnings.extend(ignoring.map(|(index, mount)| {
        let options = mount.ignored.join(",");
        let what = if mount.kind == MountKind::Cgroup { "view of cgroups" } else { "bind mount" };
        format!("mounts[{index}].options: a {what} has no {options:?} of its own: ignored")
    }));
    warnings.extend(relative_destinations(bundle));
    let notes = plan.cgroup.iter().flat_map(|cgroup| &cgroup.decision.notes);
    // Rules of devices, which an ordinary user cannot set, are in every configuration.
    let notes = notes.filter(|note| note.field != "devices");
    let told = |note: &Note| format!("left out linux.resources.{}: {}", note.field, note.why);
    warnings.extend(notes.map(told));
    warnings
}

/// Destinations that are taken from the container's root, as runc does and the specification does
/// not: there they are absolute.
fn relative_destinations(bundle: &Bundle) -> impl Iterator<Item = String> {
    let mounts = bundle.config.oci.mounts().iter().flatten().enumerate();
    let relative = mounts.filter(|(_, mount)| !mount.destination().is_absolute());
    relative.map(|(index, mount)| {
        let destination = mount.destination().display();
        format!(
            "mounts[{index}].destination: {destination} is not absolute, which is deprecated: \
             taken from the container's root"
        )
    })
}

/// The file that names the first process, removed on drop unless it is kept.
#[derive(Debug)]
pub(super) struct PidFile<'a> {
    path: Option<&'a Path>,
    is_written: bool,
}

impl<'a> PidFile<'a> {
    pub(super) fn at(path: Option<&'a Path>) -> PidFile<'a> {
        PidFile { path, is_written: false }
    }

    pub(super) fn write(&mut self, pid: i32) -> Result<(), Error> {
        let Some(path) = self.path else { return Ok(()) };
        write_atomically(path, pid.to_string().as_bytes(), 0o644)?;
        self.is_written = true;
        Ok(())
    }

    pub(super) fn keep(mut self) {
        self.is_written = false;
    }
}

impl Drop for PidFile<'_> {
    fn drop(&mut self) {
        if let (Some(path), true) = (self.path, self.is_written) {
            // The step that failed is told.
            let _ = fs::remove_file(path);
        }
    }
}

/// The plan that `create` would carry out, as text.
///
/// # Errors
/// What `create` would refuse before it touched the kernel.
pub fn dry_run(store: &Store, id: &ContainerId, options: &CreateOptions) -> Result<String, Error> {
    decide(store, id, options).map(|(_, _, plan)| plan.to_string())
}

/// A plan and what it was made from.
pub(super) type Decided = (Bundle, Spec, Plan);

pub(super) fn decide(
    store: &Store,
    id: &ContainerId,
    options: &CreateOptions,
) -> Result<Decided, Error> {
    let bundle = Bundle::open(&options.bundle, &store.filters())?;
    if options.strict {
        let unknown = bundle.unknown_properties();
        if !unknown.is_empty() {
            return Err(Error::Unknown(unknown));
        }
    }
    let mut spec = bundle.config.validate()?;
    if options.notify_socket.is_some() && readiness::is_possible(&spec) {
        readiness::add_to(&mut spec, &store.folder_of(id));
    }
    let host = Host::probe(&spec).map_err(Error::Host)?;
    let console = console(&spec, options);
    let ask = Ask {
        no_pivot: options.no_pivot,
        no_new_keyring: options.no_new_keyring,
        preserve_fds: options.preserve_fds,
        listen_fds: options.listen_fds,
        pidfd_socket: options.pidfd_socket.clone(),
        ..ask(id, &bundle.path, options.begin, console, options.cgroup_driver)
    };
    let plan = plan(&spec, &host, &ask)?;
    Ok((bundle, spec, plan))
}

/// What is asked where the command line says nothing more.
pub(super) fn ask(
    id: &ContainerId,
    bundle: &Path,
    begin: Begin,
    console: Console,
    cgroup_driver: CgroupDriver,
) -> Ask {
    Ask {
        id: id.to_string(),
        bundle: bundle.to_owned(),
        begin,
        console,
        no_pivot: false,
        no_new_keyring: false,
        preserve_fds: 0,
        listen_fds: 0,
        pidfd_socket: None,
        cgroup_driver,
    }
}

fn console(spec: &Spec, options: &CreateOptions) -> Console {
    match &options.console_socket {
        Some(path) => Console::Socket(path.clone()),
        None if options.stays && spec.process.terminal => Console::Foreground,
        None => Console::None,
    }
}

/// What is known of a container before it has a process.
pub(super) struct Draft {
    pub(super) hook_state: State,
    pub(super) rootfs: PathBuf,
    created: String,
    owns_pid_namespace: bool,
    /// Whether the program is executed without a further word, after the record is written.
    executes_at_once: bool,
    no_new_keyring: bool,
}

impl Draft {
    pub(super) fn new(id: &ContainerId, bundle: &Bundle, spec: &Spec) -> Draft {
        Draft {
            hook_state: State {
                oci_version: spec.oci_version.clone(),
                id: id.to_string(),
                status: "creating",
                pid: 0,
                bundle: bundle.path.clone(),
                annotations: spec.annotations.clone(),
            },
            rootfs: bundle.path.join(Path::new(&spec.rootfs)),
            created: clock::rfc3339(SystemTime::now()),
            owns_pid_namespace: spec.linux.creates(NamespaceKind::Pid),
            executes_at_once: false,
            no_new_keyring: false,
        }
    }

    pub(super) fn record(&self, bundle: &Bundle, known: Known<'_>, progress: Progress) -> Record {
        let pid = known.pid;
        let state = &self.hook_state;
        Record {
            version: RECORD_VERSION,
            oci_version: state.oci_version.clone(),
            id: state.id.clone(),
            pid,
            pid_start_ticks: known.start_ticks,
            bundle: state.bundle.clone(),
            rootfs: self.rootfs.clone(),
            created: self.created.clone(),
            owner_uid: nix::unistd::geteuid().as_raw(),
            annotations: state.annotations.clone(),
            cgroup: known.cgroup.cloned(),
            resctrl: known.resctrl.cloned(),
            marked: known.marked.cloned(),
            owns_pid_namespace: self.owns_pid_namespace,
            is_creating: progress == Progress::Creating,
            is_creating_until_exec: self.executes_at_once,
            no_new_keyring: self.no_new_keyring,
            config: bundle.text.clone(),
        }
    }
}
