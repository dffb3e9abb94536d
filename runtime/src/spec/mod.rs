//! The validated configuration: what cannot be expressed here cannot be run.
//!
//! `oci_spec::runtime::Spec` mirrors config.json without judgement. [`Spec::validate`] turns it
//! into [`Spec`] or returns every violation at once, each with the name of its field. A known
//! field that this runtime does not honour is a violation; unknown properties were dropped by the
//! decoder, as the specification demands.

mod capability;
mod hook;
mod kernel;
mod linux;
mod mount;
mod net_device;
mod option;
mod process;
mod rdt;
pub mod table;
mod violation;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime as oci;

pub use capability::{CapMask, Capabilities, NAMES as CAPABILITY_NAMES, take_unknown};
pub use hook::{Hook, HookKind, Hooks};
pub use linux::{Device, DeviceKind, IdMap, Linux, Namespace, NamespaceKind, Propagation};
pub use mount::{IdMapping, Mount, MountKind, PARAMETER_BYTES_MAX, Tmpcopyup};
pub use net_device::NetDevice;
pub use option::{MountOptions, OptionText, known_words};
pub use process::{ExecAffinity, Process, Rlimit, Scheduler, User, complete_user, respell_flags};
pub use rdt::{DEFAULT_CLASS, IntelRdt};
pub use violation::{Invalid, Violation, Violations};

/// The version of the runtime specification that is implemented.
pub const OCI_VERSION: &str = "1.3.0";

/// A configuration that can be planned.
#[derive(Clone, Debug)]
pub struct Spec {
    /// `ociVersion` as the bundle gave it.
    pub oci_version: String,
    /// The root filesystem's path: absolute, or relative to the bundle.
    pub rootfs: PathBuf,
    /// Whether the root filesystem's mount is read-only.
    pub rootfs_readonly: bool,
    /// The mounts, in their order.
    pub mounts: Vec<Mount>,
    /// The container's process.
    pub process: Process,
    /// The host's name in a new UTS namespace.
    pub hostname: Option<CString>,
    /// The NIS domain's name in a new UTS namespace.
    pub domainname: Option<CString>,
    /// The hooks, by kind.
    pub hooks: Hooks,
    /// Annotations, in the order of their keys.
    pub annotations: BTreeMap<String, String>,
    /// The Linux part.
    pub linux: Linux,
}

impl Spec {
    /// Validates what was decoded.
    ///
    /// # Errors
    /// All violations, in the order of config.json.
    pub fn validate(oci: &oci::Spec) -> Result<Spec, Invalid> {
        let mut found = Violations::default();
        let spec = Spec::collect(oci, &mut found);
        match (spec, found.into_error()) {
            (Some(spec), None) => Ok(spec),
            (_, Some(invalid)) => Err(invalid),
            (None, None) => unreachable!("a part is missing only together with a violation"),
        }
    }

    /// Whether the container has mounts: in a namespace of its own, or where it asks for any.
    pub fn has_mounts(&self) -> bool {
        let linux = &self.linux;
        linux.creates(NamespaceKind::Mount)
            || self.rootfs_readonly
            || !self.mounts.is_empty()
            || !linux.masked_paths.is_empty()
            || !linux.readonly_paths.is_empty()
            || !linux.devices.is_empty()
    }

    /// The same container with another process, for `exec`.
    ///
    /// # Errors
    /// All violations of the process.
    pub fn with_process(mut self, oci: &oci::Process) -> Result<Spec, Invalid> {
        let mut found = Violations::default();
        let process = process::validate(Some(oci), &self.linux, &mut found);
        match (process, found.into_error()) {
            (Some(process), None) => {
                self.process = process;
                Ok(self)
            }
            (_, Some(invalid)) => Err(invalid),
            (None, None) => unreachable!("a process is missing only together with a violation"),
        }
    }

    fn collect(oci: &oci::Spec, found: &mut Violations) -> Option<Spec> {
        check_version(oci.version(), found);
        refuse_other_platforms(oci, found);
        let root = oci.root().as_ref();
        let rootfs = root.map(|root| root.path().clone());
        match &rootfs {
            None => found.add("root", "is required"),
            Some(path) if path.as_os_str().is_empty() => found.add("root.path", "is empty"),
            Some(path) => drop(c_path("root.path", path, found)),
        }
        let linux = linux::validate(oci.linux().as_ref(), found);
        let readonly = root.and_then(oci::Root::readonly).unwrap_or(false);
        if readonly && !linux.can_mount() {
            found.add("root.readonly", NEEDS_MOUNTS);
        }
        let mounts = oci.mounts().iter().flatten().enumerate();
        let mounts = mounts.filter_map(|(i, m)| mount::validate(i, m, &linux, found)).collect();
        let process = process::validate(oci.process().as_ref(), &linux, found);
        let uts = linux.namespaces.iter().any(|n| n.kind == NamespaceKind::Uts);
        let hostname = name("hostname", oci.hostname().as_deref(), uts, found);
        let domainname = name("domainname", oci.domainname().as_deref(), uts, found);
        let hooks = hook::validate(oci.hooks().as_ref(), found);
        let annotations = oci.annotations().iter().flatten();
        Some(Spec {
            oci_version: oci.version().clone(),
            rootfs: rootfs?,
            rootfs_readonly: readonly,
            mounts,
            process: process?,
            hostname,
            domainname,
            hooks,
            annotations: annotations.map(|(k, v)| (k.clone(), v.clone())).collect(),
            linux,
        })
    }
}

/// What is wrong with a field that cannot be had without mounts.
const NEEDS_MOUNTS: &str = "needs a new mount namespace in linux.namespaces";

/// A path inside the container, cleaned of `.` and `..`, relative to the container's root.
///
/// `..` at the root stays at the root, as in the kernel. Links are not looked at: whoever opens
/// the path does so below the root's descriptor.
pub fn inside(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

fn check_version(version: &str, found: &mut Violations) {
    let mut parts = version.split(['-', '+']).next().unwrap_or_default().split('.');
    let major = parts.next().and_then(|part| part.parse::<u32>().ok());
    let rest: Vec<_> = parts.map(str::parse::<u32>).collect();
    if major != Some(1) || rest.len() != 2 || rest.iter().any(Result::is_err) {
        found.add("ociVersion", format!("is {version:?}: expected a version 1.x.y"));
    }
}

fn refuse_other_platforms(oci: &oci::Spec, found: &mut Violations) {
    found.refuse("solaris", oci.solaris().is_some());
    found.refuse("windows", oci.windows().is_some());
    found.refuse("vm", oci.vm().is_some());
    found.refuse("zos", oci.zos().is_some());
}

fn name(field: &str, value: Option<&str>, uts: bool, found: &mut Violations) -> Option<CString> {
    let value = value.filter(|value| !value.is_empty())?;
    if !uts {
        found.add(field, "needs a uts namespace in linux.namespaces");
    }
    c_string(field, value.as_bytes(), found)
}

/// A string for the kernel; a NUL inside is a violation of `field`.
fn c_string(field: &str, value: &[u8], found: &mut Violations) -> Option<CString> {
    let value = CString::new(value);
    if value.is_err() {
        found.add(field, "contains a NUL byte");
    }
    value.ok()
}

fn c_path(field: &str, path: &Path, found: &mut Violations) -> Option<CString> {
    c_string(field, path.as_os_str().as_bytes(), found)
}
