//! What a task definition says about the network, judged by ECS's rules.

use std::net::IpAddr;

use loadline_model::network::{
    ContainerNetwork, HostEntry, Link, NetworkMode, PortMapping, Protocol,
};
use loadline_model::{ContainerName, ContainerSpec};

use super::super::check;
use super::shapes::{self, ContainerDefinition};
use crate::api::ApiError;
use crate::state::HostPort;

/// Most port mappings of a container (ECS's own bound).
const PORTS_MAX: usize = 100;
/// Most lines that a container adds to its hosts file.
const EXTRA_HOSTS_MAX: usize = 100;
/// Most name servers, and most search domains.
const DNS_MAX: usize = 16;
/// Longest host name, in bytes (Linux `__NEW_UTS_LEN`).
const HOSTNAME_BYTES_MAX: usize = 64;
/// Longest name of another host, in bytes (RFC 1035).
const NAME_BYTES_MAX: usize = 255;

/// Absent means `none`, where AWS on Linux means `bridge`: a definition that says nothing runs on
/// every node, also on one whose network shall not be touched.
pub(super) fn mode(mode: Option<&str>) -> Result<NetworkMode, ApiError> {
    check::one_of("networkMode", mode, &["none", "host", "bridge", "awsvpc"], &[])?;
    Ok(match mode {
        Some("host") => NetworkMode::Host,
        Some("bridge") => NetworkMode::Bridge,
        Some("awsvpc") => NetworkMode::Awsvpc,
        _ => NetworkMode::None,
    })
}

/// The network of the container with this index.
pub(super) fn read(
    index: usize,
    given: &ContainerDefinition,
    mode: NetworkMode,
) -> Result<ContainerNetwork, ApiError> {
    let at = |field: &str| format!("containerDefinitions[{index}].{field}");
    let mappings = given.port_mappings.as_deref().unwrap_or_default();
    most(&at("portMappings"), mappings.len(), PORTS_MAX)?;
    if mode == NetworkMode::None && !mappings.is_empty() {
        let at = at("portMappings");
        return Err(ApiError::client(format_args!(
            "{at}: with networkMode none a container has no ports that anybody could reach"
        )));
    }
    let numbered = mappings.iter().enumerate();
    let ports =
        numbered.map(|(n, mapping)| port(&at(&format!("portMappings[{n}]")), mapping, mode));
    let network = ContainerNetwork {
        ports: ports.collect::<Result<_, _>>()?,
        hostname: given.hostname.clone().filter(|name| !name.is_empty()),
        extra_hosts: extra_hosts(&at("extraHosts"), given)?,
        dns_servers: dns_servers(&at("dnsServers"), given)?,
        dns_search_domains: given.dns_search_domains.clone().unwrap_or_default(),
        links: links(&at("links"), given)?,
    };
    if let Some(hostname) = &network.hostname {
        name(&at("hostname"), hostname, HOSTNAME_BYTES_MAX)?;
    }
    most(&at("dnsSearchDomains"), network.dns_search_domains.len(), DNS_MAX)?;
    for domain in &network.dns_search_domains {
        name(&at("dnsSearchDomains"), domain, NAME_BYTES_MAX)?;
    }
    fits(&at, &network, mode)?;
    Ok(network)
}

/// What ECS refuses with some modes, by the names of its fields.
fn fits(
    at: &dyn Fn(&str) -> String,
    network: &ContainerNetwork,
    mode: NetworkMode,
) -> Result<(), ApiError> {
    let (host, bridge) = (mode == NetworkMode::Host, mode == NetworkMode::Bridge);
    let awsvpc = mode == NetworkMode::Awsvpc;
    for (field, is_wrong) in [
        ("links", !network.links.is_empty() && !bridge),
        ("hostname", network.hostname.is_some() && (host || awsvpc)),
        ("extraHosts", !network.extra_hosts.is_empty() && awsvpc),
    ] {
        if is_wrong {
            let (at, mode) = (at(field), mode.as_str());
            return Err(ApiError::client(format_args!(
                "{at} can't be used with networkMode {mode}."
            )));
        }
    }
    Ok(())
}

fn port(at: &str, given: &shapes::PortMapping, mode: NetworkMode) -> Result<PortMapping, ApiError> {
    let range =
        |field: &str| ApiError::client(format_args!("{at}.{field} must be between 1 and 65535"));
    let number = given.container_port.and_then(|n| u16::try_from(n).ok()).filter(|n| 0 < *n);
    let container_port = number.ok_or_else(|| range("containerPort"))?;
    let host_port = given.host_port.map(u16::try_from).transpose();
    let asked = host_port.map_err(|_| range("hostPort"))?.filter(|port| 0 < *port);
    let mode_name = mode.as_str();
    if mode != NetworkMode::Bridge && asked.is_some_and(|host| host != container_port) {
        return Err(ApiError::client(format_args!(
            "When networkMode={mode_name}, the host ports and container ports in port mappings \
             must match. ({at}.hostPort)"
        )));
    }
    let protocol = given.protocol.as_deref();
    check::one_of(&format!("{at}.protocol"), protocol, &["tcp", "udp"], &[])?;
    let host_port = if mode == NetworkMode::Bridge { asked } else { Some(container_port) };
    let protocol = if protocol == Some("udp") { Protocol::Udp } else { Protocol::Tcp };
    Ok(PortMapping { container_port, host_port, protocol })
}

fn extra_hosts(at: &str, given: &ContainerDefinition) -> Result<Vec<HostEntry>, ApiError> {
    let given = given.extra_hosts.as_deref().unwrap_or_default();
    most(at, given.len(), EXTRA_HOSTS_MAX)?;
    let entry = |(n, entry): (usize, &shapes::HostEntry)| {
        name(&format!("{at}[{n}].hostname"), &entry.hostname, NAME_BYTES_MAX)?;
        let address = address(&format!("{at}[{n}].ipAddress"), &entry.ip_address)?;
        Ok(HostEntry { hostname: entry.hostname.clone(), address })
    };
    given.iter().enumerate().map(entry).collect()
}

fn dns_servers(at: &str, given: &ContainerDefinition) -> Result<Vec<IpAddr>, ApiError> {
    let given = given.dns_servers.as_deref().unwrap_or_default();
    most(at, given.len(), DNS_MAX)?;
    given.iter().enumerate().map(|(n, text)| address(&format!("{at}[{n}]"), text)).collect()
}

/// `CONTAINER` or `CONTAINER:ALIAS`.
fn links(at: &str, given: &ContainerDefinition) -> Result<Vec<Link>, ApiError> {
    let link = |(n, text): (usize, &String)| {
        let (container, alias) = text.split_once(':').unwrap_or((text, text));
        name(&format!("{at}[{n}]"), alias, NAME_BYTES_MAX)?;
        Ok(Link { container: container.to_owned(), alias: alias.to_owned() })
    };
    given.links.as_deref().unwrap_or_default().iter().enumerate().map(link).collect()
}

/// The rules between containers, and the host's ports that they ask for by number.
pub(super) fn together(
    containers: &[ContainerSpec],
    mode: NetworkMode,
) -> Result<Vec<HostPort>, ApiError> {
    let mut taken: Vec<(u16, Protocol)> = Vec::new();
    let mut ports = Vec::new();
    for (index, container) in containers.iter().enumerate() {
        for (n, mapping) in container.network.ports.iter().enumerate() {
            let Some(port) = mapping.host_port else { continue };
            let protocol = mapping.protocol;
            if taken.contains(&(port, protocol)) {
                return Err(ApiError::client(format_args!(
                    "containerDefinitions[{index}].portMappings[{n}]: port {port}/{} is there \
                     twice",
                    protocol.as_str()
                )));
            }
            taken.push((port, protocol));
            // With awsvpc they are ports of the task's own address.
            if mode != NetworkMode::Awsvpc {
                ports.push(HostPort { container: container.name.clone(), port, protocol });
            }
        }
        for (n, link) in container.network.links.iter().enumerate() {
            linked(
                &format!("containerDefinitions[{index}].links[{n}]"),
                link,
                container,
                containers,
            )?;
        }
    }
    Ok(ports)
}

fn linked(
    at: &str,
    link: &Link,
    own: &ContainerSpec,
    all: &[ContainerSpec],
) -> Result<(), ApiError> {
    let target: Option<&ContainerName> =
        all.iter().map(|other| &other.name).find(|name| name.as_str() == link.container);
    if target.is_none_or(|target| *target == own.name) {
        return Err(ApiError::client(format_args!(
            "{at}: there is no other container {:?} in the task definition",
            link.container
        )));
    }
    Ok(())
}

fn most(at: &str, found: usize, max: usize) -> Result<(), ApiError> {
    if max < found {
        return Err(ApiError::client(format_args!("{at} can have at most {max} items.")));
    }
    Ok(())
}

fn name(at: &str, name: &str, bytes_max: usize) -> Result<(), ApiError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if name.is_empty() || bytes_max < name.len() || !name.bytes().all(allowed) {
        return Err(ApiError::client(format_args!(
            "{at} must have 1 to {bytes_max} letters, digits and _ . -"
        )));
    }
    Ok(())
}

fn address(at: &str, text: &str) -> Result<IpAddr, ApiError> {
    text.parse().map_err(|_| ApiError::client(format_args!("{at} is no IP address: {text:?}")))
}

/// As clients see them.
pub(super) fn show_ports(
    spec: &ContainerSpec,
    ports: &[HostPort],
    mode: NetworkMode,
) -> Vec<shapes::PortMapping> {
    let show = |container: u16, host: u16, protocol: Protocol| shapes::PortMapping {
        container_port: Some(container.into()),
        host_port: Some(host.into()),
        protocol: Some(protocol.as_str().into()),
    };
    if spec.network.ports.is_empty() {
        // Of a record from before containers had their own.
        let own = ports.iter().filter(|port| port.container == spec.name);
        return own.map(|port| show(port.port, port.port, port.protocol)).collect();
    }
    let host = |mapping: &PortMapping| match mode {
        NetworkMode::Bridge => mapping.host_port.unwrap_or(0),
        _ => mapping.container_port,
    };
    let all = spec.network.ports.iter();
    all.map(|mapping| show(mapping.container_port, host(mapping), mapping.protocol)).collect()
}

/// As clients see them, none where the container has none.
pub(super) fn show_hosts(spec: &ContainerSpec) -> Option<Vec<shapes::HostEntry>> {
    let show = |entry: &HostEntry| shapes::HostEntry {
        hostname: entry.hostname.clone(),
        ip_address: entry.address.to_string(),
    };
    some(spec.network.extra_hosts.iter().map(show).collect())
}

/// As clients see them, none where the container has none.
pub(super) fn show_links(spec: &ContainerSpec) -> Option<Vec<String>> {
    let show = |link: &Link| {
        if link.alias == link.container {
            link.container.clone()
        } else {
            format!("{}:{}", link.container, link.alias)
        }
    };
    some(spec.network.links.iter().map(show).collect())
}

/// None for an empty list, as AWS shows it.
pub(super) fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|list| !list.is_empty())
}
