//! Steps of the root filesystem and of what is mounted in it.

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::step::{ChildStep, Cloning, Content, Finding, ParentStep, RootPlace, Target};
use super::{Builder, CgroupPlan, Console, DEFAULT_PROPAGATION};
use crate::cgroup::{Mode, Version};
use crate::spec::{
    IdMapping, Mount, MountKind, MountOptions, NamespaceKind, Propagation, Tmpcopyup,
};

/// The root filesystem's tree, attached but not yet the root.
pub(super) fn root(b: &mut Builder<'_>) {
    let path = b.host_path(&b.spec.rootfs);
    if !b.creates(NamespaceKind::Mount) {
        return root_among_others(b, path);
    }
    // Until the end nothing that is mounted here may reach the host, whatever is asked for.
    let propagation = match b.spec.linux.rootfs_propagation {
        Some(wanted) if wanted.flag == libc::MS_PRIVATE => {
            Propagation { flag: libc::MS_PRIVATE, recursive: true }
        }
        _ => DEFAULT_PROPAGATION,
    };
    b.child.push(ChildStep::Propagate { propagation });
    if opens_for_child(b) {
        let slot = b.slot();
        let tree = ParentStep::CloneTree { slot, path: path.clone(), recursive: true };
        before_clone(b, tree);
        b.child.push(ChildStep::TakeRoot { slot, path: path.clone() });
    } else {
        b.child.push(ChildStep::OpenRoot { path: path.clone() });
    }
    let at = if is_seen_by_hooks(b) { RootPlace::Path(path) } else { RootPlace::Root };
    b.child.push(ChildStep::AttachRoot { at });
}

/// In a mount namespace that others use: paths are looked up there, and none of its mounts changes.
fn root_among_others(b: &mut Builder<'_>, path: PathBuf) {
    let namespace = b.mounts;
    before_clone(b, ParentStep::NoteMounts { namespace });
    if let Some(slot) = namespace {
        b.child.push(ChildStep::JoinNamespace { slot, kind: NamespaceKind::Mount });
    }
    b.child.push(ChildStep::OpenRoot { path: path.clone() });
    b.child.push(ChildStep::AttachRoot { at: RootPlace::Marked(path) });
}

/// Whether hooks may look for the root at its path on the host: those that run before it becomes
/// the root. Such as vendors of devices ship enter the namespace and mount there. Where no root is
/// pivoted, the host's mounts are taken away at the end, which needs the root on theirs.
fn is_seen_by_hooks(b: &Builder<'_>) -> bool {
    let hooks = &b.spec.hooks;
    let early = [&hooks.prestart, &hooks.create_runtime, &hooks.create_container];
    !b.ask.no_pivot && early.iter().any(|hooks| !hooks.is_empty())
}

/// Whether the parent clones trees of the host before the child exists: because in its user
/// namespace the child may have no right to look them up, or because they shall stay shared with
/// the host, whose mounts the child's first step cuts off.
fn opens_for_child(b: &Builder<'_>) -> bool {
    let in_userns = b.spec.linux.namespaces.iter().any(|n| n.kind == NamespaceKind::User);
    b.host.is_privileged && (in_userns || is_shared(b))
}

fn is_shared(b: &Builder<'_>) -> bool {
    b.spec.linux.rootfs_propagation.is_some_and(|p| p.flag == libc::MS_SHARED)
}

fn before_clone(b: &mut Builder<'_>, step: ParentStep) {
    let clone = b.parent.iter().position(|step| matches!(step, ParentStep::Clone { .. }));
    b.parent.insert(clone.unwrap_or(b.parent.len()), step);
}

fn before_first_proceed(b: &mut Builder<'_>, step: ParentStep) {
    let proceed = b.parent.iter().position(|step| *step == ParentStep::Proceed);
    b.parent.insert(proceed.unwrap_or(b.parent.len()), step);
}

fn before_attach(b: &mut Builder<'_>, step: ChildStep) {
    let attach = b.child.iter().position(|step| matches!(step, ChildStep::AttachRoot { .. }));
    b.child.insert(attach.unwrap_or(b.child.len()), step);
}

/// Filesystems that show the same in every network namespace.
const WITHOUT_NETWORK: [&[u8]; 4] = [b"proc", b"tmpfs", b"devpts", b"mqueue"];

/// All mounts of config.json, in its order, but for those that can be late.
pub(super) fn all(b: &mut Builder<'_>, cgroup: Option<&CgroupPlan>) {
    let are_late = b.mounts_late;
    let spec = b.spec;
    for mount in spec.mounts.iter().filter(|mount| !(are_late && is_late(mount))) {
        one(b, mount, cgroup);
    }
}

/// Whether a mount shows the network namespace or the cgroup, which take long to be made.
fn is_late(mount: &Mount) -> bool {
    match &mount.kind {
        MountKind::Cgroup => true,
        MountKind::Filesystem { kind, .. } => kind.to_bytes() == b"sysfs",
        MountKind::Bind { .. } => false,
    }
}

/// Whether these can come after everything else: they are the last, so the mounts are made in the
/// order of config.json, and nothing else is on the way to one, or below, but for what is covered
/// last.
pub(super) fn can_be_late(b: &Builder<'_>) -> bool {
    let spec = b.spec;
    let Some(first) = spec.mounts.iter().position(is_late) else { return true };
    let late = &spec.mounts[first..];
    let cwd = crate::spec::inside(Path::new(OsStr::from_bytes(spec.process.cwd.to_bytes())));
    let devices = spec.linux.devices.iter().map(|device| device.path.as_path());
    let others = devices.chain(Some(cwd.as_path()).filter(|cwd| *cwd != Path::new("")));
    let covers = [&spec.linux.readonly_paths, &spec.linux.masked_paths];
    let above = |late: &Path| covers.into_iter().flatten().any(|path| late.starts_with(path));
    let others: Vec<&Path> = others.collect();
    late.iter().all(is_late)
        && late.iter().map(|mount| mount.destination.as_path()).all(|late| {
            !above(late)
                && !others.iter().any(|other| late.starts_with(other) || other.starts_with(late))
        })
}

fn one(b: &mut Builder<'_>, mount: &Mount, cgroup: Option<&CgroupPlan>) {
    let spec = b.spec;
    match &mount.kind {
        MountKind::Bind { source, recursive, id_mapping } => {
            bind(b, mount, b.host_path(source), *recursive, id_mapping.as_ref());
        }
        MountKind::Filesystem { kind, source, parameters, copy_up } => {
            if !WITHOUT_NETWORK.contains(&kind.to_bytes()) {
                b.enter_network();
            }
            let finding = match is_without_links(mount) {
                true => Finding::NoLinks,
                false => Finding::MakeMissing,
            };
            let mut parameters = parameters.clone();
            parameters.extend(context(b, kind));
            let (kind, source) = (kind.clone(), source.clone());
            let is_queue = kind.to_bytes() == b"mqueue";
            let copy_up = *copy_up;
            let content = Content::Filesystem { kind, source, parameters, copy_up };
            let is_open = closes_late(b, mount);
            let mut mount = mount.clone();
            if is_open {
                mount.options.set &= !libc::MOUNT_ATTR_RDONLY;
            }
            push(b, content, &mount, finding);
            if let (true, Some(label)) = (is_queue, spec.linux.mount_label.clone()) {
                let path = mount.destination.clone();
                b.child.push(ChildStep::LabelMount { path, label });
            }
        }
        MountKind::Cgroup => {
            // What is not there cannot be mounted.
            b.await_parent();
            cgroups(b, mount, cgroup);
        }
    }
}

/// A tree of the host. It is looked up before the root is attached, whatever its path says: one
/// that leads above the place of the root, be it by links or `..`, must not show the container's.
fn bind(
    b: &mut Builder<'_>,
    mount: &Mount,
    path: PathBuf,
    recursive: bool,
    id_mapping: Option<&IdMapping>,
) {
    let slot = b.slot();
    let mut mount = mount.clone();
    if opens_for_child(b) || id_mapping.is_some() {
        before_clone(b, ParentStep::CloneTree { slot, path: path.clone(), recursive });
        if let Some(map) = id_mapping {
            let (uid, gid) = (map.uid.clone(), map.gid.clone());
            let recursive = map.recursive;
            before_first_proceed(b, ParentStep::MapTree { slot, uid, gid, recursive });
        }
        if !is_shared(b) {
            mount.options.propagation.insert(0, (libc::MS_SLAVE, true));
        }
    } else {
        let is_on_root = b.creates(NamespaceKind::Mount) && !is_seen_by_hooks(b);
        let cloning = match (recursive, is_on_root) {
            (false, _) => Cloning::WhenMounted,
            (true, true) => Cloning::NowIfRoot,
            (true, false) => Cloning::Now,
        };
        let path = path.clone();
        before_attach(b, ChildStep::OpenTree { slot, path, recursive, cloning });
    }
    push(b, Content::OpenedTree { slot, path, recursive }, &mount, Finding::MakeMissing);
}

/// Whether a mount is read-only only in the end: a tmpfs in which places of other mounts or devices
/// may have to be made first, as in a /dev that is read-only. By a link of the image, any that
/// comes later may be in it.
fn closes_late(b: &Builder<'_>, mount: &Mount) -> bool {
    let spec = b.spec;
    // Looking at all others costs more than the rest of the plan, and hardly any mount needs it.
    if mount.options.set & libc::MOUNT_ATTR_RDONLY == 0 || !is_filesystem(mount, b"tmpfs") {
        return false;
    }
    let here = mount.destination.as_path();
    let Some(at) = spec.mounts.iter().position(|other| std::ptr::eq(other, mount)) else {
        return false;
    };
    if spec.mounts[at + 1..].iter().any(|other| here.starts_with(&other.destination)) {
        return false;
    }
    // The last mount on a way is what it leads through: others are above it, or covered. What
    // begins empty has no links.
    let is_elsewhere = |path: &Path, earlier: &[Mount]| {
        let is_above = |place: &Path| path.starts_with(place) && path != place;
        let last = earlier.iter().rfind(|other| is_above(&other.destination));
        let has_links = |other: &Mount| !begins_empty(other) && !is_without_links(other);
        !path.starts_with(here) && last.is_some_and(|last| !has_links(last))
    };
    let is_in = |(n, other): (usize, &Mount)| {
        let path = other.destination.as_path();
        // What is reached without links is where it says.
        let is_far = is_without_links(other) && !path.starts_with(here);
        !is_far && !is_elsewhere(path, &spec.mounts[..n])
    };
    // Those that are late are the last of all anyway.
    if spec.mounts.iter().enumerate().skip(at + 1).any(is_in) {
        return true;
    }
    let cwd = crate::spec::inside(Path::new(OsStr::from_bytes(spec.process.cwd.to_bytes())));
    let cwd = Some(cwd.as_path()).filter(|cwd| *cwd != here && *cwd != Path::new(""));
    let devices = spec.linux.devices.iter().map(|device| device.path.as_path());
    // Of the usual devices one stands for all, and for the terminal.
    let devices = fills_dev(b).then(|| devices.chain([Path::new("dev/null")]));
    devices.into_iter().flatten().chain(cwd).any(|path| !is_elsewhere(path, &spec.mounts))
}

fn is_filesystem(mount: &Mount, wanted: &[u8]) -> bool {
    matches!(&mount.kind, MountKind::Filesystem { kind, .. } if kind.to_bytes() == wanted)
}

fn begins_empty(mount: &Mount) -> bool {
    let is_copy = matches!(&mount.kind, MountKind::Filesystem { copy_up: Tmpcopyup::Yes, .. });
    is_filesystem(mount, b"tmpfs") && !is_copy
}

/// See [`Finding::NoLinks`].
fn is_without_links(mount: &Mount) -> bool {
    is_filesystem(mount, b"proc") || is_filesystem(mount, b"sysfs")
}

/// The SELinux context of a filesystem of the container's own. proc, sysfs and cgroups have those
/// of the policy, and the message queues' filesystem takes no such option.
fn context(b: &Builder<'_>, kind: &CStr) -> Option<(CString, Option<CString>)> {
    const OF_POLICY: [&[u8]; 5] = [b"proc", b"sysfs", b"cgroup", b"cgroup2", b"mqueue"];
    let label = b.spec.linux.mount_label.clone()?;
    (!OF_POLICY.contains(&kind.to_bytes())).then(|| (c"context".to_owned(), Some(label)))
}

fn push(b: &mut Builder<'_>, content: Content, mount: &Mount, finding: Finding) {
    let target = Target { path: mount.destination.clone(), finding };
    let options = options_of(b, mount, &content);
    b.child.push(ChildStep::Mount { content, target, options });
}

fn options_of(b: &Builder<'_>, mount: &Mount, content: &Content) -> MountOptions {
    let mut options = mount.options.clone();
    let is_of_host = !matches!(content, Content::Filesystem { .. });
    if is_of_host && !b.creates(NamespaceKind::Mount) {
        // What is mounted below it must not arrive where it was cloned from.
        options.propagation.insert(0, (libc::MS_SLAVE, true));
    }
    options
}

/// The container's view of its cgroups, as the host's layout has it.
fn cgroups(b: &mut Builder<'_>, mount: &Mount, cgroup: Option<&CgroupPlan>) {
    let Some(cgroup) = cgroup else {
        // Without a cgroup of its own, the container sees the host's. Some of it may be its user's:
        // read-only concerns every hierarchy that is mounted there (CVE-2023-25809).
        let content = Content::HostTree { path: PathBuf::from("/sys/fs/cgroup"), recursive: true };
        let mut mount = mount.clone();
        mount.options.tree_set |= mount.options.set & libc::MOUNT_ATTR_RDONLY;
        return push(b, content, &mount, Finding::MakeMissing);
    };
    if b.host.cgroups.mode() == Mode::V2 {
        let content = match cgroup.location.v2() {
            Some(place) if !b.creates(NamespaceKind::Cgroup) => {
                Content::HostTree { path: place.path(), recursive: false }
            }
            _ => filesystem("cgroup2", &[]),
        };
        return push(b, content, mount, Finding::MakeMissing);
    }
    let read_only = mount.options.set & libc::MOUNT_ATTR_RDONLY;
    let mut options = mount.options.clone();
    options.set &= !libc::MOUNT_ATTR_RDONLY;
    let target = |path: PathBuf| Target { path, finding: Finding::MakeMissing };
    let mut content = filesystem("tmpfs", &[("mode", "755")]);
    if let Content::Filesystem { parameters, .. } = &mut content {
        parameters.extend(context(b, c"tmpfs"));
    }
    b.child.push(ChildStep::Mount { content, target: target(mount.destination.clone()), options });
    for place in cgroup.location.places.iter().filter(|p| p.version() == Version::V1) {
        let Some(name) = place.mount_point.file_name().map(Path::new) else { continue };
        let content = Content::HostTree { path: place.path(), recursive: false };
        let options = options_of(b, mount, &content);
        let target = target(mount.destination.join(name));
        b.child.push(ChildStep::Mount { content, target, options });
        let controllers = name.to_str().unwrap_or_default();
        if controllers.contains(',') {
            for controller in controllers.split(',') {
                let path = mount.destination.join(controller);
                b.child.push(ChildStep::Link { path, target: super::c_path(name) });
            }
        }
    }
    if read_only != 0 {
        b.child.push(ChildStep::ReadonlyMount { path: mount.destination.clone() });
    }
}

fn filesystem(kind: &str, parameters: &[(&str, &str)]) -> Content {
    let text = |text: &str| super::c_path(Path::new(text));
    Content::Filesystem {
        kind: text(kind),
        source: None,
        parameters: parameters.iter().map(|(k, v)| (text(k), Some(text(v)))).collect(),
        copy_up: Tmpcopyup::No,
    }
}

/// What hides or closes parts of the tree, the mounts that are late, and the change of root.
pub(super) fn finish(b: &mut Builder<'_>, cgroup: Option<&CgroupPlan>) {
    let spec = b.spec;
    if !spec.has_mounts() {
        b.enter_network();
        b.await_parent();
        return without_mounts(b);
    }
    let cwd = Path::new(OsStr::from_bytes(spec.process.cwd.to_bytes()));
    if cwd != Path::new("/") {
        b.child.push(ChildStep::MakeDirectory { path: crate::spec::inside(cwd) });
    }
    if spec.process.terminal && b.ask.console != Console::None {
        let terminal = terminal(b, true);
        b.child.push(terminal);
    }
    let late: Vec<&Mount> = match b.mounts_late {
        true => spec.mounts.iter().filter(|mount| is_late(mount)).collect(),
        false => Vec::new(),
    };
    let is_below = |path: &Path| late.iter().any(|mount| path.starts_with(&mount.destination));
    cover(b, |path| !is_below(path));
    late.iter().for_each(|mount| one(b, mount, cgroup));
    cover(b, is_below);
    b.enter_network();
    b.await_parent();
    let closed: Vec<&Mount> = spec.mounts.iter().filter(|mount| closes_late(b, mount)).collect();
    let close = |mount: &Mount| ChildStep::ReadonlyMount { path: mount.destination.clone() };
    b.child.extend(closed.into_iter().map(close));
    b.child.push(match (b.creates(NamespaceKind::Mount), b.ask.no_pivot) {
        (false, _) => ChildStep::EnterRoot,
        (true, true) => ChildStep::MoveRoot,
        (true, false) => ChildStep::PivotRoot,
    });
    if spec.rootfs_readonly {
        b.child.push(ChildStep::ReadonlyRoot);
    }
    match spec.linux.rootfs_propagation {
        Some(propagation) if propagation != DEFAULT_PROPAGATION => {
            b.child.push(ChildStep::PropagateRoot { propagation });
        }
        _ => {}
    }
}

/// The process's terminal.
pub(super) fn terminal(b: &Builder<'_>, bind: bool) -> ChildStep {
    let in_foreground = b.ask.console == Console::Foreground;
    let console_size = b.spec.process.console_size;
    ChildStep::Terminal { console_size, bind, in_foreground }
}

/// Closes and hides those paths that are chosen.
fn cover(b: &mut Builder<'_>, is_chosen: impl Fn(&Path) -> bool) {
    let linux = &b.spec.linux;
    for path in linux.readonly_paths.iter().filter(|path| is_chosen(path)) {
        b.child.push(ChildStep::ReadonlyPath { path: path.clone() });
    }
    for path in linux.masked_paths.iter().filter(|path| is_chosen(path)) {
        b.child.push(ChildStep::MaskPath { path: path.clone() });
    }
}

/// In the runtime's mount namespace or a joined one, where nothing is mounted: its root is what is
/// found there at the path of the root filesystem.
fn without_mounts(b: &mut Builder<'_>) {
    if let Some(slot) = b.mounts {
        b.child.push(ChildStep::JoinNamespace { slot, kind: NamespaceKind::Mount });
    }
    let path = b.host_path(&b.spec.rootfs);
    b.child.push(ChildStep::ChangeRoot { path });
    let process = &b.spec.process;
    if process.terminal && b.ask.console != Console::None {
        let terminal = terminal(b, false);
        b.child.extend([ChildStep::UseRoot, terminal]);
    }
}

/// Whether the container's /dev is the runtime's to fill: not when it is a directory of the host.
pub(super) fn fills_dev(b: &Builder<'_>) -> bool {
    let is_dev = |mount: &&Mount| mount.destination == Path::new("dev");
    let last = b.spec.mounts.iter().rfind(is_dev);
    !last.is_some_and(|mount| matches!(mount.kind, MountKind::Bind { .. }))
}
