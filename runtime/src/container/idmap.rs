//! Id maps: of the container's user namespace, and of id-mapped mounts.

use std::fmt::Write;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{getegid, geteuid};

use crate::init::procfs::Procfs;
use crate::init::sync::Cause;
use crate::plan::c_path;
use crate::spec::IdMap;
use crate::sys::mount::{SetAttr, mount_setattr};
use crate::sys::process::{Clone3, Side, clone3, exit_now, pidfd_send_signal};

/// Ids could not be mapped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused.
    #[error(transparent)]
    Cause(#[from] Cause),
    /// The helper is missing.
    #[error("start {program}: install uidmap, or map only your own id")]
    NoHelper {
        /// newuidmap or newgidmap.
        program: &'static str,
        #[source]
        source: io::Error,
    },
    /// The helper refused.
    #[error("{program}: {output}")]
    Helper {
        /// newuidmap or newgidmap.
        program: &'static str,
        /// What it wrote.
        output: String,
    },
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Error {
        Error::Cause(Cause::Kernel(errno))
    }
}

/// Maps the ids of a process's new user namespace: directly as root, by itself for an ordinary
/// user who maps only the own ids, else through newuidmap(1) and newgidmap(1).
pub(super) fn write(pid: i32, uid: &[IdMap], gid: &[IdMap]) -> Result<(), Error> {
    let maps_itself =
        |maps: &[IdMap], own: u32| matches!(maps, [m] if m.size == 1 && m.host_id == own);
    if geteuid().is_root() {
        return write_both(pid, uid, gid);
    }
    if maps_itself(uid, geteuid().as_raw()) && maps_itself(gid, getegid().as_raw()) {
        let path = format!("{pid}/setgroups");
        Procfs::of_host()?.write(&c_path(Path::new(&path)), b"deny")?;
        return write_both(pid, uid, gid);
    }
    help("newuidmap", pid, uid)?;
    help("newgidmap", pid, gid)
}

fn write_both(pid: i32, uid: &[IdMap], gid: &[IdMap]) -> Result<(), Error> {
    let procfs = Procfs::of_host()?;
    for (file, maps) in [("gid_map", gid), ("uid_map", uid)] {
        let path = format!("{pid}/{file}");
        procfs.write(&c_path(Path::new(&path)), lines(maps).as_bytes())?;
    }
    Ok(())
}

fn lines(maps: &[IdMap]) -> String {
    maps.iter().fold(String::new(), |mut text, map| {
        let _ = writeln!(text, "{} {} {}", map.container_id, map.host_id, map.size);
        text
    })
}

fn help(program: &'static str, pid: i32, maps: &[IdMap]) -> Result<(), Error> {
    let mut command = Command::new(program);
    command.arg(pid.to_string()).stdin(Stdio::null());
    for map in maps {
        for number in [map.container_id, map.host_id, map.size] {
            command.arg(number.to_string());
        }
    }
    let output = command.output().map_err(|source| Error::NoHelper { program, source })?;
    if output.status.success() {
        return Ok(());
    }
    let output = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
    Err(Error::Helper { program, output })
}

/// Gives a detached tree other owners: those of the container's user namespace, or own maps.
pub(super) fn map_tree(
    tree: BorrowedFd<'_>,
    pid: i32,
    uid: &[IdMap],
    gid: &[IdMap],
    recursive: bool,
) -> Result<(), Error> {
    let namespace = if uid.is_empty() { namespace_of(pid)? } else { namespace_with(uid, gid)? };
    let change = SetAttr { set: libc::MOUNT_ATTR_IDMAP, recursive, ..SetAttr::default() };
    Ok(mount_setattr(tree, change, Some(namespace.as_fd()))?)
}

fn namespace_of(pid: i32) -> Result<OwnedFd, Error> {
    let file = File::open(format!("/proc/{pid}/ns/user"));
    let errno = |error: io::Error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
    Ok(file.map(OwnedFd::from).map_err(errno)?)
}

/// A user namespace exists only with a process; this one lives until its namespace is open.
fn namespace_with(uid: &[IdMap], gid: &[IdMap]) -> Result<OwnedFd, Error> {
    let namespaces = libc::CLONE_NEWUSER as u64;
    let what = Clone3 { namespaces, ..Clone3::default() };
    match clone3(what)? {
        Side::Child => {
            // A runtime that is killed leaves nothing.
            if set_pdeathsig(Signal::SIGKILL).is_ok() {
                nix::unistd::pause();
            }
            exit_now(0)
        }
        Side::Parent { pid, pidfd } => {
            let namespace = write_both(pid, uid, gid).and_then(|()| namespace_of(pid));
            let _ = pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
            let _ = waitid(Id::PIDFd(pidfd.as_fd()), WaitPidFlag::WEXITED);
            namespace
        }
    }
}

#[cfg(test)]
mod tests {
    use super::lines;
    use crate::spec::IdMap;

    #[test]
    fn every_range_is_a_line() {
        let map = |container_id, host_id, size| IdMap { container_id, host_id, size };
        assert_eq!(lines(&[map(0, 1000, 1), map(1, 100_000, 65535)]), "0 1000 1\n1 100000 65535\n");
    }
}
