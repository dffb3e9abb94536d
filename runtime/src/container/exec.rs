//! `exec`: runs another process in a container.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use nix::sys::prctl::set_dumpable;
use oci_spec::runtime as oci;

use super::launch::{Launched, Setting, launch};
use super::record::{Record, Status};
use super::state::status;
use super::store::write_atomically;
use super::{ContainerId, Created, Error, Store};
use crate::cgroup::{self, HierarchyId, Location, Place};
use crate::host::Host;
use crate::init::hook::State;
use crate::plan::{Ask, Begin, CgroupDriver, Console, Inside, plan_exec};
use crate::spec::{NamespaceKind, Spec};

/// Every kind, in the order in which they are listed.
const KINDS: [NamespaceKind; 8] = [
    NamespaceKind::User,
    NamespaceKind::Pid,
    NamespaceKind::Network,
    NamespaceKind::Ipc,
    NamespaceKind::Uts,
    NamespaceKind::Cgroup,
    NamespaceKind::Time,
    NamespaceKind::Mount,
];

/// What the command line says.
#[derive(Clone, Debug)]
pub struct ExecOptions {
    /// The process.
    pub process: Wanted,
    /// Who gets the terminal's master.
    pub console_socket: Option<PathBuf>,
    /// Whether the runtime stays until the process ends.
    pub stays: bool,
    /// Where the process's pid is written.
    pub pid_file: Option<PathBuf>,
    /// How many descriptors from 3 on the program inherits.
    pub preserve_fds: u32,
    /// Groups below the container's own to join.
    pub cgroups: Vec<SubCgroup>,
    /// Whether a paused container is entered too; the process then waits for `resume`.
    pub ignore_paused: bool,
}

/// Where the process comes from.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// A file with a process of config.json's form.
    File(PathBuf),
    /// The container's own process, changed.
    Changed(Box<Change>),
}

/// Changes to the container's process.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// Another working directory.
    pub cwd: Option<PathBuf>,
    /// More environment, which wins.
    pub env: Vec<String>,
    /// Whether it gets a terminal.
    pub terminal: bool,
    /// Another user, and perhaps group.
    pub user: Option<(u32, Option<u32>)>,
    /// More groups.
    pub additional_gids: Vec<u32>,
    /// More capabilities, such as `CAP_SYS_ADMIN`.
    pub capabilities: Vec<oci::Capability>,
    /// Another value of no_new_privs.
    pub no_new_privileges: Option<bool>,
    /// Another AppArmor profile.
    pub apparmor: Option<String>,
    /// Another SELinux label.
    pub label: Option<String>,
}

/// `[controllers:]path`, below the container's cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubCgroup {
    /// On which v1 hierarchies; empty is all, and v2.
    pub controllers: Vec<String>,
    /// The path, without a leading slash.
    pub path: PathBuf,
}

/// Runs a process in a container. When this returns, its program runs.
///
/// # Errors
/// What failed. Nothing is left of it.
pub fn exec(store: &Store, id: &ContainerId, options: &ExecOptions) -> Result<Created, Error> {
    let record = store.read(id)?;
    match status(&record, store.awaits_start(id))? {
        Status::Running | Status::Created => {}
        Status::Paused if options.ignore_paused => {}
        other => return Err(Error::CannotExec(other)),
    }
    // Before there is a process that the container could see: nothing of it is traced or read.
    set_dumpable(false).map_err(|source| Error::Signal { pid: 0, source })?;
    let config: oci::Spec = serde_json::from_str(record.config.get())
        .map_err(|source| Error::Damaged { path: PathBuf::from(id.as_str()), source })?;
    let process = process(&config, &options.process)?;
    let spec = Spec::validate(&config)?.with_process(&process)?;
    let host = Host::probe().map_err(Error::Host)?;
    let console = match &options.console_socket {
        Some(path) => Console::Socket(path.clone()),
        None if options.stays && spec.process.terminal => Console::Foreground,
        None => Console::None,
    };
    let ask = Ask {
        id: record.id.clone(),
        bundle: record.bundle.clone(),
        begin: Begin::AtOnce,
        console: console.clone(),
        no_pivot: false,
        no_new_keyring: false,
        preserve_fds: options.preserve_fds,
        cgroup_driver: CgroupDriver::Cgroupfs,
    };
    let inside = inside(&record, &options.cgroups)?;
    let plan = plan_exec(&spec, &host, &ask, &inside)?;
    let setting = Setting {
        folder: &record.bundle,
        hook_state: hook_state(&record),
        foreground: console == Console::Foreground,
        write_record: &mut |_, _, _| Ok(()),
        fail_step: None,
    };
    let Launched { process, group: _, console } = launch(&plan, setting)?;
    let pid = process.pid();
    if let Some(path) = &options.pid_file {
        write_atomically(path, pid.to_string().as_bytes(), 0o644)?;
    }
    Ok(Created { pid, pidfd: process.release(), console, record: None })
}

/// No hook runs, so nobody reads it.
fn hook_state(record: &Record) -> State {
    State {
        oci_version: record.oci_version.clone(),
        id: record.id.clone(),
        status: "running",
        pid: record.pid,
        bundle: record.bundle.clone(),
        annotations: record.annotations.clone(),
    }
}

/// The facts of the live container that the plan wants.
fn inside(record: &Record, sub: &[SubCgroup]) -> Result<Inside, Error> {
    let cgroup = match &record.cgroup {
        Some(location) => Some(joined_cgroup(location, record.pid, sub)?),
        None => None,
    };
    Ok(Inside {
        pid: record.pid,
        pid_start_ticks: record.pid_start_ticks,
        namespaces: KINDS.into_iter().filter(|kind| is_other(record.pid, *kind)).collect(),
        rootfs: record.rootfs.clone(),
        cgroup,
    })
}

/// Whether a process has another namespace of this kind than the runtime. A kind that the kernel
/// does not have is nobody's.
fn is_other(pid: i32, kind: NamespaceKind) -> bool {
    let inode = |who: &str| {
        let path = format!("/proc/{who}/ns/{}", kind.file());
        fs::metadata(path).ok().map(|m| (m.dev(), m.ino()))
    };
    inode(&pid.to_string()) != inode("self")
}

/// The container's cgroup, or the one below it that is wanted.
///
/// A v2 group that hands controllers to groups below it takes no process: a container with an
/// init system of its own has made it so. Then its first process's own group is joined.
fn joined_cgroup(location: &Location, pid: i32, sub: &[SubCgroup]) -> Result<Location, Error> {
    let mut location = location.clone();
    for place in &mut location.places {
        for wanted in sub.iter().filter(|sub| concerns(sub, &place.hierarchy)) {
            place.inner.push(&wanted.path);
        }
        if place.hierarchy == HierarchyId::V2 && sub.is_empty() && hands_down(place) {
            let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))
                .map_err(|source| Error::io("read", format!("/proc/{pid}/cgroup"), source))?;
            let own = text.lines().find_map(|line| line.strip_prefix("0::/"));
            place.inner = own.map_or_else(|| place.inner.clone(), PathBuf::from);
        }
        place.made = 0;
    }
    if let Some(missing) = location.places.iter().find(|place| !place.path().is_dir()) {
        let source = std::io::ErrorKind::NotFound.into();
        return Err(Error::io("open cgroup", missing.path(), source));
    }
    Ok(location)
}

fn hands_down(place: &Place) -> bool {
    let text = fs::read_to_string(place.path().join("cgroup.subtree_control"));
    text.is_ok_and(|text| !text.trim().is_empty())
}

fn concerns(sub: &SubCgroup, hierarchy: &HierarchyId) -> bool {
    let name = hierarchy.to_string();
    sub.controllers.is_empty()
        || name.split(',').any(|controller| sub.controllers.iter().any(|c| c == controller))
}

impl SubCgroup {
    /// Reads `[controller[,controller…]:]path`.
    ///
    /// # Errors
    /// Why the path cannot be taken.
    pub fn parse(text: &str) -> Result<SubCgroup, &'static str> {
        let (controllers, path) = match text.split_once(':') {
            Some((controllers, path)) => (controllers.split(',').collect(), path),
            None => (Vec::new(), text),
        };
        let mut inner = PathBuf::new();
        for component in Path::new(path).components() {
            match component {
                Component::Normal(name) => inner.push(name),
                Component::RootDir | Component::CurDir => {}
                Component::ParentDir | Component::Prefix(_) => return Err("`..` is not allowed"),
            }
        }
        let controllers: Vec<&str> = controllers;
        if let Some(unknown) = controllers.iter().find(|name| !cgroup::is_controller(name)) {
            return Err(if unknown.is_empty() {
                "a controller's name is empty"
            } else {
                "it names no controller"
            });
        }
        let controllers = controllers.into_iter().map(str::to_owned).collect();
        Ok(SubCgroup { controllers, path: inner })
    }
}

fn process(config: &oci::Spec, wanted: &Wanted) -> Result<oci::Process, Error> {
    match wanted {
        Wanted::File(path) => {
            let text = crate::bundle::read(path)?;
            let process = serde_json::from_str(&text)
                .map_err(|source| Error::ProcessFile { path: path.clone(), source })?;
            Ok(match config.process() {
                Some(base) => confined(process, base),
                None => process,
            })
        }
        Wanted::Changed(change) => {
            let base = config.process().clone().unwrap_or_default();
            Ok(changed(base, change))
        }
    }
}

/// As runc does it: a process that says nothing of its confinement gets the container's.
fn confined(mut process: oci::Process, base: &oci::Process) -> oci::Process {
    let is_unset = |value: &Option<String>| value.as_ref().is_none_or(String::is_empty);
    if is_unset(process.apparmor_profile()) {
        process.set_apparmor_profile(base.apparmor_profile().clone());
    }
    if is_unset(process.selinux_label()) {
        process.set_selinux_label(base.selinux_label().clone());
    }
    if process.capabilities().is_none() {
        process.set_capabilities(base.capabilities().clone());
    }
    process
}

fn changed(mut process: oci::Process, change: &Change) -> oci::Process {
    process.set_args(Some(change.args.clone()));
    process.set_terminal(Some(change.terminal));
    process.set_console_size(None);
    if let Some(cwd) = &change.cwd {
        process.set_cwd(cwd.clone());
    }
    if !change.env.is_empty() {
        let mut env = process.env().clone().unwrap_or_default();
        env.extend(change.env.iter().cloned());
        process.set_env(Some(env));
    }
    if let Some(value) = change.no_new_privileges {
        process.set_no_new_privileges(Some(value));
    }
    if change.apparmor.is_some() {
        process.set_apparmor_profile(change.apparmor.clone());
    }
    if change.label.is_some() {
        process.set_selinux_label(change.label.clone());
    }
    let user = changed_user(process.user().clone(), change);
    process.set_user(user);
    if !change.capabilities.is_empty() {
        let capabilities = process.capabilities().clone().unwrap_or_else(no_capabilities);
        process.set_capabilities(Some(with_capabilities(capabilities, &change.capabilities)));
    }
    process
}

fn changed_user(mut user: oci::User, change: &Change) -> oci::User {
    if let Some((uid, gid)) = change.user {
        user.set_uid(uid);
        if let Some(gid) = gid {
            user.set_gid(gid);
        }
    }
    if !change.additional_gids.is_empty() {
        let mut gids = user.additional_gids().clone().unwrap_or_default();
        gids.extend(&change.additional_gids);
        user.set_additional_gids(Some(gids));
    }
    user
}

fn no_capabilities() -> oci::LinuxCapabilities {
    let mut none = oci::LinuxCapabilities::default();
    none.set_bounding(None).set_effective(None).set_permitted(None);
    none.set_inheritable(None).set_ambient(None);
    none
}

/// As runc does it: the ambient set grows only if the container has an inheritable set, because
/// without that the kernel refuses it; the inheritable set never grows.
fn with_capabilities(
    mut capabilities: oci::LinuxCapabilities,
    more: &[oci::Capability],
) -> oci::LinuxCapabilities {
    let grown = |set: &Option<oci::Capabilities>| {
        let mut set = set.clone().unwrap_or_default();
        set.extend(more.iter().copied());
        Some(set)
    };
    let bounding = grown(capabilities.bounding());
    let effective = grown(capabilities.effective());
    let permitted = grown(capabilities.permitted());
    capabilities.set_bounding(bounding).set_effective(effective).set_permitted(permitted);
    if capabilities.inheritable().as_ref().is_some_and(|set| !set.is_empty()) {
        let ambient = grown(capabilities.ambient());
        capabilities.set_ambient(ambient);
    }
    capabilities
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sub_cgroups_are_read_and_cannot_leave() {
        let sub = |controllers: &[&str], path: &str| SubCgroup {
            controllers: controllers.iter().map(|c| (*c).to_owned()).collect(),
            path: PathBuf::from(path),
        };
        assert_eq!(SubCgroup::parse("/a/b"), Ok(sub(&[], "a/b")));
        assert_eq!(SubCgroup::parse("cpu,memory:a"), Ok(sub(&["cpu", "memory"], "a")));
        assert_eq!(SubCgroup::parse("/"), Ok(sub(&[], "")));
        for bad in ["../a", "a/../../b", "bogus:a", ":a"] {
            assert!(SubCgroup::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_changed_process_keeps_what_was_not_changed() {
        let base = oci::Process::default();
        let change = Change {
            args: vec!["id".into()],
            env: vec!["A=b".into()],
            user: Some((7, None)),
            additional_gids: vec![9],
            ..Change::default()
        };
        let process = changed(base.clone(), &change);
        assert_eq!(process.cwd(), base.cwd());
        assert_eq!(process.args().as_deref(), Some(["id".to_owned()].as_slice()));
        assert_eq!(process.env().as_ref().unwrap().last().unwrap(), "A=b");
        assert_eq!((process.user().uid(), process.user().gid()), (7, base.user().gid()));
        assert_eq!(process.capabilities(), base.capabilities());
        assert_eq!(process.terminal(), Some(false));
    }

    #[test]
    fn a_process_from_a_file_is_confined_as_the_container_is() {
        let mut base = oci::Process::default();
        base.set_apparmor_profile(Some("engine-default".to_owned()));
        let own = |profile: Option<&str>| {
            let mut process = oci::Process::default();
            process.set_apparmor_profile(profile.map(str::to_owned));
            confined(process, &base).apparmor_profile().clone().unwrap()
        };
        assert_eq!(own(None), "engine-default");
        assert_eq!(own(Some("")), "engine-default");
        assert_eq!(own(Some("unconfined")), "unconfined");
        let bare = r#"{ "user": { "uid": 0, "gid": 0 }, "cwd": "/", "args": ["true"] }"#;
        let bare = confined(serde_json::from_str(bare).unwrap(), &base);
        assert_eq!(bare.capabilities(), base.capabilities());
        let mut dropped = bare.clone();
        dropped.set_capabilities(Some(no_capabilities()));
        assert_eq!(confined(dropped, &base).capabilities(), &Some(no_capabilities()));
    }

    #[test]
    fn an_added_capability_is_never_inheritable() {
        let more = [oci::Capability::SysAdmin];
        let grown = with_capabilities(no_capabilities(), &more);
        for set in [grown.bounding(), grown.effective(), grown.permitted()] {
            assert!(set.as_ref().unwrap().contains(&oci::Capability::SysAdmin));
        }
        assert_eq!((grown.inheritable(), grown.ambient()), (&None, &None));
    }
}
