//! How a task meets the network: its mode, the ports that its containers publish, and what its
//! node made of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// How a task's containers meet the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkMode {
    /// A network namespace of its own for each container, with loopback only.
    #[default]
    None,
    /// The host's network.
    Host,
    /// A network namespace and an address of its own for each container, behind the node's NAT.
    Bridge,
    /// One network namespace and one address for all containers of the task.
    Awsvpc,
}

impl NetworkMode {
    /// ECS's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Host => "host",
            Self::Bridge => "bridge",
            Self::Awsvpc => "awsvpc",
        }
    }

    /// Whether the node gives the task addresses of its own.
    #[must_use]
    pub const fn has_addresses(self) -> bool {
        matches!(self, Self::Bridge | Self::Awsvpc)
    }
}

/// ECS's `protocol` of a port mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// `tcp`
    Tcp,
    /// `udp`
    Udp,
}

impl Protocol {
    /// ECS's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// The attribute of nodes that offer tasks no network of their own: [`NetworkMode::Bridge`] and
/// [`NetworkMode::Awsvpc`] are not for them. One that says nothing offers both.
pub const WITHOUT_NETWORKS: &str = "loadline.without-task-networks";

/// TCP ports of the host that no task can have: ssh, docker, and the agent's own (ECS).
pub const RESERVED_TCP_PORTS: [u16; 6] = [22, 2375, 2376, 51_678, 51_679, 51_680];

/// A port of a container that others shall reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// 1 to 65535.
    pub container_port: u16,
    /// The host's port. `None` with [`NetworkMode::Bridge`]: one that the node chooses. The
    /// container's own with the other modes.
    pub host_port: Option<u16>,
    /// Over what.
    pub protocol: Protocol,
}

/// A line of `/etc/hosts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostEntry {
    /// The name.
    pub hostname: String,
    /// What it means.
    pub address: IpAddr,
}

/// A link to another container of the task, by a name that the two agree on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The other container.
    pub container: String,
    /// What it is called here.
    pub alias: String,
}

/// What a container definition says about the network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerNetwork {
    /// Whether it has loopback alone, whatever its task has; not with [`NetworkMode::Awsvpc`].
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    /// Its ports; each pair of host port and protocol at most once in a task.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortMapping>,
    /// Its host name; the beginning of the task's id where not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// More lines of its `/etc/hosts`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extra_hosts: Vec<HostEntry>,
    /// Its name servers; the host's where empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_servers: Vec<IpAddr>,
    /// What incomplete names are looked up in; the host's where empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_search_domains: Vec<String>,
    /// Other containers of the task that it finds by name; only with [`NetworkMode::Bridge`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
}

impl ContainerNetwork {
    /// How the container meets the network, in a task of this mode.
    #[must_use]
    pub const fn mode(&self, of_task: NetworkMode) -> NetworkMode {
        if self.disabled { NetworkMode::None } else { of_task }
    }
}

/// A port of the host that leads to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkBinding {
    /// The container's.
    pub container_port: u16,
    /// The host's.
    pub host_port: u16,
    /// Over what.
    pub protocol: Protocol,
}

/// The addresses that a container has of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// Always there.
    pub ipv4: Ipv4Addr,
    /// Where the node has IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Addr>,
}
