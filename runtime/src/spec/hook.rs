//! Hooks: programs that run at named points of a container's life.

use std::ffi::CString;
use std::fmt;
use std::path::PathBuf;

use oci_spec::runtime as oci;

use super::{Violations, c_path, c_string};

/// The six points, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookKind {
    /// In the runtime's namespaces, before pivot_root (deprecated; same point as `CreateRuntime`).
    Prestart,
    /// In the runtime's namespaces, before pivot_root.
    CreateRuntime,
    /// In the container's namespaces, before pivot_root: the path is the host's.
    CreateContainer,
    /// In the container, before its program: the path is the container's.
    StartContainer,
    /// In the runtime's namespaces, after the program has started.
    Poststart,
    /// In the runtime's namespaces, after the container is gone.
    Poststop,
}

impl fmt::Display for HookKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HookKind::Prestart => "prestart",
            HookKind::CreateRuntime => "createRuntime",
            HookKind::CreateContainer => "createContainer",
            HookKind::StartContainer => "startContainer",
            HookKind::Poststart => "poststart",
            HookKind::Poststop => "poststop",
        })
    }
}

/// One program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Absolute path.
    pub path: PathBuf,
    /// Its arguments, the name included; empty means the path alone.
    pub args: Vec<CString>,
    /// Its whole environment. `None` where config.json says nothing of it: as with other runtimes a
    /// hook has the runtime's then, and one in the container that of the container's program.
    pub env: Option<Vec<CString>>,
    /// After how many seconds it is killed and counts as failed.
    pub timeout_s: Option<u32>,
}

/// All hooks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// See [`HookKind::Prestart`].
    pub prestart: Vec<Hook>,
    /// See [`HookKind::CreateRuntime`].
    pub create_runtime: Vec<Hook>,
    /// See [`HookKind::CreateContainer`].
    pub create_container: Vec<Hook>,
    /// See [`HookKind::StartContainer`].
    pub start_container: Vec<Hook>,
    /// See [`HookKind::Poststart`].
    pub poststart: Vec<Hook>,
    /// See [`HookKind::Poststop`].
    pub poststop: Vec<Hook>,
}

impl Hooks {
    /// The hooks of a configuration that was validated before.
    pub fn recorded(oci: Option<&oci::Hooks>) -> Hooks {
        validate(oci, &mut Violations::default())
    }

    /// The hooks of one point.
    pub fn of(&self, kind: HookKind) -> &[Hook] {
        match kind {
            HookKind::Prestart => &self.prestart,
            HookKind::CreateRuntime => &self.create_runtime,
            HookKind::CreateContainer => &self.create_container,
            HookKind::StartContainer => &self.start_container,
            HookKind::Poststart => &self.poststart,
            HookKind::Poststop => &self.poststop,
        }
    }
}

/// Validates all hooks.
pub(super) fn validate(oci: Option<&oci::Hooks>, found: &mut Violations) -> Hooks {
    let Some(oci) = oci else { return Hooks::default() };
    let mut list = |kind, list: &Option<Vec<oci::Hook>>| {
        let numbered = list.iter().flatten().enumerate();
        numbered.filter_map(|(i, hook)| one(kind, i, hook, found)).collect()
    };
    Hooks {
        prestart: list(HookKind::Prestart, oci.prestart()),
        create_runtime: list(HookKind::CreateRuntime, oci.create_runtime()),
        create_container: list(HookKind::CreateContainer, oci.create_container()),
        start_container: list(HookKind::StartContainer, oci.start_container()),
        poststart: list(HookKind::Poststart, oci.poststart()),
        poststop: list(HookKind::Poststop, oci.poststop()),
    }
}

fn one(kind: HookKind, index: usize, oci: &oci::Hook, found: &mut Violations) -> Option<Hook> {
    let field = format!("hooks.{kind}[{index}]");
    if !oci.path().is_absolute() {
        found.add(format!("{field}.path"), format!("is not absolute: {:?}", oci.path()));
        return None;
    }
    c_path(&format!("{field}.path"), oci.path(), found)?;
    let timeout_s = match oci.timeout() {
        None => None,
        Some(seconds) => {
            let seconds = u32::try_from(seconds).ok().filter(|s| *s > 0);
            if seconds.is_none() {
                found.add(format!("{field}.timeout"), "must be greater than zero");
            }
            seconds
        }
    };
    let mut strings = |name: &str, list: &Option<Vec<String>>| -> Vec<CString> {
        let name = format!("{field}.{name}");
        list.iter().flatten().filter_map(|s| c_string(&name, s.as_bytes(), found)).collect()
    };
    Some(Hook {
        path: oci.path().clone(),
        args: strings("args", oci.args()),
        env: oci.env().is_some().then(|| strings("env", oci.env())),
        timeout_s,
    })
}
