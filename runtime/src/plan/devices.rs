//! Steps of /dev: the devices that every container has, those of config.json, and the links.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use super::Builder;
use super::mounts::fills_dev;
use super::step::ChildStep;
use crate::spec::{Device, DeviceKind, MountKind, NamespaceKind};

/// Name, major and minor number of the devices that every container has (config-linux.md,
/// "Default Devices").
const DEFAULT: [(&str, u32, u32); 6] = [
    ("dev/null", 1, 3),
    ("dev/zero", 1, 5),
    ("dev/full", 1, 7),
    ("dev/random", 1, 8),
    ("dev/urandom", 1, 9),
    ("dev/tty", 5, 0),
];

const LINKS: [(&str, &str); 4] = [
    ("dev/fd", "/proc/self/fd"),
    ("dev/stdin", "/proc/self/fd/0"),
    ("dev/stdout", "/proc/self/fd/1"),
    ("dev/stderr", "/proc/self/fd/2"),
];

/// All nodes and links, unless /dev is a directory of the host.
pub(super) fn all(b: &mut Builder<'_>) {
    if !fills_dev(b) {
        return;
    }
    let spec = b.spec;
    let given = |path: &str| spec.linux.devices.iter().any(|d| d.path == Path::new(path));
    // A user namespace, the container's or the runtime's own, cannot make device nodes, only show
    // those of the host.
    let has_user = spec.linux.namespaces.iter().any(|n| n.kind == NamespaceKind::User);
    let in_userns = has_user || !b.host.is_machine_root();
    let mut push = |device: Device| {
        let bind = in_userns && device.kind != DeviceKind::Fifo;
        b.child.push(if bind { ChildStep::BindNode(device) } else { ChildStep::Node(device) });
    };
    for (path, major, minor) in DEFAULT {
        if !given(path) {
            let (path, kind) = (PathBuf::from(path), DeviceKind::Char(major, minor));
            push(Device { path, kind, mode: 0o666, uid: 0, gid: 0 });
        }
    }
    spec.linux.devices.iter().for_each(|device| push(device.clone()));
    if !spec.process.terminal {
        b.child.push(ChildStep::OwnNull);
    }
    let link = |path: &str, target: &str| ChildStep::Link {
        path: PathBuf::from(path),
        target: CString::new(target).expect("the table has no NUL bytes"),
    };
    LINKS.iter().for_each(|(path, target)| b.child.push(link(path, target)));
    let has_devpts = spec.mounts.iter().any(|mount| match &mount.kind {
        MountKind::Filesystem { kind, .. } => kind.to_bytes() == b"devpts",
        MountKind::Bind { .. } | MountKind::Cgroup => false,
    });
    if has_devpts {
        b.child.push(link("dev/ptmx", "pts/ptmx"));
    }
}
