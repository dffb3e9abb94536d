//! What tasks and reports say about the network.

use std::net::IpAddr;

use loadline_model::network::{
    Addresses, ContainerNetwork, HostEntry, Link, NetworkBinding, NetworkMode, PortMapping,
    Protocol,
};

use super::{Fault, InvalidField, at_most, each};
use crate::v1;

/// Most port mappings of a container, and lines for its hosts file.
const PORTS_MAX: usize = 100;
const EXTRA_HOSTS_MAX: usize = 100;
const DNS_MAX: usize = 16;
const LINKS_MAX: usize = 10;
/// Longest name, in bytes (RFC 1035).
const NAME_BYTES_MAX: usize = 255;

pub(super) fn mode_from_wire(value: i32) -> Result<NetworkMode, InvalidField> {
    match v1::NetworkMode::try_from(value) {
        Ok(v1::NetworkMode::None) => Ok(NetworkMode::None),
        Ok(v1::NetworkMode::Host) => Ok(NetworkMode::Host),
        Ok(v1::NetworkMode::Bridge) => Ok(NetworkMode::Bridge),
        Ok(v1::NetworkMode::Awsvpc) => Ok(NetworkMode::Awsvpc),
        Ok(v1::NetworkMode::Unspecified) | Err(_) => {
            Err(InvalidField::new("network_mode", Fault::UnknownValue(value)))
        }
    }
}

pub(super) fn mode_to_wire(mode: NetworkMode) -> v1::NetworkMode {
    match mode {
        NetworkMode::None => v1::NetworkMode::None,
        NetworkMode::Host => v1::NetworkMode::Host,
        NetworkMode::Bridge => v1::NetworkMode::Bridge,
        NetworkMode::Awsvpc => v1::NetworkMode::Awsvpc,
    }
}

/// An absent message says nothing, as one with nothing in it.
pub(super) fn from_wire(
    wire: Option<v1::ContainerNetwork>,
) -> Result<ContainerNetwork, InvalidField> {
    let wire = wire.unwrap_or_default();
    let network = |wire: v1::ContainerNetwork| {
        at_most("ports", wire.ports.len(), PORTS_MAX)?;
        at_most("extra_hosts", wire.extra_hosts.len(), EXTRA_HOSTS_MAX)?;
        at_most("dns_servers", wire.dns_servers.len(), DNS_MAX)?;
        at_most("dns_search_domains", wire.dns_search_domains.len(), DNS_MAX)?;
        at_most("links", wire.links.len(), LINKS_MAX)?;
        let names = wire.hostname.iter().chain(&wire.dns_search_domains);
        names.into_iter().try_for_each(|name| check_name("hostname", name))?;
        Ok(ContainerNetwork {
            disabled: wire.disabled,
            ports: each("ports", wire.ports)?,
            hostname: wire.hostname,
            extra_hosts: each("extra_hosts", wire.extra_hosts)?,
            dns_servers: wire
                .dns_servers
                .iter()
                .map(|text| address("dns_servers", text))
                .collect::<Result<_, _>>()?,
            dns_search_domains: wire.dns_search_domains,
            links: each("links", wire.links)?,
        })
    };
    network(wire).map_err(|fault: InvalidField| fault.within("network"))
}

/// Nothing is sent for a container that says nothing.
pub(super) fn to_wire(network: ContainerNetwork) -> Option<v1::ContainerNetwork> {
    if network == ContainerNetwork::default() {
        return None;
    }
    Some(v1::ContainerNetwork {
        disabled: network.disabled,
        ports: network.ports.into_iter().map(Into::into).collect(),
        hostname: network.hostname,
        extra_hosts: network.extra_hosts.into_iter().map(Into::into).collect(),
        dns_servers: network.dns_servers.iter().map(ToString::to_string).collect(),
        dns_search_domains: network.dns_search_domains,
        links: network
            .links
            .into_iter()
            .map(|link| v1::Link { container: link.container, alias: link.alias })
            .collect(),
    })
}

impl TryFrom<v1::PortMapping> for PortMapping {
    type Error = InvalidField;

    fn try_from(wire: v1::PortMapping) -> Result<Self, InvalidField> {
        Ok(Self {
            container_port: port("container_port", wire.container_port)?,
            host_port: wire.host_port.map(|number| port("host_port", number)).transpose()?,
            protocol: protocol_from_wire(wire.protocol)?,
        })
    }
}

impl From<PortMapping> for v1::PortMapping {
    fn from(mapping: PortMapping) -> Self {
        Self {
            container_port: mapping.container_port.into(),
            host_port: mapping.host_port.map(u32::from),
            protocol: protocol_to_wire(mapping.protocol).into(),
        }
    }
}

impl TryFrom<v1::HostEntry> for HostEntry {
    type Error = InvalidField;

    fn try_from(wire: v1::HostEntry) -> Result<Self, InvalidField> {
        check_name("hostname", &wire.hostname)?;
        Ok(Self { address: address("address", &wire.address)?, hostname: wire.hostname })
    }
}

impl From<HostEntry> for v1::HostEntry {
    fn from(entry: HostEntry) -> Self {
        Self { hostname: entry.hostname, address: entry.address.to_string() }
    }
}

impl TryFrom<v1::Link> for Link {
    type Error = InvalidField;

    fn try_from(wire: v1::Link) -> Result<Self, InvalidField> {
        check_name("container", &wire.container)?;
        check_name("alias", &wire.alias)?;
        Ok(Self { container: wire.container, alias: wire.alias })
    }
}

impl TryFrom<v1::NetworkBinding> for NetworkBinding {
    type Error = InvalidField;

    fn try_from(wire: v1::NetworkBinding) -> Result<Self, InvalidField> {
        Ok(Self {
            container_port: port("container_port", wire.container_port)?,
            host_port: port("host_port", wire.host_port)?,
            protocol: protocol_from_wire(wire.protocol)?,
        })
    }
}

impl From<NetworkBinding> for v1::NetworkBinding {
    fn from(binding: NetworkBinding) -> Self {
        Self {
            container_port: binding.container_port.into(),
            host_port: binding.host_port.into(),
            protocol: protocol_to_wire(binding.protocol).into(),
        }
    }
}

pub(super) fn bindings_from_wire(
    wire: Vec<v1::NetworkBinding>,
) -> Result<Vec<NetworkBinding>, InvalidField> {
    at_most("network_bindings", wire.len(), PORTS_MAX)?;
    each("network_bindings", wire)
}

pub(super) fn addresses_from_wire(
    ipv4: Option<&str>,
    ipv6: Option<&str>,
) -> Result<Option<Addresses>, InvalidField> {
    let Some(ipv4) = ipv4 else { return Ok(None) };
    let invalid = |path| InvalidField::new(path, Fault::Rule("no address of this kind"));
    Ok(Some(Addresses {
        ipv4: ipv4.parse().map_err(|_| invalid("ipv4_address"))?,
        ipv6: ipv6.map(|text| text.parse().map_err(|_| invalid("ipv6_address"))).transpose()?,
    }))
}

fn protocol_from_wire(value: i32) -> Result<Protocol, InvalidField> {
    match v1::Protocol::try_from(value) {
        Ok(v1::Protocol::Tcp) => Ok(Protocol::Tcp),
        Ok(v1::Protocol::Udp) => Ok(Protocol::Udp),
        Ok(v1::Protocol::Unspecified) | Err(_) => {
            Err(InvalidField::new("protocol", Fault::UnknownValue(value)))
        }
    }
}

fn protocol_to_wire(protocol: Protocol) -> v1::Protocol {
    match protocol {
        Protocol::Tcp => v1::Protocol::Tcp,
        Protocol::Udp => v1::Protocol::Udp,
    }
}

fn port(path: &str, number: u32) -> Result<u16, InvalidField> {
    u16::try_from(number).ok().filter(|port| 0 < *port).ok_or_else(|| {
        let fault = Fault::OutOfRange { found: number.into(), min: 1, max: u16::MAX.into() };
        InvalidField::new(path, fault)
    })
}

fn address(path: &str, text: &str) -> Result<IpAddr, InvalidField> {
    text.parse().map_err(|_| InvalidField::new(path, Fault::Rule("not an IP address")))
}

/// What goes into a line of a file has no white space of its own.
fn check_name(path: &str, name: &str) -> Result<(), InvalidField> {
    at_most(path, name.len(), NAME_BYTES_MAX)?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if name.is_empty() || !name.bytes().all(allowed) {
        let rule = "only letters, digits and _ . -, at least one";
        return Err(InvalidField::new(path, Fault::Rule(rule)));
    }
    Ok(())
}
