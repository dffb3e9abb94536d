//! Where all subjects live: a mount and a network namespace that only this program has, and one
//! folder on the disk. What they mount, link and filter ends with it; processes come to this one
//! when their parents end, and are killed.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

/// How long anything may take to be ready.
const READY_S_MAX: u64 = 60;

/// Rounds of killing what is left: each may hand us the children of what it killed.
const ROUNDS_MAX: usize = 100;

/// Folders in which engines keep things whatever they are told.
const OWN_FOLDERS: &[&str] =
    &["/run/containerd", "/run/docker", "/run/netns", "/run/libpod", "/run/containers"];

/// The namespaces and the folder of one run.
#[derive(Debug)]
pub(crate) struct Place {
    folder: PathBuf,
    /// The parent cgroup of every subject's containers, without slashes around it.
    pub(crate) cgroup: String,
}

impl Place {
    /// Enters namespaces of its own, with a folder below `out`.
    pub(crate) fn enter(out: &Path) -> anyhow::Result<Self> {
        nix::sys::prctl::set_child_subreaper(true).context("become a subreaper")?;
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).context("make namespaces")?;
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
            .context("make all mounts private")?;
        for own in OWN_FOLDERS {
            fs::create_dir_all(own).with_context(|| format!("make {own}"))?;
            let kind = Some("tmpfs");
            mount(kind, Path::new(own), kind, MsFlags::empty(), Some("mode=755"))
                .with_context(|| format!("mount a tmpfs on {own}"))?;
        }
        let out = fs::canonicalize(out).with_context(|| format!("find {}", out.display()))?;
        let folder = tempfile::Builder::new().prefix("b").tempdir_in(&out);
        let folder = folder.context("make a folder")?.keep();
        let cgroup = format!("loadline-bench-{}", std::process::id());
        let place = Self { folder, cgroup };
        place.run("ip", ["link", "set", "lo", "up"])?;
        Ok(place)
    }

    /// A new folder.
    pub(crate) fn make(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder.join(name);
        fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(path)
    }

    /// The image, in docker's archive form, which all of them read.
    pub(crate) fn image(&self) -> anyhow::Result<PathBuf> {
        let path = self.folder.join("box.tar");
        if !path.exists() {
            let image = loadline_fixtures::Image::busybox(crate::subject::IMAGE)?;
            image.write_docker_archive(&path)?;
        }
        Ok(path)
    }

    /// Runs a program to its end; what it prints.
    pub(crate) fn run<S: AsRef<OsStr>>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> anyhow::Result<String> {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.folder);
        output(&mut command)
    }

    /// Starts a daemon with a log of its own, and waits until it is ready.
    pub(crate) fn daemon(
        &self,
        command: &mut Command,
        log: &str,
        ready: impl Fn() -> bool,
    ) -> anyhow::Result<Daemon> {
        let path = self.folder.join(log);
        let file = File::create(&path).with_context(|| format!("make {}", path.display()))?;
        let share = file.try_clone().context("share a log")?;
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(share).stderr(file);
        let child = command.spawn().with_context(|| format!("start {name}"))?;
        let mut daemon = Daemon { child };
        let until = Instant::now() + Duration::from_secs(READY_S_MAX);
        while !ready() {
            let ended = daemon.child.try_wait().context("wait for a daemon")?;
            if ended.is_some() || until < Instant::now() {
                let said = fs::read_to_string(&path).unwrap_or_default();
                let said: Vec<&str> = said.lines().rev().take(5).collect();
                bail!("{name} is not ready ({ended:?}): {said:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(daemon)
    }

    /// Ends every process and removes every cgroup, mount and file that is left.
    pub(crate) fn leave(self) {
        for _ in 0..ROUNDS_MAX {
            let children = children();
            if children.is_empty() {
                break;
            }
            for pid in children {
                let pid = Pid::from_raw(pid);
                // One that ended just now is reaped all the same.
                let _ = kill(pid, Signal::SIGKILL);
                let _ = waitpid(pid, None);
            }
        }
        let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        for hierarchy in hierarchies {
            remove_cgroups(&hierarchy.path().join(&self.cgroup));
        }
        remove_cgroups(&Path::new("/sys/fs/cgroup").join(&self.cgroup));
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        let ours = points.filter(|point| Path::new(point).starts_with(&self.folder));
        for point in ours.collect::<Vec<_>>().into_iter().rev() {
            let _ = nix::mount::umount2(point, nix::mount::MntFlags::MNT_DETACH);
        }
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("{} is left behind: {error}", self.folder.display());
        }
    }
}

/// A daemon that is asked to end when it is dropped, and killed if it does not.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
}

/// From SIGTERM to SIGKILL.
const END_S_MAX: u64 = 20;

impl Daemon {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let until = Instant::now() + Duration::from_secs(END_S_MAX);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        // Ended already, or it does not listen.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end; what it prints.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let ran = command.stdin(Stdio::null()).output().with_context(|| format!("start {name}"))?;
    let said = String::from_utf8_lossy(&ran.stderr);
    ensure!(ran.status.success(), "{name}: {}: {}", ran.status, said.trim());
    Ok(String::from_utf8_lossy(&ran.stdout).trim().to_owned())
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
    // Not there, or a process of it is still ending.
    let _ = fs::remove_dir(folder);
}
