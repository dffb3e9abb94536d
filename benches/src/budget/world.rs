//! The fixed runs: bundles, records, and the cgroup hierarchy that they see.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};
use syscalls::x86_64::Sysno;

const CGROUPS: &str = "/sys/fs/cgroup";

/// Mounts that every machine has.
const KEPT: &[&str] = &["/", "/proc", "/sys", "/dev"];

/// A mount namespace with cgroup v2 alone, whatever the host has, so that all hosts do the same.
/// The host's other mounts go too, for the runtime reads the table of mounts: but for those that
/// `programs` lie on.
pub(crate) fn isolate(programs: &[PathBuf]) -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("unshare")?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("make private")?;
    let table = fs::read_to_string("/proc/self/mountinfo").context("read the mounts")?;
    let places = table.lines().rev().filter_map(|line| line.split(' ').nth(4));
    for place in places.filter(|place| !KEPT.contains(place)) {
        if !programs.iter().any(|program| program.starts_with(place)) {
            // One that is covered by another is gone with it or stays, and costs one line.
            let _ = umount2(place, MntFlags::MNT_DETACH);
        }
    }
    if !Path::new(CGROUPS).join("cgroup.procs").exists() {
        mount(Some("cgroup2"), CGROUPS, Some("cgroup2"), MsFlags::empty(), none)
            .context("mount cgroup2")?;
    }
    // Where records lie: as on hosts.
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).context("mount /run")
}

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    Run,
    RunSeccomp,
    Exec,
}

impl Scenario {
    pub(crate) const ALL: [Scenario; 3] = [Self::Run, Self::RunSeccomp, Self::Exec];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::RunSeccomp => "run with seccomp",
            Self::Exec => "exec",
        }
    }
}

/// Folders, and a container for `exec`. Removed on drop.
#[derive(Debug)]
pub(crate) struct World {
    folder: tempfile::TempDir,
    runtime: PathBuf,
}

impl World {
    /// `spec` of `ours` makes the configuration that `runtime` runs.
    pub(crate) fn make(tools: &Path, ours: &Path, runtime: &Path) -> anyhow::Result<World> {
        let folder = tempfile::tempdir_in("/run").context("make a folder in /run")?;
        let runtime = runtime.canonicalize().context("find the runtime")?;
        let world = World { folder, runtime };
        let rootfs = world.path("rootfs");
        for name in ["proc", "dev", "sys"] {
            fs::create_dir_all(rootfs.join(name))?;
        }
        fs::copy(tools.join("noop"), rootfs.join("noop")).context("copy noop")?;
        let plain = configuration(ours, &world.path("spec"), &rootfs)?;
        let mut seccomp = plain.clone();
        seccomp["linux"]["seccomp"] = profile();
        let mut pause = plain.clone();
        pause["process"]["args"] = json!(["/noop", "pause"]);
        for (name, config) in [("plain", plain), ("seccomp", seccomp), ("pause", pause)] {
            fs::create_dir_all(world.path(name))?;
            let file = world.path(name).join("config.json");
            fs::write(file, serde_json::to_vec_pretty(&config)?)?;
        }
        Ok(world)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn verb(&self, words: &[&str]) -> Vec<OsString> {
        let mut command: Vec<OsString> =
            vec![self.runtime.clone().into(), "--root".into(), self.path("records").into()];
        command.extend(words.iter().map(Into::into));
        command
    }

    /// A command that can be run again and again.
    pub(crate) fn command(&self, scenario: Scenario) -> anyhow::Result<Vec<OsString>> {
        let bundle = |name| self.path(name).into_os_string();
        let mut command = match scenario {
            Scenario::Run => [self.verb(&["run", "--bundle"]), vec![bundle("plain")]].concat(),
            Scenario::RunSeccomp => {
                [self.verb(&["run", "--bundle"]), vec![bundle("seccomp")]].concat()
            }
            Scenario::Exec => {
                let start = self.verb(&["run", "--detach", "--bundle"]);
                let start = [start, vec![bundle("pause"), "budget-pause".into()]].concat();
                // The container would keep a pipe open.
                let status = Command::new(&start[0])
                    .args(&start[1..])
                    .stdin(std::process::Stdio::null())
                    .stdout(std::process::Stdio::null())
                    .status()?;
                if !status.success() {
                    bail!("start a container to exec in: {status}");
                }
                return Ok(self.verb(&["exec", "budget-pause", "/noop"]));
            }
        };
        command.push("budget".into());
        Ok(command)
    }

    /// The yardstick, on the same root.
    pub(crate) fn floor(&self, tools: &Path) -> Vec<OsString> {
        vec![tools.join("floor").into(), self.path("rootfs").into(), "/noop".into()]
    }

    /// Removes the container for `exec`, if there is one.
    pub(crate) fn end(&self) {
        let delete = self.verb(&["delete", "--force", "budget-pause"]);
        let mut command = Command::new(&delete[0]);
        // Where none was started, there is none to be deleted.
        drop(command.args(&delete[1..]).stderr(std::process::Stdio::null()).status());
    }
}

/// What `spec` gives, with paths that every kernel has and a cgroup at the top.
fn configuration(ours: &Path, folder: &Path, rootfs: &Path) -> anyhow::Result<Value> {
    fs::create_dir_all(folder)?;
    let status = Command::new(ours).args(["spec", "--bundle"]).arg(folder).status()?;
    if !status.success() {
        bail!("spec: {status}");
    }
    let mut config: Value = serde_json::from_slice(&fs::read(folder.join("config.json"))?)?;
    config["ociVersion"] = json!("1.0.2");
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["/noop"]);
    config["root"]["path"] = json!(rootfs);
    let linux = &mut config["linux"];
    linux["cgroupsPath"] = json!(format!("/loadline-budget-{}", std::process::id()));
    linux["maskedPaths"] = json!(["/proc/version", "/proc/tty", "/proc/stat"]);
    linux["readonlyPaths"] = json!(["/proc/fs", "/proc/sys"]);
    Ok(config)
}

/// As long as an engine's: all calls of this processor up to a number, two with conditions.
fn profile() -> Value {
    const LAST: usize = 334;
    let name = |number| Sysno::new(number).map(|call| call.name());
    let names = (0..=LAST).filter_map(name).filter(|name| !["clone", "personality"].contains(name));
    let names: Vec<&str> = names.collect();
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 38,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [
            { "names": names, "action": "SCMP_ACT_ALLOW" },
            { "names": ["personality"], "action": "SCMP_ACT_ALLOW",
              "args": [{ "index": 0, "value": 8, "op": "SCMP_CMP_EQ" }] },
            { "names": ["clone"], "action": "SCMP_ACT_ALLOW",
              "args": [{ "index": 0, "value": 2_114_060_288, "valueTwo": 0,
                         "op": "SCMP_CMP_MASKED_EQ" }] },
        ],
    })
}
