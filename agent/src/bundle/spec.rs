//! The OCI configuration of a container, decided from what is known. No I/O in here.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use loadline_model::{ContainerSpec, IpcMode, NetworkMode, PidMode, TaskSpec};
use oci_spec::runtime::{
    Capabilities, Linux, LinuxCapabilities, LinuxCpu, LinuxMemory, LinuxNamespace,
    LinuxNamespaceType, LinuxPids, LinuxResources, Process, Root, Spec, User,
};

use super::command::{self, CommandError, PATH_DEFAULT};
use super::linux::{self, FoundDevice, LinuxError};
use super::seccomp::{self, Seccomp};
use super::storage::Bind;
use super::{Host, Identity, MemoryAccounting, Surroundings, defaults, etc};
use crate::image::ImageConfig;
use crate::supervisor::init::INIT_PATH;

/// The OCI version that the configuration keeps to.
const OCI_VERSION: &str = "1.0.2";

/// The kernel's bounds on `cpu.shares` (cgroup v1).
pub const CPU_SHARES_MIN: u64 = 2;
/// See [`CPU_SHARES_MIN`].
pub const CPU_SHARES_MAX: u64 = 262_144;

/// Less memory than this is raised to it, as the ECS agent does.
pub const MEMORY_MIB_MIN: u64 = 4;

/// Annotations of labels begin with this, so that no label is one that a runtime acts upon.
pub const LABEL_PREFIX: &str = "loadline.label.";

/// Longest host name, in bytes (Linux __NEW_UTS_LEN).
const HOSTNAME_BYTES_MAX: usize = 64;

/// Everything that the decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// How the image wants to be run.
    pub image: &'a ImageConfig,
    /// The task.
    pub task: &'a TaskSpec,
    /// Which of its containers.
    pub container: &'a ContainerSpec,
    /// This host.
    pub host: &'a Host,
    /// Who to run as, already resolved in the image.
    pub identity: &'a Identity,
    /// What its network is.
    pub network: &'a Surroundings,
    /// The container's cgroup.
    pub cgroups_path: &'a str,
    /// The container's folder, where its `etc` files are.
    pub dir: &'a Path,
    /// What it mounts beside what every container has, in this order.
    pub binds: &'a [Bind],
    /// The devices of the host that it has.
    pub devices: &'a [FoundDevice],
}

/// Why there is no configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// What it runs.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// What it may do.
    #[error(transparent)]
    Linux(#[from] LinuxError),
    /// Where it runs.
    #[error("the working directory {path:?} is not an absolute path without ..")]
    WorkingDirectory {
        /// As it is written.
        path: String,
    },
    /// An amount of memory that no limit can hold.
    #[error("{memory_mib} MiB are more memory than can be limited")]
    Memory {
        /// What was asked for.
        memory_mib: u64,
    },
}

/// Decides the whole configuration.
///
/// # Errors
/// [`SpecError`].
pub fn spec(input: &Input<'_>) -> Result<Spec, SpecError> {
    let mut root = Root::default();
    root.set_path(PathBuf::from("rootfs"))
        .set_readonly(Some(input.container.readonly_root_filesystem));
    let mut spec = Spec::default();
    spec.set_version(OCI_VERSION.to_owned())
        .set_root(Some(root))
        .set_mounts(Some(mounts(input)))
        .set_process(Some(process(input)?))
        .set_hostname(Some(hostname(input)))
        .set_annotations(Some(annotations(input)))
        .set_linux(Some(linux(input)?));
    Ok(spec)
}

/// Where the container's program starts: absolute, and without `..`.
///
/// # Errors
/// [`SpecError::WorkingDirectory`].
pub fn working_directory(input: &Input<'_>) -> Result<String, SpecError> {
    let path = match &input.container.working_directory {
        Some(path) => path.clone(),
        None if input.image.working_dir.is_empty() => "/".to_owned(),
        // Images exist whose directory is not absolute: it is taken below the root.
        None => format!("/{}", input.image.working_dir.trim_start_matches('/')),
    };
    let climbs = path.split('/').any(|name| name == "..");
    if !path.starts_with('/') || climbs || path.contains('\0') {
        return Err(SpecError::WorkingDirectory { path });
    }
    Ok(path)
}

/// The container's host name: the host's own on its network, else what its definition says, else
/// the beginning of the task's id.
#[must_use]
pub fn hostname(input: &Input<'_>) -> String {
    let own = input.container.network.hostname.as_ref();
    let mode = input.container.network.mode(input.task.network_mode);
    let name = match (mode, own) {
        (NetworkMode::Host, _) => &input.host.hostname,
        (_, Some(own)) => own,
        (_, None) => return input.task.arn.id().chars().take(12).collect(),
    };
    name.chars().take(HOSTNAME_BYTES_MAX).collect()
}

/// The configuration as text, the same for the same configuration: what is a set is sorted.
///
/// # Errors
/// The serializer's, which no [`Spec`] of [`spec`] makes.
pub fn to_json(spec: &Spec) -> Result<Vec<u8>, serde_json::Error> {
    let mut value = serde_json::to_value(spec)?;
    if let Some(sets) = value.pointer_mut("/process/capabilities").and_then(|v| v.as_object_mut()) {
        for set in sets.values_mut().filter_map(|set| set.as_array_mut()) {
            set.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
        }
    }
    serde_json::to_vec_pretty(&value)
}

fn process(input: &Input<'_>) -> Result<Process, SpecError> {
    let Input { image, container, identity, .. } = input;
    let mut arguments =
        command::arguments(image, container.entry_point.as_deref(), container.command.as_deref())?;
    if container.linux.init_process {
        arguments.splice(0..0, [INIT_PATH.to_owned(), "--".to_owned()]);
    }
    let mut defaults = vec![
        PATH_DEFAULT.to_owned(),
        format!("HOSTNAME={}", hostname(input)),
        format!("HOME={}", identity.home),
    ];
    if container.pseudo_terminal {
        defaults.push("TERM=xterm".to_owned());
    }
    let around = &input.network.environment;
    defaults.extend(around.iter().map(|pair| format!("{}={}", pair.name, pair.value)));
    let environment = command::environment(image, &container.environment, &defaults)?;
    let mut user = User::default();
    user.set_uid(identity.uid)
        .set_gid(identity.gid)
        .set_additional_gids(Some(identity.additional_gids.clone()));
    let mut process = Process::default();
    process
        .set_terminal(Some(container.pseudo_terminal))
        .set_user(user)
        .set_args(Some(arguments))
        .set_env(Some(environment))
        .set_cwd(PathBuf::from(working_directory(input)?))
        .set_capabilities(Some(capabilities(input)?))
        // Where it names none, the agent's own limits are the container's.
        .set_rlimits(linux::rlimits(&container.ulimits)?)
        // As in docker and ECS: programs such as sudo and ping work unless told otherwise.
        .set_no_new_privileges(Some(container.no_new_privileges));
    Ok(process)
}

/// Another user than root has no capability until it runs a program that gives it one.
fn capabilities(input: &Input<'_>) -> Result<LinuxCapabilities, SpecError> {
    let all = linux::capabilities(input.container, &input.host.capabilities)?;
    let own = if input.identity.uid == 0 { all.clone() } else { Capabilities::new() };
    let mut sets = LinuxCapabilities::default();
    sets.set_bounding(Some(all))
        .set_effective(Some(own.clone()))
        .set_permitted(Some(own))
        .set_inheritable(Some(Capabilities::new()))
        .set_ambient(Some(Capabilities::new()));
    Ok(sets)
}

fn mounts(input: &Input<'_>) -> Vec<oci_spec::runtime::Mount> {
    let mut mounts = defaults::mounts();
    if input.task.ipc_mode == IpcMode::None {
        mounts.retain(|mount| mount.destination() != Path::new("/dev/shm"));
    }
    let shm = match input.task.ipc_mode {
        IpcMode::Host => Some(PathBuf::from("/dev/shm")),
        IpcMode::Task => input.network.shm.clone(),
        IpcMode::Container | IpcMode::None => None,
    };
    for mount in &mut mounts {
        let destination = mount.destination().to_string_lossy().into_owned();
        match destination.as_str() {
            "/dev/shm" => {
                if let Some(shared) = &shm {
                    let source = shared.to_string_lossy();
                    *mount = defaults::mount(&destination, "bind", &source, &["rbind", "rprivate"]);
                    continue;
                }
                if let (Some(mib), Some(options)) =
                    (input.container.linux.shared_memory_mib, mount.options_mut())
                {
                    options.retain(|option| !option.starts_with("size="));
                    options.push(format!("size={mib}m"));
                }
            }
            "/sys" | "/sys/fs/cgroup" if input.container.privileged => {
                if let Some(options) = mount.options_mut() {
                    options.retain(|option| option != "ro");
                }
            }
            _ => {}
        }
    }
    for (name, destination) in etc::FILES {
        let source = input.dir.join("etc").join(name);
        let source = source.to_string_lossy();
        mounts.push(defaults::mount(destination, "bind", &source, &["rbind", "rprivate"]));
    }
    if input.container.linux.init_process
        && let Some(program) = &input.host.init
    {
        let options = ["bind", "rprivate", "ro", "nosuid", "nodev"];
        mounts.push(defaults::mount(INIT_PATH, "bind", &program.to_string_lossy(), &options));
    }
    mounts.extend(input.container.linux.tmpfs.iter().map(linux::tmpfs));
    for Bind { source, destination, read_only, .. } in input.binds {
        let access = if *read_only { input.host.runtime.read_only.option() } else { "rw" };
        let source = source.to_string_lossy();
        let options = ["rbind", "rprivate", access];
        // The container's own hosts file, say, comes before ours.
        mounts.retain(|mount| mount.destination() != Path::new(destination));
        mounts.push(defaults::mount(destination, "bind", &source, &options));
    }
    mounts
}

fn annotations(input: &Input<'_>) -> HashMap<String, String> {
    let Input { task, container, .. } = input;
    let own = [
        ("loadline.task-arn", task.arn.to_string()),
        ("loadline.container-name", container.name.to_string()),
        ("loadline.task-definition-family", task.family.clone()),
        ("loadline.task-definition-revision", task.revision.to_string()),
    ];
    let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
    let labels = container
        .labels
        .iter()
        .map(|label| (format!("{LABEL_PREFIX}{}", label.name), label.value.clone()));
    labels.chain(own).collect()
}

fn linux(input: &Input<'_>) -> Result<Linux, SpecError> {
    let kinds = [
        Some(LinuxNamespaceType::Mount),
        (input.task.pid_mode != PidMode::Host).then_some(LinuxNamespaceType::Pid),
        Some(LinuxNamespaceType::Uts),
        (input.task.ipc_mode != IpcMode::Host).then_some(LinuxNamespaceType::Ipc),
        Some(LinuxNamespaceType::Cgroup),
        match input.container.network.mode(input.task.network_mode) {
            NetworkMode::None | NetworkMode::Bridge | NetworkMode::Awsvpc => {
                Some(LinuxNamespaceType::Network)
            }
            NetworkMode::Host => None,
        },
    ];
    let namespace = |kind| {
        let mut namespace = LinuxNamespace::default();
        namespace.set_typ(kind);
        namespace.set_path(match kind {
            LinuxNamespaceType::Network => input.network.namespace.clone(),
            LinuxNamespaceType::Pid => input.network.pid.clone(),
            LinuxNamespaceType::Ipc => input.network.ipc.clone(),
            _ => None,
        });
        namespace
    };
    let namespaces = kinds.into_iter().flatten().map(namespace).collect();
    let owned = |paths: &[&str]| Some(paths.iter().map(ToString::to_string).collect());
    let privileged = input.container.privileged;
    let controls = &input.container.system_controls;
    let controls: HashMap<String, String> =
        controls.iter().map(|c| (c.name.clone(), c.value.clone())).collect();
    let mut linux = Linux::default();
    linux
        .set_namespaces(Some(namespaces))
        .set_cgroups_path(Some(PathBuf::from(input.cgroups_path)))
        .set_resources(Some(resources(input)?))
        .set_devices(linux::nodes(input.devices))
        .set_seccomp(match input.host.runtime.seccomp {
            Seccomp::DefaultProfile if !privileged => seccomp::profile(),
            Seccomp::DefaultProfile | Seccomp::Unsupported => None,
        })
        .set_sysctl((!controls.is_empty()).then_some(controls))
        .set_rootfs_propagation(Some("rprivate".to_owned()));
    if privileged {
        linux.set_masked_paths(None).set_readonly_paths(None);
    } else {
        linux
            .set_masked_paths(owned(&defaults::MASKED))
            .set_readonly_paths(owned(&defaults::READ_ONLY));
    }
    Ok(linux)
}

fn resources(input: &Input<'_>) -> Result<LinuxResources, SpecError> {
    let mut cpu = LinuxCpu::default();
    cpu.set_shares(Some(input.container.cpu_units.clamp(CPU_SHARES_MIN, CPU_SHARES_MAX)));
    let mut resources = LinuxResources::default();
    resources
        .set_devices(Some(linux::device_rules(input.container, input.devices)))
        .set_cpu(Some(cpu))
        .set_memory(memory(input)?)
        .set_pids(input.host.pids_limit.map(|limit| {
            let mut pids = LinuxPids::default();
            pids.set_limit(limit);
            pids
        }));
    Ok(resources)
}

/// Hard and soft limit, and no swap but what was asked for. On v2 a container without a hard limit
/// is kept from swapping by its task's cgroup.
fn memory(input: &Input<'_>) -> Result<Option<LinuxMemory>, SpecError> {
    let bytes = |memory_mib: u64| {
        let raised = memory_mib.max(MEMORY_MIB_MIN);
        let bytes = raised.checked_mul(1024 * 1024).and_then(|b| i64::try_from(b).ok());
        bytes.ok_or(SpecError::Memory { memory_mib })
    };
    let set = |amount: Option<u64>| amount.filter(|mib| 0 < *mib).map(bytes).transpose();
    let limit = set(input.container.memory_mib)?;
    let reservation = set(input.container.memory_reservation_mib)?;
    let accounting = input.host.memory;
    let linux = &input.container.linux;
    let swap = linux.max_swap_mib.map(|mib| mib.saturating_mul(1024 * 1024));
    let swap = swap.and_then(|bytes| i64::try_from(bytes).ok()).unwrap_or(0);
    // The kernel's own default where swap was asked for and nothing said about it (ECS).
    let swappiness = if linux.swaps() { linux.swappiness.unwrap_or(60) } else { 0 };
    let mut memory = LinuxMemory::default();
    memory
        .set_limit(limit)
        .set_reservation(reservation)
        .set_swap(
            limit
                .filter(|_| accounting != MemoryAccounting::V1WithoutSwap)
                .map(|limit| limit.saturating_add(swap)),
        )
        .set_swappiness((accounting != MemoryAccounting::V2).then_some(swappiness));
    let empty = memory == LinuxMemory::default();
    Ok((!empty).then_some(memory))
}
