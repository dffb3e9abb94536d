//! A folder, `loadline up` on it, and what a person types beside it.

use std::fs::File;
use std::path::PathBuf;
use std::process::Child;

use loadline_fixtures::Image;
use loadline_tests::kernel;
use loadline_tests::program::{self, Ran, until};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

pub(crate) struct World {
    folder: tempfile::TempDir,
    up: Option<Child>,
    endpoint: String,
    cgroup_parent: String,
}

/// What a command did, with the one check that most tests make.
pub(crate) trait Gives {
    fn gives(self, code: i32, stdout: &str);
}

impl Gives for Ran {
    fn gives(self, code: i32, stdout: &str) {
        assert_eq!((self.code(), self.stdout.as_str()), (code, stdout), "{}", self.stderr);
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("loadline-up-").tempdir().unwrap();
        let name = folder.path().file_name().unwrap().to_str().unwrap().to_owned();
        Self { folder, up: None, endpoint: String::new(), cgroup_parent: name }
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Starts it and waits until it says how to use it; what it said.
    pub(crate) fn up(&mut self, options: &[&str]) -> String {
        let path = |name: &str| self.folder.path().join(name);
        let (out, err) = (path("up.out"), path("up.err"));
        let mut command = program::command(&program::find("loadline").unwrap());
        command
            .args(["--output", "json", "up", "--api-listen", "127.0.0.1:0"])
            .args(["--agent-listen", "127.0.0.1:0", "--cgroup-parent", &self.cgroup_parent])
            .args(options)
            .env("LOADLINE_STATE_DIR", self.state())
            .stdout(File::create(&out).unwrap())
            .stderr(File::create(&err).unwrap());
        let mut child = command.spawn().unwrap();
        let said = until("the cluster is up", || {
            if let Some(status) = child.try_wait()? {
                anyhow::bail!("it ended: {status}: {}", std::fs::read_to_string(&err)?);
            }
            let value = serde_json::from_str::<Value>(&std::fs::read_to_string(&out)?);
            Ok(value.ok())
        });
        self.up = Some(child);
        let said = said.unwrap();
        said["endpoint"].as_str().unwrap().clone_into(&mut self.endpoint);
        said.to_string()
    }

    /// Types a command, and waits for it.
    pub(crate) fn types(&self, args: &[&str]) -> Ran {
        let mut command = program::command(&program::find("loadline").unwrap());
        command
            .args(args)
            .env("LOADLINE_STATE_DIR", self.state())
            .env("LOADLINE_ENDPOINT", &self.endpoint);
        program::run(self.folder.path(), &mut command).unwrap()
    }

    /// A file for a command to read.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// An image of the probe, as an OCI layout.
    pub(crate) fn image(&self, reference: &str) -> String {
        let folder = self.folder.path().join("layout");
        Image::probe(reference).unwrap().write_oci_layout(&folder).unwrap();
        folder.to_str().unwrap().to_owned()
    }

    pub(crate) fn until_running(&self, count: usize) {
        until("the tasks run", || {
            let listed = self.types(&["ps"]);
            Ok((listed.stdout.matches(" RUNNING ").count() == count).then_some(()))
        })
        .unwrap();
    }

    /// Sends a signal, as a terminal or systemd does, and waits; the exit code.
    pub(crate) fn end(&mut self, signal: Signal) -> i32 {
        let mut child = self.up.take().unwrap();
        kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
        let ended = program::wait(&mut child, program::CALL_TIMEOUT).unwrap();
        ended.expect("it did not end").code().unwrap()
    }

    /// No process, mount or cgroup is left.
    pub(crate) fn left_nothing(&self) {
        let mut left = self.processes().into_iter().map(|(_, line)| line).collect::<Vec<_>>();
        left.extend(self.mounts());
        let cgroups = kernel::cgroups_named(&self.cgroup_parent);
        left.extend(cgroups.iter().map(|cgroup| cgroup.display().to_string()));
        assert!(left.is_empty(), "{left:#?}");
    }

    fn processes(&self) -> Vec<(u64, String)> {
        let folder = self.folder.path().to_str().unwrap();
        let own = u64::from(std::process::id());
        let all = kernel::processes().into_iter();
        all.filter(|(pid, line)| line.contains(folder) && *pid != own).collect()
    }

    fn mounts(&self) -> Vec<String> {
        let folder = self.folder.path().to_str().unwrap();
        kernel::mounts().into_iter().filter(|mount| mount.starts_with(folder)).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let err = std::fs::read_to_string(self.folder.path().join("up.err"));
            eprintln!("--- loadline up\n{}", err.unwrap_or_default());
        }
        if let Some(mut child) = self.up.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        for (pid, _) in self.processes() {
            if let Ok(pid) = i32::try_from(pid) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        for mount in self.mounts().iter().rev() {
            let _ = umount2(mount.as_str(), MntFlags::MNT_DETACH);
        }
    }
}
