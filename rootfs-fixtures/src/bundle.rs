//! OCI bundles around the probe: a small root file system and a config.json that tests mutate.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::probe::probe;

/// Folders of the root file system; `/tmp` gets its usual mode.
const FOLDERS: &[&str] = &["bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "var/tmp"];

/// Where the probe lies in every root file system.
pub const PROBE: &str = "/bin/probe";

/// A bundle on disk: `config.json` and `rootfs/`.
#[derive(Debug)]
pub struct Bundle {
    /// The bundle's folder.
    pub path: PathBuf,
    /// Its configuration; [`Bundle::write`] puts it on disk.
    pub config: Value,
}

impl Bundle {
    /// Makes a bundle in `path` (made where missing) whose process is the probe with `arguments`.
    ///
    /// # Errors
    /// Where a file can't be made.
    pub fn new(path: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        make_rootfs(&path.join("rootfs"))?;
        let mut config = base_config();
        let mut args = vec![PROBE];
        args.extend(arguments);
        config["process"]["args"] = json!(args);
        let bundle = Self { path: path.to_owned(), config };
        bundle.write()?;
        Ok(bundle)
    }

    /// Changes the configuration and writes it.
    ///
    /// # Errors
    /// Where the file can't be written.
    pub fn change(mut self, change: impl FnOnce(&mut Value)) -> anyhow::Result<Self> {
        change(&mut self.config);
        self.write()?;
        Ok(self)
    }

    /// Writes config.json.
    ///
    /// # Errors
    /// Where the file can't be written.
    pub fn write(&self) -> anyhow::Result<()> {
        let path = self.path.join("config.json");
        fs::write(&path, format!("{:#}\n", self.config))
            .with_context(|| format!("write {}", path.display()))
    }

    /// The folder of the root file system.
    #[must_use]
    pub fn rootfs(&self) -> PathBuf {
        self.path.join("rootfs")
    }
}

/// Makes a root file system with nothing but the probe and what a program expects to find.
///
/// # Errors
/// Where a file can't be made.
pub fn make_rootfs(rootfs: &Path) -> anyhow::Result<()> {
    make_folders(rootfs)?;
    let target = rootfs.join("bin/probe");
    let probe = probe()?;
    fs::copy(&probe, &target).with_context(|| format!("copy {}", probe.display()))?;
    Ok(())
}

/// Makes the folders and files that a program expects to find.
pub(crate) fn make_folders(rootfs: &Path) -> anyhow::Result<()> {
    for folder in FOLDERS {
        let path = rootfs.join(folder);
        fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
    }
    for folder in ["tmp", "var/tmp"] {
        let mode = fs::Permissions::from_mode(0o1777);
        fs::set_permissions(rootfs.join(folder), mode).context("set the mode of /tmp")?;
    }
    let passwd = "root:x:0:0:root:/root:/bin/probe\nguest:x:1000:1000:guest:/:/bin/probe\n";
    let files = [("passwd", passwd), ("group", "root:x:0:\nguest:x:1000:\n"), ("hosts", "")];
    for (name, text) in files {
        fs::write(rootfs.join("etc").join(name), text).with_context(|| format!("write {name}"))?;
    }
    Ok(())
}

/// The configuration that every test begins with: five new namespaces, the mounts of an ordinary
/// container, few capabilities, an empty inheritable set.
#[must_use]
pub fn base_config() -> Value {
    let caps = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": [PROBE, "true"],
            "env": ["PATH=/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": { "bounding": caps, "effective": caps, "permitted": caps },
            "noNewPrivileges": true
        },
        "root": { "path": "rootfs", "readonly": false },
        "hostname": "probe",
        "mounts": mounts(),
        "linux": {
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": [
                { "type": "pid" },
                { "type": "network" },
                { "type": "ipc" },
                { "type": "uts" },
                { "type": "mount" }
            ],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"]
        }
    })
}

fn mounts() -> Value {
    json!([
        { "destination": "/proc", "type": "proc", "source": "proc" },
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]
        },
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
        },
        {
            "destination": "/dev/shm",
            "type": "tmpfs",
            "source": "shm",
            "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]
        },
        {
            "destination": "/dev/mqueue",
            "type": "mqueue",
            "source": "mqueue",
            "options": ["nosuid", "noexec", "nodev"]
        },
        {
            "destination": "/sys",
            "type": "sysfs",
            "source": "sysfs",
            "options": ["nosuid", "noexec", "nodev", "ro"]
        }
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_has_a_probe_that_runs() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = Bundle::new(folder.path(), &["env"]).unwrap();
        let probe = bundle.rootfs().join("bin/probe");
        let output = std::process::Command::new(probe)
            .args(["echo", "a", "--", "exit", "7"])
            .output()
            .unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(7), &b"a\n"[..]));
        let written = fs::read(folder.path().join("config.json")).unwrap();
        let written: Value = serde_json::from_slice(&written).unwrap();
        assert_eq!(written["process"]["args"], json!(["/bin/probe", "env"]));
    }
}
