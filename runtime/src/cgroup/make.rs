//! Making a group's directories, from the mount point down.

use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::Mode;

use super::dir::{Dir, components};
use super::error::Error;
use super::location::Place;
use super::{Controller, Controllers, HierarchyId, Version};

/// Makes what is missing of a place and returns its directory and how many components were made.
/// `wanted` are the controllers that the group cannot do without.
///
/// On an error nothing of this place is left behind.
pub(super) fn make(place: &Place, wanted: Controllers) -> Result<(Dir, usize), Error> {
    let mut made = 0;
    match walk(place, wanted, &mut made) {
        Ok(dir) => Ok((dir, made)),
        Err(error) => {
            unmake(place, made);
            Err(error)
        }
    }
}

/// Removes the `made` innermost components of a place, as far as nobody uses them.
pub(super) fn unmake(place: &Place, made: usize) {
    let Ok(root) = Dir::open(&place.mount_point) else { return };
    let mut inner = place.inner.as_path();
    let mut parents = Vec::new();
    for _ in 0..made {
        let (Some(parent), Some(name)) = (inner.parent(), inner.file_name()) else { break };
        parents.push((parent, Path::new(name)));
        inner = parent;
    }
    remove_empty(root, &parents);
}

/// Removes the named children, innermost first, until one is in use. Somebody else's group below
/// a parent that we made is a reason to leave it, not an error.
pub(super) fn remove_empty(root: Dir, steps: &[(&Path, &Path)]) {
    for (parent, name) in steps {
        let Ok(base) = Dir::open(root.path()) else { return };
        let Ok(dir) = base.descend(parent) else { return };
        match dir.remove_child(name) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(_) => return,
        }
    }
}

fn walk(place: &Place, wanted: Controllers, made: &mut usize) -> Result<Dir, Error> {
    let is_cpuset = is_cpuset(place);
    if place.version() == Version::V1 && !is_cpuset {
        // Nothing is handed down here, so where only the group itself is missing it is made at
        // once. The kernel has no links in this filesystem.
        let path = place.path();
        if nix::unistd::mkdir(&path, Mode::from_bits_truncate(0o755)).is_ok() {
            *made = 1;
            return Dir::open(&path);
        }
    }
    let mut dir = Dir::open(&place.mount_point)?;
    let mut hands_on = false;
    let mut names = components(&place.inner).peekable();
    while let Some(name) = names.next() {
        if place.version() == Version::V2 {
            hand_down(&dir, wanted)?;
        }
        let is_new = dir.make_child(name)?;
        // Counted from the first new component on: below a new one everything is new.
        *made += usize::from(is_new || *made > 0);
        let child = dir.child(name)?;
        if is_cpuset {
            if !(is_new && hands_on) {
                inherit_cpuset(&dir, &child, is_new)?;
            }
            hands_on = names.peek().is_some() && hands_cpuset_on(&child, is_new, hands_on);
        }
        dir = child;
    }
    Ok(dir)
}

fn is_cpuset(place: &Place) -> bool {
    matches!(
        &place.hierarchy,
        HierarchyId::V1(controllers) if controllers.contains(Controller::Cpuset)
    )
}

/// See [`super::Group::hand_cpuset_on`].
pub(super) fn hand_cpuset_on(place: &Place, group: &Dir) {
    if is_cpuset(place) && !hands_cpuset_on(group, false, false) {
        hands_cpuset_on(group, true, false);
    }
}

/// v1: whether groups that are made in this one begin with its CPUs and memory nodes. Each write of
/// them makes the kernel look at every group and every process in the hierarchy, to build its
/// scheduling domains anew: with thousands of containers, milliseconds. So a parent that is new,
/// and not somebody else's, hands them on by itself, and so do all below it.
fn hands_cpuset_on(group: &Dir, is_new: bool, inherited: bool) -> bool {
    const FILE: &str = "cgroup.clone_children";
    match is_new {
        true => inherited || group.try_write(FILE, "1").is_ok(),
        false => group.read(FILE).is_ok_and(|text| text.trim() == "1"),
    }
}

/// v1: a new cpuset group is empty, and a group without CPUs or memory nodes takes no process, nor
/// do groups below it get any. So one that somebody made and left empty is filled, too.
fn inherit_cpuset(parent: &Dir, child: &Dir, is_new: bool) -> Result<(), Error> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if !is_new && !child.read(file)?.trim().is_empty() {
            continue;
        }
        let value = parent.read(file)?;
        let value = value.trim();
        // Empty in the parent too: the write of the process will say so, with the hint.
        if !value.is_empty() {
            child.write(file, value)?;
        }
    }
    Ok(())
}

/// v2: enables for the children of `dir` what it has itself.
///
/// Everything that is there is enabled, so that statistics work and later updates find their
/// files; but only what is `wanted` makes a failure an error.
fn hand_down(dir: &Dir, wanted: Controllers) -> Result<(), Error> {
    let there = Controllers::from_v2_text(&dir.read("cgroup.controllers")?);
    let enabled = Controllers::from_v2_text(&dir.read("cgroup.subtree_control")?);
    let missing = there.without(enabled);
    if missing.is_empty() {
        return Ok(());
    }
    // The root has no type, and is free of this rule. Where processes are in the way, not even
    // those controllers are enabled that the kernel would let us: with them the group becomes a
    // threaded domain, and its children take no processes.
    if dir.has("cgroup.type") && !dir.read("cgroup.procs")?.is_empty() {
        return refusal(dir, missing.and(wanted), Errno::EBUSY);
    }
    let all: Vec<String> = missing.iter().map(|c| format!("+{}", c.v2_name())).collect();
    if dir.try_write("cgroup.subtree_control", &all.join(" ")).is_ok() {
        return Ok(());
    }
    // One that cannot be had spoils the whole write, so each gets its own.
    let mut refused = (Controllers::NONE, Errno::EINVAL);
    for controller in missing.iter() {
        let word = format!("+{}", controller.v2_name());
        if let Err(errno) = dir.try_write("cgroup.subtree_control", &word) {
            refused = (refused.0.with(controller), errno);
        }
    }
    refusal(dir, refused.0.and(wanted), refused.1)
}

/// An error if something is missed that is wanted.
fn refusal(dir: &Dir, controllers: Controllers, errno: Errno) -> Result<(), Error> {
    match errno {
        _ if controllers.is_empty() => Ok(()),
        Errno::EBUSY => Err(Error::InternalProcesses { path: dir.path().to_owned(), controllers }),
        errno => {
            let path = dir.path().join("cgroup.subtree_control");
            Err(Error::io("enable controllers in", &path, errno))
        }
    }
}
