//! Which names and addresses the node's networks have. Pure: everything follows from three options.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use loadline_model::network::Addresses;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::netlink::route::Mac;

/// Where a task finds its node (ECS).
pub const METADATA_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 170, 2);

/// The port that the agent listens on there (ECS); tasks speak to port 80.
pub const METADATA_PORT: u16 = 51_679;

/// The link in every container.
pub const INSIDE_LINK: &str = "eth0";

/// Longest name of a node's network, in bytes: a link's name has 15, and `-65534` behind it.
const NAME_BYTES_MAX: usize = 9;

/// The node's end of every pair has the same hardware address: each pair is a network of its own.
const NODE_MAC: Mac = [0x0a, 0x6c, 0x6c, 0, 0, 1];

/// What containers are told to send through. Nobody has it: the neighbour is named once for all.
const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// The IPv4 addresses that the node gives to its tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first of them.
    pub base: Ipv4Addr,
    /// How many bits are the same in all of them, 16 to 28.
    pub length: u8,
}

/// Why a text is no range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no range of IPv4 addresses such as 10.213.0.0/16, with a length of 16 to 28")]
pub struct InvalidRange(String);

impl std::str::FromStr for Range {
    type Err = InvalidRange;

    fn from_str(text: &str) -> Result<Self, InvalidRange> {
        let invalid = || InvalidRange(text.to_owned());
        let (base, length) = text.split_once('/').ok_or_else(invalid)?;
        let base: Ipv4Addr = base.parse().map_err(|_| invalid())?;
        let length: u8 = length.parse().map_err(|_| invalid())?;
        let range = Self { base, length };
        let is_whole = (16..=28).contains(&length) && u32::from(base) & range.host_mask() == 0;
        is_whole.then_some(range).ok_or_else(invalid)
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.base, self.length)
    }
}

impl Range {
    fn host_mask(self) -> u32 {
        u32::MAX >> self.length
    }

    /// The numbers that tasks can have: 0 is the network, 1 the node, the last the broadcast.
    #[must_use]
    pub fn numbers(self) -> std::ops::RangeInclusive<u16> {
        2..=u16::try_from(self.host_mask() - 1).unwrap_or(u16::MAX)
    }

    /// The address with this number.
    #[must_use]
    pub fn address(self, number: u16) -> Ipv4Addr {
        (u32::from(self.base) | u32::from(number)).into()
    }

    /// Whether the two have an address in common.
    #[must_use]
    pub fn overlaps(self, address: Ipv4Addr, length: u8) -> bool {
        let common = u32::MAX.checked_shl(32 - u32::from(self.length.min(length)).min(32));
        let common = common.unwrap_or(0);
        u32::from(self.base) & common == u32::from(address) & common
    }
}

/// A place in the node's network: a container's, or with awsvpc a task's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Which of the range's numbers it has. The links are named after it.
    pub number: u16,
    /// Its addresses, as they were when it was given.
    pub addresses: Addresses,
}

impl Attachment {
    /// The container's hardware address.
    #[must_use]
    pub fn mac(&self) -> Mac {
        let [a, b, c, d] = self.addresses.ipv4.octets();
        [0x02, 0x6c, a, b, c, d]
    }
}

/// The node's network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What its links, and its table of nftables, are called.
    pub name: String,
    /// The tasks' addresses.
    pub range: Range,
    /// Their IPv6 addresses begin with these 64 bits (RFC 4193); none where the host has no IPv6.
    pub prefix: Option<u64>,
}

impl Plan {
    /// A plan. `host_id` is what no other host has: the IPv6 prefix follows from it.
    ///
    /// # Errors
    /// In words, where the name can't be one of links.
    pub fn new(name: &str, range: Range, host_id: Option<&str>) -> Result<Self, String> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if name.is_empty() || NAME_BYTES_MAX < name.len() || !name.bytes().all(allowed) {
            return Err(format!(
                "{name:?} is no name for a network: 1 to {NAME_BYTES_MAX} lower-case letters and \
                 digits"
            ));
        }
        let prefix = host_id.map(|host_id| {
            let digest = Sha256::digest(format!("{host_id}/{name}"));
            let [a, b, c, d, e, ..] = digest.as_slice() else { return 0xfd << 56 };
            u64::from_be_bytes([0xfd, *a, *b, *c, *d, *e, 0, 0])
        });
        Ok(Self { name: name.to_owned(), range, prefix })
    }

    fn ipv6(&self, number: u16) -> Option<Ipv6Addr> {
        let prefix = u128::from(self.prefix?) << 64;
        Some((prefix | u128::from(number)).into())
    }

    /// The IPv6 network of all tasks, with its length.
    #[must_use]
    pub fn ipv6_network(&self) -> Option<String> {
        Some(format!("{}/64", self.ipv6(0)?))
    }

    /// The place with this number.
    #[must_use]
    pub fn attachment(&self, number: u16) -> Attachment {
        let (ipv4, ipv6) = (self.range.address(number), self.ipv6(number));
        Attachment { number, addresses: Addresses { ipv4, ipv6 } }
    }

    /// The node's own addresses in it.
    #[must_use]
    pub fn node(&self) -> Addresses {
        Addresses { ipv4: self.range.address(1), ipv6: self.ipv6(1) }
    }

    /// The node's end of the pair of this place.
    #[must_use]
    pub fn link(&self, number: u16) -> String {
        format!("{}-{number}", self.name)
    }

    /// The place that a link of ours belongs to.
    #[must_use]
    pub fn number_of(&self, link: &str) -> Option<u16> {
        link.strip_prefix(&self.name)?.strip_prefix('-')?.parse().ok()
    }

    /// The hardware address of the node's end.
    #[must_use]
    pub const fn node_mac() -> Mac {
        NODE_MAC
    }

    /// What a container sends through to get anywhere.
    #[must_use]
    pub fn gateways(&self) -> Vec<IpAddr> {
        let ipv4 = IpAddr::V4(self.node().ipv4);
        std::iter::once(ipv4).chain(self.prefix.map(|_| IpAddr::V6(GATEWAY_V6))).collect()
    }
}

/// Both addresses, one after the other.
#[must_use]
pub fn each(addresses: &Addresses) -> Vec<IpAddr> {
    let ipv4 = IpAddr::V4(addresses.ipv4);
    std::iter::once(ipv4).chain(addresses.ipv6.map(IpAddr::V6)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan::new("loadline", "10.213.0.0/16".parse().unwrap(), Some("host")).unwrap()
    }

    #[test]
    fn a_range_is_whole_and_neither_tiny_nor_huge() {
        for good in ["10.213.0.0/16", "192.168.7.0/24", "192.168.7.16/28"] {
            assert_eq!(good.parse::<Range>().unwrap().to_string(), good);
        }
        for bad in ["10.213.0.1/16", "10.0.0.0/8", "10.0.0.0/29", "10.0.0.0", "x/16", "1.2.3.4/x"] {
            assert!(bad.parse::<Range>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_network_the_node_and_the_broadcast_are_no_tasks_address() {
        let small: Range = "192.168.7.16/28".parse().unwrap();
        assert_eq!(small.numbers(), 2..=14);
        assert_eq!(small.address(14), Ipv4Addr::new(192, 168, 7, 30));
        assert_eq!(plan().range.numbers(), 2..=65_534);
    }

    #[test]
    fn ranges_that_have_an_address_in_common_overlap() {
        let range: Range = "10.213.0.0/16".parse().unwrap();
        for (address, length, expected) in [
            ([10, 0, 0, 0], 8, true),
            ([10, 213, 4, 0], 24, true),
            ([10, 214, 0, 0], 16, false),
            ([10, 213, 255, 255], 32, true),
            ([0, 0, 0, 0], 0, true),
        ] {
            assert_eq!(range.overlaps(address.into(), length), expected, "{address:?}/{length}");
        }
    }

    #[test]
    fn every_place_has_names_that_fit_and_lead_back_to_it() {
        let plan = Plan::new("ninebytes", "10.0.0.0/16".parse().unwrap(), None).unwrap();
        let link = plan.link(65_534);
        assert_eq!((link.len(), plan.number_of(&link)), (15, Some(65_534)));
        for other in ["ninebytes", "ninebytes-x", "eth0", "ninebytes-1-2"] {
            assert_eq!(plan.number_of(other), None, "{other}");
        }
        assert_eq!(plan.attachment(7).addresses.ipv6, None);
        for bad in ["", "tenletters", "a-b", "A"] {
            assert!(Plan::new(bad, plan.range, None).is_err(), "{bad}");
        }
    }

    #[test]
    fn ipv6_addresses_are_unique_local_and_of_this_host() {
        let own = plan().attachment(0x0102).addresses.ipv6.unwrap();
        assert_eq!(own.octets()[0], 0xfd);
        assert_eq!(own.octets()[6..], [0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
        let other = Plan::new("loadline", plan().range, Some("other")).unwrap();
        assert_ne!(other.prefix, plan().prefix);
    }
}
