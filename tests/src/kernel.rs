//! What the kernel says about processes, cgroups and mounts, read from outside of containers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Where cgroup hierarchies are mounted.
pub const CGROUPS: &str = "/sys/fs/cgroup";

/// Whether cgroups are unified: version 2 alone.
#[must_use]
pub fn is_unified() -> bool {
    Path::new(CGROUPS).join("cgroup.controllers").exists()
}

/// Which versions of cgroups the machine has.
#[must_use]
pub fn cgroups_kind() -> &'static str {
    if is_unified() {
        return "v2";
    }
    if Path::new(CGROUPS).join("unified").is_dir() { "hybrid" } else { "v1" }
}

/// The folder of the cgroup `path` for `controller`, in whichever version the machine has.
#[must_use]
pub fn cgroup(controller: &str, path: &str) -> PathBuf {
    let path = path.trim_start_matches('/');
    if is_unified() {
        return Path::new(CGROUPS).join(path);
    }
    Path::new(CGROUPS).join(controller).join(path)
}

/// Every folder named `path` in any hierarchy.
#[must_use]
pub fn cgroups_named(path: &str) -> Vec<PathBuf> {
    let path = path.trim_start_matches('/');
    let hierarchies = fs::read_dir(CGROUPS).into_iter().flatten().flatten();
    let folders = hierarchies.map(|entry| entry.path().join(path));
    folders.chain([Path::new(CGROUPS).join(path)]).filter(|folder| folder.is_dir()).collect()
}

/// The first line of a cgroup's file.
///
/// # Errors
/// Where it can't be read.
pub fn read(file: &Path) -> anyhow::Result<String> {
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    Ok(text.trim().to_owned())
}

/// All of a file of the kernel.
///
/// # Errors
/// Where it can't be read.
pub fn read_text(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("read {}", file.display()))
}

/// The value of `key` in a file of `key value` lines.
///
/// # Errors
/// Where the file can't be read or has no such line.
pub fn read_key(file: &Path, key: &str) -> anyhow::Result<u64> {
    let text = read(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    let value = line.with_context(|| format!("{} has no {key}", file.display()))?;
    value.trim().parse().with_context(|| format!("read {key} of {}", file.display()))
}

/// The cgroups of a process by controller; the unified hierarchy is under "".
///
/// # Errors
/// Where the process is gone.
pub fn cgroups_of(pid: u64) -> anyhow::Result<BTreeMap<String, String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))
        .with_context(|| format!("read the cgroups of process {pid}"))?;
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        for controller in controllers.split(',') {
            found.insert(controller.to_owned(), path.to_owned());
        }
    }
    Ok(found)
}

/// Whether a process lives: one that is gone or a zombie does not.
#[must_use]
pub fn lives(pid: u64) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // The name in parentheses may hold anything; the state follows the last one.
    !matches!(stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next()), Some('Z' | 'X'))
}

/// The processes that live, with their command lines.
#[must_use]
pub fn processes() -> BTreeMap<u64, String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok());
    let line = |pid: u64| {
        let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        Some(String::from_utf8_lossy(&bytes).replace('\0', " ").trim().to_owned())
    };
    pids.filter(|pid| lives(*pid)).filter_map(|pid| Some((pid, line(pid)?))).collect()
}

/// The mount points of this process.
#[must_use]
pub fn mounts() -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    text.lines().filter_map(|line| line.split(' ').nth(4)).map(str::to_owned).collect()
}

/// The namespace of `kind` of a process, as the kernel names it.
///
/// # Errors
/// Where the process is gone.
pub fn namespace(pid: u64, kind: &str) -> anyhow::Result<String> {
    let link = format!("/proc/{pid}/ns/{kind}");
    let target = fs::read_link(&link).with_context(|| format!("read {link}"))?;
    Ok(target.to_string_lossy().into_owned())
}

/// Whether this process is root.
#[must_use]
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_one_that_never_was_does_not() {
        assert!(lives(u64::from(std::process::id())));
        assert!(!lives(u64::from(u32::MAX)));
        assert!(processes().contains_key(&u64::from(std::process::id())));
    }
}
