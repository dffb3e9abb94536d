//! What a container's `/etc/hosts` and `/etc/resolv.conf` say. Pure.

use std::fmt::Write as _;
use std::net::IpAddr;

use loadline_model::network::HostEntry;

/// The host's files that may have its name servers: systemd's resolver keeps the real ones in the
/// second, behind a stub on loopback in the first.
pub const RESOLV_CONF: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/// A container's hosts file: loopback, its own name, then what its definition says.
#[must_use]
pub fn hosts(hostname: &str, own: &[IpAddr], more: &[HostEntry]) -> String {
    let mut out = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    if own.is_empty() {
        let _ = writeln!(out, "127.0.0.1\t{hostname}");
    }
    for address in own {
        let _ = writeln!(out, "{address}\t{hostname}");
    }
    out.push_str(&lines(more));
    out
}

/// Lines of a hosts file.
#[must_use]
pub fn lines(entries: &[HostEntry]) -> String {
    entries.iter().map(|entry| format!("{}\t{}\n", entry.address, entry.hostname)).collect()
}

/// What a resolver is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolver {
    /// Name servers, as text: a zone may follow an address.
    pub servers: Vec<String>,
    /// What incomplete names are looked up in.
    pub search: Vec<String>,
    /// Options, as they stand.
    pub options: Vec<String>,
}

impl Resolver {
    /// Reads a resolv.conf(5), as libc does: the last search or domain counts.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut read = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace().map(str::to_owned);
            match words.next().as_deref() {
                Some("nameserver") => read.servers.extend(words.next()),
                Some("search" | "domain") => read.search = words.collect(),
                Some("options") => read.options.extend(words),
                _ => {}
            }
        }
        read
    }

    /// Without the servers that only the host itself can reach.
    #[must_use]
    pub fn reachable(mut self) -> Self {
        let is_local = |text: &String| {
            // An address with a zone means a link of the host's.
            text.contains('%') || text.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
        };
        self.servers.retain(|server| !is_local(server));
        self
    }

    /// With what a container's definition says instead.
    #[must_use]
    pub fn with(mut self, servers: &[IpAddr], search: &[String]) -> Self {
        if !servers.is_empty() {
            self.servers = servers.iter().map(ToString::to_string).collect();
        }
        if !search.is_empty() {
            self.search = search.to_vec();
        }
        self
    }
}

impl std::fmt::Display for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for server in &self.servers {
            writeln!(f, "nameserver {server}")?;
        }
        if !self.search.is_empty() {
            writeln!(f, "search {}", self.search.join(" "))?;
        }
        if !self.options.is_empty() {
            writeln!(f, "options {}", self.options.join(" "))?;
        }
        Ok(())
    }
}

/// The first of the host's files (their texts, none for one that is missing) that names a server
/// which a container can reach.
#[must_use]
pub fn choose(files: &[Option<String>]) -> Resolver {
    let read = files.iter().flatten().map(|text| Resolver::parse(text).reachable());
    let mut first = None;
    for resolver in read {
        if !resolver.servers.is_empty() {
            return resolver;
        }
        first = first.or(Some(resolver));
    }
    first.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolver_of_the_hosts_own_is_left_out_and_the_real_ones_are_found() {
        let stub = "# by hand\nnameserver 127.0.0.53\noptions edns0\nsearch lan\n".to_owned();
        let real = "nameserver 192.0.2.1\nnameserver fe80::1%eth0\nsearch corp lan\n".to_owned();
        let chosen = choose(&[Some(stub.clone()), Some(real)]);
        assert_eq!(chosen.to_string(), "nameserver 192.0.2.1\nsearch corp lan\n");
        assert_eq!(choose(&[Some(stub), None]).to_string(), "search lan\noptions edns0\n");
        assert_eq!(choose(&[None, None]).to_string(), "");
    }

    #[test]
    fn a_definition_replaces_what_it_names_and_nothing_else() {
        let host = Resolver::parse("nameserver 192.0.2.1\nsearch lan\noptions ndots:2\n");
        let servers: Vec<IpAddr> = vec!["192.0.2.9".parse().unwrap()];
        let text = host.with(&servers, &[]).to_string();
        assert_eq!(text, "nameserver 192.0.2.9\nsearch lan\noptions ndots:2\n");
    }

    #[test]
    fn a_name_stands_for_the_address_that_others_reach() {
        let more = [HostEntry { hostname: "db".into(), address: "192.0.2.7".parse().unwrap() }];
        let own: Vec<IpAddr> = vec!["10.213.0.7".parse().unwrap(), "fd00::7".parse().unwrap()];
        let text = hosts("web", &own, &more);
        assert!(text.ends_with("10.213.0.7\tweb\nfd00::7\tweb\n192.0.2.7\tdb\n"), "{text}");
        assert!(hosts("alone", &[], &[]).ends_with("127.0.0.1\talone\n"));
    }
}
