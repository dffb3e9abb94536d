//! `linux.netDevices`: interfaces of the host that a container gets (config-linux.md, "Network
//! Devices").

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::init::sync::errno_text;
use crate::netlink::{Address, Link, Netlink};

/// An interface in the container's namespace, which goes back on drop unless it is released.
#[derive(Debug)]
pub(super) struct Moved {
    /// Its name in the runtime's namespace.
    name: String,
    host: OwnedFd,
    inside: Netlink,
    link: Link,
    /// What it had before.
    was_up: bool,
    addresses: Vec<Address>,
    is_released: bool,
}

impl Moved {
    /// Lets it stay.
    pub(super) fn release(mut self) {
        self.is_released = true;
    }

    /// What the move has taken from it: its addresses, and being up.
    fn complete(&mut self) -> Result<(), Errno> {
        for address in &self.addresses {
            self.inside.add_address(self.link.index, address)?;
        }
        self.inside.raise(self.link.index)
    }

    /// Gives it back, and tells what stands in the way.
    pub(super) fn give_back(mut self) -> Option<String> {
        self.is_released = true;
        let failed = self.take_back().err()?;
        let (name, inside) = (&self.name, &self.link.name);
        let why = errno_text(failed);
        Some(format!(
            "interface {name} is not back from the container, where it is {inside}: {why}"
        ))
    }

    fn take_back(&mut self) -> Result<(), Errno> {
        self.inside.move_link(self.link.index, &self.name, self.host.as_fd())?;
        let mut here = Netlink::open()?;
        let index = nix::net::if_::if_nametoindex(self.name.as_str())?;
        if self.was_up {
            here.raise(index)?;
        }
        self.addresses.iter().try_for_each(|address| here.add_address(index, address))
    }
}

impl Drop for Moved {
    fn drop(&mut self) {
        if !self.is_released {
            // Only where its own move failed half way, which is told.
            let _ = self.take_back();
        }
    }
}

/// Moves an interface of the runtime's namespace into another one, under this name.
pub(super) fn move_into(
    device: &str,
    name: &str,
    namespace: BorrowedFd<'_>,
) -> Result<Moved, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let host = open("/proc/self/ns/net", flags, Mode::empty())?;
    let mut here = Netlink::open()?;
    let mut inside = Netlink::open_in(namespace, host.as_fd())?;
    let index = nix::net::if_::if_nametoindex(device)?;
    let link = here.links()?.into_iter().find(|link| link.index == index).ok_or(Errno::ENODEV)?;
    let addresses = here.addresses(index)?;
    let before = inside.links()?;
    // The kernel moves it and then gives it its name: it may be there even if this fails.
    let done = here.move_link(index, name, namespace);
    // Its number may be another there, and so may be its name, if that is a template. In a joined
    // namespace others may make interfaces at the same time.
    let may_be_named = |new: &str| name.contains('%') || new == name || new == device;
    let is_moved =
        |link: &Link| may_be_named(&link.name) && !before.iter().any(|old| old.index == link.index);
    let Some(moved) = inside.links()?.into_iter().find(is_moved) else {
        return Err(done.err().unwrap_or(Errno::ENODEV));
    };
    let name = device.to_owned();
    let was_up = link.is_up;
    let mut moved =
        Moved { name, host, inside, link: moved, was_up, addresses, is_released: false };
    done.and_then(|()| moved.complete())?;
    Ok(moved)
}

/// The network namespace of a process.
pub(super) fn namespace_of(pid: i32) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    open(format!("/proc/{pid}/ns/net").as_str(), flags, Mode::empty())
}
