//! Why a set-up failed: the step by its number, the object, the reason, and what can be done.

use std::fmt;

use nix::errno::Errno;

use super::idmap;
use crate::cgroup;
use crate::init::hook::HookFailure;
use crate::init::sync::{Cause, Failure};
use crate::plan::{ChildStep, Plan};

/// A step of the plan failed. All steps before it were undone, but what it names.
#[derive(Debug, thiserror::Error)]
#[error("step {number} ({step}){}{}", Hint(.hint), Left(.left))]
pub struct LaunchError {
    /// The step's number in the printed plan.
    pub number: usize,
    /// The step as it is printed.
    pub step: String,
    /// What an operator can do.
    pub hint: Option<&'static str>,
    /// What could not be undone of the steps before.
    pub left: Vec<String>,
    /// Why.
    #[source]
    pub source: Box<StepError>,
}

struct Hint<'a>(&'a Option<&'static str>);

impl fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |hint| write!(f, " [{hint}]"))
    }
}

struct Left<'a>(&'a [String]);

impl fmt::Display for Left<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|left| write!(f, " [not undone: {left}]"))
    }
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The kernel refused, or what was found is not what it should be.
    #[error(transparent)]
    Cause(#[from] Cause),
    /// The program that would be executed.
    #[error("exec: {0:?}")]
    Exec(String, #[source] Cause),
    /// A step of the child, before it is named.
    #[error("child's step {}", .0.step)]
    Child(Failure),
    /// Not a namespace of the kind that was named.
    #[error("the file is no namespace of this kind")]
    OtherNamespace,
    /// The host would be changed.
    #[error(
        "it is the host's, whose linux.sysctl and linux.netDevices a container must not change"
    )]
    OwnNamespace,
    /// The cgroup.
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
    /// A hook.
    #[error("hook")]
    Hook(#[from] HookFailure),
    /// The listener of the program's filter.
    #[error(transparent)]
    Notify(#[from] super::notify::NotifyError),
    /// A group of resctrl.
    #[error(transparent)]
    Resctrl(#[from] super::resctrl::Error),
    /// The ids.
    #[error(transparent)]
    IdMap(#[from] idmap::Error),
    /// The record.
    #[error(transparent)]
    Record(Box<super::Error>),
    /// The child ended without a word: it was killed, perhaps by the OOM killer.
    #[error("the container's first process was killed")]
    Died,
}

impl From<Errno> for StepError {
    fn from(errno: Errno) -> StepError {
        StepError::Cause(Cause::Kernel(errno))
    }
}

/// The child's error; about a program it is told in the words that engines look for.
pub(super) fn child_error(plan: &Plan, index: usize, cause: Cause) -> StepError {
    let is_about_program =
        matches!(plan.child.get(index), Some(ChildStep::FindProgram | ChildStep::Exec(_)));
    match plan.child.last() {
        Some(ChildStep::Exec(program)) if is_about_program => {
            StepError::Exec(program.args[0].to_string_lossy().into_owned(), cause)
        }
        _ => StepError::Cause(cause),
    }
}

/// The program was found before, and the kernel says that there is no such file.
pub(super) const NO_INTERPRETER: &str = "the program is there: what is missing is its interpreter, \
     which its first line or its ELF header names";

/// The kernel makes no more processes, and says "try again".
pub(super) const NO_PROCESS: &str = "a limit of processes is reached: raise \
     linux.resources.pids.limit or RLIMIT_NPROC; a filter with SCMP_ACT_NOTIFY needs one more than \
     the program does, for a moment";

/// What an operator can do about the errors that the kernel words worst.
pub(super) fn hint(step: &str, error: &StepError) -> Option<&'static str> {
    let word = step.split(' ').next().unwrap_or_default();
    let words = ["clone tree ", "clone mount ", "open tree ", "open mount "];
    let is_namespace = step.contains(" namespace ");
    let is_tree = !is_namespace && words.iter().any(|words| step.starts_with(words));
    if let StepError::Exec(_, Cause::Exec(Errno::ENOENT)) = error {
        return Some(NO_INTERPRETER);
    }
    if let StepError::Exec(_, Cause::Exec(Errno::EAGAIN)) = error {
        return Some(NO_PROCESS);
    }
    let StepError::Cause(Cause::Kernel(errno)) = error else { return None };
    match (word, errno) {
        (_, Errno::ENOENT) if is_tree => Some("the host has no such path"),
        (_, Errno::EMFILE) if is_tree => {
            Some("each bind mount takes a descriptor: raise RLIMIT_NOFILE of the runtime's caller")
        }
        (_, errno) if is_tree && *errno != Errno::ENOSYS => None,
        ("clone", Errno::EPERM) => Some(
            "user namespaces may be forbidden: see sysctl kernel.unprivileged_userns_clone, \
             kernel.apparmor_restrict_unprivileged_userns and user.max_user_namespaces",
        ),
        ("clone" | "enter", Errno::ENOSPC) => {
            Some("a limit in sysctl user.max_*_namespaces is reached")
        }
        ("clone", Errno::EINVAL) => Some("the kernel lacks one of these namespaces"),
        (_, Errno::ENOSYS) => Some("Linux 5.12 or newer is needed"),
        ("move", Errno::EEXIST) => Some("the container's namespace has an interface of this name"),
        ("move", Errno::ENODEV) => Some("the runtime's namespace has no such interface"),
        ("move", Errno::EINVAL) => Some("this interface stays in its namespace"),
        ("mount", Errno::E2BIG) => Some("the kernel takes 4095 bytes of options in all"),
        ("mount", Errno::EINVAL) if !is_of_host(step) => {
            Some("the filesystem does not take one of these options, or its value")
        }
        ("mount", Errno::ENODEV) => Some("the kernel has no such filesystem"),
        ("mount" | "open", Errno::ELOOP) => Some("a symbolic link is in the way"),
        ("mount", Errno::EPERM) => Some(
            "in a user namespace a fresh proc or sysfs needs an unmasked one of the host, and \
             a pid or network namespace of its own",
        ),
        ("limit", Errno::EPERM) => Some("raising a hard limit needs CAP_SYS_RESOURCE"),
        ("open", Errno::ENOENT) if step.contains(" namespace ") => {
            Some("there is no such namespace; the process that it belonged to may have ended")
        }
        ("open" | "take", Errno::ENOENT) => Some("root.path does not exist"),
        ("attach", Errno::EBUSY) => Some(
            "root.path is the root of a mount namespace that others use, where nothing may be \
             mounted",
        ),
        ("attach", Errno::EAGAIN) => Some(
            "somebody holds a lock (flock) on root.path, as does who creates a container there",
        ),
        ("attach", Errno::EINVAL) => Some("root.path may be no directory"),
        _ => None,
    }
}

/// Whether the step mounts what the host has.
fn is_of_host(step: &str) -> bool {
    step.starts_with("mount bind ") || step.starts_with("mount rbind ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_does_not_say_is_said_beside_it() {
        let kernel = |errno| StepError::Cause(Cause::Kernel(errno));
        let says = |step: &str, error: &StepError, expected: &str| {
            let told = hint(step, error).unwrap_or_default();
            assert!(told.contains(expected), "{step}: {told}");
        };
        let options = "one of these options";
        says("mount tmpfs on /dev nosuidd", &kernel(Errno::EINVAL), options);
        says("open mount /a as #1", &kernel(Errno::EMFILE), "RLIMIT_NOFILE");
        says("clone with new namespaces: user", &kernel(Errno::EPERM), "forbidden");
        let of_host = ["mount bind /a from #1 on /b", "mount rbind /a on /b", "open tree /a as #1"];
        for step in of_host {
            assert_eq!(hint(step, &kernel(Errno::EINVAL)), None, "{step}");
        }
    }
}
