//! Every property of config.json that the specification 1.3 has for all platforms and for Linux,
//! and what becomes of it. `--strict` tells properties that are not in it; a test sees to it that
//! each one that is honoured changes something.

use serde_json::Value;

/// What becomes of a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It changes what is done.
    Honoured,
    /// It, and all below it, is a violation.
    Refused,
    /// It has an effect at another time or place, told here.
    Elsewhere(&'static str),
}

use Fate::{Elsewhere, Honoured, Refused};

/// The properties, with `[]` for an element and `*` for a key that the configuration chooses. An
/// object is in it by its properties.
pub const PROPERTIES: [(&str, Fate); 178] = [
    ("ociVersion", Honoured),
    ("root.path", Honoured),
    ("root.readonly", Honoured),
    ("mounts[].destination", Honoured),
    ("mounts[].source", Honoured),
    ("mounts[].type", Honoured),
    ("mounts[].options[]", Honoured),
    ("mounts[].uidMappings[].containerID", Honoured),
    ("mounts[].uidMappings[].hostID", Honoured),
    ("mounts[].uidMappings[].size", Honoured),
    ("mounts[].gidMappings[].containerID", Honoured),
    ("mounts[].gidMappings[].hostID", Honoured),
    ("mounts[].gidMappings[].size", Honoured),
    ("process.terminal", Honoured),
    ("process.consoleSize.height", Honoured),
    ("process.consoleSize.width", Honoured),
    ("process.cwd", Honoured),
    ("process.env[]", Honoured),
    ("process.args[]", Honoured),
    ("process.commandLine", Refused),
    ("process.user.uid", Honoured),
    ("process.user.gid", Honoured),
    ("process.user.umask", Honoured),
    ("process.user.additionalGids[]", Honoured),
    ("process.user.username", Elsewhere("on Windows, by the specification")),
    ("process.rlimits[].type", Honoured),
    ("process.rlimits[].soft", Honoured),
    ("process.rlimits[].hard", Honoured),
    ("process.apparmorProfile", Honoured),
    ("process.selinuxLabel", Honoured),
    ("process.capabilities.bounding[]", Honoured),
    ("process.capabilities.effective[]", Honoured),
    ("process.capabilities.permitted[]", Honoured),
    ("process.capabilities.inheritable[]", Honoured),
    ("process.capabilities.ambient[]", Honoured),
    ("process.noNewPrivileges", Honoured),
    ("process.oomScoreAdj", Honoured),
    ("process.scheduler.policy", Honoured),
    ("process.scheduler.nice", Honoured),
    ("process.scheduler.priority", Honoured),
    ("process.scheduler.flags[]", Honoured),
    ("process.scheduler.runtime", Honoured),
    ("process.scheduler.deadline", Honoured),
    ("process.scheduler.period", Honoured),
    ("process.ioPriority.class", Honoured),
    ("process.ioPriority.priority", Honoured),
    ("process.execCPUAffinity.initial", Honoured),
    ("process.execCPUAffinity.final", Honoured),
    ("hostname", Honoured),
    ("domainname", Honoured),
    ("annotations.*", Honoured),
    ("hooks.prestart[].path", Honoured),
    ("hooks.prestart[].args[]", Honoured),
    ("hooks.prestart[].env[]", Honoured),
    ("hooks.prestart[].timeout", Honoured),
    ("hooks.createRuntime[].path", Honoured),
    ("hooks.createRuntime[].args[]", Honoured),
    ("hooks.createRuntime[].env[]", Honoured),
    ("hooks.createRuntime[].timeout", Honoured),
    ("hooks.createContainer[].path", Honoured),
    ("hooks.createContainer[].args[]", Honoured),
    ("hooks.createContainer[].env[]", Honoured),
    ("hooks.createContainer[].timeout", Honoured),
    ("hooks.startContainer[].path", Honoured),
    ("hooks.startContainer[].args[]", Honoured),
    ("hooks.startContainer[].env[]", Honoured),
    ("hooks.startContainer[].timeout", Honoured),
    ("hooks.poststart[].path", Honoured),
    ("hooks.poststart[].args[]", Honoured),
    ("hooks.poststart[].env[]", Honoured),
    ("hooks.poststart[].timeout", Honoured),
    ("hooks.poststop[].path", Honoured),
    ("hooks.poststop[].args[]", Honoured),
    ("hooks.poststop[].env[]", Honoured),
    ("hooks.poststop[].timeout", Honoured),
    ("linux.namespaces[].type", Honoured),
    ("linux.namespaces[].path", Honoured),
    ("linux.uidMappings[].containerID", Honoured),
    ("linux.uidMappings[].hostID", Honoured),
    ("linux.uidMappings[].size", Honoured),
    ("linux.gidMappings[].containerID", Honoured),
    ("linux.gidMappings[].hostID", Honoured),
    ("linux.gidMappings[].size", Honoured),
    ("linux.timeOffsets.*.secs", Honoured),
    ("linux.timeOffsets.*.nanosecs", Honoured),
    ("linux.devices[].type", Honoured),
    ("linux.devices[].path", Honoured),
    ("linux.devices[].major", Honoured),
    ("linux.devices[].minor", Honoured),
    ("linux.devices[].fileMode", Honoured),
    ("linux.devices[].uid", Honoured),
    ("linux.devices[].gid", Honoured),
    ("linux.netDevices.*.name", Honoured),
    ("linux.cgroupsPath", Honoured),
    ("linux.resources.devices[].allow", Honoured),
    ("linux.resources.devices[].type", Honoured),
    ("linux.resources.devices[].major", Honoured),
    ("linux.resources.devices[].minor", Honoured),
    ("linux.resources.devices[].access", Honoured),
    ("linux.resources.memory.limit", Honoured),
    ("linux.resources.memory.reservation", Honoured),
    ("linux.resources.memory.swap", Honoured),
    ("linux.resources.memory.kernel", Honoured),
    ("linux.resources.memory.kernelTCP", Honoured),
    ("linux.resources.memory.swappiness", Honoured),
    ("linux.resources.memory.disableOOMKiller", Honoured),
    ("linux.resources.memory.useHierarchy", Honoured),
    ("linux.resources.memory.checkBeforeUpdate", Elsewhere("by `update`, where memory is in use")),
    ("linux.resources.cpu.shares", Honoured),
    ("linux.resources.cpu.quota", Honoured),
    ("linux.resources.cpu.burst", Honoured),
    ("linux.resources.cpu.period", Honoured),
    ("linux.resources.cpu.realtimeRuntime", Honoured),
    ("linux.resources.cpu.realtimePeriod", Honoured),
    ("linux.resources.cpu.cpus", Honoured),
    ("linux.resources.cpu.mems", Honoured),
    ("linux.resources.cpu.idle", Honoured),
    ("linux.resources.blockIO.weight", Honoured),
    ("linux.resources.blockIO.leafWeight", Honoured),
    ("linux.resources.blockIO.weightDevice[].major", Honoured),
    ("linux.resources.blockIO.weightDevice[].minor", Honoured),
    ("linux.resources.blockIO.weightDevice[].weight", Honoured),
    ("linux.resources.blockIO.weightDevice[].leafWeight", Honoured),
    ("linux.resources.blockIO.throttleReadBpsDevice[].major", Honoured),
    ("linux.resources.blockIO.throttleReadBpsDevice[].minor", Honoured),
    ("linux.resources.blockIO.throttleReadBpsDevice[].rate", Honoured),
    ("linux.resources.blockIO.throttleWriteBpsDevice[].major", Honoured),
    ("linux.resources.blockIO.throttleWriteBpsDevice[].minor", Honoured),
    ("linux.resources.blockIO.throttleWriteBpsDevice[].rate", Honoured),
    ("linux.resources.blockIO.throttleReadIOPSDevice[].major", Honoured),
    ("linux.resources.blockIO.throttleReadIOPSDevice[].minor", Honoured),
    ("linux.resources.blockIO.throttleReadIOPSDevice[].rate", Honoured),
    ("linux.resources.blockIO.throttleWriteIOPSDevice[].major", Honoured),
    ("linux.resources.blockIO.throttleWriteIOPSDevice[].minor", Honoured),
    ("linux.resources.blockIO.throttleWriteIOPSDevice[].rate", Honoured),
    ("linux.resources.hugepageLimits[].pageSize", Honoured),
    ("linux.resources.hugepageLimits[].limit", Honoured),
    ("linux.resources.network.classID", Honoured),
    ("linux.resources.network.priorities[].name", Honoured),
    ("linux.resources.network.priorities[].priority", Honoured),
    ("linux.resources.pids.limit", Honoured),
    ("linux.resources.rdma.*.hcaHandles", Honoured),
    ("linux.resources.rdma.*.hcaObjects", Honoured),
    ("linux.resources.unified.*", Honoured),
    ("linux.intelRdt.closID", Honoured),
    ("linux.intelRdt.l3CacheSchema", Honoured),
    ("linux.intelRdt.memBwSchema", Honoured),
    ("linux.intelRdt.schemata[]", Honoured),
    ("linux.intelRdt.enableMonitoring", Honoured),
    ("linux.intelRdt.enableCMT", Elsewhere("as enableMonitoring, which it was before 1.3")),
    ("linux.intelRdt.enableMBM", Elsewhere("as enableMonitoring, which it was before 1.3")),
    ("linux.memoryPolicy.mode", Honoured),
    ("linux.memoryPolicy.nodes", Honoured),
    ("linux.memoryPolicy.flags[]", Honoured),
    ("linux.sysctl.*", Honoured),
    ("linux.seccomp.defaultAction", Honoured),
    ("linux.seccomp.defaultErrnoRet", Honoured),
    ("linux.seccomp.architectures[]", Honoured),
    ("linux.seccomp.flags[]", Honoured),
    ("linux.seccomp.listenerPath", Honoured),
    ("linux.seccomp.listenerMetadata", Honoured),
    ("linux.seccomp.syscalls[].names[]", Honoured),
    ("linux.seccomp.syscalls[].action", Honoured),
    ("linux.seccomp.syscalls[].errnoRet", Honoured),
    ("linux.seccomp.syscalls[].args[].index", Honoured),
    ("linux.seccomp.syscalls[].args[].value", Honoured),
    ("linux.seccomp.syscalls[].args[].valueTwo", Honoured),
    ("linux.seccomp.syscalls[].args[].op", Honoured),
    ("linux.rootfsPropagation", Honoured),
    ("linux.maskedPaths[]", Honoured),
    ("linux.readonlyPaths[]", Honoured),
    ("linux.mountLabel", Honoured),
    ("linux.personality.domain", Honoured),
    ("linux.personality.flags[]", Refused),
    ("solaris", Refused),
    ("windows", Refused),
    ("vm", Refused),
    ("zos", Refused),
];

/// The properties of a configuration that are not in the table, by their paths, sorted.
pub fn unknown(config: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(config, String::new(), String::new(), &mut |_, pointer, is_known| {
        if !is_known {
            found.push(path_of(pointer));
        }
    });
    found.sort();
    found
}

/// `/mounts/0/type` as `mounts[0].type`.
fn path_of(pointer: &str) -> String {
    let mut path = String::new();
    for part in pointer.split('/').skip(1) {
        if part.bytes().all(|byte| byte.is_ascii_digit()) {
            path += &format!("[{part}]");
        } else {
            path += if path.is_empty() { "" } else { "." };
            path += &part.replace("~1", "/").replace("~0", "~");
        }
    }
    path
}

/// Visits every value that is no object or array, and every one that is not known: its path in the
/// table's form, its JSON pointer, and whether it is known.
fn walk(value: &Value, pattern: String, pointer: String, visit: &mut impl FnMut(&str, &str, bool)) {
    match value {
        Value::Object(properties) if !PROPERTIES.iter().any(|(known, _)| *known == pattern) => {
            for (key, value) in properties {
                let dot = if pattern.is_empty() { "" } else { "." };
                let below = |key: &str| format!("{pattern}{dot}{key}");
                let pattern = if is_known(&below("*")) { below("*") } else { below(key) };
                let pointer = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
                if is_known(&pattern) {
                    walk(value, pattern, pointer, visit);
                } else {
                    visit(&pattern, &pointer, false);
                }
            }
        }
        Value::Array(elements) => {
            for (n, element) in elements.iter().enumerate() {
                walk(element, format!("{pattern}[]"), format!("{pointer}/{n}"), visit);
            }
        }
        _ => visit(&pattern, &pointer, true),
    }
}

/// Whether this, or something below it, is in the table.
fn is_known(pattern: &str) -> bool {
    PROPERTIES.iter().any(|(known, _)| {
        let rest = known.strip_prefix(pattern);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || rest.starts_with("[]"))
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{PROPERTIES, unknown, walk};
    use serde_json::{Value, json};

    /// The properties of a configuration, in the table's form and by JSON pointer.
    pub(crate) fn properties(config: &Value) -> Vec<(String, String)> {
        let mut found = Vec::new();
        walk(config, String::new(), String::new(), &mut |pattern, pointer, _| {
            found.push((pattern.to_owned(), pointer.to_owned()));
        });
        found
    }

    #[test]
    fn no_property_is_listed_twice() {
        for (i, (name, _)) in PROPERTIES.iter().enumerate() {
            assert!(PROPERTIES[i + 1..].iter().all(|(other, _)| other != name), "{name}");
        }
    }

    #[test]
    fn unknown_properties_are_told_by_their_paths() {
        let config = json!({
            "ociVersion": "1.3.0", "extra": { "a": 1 }, "annotations": { "extra": "x" },
            "mounts": [{ "destination": "/a" }, { "destination": "/b", "sauce": "x" }],
            "linux": { "sysctl": { "net.x": "1" }, "seccomp": { "syscalls": [{ "nam": [] }] } },
            "windows": { "anything": 1 },
        });
        let expected = ["extra", "linux.seccomp.syscalls[0].nam", "mounts[1].sauce"];
        assert_eq!(unknown(&config), expected);
    }
}
