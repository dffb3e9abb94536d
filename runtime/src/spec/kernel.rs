//! What the kernel is told beside namespaces and files: sysctl, clocks, personality, memory policy.

use std::ffi::CString;

use oci_spec::runtime as oci;

use super::{Linux, NamespaceKind, Violations, c_string};

pub(super) fn sysctls(
    oci: &oci::Linux,
    linux: &Linux,
    found: &mut Violations,
) -> Vec<(CString, CString)> {
    let mut list = Vec::new();
    let mut given: Vec<_> = oci.sysctl().iter().flatten().collect();
    given.sort();
    for (key, value) in given {
        let field = format!("linux.sysctl.{key}");
        let path = sysctl_path(key);
        match sysctl_namespace(&path) {
            // There is a field for it, and what holds where both are given is nowhere said.
            _ if path == "kernel/hostname" => found.add(&field, "is what hostname is for"),
            None => found.add(&field, "belongs to no namespace: it would change the host"),
            Some(kind) if !linux.namespaces.iter().any(|n| n.kind == kind) => {
                found.add(&field, format!("needs a {kind} namespace in linux.namespaces"));
            }
            Some(_) => {}
        }
        let path = c_string(&field, path.as_bytes(), found);
        if let (Some(path), Some(value)) = (path, c_string(&field, value.as_bytes(), found)) {
            list.push((path, value));
        }
    }
    list
}

/// sysctl(8)'s two spellings: whichever separator comes first separates.
fn sysctl_path(key: &str) -> String {
    match key.find(['.', '/']).map(|at| key.as_bytes()[at]) {
        Some(b'/') | None => key.to_owned(),
        Some(_) => key
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect(),
    }
}

pub(super) fn sysctl_namespace(path: &str) -> Option<NamespaceKind> {
    const IPC: [&str; 8] = [
        "kernel/msgmax",
        "kernel/msgmnb",
        "kernel/msgmni",
        "kernel/sem",
        "kernel/shmall",
        "kernel/shmmax",
        "kernel/shmmni",
        "kernel/shm_rmid_forced",
    ];
    if path.split('/').any(|part| part.is_empty() || part == "..") {
        return None;
    }
    if IPC.contains(&path) || path.starts_with("fs/mqueue/") {
        return Some(NamespaceKind::Ipc);
    }
    match path {
        "kernel/domainname" | "kernel/hostname" => Some(NamespaceKind::Uts),
        _ if path.starts_with("net/") => Some(NamespaceKind::Network),
        _ if path.starts_with("user/") => Some(NamespaceKind::User),
        _ => None,
    }
}

pub(super) fn time_offsets(
    oci: &oci::Linux,
    linux: &Linux,
    found: &mut Violations,
) -> Vec<(String, i64, u32)> {
    let mut list = Vec::new();
    for (clock, offset) in oci.time_offsets().iter().flatten() {
        if !["monotonic", "boottime"].contains(&clock.as_str()) {
            found.add(format!("linux.timeOffsets.{clock}"), "is neither monotonic nor boottime");
        }
        let nanosecs = offset.nanosecs().unwrap_or(0);
        list.push((clock.clone(), offset.secs().unwrap_or(0), nanosecs));
    }
    if !list.is_empty() && !linux.creates(NamespaceKind::Time) {
        found.add("linux.timeOffsets", "needs a new time namespace in linux.namespaces");
    }
    list.sort();
    list
}

pub(super) fn personality(oci: &oci::LinuxPersonality, found: &mut Violations) -> Option<u32> {
    if oci.flags().as_ref().is_some_and(|flags| !flags.is_empty()) {
        found.add("linux.personality.flags", "has flags; the specification defines none");
    }
    Some(match oci.domain() {
        oci::LinuxPersonalityDomain::PerLinux => 0,
        oci::LinuxPersonalityDomain::PerLinux32 => 8,
    })
}

pub(super) fn memory_policy(
    oci: &oci::LinuxMemoryPolicy,
    found: &mut Violations,
) -> Option<(i32, Vec<u64>)> {
    use oci::MemoryPolicyFlagType as F;
    use oci::MemoryPolicyModeType as M;
    let mode = match oci.mode() {
        M::MpolDefault => 0,
        M::MpolPreferred => 1,
        M::MpolBind => 2,
        M::MpolInterleave => 3,
        M::MpolLocal => 4,
        M::MpolPreferredMany => 5,
        M::MpolWeightedInterleave => 6,
    };
    let flags = oci.flags().iter().flatten().fold(0, |flags, flag| {
        flags
            | match flag {
                F::MpolFStaticNodes => 1 << 15,
                F::MpolFRelativeNodes => 1 << 14,
                F::MpolFNumaBalancing => 1 << 13,
            }
    });
    let nodes = node_mask(oci.nodes().as_deref().unwrap_or_default());
    if nodes.is_none() {
        found.add("linux.memoryPolicy.nodes", "is no list of nodes such as \"0-1,3\"");
    }
    Some((mode | flags, nodes?))
}

fn node_mask(text: &str) -> Option<Vec<u64>> {
    let mut mask: Vec<u64> = Vec::new();
    for node in numbers(text)? {
        mask.resize(mask.len().max(node / 64 + 1), 0);
        mask[node / 64] |= 1 << (node % 64);
    }
    Some(mask)
}

/// The numbers of `0-1,3`. One of a node or CPU is at most 1023, the kernel's usual maximum.
pub(super) fn numbers(text: &str) -> Option<Vec<usize>> {
    const NUMBER_MAX: usize = 1023;
    let mut numbers = Vec::new();
    for range in text.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let first = first.trim().parse::<usize>().ok()?;
        let last = last.trim().parse::<usize>().ok()?;
        if first > last || last > NUMBER_MAX {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::{NamespaceKind, node_mask, sysctl_namespace, sysctl_path};

    #[test]
    fn the_first_separator_of_a_sysctl_separates() {
        assert_eq!(sysctl_path("net.ipv4.ip_forward"), "net/ipv4/ip_forward");
        assert_eq!(
            sysctl_path("net/ipv4/conf/eth0.5/forwarding"),
            "net/ipv4/conf/eth0.5/forwarding"
        );
        assert_eq!(sysctl_path("net.ipv4.conf.eth0/5.x"), "net/ipv4/conf/eth0.5/x");
    }

    #[test]
    fn a_sysctl_of_the_host_belongs_to_no_namespace() {
        assert_eq!(sysctl_namespace("kernel/core_pattern"), None);
        assert_eq!(sysctl_namespace("net/../kernel/core_pattern"), None);
        assert_eq!(sysctl_namespace("kernel/shmmax"), Some(NamespaceKind::Ipc));
    }

    #[test]
    fn nodes_are_bits() {
        assert_eq!(node_mask("0-1,3"), Some(vec![0b1011]));
        assert_eq!(node_mask("64"), Some(vec![0, 1]));
        assert_eq!(node_mask("1-0"), None);
        assert_eq!(node_mask("5000"), None);
    }
}
