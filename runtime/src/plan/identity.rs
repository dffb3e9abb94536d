//! Steps of what the process is: kernel parameters around it, limits on it, ids, capabilities.

use std::ffi::CString;

use super::Builder;
use super::step::ChildStep;
use crate::spec::{NamespaceKind, Rlimit};

/// The specification leaves the mask to the runtime when config.json has none; this is runc's.
const UMASK_DEFAULT: u32 = 0o022;

/// Kernel parameters, before /proc/sys becomes read-only.
pub(super) fn kernel_parameters(b: &mut Builder<'_>) {
    if !b.spec.linux.sysctl.is_empty() {
        b.enter_network();
    }
    for (path, value) in &b.spec.linux.sysctl {
        b.child.push(ChildStep::Sysctl { path: path.clone(), value: value.clone() });
    }
}

/// What the runtime needs between its last limits and the exec: descriptors, bytes and seconds, by
/// the kernel's numbers (asm-generic/resource.h): NOFILE, FSIZE, AS, DATA, CPU.
const NEEDED: [(u32, u64); 5] = [(7, 64), (1, 1 << 20), (9, 1 << 28), (2, 1 << 26), (0, 10)];

/// The limits that bind the runtime as well and so come last, and those that it can bear.
pub(super) fn limits(b: &Builder<'_>) -> (Vec<Rlimit>, Vec<Rlimit>) {
    let binds = |limit: &&Rlimit| {
        let needed = NEEDED.iter().find(|(resource, _)| *resource == limit.resource);
        needed.is_some_and(|(_, needed)| limit.soft < *needed)
    };
    b.spec.process.rlimits.iter().partition(binds)
}

/// Everything that the program inherits, from what needs most rights to what needs none.
pub(super) fn all(b: &mut Builder<'_>) {
    let spec = b.spec;
    let process = &spec.process;
    if !b.ask.no_new_keyring {
        let name = CString::new(format!("_ses.{}", b.ask.id)).expect("an id has no NUL bytes");
        b.child.push(ChildStep::NewKeyring { name });
    }
    if let Some(domain) = spec.linux.personality {
        b.child.push(ChildStep::Personality { domain });
    }
    if let Some(scheduler) = process.scheduler {
        b.child.push(ChildStep::Schedule(scheduler));
    }
    if let Some((class, level)) = process.io_priority {
        b.child.push(ChildStep::IoPriority { class, level });
    }
    if let Some((mode, nodes)) = spec.linux.memory_policy.clone() {
        b.child.push(ChildStep::MemoryPolicy { mode, nodes });
    }
    let (_, bearable) = limits(b);
    bearable.iter().for_each(|limit| b.child.push(ChildStep::Limit(*limit)));
    b.child.push(ChildStep::Umask { mask: process.user.umask.unwrap_or(UMASK_DEFAULT) });
    if let Some(label) = process.selinux_label.clone() {
        b.child.push(ChildStep::SelinuxLabel { label });
    }
    if let Some(profile) = process.apparmor_profile.clone() {
        b.child.push(ChildStep::AppArmor { profile });
    }
    let user = &process.user;
    if user.uid != 0 || spec.linux.creates(NamespaceKind::User) {
        b.child.push(ChildStep::OwnStdio { uid: user.uid });
    }
    b.child.push(ChildStep::ChangeDirectory { path: process.cwd.clone() });
    b.child.push(ChildStep::BoundCapabilities { keep: process.capabilities.bounding });
    b.child.push(ChildStep::BecomeUser {
        uid: user.uid,
        gid: user.gid,
        groups: user.additional_gids.clone(),
    });
    let capabilities = b.capabilities();
    let has_late_filter = spec.linux.seccomp.is_some() && !process.no_new_privileges;
    b.child.push(ChildStep::SetCapabilities { capabilities, has_late_filter });
    if process.no_new_privileges {
        b.child.push(ChildStep::NoNewPrivileges);
    }
    if user.uid != 0 {
        b.child.push(ChildStep::ChangeDirectoryAsUser { path: process.cwd.clone() });
    }
    b.child.push(ChildStep::CloseDescriptors);
    b.child.push(ChildStep::FindProgram);
}
