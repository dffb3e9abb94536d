//! The cgroup that `exec` joins: the container's, or one below it.

use std::fs;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;

use super::Error;
use crate::cgroup::{self, HierarchyId, Location, Place};

/// `[controllers:]path`, below the container's cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubCgroup {
    /// On which v1 hierarchies; empty is all, and v2.
    pub controllers: Vec<String>,
    /// The path, without a leading slash.
    pub path: PathBuf,
}

/// The container's cgroup, or the one below it that is wanted.
///
/// A v2 group that hands controllers to groups below it takes no process: a container with an
/// init system of its own has made it so. Then its first process's own group is joined.
pub(super) fn joined_cgroup(
    location: &Location,
    pid: i32,
    sub: &[SubCgroup],
) -> Result<Location, Error> {
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
        let source = Errno::ENOENT.into();
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
                Component::ParentDir | Component::Prefix(_) => {
                    return Err(".. is not a sub cgroup path");
                }
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

#[cfg(test)]
mod tests {
    use super::SubCgroup;
    use std::path::PathBuf;

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
}
