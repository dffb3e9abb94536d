//! podman as root, with storage of its own.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;

use super::place::{Place, output};
use super::subject::{CPU_UNITS, IMAGE, Launcher, MEMORY_MIB, Network, PROGRAM, Subject};

/// Limits that every root may set.
const SETTINGS: &str = r#"[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
"#;

#[derive(Clone, Debug)]
struct Podman {
    folder: PathBuf,
    cgroup: String,
}

/// Gives podman the image.
pub(crate) fn start(place: &Place) -> anyhow::Result<Vec<Box<dyn Subject>>> {
    let folder = place.make("podman")?;
    std::fs::write(folder.join("containers.conf"), SETTINGS).context("write its settings")?;
    let podman = Podman { folder, cgroup: format!("/{}", place.cgroup) };
    output(podman.command().args(["load", "--input"]).arg(place.image()?))?;
    Ok(vec![Box::new(podman)])
}

/// In memory, as podman's own is, and in a folder that only this program has: podman refuses a path
/// of more than 50 bytes.
const RUNROOT: &str = "/run/containers/bench";

impl Podman {
    fn command(&self) -> Command {
        let mut command = Command::new("podman");
        for (option, name) in [("--root", "root"), ("--tmpdir", "tmp")] {
            command.arg(option).arg(self.folder.join(name));
        }
        command.args(["--runroot", RUNROOT]);
        command.args(["--cgroup-manager", "cgroupfs", "--events-backend", "file"]);
        // As docker's, and crun of Debian refuses hybrid cgroups.
        command.args(["--storage-driver", "overlay", "--runtime", "runc"]);
        command.env("CONTAINERS_CONF", self.folder.join("containers.conf"));
        command
    }
}

impl Subject for Podman {
    fn name(&self) -> &'static str {
        "podman run -d"
    }

    fn launcher(&self, network: Network) -> anyhow::Result<Box<dyn Launcher>> {
        Ok(Box::new(Type { podman: self.clone(), network }))
    }

    fn clear(&self) -> anyhow::Result<()> {
        output(self.command().args(["rm", "--all", "--force", "--time", "0"])).map(drop)
    }

    fn beside(&self) -> Option<&'static str> {
        Some("conmon")
    }

    fn daemons(&self) -> Vec<u32> {
        Vec::new()
    }
}

struct Type {
    podman: Podman,
    network: Network,
}

impl Launcher for Type {
    fn launch(&mut self) -> anyhow::Result<()> {
        let (memory, shares) = (format!("{MEMORY_MIB}m"), CPU_UNITS.to_string());
        let mut command = self.podman.command();
        command.args(["run", "--detach", "--network", self.network.name()]);
        command.args(["--cgroup-parent", &self.podman.cgroup]);
        command.args(["--memory", &memory, "--memory-swap", &memory, "--cpu-shares", &shares]);
        output(command.arg(IMAGE).args(PROGRAM)).map(drop)
    }
}
