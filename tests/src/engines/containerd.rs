//! containerd with a configuration of its own, typed at by ctr.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;

use super::daemon::Daemon;
use super::world::IMAGE;
use super::{World, claims, holds, same};
use crate::conformance::Verdict;
use crate::program::{self, Ran};

claims!("containerd":
    run_gives_output_and_exit_code,
    run_sees_its_limits,
    task_exec_runs_in_the_container,
    task_pause_and_resume_are_told,
    task_metrics_tell_usage_and_limits,
    task_kill_ends_it,
);

/// A containerd and its client.
#[derive(Debug)]
pub(super) struct Containerd {
    folder: PathBuf,
    runtime: String,
    /// The cgroup of all containers.
    cgroup: String,
    _daemon: Daemon,
}

impl Containerd {
    pub(super) fn start(world: &World) -> anyhow::Result<Self> {
        let folder = world.place.make("containerd")?;
        let at = |name: &str| folder.join(name).display().to_string();
        let configuration = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = {:?}\n",
            at("root"),
            at("state"),
            at("sock")
        );
        let file = folder.join("config.toml");
        fs::write(&file, configuration).context("write containerd's configuration")?;
        let mut command = Command::new(program::find("containerd")?);
        command.arg("--config").arg(file);
        let socket = folder.join("sock");
        let asked = || std::os::unix::net::UnixStream::connect(&socket).is_ok();
        let daemon = Daemon::start(&mut command, &folder.join("log"), asked)?;
        let runtime = world.runtime.to_string_lossy().into_owned();
        let cgroup = world.place.cgroup.clone();
        let containerd = Self { folder, runtime, cgroup, _daemon: daemon };
        let archive = world.archive.to_str().context("the path of the image is no text")?;
        containerd.out(&["image", "import", "--snapshotter", "native", archive])?;
        Ok(containerd)
    }

    /// Where it listens.
    pub(super) fn socket(&self) -> PathBuf {
        self.folder.join("sock")
    }

    /// Types `ctr ARGUMENTS`.
    fn typed(&self, arguments: &[&str]) -> anyhow::Result<Ran> {
        let mut command = program::command(&program::find("ctr")?);
        command.arg("--address").arg(self.socket()).args(arguments);
        program::run(&self.folder, &mut command)
    }

    fn out(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let ran = self.typed(arguments)?.succeeded();
        let ran = ran.with_context(|| format!("ctr {}", arguments.join(" ")))?;
        Ok(ran.stdout.trim().to_owned())
    }

    /// `ctr run --runc-binary RUNTIME OPTIONS IMAGE ID PROGRAM`.
    fn run(&self, options: &[&str], id: &str, program: &[&str]) -> anyhow::Result<Ran> {
        let cgroup = format!("{}/{id}", self.cgroup);
        let run = ["run", "--runc-binary", &self.runtime, "--snapshotter", "native"];
        let run = [&run[..], &["--cgroup", &cgroup]].concat();
        self.typed(&[&run[..], options, &[IMAGE, id], program].concat())
    }

    fn held<'a>(&'a self, id: &'a str, options: &[&str]) -> anyhow::Result<Held<'a>> {
        let held = Held { containerd: self, id };
        self.run(&[&["--detach"], options].concat(), id, &["sleep", "1000"])?.succeeded()?;
        Ok(held)
    }

    /// The word for the state of a task.
    fn state(&self, id: &str) -> anyhow::Result<String> {
        let list = self.out(&["task", "ls"])?;
        let line = list.lines().find(|line| line.split_whitespace().next() == Some(id));
        let line = line.with_context(|| format!("no task {id} in {list:?}"))?;
        Ok(line.split_whitespace().last().unwrap_or_default().to_owned())
    }
}

/// A container in the background.
#[derive(Debug)]
struct Held<'a> {
    containerd: &'a Containerd,
    id: &'a str,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        drop(self.containerd.typed(&["task", "rm", "--force", self.id]));
        drop(self.containerd.typed(&["container", "rm", self.id]));
    }
}

fn run_gives_output_and_exit_code(w: &World) -> anyhow::Result<Verdict> {
    let containerd = w.containerd()?;
    let ran = containerd.run(&["--rm"], "runs", &["sh", "-c", "echo out; exit 9"])?;
    same!(ran.stdout, "out\n");
    same!(ran.code(), 9);
    Ok(Verdict::Pass)
}

fn run_sees_its_limits(w: &World) -> anyhow::Result<Verdict> {
    let options = ["--rm", "--cpus", "0.5", "--memory-limit", "67108864"];
    let script = "id -u; cat /proc/self/cgroup";
    let ran = w.containerd()?.run(&options, "limits", &["sh", "-c", script])?;
    holds!(ran.stdout, format!("{}/limits\n", w.place.cgroup));
    same!(ran.code(), 0);
    Ok(Verdict::Pass)
}

fn task_exec_runs_in_the_container(w: &World) -> anyhow::Result<Verdict> {
    let containerd = w.containerd()?;
    let _held = containerd.held("execs", &[])?;
    let script = "cat /proc/1/comm; exit 4";
    let exec = ["task", "exec", "--exec-id", "one", "execs", "sh", "-c", script];
    let ran = containerd.typed(&exec)?;
    same!(ran.stdout, "sleep\n");
    same!(ran.code(), 4);
    Ok(Verdict::Pass)
}

fn task_pause_and_resume_are_told(w: &World) -> anyhow::Result<Verdict> {
    let containerd = w.containerd()?;
    let _held = containerd.held("pauses", &[])?;
    containerd.out(&["task", "pause", "pauses"])?;
    same!(containerd.state("pauses")?, "PAUSED");
    containerd.out(&["task", "resume", "pauses"])?;
    same!(containerd.state("pauses")?, "RUNNING");
    Ok(Verdict::Pass)
}

fn task_metrics_tell_usage_and_limits(w: &World) -> anyhow::Result<Verdict> {
    let containerd = w.containerd()?;
    let _held = containerd.held("metrics", &["--memory-limit", "67108864"])?;
    let metrics = containerd.out(&["task", "metrics", "metrics"])?;
    let value = |name: &str| {
        let line = metrics.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().last()).unwrap_or_default().to_owned()
    };
    same!(value("pids.current"), "1");
    let limit =
        if crate::kernel::is_unified() { "memory.usage_limit" } else { "memory.limit_in_bytes" };
    same!(value(limit), "67108864");
    Ok(Verdict::Pass)
}

fn task_kill_ends_it(w: &World) -> anyhow::Result<Verdict> {
    let containerd = w.containerd()?;
    let _held = containerd.held("killed", &[])?;
    containerd.out(&["task", "kill", "--signal", "SIGKILL", "killed"])?;
    program::until("the task is stopped", || {
        Ok((containerd.state("killed")? == "STOPPED").then_some(()))
    })?;
    let removed = containerd.typed(&["task", "rm", "killed"])?;
    holds!(removed.stderr, "exit code 137");
    Ok(Verdict::Pass)
}
