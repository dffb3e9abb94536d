//! Facts of this host, probed once, so that decisions are functions of values.

use std::path::{Path, PathBuf};

use crate::cgroup;
use crate::spec::{CapMask, Spec};
use crate::sys::creds;

/// What planning wants to know of the machine.
#[derive(Clone, Debug)]
pub struct Host {
    /// Whether the runtime acts as root of the initial user namespace or of one like it: it may
    /// mount and make device nodes.
    pub is_privileged: bool,
    /// The capabilities that the runtime has, and can give (bit n is capability n).
    pub capabilities: CapMask,
    /// Where the cgroup hierarchies are.
    pub cgroups: cgroup::Layout,
    /// Whether AppArmor is there to be asked. Looked at where a configuration has a profile.
    pub apparmor: bool,
    /// Whether SELinux is there. Looked at where a configuration has a label.
    pub selinux: bool,
    /// Where resctrl is mounted. Looked at where a configuration has `linux.intelRdt`.
    pub resctrl: Option<PathBuf>,
}

impl Host {
    /// Whether the runtime is root of the machine, and not of a user namespace only: device nodes,
    /// device rules and cgroups are its to make.
    pub fn is_machine_root(&self) -> bool {
        self.is_privileged && self.cgroups.controls_devices
    }

    /// Looks at what a configuration needs of this machine.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn probe(spec: &Spec) -> Result<Host, cgroup::Error> {
        let process = &spec.process;
        let is_labelled = process.selinux_label.is_some() || spec.linux.mount_label.is_some();
        Ok(Host {
            is_privileged: nix::unistd::geteuid().is_root(),
            capabilities: creds::capget().map_or(0, |sets| sets.permitted),
            cgroups: cgroup::Layout::probe()?,
            apparmor: process.apparmor_profile.is_some() && has_apparmor(),
            selinux: is_labelled && Path::new("/sys/fs/selinux/status").exists(),
            resctrl: spec.linux.intel_rdt.as_ref().and_then(|_| resctrl()),
        })
    }
}

/// By what AppArmor's module says of itself: a kernel that was booted without it says N. Its folder
/// in securityfs need not be seen: podman unmounts what is below /sys/kernel before it calls the
/// runtime for a container with a user namespace.
pub(crate) fn has_apparmor() -> bool {
    says_yes(Path::new("/sys/module/apparmor/parameters/enabled"))
}

fn says_yes(switch: &Path) -> bool {
    std::fs::read(switch).is_ok_and(|text| text.starts_with(b"Y"))
}

/// The first mount of resctrl (proc(5), /proc/PID/mounts: device, place, kind).
fn resctrl() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (place, kind) = (fields.nth(1)?, fields.next()?);
        (kind == "resctrl").then(|| PathBuf::from(place))
    })
}

#[cfg(test)]
mod tests {
    use super::says_yes;

    #[test]
    fn a_module_that_is_switched_off_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let switch = folder.path().join("enabled");
        assert!(!says_yes(&switch));
        for (text, expected) in [("Y\n", true), ("N\n", false), ("", false)] {
            std::fs::write(&switch, text).unwrap();
            assert_eq!(says_yes(&switch), expected, "{text:?}");
        }
    }
}
