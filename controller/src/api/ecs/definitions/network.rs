//! What a task definition says about the network, judged by ECS's rules.

use std::net::IpAddr;

use loadline_model::network::{
    ContainerNetwork, HostEntry, Link, NetworkMode, PortMapping, Protocol,
};
use loadline_model::{ContainerName, ContainerSpec};

use super::super::check;
use super::shapes::{self, ContainerDefinition};
use crate::api::ApiError;
use crate::state::{DefinitionBody, HostPort, PortDetail};

/// Most port mappings of a container (ECS's own bound).
const PORTS_MAX: usize = 100;
/// Most lines that a container adds to its hosts file.
const EXTRA_HOSTS_MAX: usize = 100;
/// Most name servers, and most search domains.
const DNS_MAX: usize = 16;
/// Longest host name, in bytes (Linux `__NEW_UTS_LEN`).
const HOSTNAME_BYTES_MAX: usize = 64;
/// Longest name of a port (ECS's own bound).
const PORT_NAME_CHARS_MAX: usize = 64;
/// Longest name of another host, in bytes (RFC 1035).
const NAME_BYTES_MAX: usize = 255;

/// Absent means `bridge`, as on AWS for Linux.
pub(super) fn mode(mode: Option<&str>) -> Result<NetworkMode, ApiError> {
    check::one_of("networkMode", mode, &["none", "host", "bridge", "awsvpc"], &[])?;
    Ok(match mode {
        Some("host") => NetworkMode::Host,
        Some("none") => NetworkMode::None,
        Some("awsvpc") => NetworkMode::Awsvpc,
        _ => NetworkMode::Bridge,
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
    let mut ports = Vec::new();
    for (n, mapping) in mappings.iter().enumerate() {
        let at = at(&format!("portMappings[{n}]"));
        match &mapping.container_port_range {
            Some(text) => ports.extend(range(&at, text, mapping, mode)?),
            None => ports.push(port(&at, mapping, mode)?),
        }
    }
    most(&at("portMappings"), ports.len(), PORTS_MAX)?;
    let network = ContainerNetwork {
        disabled: given.disable_networking.unwrap_or(false),
        ports,
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
    let reached = !network.ports.is_empty() || !network.links.is_empty();
    if network.disabled && reached {
        let at = at("disableNetworking");
        return Err(ApiError::client(format_args!(
            "{at} can't be used with portMappings or links: the container has no network."
        )));
    }
    for (field, is_wrong) in [
        ("disableNetworking", network.disabled && awsvpc),
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

/// `FIRST-LAST`: a mapping for each port of it.
fn range(
    at: &str,
    text: &str,
    given: &shapes::PortMapping,
    mode: NetworkMode,
) -> Result<Vec<PortMapping>, ApiError> {
    if given.container_port.is_some() || given.host_port.is_some_and(|port| port != 0) {
        return Err(ApiError::client(format_args!(
            "{at}: containerPortRange can't be used with containerPort and hostPort"
        )));
    }
    if mode == NetworkMode::Host {
        return Err(ApiError::client(format_args!(
            "{at}.containerPortRange can't be used with networkMode host."
        )));
    }
    let (first, last) = ends(text).ok_or_else(|| {
        ApiError::client(format_args!(
            "{at}.containerPortRange must be FIRST-LAST, ports between 1 and 65535, not {text:?}"
        ))
    })?;
    most(&format!("{at}.containerPortRange"), usize::from(last - first) + 1, PORTS_MAX)?;
    let one = |number: u16| {
        let container_port = Some(number.into());
        let one = shapes::PortMapping { container_port, host_port: None, ..given.clone() };
        port(at, &one, mode)
    };
    (first..=last).map(one).collect()
}

fn ends(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (0 < first && first <= last).then_some((first, last))
}

/// What a definition says about ports that no node needs to know, by ECS's rules.
pub(super) fn details(
    index: usize,
    container: &ContainerName,
    given: &[shapes::PortMapping],
) -> Result<Vec<PortDetail>, ApiError> {
    let mut first = 0;
    let mut found = Vec::new();
    for (n, mapping) in given.iter().enumerate() {
        let at = format!("containerDefinitions[{index}].portMappings[{n}]");
        let range = mapping.container_port_range.as_deref().and_then(ends);
        let count = range.map_or(1, |(first, last)| usize::from(last - first) + 1);
        if let Some(text) = &mapping.name {
            let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
            let chars = text.chars().count();
            if chars == 0 || PORT_NAME_CHARS_MAX < chars || !text.chars().all(plain) {
                return Err(ApiError::client(format_args!(
                    "{at}.name must have 1 to {PORT_NAME_CHARS_MAX} letters, digits, _ and -"
                )));
            }
        }
        let app = mapping.app_protocol.as_deref();
        check::one_of(&format!("{at}.appProtocol"), app, &["http", "http2", "grpc"], &[])?;
        if app.is_some() && mapping.protocol.as_deref() == Some("udp") {
            return Err(ApiError::client(format_args!("{at}.appProtocol needs protocol tcp")));
        }
        if mapping.name.is_some() || app.is_some() || range.is_some() {
            found.push(PortDetail {
                container: container.clone(),
                first,
                count,
                is_range: range.is_some(),
                name: mapping.name.clone(),
                app_protocol: mapping.app_protocol.clone(),
            });
        }
        first += count;
    }
    Ok(found)
}

/// Every name of a port is there once in a definition (ECS).
pub(super) fn distinct_names(details: &[PortDetail]) -> Result<(), ApiError> {
    let mut names: Vec<&String> = details.iter().filter_map(|port| port.name.as_ref()).collect();
    names.sort_unstable();
    match names.windows(2).find(|two| two[0] == two[1]) {
        Some(two) => Err(ApiError::client(format_args!(
            "portMappings: the name {:?} is used more than once in the task definition",
            two[0]
        ))),
        None => Ok(()),
    }
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
    let named = |other: &&ContainerSpec| other.name.as_str() == link.container;
    let Some(target) = all.iter().find(named).filter(|target| target.name != own.name) else {
        return Err(ApiError::client(format_args!(
            "{at}: there is no other container {:?} in the task definition",
            link.container
        )));
    };
    if target.network.disabled {
        return Err(ApiError::client(format_args!(
            "{at}: container {} has disableNetworking: nobody can reach it",
            target.name
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
    body: &DefinitionBody,
    mode: NetworkMode,
) -> Vec<shapes::PortMapping> {
    let show = |container: u16, host: u16, protocol: Protocol| shapes::PortMapping {
        container_port: Some(container.into()),
        host_port: Some(host.into()),
        protocol: Some(protocol.as_str().into()),
        name: None,
        app_protocol: None,
        container_port_range: None,
    };
    if spec.network.ports.is_empty() {
        // Of a record from before containers had their own.
        let own = body.ports.iter().filter(|port| port.container == spec.name);
        return own.map(|port| show(port.port, port.port, port.protocol)).collect();
    }
    let host = |mapping: &PortMapping| match mode {
        NetworkMode::Bridge => mapping.host_port.unwrap_or(0),
        _ => mapping.container_port,
    };
    let details = |at: usize| {
        let own = body.port_details.iter().filter(|port| port.container == spec.name);
        own.clone().find(|port| (port.first..port.first + port.count).contains(&at))
    };
    let mut all = Vec::new();
    for (at, mapping) in spec.network.ports.iter().enumerate() {
        let mut one = show(mapping.container_port, host(mapping), mapping.protocol);
        if let Some(detail) = details(at) {
            if at != detail.first {
                continue;
            }
            one.name.clone_from(&detail.name);
            one.app_protocol.clone_from(&detail.app_protocol);
            if detail.is_range {
                let last = spec.network.ports.get(at + detail.count - 1).unwrap_or(mapping);
                let range = format!("{}-{}", mapping.container_port, last.container_port);
                one.container_port_range = Some(range);
                (one.container_port, one.host_port) = (None, None);
            }
        }
        all.push(one);
    }
    all
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
