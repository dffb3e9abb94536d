//! `restore`: a container from images that `checkpoint` wrote.
//!
//! criu makes the processes, namespaces and mounts; the runtime gives it the root filesystem as a
//! mount point, the cgroup and what is outside, and writes the record when everything is there and
//! nothing runs yet. All mounts made for that are in a mount namespace of the runtime's own and end
//! with it.

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::Pid;

use super::checkpoint::{DESCRIPTORS, make, resolved};
use super::create::{self, CreateOptions, Created, Draft, PidFile};
use super::launch::{Known, Progress};
use super::record::{Record, process_stat};
use super::{ContainerId, Error, Store, readiness};
use crate::bundle::Bundle;
use crate::cgroup::{Existing, Group};
use crate::criu::request::{self, Lsm, LsmProfile, Prepared, Restore};
use crate::criu::{self, Notice, STAGE_READY, Service};
use crate::host;
use crate::init::{hook, message, rooted};
use crate::plan::{ChildStep, Content, ParentStep, Plan};
use crate::spec::{HookKind, NamespaceKind, Spec};
use crate::sys::process::pidfd_open;

/// The stage at which namespaces exist and nothing else does.
const STAGE_NAMESPACES: &str = "setup-namespaces";
/// The stage at which everything exists and nothing runs yet.
const STAGE_RESTORED: &str = "post-restore";
/// The stage that brings a terminal's master.
const STAGE_TERMINAL: &str = "orphan-pts-master";

/// What says that AppArmor is there.
const APPARMOR: &str = "Y in /sys/module/apparmor/parameters/enabled";

/// What says that SELinux is.
const SELINUX: &str = "/sys/fs/selinux/status";

/// Makes a container from images; its processes run when this returns.
///
/// # Errors
/// What failed. Nothing is left of it.
pub fn restore(
    store: &Store,
    id: &ContainerId,
    options: &CreateOptions,
    asked: &Restore,
) -> Result<Created, Error> {
    let (bundle, spec, plan) = create::decide(store, id, options)?;
    refuse(store, &bundle, &spec, &plan)?;
    refuse_modules(asked)?;
    let mut folder = store.reserve(id)?;
    // The mount may be part of the images; what was said there is not said again.
    readiness::make_folder(&folder, &spec, options)?;
    let draft = Draft::new(id, &bundle, &spec);
    let rootfs = prepare_root(&draft.rootfs, &plan)?;
    // criu mounts below its working directory, which has to be in the mount namespace just made.
    let images = open(&asked.common.image_path)?;
    let work = asked.common.work_path.as_deref().map(make).transpose()?;
    let (inherited, kept) = inherited(&spec, &asked.common.image_path)?;
    let borrowed: Vec<BorrowedFd<'_>> = kept.iter().map(AsFd::as_fd).collect();
    let log = asked.common.work_path.as_ref().unwrap_or(&asked.common.image_path);
    // Before criu, so that criu is gone when it is removed.
    let mut group = None;
    let service = Service::start(&asked.common.program, &borrowed, log.join(request::RESTORE_LOG))?;
    // What criu starts is in its own cgroups.
    enter_cgroup(&plan, service.pid(), &mut group)?;
    let externals = resolved(&rootfs, &request::externals(&plan));
    let prepared = Prepared {
        images_dir_fd: images.as_raw_fd(),
        work_dir_fd: work.as_ref().map(AsRawFd::as_raw_fd),
        rootfs,
        external_mounts: externals.into_iter().map(|(e, point)| (point, e.outside)).collect(),
        inherited,
        config_file: request::config_file(&spec.annotations),
        cgroups: if group.is_some() { cgroups_of(service.pid())? } else { Vec::new() },
    };
    let mut console = None;
    let mut written = None;
    let mut pid_file = PidFile::at(options.pid_file.as_deref());
    let request = request::restore(asked, &spec, &prepared);
    let response = service.ask(&request, |notice: Notice| {
        let cgroup = group.as_ref().map(Group::location);
        let start_ticks = process_stat(notice.pid).map_or(0, |stat| stat.start_ticks);
        let known = Known { pid: notice.pid, start_ticks, cgroup, resctrl: None, marked: None };
        match notice.stage.as_str() {
            STAGE_NAMESPACES => {
                folder.write_record(&draft.record(&bundle, known, Progress::Creating))?;
                run_hooks(&spec, &draft, notice.pid)
            }
            STAGE_RESTORED => {
                let record = draft.record(&bundle, known, Progress::Done);
                folder.write_record(&record)?;
                written = Some(record);
                pid_file.write(notice.pid)
            }
            STAGE_READY => check_profile(written.as_ref(), asked.lsm_profile.as_ref()),
            STAGE_TERMINAL => {
                console = hand_over(notice.fd, options.console_socket.as_deref())?;
                Ok(())
            }
            _ => Ok(()),
        }
    })?;
    let pid = response.restored.map_or(0, |restored| restored.pid);
    let pidfd = pidfd_open(pid).map_err(|source| Error::Signal { pid, source })?;
    folder.keep();
    pid_file.keep();
    group.map(Group::release);
    let warnings = create::warnings(&bundle, &spec, &plan);
    Ok(Created { pid, pidfd, console, record: written, readiness: None, executes: false, warnings })
}

/// What criu cannot restore, and nobody does in its place.
fn refuse(store: &Store, bundle: &Bundle, spec: &Spec, plan: &Plan) -> Result<(), Error> {
    create::refuse_anothers_root(store, bundle, spec)?;
    let into = spec.linux.namespaces.iter().find(|namespace| {
        let kind = namespace.kind;
        namespace.path.is_some()
            && matches!(kind, NamespaceKind::Cgroup | NamespaceKind::Time | NamespaceKind::Mount)
    });
    if let Some(namespace) = into {
        return Err(Error::CannotRestoreInto(namespace.kind));
    }
    // The mounts are criu's, which makes them in a namespace that it makes.
    if !spec.linux.creates(NamespaceKind::Mount) {
        return Err(Error::CannotRestore("a config.json without a mount namespace"));
    }
    plan.parent.iter().try_for_each(|step| match step {
        ParentStep::MakeRdtGroup(_) => Err(Error::CannotRestore("linux.intelRdt")),
        ParentStep::MoveInterface { .. } => Err(Error::CannotRestore("linux.netDevices")),
        _ => Ok(()),
    })
}

/// A profile or context of a security module that the kernel lacks: criu would say so too, but
/// after the hooks have run.
fn refuse_modules(asked: &Restore) -> Result<(), Error> {
    let flags = [
        ("--lsm-profile", asked.lsm_profile.as_ref().map(|profile| profile.module)),
        ("--lsm-mount-context", asked.lsm_mount_context.as_ref().map(|_| Lsm::SeLinux)),
    ];
    for (flag, module) in flags.into_iter().filter_map(|(flag, module)| Some((flag, module?))) {
        let (name, place, is_there) = match module {
            Lsm::AppArmor => ("AppArmor", APPARMOR, host::has_apparmor()),
            Lsm::SeLinux => ("SELinux", SELINUX, Path::new(SELINUX).exists()),
        };
        if !is_there {
            return Err(Error::NoSecurityModule { flag, name, place });
        }
    }
    Ok(())
}

/// criu replaces the profile of a process that had one, and is silent where it had none: then the
/// process is killed before it runs. The notice tells no pid; the record that was written does.
fn check_profile(written: Option<&Record>, asked: Option<&LsmProfile>) -> Result<(), Error> {
    let (Some(asked), Some(record)) = (asked, written) else { return Ok(()) };
    let path = PathBuf::from(format!("/proc/{}/attr/current", record.pid));
    let text = fs::read_to_string(&path);
    let current = text.as_deref().unwrap_or_default().trim_end_matches(['\0', '\n']);
    // AppArmor tells the mode after the name.
    let name = current.split(" (").next().unwrap_or_default();
    if name == asked.name {
        return Ok(());
    }
    // Also where it was not told. One that is gone does not run either.
    let _ = kill(Pid::from_raw(record.pid), Signal::SIGKILL);
    let (asked, current) = (asked.name.clone(), current.to_owned());
    text.map_err(|source| Error::io("read", &path, source))?;
    Err(Error::ProfileNotRestored { asked, current })
}

fn open(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(|source| Error::io("open", path, source))
}

/// Makes the root filesystem a mount point, and in it what the container's mounts need: where it
/// is, without links.
fn prepare_root(rootfs: &Path, plan: &Plan) -> Result<PathBuf, Error> {
    let real = rootfs.canonicalize().map_err(|source| Error::io("find", rootfs, source))?;
    let rootfs = real.as_path();
    let failed = |step| move |errno: Errno| Error::io(step, rootfs, errno.into());
    unshare(CloneFlags::CLONE_NEWNS).map_err(failed("make a mount namespace for"))?;
    let none: Option<&str> = None;
    let flags = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(none, "/", none, flags, none).map_err(failed("cut mounts off for"))?;
    let flags = MsFlags::MS_REC | MsFlags::MS_BIND;
    mount(Some(rootfs), rootfs, none, flags, none).map_err(failed("bind"))?;
    let root = open(rootfs)?;
    let mut hidden: Vec<&Path> = Vec::new();
    for step in &plan.child {
        let ChildStep::Mount { content, target, .. } = step else { continue };
        // What is inside another mount is there when that is.
        if !hidden.iter().any(|above| target.path.starts_with(above)) {
            let kind = match content {
                Content::HostTree { path, .. } | Content::OpenedTree { path, .. }
                    if !path.is_dir() =>
                {
                    rooted::Make::File
                }
                _ => rooted::Make::Directory,
            };
            rooted::open_or_make(root.as_fd(), &target.path, kind)
                .map_err(|errno| Error::io("make mount point", &target.path, errno.into()))?;
        }
        hidden.push(&target.path);
    }
    Ok(real)
}

/// Descriptors that take the place of pipes and of namespaces, by their names in the images; and
/// those of them that have to be kept open.
type Inherited = (Vec<(String, i32)>, Vec<OwnedFd>);

fn inherited(spec: &Spec, images: &Path) -> Result<Inherited, Error> {
    let (mut names, mut kept) = (Vec::new(), Vec::new());
    for namespace in &spec.linux.namespaces {
        let name = request::namespace_name(namespace.kind);
        let (Some(path), Some(name)) = (&namespace.path, name) else { continue };
        let file = OwnedFd::from(open(path)?);
        names.push((name.to_owned(), file.as_raw_fd()));
        kept.push(file);
    }
    let path = images.join(DESCRIPTORS);
    let text = fs::read(&path).map_err(|source| Error::io("read", &path, source))?;
    let descriptors: Vec<String> = serde_json::from_slice(&text)
        .map_err(|source| Error::ProcessFile { path: path.clone(), source })?;
    for (fd, name) in descriptors.into_iter().enumerate().take(3) {
        if name.starts_with("pipe:") {
            names.push((name, fd as i32));
        }
    }
    Ok((names, kept))
}

/// Puts criu into the container's cgroup, made as by `create`.
fn enter_cgroup(plan: &Plan, pid: i32, made: &mut Option<Group>) -> Result<(), Error> {
    let Some(cgroup) = &plan.cgroup else { return Ok(()) };
    let failed = |step| move |source| Error::Cgroup { step, source };
    let pid = Pid::from_raw(pid);
    let existing = match &cgroup.unit {
        Some(unit) => {
            Group::start_unit(unit, pid, &cgroup.decision).map_err(failed("start the scope of"))?;
            Existing::OfUnit
        }
        None => Existing::RefuseIfUsed,
    };
    let wanted = cgroup.decision.controllers();
    let group = Group::create(&cgroup.location, wanted, existing).map_err(failed("create"))?;
    let group = made.insert(group);
    group.apply(&cgroup.decision).map_err(failed("limit"))?;
    group.attach(pid).map_err(failed("enter"))
}

/// The cgroups of a process as (controller, path), as criu names them.
fn cgroups_of(pid: i32) -> Result<Vec<(String, String)>, Error> {
    let path = PathBuf::from(format!("/proc/{pid}/cgroup"));
    let text = fs::read_to_string(&path).map_err(|source| Error::io("read", path, source))?;
    Ok(cgroup_roots(&text))
}

fn cgroup_roots(text: &str) -> Vec<(String, String)> {
    let mut roots = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        roots.extend(controllers.split(',').map(|name| (name.to_owned(), path.to_owned())));
    }
    roots
}

fn run_hooks(spec: &Spec, draft: &Draft, pid: i32) -> Result<(), Error> {
    for kind in [HookKind::Prestart, HookKind::CreateRuntime] {
        let mut state = draft.hook_state.clone();
        state.pid = pid;
        let ran = hook::run_all(spec.hooks.of(kind), &state, hook::Files::Host);
        ran.map_err(|source| Error::Hook { kind, source })?;
    }
    Ok(())
}

/// Gives the terminal's master to whoever listens, or keeps it for the foreground.
fn hand_over(master: Option<OwnedFd>, to: Option<&Path>) -> Result<Option<OwnedFd>, Error> {
    let failed = |step| move |source| Error::Terminal { step, source };
    let Some(master) = master else { return Ok(None) };
    let send = |to: BorrowedFd<'_>| message::send_fd(to, b"/dev/ptmx", master.as_fd());
    if let Some(path) = to {
        let socket = message::connect(path).map_err(failed("connect to the receiver of"))?;
        send(socket.as_fd()).map_err(failed("send"))?;
        return Ok(None);
    }
    let flags = SockFlag::SOCK_CLOEXEC;
    let pair = socketpair(AddressFamily::Unix, SockType::Stream, None, flags);
    let (kept, given) = pair.map_err(failed("keep"))?;
    send(given.as_fd()).map_err(failed("keep"))?;
    Ok(Some(kept))
}

impl From<criu::Error> for Error {
    fn from(error: criu::Error) -> Error {
        Error::Criu(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::cgroup_roots;

    #[test]
    fn controllers_that_are_mounted_together_are_named_alone() {
        let text = "4:cpu,cpuacct:/a\n1:name=systemd:/b:c\n0::/d\n";
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let expected = [
            pair("cpu", "/a"),
            pair("cpuacct", "/a"),
            pair("name=systemd", "/b:c"),
            pair("", "/d"),
        ];
        assert_eq!(cgroup_roots(text), expected);
    }
}
