//! Calls of the OCI runtime that outlived the supervisor that made them.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a killed call may take to vanish.
const END_S_MAX: u64 = 10;

/// Ends every call that is about the container `id`, and waits until none is left.
///
/// # Errors
/// In words, where one stays.
pub(super) fn end(runtime_root: &Path, id: &str) -> Result<(), String> {
    let until = Instant::now() + Duration::from_secs(END_S_MAX);
    loop {
        let calls = find(runtime_root, id);
        if calls.is_empty() {
            return Ok(());
        }
        if until < Instant::now() {
            return Err(format!("calls of the runtime for {id} can't be ended: pids {calls:?}"));
        }
        for pid in calls {
            // Its command line was read a moment ago; no new process gets its pid that soon.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Ends the supervisor of a run, which holds its container's pipes but not its life: the lock on
/// the run's folder is then free, and its watch finds the container without one. Says why, where
/// one stays for all that.
pub(super) fn end_supervisor(program: &Path, run_dir: &Path) -> Option<String> {
    let is_it = |line: &[u8]| {
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        let name = |path: &[u8]| path.rsplit(|byte| *byte == b'/').next().map(<[u8]>::to_vec);
        let ours = name(program.as_os_str().as_encoded_bytes());
        matches!(words[..], [first, dir, ..]
            if dir == run_dir.as_os_str().as_encoded_bytes() && name(first) == ours)
    };
    let until = Instant::now() + Duration::from_secs(END_S_MAX);
    loop {
        let left = processes(is_it);
        let first = *left.first()?;
        if until < Instant::now() {
            return Some(stuck(first));
        }
        for pid in left {
            // Its command line was read a moment ago; no new process gets its pid that soon.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What keeps a process that was killed, in words.
fn stuck(pid: i32) -> String {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}"));
    let stat = read("stat").unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).unwrap_or('?');
    let place = read("wchan").unwrap_or_default();
    let place = if place.is_empty() || place == "0" { "unknown" } else { place.trim() };
    format!(
        "its supervisor, pid {pid}, does not end though it was killed: the kernel holds it in \
         state {state} at {place}; look at the disk of its log and at frozen cgroups"
    )
}

/// A zombie has no command line, and so is none.
fn find(runtime_root: &Path, id: &str) -> Vec<i32> {
    processes(|line| {
        let root = runtime_root.as_os_str().as_encoded_bytes();
        let mut words = line.split(|byte| *byte == 0);
        words.by_ref().any(|word| word == root) && words.any(|word| word == id.as_bytes())
    })
}

/// The pids of all processes with such a command line.
fn processes(is_it: impl Fn(&[u8]) -> bool) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            is_it(&line).then_some(pid)
        })
        .collect()
}
