//! The files that say where a container is: hostname, hosts and resolv.conf.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use loadline_model::{ContainerSpec, NetworkMode};
use rustix::fs::{Mode, OFlags};

use super::Surroundings;
use crate::network::namefiles::{self, RESOLV_CONF, Resolver};
use crate::rooted::{self, Inside};
use crate::supervise::disk::Durability;

/// Largest host file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The files, and where a container sees them.
pub(super) const FILES: [(&str, &str); 3] =
    [("hostname", "/etc/hostname"), ("hosts", "/etc/hosts"), ("resolv.conf", "/etc/resolv.conf")];

/// What they say, in the order of [`FILES`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Files([Vec<u8>; 3]);

impl Files {
    /// On the host's network its files, else the container's own. A file of the host that is
    /// missing or unreadable is as if it were empty: name resolution then fails where it is used,
    /// and says so there.
    pub(super) fn of(
        mode: NetworkMode,
        container: &ContainerSpec,
        around: &Surroundings,
        hostname: &str,
    ) -> Self {
        let own = &container.network;
        let more = [&around.links[..], &own.extra_hosts].concat();
        let hosts = match read("/etc/hosts").filter(|_| mode == NetworkMode::Host) {
            Some(host) => [host, namefiles::lines(&more).into_bytes()].concat(),
            None => namefiles::hosts(hostname, &around.addresses, &more).into_bytes(),
        };
        let is_plain = own.dns_servers.is_empty() && own.dns_search_domains.is_empty();
        // Without a network nobody can be asked, unless the definition knows better.
        let has_network = mode != NetworkMode::None;
        let resolver = if has_network { host_resolver(mode) } else { Resolver::default() };
        let resolv_conf = match read(RESOLV_CONF[0]).filter(|_| mode == NetworkMode::Host) {
            Some(host) if is_plain => host,
            _ => {
                let resolver = resolver.with(&own.dns_servers, &own.dns_search_domains);
                resolver.to_string().into_bytes()
            }
        };
        Self([format!("{hostname}\n").into_bytes(), hosts, resolv_conf])
    }
}

fn host_resolver(mode: NetworkMode) -> Resolver {
    let texts = RESOLV_CONF.map(|path| {
        let bytes = read(path)?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    });
    match mode {
        NetworkMode::Host => texts[0].as_deref().map(Resolver::parse).unwrap_or_default(),
        _ => namefiles::choose(&texts),
    }
}

fn read(path: &str) -> Option<Vec<u8>> {
    let file = std::fs::File::open(Path::new(path)).ok()?;
    rooted::read_max(file, FILE_BYTES_MAX).ok()
}

/// Writes the files into `etc` below the container's folder, readable for every user in it.
pub(super) fn write(folder: BorrowedFd<'_>, files: &Files) -> io::Result<()> {
    match rustix::fs::mkdirat(folder, "etc", Mode::RWXU) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let etc = rooted::open(folder, b"etc", flags, Inside::Beneath)?;
    for ((name, _), bytes) in FILES.into_iter().zip(&files.0) {
        rooted::write_atomic(etc.as_fd(), name, bytes, Durability::Process)?;
        rustix::fs::chmodat(&etc, name, Mode::from_raw_mode(0o644), rustix::fs::AtFlags::empty())?;
    }
    Ok(())
}
