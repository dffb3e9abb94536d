//! `linux.netDevices`: interfaces of the host that a container gets.

use oci_spec::runtime as oci;

use super::{Linux, NamespaceKind, Violations};

/// A network interface of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetDevice {
    /// Its name on the host.
    pub device: String,
    /// Its name in the container; `%d` in it becomes the first free number.
    pub name: String,
}

/// Validates them, in the order of their names.
pub(super) fn validate(oci: &oci::Linux, linux: &Linux, found: &mut Violations) -> Vec<NetDevice> {
    let given = oci.net_devices().iter().flatten();
    let mut list: Vec<_> = given
        .map(|(device, inside)| {
            let name = inside.name().clone().filter(|name| !name.is_empty());
            NetDevice { device: device.clone(), name: name.unwrap_or_else(|| device.clone()) }
        })
        .collect();
    list.sort_by(|a, b| a.device.cmp(&b.device));
    for NetDevice { device, name } in &list {
        let field = format!("linux.netDevices.{device}");
        let is_template = name.matches('%').count() == 1 && name.contains("%d");
        if !is_interface_name(device) || device.contains('%') {
            found.add(&field, "is no name of an interface: 1 to 15 bytes without / : and spaces");
        }
        if !is_interface_name(name) || (name.contains('%') && !is_template) {
            found.add(format!("{field}.name"), format!("is no name of an interface: {name:?}"));
        }
    }
    if !list.is_empty() && !linux.namespaces.iter().any(|n| n.kind == NamespaceKind::Network) {
        found.add("linux.netDevices", "needs a network namespace in linux.namespaces");
    }
    list
}

/// As the kernel has it (`dev_valid_name`).
fn is_interface_name(name: &str) -> bool {
    let is_known = |byte: u8| !b"/:\0".contains(&byte) && !byte.is_ascii_whitespace();
    (1..libc::IFNAMSIZ).contains(&name.len())
        && ![".", ".."].contains(&name)
        && name.bytes().all(is_known)
}
