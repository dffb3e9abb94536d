//! What a definition says in the kernel's terms: `linuxParameters`, `ulimits`, `systemControls`,
//! `privileged`, `dockerSecurityOptions`, `pidMode`, `ipcMode`.

use loadline_model::linux::ULIMIT_NAMES;
use loadline_model::{
    ContainerSpec, Device, IpcMode, KeyValue, LinuxParameters, NetworkMode, PidMode, Tmpfs, Ulimit,
};

use super::super::check;
use super::read::no_nul;
use super::shapes::ContainerDefinition;
use super::storage::container_path;
use crate::api::ApiError;
use crate::api::wire::shape;
use crate::state::DefinitionBody;

/// Most of anything that a container lists here.
const ITEMS_MAX: usize = 100;

/// The capabilities that ECS knows (API reference, KernelCapabilities).
const CAPABILITIES: &[&str] = &[
    "ALL",
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "SYSLOG",
    "WAKE_ALARM",
];

/// The mount options that ECS takes for a tmpfs (API reference, Tmpfs).
const TMPFS_OPTIONS: &[&str] = &[
    "defaults",
    "ro",
    "rw",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "exec",
    "noexec",
    "sync",
    "async",
    "dirsync",
    "remount",
    "mand",
    "nomand",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "bind",
    "rbind",
    "unbindable",
    "runbindable",
    "private",
    "rprivate",
    "shared",
    "rshared",
    "slave",
    "rslave",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "mode",
    "uid",
    "gid",
    "nr_inodes",
    "nr_blocks",
    "mpol",
];

/// Sysctls of an IPC namespace (Linux, Documentation/admin-guide/sysctl/kernel.rst).
const IPC_CONTROLS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

shape! {
    /// `linuxParameters`, in both directions.
    LinuxParametersShape = "LinuxParameters" {
        /// Beside the default ones, and without.
        capabilities: "capabilities" => Option<KernelCapabilities>,
        /// Devices of the host.
        devices: "devices" => Option<Vec<DeviceShape>>,
        /// Size of /dev/shm, MiB.
        shared_memory_size: "sharedMemorySize" => Option<i32>,
        /// Memory file systems.
        tmpfs: "tmpfs" => Option<Vec<TmpfsShape>>,
        /// Swap, MiB.
        max_swap: "maxSwap" => Option<i32>,
        /// 0 to 100.
        swappiness: "swappiness" => Option<i32>,
        /// Whether a small init is its first process.
        init_process_enabled: "initProcessEnabled" => Option<bool>,
    }
}

shape! {
    /// Capabilities.
    KernelCapabilities = "KernelCapabilities" {
        /// Beside the default ones.
        add: "add" => Option<Vec<String>>,
        /// Of the default ones.
        drop: "drop" => Option<Vec<String>>,
    }
}

shape! {
    /// A device of the host.
    DeviceShape = "Device" {
        /// On the host.
        host_path: "hostPath" => String,
        /// In the container.
        container_path: "containerPath" => Option<String>,
        /// read, write, mknod; all of them where absent.
        permissions: "permissions" => Option<Vec<String>>,
    }
}

shape! {
    /// A memory file system.
    TmpfsShape = "Tmpfs" {
        /// Absolute.
        container_path: "containerPath" => String,
        /// MiB.
        size: "size" => i32,
        /// As for mount(8).
        mount_options: "mountOptions" => Option<Vec<String>>,
    }
}

shape! {
    /// A limit of a process.
    UlimitShape = "Ulimit" {
        /// For example nofile.
        name: "name" => String,
        /// What a process has; -1 for no limit.
        soft_limit: "softLimit" => i32,
        /// What it may raise that to; -1 for no limit.
        hard_limit: "hardLimit" => i32,
    }
}

shape! {
    /// A sysctl.
    SystemControl = "SystemControl" {
        /// Its name.
        namespace: "namespace" => Option<String>,
        /// Its value.
        value: "value" => Option<String>,
    }
}

/// `pidMode`
pub(super) fn pid_mode(mode: Option<&str>) -> Result<PidMode, ApiError> {
    check::one_of("pidMode", mode, &["host", "task"], &[])?;
    Ok(match mode {
        Some("host") => PidMode::Host,
        Some("task") => PidMode::Task,
        _ => PidMode::Container,
    })
}

/// `ipcMode`
pub(super) fn ipc_mode(mode: Option<&str>) -> Result<IpcMode, ApiError> {
    check::one_of("ipcMode", mode, &["host", "task", "none"], &[])?;
    Ok(match mode {
        Some("host") => IpcMode::Host,
        Some("task") => IpcMode::Task,
        Some("none") => IpcMode::None,
        _ => IpcMode::Container,
    })
}

/// Takes these fields of a container into its spec.
pub(super) fn read(
    at: &dyn Fn(&str) -> String,
    given: &mut ContainerDefinition,
    spec: &mut ContainerSpec,
) -> Result<(), ApiError> {
    spec.privileged = given.privileged.unwrap_or(false);
    let limits = given.ulimits.take().unwrap_or_default();
    spec.ulimits = ulimits(&at("ulimits"), limits)?;
    if let Some(linux) = given.linux_parameters.take() {
        spec.linux = linux_parameters(&at("linuxParameters"), linux, spec)?;
    }
    for (n, control) in given.system_controls.take().unwrap_or_default().into_iter().enumerate() {
        let at = at(&format!("systemControls[{n}]"));
        spec.system_controls.push(system_control(&at, control)?);
    }
    for option in given.docker_security_options.take().unwrap_or_default() {
        match option.as_str() {
            "no-new-privileges" | "no-new-privileges:true" => spec.no_new_privileges = true,
            "no-new-privileges:false" => {}
            other => {
                let what = format!("{} {other:?}", at("dockerSecurityOptions"));
                return Err(ApiError::unsupported(what));
            }
        }
    }
    Ok(())
}

fn ulimits(at: &str, given: Vec<UlimitShape>) -> Result<Vec<Ulimit>, ApiError> {
    let mut limits: Vec<Ulimit> = Vec::new();
    for (n, limit) in given.into_iter().enumerate() {
        let at = format!("{at}[{n}]");
        check::one_of(&format!("{at}.name"), Some(&limit.name), &ULIMIT_NAMES, &[])?;
        if limits.iter().any(|have| have.name == limit.name) {
            return Err(ApiError::client(format_args!("{at}.name: {} is there twice", limit.name)));
        }
        let value = |field: &str, value: i32| match value {
            -1 => Ok(None),
            value => u64::try_from(value).map(Some).map_err(|_| {
                ApiError::client(format_args!("{at}.{field} must be -1 (no limit) or more"))
            }),
        };
        let soft = value("softLimit", limit.soft_limit)?;
        let hard = value("hardLimit", limit.hard_limit)?;
        if hard.is_some_and(|hard| soft.is_none_or(|soft| hard < soft)) {
            return Err(ApiError::client(format_args!(
                "{at}: softLimit {} is above hardLimit {}",
                limit.soft_limit, limit.hard_limit
            )));
        }
        limits.push(Ulimit { name: limit.name, soft, hard });
    }
    Ok(limits)
}

fn amount(at: &str, value: Option<i32>, min: i32, max: i32) -> Result<Option<u64>, ApiError> {
    let Some(value) = value else { return Ok(None) };
    u64::try_from(value).ok().filter(|_| (min..=max).contains(&value)).map(Some).ok_or_else(|| {
        let most = if max == i32::MAX { String::new() } else { format!(" and at most {max}") };
        ApiError::client(format_args!("{at} must be at least {min}{most}, not {value}"))
    })
}

fn linux_parameters(
    at: &str,
    given: LinuxParametersShape,
    spec: &ContainerSpec,
) -> Result<LinuxParameters, ApiError> {
    let field = |name: &str| format!("{at}.{name}");
    let (add, drop) = match given.capabilities {
        Some(given) => (given.add.unwrap_or_default(), given.drop.unwrap_or_default()),
        None => (vec![], vec![]),
    };
    for (list, name) in [(&add, "capabilities.add"), (&drop, "capabilities.drop")] {
        for capability in list {
            check::one_of(&field(name), Some(capability), CAPABILITIES, &[])?;
        }
    }
    let max_swap_mib = amount(&field("maxSwap"), given.max_swap, 0, i32::MAX)?;
    if max_swap_mib.is_some() && spec.memory_mib.is_none() {
        return Err(ApiError::client(format_args!(
            "{}: a container with maxSwap must have memory",
            field("maxSwap")
        )));
    }
    let swappiness = amount(&field("swappiness"), given.swappiness, 0, 100)?;
    Ok(LinuxParameters {
        capabilities_add: add,
        capabilities_drop: drop,
        devices: devices(&field("devices"), given.devices.unwrap_or_default())?,
        init_process: given.init_process_enabled.unwrap_or(false),
        shared_memory_mib: amount(
            &field("sharedMemorySize"),
            given.shared_memory_size,
            1,
            i32::MAX,
        )?,
        tmpfs: tmpfs(&field("tmpfs"), given.tmpfs.unwrap_or_default())?,
        // AWS: without maxSwap swappiness is ignored. It is kept, and means nothing without swap.
        max_swap_mib,
        swappiness,
    })
}

fn devices(at: &str, given: Vec<DeviceShape>) -> Result<Vec<Device>, ApiError> {
    bounded(at, given.len())?;
    let read = |(n, device): (usize, DeviceShape)| {
        let at = format!("{at}[{n}]");
        let words = device.permissions.unwrap_or_default();
        for word in &words {
            let at = format!("{at}.permissions");
            check::one_of(&at, Some(word), &["read", "write", "mknod"], &[])?;
        }
        let may = |word: &str| words.is_empty() || words.iter().any(|have| have == word);
        let inside = device.container_path.filter(|path| !path.is_empty());
        let inside = inside.map(|path| container_path(&format!("{at}.containerPath"), Some(&path)));
        Ok(Device {
            host_path: container_path(&format!("{at}.hostPath"), Some(&device.host_path))?,
            container_path: inside.transpose()?,
            read: may("read"),
            write: may("write"),
            mknod: may("mknod"),
        })
    };
    given.into_iter().enumerate().map(read).collect()
}

fn tmpfs(at: &str, given: Vec<TmpfsShape>) -> Result<Vec<Tmpfs>, ApiError> {
    bounded(at, given.len())?;
    let read = |(n, tmpfs): (usize, TmpfsShape)| {
        let at = format!("{at}[{n}]");
        let options = tmpfs.mount_options.unwrap_or_default();
        for option in &options {
            let name = option.split('=').next().unwrap_or_default();
            check::one_of(&format!("{at}.mountOptions"), Some(name), TMPFS_OPTIONS, &[])?;
            no_nul(&at, option)?;
        }
        let size_mib = amount(&format!("{at}.size"), Some(tmpfs.size), 1, i32::MAX)?;
        let path = Some(tmpfs.container_path.as_str());
        Ok(Tmpfs {
            container_path: container_path(&format!("{at}.containerPath"), path)?,
            size_mib: size_mib.unwrap_or_default(),
            mount_options: options,
        })
    };
    given.into_iter().enumerate().map(read).collect()
}

fn bounded(at: &str, count: usize) -> Result<(), ApiError> {
    if ITEMS_MAX < count {
        return Err(ApiError::client(format_args!("{at} can have at most {ITEMS_MAX} items.")));
    }
    Ok(())
}

fn system_control(at: &str, given: SystemControl) -> Result<KeyValue, ApiError> {
    let name = given.namespace.unwrap_or_default();
    let value = given.value.unwrap_or_default();
    no_nul(&format!("{at}.value"), &value)?;
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
    let climbs = name.contains("..") || name.split('/').any(|part| part == "..");
    if !plain || climbs || !(is_ipc(&name) || name.starts_with("net.")) {
        return Err(ApiError::client(format_args!(
            "{at}.namespace: {name:?} is no sysctl of a container's own namespaces: net.*, \
             fs.mqueue.*, kernel.msg*, kernel.sem and kernel.shm* are"
        )));
    }
    Ok(KeyValue { name, value })
}

fn is_ipc(name: &str) -> bool {
    name.starts_with("fs.mqueue.") || IPC_CONTROLS.contains(&name)
}

/// Sysctls of a namespace that is the host's would be the host's: ECS refuses them too.
pub(super) fn check_controls(body: &DefinitionBody) -> Result<(), ApiError> {
    let shared = |name: &str| {
        let of_host = if is_ipc(name) {
            matches!(body.ipc_mode, IpcMode::Host | IpcMode::Task)
        } else {
            body.network_mode == NetworkMode::Host
        };
        of_host.then_some(if is_ipc(name) { "ipcMode" } else { "networkMode" })
    };
    for container in &body.containers {
        for control in &container.system_controls {
            if let Some(mode) = shared(&control.name) {
                return Err(ApiError::client(format_args!(
                    "systemControls {} of container '{}' can't be set with this {mode}: they are \
                     not the container's own",
                    control.name, container.name
                )));
            }
        }
    }
    Ok(())
}

/// The fields as AWS shows them.
pub(super) fn show(spec: &ContainerSpec, shown: &mut ContainerDefinition) {
    shown.privileged = spec.privileged.then_some(true);
    let number = |value: u64| i32::try_from(value).unwrap_or(i32::MAX);
    let limit = |value: Option<u64>| value.map_or(-1, number);
    let limits = spec.ulimits.iter().map(|ulimit| UlimitShape {
        name: ulimit.name.clone(),
        soft_limit: limit(ulimit.soft),
        hard_limit: limit(ulimit.hard),
    });
    shown.ulimits = some(limits.collect());
    let controls = spec.system_controls.iter().map(|control| SystemControl {
        namespace: Some(control.name.clone()),
        value: Some(control.value.clone()),
    });
    shown.system_controls = Some(controls.collect());
    shown.docker_security_options =
        spec.no_new_privileges.then(|| vec!["no-new-privileges".to_owned()]);
    shown.linux_parameters = (spec.linux != LinuxParameters::default()).then(|| {
        let linux = &spec.linux;
        let (add, drop) = (&linux.capabilities_add, &linux.capabilities_drop);
        LinuxParametersShape {
            capabilities: (!add.is_empty() || !drop.is_empty())
                .then(|| KernelCapabilities { add: some(add.clone()), drop: some(drop.clone()) }),
            devices: some(linux.devices.iter().map(show_device).collect()),
            shared_memory_size: linux.shared_memory_mib.map(number),
            tmpfs: some(linux.tmpfs.iter().map(show_tmpfs).collect()),
            max_swap: linux.max_swap_mib.map(number),
            swappiness: linux.swappiness.map(number),
            init_process_enabled: linux.init_process.then_some(true),
        }
    });
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|list| !list.is_empty())
}

fn show_device(device: &Device) -> DeviceShape {
    let words = [("read", device.read), ("write", device.write), ("mknod", device.mknod)];
    let words: Vec<String> =
        words.into_iter().filter(|(_, may)| *may).map(|(word, _)| word.to_owned()).collect();
    DeviceShape {
        host_path: device.host_path.clone(),
        container_path: device.container_path.clone(),
        permissions: some(words),
    }
}

fn show_tmpfs(tmpfs: &Tmpfs) -> TmpfsShape {
    TmpfsShape {
        container_path: tmpfs.container_path.clone(),
        size: i32::try_from(tmpfs.size_mib).unwrap_or(i32::MAX),
        mount_options: some(tmpfs.mount_options.clone()),
    }
}
