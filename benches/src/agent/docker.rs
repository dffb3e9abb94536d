//! docker: a daemon of its own, typed at as a user types, and asked over its API.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::json;

use super::http;
use super::place::{Daemon, Place, output};
use super::subject::{CPU_UNITS, IMAGE, Launcher, MEMORY_MIB, Network, PROGRAM, Subject};

/// containerd and dockerd, with the image. Dropped in this order.
#[derive(Debug)]
struct Engine {
    socket: PathBuf,
    dockerd: Daemon,
    containerd: Daemon,
}

/// Starts docker; it is measured in two ways.
pub(crate) fn start(place: &Place) -> anyhow::Result<Vec<Box<dyn Subject>>> {
    let folder = place.make("docker")?;
    let at = |name: &str| folder.join(name).display().to_string();
    let file = folder.join("containerd.toml");
    let text = format!(
        "version = 2\nroot = {:?}\nstate = {:?}\n\
         disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = {:?}\n",
        at("containerd"),
        at("containerd-state"),
        at("c.sock")
    );
    std::fs::write(&file, text).context("write containerd's configuration")?;
    let socket = folder.join("c.sock");
    let ready = || std::os::unix::net::UnixStream::connect(&socket).is_ok();
    let mut command = Command::new("containerd");
    let containerd = place.daemon(command.arg("--config").arg(&file), "containerd.log", ready)?;
    let mut command = Command::new("dockerd");
    command.args(["--data-root", &at("data"), "--exec-root", &at("exec")]);
    command.args(["--pidfile", &at("pid"), "--containerd", &at("c.sock")]);
    command.args(["--host", &format!("unix://{}", at("d.sock"))]);
    command.args(["--cgroup-parent", &format!("/{}", place.cgroup)]);
    let socket = folder.join("d.sock");
    // It listens before it has made its networks.
    let ready = || output(docker(&socket).arg("version")).is_ok();
    let dockerd = place.daemon(&mut command, "dockerd.log", ready)?;
    output(docker(&socket).args(["load", "--input"]).arg(place.image()?))?;
    let engine = Arc::new(Engine { socket, dockerd, containerd });
    Ok(vec![Box::new(Typed(Arc::clone(&engine))), Box::new(Asked(engine))])
}

fn docker(socket: &Path) -> Command {
    let mut command = Command::new("docker");
    command.env("DOCKER_HOST", format!("unix://{}", socket.display()));
    command
}

impl Engine {
    fn clear(&self) -> anyhow::Result<()> {
        let listed = output(docker(&self.socket).args(["ps", "--all", "--quiet"]))?;
        let ids: Vec<&str> = listed.split_whitespace().collect();
        if !ids.is_empty() {
            output(docker(&self.socket).args(["rm", "--force"]).args(ids))?;
        }
        Ok(())
    }

    fn daemons(&self) -> Vec<u32> {
        vec![self.dockerd.pid(), self.containerd.pid()]
    }
}

/// `docker run --detach`.
#[derive(Debug)]
struct Typed(Arc<Engine>);

impl Subject for Typed {
    fn name(&self) -> &'static str {
        "docker run -d"
    }

    fn launcher(&self, network: Network) -> anyhow::Result<Box<dyn Launcher>> {
        let socket = self.0.socket.clone();
        Ok(Box::new(Type { socket, network }))
    }

    fn clear(&self) -> anyhow::Result<()> {
        self.0.clear()
    }

    fn beside(&self) -> Option<&'static str> {
        Some("containerd-shim")
    }

    fn daemons(&self) -> Vec<u32> {
        self.0.daemons()
    }
}

struct Type {
    socket: PathBuf,
    network: Network,
}

impl Launcher for Type {
    fn launch(&mut self) -> anyhow::Result<()> {
        let (memory, shares) = (format!("{MEMORY_MIB}m"), CPU_UNITS.to_string());
        let mut command = docker(&self.socket);
        command.args(["run", "--detach", "--network", self.network.name()]);
        command.args(["--memory", &memory, "--memory-swap", &memory, "--cpu-shares", &shares]);
        output(command.arg(IMAGE).args(PROGRAM)).map(drop)
    }
}

/// docker's API, without the start of a client.
#[derive(Debug)]
struct Asked(Arc<Engine>);

impl Subject for Asked {
    fn name(&self) -> &'static str {
        "docker API"
    }

    fn launcher(&self, network: Network) -> anyhow::Result<Box<dyn Launcher>> {
        let socket = self.0.socket.clone();
        Ok(Box::new(Ask { socket, network }))
    }

    fn clear(&self) -> anyhow::Result<()> {
        self.0.clear()
    }

    fn beside(&self) -> Option<&'static str> {
        None
    }

    fn daemons(&self) -> Vec<u32> {
        self.0.daemons()
    }
}

struct Ask {
    socket: PathBuf,
    network: Network,
}

impl Launcher for Ask {
    fn launch(&mut self) -> anyhow::Result<()> {
        let bytes = MEMORY_MIB << 20;
        let body = json!({
            "Image": IMAGE, "Cmd": PROGRAM,
            "HostConfig": {
                "NetworkMode": self.network.name(), "Memory": bytes, "MemorySwap": bytes,
                "CpuShares": CPU_UNITS,
            },
        });
        let made = http::post(&self.socket, "/v1.40/containers/create", &body.to_string())?;
        let id = made.split("\"Id\":\"").nth(1).and_then(|rest| rest.split('"').next());
        let id = id.with_context(|| format!("docker said {made:?}"))?;
        http::post(&self.socket, &format!("/v1.40/containers/{id}/start"), "").map(drop)
    }
}
