//! Facts of this host, read once at the agent's start.

use std::io;

use loadline_model::Resources;
use loadline_model::resources::CPU_UNITS_PER_VCPU;
use loadline_proto::convert::Attribute;

/// What tasks may have of this host, and what placement may ask for.
#[derive(Clone, Debug)]
pub struct HostFacts {
    /// All of it, before anything is kept back.
    pub total: Resources,
    /// The kernel's id of this boot.
    pub boot_id: String,
    /// The host's name.
    pub hostname: String,
    /// The mask of the capabilities that the agent can give (`CapBnd` of /proc/self/status).
    pub capabilities: u64,
    /// Built-in attributes.
    pub attributes: Vec<Attribute>,
}

/// A fact that can't be read.
#[derive(Debug, thiserror::Error)]
#[error("read {fact}")]
pub struct HostError {
    /// Which fact, or the file with it.
    pub fact: &'static str,
    /// Why.
    pub source: io::Error,
}

/// More is kept back than there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{reserved} {unit} are to be kept back but the host has {total}: lower --reserved-{option}"
)]
pub struct NothingLeft {
    /// What is to be kept back.
    pub reserved: u64,
    /// What there is.
    pub total: u64,
    /// Of what.
    pub unit: &'static str,
    /// The option's name after `--reserved-`.
    pub option: &'static str,
}

const MEMINFO: &str = "/proc/meminfo";
const STATUS: &str = "/proc/self/status";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

impl HostFacts {
    /// Reads them.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn read() -> Result<Self, HostError> {
        let failed = |fact| move |source| HostError { fact, source };
        let cpus = std::thread::available_parallelism().map_err(failed("the number of CPUs"))?;
        let meminfo = std::fs::read_to_string(MEMINFO).map_err(failed(MEMINFO))?;
        let memory_kib = parse_total_kib(&meminfo)
            .ok_or_else(|| failed(MEMINFO)(io::ErrorKind::InvalidData.into()))?;
        let boot_id = std::fs::read_to_string(BOOT_ID).map_err(failed(BOOT_ID))?;
        let status = std::fs::read_to_string(STATUS).map_err(failed(STATUS))?;
        let uname = nix::sys::utsname::uname()
            .map_err(|errno| failed("the kernel's version")(errno.into()))?;
        let total = Resources {
            cpu_units: cpus.get() as u64 * CPU_UNITS_PER_VCPU,
            memory_mib: memory_kib / 1024,
        };
        let hostname = uname.nodename().to_string_lossy().into_owned();
        Ok(Self {
            total,
            capabilities: capabilities(&status)
                .ok_or_else(|| failed(STATUS)(io::ErrorKind::InvalidData.into()))?,
            boot_id: boot_id.trim().to_owned(),
            attributes: built_in(&uname.release().to_string_lossy(), &hostname),
            hostname,
        })
    }

    /// What tasks may reserve where this much is kept back.
    ///
    /// # Errors
    /// [`NothingLeft`].
    pub fn less(&self, reserved: Resources) -> Result<Resources, NothingLeft> {
        let check = |reserved, total, unit, option| {
            if total <= reserved {
                return Err(NothingLeft { reserved, total, unit, option });
            }
            Ok(())
        };
        check(reserved.cpu_units, self.total.cpu_units, "CPU units", "cpu-units")?;
        check(reserved.memory_mib, self.total.memory_mib, "MiB", "memory-mib")?;
        Ok(self.total.saturating_sub(reserved))
    }
}

fn capabilities(status: &str) -> Option<u64> {
    let mask = status.lines().find_map(|line| line.strip_prefix("CapBnd:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

fn parse_total_kib(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// The attributes that ECS gives every instance, as far as they are true here.
fn built_in(kernel: &str, hostname: &str) -> Vec<Attribute> {
    // ECS's words (x86_64, arm64), not the compiler's.
    let architecture = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        other => other,
    };
    let pair = |name: &str, value: &str| Attribute {
        name: name.to_owned(),
        value: Some(value.to_owned()),
    };
    let only = |name: &str| Attribute { name: name.to_owned(), value: None };
    let mut all = vec![
        pair("ecs.os-type", "linux"),
        pair("ecs.os-family", "LINUX"),
        pair("ecs.cpu-architecture", architecture),
        only("ecs.capability.task-cpu-mem-limit"),
        only("ecs.capability.task-eni"),
        only("com.amazonaws.ecs.capability.task-iam-role"),
        only("com.amazonaws.ecs.capability.task-iam-role-network-host"),
        only("ecs.capability.container-ordering"),
        only("ecs.capability.container-health-check"),
        only("ecs.capability.container-restart-policy"),
        only("ecs.capability.env-files.s3"),
        only("loadline.capability.disable-networking"),
        only("loadline.capability.shared-namespaces"),
        only("com.amazonaws.ecs.capability.logging-driver.json-file"),
        only("com.amazonaws.ecs.capability.logging-driver.none"),
        only("com.amazonaws.ecs.capability.logging-driver.syslog"),
        only("loadline.capability.terminal"),
        pair("loadline.kernel-version", kernel),
        pair("loadline.agent-version", env!("CARGO_PKG_VERSION")),
    ];
    // The kernel takes any bytes for a host's name; a cluster takes no such attribute.
    let named = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if !hostname.is_empty() && hostname.bytes().all(named) {
        all.push(pair("loadline.hostname", hostname));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_has_cpus_and_memory() {
        let facts = HostFacts::read().unwrap();
        assert!(CPU_UNITS_PER_VCPU <= facts.total.cpu_units);
        assert!(64 < facts.total.memory_mib);
        assert_eq!(facts.boot_id.len(), 36);
    }

    #[test]
    fn a_node_tells_its_hosts_name_where_it_is_one() {
        let named = |hostname: &str| {
            let all = built_in("6.1", hostname);
            let found = all.into_iter().find(|attribute| attribute.name == "loadline.hostname");
            found.and_then(|attribute| attribute.value)
        };
        assert_eq!(named("web-1.example").as_deref(), Some("web-1.example"));
        assert_eq!(named(""), None);
        assert_eq!(named("a b\n"), None);
    }

    #[test]
    fn what_is_kept_back_must_leave_something() {
        let mut facts = HostFacts::read().unwrap();
        facts.total = Resources { cpu_units: 2048, memory_mib: 1000 };
        let left = facts.less(Resources { cpu_units: 48, memory_mib: 999 }).unwrap();
        assert_eq!(left, Resources { cpu_units: 2000, memory_mib: 1 });
        let error = facts.less(Resources { cpu_units: 0, memory_mib: 1000 }).unwrap_err();
        assert!(error.to_string().ends_with("lower --reserved-memory-mib"), "{error}");
    }

    #[test]
    fn a_meminfo_without_a_total_is_noticed() {
        assert_eq!(parse_total_kib("MemTotal:       16384 kB\n"), Some(16384));
        assert_eq!(parse_total_kib("MemFree: 1 kB\n"), None);
    }
}
