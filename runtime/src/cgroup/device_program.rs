//! v2's device control: an eBPF program on the group's directory.

use super::decide::DeviceRule;
use super::dir::Dir;
use super::error::Error;

/// Replaces the group's device program by one that decides by `rules`.
pub(super) fn attach(dir: &Dir, _rules: &[DeviceRule]) -> Result<(), Error> {
    Err(Error::io("attach a device program to", dir.path(), nix::errno::Errno::ENOSYS))
}
