//! Facts of this host, probed once, so that decisions are functions of values.

use std::path::Path;

use crate::cgroup;
use crate::spec::CapMask;
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
    /// Whether AppArmor is there to be asked.
    pub apparmor: bool,
}

impl Host {
    /// Whether the runtime is root of the machine, and not of a user namespace only: device nodes,
    /// device rules and cgroups are its to make.
    pub fn is_machine_root(&self) -> bool {
        self.is_privileged && self.cgroups.controls_devices
    }

    /// Looks at this machine.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn probe() -> Result<Host, cgroup::Error> {
        Ok(Host {
            is_privileged: nix::unistd::geteuid().is_root(),
            capabilities: creds::capget().map_or(0, |sets| sets.permitted),
            cgroups: cgroup::Layout::probe()?,
            apparmor: Path::new("/sys/kernel/security/apparmor").is_dir(),
        })
    }
}
