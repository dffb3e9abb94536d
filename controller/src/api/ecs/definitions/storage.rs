//! Volumes of a definition, and where its containers see them: `volumes`, `mountPoints`,
//! `volumesFrom`.

use std::collections::{BTreeMap, BTreeSet};

use loadline_model::{
    ContainerName, ContainerSpec, KeyValue, MountPoint, Volume, VolumeFrom, VolumeSource,
};

use super::super::check;
use super::read::no_nul;
use super::shapes::ContainerDefinition;
use crate::api::ApiError;
use crate::api::wire::shape;
use crate::state::VolumeDefinition;

/// Most volumes of a definition, and most mounts of a container.
const VOLUMES_MAX: usize = 100;
/// Longest name of a volume (ECS's own bound).
const NAME_CHARS_MAX: usize = 255;
/// Longest path (Linux PATH_MAX, with its NUL).
const PATH_BYTES_MAX: usize = 4095;

shape! {
    /// A volume, in both directions.
    VolumeShape = "Volume" {
        /// Letters, digits, hyphens and underscores.
        name: "name" => Option<String>,
        /// A folder of the host; one of the task's own where it names none.
        host: "host" => Option<HostVolumeProperties>,
        /// A volume of the node.
        docker_volume_configuration:
            "dockerVolumeConfiguration" => Option<DockerVolumeConfiguration>,
    }
    unsupported [
        "efsVolumeConfiguration", "s3filesVolumeConfiguration",
        "fsxWindowsFileServerVolumeConfiguration", "configuredAtLaunch",
    ]
}

shape! {
    /// A folder of the host.
    HostVolumeProperties = "HostVolumeProperties" {
        /// Absolute.
        source_path: "sourcePath" => Option<String>,
    }
}

shape! {
    /// A volume of the node.
    DockerVolumeConfiguration = "DockerVolumeConfiguration" {
        /// `task` (default) or `shared`.
        scope: "scope" => Option<String>,
        /// Whether a shared one is made where it is missing.
        autoprovision: "autoprovision" => Option<bool>,
        /// `local`.
        driver: "driver" => Option<String>,
        /// None yet.
        driver_opts: "driverOpts" => Option<BTreeMap<String, String>>,
        /// For people.
        labels: "labels" => Option<BTreeMap<String, String>>,
    }
}

shape! {
    /// A volume in a container, in both directions.
    MountPointShape = "MountPoint" {
        /// The volume's name.
        source_volume: "sourceVolume" => Option<String>,
        /// Absolute.
        container_path: "containerPath" => Option<String>,
        /// Whether it can't be written to.
        read_only: "readOnly" => Option<bool>,
    }
}

shape! {
    /// Another container's mounts, in both directions.
    VolumeFromShape = "VolumeFrom" {
        /// Whose.
        source_container: "sourceContainer" => Option<String>,
        /// Whether they can't be written to.
        read_only: "readOnly" => Option<bool>,
    }
}

/// The definition's volumes.
pub(super) fn read_volumes(given: Vec<VolumeShape>) -> Result<Vec<VolumeDefinition>, ApiError> {
    if VOLUMES_MAX < given.len() {
        let message = format!("volumes can have at most {VOLUMES_MAX} items.");
        return Err(ApiError::client(message));
    }
    let mut volumes: Vec<VolumeDefinition> = Vec::new();
    for (n, volume) in given.into_iter().enumerate() {
        let at = format!("volumes[{n}]");
        let volume = read_volume(&at, volume)?;
        if volumes.iter().any(|have| have.volume.name == volume.volume.name) {
            let name = &volume.volume.name;
            return Err(ApiError::client(format_args!("{at}.name: {name} is there twice")));
        }
        volumes.push(volume);
    }
    Ok(volumes)
}

fn read_volume(at: &str, given: VolumeShape) -> Result<VolumeDefinition, ApiError> {
    let name = given.name.unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || NAME_CHARS_MAX < name.len() || !name.chars().all(is_plain) {
        return Err(ApiError::client(format_args!(
            "{at}.name must have 1 to {NAME_CHARS_MAX} letters, digits, hyphens and underscores"
        )));
    }
    let source_path = given.host.and_then(|host| host.source_path).filter(|p| !p.is_empty());
    let docker = given.docker_volume_configuration;
    if source_path.is_some() && docker.is_some() {
        return Err(ApiError::client(format_args!(
            "{at}: only one of host and dockerVolumeConfiguration can be given"
        )));
    }
    let Some(docker) = docker else {
        let source = match source_path {
            None => VolumeSource::Task,
            Some(path) => {
                absolute(&format!("{at}.host.sourcePath"), &path)?;
                VolumeSource::HostPath(path)
            }
        };
        return Ok(VolumeDefinition { volume: Volume { name, source }, docker: None });
    };
    let at = format!("{at}.dockerVolumeConfiguration");
    check::one_of(&format!("{at}.scope"), docker.scope.as_deref(), &["task", "shared"], &[])?;
    let driver = docker.driver.as_deref().filter(|driver| !driver.is_empty());
    if let Some(driver) = driver.filter(|driver| *driver != "local") {
        return Err(ApiError::unsupported(format_args!("{at}.driver {driver}")));
    }
    if docker.driver_opts.is_some_and(|options| !options.is_empty()) {
        return Err(ApiError::unsupported(format_args!("{at}.driverOpts")));
    }
    let shared = docker.scope.as_deref() == Some("shared");
    if docker.autoprovision.is_some() && !shared {
        return Err(ApiError::client(format_args!("{at}.autoprovision needs the scope shared")));
    }
    let autoprovision = docker.autoprovision.unwrap_or(false);
    let source = if shared { VolumeSource::Shared { autoprovision } } else { VolumeSource::Task };
    let labels = docker.labels.unwrap_or_default().into_iter();
    let labels = labels.map(|(name, value)| KeyValue { name, value }).collect();
    Ok(VolumeDefinition { volume: Volume { name, source }, docker: Some(labels) })
}

fn absolute(at: &str, path: &str) -> Result<(), ApiError> {
    no_nul(at, path)?;
    if !path.starts_with('/') || path.split('/').any(|name| name == "..") {
        return Err(ApiError::client(format_args!("{at} must be an absolute path without ..")));
    }
    if PATH_BYTES_MAX < path.len() {
        return Err(ApiError::client(format_args!(
            "{at} must have at most {PATH_BYTES_MAX} bytes"
        )));
    }
    Ok(())
}

/// A path in a container that something is mounted at.
pub(super) fn container_path(at: &str, path: Option<&str>) -> Result<String, ApiError> {
    let path = path.unwrap_or_default();
    absolute(at, path)?;
    if path.split('/').all(str::is_empty) {
        return Err(ApiError::client(format_args!("{at} must not be the root directory")));
    }
    Ok(path.to_owned())
}

/// Takes these fields of a container into its spec.
pub(super) fn read(
    at: &dyn Fn(&str) -> String,
    given: &mut ContainerDefinition,
    spec: &mut ContainerSpec,
) -> Result<(), ApiError> {
    let mounts = given.mount_points.take().unwrap_or_default();
    if VOLUMES_MAX < mounts.len() {
        let message = format!("{} can have at most {VOLUMES_MAX} items.", at("mountPoints"));
        return Err(ApiError::client(message));
    }
    for (n, mount) in mounts.into_iter().enumerate() {
        let at = at(&format!("mountPoints[{n}]"));
        let source_volume = mount.source_volume.filter(|name| !name.is_empty());
        spec.mount_points.push(MountPoint {
            source_volume: source_volume.ok_or_else(|| {
                ApiError::client(format_args!("{at}.sourceVolume should not be null or empty"))
            })?,
            container_path: container_path(
                &format!("{at}.containerPath"),
                mount.container_path.as_deref(),
            )?,
            read_only: mount.read_only.unwrap_or(false),
        });
    }
    for (n, from) in given.volumes_from.take().unwrap_or_default().into_iter().enumerate() {
        let at = at(&format!("volumesFrom[{n}].sourceContainer"));
        let name = ContainerName::parse(&from.source_container.unwrap_or_default());
        let source_container =
            name.map_err(|bad| ApiError::client(format_args!("{at}: {}", bad.why)))?;
        let read_only = from.read_only.unwrap_or(false);
        spec.volumes_from.push(VolumeFrom { source_container, read_only });
    }
    Ok(())
}

/// Whether every mount names a volume, and no two of a container are at the same path.
pub(super) fn check_mounts(
    containers: &[ContainerSpec],
    volumes: &[VolumeDefinition],
) -> Result<(), ApiError> {
    for container in containers {
        let mut paths = BTreeSet::new();
        let tmpfs = container.linux.tmpfs.iter().map(|tmpfs| &tmpfs.container_path);
        let points = container.mount_points.iter().map(|mount| &mount.container_path);
        for path in points.chain(tmpfs) {
            if !paths.insert(path.trim_end_matches('/')) {
                return Err(ApiError::client(format_args!(
                    "Duplicate mount point: container '{}' has {path:?} twice.",
                    container.name
                )));
            }
        }
        for mount in &container.mount_points {
            let name = &mount.source_volume;
            if !volumes.iter().any(|volume| volume.volume.name == *name) {
                return Err(ApiError::client(format_args!("Unknown volume '{name}'.")));
            }
        }
    }
    Ok(())
}

/// The fields as AWS shows them.
pub(super) fn show(spec: &ContainerSpec, shown: &mut ContainerDefinition) {
    let mounts = spec.mount_points.iter().map(|mount| MountPointShape {
        source_volume: Some(mount.source_volume.clone()),
        container_path: Some(mount.container_path.clone()),
        read_only: mount.read_only.then_some(true),
    });
    shown.mount_points = Some(mounts.collect());
    let sources = spec.volumes_from.iter().map(|from| VolumeFromShape {
        source_container: Some(from.source_container.to_string()),
        read_only: from.read_only.then_some(true),
    });
    shown.volumes_from = Some(sources.collect());
}

/// A volume as AWS shows it.
pub(super) fn show_volume(definition: &VolumeDefinition) -> VolumeShape {
    let VolumeDefinition { volume, docker } = definition;
    let host = |source_path| Some(HostVolumeProperties { source_path });
    VolumeShape {
        name: Some(volume.name.clone()),
        host: match &volume.source {
            VolumeSource::HostPath(path) => host(Some(path.clone())),
            VolumeSource::Task if docker.is_none() => host(None),
            VolumeSource::Task | VolumeSource::Shared { .. } => None,
        },
        docker_volume_configuration: docker.as_ref().map(|labels| DockerVolumeConfiguration {
            scope: Some(match volume.source {
                VolumeSource::Shared { .. } => "shared".into(),
                VolumeSource::Task | VolumeSource::HostPath(_) => "task".into(),
            }),
            autoprovision: match volume.source {
                VolumeSource::Shared { autoprovision } => Some(autoprovision),
                VolumeSource::Task | VolumeSource::HostPath(_) => None,
            },
            driver: Some("local".into()),
            driver_opts: None,
            labels: Some(labels.iter().map(|l| (l.name.clone(), l.value.clone())).collect())
                .filter(|map: &BTreeMap<_, _>| !map.is_empty()),
        }),
    }
}
