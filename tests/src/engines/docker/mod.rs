//! docker: a daemon of the suite's own, with the runtime as its default.

pub(super) mod apart;
pub(super) mod limits;
pub(super) mod run;
pub(super) mod userns;
pub(super) mod verbs;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::World;
use super::daemon::Daemon;
use super::terminal::Session;
use super::world::IMAGE;
use crate::program::{self, Ran};

/// Where systemd says that it runs the machine; docker asks it for cgroups on version 2 then.
const SYSTEMD: &str = "/run/systemd/system";

/// A docker daemon and its client.
#[derive(Debug)]
pub(super) struct Docker {
    client: PathBuf,
    folder: PathBuf,
    /// The daemon's process, until the suite ends.
    _daemon: Daemon,
    names: AtomicUsize,
}

impl Docker {
    /// A daemon that maps the ids of all containers; docker looks a user up, whom the suite makes.
    pub(super) fn start_userns(world: &World) -> anyhow::Result<Self> {
        world.place.add_user("loadline-remap", 6544, userns::FIRST)?;
        // One bridge for each daemon.
        let options = ["--userns-remap", "loadline-remap", "--bridge", "none"];
        Self::start(world, "docker-userns", &options)
    }

    /// Starts a daemon in a folder `name` of its own and gives it the image.
    pub(super) fn start(world: &World, name: &str, options: &[&str]) -> anyhow::Result<Self> {
        let folder = world.place.make(name)?;
        let client = program::find("docker")?;
        let config = json!({ "runtimes": { "tested": { "path": world.runtime } } });
        let config_file = folder.join("daemon.json");
        fs::write(&config_file, config.to_string()).context("write docker's configuration")?;
        let socket = folder.join("docker.sock");
        let mut dockerd = Command::new(program::find("dockerd")?);
        dockerd.arg("--config-file").arg(&config_file);
        dockerd.arg("--data-root").arg(folder.join("data"));
        dockerd.arg("--exec-root").arg(folder.join("exec"));
        dockerd.arg("--pidfile").arg(folder.join("pid"));
        dockerd.arg("--host").arg(format!("unix://{}", socket.display()));
        // One that dockerd starts itself gets 15 s, which a busy machine may need.
        dockerd.arg("--containerd").arg(world.containerd()?.socket());
        dockerd.args(["--containerd-namespace", name, "--containerd-plugins-namespace"]);
        dockerd.arg(format!("{name}-plugins"));
        dockerd.args(["--default-runtime", "tested", "--cgroup-parent"]);
        dockerd.arg(cgroup_parent(&world.place.cgroup)).args(options);
        // It listens before it has made its networks.
        let asked = || {
            let mut version = command(&client, &folder, &["version"]);
            program::run(&folder, &mut version).is_ok_and(|ran| ran.status.success())
        };
        let daemon = Daemon::start(&mut dockerd, &folder.join("log"), asked)?;
        let docker = Self { client, folder, _daemon: daemon, names: AtomicUsize::new(1) };
        let archive = world.archive.to_str().context("the path of the image is no text")?;
        docker.out(&["load", "--input", archive])?;
        Ok(docker)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        command(&self.client, &self.folder, arguments)
    }

    /// Types `docker ARGUMENTS`.
    pub(super) fn typed(&self, arguments: &[&str]) -> anyhow::Result<Ran> {
        program::run(&self.folder, &mut self.command(arguments))
    }

    /// Types `docker ARGUMENTS`, which must succeed: what it prints, without spaces around.
    pub(super) fn out(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let ran = self.typed(arguments)?.succeeded();
        let ran = ran.with_context(|| format!("docker {}", arguments.join(" ")))?;
        Ok(ran.stdout.trim().to_owned())
    }

    /// `docker run --rm OPTIONS IMAGE PROGRAM`.
    pub(super) fn run(&self, options: &[&str], program: &[&str]) -> anyhow::Result<Ran> {
        self.typed(&[&["run", "--rm"], options, &[IMAGE], program].concat())
    }

    /// What a container prints that must end well.
    pub(super) fn printed(&self, options: &[&str], program: &[&str]) -> anyhow::Result<String> {
        let ran = self.run(options, program)?.succeeded()?;
        Ok(ran.stdout.trim().to_owned())
    }

    /// What a shell's script prints in a container.
    pub(super) fn shell(&self, options: &[&str], script: &str) -> anyhow::Result<String> {
        self.printed(options, &["sh", "-c", script])
    }

    /// `docker ARGUMENTS` at a terminal.
    pub(super) fn at_terminal(&self, arguments: &[&str]) -> anyhow::Result<Session> {
        Session::start(self.command(arguments))
    }

    /// `docker run --detach`: a container that is removed when it is dropped.
    pub(super) fn detached(
        &self,
        options: &[&str],
        program: &[&str],
    ) -> anyhow::Result<Detached<'_>> {
        let name = format!("box-{}", self.names.fetch_add(1, Ordering::Relaxed));
        let detached = Detached { docker: self, name };
        let named = ["run", "--detach", "--name", &detached.name];
        self.out(&[&named[..], options, &[IMAGE], program].concat())?;
        Ok(detached)
    }
}

/// The client, told about the daemon in `folder`.
fn command(client: &Path, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = program::command(client);
    command.env("DOCKER_HOST", format!("unix://{}/docker.sock", folder.display()));
    command.env("DOCKER_CONFIG", folder).args(arguments);
    command
}

/// A container in the background.
#[derive(Debug)]
pub(super) struct Detached<'a> {
    docker: &'a Docker,
    pub(super) name: String,
}

impl Detached<'_> {
    /// `docker VERB OPTIONS NAME`.
    pub(super) fn verb(&self, verb: &str, options: &[&str]) -> anyhow::Result<String> {
        self.docker.out(&[&[verb], options, &[&self.name]].concat())
    }

    /// `docker exec NAME PROGRAM`.
    pub(super) fn exec(&self, program: &[&str]) -> anyhow::Result<String> {
        self.docker.out(&[&["exec", &self.name], program].concat())
    }

    /// A field of `docker inspect`, such as `/State/Pid`.
    pub(super) fn inspect(&self, field: &str) -> anyhow::Result<Value> {
        let text = self.docker.out(&["inspect", &self.name])?;
        let value: Value = serde_json::from_str(&text).context("read docker inspect")?;
        let found = value.pointer(&format!("/0{field}"));
        found.cloned().with_context(|| format!("docker inspect has no {field}"))
    }

    /// Waits until a field of `docker inspect` is `wanted`.
    pub(super) fn until(&self, field: &str, wanted: &Value) -> anyhow::Result<()> {
        program::until(&format!("{field} is {wanted}"), || {
            Ok((self.inspect(field)? == *wanted).then_some(()))
        })
    }

    /// Waits until docker has told an event of the container.
    pub(super) fn until_event(&self, event: &str) -> anyhow::Result<()> {
        let (container, event) = (format!("container={}", self.name), format!("event={event}"));
        // From a long time ago until now, which ends the list.
        let ask = ["events", "--since", "24h", "--until", "0s", "--filter", &container];
        let ask = [&ask[..], &["--filter", &event]].concat();
        program::until(&format!("{event} of {container}"), || {
            Ok((!self.docker.out(&ask)?.is_empty()).then_some(()))
        })
    }

    /// Waits until the logs hold `text`.
    pub(super) fn until_logs(&self, text: &str) -> anyhow::Result<()> {
        program::until(&format!("the logs hold {text:?}"), || {
            Ok(self.verb("logs", &[])?.contains(text).then_some(()))
        })
    }
}

impl Drop for Detached<'_> {
    fn drop(&mut self) {
        drop(self.docker.typed(&["rm", "--force", "--volumes", &self.name]));
    }
}

/// A cgroup as docker's driver names it: a path, or a slice of systemd's.
fn cgroup_parent(cgroup: &str) -> String {
    if crate::kernel::is_unified() && Path::new(SYSTEMD).is_dir() {
        return format!("{}.slice", cgroup.trim_start_matches('/').replace('-', "_"));
    }
    cgroup.to_owned()
}

/// The exit code of what was typed.
pub(super) fn ended_with(ran: &Ran, code: i32) -> anyhow::Result<()> {
    if ran.code() != code {
        bail!("not exit {code}, but {}", ran.said());
    }
    Ok(())
}
