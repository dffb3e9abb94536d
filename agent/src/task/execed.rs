//! Processes that the OCI runtime's `exec` put into a container, by their pid files.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpgid};

/// From SIGHUP to SIGKILL.
pub(crate) const HANG_UP_S: u64 = 3;
/// What a clock may be off, and a file system's times be coarse.
const SLACK: Duration = Duration::from_secs(1);
/// The kernel's ticks a second, for programs.
const TICKS: f64 = 100.0;

/// The name of the pid file of one of them, in its run's folder.
pub(crate) fn pid_file(exec_id: &str) -> String {
    format!("exec-{exec_id}.pid")
}

/// The pid in a file that the runtime wrote.
pub(crate) fn read_pid(pid_file: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(pid_file).ok()?;
    text.trim().parse().ok().filter(|pid| 1 < *pid).map(Pid::from_raw)
}

/// A runtime makes the process the leader of a session; one that does not must not cost us more
/// than the process.
pub(crate) fn end(pid: Pid) {
    let leads = getpgid(Some(pid)) == Ok(pid);
    let _ = if leads { killpg(pid, Signal::SIGKILL) } else { kill(pid, Signal::SIGKILL) };
}

/// The pid files in a run's folder. An agent that runs has its own there; one that has just begun
/// has none.
pub(super) fn left_behind(run_dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(run_dir).into_iter().flatten().flatten();
    let is_one = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("exec-") && name.ends_with(".pid")
    };
    entries.map(|entry| entry.path()).filter(is_one).collect()
}

/// Ends what these files name, where it is one of the container's `processes`, and removes them.
pub(super) fn end_all(pid_files: Vec<PathBuf>, processes: &[i32]) {
    for file in pid_files {
        if let Some(pid) = read_pid(&file).filter(|pid| processes.contains(&pid.as_raw()))
            && began_before(pid, &file)
        {
            end(pid);
        }
        // Where it stays it goes with the run.
        let _ = std::fs::remove_file(&file);
    }
}

/// Whether a process is older than a file about it: otherwise its number is another's by now.
fn began_before(pid: Pid, file: &Path) -> bool {
    let age_of = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // proc_pid_stat(5): field 22, counted from the state, which is field 3.
        let (_, rest) = stat.rsplit_once(") ")?;
        let began: f64 = rest.split_ascii_whitespace().nth(19)?.parse().ok()?;
        let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
        let uptime: f64 = uptime.split(' ').next()?.parse().ok()?;
        Duration::try_from_secs_f64((uptime - began / TICKS).max(0.0)).ok()
    };
    let written = std::fs::metadata(file).and_then(|metadata| metadata.modified());
    let age_of_file = written.ok().and_then(|at| SystemTime::now().duration_since(at).ok());
    age_of().is_some_and(|age| age_of_file.unwrap_or_default() <= age + SLACK)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn only_a_process_of_the_container_that_is_older_than_its_file_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(pid_file("one"));
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        std::fs::write(folder.path().join("check.pid"), "1").unwrap();
        // Of another container.
        std::fs::write(&file, pid.to_string()).unwrap();
        let left = left_behind(folder.path());
        assert_eq!(left, std::slice::from_ref(&file));
        end_all(left, &[pid + 1]);
        assert!(!file.exists());
        // Written long before it began: another process had the number then.
        std::fs::write(&file, pid.to_string()).unwrap();
        let long_ago = SystemTime::now() - Duration::from_secs(3_600);
        std::fs::File::options().append(true).open(&file).unwrap().set_modified(long_ago).unwrap();
        end_all(vec![file.clone()], &[pid]);
        assert!(child.try_wait().unwrap().is_none(), "it lives");
        std::fs::write(&file, pid.to_string()).unwrap();
        end_all(vec![file], &[pid]);
        assert!(!child.wait().unwrap().success());
    }
}
