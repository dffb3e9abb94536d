//! What a container's definition says beyond its command: dependencies, health, storage, Linux.

use loadline_model::{
    Condition, ContainerName, ContainerSpec, Dependency, Device, HealthCheck, KeyValue,
    LinuxParameters, LogConfiguration, MountPoint, RestartPolicy, Tmpfs, Ulimit, VolumeFrom,
};

use super::{Fault, InvalidField, at_most, distinct, each, id, network};
use crate::v1;

/// Most of anything that a container lists, where ECS has no bound of its own.
const ITEMS_MAX: usize = 100;
/// Most exit codes that a restart policy ignores (ECS's own bound).
const IGNORED_CODES_MAX: usize = 50;

impl TryFrom<v1::ContainerSpec> for ContainerSpec {
    type Error = InvalidField;

    fn try_from(wire: v1::ContainerSpec) -> Result<Self, InvalidField> {
        at_most("depends_on", wire.depends_on.len(), ITEMS_MAX)?;
        at_most("mount_points", wire.mount_points.len(), ITEMS_MAX)?;
        at_most("volumes_from", wire.volumes_from.len(), ITEMS_MAX)?;
        let health_check = wire.health_check.map(HealthCheck::try_from).transpose();
        let restart_policy = wire.restart_policy.map(RestartPolicy::try_from).transpose();
        let linux = wire.linux.map(LinuxParameters::try_from).transpose();
        Ok(Self {
            name: id("name", ContainerName::parse(&wire.name))?,
            image: wire.image,
            cpu_units: wire.cpu_units,
            memory_mib: wire.memory_mib,
            memory_reservation_mib: wire.memory_reservation_mib,
            essential: wire.essential,
            entry_point: wire.entry_point.map(|list| list.items),
            command: wire.command.map(|list| list.items),
            environment: pairs_from_wire(wire.environment),
            working_directory: wire.working_directory,
            user: wire.user,
            readonly_root_filesystem: wire.readonly_root_filesystem,
            stop_timeout_s: wire.stop_timeout_s,
            labels: pairs_from_wire(wire.labels),
            depends_on: each("depends_on", wire.depends_on)?,
            start_timeout_s: wire.start_timeout_s,
            health_check: health_check.map_err(|e| e.within("health_check"))?,
            restart_policy: restart_policy.map_err(|e| e.within("restart_policy"))?,
            mount_points: wire.mount_points.into_iter().map(Into::into).collect(),
            volumes_from: each("volumes_from", wire.volumes_from)?,
            privileged: wire.privileged,
            ulimits: ulimits(wire.ulimits)?,
            linux: linux.map_err(|e| e.within("linux"))?.unwrap_or_default(),
            system_controls: pairs_from_wire(wire.system_controls),
            no_new_privileges: wire.no_new_privileges,
            log: wire.log.map(log).transpose()?,
            interactive: wire.interactive,
            pseudo_terminal: wire.pseudo_terminal,
            network: network::from_wire(wire.network)?,
        })
    }
}

impl From<ContainerSpec> for v1::ContainerSpec {
    fn from(container: ContainerSpec) -> Self {
        let linux = Some(container.linux).filter(|linux| *linux != LinuxParameters::default());
        Self {
            name: container.name.into(),
            image: container.image,
            cpu_units: container.cpu_units,
            memory_mib: container.memory_mib,
            memory_reservation_mib: container.memory_reservation_mib,
            essential: container.essential,
            entry_point: container.entry_point.map(|items| v1::StringList { items }),
            command: container.command.map(|items| v1::StringList { items }),
            environment: pairs_to_wire(container.environment),
            working_directory: container.working_directory,
            user: container.user,
            readonly_root_filesystem: container.readonly_root_filesystem,
            stop_timeout_s: container.stop_timeout_s,
            labels: pairs_to_wire(container.labels),
            depends_on: container.depends_on.into_iter().map(Into::into).collect(),
            start_timeout_s: container.start_timeout_s,
            health_check: container.health_check.map(Into::into),
            restart_policy: container.restart_policy.map(Into::into),
            mount_points: container.mount_points.into_iter().map(Into::into).collect(),
            volumes_from: container.volumes_from.into_iter().map(Into::into).collect(),
            privileged: container.privileged,
            ulimits: container.ulimits.into_iter().map(Into::into).collect(),
            linux: linux.map(Into::into),
            system_controls: pairs_to_wire(container.system_controls),
            no_new_privileges: container.no_new_privileges,
            log: container.log.map(|log| v1::LogConfiguration {
                driver: log.driver,
                options: log
                    .options
                    .into_iter()
                    .map(|(name, value)| v1::KeyValue { name, value })
                    .collect(),
            }),
            interactive: container.interactive,
            pseudo_terminal: container.pseudo_terminal,
            network: network::to_wire(container.network),
        }
    }
}

fn log(wire: v1::LogConfiguration) -> Result<LogConfiguration, InvalidField> {
    at_most("log.options", wire.options.len(), ITEMS_MAX)?;
    let options = wire.options.into_iter().map(|pair| (pair.name, pair.value)).collect();
    Ok(LogConfiguration { driver: wire.driver, options })
}

fn pairs_from_wire(pairs: Vec<v1::KeyValue>) -> Vec<KeyValue> {
    pairs.into_iter().map(|pair| KeyValue { name: pair.name, value: pair.value }).collect()
}

fn pairs_to_wire(pairs: Vec<KeyValue>) -> Vec<v1::KeyValue> {
    pairs.into_iter().map(|pair| v1::KeyValue { name: pair.name, value: pair.value }).collect()
}

impl TryFrom<v1::Dependency> for Dependency {
    type Error = InvalidField;

    fn try_from(wire: v1::Dependency) -> Result<Self, InvalidField> {
        use v1::dependency::Condition as W;
        let condition = match W::try_from(wire.condition) {
            Ok(W::Start) => Condition::Start,
            Ok(W::Complete) => Condition::Complete,
            Ok(W::Success) => Condition::Success,
            Ok(W::Healthy) => Condition::Healthy,
            Ok(W::Unspecified) | Err(_) => {
                return Err(InvalidField::new("condition", Fault::UnknownValue(wire.condition)));
            }
        };
        let container = id("container_name", ContainerName::parse(&wire.container_name))?;
        Ok(Self { container, condition })
    }
}

impl From<Dependency> for v1::Dependency {
    fn from(dependency: Dependency) -> Self {
        use v1::dependency::Condition as W;
        let condition = match dependency.condition {
            Condition::Start => W::Start,
            Condition::Complete => W::Complete,
            Condition::Success => W::Success,
            Condition::Healthy => W::Healthy,
        };
        Self { container_name: dependency.container.into(), condition: condition.into() }
    }
}

fn within(path: &str, found: u32, min: u32, max: u32) -> Result<u32, InvalidField> {
    if (min..=max).contains(&found) {
        return Ok(found);
    }
    let fault = Fault::OutOfRange { found: found.into(), min: min.into(), max: max.into() };
    Err(InvalidField::new(path, fault))
}

impl TryFrom<v1::HealthCheck> for HealthCheck {
    type Error = InvalidField;

    fn try_from(wire: v1::HealthCheck) -> Result<Self, InvalidField> {
        let known = matches!(wire.command.first().map(String::as_str), Some("CMD" | "CMD-SHELL"));
        if !known || wire.command.len() < 2 {
            let rule = "begins with CMD or CMD-SHELL, and what to run follows";
            return Err(InvalidField::new("command", Fault::Rule(rule)));
        }
        Ok(Self {
            command: wire.command,
            interval_s: within("interval_s", wire.interval_s, 5, 300)?,
            timeout_s: within("timeout_s", wire.timeout_s, 2, 60)?,
            retries: within("retries", wire.retries, 1, 10)?,
            start_period_s: within("start_period_s", wire.start_period_s, 0, 300)?,
        })
    }
}

impl From<HealthCheck> for v1::HealthCheck {
    fn from(check: HealthCheck) -> Self {
        Self {
            command: check.command,
            interval_s: check.interval_s,
            timeout_s: check.timeout_s,
            retries: check.retries,
            start_period_s: check.start_period_s,
        }
    }
}

impl TryFrom<v1::RestartPolicy> for RestartPolicy {
    type Error = InvalidField;

    fn try_from(wire: v1::RestartPolicy) -> Result<Self, InvalidField> {
        at_most("ignored_exit_codes", wire.ignored_exit_codes.len(), IGNORED_CODES_MAX)?;
        Ok(Self {
            enabled: wire.enabled,
            ignored_exit_codes: wire.ignored_exit_codes,
            attempt_period_s: within("attempt_period_s", wire.attempt_period_s, 60, 1800)?,
        })
    }
}

impl From<RestartPolicy> for v1::RestartPolicy {
    fn from(policy: RestartPolicy) -> Self {
        Self {
            enabled: policy.enabled,
            ignored_exit_codes: policy.ignored_exit_codes,
            attempt_period_s: policy.attempt_period_s,
        }
    }
}

impl From<v1::MountPoint> for MountPoint {
    fn from(wire: v1::MountPoint) -> Self {
        Self {
            source_volume: wire.source_volume,
            container_path: wire.container_path,
            read_only: wire.read_only,
        }
    }
}

impl From<MountPoint> for v1::MountPoint {
    fn from(mount: MountPoint) -> Self {
        Self {
            source_volume: mount.source_volume,
            container_path: mount.container_path,
            read_only: mount.read_only,
        }
    }
}

impl TryFrom<v1::VolumeFrom> for VolumeFrom {
    type Error = InvalidField;

    fn try_from(wire: v1::VolumeFrom) -> Result<Self, InvalidField> {
        let source = id("source_container", ContainerName::parse(&wire.source_container))?;
        Ok(Self { source_container: source, read_only: wire.read_only })
    }
}

impl From<VolumeFrom> for v1::VolumeFrom {
    fn from(from: VolumeFrom) -> Self {
        Self { source_container: from.source_container.into(), read_only: from.read_only }
    }
}

fn ulimits(wire: Vec<v1::Ulimit>) -> Result<Vec<Ulimit>, InvalidField> {
    at_most("ulimits", wire.len(), loadline_model::linux::ULIMIT_NAMES.len())?;
    distinct("ulimits", wire.iter().map(|limit| limit.name.as_str()))?;
    let limits = wire.into_iter();
    Ok(limits.map(|l| Ulimit { name: l.name, soft: l.soft, hard: l.hard }).collect())
}

impl From<Ulimit> for v1::Ulimit {
    fn from(limit: Ulimit) -> Self {
        Self { name: limit.name, soft: limit.soft, hard: limit.hard }
    }
}

impl TryFrom<v1::LinuxParameters> for LinuxParameters {
    type Error = InvalidField;

    fn try_from(wire: v1::LinuxParameters) -> Result<Self, InvalidField> {
        at_most("capabilities_add", wire.capabilities_add.len(), ITEMS_MAX)?;
        at_most("capabilities_drop", wire.capabilities_drop.len(), ITEMS_MAX)?;
        at_most("devices", wire.devices.len(), ITEMS_MAX)?;
        at_most("tmpfs", wire.tmpfs.len(), ITEMS_MAX)?;
        Ok(Self {
            capabilities_add: wire.capabilities_add,
            capabilities_drop: wire.capabilities_drop,
            devices: wire.devices.into_iter().map(Into::into).collect(),
            init_process: wire.init_process,
            shared_memory_mib: wire.shared_memory_mib,
            tmpfs: wire.tmpfs.into_iter().map(Into::into).collect(),
            max_swap_mib: wire.max_swap_mib,
            swappiness: wire.swappiness,
        })
    }
}

impl From<LinuxParameters> for v1::LinuxParameters {
    fn from(linux: LinuxParameters) -> Self {
        Self {
            capabilities_add: linux.capabilities_add,
            capabilities_drop: linux.capabilities_drop,
            devices: linux.devices.into_iter().map(Into::into).collect(),
            init_process: linux.init_process,
            shared_memory_mib: linux.shared_memory_mib,
            tmpfs: linux.tmpfs.into_iter().map(Into::into).collect(),
            max_swap_mib: linux.max_swap_mib,
            swappiness: linux.swappiness,
        }
    }
}

impl From<v1::Device> for Device {
    fn from(wire: v1::Device) -> Self {
        let v1::Device { host_path, container_path, read, write, mknod } = wire;
        Self { host_path, container_path, read, write, mknod }
    }
}

impl From<Device> for v1::Device {
    fn from(device: Device) -> Self {
        let Device { host_path, container_path, read, write, mknod } = device;
        Self { host_path, container_path, read, write, mknod }
    }
}

impl From<v1::Tmpfs> for Tmpfs {
    fn from(wire: v1::Tmpfs) -> Self {
        let v1::Tmpfs { container_path, size_mib, mount_options } = wire;
        Self { container_path, size_mib, mount_options }
    }
}

impl From<Tmpfs> for v1::Tmpfs {
    fn from(tmpfs: Tmpfs) -> Self {
        let Tmpfs { container_path, size_mib, mount_options } = tmpfs;
        Self { container_path, size_mib, mount_options }
    }
}
