//! What may have killed a process that never became its program.

use nix::sys::signal::Signal;
use serde_json::Value;

use super::Error;
use super::record::Record;
use crate::cgroup::Group;
use crate::plan::{ChildStep, ParentStep, Plan};

/// What of a container may kill.
#[derive(Clone, Copy, Debug)]
struct Dangers {
    has_limit: bool,
    has_profile: bool,
    /// Whether the OOM killer has killed in its cgroup.
    has_oom: bool,
}

/// The error with what is likely to be behind it, as far as the container's record and its cgroup
/// tell.
pub fn explained(error: Error, record: Option<&Record>) -> Error {
    let (&Error::KilledBeforeExec { signal }, Some(record)) = (&error, record) else {
        return error;
    };
    match likely(signal, dangers(record)) {
        Some(why) => Error::Likely { error: Box::new(error), why },
        None => error,
    }
}

fn dangers(record: &Record) -> Dangers {
    let config: Value = serde_json::from_str(&record.config).unwrap_or_default();
    let limit = config.pointer("/linux/resources/memory/limit").and_then(Value::as_i64);
    let group = record.cgroup.as_ref().and_then(|location| Group::open(location).ok().flatten());
    Dangers {
        has_limit: limit.is_some_and(|limit| limit > 0),
        has_profile: config.pointer("/linux/seccomp").is_some_and(Value::is_object),
        has_oom: group.and_then(|group| group.oom_kills().ok()).is_some_and(|kills| kills > 0),
    }
}

fn likely(signal: Signal, dangers: Dangers) -> Option<&'static str> {
    match signal {
        Signal::SIGKILL if dangers.has_limit => Some("is linux.resources.memory.limit too small?"),
        Signal::SIGKILL if dangers.has_oom => {
            Some("the OOM killer has killed in its cgroup: is a limit of a group above too small?")
        }
        // A call that is refused leaves a process nothing to do but to end by an instruction.
        Signal::SIGSYS | Signal::SIGILL if dangers.has_profile => {
            Some("does linux.seccomp allow what a start needs, execve among it?")
        }
        _ => None,
    }
}

/// The same of a process whose end says no signal, by its plan.
pub(super) fn hint(plan: &Plan) -> &'static str {
    let has_filter = match plan.child.last() {
        Some(ChildStep::Exec(program)) => program.filter.is_some(),
        _ => false,
    };
    let joins = plan.parent.iter().any(|step| matches!(step, ParentStep::OpenContainer { .. }));
    let has_limit = plan.cgroup.as_ref().is_some_and(|cgroup| cgroup.decision.limits_memory());
    match (has_filter, joins || has_limit) {
        (true, _) => {
            "by linux.seccomp, where it does not allow what a start needs, execve among it; by the \
             OOM killer, where a limit of memory is too small; or somebody sent SIGKILL"
        }
        (false, true) => {
            "by the OOM killer, where linux.resources.memory.limit is too small even for that; or \
             somebody sent SIGKILL"
        }
        (false, false) => {
            "somebody sent SIGKILL; or the OOM killer did, where a group above has a memory limit"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_there_may_have_killed() {
        let none = Dangers { has_limit: false, has_profile: false, has_oom: false };
        let told = |signal, dangers| likely(signal, dangers).unwrap_or_default();
        for signal in [Signal::SIGKILL, Signal::SIGSYS, Signal::SIGILL, Signal::SIGTERM] {
            assert_eq!(told(signal, none), "");
        }
        let limit = Dangers { has_limit: true, ..none };
        assert!(told(Signal::SIGKILL, limit).contains("memory.limit"));
        let above = Dangers { has_oom: true, ..none };
        assert!(told(Signal::SIGKILL, above).contains("a group above"));
        let profile = Dangers { has_profile: true, ..none };
        assert!(told(Signal::SIGILL, profile).contains("linux.seccomp"));
        assert_eq!(told(Signal::SIGKILL, profile), "");
    }
}
