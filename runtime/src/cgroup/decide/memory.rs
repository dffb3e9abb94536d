//! `linux.resources.memory`: hard limit, swap, soft limit, swappiness.
//!
//! config.json speaks v1: `swap` is memory *plus* swap. v2 limits swap alone.

use oci_spec::runtime::LinuxMemory;

use super::{Controller, Draft, IfMissing, Version};

const UNLIMITED: i64 = -1;

pub(super) fn decide(draft: &mut Draft<'_>, memory: &LinuxMemory) {
    left_out(draft, memory);
    // 0 is how callers in the field say "unset".
    let limit = memory.limit().filter(|limit| *limit != 0);
    let swap = memory.swap().filter(|swap| *swap != 0);
    let reservation = memory.reservation().filter(|reservation| *reservation != 0);
    if limit.is_some() || swap.is_some() || reservation.is_some() {
        check_usage(draft, memory, limit);
        match draft.version(Controller::Memory, "memory", "memory limit") {
            Some(Version::V1) => limits_v1(draft, limit, swap, reservation),
            Some(Version::V2) => limits_v2(draft, limit, swap, reservation),
            None => {}
        }
    }
    swappiness(draft, memory);
    oom_killer(draft, memory);
}

/// Fields that no kernel honours any more.
fn left_out(draft: &mut Draft<'_>, memory: &LinuxMemory) {
    let why = "kernels since 5.16 have no separate limit for kernel memory; `limit` covers it";
    if memory.kernel().is_some_and(|bytes| bytes != 0) {
        draft.note("memory.kernel", why);
    }
    if memory.kernel_tcp().is_some_and(|bytes| bytes != 0) {
        draft.note("memory.kernelTCP", why);
    }
    if memory.use_hierarchy() == Some(false) {
        draft.note("memory.useHierarchy", "kernels since 5.11 are always hierarchical");
    }
}

/// `checkBeforeUpdate`: a limit below what is in use would make the kernel kill.
fn check_usage(draft: &mut Draft<'_>, memory: &LinuxMemory, limit: Option<i64>) {
    let usage = draft.current.memory_usage_bytes;
    if memory.check_before_update() != Some(true) {
        return;
    }
    if let Some(limit) = limit.filter(|limit| *limit != UNLIMITED && *limit < usage) {
        draft.refuse(
            format!("memory.limit = {limit}"),
            format!("{usage} bytes are in use, and checkBeforeUpdate is set"),
        );
    }
}

fn limits_v1(
    draft: &mut Draft<'_>,
    limit: Option<i64>,
    swap: Option<i64>,
    reservation: Option<i64>,
) {
    // An unlimited limit with an old memory+swap limit would not be unlimited.
    let follows = limit == Some(UNLIMITED) && swap.is_none();
    let swap_file = "memory.memsw.limit_in_bytes";
    let mut writes = Vec::new();
    if let Some(limit) = limit {
        writes.push(("memory.limit_in_bytes", limit, IfMissing::Fail));
    }
    if let Some(swap) = swap {
        writes.push((swap_file, swap, IfMissing::Fail));
    } else if follows {
        writes.push((swap_file, UNLIMITED, IfMissing::Skip));
    }
    // memory+swap may at no instant be below memory: whatever grows beyond the old memory+swap
    // needs that raised first.
    let raises = match (swap.or(follows.then_some(UNLIMITED)), draft.current.memory_limit_bytes) {
        (Some(UNLIMITED), _) => true,
        (Some(swap), Some(old_limit)) => old_limit < swap,
        _ => false,
    };
    if raises {
        writes.reverse();
    }
    for (file, value, if_missing) in writes {
        draft.write_with(Controller::Memory, Version::V1, file, value.to_string(), if_missing);
    }
    if let Some(reservation) = reservation {
        let value = reservation.to_string();
        draft.write(Controller::Memory, Version::V1, "memory.soft_limit_in_bytes", value);
    }
}

fn limits_v2(
    draft: &mut Draft<'_>,
    limit: Option<i64>,
    swap: Option<i64>,
    reservation: Option<i64>,
) {
    if let Some(swap) = swap_alone(draft, limit, swap) {
        // Without the file the kernel does not account for swap, and these two values ask for
        // nothing that it would have to do. A figure in between cannot be had then.
        let if_missing =
            if matches!(swap, 0 | UNLIMITED) { IfMissing::Skip } else { IfMissing::Fail };
        let value = max_or(swap);
        draft.write_with(Controller::Memory, Version::V2, "memory.swap.max", value, if_missing);
    }
    if let Some(limit) = limit {
        draft.write(Controller::Memory, Version::V2, "memory.max", max_or(limit));
    }
    if let Some(reservation) = reservation {
        draft.write(Controller::Memory, Version::V2, "memory.low", max_or(reservation));
    }
}

/// v2's swap limit from v1's memory+swap limit, as runc converts it.
fn swap_alone(draft: &mut Draft<'_>, limit: Option<i64>, swap: Option<i64>) -> Option<i64> {
    let swap = match swap {
        None if limit == Some(UNLIMITED) => return Some(UNLIMITED),
        None => return None,
        Some(UNLIMITED) => return Some(UNLIMITED),
        Some(swap) => swap,
    };
    let Some(limit) = limit.or(draft.current.memory_limit_bytes).filter(|limit| *limit >= 0) else {
        draft.refuse(
            format!("memory.swap = {swap}"),
            "it is memory plus swap, so on cgroup v2 it needs a memory.limit beside it",
        );
        return None;
    };
    if swap < limit {
        draft.refuse(
            format!("memory.swap = {swap}"),
            format!("it is memory plus swap, so it must be at least memory.limit ({limit})"),
        );
        return None;
    }
    Some(swap - limit)
}

fn max_or(bytes: i64) -> String {
    if bytes < 0 { "max".to_owned() } else { bytes.to_string() }
}

fn swappiness(draft: &mut Draft<'_>, memory: &LinuxMemory) {
    // u64::MAX is -1 from callers for whom that is "unset".
    let Some(swappiness) = memory.swappiness().filter(|s| *s != u64::MAX) else { return };
    if swappiness > 100 {
        draft.refuse(format!("memory.swappiness = {swappiness}"), "must be 0 to 100");
        return;
    }
    match draft.version(Controller::Memory, "memory.swappiness", "memory.swappiness") {
        Some(Version::V1) => {
            let value = swappiness.to_string();
            draft.write(Controller::Memory, Version::V1, "memory.swappiness", value);
        }
        Some(Version::V2) => {
            draft.refuse("memory.swappiness", "cgroup v2 has no swappiness; leave it out");
        }
        None => {}
    }
}

fn oom_killer(draft: &mut Draft<'_>, memory: &LinuxMemory) {
    let Some(disable) = memory.disable_oom_killer() else { return };
    if !disable && draft.current.is_new() {
        return;
    }
    let field = "memory.disableOOMKiller";
    match draft.version(Controller::Memory, field, "memory.oom_control") {
        Some(Version::V1) => {
            let value = if disable { "1" } else { "0" };
            draft.write(Controller::Memory, Version::V1, "memory.oom_control", value.to_owned());
        }
        Some(Version::V2) if disable => {
            draft.refuse(field, "cgroup v2 cannot disable the OOM killer; leave it out");
        }
        Some(Version::V2) | None => {}
    }
}
