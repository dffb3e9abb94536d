//! The layout of a host that has its hierarchies where everybody has them.
//!
//! /proc/self/mountinfo grows with every container of a node, and the kernel takes a microsecond
//! or more for each line. Here a system call or two a hierarchy tell whether it is mounted, whole,
//! in its usual place; any doubt means that mountinfo has to be read.

use std::path::{Path, PathBuf};

use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, FsType, statfs};

use super::{Controller, Controllers, Hierarchy, HierarchyId, Layout};

const TOP: &str = "/sys/fs/cgroup";

/// The layout, if nothing about it is unusual. `own_groups` is /proc/self/cgroup.
pub(super) fn layout(own_groups: &str) -> Option<Layout> {
    let mut hierarchies = Vec::new();
    // The highest number comes first, and v2 has number 0.
    for line in own_groups.lines().rev() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (names, own) = (fields.next()?, fields.next()?);
        if own.starts_with("/..") {
            return None;
        }
        let found = match names.strip_prefix("name=") {
            _ if names.is_empty() => match v2_mount() {
                Some(mount_point) => v2(mount_point),
                // Every kernel has it, and not every host mounts it. Where it is mounted elsewhere
                // beside v1 in the usual places, it is for somebody's own use.
                None => continue,
            },
            Some(name) => v1(name, HierarchyId::Named(name.to_owned()), Controllers::NONE),
            None => {
                let controllers: Controllers =
                    names.split(',').filter_map(Controller::from_v1_name).collect();
                if controllers.is_empty() {
                    continue;
                }
                v1(names, HierarchyId::V1(controllers), controllers)
            }
        };
        hierarchies.push(Hierarchy { own: PathBuf::from(own), ..found? });
    }
    if hierarchies.is_empty() {
        return None;
    }
    hierarchies.sort_by_key(|hierarchy| hierarchy.id == HierarchyId::V2);
    Some(Layout { hierarchies, controls_devices: true, user: None })
}

/// The root of a v1 hierarchy has a file that no other group has.
fn v1(folder: &str, id: HierarchyId, controllers: Controllers) -> Option<Hierarchy> {
    let mount_point = Path::new(TOP).join(folder);
    let is_whole = is(&mount_point.join("cgroup.sane_behavior"), CGROUP_SUPER_MAGIC);
    is_whole.then(|| whole(id, mount_point, controllers))
}

fn v2_mount() -> Option<PathBuf> {
    let places = [PathBuf::from(TOP), Path::new(TOP).join("unified")];
    places.into_iter().find(|place| is(place, CGROUP2_SUPER_MAGIC))
}

/// The root of the v2 hierarchy lacks a file that every other group has.
fn v2(mount_point: PathBuf) -> Option<Hierarchy> {
    let is_whole = !exists(&mount_point, "cgroup.type");
    is_whole.then(|| whole(HierarchyId::V2, mount_point, Controllers::NONE))
}

fn whole(id: HierarchyId, mount_point: PathBuf, controllers: Controllers) -> Hierarchy {
    let (mount_root, own) = (PathBuf::from("/"), PathBuf::new());
    Hierarchy { id, mount_point, mount_root, own, controllers }
}

fn is(path: &Path, kind: FsType) -> bool {
    statfs(path).is_ok_and(|found| found.filesystem_type() == kind)
}

fn exists(folder: &Path, file: &str) -> bool {
    nix::unistd::access(&folder.join(file), nix::unistd::AccessFlags::F_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::layout;
    use crate::cgroup::Layout;
    use std::fs;

    /// Whatever host this is: the short way and the long one tell the same.
    #[test]
    fn what_is_usual_is_what_mountinfo_says() {
        let own = fs::read_to_string("/proc/thread-self/cgroup").unwrap();
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let Some(mut usual) = layout(&own) else {
            eprintln!("SKIPPED what_is_usual_is_what_mountinfo_says: needs usual cgroup mounts");
            return;
        };
        let mut read = Layout::parse(&mounts, &own).unwrap();
        let by_path = |layout: &mut Layout| {
            layout.hierarchies.sort_by(|a, b| a.mount_point.cmp(&b.mount_point));
        };
        by_path(&mut usual);
        by_path(&mut read);
        assert_eq!(usual, read);
    }

    #[test]
    fn a_group_outside_of_the_namespace_is_unusual() {
        assert!(layout("0::/../other\n").is_none());
        assert!(layout("").is_none());
        assert!(layout("1:name=nosuch:/\n").is_none());
    }
}
