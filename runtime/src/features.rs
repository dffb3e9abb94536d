//! `features` and `--version`: what this runtime can do, told from the tables that do it.

use serde_json::json;

use crate::seccomp;
use crate::spec::{CAPABILITY_NAMES, OCI_VERSION, known_words};

/// What `--version` prints, line by line as runc does: docker and podman read it.
pub fn version(commit: Option<&str>) -> String {
    let (version, commit) = (env!("CARGO_PKG_VERSION"), commit.unwrap_or("unknown"));
    format!("loadline-runtime version {version}\ncommit: {commit}\nspec: {OCI_VERSION}\n")
}

/// The features structure (features.md of the specification).
pub fn json() -> String {
    let features = json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": OCI_VERSION,
        "hooks": [
            "prestart",
            "createRuntime",
            "createContainer",
            "startContainer",
            "poststart",
            "poststop",
        ],
        "mountOptions": known_words(),
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "capabilities": CAPABILITY_NAMES.as_slice(),
            "cgroup": {
                "v1": true,
                "v2": true,
                "systemd": true,
                "systemdUser": true,
                "rdma": true,
            },
            "seccomp": {
                "enabled": true,
                "actions": seccomp::ACTIONS,
                "operators": seccomp::OPERATORS,
                "archs": seccomp::ARCHITECTURES,
                "knownFlags": seccomp::FLAGS,
                "supportedFlags": seccomp::FLAGS,
            },
            "apparmor": { "enabled": true },
            "selinux": { "enabled": true },
            "intelRdt": { "enabled": true, "schemata": true, "monitoring": true },
            "memoryPolicy": {
                "modes": [
                    "MPOL_BIND",
                    "MPOL_DEFAULT",
                    "MPOL_INTERLEAVE",
                    "MPOL_LOCAL",
                    "MPOL_PREFERRED",
                    "MPOL_PREFERRED_MANY",
                    "MPOL_WEIGHTED_INTERLEAVE",
                ],
                "flags": ["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"],
            },
            "mountExtensions": { "idmap": { "enabled": true } },
            "netDevices": { "enabled": true },
        },
        "annotations": {
            "org.opencontainers.runc.checkpoint.enabled": "true",
            "org.loadline.runtime.version": env!("CARGO_PKG_VERSION"),
        },
    });
    format!("{features:#}\n")
}
