//! The files that say where a container is: hostname, hosts and resolv.conf.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::rooted::{self, Inside};

/// Largest host file that is copied, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The files, and where a container sees them.
pub(super) const FILES: [(&str, &str); 3] =
    [("hostname", "/etc/hostname"), ("hosts", "/etc/hosts"), ("resolv.conf", "/etc/resolv.conf")];

/// What a container on the host's network shares with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HostFiles {
    hosts: Option<Vec<u8>>,
    resolv_conf: Option<Vec<u8>>,
}

impl HostFiles {
    /// The host's own files. One that is missing or unreadable is as if it were empty: name
    /// resolution then fails where it is used, and says so there.
    pub(super) fn read() -> Self {
        let read = |path: &str| {
            let file = std::fs::File::open(Path::new(path)).ok()?;
            rooted::read_max(file, FILE_BYTES_MAX).ok()
        };
        Self { hosts: read("/etc/hosts"), resolv_conf: read("/etc/resolv.conf") }
    }
}

/// Writes the files into `etc` below the container's folder, readable for every user in it.
pub(super) fn write(folder: BorrowedFd<'_>, hostname: &str, host: &HostFiles) -> io::Result<()> {
    match rustix::fs::mkdirat(folder, "etc", Mode::RWXU) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let etc = rooted::open(folder, b"etc", flags, Inside::Beneath)?;
    let own = format!(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.0.1\t{hostname}\n"
    );
    for (name, _) in FILES {
        let bytes = match name {
            "hostname" => format!("{hostname}\n").into_bytes(),
            "hosts" => host.hosts.clone().unwrap_or_else(|| own.clone().into_bytes()),
            _ => host.resolv_conf.clone().unwrap_or_default(),
        };
        rooted::write_atomic(etc.as_fd(), name, &bytes)?;
        rustix::fs::chmodat(&etc, name, Mode::from_raw_mode(0o644), rustix::fs::AtFlags::empty())?;
    }
    Ok(())
}
