//! What the node has before any task: its own link, its table of nftables, and forwarding.

use std::io::{self, Write as _};
use std::net::{IpAddr, TcpListener};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::errno::Errno;

use super::netlink::{NetlinkError, Socket, nft, route};
use super::plan::{METADATA_ADDRESS, METADATA_PORT, Plan, each};
use super::spares::Spares;
use super::{NetworkError, Settings, ruleset};

const IP_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// The node's part of its network, and what is held to work on it.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) routes: Socket,
    pub(super) nftables: Socket,
    pub(super) spares: Spares,
    name: String,
    /// Held: its name can be bound once in a network namespace.
    _lock: UnixListener,
}

impl Ground {
    /// Makes it, or takes over what an earlier agent made.
    pub(super) fn lay(settings: &Settings) -> Result<Self, NetworkError> {
        let plan = &settings.plan;
        let lock = lock(&plan.name)?;
        let (routes, nftables) = (route::open()?, nft::open()?);
        std::fs::create_dir_all(&settings.dir).map_err(NetworkError::at("make", &settings.dir))?;
        let is_new = make_link(&routes, &plan.name)?;
        if let Err(error) = furnish(&routes, plan) {
            if is_new {
                let _ = routes.call(&[route::remove(&plan.name)]);
            }
            return Err(error);
        }
        serve_metadata(settings);
        let spares = Spares::start()?;
        Ok(Self { routes, nftables, spares, name: plan.name.clone(), _lock: lock })
    }

    /// Removes everything but the setting of forwarding, which others may rely on by now.
    pub(super) fn clear(self) -> Result<(), NetworkError> {
        run_nft(&format!("table inet {0}\ndelete table inet {0}\n", self.name))?;
        Ok(self.routes.call(&[route::remove(&self.name)])?)
    }
}

/// A task runs without its metadata too.
fn serve_metadata(settings: &Settings) {
    let listen = || -> io::Result<()> {
        let listener = TcpListener::bind((METADATA_ADDRESS, METADATA_PORT))?;
        listener.set_nonblocking(true)?;
        settings.metadata.try_send(listener).map_err(io::Error::other)
    };
    if let Err(error) = listen() {
        tracing::warn!(%error, "tasks have no metadata: nobody listens at {METADATA_ADDRESS}");
    }
}

fn lock(name: &str) -> Result<UnixListener, NetworkError> {
    let address = SocketAddr::from_abstract_name(format!("loadline-network-{name}"))?;
    UnixListener::bind_addr(&address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => NetworkError::Locked { name: name.to_owned() },
        _ => error.into(),
    })
}

/// Whether it was not there before.
fn make_link(routes: &Socket, name: &str) -> Result<bool, NetworkError> {
    match routes.call(&[route::new_bridge(name)]) {
        Ok(()) => Ok(true),
        Err(error) if error.is(Errno::EEXIST) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn furnish(routes: &Socket, plan: &Plan) -> Result<(), NetworkError> {
    let index = index_of(&plan.name)?;
    check_overlap(routes, plan, index)?;
    let mut messages = Vec::new();
    if plan.prefix.is_some() {
        messages.push(route::quiet(&plan.name));
    }
    messages.push(route::up(&plan.name));
    messages.extend(each(&plan.node()).into_iter().map(|own| route::address(index, own)));
    messages.push(route::address(index, IpAddr::V4(METADATA_ADDRESS)));
    routes.call(&messages)?;
    run_nft(&ruleset::text(plan))?;
    forward()
}

/// Somebody else's network must not vanish behind ours. What is routed to our own links is ours.
fn check_overlap(routes: &Socket, plan: &Plan, own: u32) -> Result<(), NetworkError> {
    let name_of = |index: u32| {
        let name = nix::net::if_::if_indextoname(index).ok()?;
        Some(name.to_string_lossy().into_owned())
    };
    for found in route::destinations(routes)? {
        let is_ours = found.link == own
            || name_of(found.link).is_some_and(|name| plan.number_of(&name).is_some());
        if 0 < found.length && !is_ours && plan.range.overlaps(found.address, found.length) {
            let other = format!("{}/{}", found.address, found.length);
            return Err(NetworkError::Overlap { range: plan.range.to_string(), other });
        }
    }
    Ok(())
}

fn run_nft(rules: &str) -> Result<(), NetworkError> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(NetworkError::NoNft)?;
    if let Some(mut stdin) = child.stdin.take() {
        // What it says when it does not read to the end is worth more than this error.
        let _ = stdin.write_all(rules.as_bytes());
    }
    let output = child.wait_with_output().map_err(NetworkError::NoNft)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said.lines().next().unwrap_or("it said nothing").trim().to_owned();
    Err(NetworkError::Rules(first))
}

/// Packets between containers and the world pass through this host.
fn forward() -> Result<(), NetworkError> {
    let path = Path::new(IP_FORWARD);
    let now = std::fs::read_to_string(path).map_err(NetworkError::at("read", path))?;
    if now.trim() == "1" {
        return Ok(());
    }
    std::fs::write(path, "1").map_err(NetworkError::at("write", path))?;
    tracing::warn!("net.ipv4.ip_forward is turned on: tasks with networkMode bridge need it");
    Ok(())
}

/// Lets what the host sends from its loopback to a published port go out by this link, and the
/// answers come back; [`ruleset`] drops what else would come in for loopback.
pub(super) fn let_loopback_through(link: &str) -> Result<(), NetworkError> {
    let path = format!("/proc/sys/net/ipv4/conf/{link}/route_localnet");
    let path = Path::new(&path);
    std::fs::write(path, "1").map_err(NetworkError::at("write", path))
}

/// A link's index in the thread's namespace.
pub(super) fn index_of(name: &str) -> Result<u32, NetlinkError> {
    nix::net::if_::if_nametoindex(name).map_err(|errno| NetlinkError {
        what: format!("find the link {name}"),
        source: errno.into(),
    })
}
