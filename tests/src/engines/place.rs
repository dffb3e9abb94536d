//! Where the engines live: a mount and a network namespace that only this suite has, and one
//! folder in memory. Mounts, bridges and firewall rules of the engines end with it, whatever
//! happens; processes come to the suite when their parents end, and are killed with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::Context as _;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::kernel;
use crate::program;

/// Rounds of killing what is left: each may hand us the children of what it killed.
const ROUNDS_MAX: usize = 100;

/// Folders in which engines keep things whatever they are told: the shims' sockets, the networks'
/// names. Inside of the suite they are empty and its own.
const OWN_FOLDERS: &[&str] =
    &["/run/containerd", "/run/docker", "/run/netns", "/run/libpod", "/run/containers"];

/// Files that name users; the suite adds some, and nobody else sees them.
const USER_FILES: &[&str] = &["/etc/passwd", "/etc/group", "/etc/subuid", "/etc/subgid"];

/// The namespaces and the folder of one run.
#[derive(Debug)]
pub struct Place {
    /// In memory: any storage driver works on it.
    pub folder: PathBuf,
    /// The cgroup of everything, from the root of each hierarchy.
    pub cgroup: String,
    users: Mutex<()>,
}

impl Place {
    /// Enters namespaces of its own, with this process and all that it starts.
    ///
    /// # Errors
    /// Without root, or with a thread running.
    pub fn enter() -> anyhow::Result<Self> {
        nix::sys::prctl::set_child_subreaper(true).context("become a subreaper")?;
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).context("make namespaces")?;
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
            .context("make all mounts private")?;
        let folder = tempfile::Builder::new().prefix("ll-").tempdir().context("make a folder")?;
        let folder = folder.keep();
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        memory(&folder)?;
        for own in OWN_FOLDERS {
            fs::create_dir_all(own).with_context(|| format!("make {own}"))?;
            memory(Path::new(own))?;
        }
        for file in USER_FILES {
            cover(&folder, Path::new(file))?;
        }
        let mut up = Command::new("ip");
        program::run(&folder, up.args(["link", "set", "lo", "up"]))?.succeeded()?;
        let cgroup = format!("/loadline-{name}");
        Ok(Self { folder, cgroup, users: Mutex::new(()) })
    }

    /// A new folder below [`Place::folder`].
    ///
    /// # Errors
    /// Where it can't be made.
    pub fn make(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder.join(name);
        fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(path)
    }

    /// Adds a user with 65,536 subordinate ids, in files that only the suite sees.
    ///
    /// # Errors
    /// Where a file can't be written.
    pub fn add_user(&self, name: &str, id: u32, first: u32) -> anyhow::Result<()> {
        let _alone = self.users.lock();
        let home = self.folder.display();
        let subordinate = format!("{name}:{first}:65536\n");
        let lines = [
            ("passwd", format!("{name}:x:{id}:{id}::{home}:/bin/sh\n")),
            ("group", format!("{name}:x:{id}:\n")),
            ("subuid", subordinate.clone()),
            ("subgid", subordinate),
        ];
        for (file, line) in lines {
            let path = Path::new("/etc").join(file);
            let old = fs::read_to_string(&path).context("read the users")?;
            fs::write(&path, old + &line).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }

    /// Ends every process and removes every cgroup that is left; says which processes they were.
    #[must_use]
    pub fn leave(self) -> Vec<String> {
        let mut left = Vec::new();
        for _ in 0..ROUNDS_MAX {
            let children = children();
            if children.is_empty() {
                break;
            }
            let lines = kernel::processes();
            for pid in children {
                left.extend(u64::try_from(pid).ok().and_then(|pid| lines.get(&pid).cloned()));
                let pid = Pid::from_raw(pid);
                // One that ended just now is reaped all the same.
                let _ = kill(pid, Signal::SIGKILL);
                let _ = waitpid(pid, None);
            }
        }
        for folder in kernel::cgroups_named(&self.cgroup) {
            remove_cgroups(&folder);
        }
        let _ = nix::mount::umount2(&self.folder, nix::mount::MntFlags::MNT_DETACH);
        // Empty now, or not ours to remove.
        drop(fs::remove_dir(&self.folder));
        left
    }
}

/// Puts a copy that the suite may write over a file of the machine.
fn cover(folder: &Path, file: &Path) -> anyhow::Result<()> {
    if !file.exists() {
        fs::write(file, "").with_context(|| format!("make {}", file.display()))?;
    }
    let copy = folder.join(file.file_name().unwrap_or_default());
    fs::copy(file, &copy).with_context(|| format!("copy {}", file.display()))?;
    let none: Option<&str> = None;
    mount(Some(&copy), file, none, MsFlags::MS_BIND, none)
        .with_context(|| format!("cover {}", file.display()))
}

/// An empty file system in memory, on `path`.
fn memory(path: &Path) -> anyhow::Result<()> {
    let kind = Some("tmpfs");
    mount(kind, path, kind, MsFlags::empty(), Some("mode=755"))
        .with_context(|| format!("mount a tmpfs on {}", path.display()))
}

/// Children of this process, with those that were orphaned to it.
fn children() -> Vec<i32> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let all: Vec<String> = lists.collect();
    all.iter().flat_map(|list| list.split_whitespace()).filter_map(|pid| pid.parse().ok()).collect()
}

/// Removes cgroups from the leaves up.
fn remove_cgroups(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroups(&entry.path());
        }
    }
    drop(fs::remove_dir(folder));
}
