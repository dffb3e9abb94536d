//! From a `cgroupsPath` to one directory in each hierarchy.
//!
//! The rules are the specification's (config-linux.md, "Cgroups Path") with runc's choices where
//! it leaves one: an absolute path is taken from each hierarchy's mount point; a relative one, and
//! the container's id where none is given, from the runtime's own group, on v2 from the parent of
//! that, because a v2 group with processes cannot hand controllers down.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::layout::{Hierarchy, HierarchyId, Layout, Version};
use super::systemd::Unit;

/// The longest group path that is taken; the kernel's own `PATH_MAX`.
const PATH_LEN_MAX: usize = 4096;

/// A checked `cgroupsPath`: no `..`, not the root group, nothing that breaks a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CgroupPath {
    /// From the mount point of each hierarchy. Stored without the leading slash.
    Absolute(PathBuf),
    /// From the caller's own group.
    Relative(PathBuf),
}

impl CgroupPath {
    /// Checks a configured path; without one (or with an empty one), the id is the path.
    pub fn parse(configured: Option<&Path>, id: &str) -> Result<CgroupPath, Error> {
        let path = match configured {
            Some(path) if !path.as_os_str().is_empty() => path,
            _ => Path::new(id),
        };
        let refuse = |why| Err(Error::BadPath { path: path.to_owned(), why });
        let bytes = path.as_os_str().as_encoded_bytes();
        if bytes.len() > PATH_LEN_MAX {
            return refuse("longer than 4096 bytes");
        }
        if bytes.iter().any(|byte| byte.is_ascii_control()) {
            return refuse("holds a control character, which /proc/<pid>/cgroup cannot show");
        }
        let mut inner = PathBuf::new();
        for component in path.components() {
            match component {
                Component::Normal(name) => inner.push(name),
                Component::RootDir | Component::CurDir => {}
                Component::ParentDir => return refuse("`..` is not allowed in it"),
                Component::Prefix(_) => return refuse("not a Unix path"),
            }
        }
        if inner.as_os_str().is_empty() {
            return refuse("it is the root group; name a group below it");
        }
        Ok(if path.is_absolute() {
            CgroupPath::Absolute(inner)
        } else {
            CgroupPath::Relative(inner)
        })
    }

    /// The path of a group below this one.
    #[must_use]
    pub fn join(&self, child: &str) -> CgroupPath {
        match self {
            CgroupPath::Absolute(path) => CgroupPath::Absolute(path.join(child)),
            CgroupPath::Relative(path) => CgroupPath::Relative(path.join(child)),
        }
    }
}

/// Where a group is, in each hierarchy. This is what a container's record keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    /// One entry a hierarchy, in the layout's order: v2 last.
    pub places: Vec<Place>,
    /// The systemd unit that it belongs to, if systemd made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// One directory of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// In which hierarchy.
    pub hierarchy: HierarchyId,
    /// Where that is mounted.
    pub mount_point: PathBuf,
    /// The path below the mount point, without a leading slash.
    pub inner: PathBuf,
    /// How many components at the end of `inner` [`super::Group::create`] made. Removal takes
    /// these away again, the inner ones only if nobody else uses them.
    #[serde(default)]
    pub made: usize,
}

impl Place {
    /// The directory's absolute path.
    pub fn path(&self) -> PathBuf {
        self.mount_point.join(&self.inner)
    }

    /// v1 or v2.
    pub fn version(&self) -> Version {
        match self.hierarchy {
            HierarchyId::V2 => Version::V2,
            HierarchyId::V1(_) | HierarchyId::Named(_) => Version::V1,
        }
    }
}

impl Location {
    /// The versions of its hierarchies.
    pub fn versions(&self) -> impl Iterator<Item = Version> + use<'_> {
        self.places.iter().map(Place::version)
    }

    /// The place on the unified hierarchy.
    pub fn v2(&self) -> Option<&Place> {
        self.places.iter().find(|place| place.hierarchy == HierarchyId::V2)
    }
}

impl Layout {
    /// The directories of a path in every hierarchy.
    pub fn locate(&self, path: &CgroupPath) -> Location {
        let place = |hierarchy: &Hierarchy| Place {
            hierarchy: hierarchy.id.clone(),
            mount_point: hierarchy.mount_point.clone(),
            inner: match path {
                CgroupPath::Absolute(inner) => inner.clone(),
                CgroupPath::Relative(inner) => hierarchy.base_of_relative().join(inner),
            },
            made: 0,
        };
        Location { places: self.hierarchies.iter().map(place).collect(), unit: None }
    }
}

impl Layout {
    /// The directories of a scope in every hierarchy: systemd uses one path for all. A user's
    /// manager has its own group for the top.
    pub fn locate_unit(&self, unit: &Unit) -> Location {
        let top = self.user.map_or_else(PathBuf::new, |uid| {
            PathBuf::from(format!("user.slice/user-{uid}.slice/user@{uid}.service"))
        });
        let location = self.locate(&CgroupPath::Absolute(top.join(unit.path())));
        Location { unit: Some(unit.name.clone()), ..location }
    }
}

impl Hierarchy {
    /// What a relative path starts from, below the mount point.
    fn base_of_relative(&self) -> PathBuf {
        let own = self.own_below_mount();
        match self.version() {
            Version::V1 => own,
            Version::V2 => own.parent().map(Path::to_owned).unwrap_or_default(),
        }
    }

    /// The caller's own group below the mount point. Where the mount shows a part of the tree
    /// that does not hold it (a container without a cgroup namespace, a bind mount), the mount
    /// point itself is the nearest group that can be named.
    fn own_below_mount(&self) -> PathBuf {
        match self.own.strip_prefix(&self.mount_root) {
            Ok(below) if !below.components().any(|c| c == Component::ParentDir) => {
                below.components().filter(|c| *c != Component::RootDir).collect()
            }
            _ => PathBuf::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(path: &str) -> Result<CgroupPath, Error> {
        CgroupPath::parse(Some(Path::new(path)), "id1")
    }

    #[track_caller]
    fn check(mount_root: &str, own: &str, path: &str, v1: &str, v2: &str) {
        for (fs, controllers, groups, expected) in [
            ("cgroup", "rw,memory", format!("2:memory:{own}\n0::/x\n"), v1),
            ("cgroup2", "rw", format!("2:memory:/x\n0::{own}\n"), v2),
        ] {
            let mounts = format!(
                "1 0 0:1 / / rw - ext4 a rw\n2 1 0:2 {mount_root} /cg rw - {fs} n {controllers}\n"
            );
            let layout = Layout::parse(&mounts, &groups).unwrap();
            let location = layout.locate(&parse(path).unwrap());
            assert_eq!(location.places[0].path(), Path::new(expected), "{fs}");
        }
    }

    #[test]
    fn an_absolute_path_starts_at_the_mount() {
        check("/", "/user.slice/s.scope", "/a/b", "/cg/a/b", "/cg/a/b");
    }

    #[test]
    fn a_relative_path_and_the_bare_id_start_at_the_own_group() {
        check("/", "/", "a", "/cg/a", "/cg/a");
        check(
            "/",
            "/user.slice/s.scope",
            "a/./b",
            "/cg/user.slice/s.scope/a/b",
            "/cg/user.slice/a/b",
        );
        let by_id = CgroupPath::Relative(PathBuf::from("id1"));
        assert_eq!(CgroupPath::parse(None, "id1").unwrap(), by_id);
        assert_eq!(parse("").unwrap(), by_id);
    }

    #[test]
    fn in_a_container_the_own_group_is_seen_from_the_mount() {
        // a bind mount of the container's part, without a cgroup namespace
        check("/docker/c1", "/docker/c1/sub", "a", "/cg/sub/a", "/cg/a");
        check("/docker/c1", "/docker/c1", "a", "/cg/a", "/cg/a");
        // a mount from outside of the cgroup namespace
        check("/..", "/", "a", "/cg/a", "/cg/a");
        check("/", "/../other", "a", "/cg/a", "/cg/a");
    }

    #[test]
    fn what_would_leave_or_be_the_root_is_refused() {
        for bad in ["..", "/..", "a/../b", "/", "/.", "./", "a\nb", "a\u{7}"] {
            assert!(matches!(parse(bad), Err(Error::BadPath { .. })), "{bad:?}");
        }
        assert!(parse(&"a".repeat(PATH_LEN_MAX)).is_ok());
        assert!(parse(&"a".repeat(PATH_LEN_MAX + 1)).is_err());
    }

    #[test]
    fn a_location_survives_the_record() {
        let layout = Layout::parse("2 1 0:2 / /cg rw - cgroup n rw,cpu,cpuacct\n", "").unwrap();
        let location = layout.locate(&parse("/a").unwrap());
        let text = serde_json::to_string(&location).unwrap();
        assert!(text.contains("\"cpu,cpuacct\""), "{text}");
        assert_eq!(serde_json::from_str::<Location>(&text).unwrap(), location);
    }
}
