//! The rules of the node's network, in a table of its own: written once, at the first task that
//! needs it. A task after that is a few elements of sets. Pure.

use std::fmt::Write as _;
use std::net::IpAddr;

use loadline_model::network::{Addresses, Protocol};

use super::netlink::nft::Element;
use super::plan::{METADATA_ADDRESS, METADATA_PORT, Plan};

/// A host port that leads to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The host's port.
    pub host_port: u16,
    /// Where it leads.
    pub to: Addresses,
    /// To which port there.
    pub container_port: u16,
    /// Over what.
    pub protocol: Protocol,
}

const fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    }
}

impl Publication {
    /// The map's elements that make it.
    #[must_use]
    pub fn elements(&self) -> Vec<Element> {
        let port = |port: u16| [&port.to_be_bytes()[..], &[0, 0]].concat();
        let key = [&[number(self.protocol), 0, 0, 0][..], &port(self.host_port)].concat();
        let element = |set, address: &[u8]| Element {
            set,
            key: key.clone(),
            value: Some([address, &port(self.container_port)].concat()),
        };
        let ipv6 = self.to.ipv6.map(|own| element("published6", &own.octets()));
        std::iter::once(element("published4", &self.to.ipv4.octets())).chain(ipv6).collect()
    }
}

/// The elements that let others reach a task by its own address.
#[must_use]
pub fn reachable(addresses: &Addresses) -> Vec<Element> {
    let element = |set, key: &[u8]| Element { set, key: key.to_vec(), value: None };
    let ipv6 = addresses.ipv6.map(|own| element("reachable6", &own.octets()));
    std::iter::once(element("reachable4", &addresses.ipv4.octets())).chain(ipv6).collect()
}

/// What `nft -f` reads: the table from nothing, in one transaction, whatever was there before.
#[must_use]
pub fn text(plan: &Plan) -> String {
    let name = &plan.name;
    let mut out = format!("table inet {name}\ndelete table inet {name}\ntable inet {name} {{\n");
    for (map, address) in [("published4", "ipv4_addr"), ("published6", "ipv6_addr")] {
        let _ = writeln!(
            out,
            "\tmap {map} {{ type inet_proto . inet_service : {address} . inet_service; }}"
        );
    }
    for (set, address) in [("reachable4", "ipv4_addr"), ("reachable6", "ipv6_addr")] {
        let _ = writeln!(out, "\tset {set} {{ type {address}; }}");
    }
    let links = format!("\"{name}-*\"");
    chain(&mut out, "guard", "type filter hook prerouting priority raw", &guard(&links));
    chain(&mut out, "arriving", "type nat hook prerouting priority dstnat", &arriving(&links));
    chain(&mut out, "leaving", "type nat hook output priority -100", &published());
    chain(&mut out, "sent", "type nat hook postrouting priority srcnat", &sent(plan, &links));
    chain(&mut out, "passing", "type filter hook forward priority filter", &passing(&links));
    out.push_str("}\n");
    out
}

fn chain(out: &mut String, name: &str, hook: &str, rules: &[String]) {
    let _ = writeln!(out, "\tchain {name} {{\n\t\t{hook}; policy accept;");
    for rule in rules {
        let _ = writeln!(out, "\t\t{rule}");
    }
    out.push_str("\t}\n");
}

/// A container speaks with its own address only, and not to the host's loopback.
fn guard(links: &str) -> Vec<String> {
    vec![
        format!("iifname {links} fib saddr . iif oif missing drop"),
        format!("iifname {links} ip daddr 127.0.0.0/8 drop"),
        // What others on the host's links send to it is meant for somebody else.
        format!("iifname != {{ {links}, \"lo\" }} ip daddr {METADATA_ADDRESS} drop"),
    ]
}

fn arriving(links: &str) -> Vec<String> {
    let metadata = format!(
        "iifname {links} ip daddr {METADATA_ADDRESS} tcp dport 80 dnat ip to \
         {METADATA_ADDRESS}:{METADATA_PORT}"
    );
    let mut rules = vec![metadata];
    rules.extend(published());
    rules
}

/// What is sent to an address of the host's at a published port goes to its container. The kernel
/// lets nothing from `::1` leave the host: there the port is closed, and clients try IPv4 at once.
fn published() -> Vec<String> {
    let lead = "fib daddr type local dnat";
    let port = "meta l4proto . th dport map";
    vec![
        format!("meta nfproto ipv4 {lead} ip to {port} @published4"),
        format!("meta nfproto ipv6 ip6 daddr != ::1 {lead} ip6 to {port} @published6"),
    ]
}

/// The host's loopback, and a container that reaches another by the host's port, speak with the
/// node's address, so that answers come back the same way; what leaves the host, with the host's.
fn sent(plan: &Plan, links: &str) -> Vec<String> {
    let node = plan.node();
    let mut rules = vec![format!("oifname {links} ip saddr 127.0.0.0/8 snat ip to {}", node.ipv4)];
    let networks = [
        ("ip", Some(plan.range.to_string()), Some(IpAddr::V4(node.ipv4))),
        ("ip6", plan.ipv6_network(), node.ipv6.map(IpAddr::V6)),
    ];
    for (family, network, node) in networks {
        let (Some(network), Some(node)) = (network, node) else { continue };
        rules.push(format!(
            "oifname {links} {family} saddr {network} ct status dnat snat {family} to {node}"
        ));
        rules.push(format!(
            "oifname != {{ {links}, \"lo\" }} {family} saddr {network} {family} daddr != {network} \
             masquerade"
        ));
    }
    rules
}

/// From outside a container is reached by its published ports, or where it is a task's own address.
fn passing(links: &str) -> Vec<String> {
    let mut rules = vec![
        format!("oifname != {links} accept"),
        format!("iifname {links} accept"),
        "ct state established,related accept".to_owned(),
        "ct status dnat accept".to_owned(),
        "ip daddr @reachable4 accept".to_owned(),
        "ip6 daddr @reachable6 accept".to_owned(),
    ];
    rules.push("drop".to_owned());
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(host_id: Option<&str>) -> Plan {
        Plan::new("loadline", "10.213.0.0/16".parse().unwrap(), host_id).unwrap()
    }

    #[test]
    fn the_rules_are_these() {
        insta::assert_snapshot!("rules", text(&plan(Some("host"))));
    }

    #[test]
    fn without_ipv6_no_rule_names_an_address_of_it() {
        assert!(!text(&plan(None)).contains("fd"));
    }

    #[test]
    fn a_publication_is_an_element_for_each_family() {
        let publication = Publication {
            host_port: 0x1234,
            to: plan(Some("host")).attachment(2).addresses,
            container_port: 80,
            protocol: Protocol::Udp,
        };
        let elements = publication.elements();
        assert_eq!(elements.len(), 2);
        assert_eq!(elements[0].key, [17, 0, 0, 0, 0x12, 0x34, 0, 0]);
        assert_eq!(elements[0].value.as_deref(), Some(&[10, 213, 0, 2, 0, 80, 0, 0][..]));
        assert_eq!(elements[1].value.as_ref().map(Vec::len), Some(20));
    }
}
