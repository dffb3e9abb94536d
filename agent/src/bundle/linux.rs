//! `linuxParameters`, ulimits and privileges as parts of an OCI configuration. [`devices`] alone
//! looks at the host.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use loadline_model::{ContainerSpec, Tmpfs, Ulimit};
use oci_spec::runtime::{
    Capabilities, Capability, LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType, Mount, PosixRlimit,
    PosixRlimitBuilder, PosixRlimitType,
};

use super::defaults;

/// Most devices of the host that a privileged container gets.
const DEVICES_MAX: usize = 4096;

/// What can't be said to the kernel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinuxError {
    /// A capability that nobody knows.
    #[error("there is no capability {name:?}")]
    Capability {
        /// As it is written.
        name: String,
    },
    /// A limit that nobody knows.
    #[error("there is no limit {name:?}")]
    Ulimit {
        /// As it is written.
        name: String,
    },
}

/// A device of the host for a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundDevice {
    /// In the container.
    pub path: PathBuf,
    /// Whether it is a block device, else a character device.
    pub is_block: bool,
    /// Its numbers.
    pub number: (u32, u32),
    /// Mode, owner and group of its node.
    pub node: (u32, u32, u32),
    /// What the container may do: some of `r`, `w` and `m`.
    pub access: String,
}

/// Finds the devices that a container asks for; every device of the host for a privileged one.
///
/// # Errors
/// The path that is no device, or can't be looked at.
pub(super) fn devices(container: &ContainerSpec) -> Result<Vec<FoundDevice>, (PathBuf, io::Error)> {
    let mut found = Vec::new();
    if container.privileged {
        host_devices(Path::new("/dev"), 0, &mut found);
    }
    for device in &container.linux.devices {
        let host = Path::new(&device.host_path);
        let inside = device.container_path.as_ref().unwrap_or(&device.host_path);
        let access = [(device.read, 'r'), (device.write, 'w'), (device.mknod, 'm')];
        let access = access.into_iter().filter(|(may, _)| *may).map(|(_, c)| c).collect();
        let device = device_at(host, inside.into(), access);
        found.push(device.map_err(|error| (host.to_owned(), error))?);
    }
    Ok(found)
}

fn device_at(host: &Path, path: PathBuf, access: String) -> io::Result<FoundDevice> {
    let metadata = std::fs::metadata(host)?;
    let kind = metadata.file_type();
    if !kind.is_block_device() && !kind.is_char_device() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no device"));
    }
    let rdev = metadata.rdev();
    Ok(FoundDevice {
        path,
        is_block: kind.is_block_device(),
        number: (rustix::fs::major(rdev), rustix::fs::minor(rdev)),
        node: (metadata.mode() & 0o777, metadata.uid(), metadata.gid()),
        access,
    })
}

/// Folders of /dev that every container has of its own.
const OWN: [&str; 4] = ["pts", "shm", "mqueue", "fd"];

/// What can't be looked at is not given.
fn host_devices(dir: &Path, depth: u32, found: &mut Vec<FoundDevice>) {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    for entry in entries {
        let Ok(kind) = entry.file_type() else { continue };
        let path = entry.path();
        let is_own = depth == 0 && OWN.iter().any(|own| entry.file_name() == *own);
        if kind.is_dir() && depth < 4 && !is_own {
            host_devices(&path, depth + 1, found);
        } else if (kind.is_block_device() || kind.is_char_device())
            && found.len() < DEVICES_MAX
            && !is_default(&path)
            && let Ok(device) = device_at(&path, path.clone(), "rwm".to_owned())
        {
            found.push(device);
        }
    }
}

/// Every container has these from its runtime.
fn is_default(path: &Path) -> bool {
    let names = ["null", "zero", "full", "random", "urandom", "tty", "console", "ptmx"];
    names.iter().any(|name| path == Path::new("/dev").join(name))
}

/// The nodes in the container.
pub(super) fn nodes(found: &[FoundDevice]) -> Option<Vec<LinuxDevice>> {
    let node = |device: &FoundDevice| {
        let mut node = LinuxDevice::default();
        node.set_path(device.path.clone())
            .set_typ(if device.is_block { LinuxDeviceType::B } else { LinuxDeviceType::C })
            .set_major(device.number.0.into())
            .set_minor(device.number.1.into())
            .set_file_mode(Some(device.node.0))
            .set_uid(Some(device.node.1))
            .set_gid(Some(device.node.2));
        node
    };
    (!found.is_empty()).then(|| found.iter().map(node).collect())
}

/// What the container may do with devices.
pub(super) fn device_rules(
    container: &ContainerSpec,
    found: &[FoundDevice],
) -> Vec<LinuxDeviceCgroup> {
    if container.privileged {
        let mut rule = LinuxDeviceCgroup::default();
        rule.set_allow(true).set_access(Some("rwm".to_owned()));
        return vec![rule];
    }
    let mut rules = defaults::device_rules();
    rules.extend(found.iter().filter(|device| !device.access.is_empty()).map(|device| {
        let kind = if device.is_block { LinuxDeviceType::B } else { LinuxDeviceType::C };
        let mut rule = LinuxDeviceCgroup::default();
        rule.set_allow(true)
            .set_typ(Some(kind))
            .set_major(Some(device.number.0.into()))
            .set_minor(Some(device.number.1.into()))
            .set_access(Some(device.access.clone()));
        rule
    }));
    rules
}

/// What root may do: the default set, more and less; every capability of this host where it is
/// privileged.
///
/// # Errors
/// [`LinuxError::Capability`]
pub(super) fn capabilities(
    container: &ContainerSpec,
    every: &[Capability],
) -> Result<Capabilities, LinuxError> {
    let every = || every.iter().copied();
    if container.privileged {
        return Ok(every().collect());
    }
    let linux = &container.linux;
    let is_all = |name: &String| name.eq_ignore_ascii_case("ALL");
    let mut own: Capabilities = match (
        linux.capabilities_add.iter().any(is_all),
        linux.capabilities_drop.iter().any(is_all),
    ) {
        (true, _) => every().collect(),
        (false, true) => Capabilities::new(),
        (false, false) => defaults::CAPABILITIES.into_iter().collect(),
    };
    for name in linux.capabilities_add.iter().filter(|name| !is_all(name)) {
        own.insert(capability(name)?);
    }
    for name in linux.capabilities_drop.iter().filter(|name| !is_all(name)) {
        own.remove(&capability(name)?);
    }
    Ok(own)
}

fn capability(name: &str) -> Result<Capability, LinuxError> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    let known = serde_json::from_value(serde_json::Value::String(format!("CAP_{bare}")));
    known.map_err(|_| LinuxError::Capability { name: name.to_owned() })
}

/// The capabilities in a mask such as `CapBnd` of /proc/PID/status.
#[must_use]
pub fn capabilities_in(mask: u64) -> Vec<Capability> {
    let known = CAPABILITY_NAMES.iter().enumerate().filter(|(bit, _)| mask >> bit & 1 == 1);
    known.filter_map(|(_, name)| capability(name).ok()).collect()
}

/// In the order of their numbers (linux/capability.h).
const CAPABILITY_NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The limits of the container's processes; the agent's own where it names none.
///
/// # Errors
/// [`LinuxError::Ulimit`]
pub(super) fn rlimits(limits: &[Ulimit]) -> Result<Option<Vec<PosixRlimit>>, LinuxError> {
    let limit = |ulimit: &Ulimit| {
        let name = format!("RLIMIT_{}", ulimit.name.to_ascii_uppercase());
        let kind: PosixRlimitType = serde_json::from_value(serde_json::Value::String(name))
            .map_err(|_| LinuxError::Ulimit { name: ulimit.name.clone() })?;
        // RLIM_INFINITY is the largest number (getrlimit(2)).
        let limit = PosixRlimitBuilder::default()
            .typ(kind)
            .soft(ulimit.soft.unwrap_or(u64::MAX))
            .hard(ulimit.hard.unwrap_or(u64::MAX));
        Ok(limit.build().expect("every field has a value"))
    };
    let all = limits.iter().map(limit).collect::<Result<Vec<_>, _>>()?;
    Ok((!all.is_empty()).then_some(all))
}

/// A memory file system: docker's own options, then what the task says.
pub(super) fn tmpfs(tmpfs: &Tmpfs) -> Mount {
    let mut options: Vec<String> = ["nosuid", "nodev", "noexec"].map(str::to_owned).to_vec();
    for option in tmpfs.mount_options.iter().filter(|option| *option != "defaults") {
        let opposite = match option.strip_prefix("no") {
            Some(rest) => rest.to_owned(),
            None => format!("no{option}"),
        };
        options.retain(|have| *have != opposite && have != option);
        options.push(option.clone());
    }
    options.push(format!("size={}m", tmpfs.size_mib));
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    defaults::mount(&tmpfs.container_path, "tmpfs", "tmpfs", &options)
}

#[cfg(test)]
mod tests {
    use loadline_model::Device;

    use super::*;
    use crate::task::testing;

    fn names(capabilities: &Capabilities) -> Vec<String> {
        let mut names: Vec<String> = capabilities.iter().map(ToString::to_string).collect();
        names.sort();
        names
    }

    #[test]
    fn capabilities_are_added_and_dropped_as_docker_does_it() {
        let every = capabilities_in(u64::MAX);
        assert_eq!(every.len(), 41);
        let check = |add: &[&str], drop: &[&str], expected: usize, has: &str, without: &str| {
            let mut container = testing::container("c");
            let list = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
            container.linux.capabilities_add = list(add);
            container.linux.capabilities_drop = list(drop);
            let own = names(&capabilities(&container, &every).unwrap());
            assert_eq!(own.len(), expected, "{own:?}");
            let found = |name: &str| own.iter().any(|own| own.ends_with(name));
            assert!(has.is_empty() || found(has), "{own:?}");
            assert!(without.is_empty() || !found(without), "{own:?}");
        };
        check(&[], &[], 14, "CHOWN", "SYS_ADMIN");
        check(&["SYS_PTRACE"], &["MKNOD", "NET_RAW"], 13, "SYS_PTRACE", "NET_RAW");
        check(&["NET_ADMIN"], &["ALL"], 1, "NET_ADMIN", "CHOWN");
        check(&["ALL"], &["SYS_BOOT"], 40, "SYS_ADMIN", "SYS_BOOT");
        let mut container = testing::container("c");
        container.linux.capabilities_add = vec!["FLY".into()];
        let error = capabilities(&container, &every).unwrap_err();
        assert_eq!(error.to_string(), "there is no capability \"FLY\"");
    }

    #[test]
    fn the_mask_of_the_default_set_is_read_bit_by_bit() {
        let default: Capabilities = defaults::CAPABILITIES.into_iter().collect();
        let read: Capabilities = capabilities_in(0x0000_0000_a804_25fb).into_iter().collect();
        assert_eq!(names(&read), names(&default));
    }

    #[test]
    fn limits_have_the_kernels_names_and_minus_one_is_none() {
        let limit = |name: &str, soft, hard| Ulimit { name: name.into(), soft, hard };
        let limits = rlimits(&[limit("nofile", Some(64), Some(128)), limit("core", None, None)]);
        let limits = limits.unwrap().unwrap();
        assert_eq!((limits[0].typ(), limits[0].hard()), (PosixRlimitType::RlimitNofile, 128));
        assert_eq!((limits[1].typ(), limits[1].soft()), (PosixRlimitType::RlimitCore, u64::MAX));
        for name in loadline_model::linux::ULIMIT_NAMES {
            assert!(rlimits(&[limit(name, Some(1), Some(1))]).is_ok(), "{name}");
        }
        assert!(rlimits(&[limit("fun", Some(1), Some(1))]).is_err());
    }

    #[test]
    fn a_memory_file_system_has_dockers_options_unless_told_otherwise() {
        let options = |given: &[&str]| {
            let mount_options = given.iter().map(|&option| option.to_owned()).collect();
            let container_path = "/run".to_owned();
            let mount = tmpfs(&Tmpfs { container_path, size_mib: 16, mount_options });
            mount.options().clone().unwrap().join(",")
        };
        assert_eq!(options(&[]), "nosuid,nodev,noexec,size=16m");
        assert_eq!(options(&["exec", "mode=700"]), "nosuid,nodev,exec,mode=700,size=16m");
        assert_eq!(options(&["defaults", "noexec", "ro"]), "nosuid,nodev,noexec,ro,size=16m");
    }

    #[test]
    fn a_device_is_looked_up_and_what_is_none_is_refused() {
        let mut container = testing::container("c");
        let device = |host_path: &str| Device {
            host_path: host_path.into(),
            container_path: Some("/dev/mine".into()),
            read: true,
            write: false,
            mknod: true,
        };
        container.linux.devices = vec![device("/dev/null")];
        let found = devices(&container).unwrap();
        assert_eq!((found[0].number, found[0].access.as_str()), ((1, 3), "rm"));
        assert_eq!(nodes(&found).unwrap()[0].path(), Path::new("/dev/mine"));
        container.linux.devices = vec![device("/")];
        let (path, error) = devices(&container).unwrap_err();
        assert_eq!((path.to_str(), error.to_string().as_str()), (Some("/"), "it is no device"));
    }
}
