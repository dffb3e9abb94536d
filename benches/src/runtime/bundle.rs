//! The world of the measurement: one root filesystem, configurations, a folder for records, and a
//! mount namespace without the v2 hierarchy where it stands beside v1.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};

use crate::subject::{Kind, Subject};
use crate::{Arguments, profile};

const UNIFIED: &str = "/sys/fs/cgroup/unified";

/// crun refuses machines with v2 beside v1, so v2 is hidden there: from all, on equal terms.
pub(crate) fn isolate() -> anyhow::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    if Path::new(UNIFIED).join("cgroup.procs").exists() {
        umount2(UNIFIED, MntFlags::MNT_DETACH)?;
    }
    Ok(())
}

/// Folders that are removed at the end.
#[derive(Debug)]
pub(crate) struct World {
    bundles: tempfile::TempDir,
    records: tempfile::TempDir,
}

/// Which configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Config {
    /// What `spec` gives, with a program that ends at once.
    Plain,
    /// The same with a profile of system calls.
    Seccomp,
    /// The same with a program that stays.
    Pause,
    /// Plain with a limit of memory, which changes.
    Limited,
}

impl Drop for World {
    fn drop(&mut self) {
        // Its folder can't be removed before. The mount namespace ends with this program anyway.
        let _ = umount2(self.records.path(), MntFlags::MNT_DETACH);
    }
}

impl Config {
    const fn folder(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Seccomp => "seccomp",
            Self::Pause => "pause",
            Self::Limited => "limited",
        }
    }
}

impl World {
    pub(crate) fn make(arguments: &Arguments) -> anyhow::Result<World> {
        let bundles = tempfile::tempdir().context("make a folder for bundles")?;
        let records = tempfile::Builder::new()
            .prefix("loadline-bench-")
            .tempdir_in("/run")
            .context("make a folder for records in /run")?;
        // As /run is on hosts; inside of some containers it is a folder on a disk.
        let none = None::<&str>;
        mount(none, records.path(), Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=700"))
            .context("mount a tmpfs for records")?;
        let rootfs = bundles.path().join("rootfs");
        for folder in ["proc", "dev", "sys"] {
            fs::create_dir_all(rootfs.join(folder)).context("make a root filesystem")?;
        }
        let noop = arguments.tools.join("noop");
        fs::copy(&noop, rootfs.join("noop")).with_context(|| format!("copy {}", noop.display()))?;
        let world = World { bundles, records };
        let plain = template(arguments, &rootfs)?;
        let profile = fs::read(&arguments.seccomp).with_context(|| {
            let path = arguments.seccomp.display();
            format!("read {path} (Debian's golang-github-containers-common)")
        })?;
        let mut seccomp = plain.clone();
        seccomp["linux"]["seccomp"] = profile::convert(&serde_json::from_slice(&profile)?, &plain)?;
        let mut pause = plain.clone();
        pause["process"]["args"] = json!(["/noop", "pause"]);
        let configs =
            [(Config::Plain, &plain), (Config::Seccomp, &seccomp), (Config::Pause, &pause)];
        for (config, value) in configs {
            world.write(config, value)?;
        }
        Ok(world)
    }

    fn write(&self, config: Config, value: &Value) -> anyhow::Result<()> {
        let folder = self.bundle(config);
        fs::create_dir_all(&folder).context("make a bundle")?;
        fs::write(folder.join("config.json"), serde_json::to_vec_pretty(value)?)
            .context("write a configuration")
    }

    /// The plain configuration with this limit.
    pub(crate) fn limit(&self, bytes: u64) -> anyhow::Result<()> {
        let path = self.bundle(Config::Plain).join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(path)?)?;
        config["linux"]["resources"]["memory"] = json!({ "limit": bytes });
        self.write(Config::Limited, &config)
    }

    pub(crate) fn bundle(&self, config: Config) -> PathBuf {
        self.bundles.path().join(config.folder())
    }

    pub(crate) fn rootfs(&self) -> PathBuf {
        self.bundles.path().join("rootfs")
    }

    /// Where this subject keeps its records: each its own.
    pub(crate) fn records(&self, subject: &Subject) -> PathBuf {
        self.records.path().join(&subject.name)
    }
}

/// Loadline's `spec`, which is runc's, without a terminal.
fn template(arguments: &Arguments, rootfs: &Path) -> anyhow::Result<Value> {
    let folder = tempfile::tempdir()?;
    let output = Command::new(&arguments.runtime)
        .args(["spec", "--bundle"])
        .arg(folder.path())
        .output()
        .context("start the runtime's spec")?;
    if !output.status.success() {
        bail!("spec: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let mut config: Value = serde_json::from_slice(&fs::read(folder.path().join("config.json"))?)?;
    // Older crun refuses newer versions.
    config["ociVersion"] = json!("1.0.2");
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["/noop"]);
    config["root"]["path"] = json!(rootfs);
    Ok(config)
}

impl Subject {
    /// `run` of a bundle, whose end it waits for.
    pub(crate) fn run(&self, world: &World, config: Config) -> crate::spawn::Words {
        match self.kind {
            Kind::Floor => {
                let mut words = crate::spawn::words([&self.program, &world.rootfs()]);
                words.push("/noop".into());
                words
            }
            Kind::Runtime => {
                let mut words = self.verb(world, &["run", "--bundle"]);
                words.extend([world.bundle(config).into(), "{}".into()]);
                words
            }
        }
    }

    /// The program, its records' folder, and these words.
    pub(crate) fn verb(&self, world: &World, rest: &[&str]) -> crate::spawn::Words {
        let mut words = crate::spawn::words([&self.program]);
        words.extend(["--root".into(), world.records(self).into()]);
        words.extend(rest.iter().map(Into::into));
        words
    }
}
