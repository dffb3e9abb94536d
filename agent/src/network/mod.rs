//! The networks of tasks: modes `bridge` and `awsvpc`.
//!
//! ```text
//!  container                      host
//!  eth0 10.213.0.7/32 ═══════════ loadline-7    route 10.213.0.7/32, fixed neighbours
//!                                 loadline      10.213.0.1/32 and 169.254.170.2/32: the node
//!  table inet loadline            published ports, NAT, guard: see [`ruleset`]
//! ```
//!
//! Every place in the network is a pair of links of its own that the host routes to: no bridge that
//! 1,023 ports fill, no broadcast that a thousand containers hear, and no address but its own that
//! a container could speak with ([`ruleset`] drops it), so that the sender of a packet is known.
//!
//! Invariants:
//! - Nothing of the host's network is touched before the first task that needs it, and nothing of
//!   others ever: links and table carry the network's name. `net.ipv4.ip_forward` is the one
//!   setting that is turned on, and it is said so.
//! - What a task has is decided by [`pool`] and in the ledger before anything of it is made. A
//!   namespace is pinned last: one that is pinned is whole, another vanishes with the agent.
//! - A lock in the network namespace itself keeps two agents from one network.

mod error;
pub mod namefiles;
pub mod netlink;
pub mod options;
pub mod plan;
pub mod pool;
pub mod ruleset;
mod setup;
pub mod space;
mod spares;

use std::collections::BTreeMap;
use std::net::{IpAddr, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use loadline_model::ContainerSpec;
use loadline_model::network::{HostEntry, NetworkMode, Protocol};
use nix::errno::Errno;
use tokio::sync::mpsc;

pub use error::NetworkError;
use netlink::route::{self, End};
use netlink::{Socket, nft};
use plan::{Attachment, INSIDE_LINK, Plan};
pub use pool::{Allotment, Pool};
use ruleset::Publication;
use setup::Ground;

use crate::failpoint;
use crate::task::Task;

/// What a network is set up with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Names and addresses.
    pub plan: Plan,
    /// Where namespaces are pinned.
    pub dir: PathBuf,
    /// Gets what listens at the address of the tasks' metadata, once that is there.
    pub metadata: mpsc::Sender<TcpListener>,
}

/// Makes and removes what tasks have of the network. Blocking.
#[derive(Debug)]
pub struct Network {
    settings: Settings,
    /// There once the first task needed it. What happens in the kernel happens under its own lock
    /// anyway (RTNL), one after the other.
    ground: Mutex<Option<Ground>>,
}

impl Network {
    /// A network that nothing was made of yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, ground: Mutex::new(None) }
    }

    /// Names and addresses.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.settings.plan
    }

    fn lock(&self) -> MutexGuard<'_, Option<Ground>> {
        self.ground.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a container's namespace is pinned, if it gets one from here.
    #[must_use]
    pub fn namespace(&self, task: &Task, container: usize) -> Option<PathBuf> {
        let id = task.spec.arn.id();
        let name = match task.network_mode(container) {
            NetworkMode::Bridge => format!("{id}-{container}"),
            NetworkMode::Awsvpc => id.to_owned(),
            NetworkMode::None | NetworkMode::Host => return None,
        };
        Some(self.settings.dir.join(name))
    }

    /// Makes a container's place in the network. Making it twice is as good as once.
    ///
    /// # Errors
    /// [`NetworkError`]; what was begun is gone.
    pub fn attach(&self, task: &Task, container: usize) -> Result<(), NetworkError> {
        let mode = task.network_mode(container);
        let Some(path) = self.namespace(task, container) else { return Ok(()) };
        let place = task.network.attachment(mode, container).ok_or(NetworkError::NoPlace)?;
        let mut ground = self.lock();
        let ground = match &mut *ground {
            Some(ground) => ground,
            none => none.insert(Ground::lay(&self.settings)?),
        };
        if !space::is_pinned(&path) {
            self.make(ground, place, &path)?;
        }
        failpoint::hit("network-pinned");
        nft::add(&ground.nftables, &self.plan().name, &elements(task, container))?;
        failpoint::hit("network-published");
        Ok(())
    }

    fn make(&self, ground: &Ground, place: &Attachment, path: &Path) -> Result<(), NetworkError> {
        let namespace = ground.spares.take()?;
        let link = self.plan().link(place.number);
        // Of an attempt that failed, or of an agent that died in it.
        remove_link(&ground.routes, &link)?;
        let made = self
            .connect(&ground.routes, &namespace, place, &link)
            .and_then(|()| space::pin(&namespace, path).map_err(NetworkError::at("pin", path)));
        if made.is_err() {
            // The first error is the one to report.
            let _ = space::unpin(path);
            let _ = remove_link(&ground.routes, &link);
        }
        made
    }

    fn connect(
        &self,
        routes: &Socket,
        namespace: &OwnedFd,
        place: &Attachment,
        link: &str,
    ) -> Result<(), NetworkError> {
        let plan = self.plan();
        let outside = End { name: link, mac: Plan::node_mac() };
        let inside = End { name: INSIDE_LINK, mac: place.mac() };
        let mut pair = vec![route::new_veth(outside, inside, namespace.as_fd())];
        if plan.prefix.is_some() {
            pair.push(route::quiet(link));
        }
        pair.push(route::up(link));
        routes.call(&pair)?;
        failpoint::hit("network-linked");
        setup::let_loopback_through(link)?;
        space::inside(namespace.as_fd(), || self.inside(place))?;
        let index = setup::index_of(link)?;
        let node = plan::each(&plan.node());
        let mut messages = Vec::new();
        for (own, from) in plan::each(&place.addresses).into_iter().zip(node) {
            messages.push(route::route(index, own, from));
            messages.push(route::neighbour(index, own, place.mac()));
        }
        Ok(routes.call(&messages)?)
    }

    /// What has to be done from inside the namespace.
    fn inside(&self, place: &Attachment) -> Result<(), NetworkError> {
        let plan = self.plan();
        let routes = route::open()?;
        let mut links = vec![route::up("lo")];
        if plan.prefix.is_some() {
            links.push(route::quiet(INSIDE_LINK));
        }
        links.push(route::up(INSIDE_LINK));
        routes.call(&links)?;
        let index = setup::index_of(INSIDE_LINK)?;
        let own = plan::each(&place.addresses);
        let mut messages: Vec<_> = own.iter().map(|own| route::address(index, *own)).collect();
        for gateway in plan.gateways() {
            messages.push(route::neighbour(index, gateway, Plan::node_mac()));
            messages.push(route::default_route(index, gateway));
        }
        Ok(routes.call(&messages)?)
    }

    /// Removes everything that a task has of the network. Nothing there is no error.
    ///
    /// # Errors
    /// [`NetworkError`]; calling again goes on.
    pub fn detach(&self, task: &Task) -> Result<(), NetworkError> {
        if task.network.attachments.is_empty() {
            return Ok(());
        }
        let ground = self.lock();
        for container in 0..task.spec.containers.len() {
            if let Some(ground) = &*ground {
                let elements = elements(task, container);
                nft::remove(&ground.nftables, &self.plan().name, &elements)?;
            }
            if let Some(path) = self.namespace(task, container) {
                space::unpin(&path).map_err(NetworkError::at("unpin", &path))?;
            }
        }
        failpoint::hit("network-unpinned");
        let own;
        let routes = match &*ground {
            Some(ground) => &ground.routes,
            None => {
                own = route::open()?;
                &own
            }
        };
        for place in &task.network.attachments {
            remove_link(routes, &self.plan().link(place.number))?;
        }
        Ok(())
    }

    /// At the agent's start: makes the rules anew for the tasks that go on, and removes what
    /// belongs to none of them. Where nothing was ever made, nothing is touched.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub fn sweep(&self, live: &BTreeMap<String, Task>) -> Result<(), NetworkError> {
        let dir = &self.settings.dir;
        let routes = route::open()?;
        let links = route::links(&routes)?;
        let pins = pins(dir)?;
        let ours =
            |link: &String| *link == self.plan().name || self.plan().number_of(link).is_some();
        if pins.is_empty() && !links.iter().any(ours) {
            return Ok(());
        }
        // The lock comes first: what is found may be another agent's.
        let ground = Ground::lay(&self.settings)?;
        let with_places = live.values().filter(|task| !task.network.attachments.is_empty());
        let mut known = BTreeMap::new();
        for task in with_places.clone() {
            for at in 0..task.spec.containers.len() {
                known.extend(self.namespace(task, at).map(|path| (path, ())));
                if self.namespace(task, at).is_some_and(|path| space::is_pinned(&path)) {
                    nft::add(&ground.nftables, &self.plan().name, &elements(task, at))?;
                }
            }
        }
        for path in pins.iter().filter(|path| !known.contains_key(*path)) {
            tracing::warn!(path = %path.display(), "removing the network of no task");
            space::unpin(path).map_err(NetworkError::at("unpin", path))?;
        }
        let numbers: Vec<u16> = with_places
            .flat_map(|task| task.network.attachments.iter().map(|place| place.number))
            .collect();
        for link in links {
            if self.plan().number_of(&link).is_some_and(|number| !numbers.contains(&number)) {
                remove_link(&routes, &link)?;
            }
        }
        *self.lock() = Some(ground);
        Ok(())
    }

    /// At the agent's end: gives the host back its network, unless a task's is in use.
    pub fn leave(&self) {
        let in_use = pins(&self.settings.dir).map_or(true, |pins| !pins.is_empty());
        let Some(ground) = self.lock().take().filter(|_| !in_use) else { return };
        if let Err(error) = ground.clear() {
            let error = crate::text::chain(&error);
            tracing::warn!(error, "the node's network is left behind");
        }
    }
}

fn pins(dir: &Path) -> Result<Vec<PathBuf>, NetworkError> {
    match std::fs::read_dir(dir) {
        Ok(entries) => Ok(entries.flatten().map(|entry| entry.path()).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(NetworkError::at("list", dir)(error)),
    }
}

fn remove_link(routes: &Socket, link: &str) -> Result<(), NetworkError> {
    match routes.call(&[route::remove(link)]) {
        Err(error) if !error.is(Errno::ENODEV) => Err(error.into()),
        _ => Ok(()),
    }
}

/// The elements of nftables' sets that a container needs.
fn elements(task: &Task, container: usize) -> Vec<nft::Element> {
    let mode = task.network_mode(container);
    let Some(place) = task.network.attachment(mode, container) else { return Vec::new() };
    if mode == NetworkMode::Awsvpc {
        return ruleset::reachable(&place.addresses);
    }
    let publication = |binding: loadline_model::NetworkBinding| Publication {
        host_port: binding.host_port,
        to: place.addresses,
        container_port: binding.container_port,
        protocol: binding.protocol,
    };
    task.network.bindings(container).flat_map(|b| publication(b).elements()).collect()
}

/// The containers that this one is linked to, by every name that they go by.
#[must_use]
pub fn links_of(task: &Task, container: usize) -> Vec<HostEntry> {
    let mut entries = Vec::new();
    for link in &task.spec.containers[container].network.links {
        let is_meant = |other: &ContainerSpec| other.name.as_str() == link.container;
        let Some(at) = task.spec.containers.iter().position(is_meant) else { continue };
        for address in addresses_of(task, at) {
            entries.push(HostEntry { hostname: link.alias.clone(), address });
            if link.alias != link.container {
                entries.push(HostEntry { hostname: link.container.clone(), address });
            }
        }
    }
    entries
}

/// Whether no program of this host listens on a port.
#[must_use]
pub fn is_free(protocol: Protocol, port: u16) -> bool {
    let any = std::net::Ipv4Addr::UNSPECIFIED;
    match protocol {
        Protocol::Tcp => TcpListener::bind((any, port)).is_ok(),
        Protocol::Udp => std::net::UdpSocket::bind((any, port)).is_ok(),
    }
}

/// What a task's own names stand for, for its hosts file.
#[must_use]
pub fn addresses_of(task: &Task, container: usize) -> Vec<IpAddr> {
    let place = task.network.attachment(task.network_mode(container), container);
    place.map(|place| plan::each(&place.addresses)).unwrap_or_default()
}
