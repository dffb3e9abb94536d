//! Places at which a test can kill the agent or a supervisor: `LOADLINE_FAILPOINT=NAME` makes it
//! die by SIGKILL when it comes to the place of that name; a supervisor inherits the variable.
//! `second:NAME` makes it die when it comes there again, as with the second container of a task.
//! `hang:NAME` makes the thread that comes there sleep, as one does on a dead disk, and
//! `panic:NAME` makes it panic. Debug builds only; a release build has none of it.

/// Every place in the agent, so that a test can sweep them all.
pub const ALL: [&str; 15] = [
    "task-accepted",
    "task-admitted",
    "prepared",
    "run-recorded",
    "settings-written",
    "supervisor-spawned",
    "created-seen",
    "start-sent",
    "running-recorded",
    "checked",
    "health-recorded",
    "restart-recorded",
    "end-recorded",
    "cleaned-up",
    "stopped-recorded",
];

/// Every place in the agent that only a task with a place in the node's network comes to.
pub const NETWORK: [&str; 4] =
    ["network-linked", "network-pinned", "network-published", "network-unpinned"];

/// Every place in a supervisor.
pub const SUPERVISOR: [&str; 8] = [
    "locked",
    "creating-written",
    "create-called",
    "created-written",
    "start-called",
    "running-written",
    "exit-seen",
    "exit-written",
];

/// Every place in the agent that only a program in a container comes to.
pub const EXEC: [&str; 2] = ["exec-called", "exec-begun"];

/// Every place in a supervisor that becomes another program.
pub const UPGRADE: [&str; 2] = ["handed-over", "resumed"];

/// Dies here if that is what the test asked for.
#[cfg(debug_assertions)]
pub fn hit(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static SEEN: AtomicU32 = AtomicU32::new(0);
    static WANTED: OnceLock<Option<String>> = OnceLock::new();
    let is_known = [&ALL[..], &NETWORK, &SUPERVISOR, &UPGRADE, &EXEC].concat().contains(&name);
    debug_assert!(is_known, "{name} is missing in the lists");
    let wanted = WANTED.get_or_init(|| std::env::var("LOADLINE_FAILPOINT").ok());
    let Some(wanted) = wanted.as_deref() else { return };
    match wanted.split_once(':').unwrap_or(("kill", wanted)) {
        (_, place) if place != name => {}
        ("hang", _) => std::thread::sleep(std::time::Duration::from_secs(3_600)),
        ("second", _) if SEEN.fetch_add(1, Ordering::Relaxed) != 1 => {}
        ("panic", _) => panic!("the failpoint {name}"),
        _ => {
            let pid = nix::unistd::getpid();
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
    }
}

/// Nothing.
#[cfg(not(debug_assertions))]
pub const fn hit(_name: &str) {}
