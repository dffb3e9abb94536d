//! Capability sets as bit masks (bit n is capability n of `capability.h`).

use oci_spec::runtime as oci;
use oci_spec::runtime::Capability as Cap;
use serde::Deserialize;
use serde_json::Value;

/// A set of capabilities.
pub type CapMask = u64;

/// The five sets of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Upper bound of what an exec can give.
    pub bounding: CapMask,
    /// What is checked.
    pub effective: CapMask,
    /// What an exec of a file with inheritable capabilities keeps.
    pub inheritable: CapMask,
    /// What may be made effective.
    pub permitted: CapMask,
    /// What an exec by an ordinary user keeps.
    pub ambient: CapMask,
}

/// Number and name of each capability, in the kernel's order.
pub const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

impl Capabilities {
    /// The sets that config.json names; a set that is left out is empty.
    pub fn from_oci(oci: Option<&oci::LinuxCapabilities>) -> Capabilities {
        let Some(oci) = oci else { return Capabilities::default() };
        Capabilities {
            bounding: mask(oci.bounding().as_ref()),
            effective: mask(oci.effective().as_ref()),
            inheritable: mask(oci.inheritable().as_ref()),
            permitted: mask(oci.permitted().as_ref()),
            ambient: mask(oci.ambient().as_ref()),
        }
    }
}

/// Takes the names that are no capability out of the sets of a process, and returns them. The
/// specification (config.md, `capabilities`) wants a warning about them and no failure.
pub fn take_unknown(process: &mut Value) -> Vec<String> {
    let mut unknown = Vec::new();
    let sets = process.get_mut("capabilities").and_then(Value::as_object_mut);
    for set in sets.into_iter().flat_map(|sets| sets.values_mut()) {
        let Some(names) = set.as_array_mut() else { continue };
        names.retain(|name| match name.as_str() {
            Some(text) if Cap::deserialize(name).is_err() => {
                unknown.push(text.to_owned());
                false
            }
            _ => true,
        });
    }
    unknown.sort();
    unknown.dedup();
    unknown
}

fn mask(set: Option<&oci::Capabilities>) -> CapMask {
    set.into_iter().flatten().fold(0, |mask, cap| mask | 1 << number(*cap))
}

fn number(cap: Cap) -> u8 {
    match cap {
        Cap::Chown => 0,
        Cap::DacOverride => 1,
        Cap::DacReadSearch => 2,
        Cap::Fowner => 3,
        Cap::Fsetid => 4,
        Cap::Kill => 5,
        Cap::Setgid => 6,
        Cap::Setuid => 7,
        Cap::Setpcap => 8,
        Cap::LinuxImmutable => 9,
        Cap::NetBindService => 10,
        Cap::NetBroadcast => 11,
        Cap::NetAdmin => 12,
        Cap::NetRaw => 13,
        Cap::IpcLock => 14,
        Cap::IpcOwner => 15,
        Cap::SysModule => 16,
        Cap::SysRawio => 17,
        Cap::SysChroot => 18,
        Cap::SysPtrace => 19,
        Cap::SysPacct => 20,
        Cap::SysAdmin => 21,
        Cap::SysBoot => 22,
        Cap::SysNice => 23,
        Cap::SysResource => 24,
        Cap::SysTime => 25,
        Cap::SysTtyConfig => 26,
        Cap::Mknod => 27,
        Cap::Lease => 28,
        Cap::AuditWrite => 29,
        Cap::AuditControl => 30,
        Cap::Setfcap => 31,
        Cap::MacOverride => 32,
        Cap::MacAdmin => 33,
        Cap::Syslog => 34,
        Cap::WakeAlarm => 35,
        Cap::BlockSuspend => 36,
        Cap::AuditRead => 37,
        Cap::Perfmon => 38,
        Cap::Bpf => 39,
        Cap::CheckpointRestore => 40,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{NAMES, number, take_unknown};

    #[test]
    fn only_names_of_no_capability_are_taken_out() {
        let mut process = json!({ "args": ["a"], "capabilities": {
            "bounding": ["CAP_NEW", "CAP_KILL"], "permitted": ["CAP_KILL", "CAP_NEW", "CAP_OLD"],
            "ambient": [7], "effective": null } });
        assert_eq!(take_unknown(&mut process), ["CAP_NEW", "CAP_OLD"]);
        let left = json!({ "args": ["a"], "capabilities": {
            "bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"],
            "ambient": [7], "effective": null } });
        assert_eq!(process, left);
        assert!(take_unknown(&mut json!([])).is_empty());
    }

    #[test]
    fn every_capability_has_the_number_of_its_name() {
        for (expected, name) in NAMES.iter().enumerate() {
            let cap = serde_json::from_value(serde_json::json!(name)).unwrap();
            assert_eq!(usize::from(number(cap)), expected, "{name}");
        }
    }
}
