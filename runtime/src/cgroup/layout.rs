//! Which cgroup hierarchies this process sees, and which controllers live on them.
//!
//! The parser is pure: it takes the texts of `/proc/self/mountinfo` and `/proc/self/cgroup`
//! (proc(5), cgroups(7)). A mount counts only if walking its path really ends on it: in a private
//! mount namespace a cgroup2 mounted over a v1 tree hides the v1 mounts, which mountinfo lists
//! all the same.

mod usual;

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::{Controller, Controllers};

/// All visible hierarchies: v1 ones in mount order, then v2 if mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// At most one entry a hierarchy.
    pub hierarchies: Vec<Hierarchy>,
    /// Whether this process may set device rules: the kernel takes them only from root of the
    /// initial user namespace.
    pub controls_devices: bool,
    /// Whose manager of systemd makes scopes, for an ordinary user: the id outside of the user
    /// namespace that this process is in, if it is in one. `None` is the machine's root.
    pub user: Option<u32>,
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Which hierarchy it is.
    pub id: HierarchyId,
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// Which group of the hierarchy shows at the mount point, seen from this cgroup namespace;
    /// begins with `/..` where that lies outside of the namespace.
    pub mount_root: PathBuf,
    /// The group that this process is in, from the same point of view.
    pub own: PathBuf,
    /// v1: the mount's controllers. v2: what `cgroup.controllers` at the mount point offers.
    pub controllers: Controllers,
}

/// A hierarchy's name, stable over reboots; goes on record as text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum HierarchyId {
    /// A v1 mount with these controllers.
    V1(Controllers),
    /// A v1 mount without controllers, such as `systemd`.
    Named(String),
    /// The unified hierarchy.
    V2,
}

/// Which interface a hierarchy speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// One hierarchy a controller (or a few).
    V1,
    /// The unified hierarchy.
    V2,
}

/// How a host has laid its controllers out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// v1 hierarchies only.
    V1,
    /// v1 hierarchies, and a v2 mount beside them.
    Hybrid,
    /// v2 only.
    V2,
}

/// Who a user of this user namespace is outside of it.
pub(super) fn uid_outside(id: u32) -> u32 {
    let map = read("/proc/self/uid_map").unwrap_or_default();
    outside(&map, id).unwrap_or(id)
}

/// The id that an id of this user namespace is outside of it, by the text of a uid_map.
fn outside(map: &str, id: u32) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
        let mut next = || numbers.next()?.ok();
        let (inside, outside, count) = (next()?, next()?, next()?);
        let offset = id.checked_sub(inside).filter(|offset| *offset < count)?;
        outside.checked_add(offset)
    })
}

/// Reads a file of the kernel's, whose size nobody knows before.
fn read(path: impl AsRef<Path>) -> Result<String, Error> {
    let path = path.as_ref();
    let failed = |errno| Error::io("read", path, errno);
    let bytes = crate::kernel_file::read_all(path).map_err(failed)?;
    String::from_utf8(bytes).map_err(|_| failed(Errno::EILSEQ))
}

impl Layout {
    /// Reads the calling thread's own view; a thread can have a mount namespace of its own.
    pub fn probe() -> Result<Layout, Error> {
        // The first thread's way is the shorter one, and the only one of a program without others.
        let is_first = nix::unistd::gettid() == nix::unistd::getpid();
        let own = Path::new(if is_first { "/proc/self" } else { "/proc/thread-self" });
        let own_groups = read(own.join("cgroup"))?;
        let mut layout = match usual::layout(&own_groups) {
            Some(layout) => layout,
            None => Layout::parse(&read(own.join("mountinfo"))?, &own_groups)?,
        };
        let is_initial = crate::sys::creds::in_initial_user_namespace();
        let own_id = nix::unistd::geteuid();
        layout.controls_devices = is_initial && own_id.is_root();
        layout.user = match layout.controls_devices {
            true => None,
            false => Some(uid_outside(own_id.as_raw())),
        };
        if let Some(v2) = layout.hierarchies.iter_mut().find(|h| h.id == HierarchyId::V2) {
            let path = v2.mount_point.join("cgroup.controllers");
            v2.controllers = Controllers::from_v2_text(&read(&path)?);
        }
        Ok(layout)
    }

    /// Reads given texts; the v2 hierarchy's controllers are in neither and stay empty.
    pub fn parse(mountinfo: &str, own_groups: &str) -> Result<Layout, Error> {
        let mounts = mountinfo.lines().map(Mount::parse).collect::<Result<Vec<_>, _>>()?;
        let own = OwnGroups::parse(own_groups)?;
        let mut hierarchies: Vec<Hierarchy> = Vec::new();
        for mount in mounts.iter().filter(|m| m.is_cgroup() && is_visible(m, &mounts)) {
            let id = mount.hierarchy_id();
            // Some hosts mount a hierarchy a second time for somebody's use; the first one, in
            // the place that everybody expects, comes from the boot.
            let known = hierarchies.iter().any(|known| known.id == id);
            let useless = matches!(&id, HierarchyId::V1(controllers) if controllers.is_empty());
            if known || useless {
                continue;
            }
            let controllers = match &id {
                HierarchyId::V1(controllers) => *controllers,
                HierarchyId::Named(_) | HierarchyId::V2 => Controllers::NONE,
            };
            hierarchies.push(Hierarchy {
                mount_point: PathBuf::from(mount.mount_point.as_ref()),
                mount_root: PathBuf::from(mount.root.as_ref()),
                own: own.of(&id),
                id,
                controllers,
            });
        }
        if hierarchies.is_empty() {
            return Err(Error::NoMount);
        }
        hierarchies.sort_by_key(|h| h.id == HierarchyId::V2);
        Ok(Layout { hierarchies, controls_devices: true, user: None })
    }

    /// The layout with the text of the v2 root's `cgroup.controllers` taken in.
    #[must_use]
    pub fn with_v2_controllers(mut self, text: &str) -> Layout {
        for hierarchy in self.hierarchies.iter_mut().filter(|h| h.id == HierarchyId::V2) {
            hierarchy.controllers = Controllers::from_v2_text(text);
        }
        self
    }

    /// v1, hybrid or v2.
    pub fn mode(&self) -> Mode {
        let v1 = self.hierarchies.iter().any(|h| matches!(h.id, HierarchyId::V1(_)));
        let v2 = self.v2().is_some();
        match (v1, v2) {
            (true, false) | (false, false) => Mode::V1,
            (true, true) => Mode::Hybrid,
            (false, true) => Mode::V2,
        }
    }

    /// The unified hierarchy, if mounted.
    pub fn v2(&self) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|h| h.id == HierarchyId::V2)
    }

    /// Which interface serves a controller; `None` if no hierarchy has it. v1 wins where both
    /// could: a controller is bound to one of them only, and an unbound one shows on neither.
    pub fn version_of(&self, controller: Controller) -> Option<Version> {
        self.hierarchies.iter().find(|h| h.controllers.contains(controller)).map(|h| h.version())
    }
}

impl Hierarchy {
    /// v1 or v2.
    pub fn version(&self) -> Version {
        match self.id {
            HierarchyId::V1(_) | HierarchyId::Named(_) => Version::V1,
            HierarchyId::V2 => Version::V2,
        }
    }
}

impl From<HierarchyId> for String {
    fn from(id: HierarchyId) -> String {
        id.to_string()
    }
}

impl TryFrom<String> for HierarchyId {
    type Error = String;

    fn try_from(text: String) -> Result<HierarchyId, String> {
        if text.is_empty() {
            return Ok(HierarchyId::V2);
        }
        if let Some(name) = text.strip_prefix("name=") {
            return Ok(HierarchyId::Named(name.to_owned()));
        }
        let known: Option<Controllers> = text.split(',').map(Controller::from_v1_name).collect();
        known.map(HierarchyId::V1).ok_or_else(|| format!("{text:?} names no cgroup hierarchy"))
    }
}

/// As `/proc/<pid>/cgroup` writes it: controllers, `name=…`, or nothing for v2.
impl fmt::Display for HierarchyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HierarchyId::V1(controllers) => controllers.fmt(f),
            HierarchyId::Named(name) => write!(f, "name={name}"),
            HierarchyId::V2 => Ok(()),
        }
    }
}

/// The fields of a mountinfo line that matter here.
struct Mount<'a> {
    id: u32,
    parent: u32,
    root: Cow<'a, str>,
    mount_point: Cow<'a, str>,
    fs_type: &'a str,
    super_options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Result<Mount<'a>, Error> {
        Mount::fields(line)
            .ok_or_else(|| Error::Malformed { what: "/proc/self/mountinfo", text: line.to_owned() })
    }

    fn fields(line: &'a str) -> Option<Mount<'a>> {
        let (front, back) = line.split_once(" - ")?;
        let mut front = front.split(' ');
        let id = front.next()?.parse().ok()?;
        let parent = front.next()?.parse().ok()?;
        let (root, mount_point) = (front.nth(1)?, front.next()?);
        let mut back = back.split(' ');
        let fs_type = back.next()?;
        Some(Mount {
            id,
            parent,
            root: unescape(root),
            mount_point: unescape(mount_point),
            fs_type,
            super_options: back.nth(1).unwrap_or(""),
        })
    }

    fn is_cgroup(&self) -> bool {
        matches!(self.fs_type, "cgroup" | "cgroup2")
    }

    fn hierarchy_id(&self) -> HierarchyId {
        if self.fs_type == "cgroup2" {
            return HierarchyId::V2;
        }
        let options = || self.super_options.split(',');
        match options().find_map(|option| option.strip_prefix("name=")) {
            Some(name) if options().all(|o| Controller::from_v1_name(o).is_none()) => {
                HierarchyId::Named(name.to_owned())
            }
            _ => HierarchyId::V1(options().filter_map(Controller::from_v1_name).collect()),
        }
    }
}

/// Whether a walk to the mount's path ends on this mount: component by component, the walk steps
/// onto whatever is mounted on the current mount at that point.
fn is_visible(mount: &Mount<'_>, mounts: &[Mount<'_>]) -> bool {
    let target = mount.mount_point.as_ref();
    let orphan = |m: &&Mount<'_>| !mounts.iter().any(|other| other.id == m.parent);
    let at_root = mounts.iter().filter(orphan).find(|m| m.mount_point == "/");
    // In a chroot that is no mount point, the mount that holds the root is not listed.
    let start = at_root.map(|m| m.id).or_else(|| mounts.iter().find(orphan).map(|m| m.parent));
    let Some(mut current) = start else { return true };
    // A walk passes each mount at most once; the bound guards against a text with a cycle.
    for _ in 0..=mounts.len() {
        let next = mounts
            .iter()
            .filter(|m| m.parent == current && m.id != current)
            .filter(|m| is_on_way(&m.mount_point, target))
            .min_by_key(|m| m.mount_point.len());
        match next {
            Some(next) => current = next.id,
            None => break,
        }
    }
    current == mount.id
}

/// Whether a walk to `target` passes this path. Both are as the kernel writes them: absolute, with
/// single slashes, and none at the end.
fn is_on_way(path: &str, target: &str) -> bool {
    let rest = target.strip_prefix(path);
    path == "/" || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Undoes the octal escapes (`\040` for a space) of mountinfo.
fn unescape(field: &str) -> Cow<'_, str> {
    if !field.contains('\\') {
        return Cow::Borrowed(field);
    }
    let mut out = String::with_capacity(field.len());
    let mut rest = field;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 4).and_then(|octal| u8::from_str_radix(octal, 8).ok());
        match code {
            Some(code) => {
                out.push(char::from(code));
                rest = &rest[at + 4..];
            }
            None => {
                out.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The lines of `/proc/self/cgroup`: `id:controllers:path`.
struct OwnGroups<'a>(Vec<(&'a str, &'a str)>);

impl<'a> OwnGroups<'a> {
    fn parse(text: &'a str) -> Result<OwnGroups<'a>, Error> {
        let line = |line: &'a str| {
            let mut fields = line.splitn(3, ':').skip(1);
            match (fields.next(), fields.next()) {
                (Some(controllers), Some(path)) => Ok((controllers, path)),
                _ => Err(Error::Malformed { what: "/proc/self/cgroup", text: line.to_owned() }),
            }
        };
        text.lines().map(line).collect::<Result<_, _>>().map(OwnGroups)
    }

    fn of(&self, id: &HierarchyId) -> PathBuf {
        let matches = |names: &str| match id {
            HierarchyId::V2 => names.is_empty(),
            HierarchyId::Named(name) => names.strip_prefix("name=") == Some(name),
            HierarchyId::V1(controllers) => names
                .split(',')
                .filter_map(Controller::from_v1_name)
                .any(|controller| controllers.contains(controller)),
        };
        let found = self.0.iter().find(|(names, _)| matches(names));
        PathBuf::from(found.map_or("/", |(_, path)| path))
    }
}

#[cfg(test)]
mod tests;
