//! The process that `exec` runs: from a file, or the container's own, changed.

use std::path::PathBuf;

use oci_spec::runtime as oci;

use super::Error;
use crate::strict_json::from_object;

/// Where the process comes from.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// A file with a process of config.json's form.
    File(PathBuf),
    /// The container's own process, changed.
    Changed(Box<Change>),
}

/// Changes to the container's process.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// Another working directory.
    pub cwd: Option<PathBuf>,
    /// More environment, which wins.
    pub env: Vec<String>,
    /// Whether it gets a terminal.
    pub terminal: bool,
    /// Another user, and perhaps group.
    pub user: Option<(u32, Option<u32>)>,
    /// More groups.
    pub additional_gids: Vec<u32>,
    /// More capabilities, such as `CAP_SYS_ADMIN`.
    pub capabilities: Vec<oci::Capability>,
    /// The names that were given for such and are none.
    pub unknown_capabilities: Vec<String>,
    /// Another value of no_new_privs.
    pub no_new_privileges: Option<bool>,
    /// Another AppArmor profile.
    pub apparmor: Option<String>,
    /// Another SELinux label.
    pub label: Option<String>,
}

impl Wanted {
    /// Whether it says which capabilities it wants.
    pub(super) fn asks_for_capabilities(&self) -> bool {
        match self {
            Wanted::File(_) => true,
            Wanted::Changed(change) => !change.capabilities.is_empty(),
        }
    }
}

/// The process, and the names in it that are no capability.
pub(super) struct Decided {
    pub(super) process: oci::Process,
    pub(super) unknown: Vec<String>,
}

pub(super) fn process(config: &oci::Spec, wanted: &Wanted) -> Result<Decided, Error> {
    match wanted {
        Wanted::File(path) => {
            let text = crate::bundle::read(path)?;
            let (_, process, unknown) =
                crate::bundle::decode_known(text, |it| Some(it), from_object)
                    .map_err(|source| Error::ProcessFile { path: path.clone(), source })?;
            let process = match config.process() {
                Some(base) => confined(process, base),
                None => process,
            };
            Ok(Decided { process, unknown })
        }
        Wanted::Changed(change) => {
            let base = config.process().clone().unwrap_or_default();
            let unknown = change.unknown_capabilities.clone();
            Ok(Decided { process: changed(base, change), unknown })
        }
    }
}

/// As runc does it: a process that says nothing of its confinement gets the container's.
fn confined(mut process: oci::Process, base: &oci::Process) -> oci::Process {
    let is_unset = |value: &Option<String>| value.as_ref().is_none_or(String::is_empty);
    if is_unset(process.apparmor_profile()) {
        process.set_apparmor_profile(base.apparmor_profile().clone());
    }
    if is_unset(process.selinux_label()) {
        process.set_selinux_label(base.selinux_label().clone());
    }
    if process.capabilities().is_none() {
        process.set_capabilities(base.capabilities().clone());
    }
    process
}

fn changed(mut process: oci::Process, change: &Change) -> oci::Process {
    process.set_args(Some(change.args.clone()));
    process.set_terminal(Some(change.terminal));
    process.set_console_size(None);
    if let Some(cwd) = &change.cwd {
        process.set_cwd(cwd.clone());
    }
    if !change.env.is_empty() {
        let mut env = process.env().clone().unwrap_or_default();
        env.extend(change.env.iter().cloned());
        process.set_env(Some(env));
    }
    if let Some(value) = change.no_new_privileges {
        process.set_no_new_privileges(Some(value));
    }
    if change.apparmor.is_some() {
        process.set_apparmor_profile(change.apparmor.clone());
    }
    if change.label.is_some() {
        process.set_selinux_label(change.label.clone());
    }
    let user = changed_user(process.user().clone(), change);
    process.set_user(user);
    if !change.capabilities.is_empty() {
        let capabilities = process.capabilities().clone().unwrap_or_else(no_capabilities);
        process.set_capabilities(Some(with_capabilities(capabilities, &change.capabilities)));
    }
    process
}

fn changed_user(mut user: oci::User, change: &Change) -> oci::User {
    if let Some((uid, gid)) = change.user {
        user.set_uid(uid);
        if let Some(gid) = gid {
            user.set_gid(gid);
        }
    }
    if !change.additional_gids.is_empty() {
        let mut gids = user.additional_gids().clone().unwrap_or_default();
        gids.extend(&change.additional_gids);
        user.set_additional_gids(Some(gids));
    }
    user
}

fn no_capabilities() -> oci::LinuxCapabilities {
    let mut none = oci::LinuxCapabilities::default();
    none.set_bounding(None).set_effective(None).set_permitted(None);
    none.set_inheritable(None).set_ambient(None);
    none
}

/// As runc does it: the ambient set grows only if the container has an inheritable set, because
/// without that the kernel refuses it; the inheritable set never grows.
fn with_capabilities(
    mut capabilities: oci::LinuxCapabilities,
    more: &[oci::Capability],
) -> oci::LinuxCapabilities {
    let grown = |set: &Option<oci::Capabilities>| {
        let mut set = set.clone().unwrap_or_default();
        set.extend(more.iter().copied());
        Some(set)
    };
    let bounding = grown(capabilities.bounding());
    let effective = grown(capabilities.effective());
    let permitted = grown(capabilities.permitted());
    capabilities.set_bounding(bounding).set_effective(effective).set_permitted(permitted);
    if capabilities.inheritable().as_ref().is_some_and(|set| !set.is_empty()) {
        let ambient = grown(capabilities.ambient());
        capabilities.set_ambient(ambient);
    }
    capabilities
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_process_keeps_what_was_not_changed() {
        let base = oci::Process::default();
        let change = Change {
            args: vec!["id".into()],
            env: vec!["A=b".into()],
            user: Some((7, None)),
            additional_gids: vec![9],
            ..Change::default()
        };
        let process = changed(base.clone(), &change);
        assert_eq!(process.cwd(), base.cwd());
        assert_eq!(process.args().as_deref(), Some(["id".to_owned()].as_slice()));
        assert_eq!(process.env().as_ref().unwrap().last().unwrap(), "A=b");
        assert_eq!((process.user().uid(), process.user().gid()), (7, base.user().gid()));
        assert_eq!(process.capabilities(), base.capabilities());
        assert_eq!(process.terminal(), Some(false));
    }

    #[test]
    fn a_process_from_a_file_is_confined_as_the_container_is() {
        let mut base = oci::Process::default();
        base.set_apparmor_profile(Some("engine-default".to_owned()));
        let own = |profile: Option<&str>| {
            let mut process = oci::Process::default();
            process.set_apparmor_profile(profile.map(str::to_owned));
            confined(process, &base).apparmor_profile().clone().unwrap()
        };
        assert_eq!(own(None), "engine-default");
        assert_eq!(own(Some("")), "engine-default");
        assert_eq!(own(Some("unconfined")), "unconfined");
        let bare = r#"{ "user": { "uid": 0, "gid": 0 }, "cwd": "/", "args": ["true"] }"#;
        let bare = confined(serde_json::from_str(bare).unwrap(), &base);
        assert_eq!(bare.capabilities(), base.capabilities());
        let mut dropped = bare.clone();
        dropped.set_capabilities(Some(no_capabilities()));
        assert_eq!(confined(dropped, &base).capabilities(), &Some(no_capabilities()));
    }

    #[test]
    fn an_added_capability_is_never_inheritable() {
        let more = [oci::Capability::SysAdmin];
        let grown = with_capabilities(no_capabilities(), &more);
        for set in [grown.bounding(), grown.effective(), grown.permitted()] {
            assert!(set.as_ref().unwrap().contains(&oci::Capability::SysAdmin));
        }
        assert_eq!((grown.inheritable(), grown.ambient()), (&None, &None));
    }
}
