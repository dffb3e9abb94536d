//! The small world of one case: a folder, a bundle, a state folder for the runtime, and cgroups of
//! its own. Dropping it ends every container that the case began.

use std::cell::{Cell, RefCell};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, bail};
use loadline_fixtures::Bundle;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::Runtime;
use crate::{kernel, program};

static WORLDS: AtomicU32 = AtomicU32::new(0);

/// What a container that was run to its end did.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code of the runtime, which should be the container's.
    pub code: i32,
    /// What was written.
    pub stdout: String,
    /// As `stdout`.
    pub stderr: String,
}

impl Outcome {
    /// The probe's lines of JSON as one object.
    ///
    /// # Errors
    /// Where a line is no JSON, or nothing was said.
    pub fn facts(&self) -> anyhow::Result<Value> {
        let mut facts = serde_json::Map::new();
        for line in self.stdout.lines() {
            let told: Value = serde_json::from_str(line)
                .with_context(|| format!("read what the probe said: {line:?}"))?;
            facts.extend(told.as_object().cloned().unwrap_or_default());
        }
        if facts.is_empty() {
            bail!("the probe said nothing: exit {}: {}", self.code, self.stderr.trim());
        }
        Ok(Value::Object(facts))
    }
}

/// A container that was created.
#[derive(Debug)]
pub struct Created {
    /// Its id.
    pub id: String,
    /// Its init, as the runtime tells it.
    pub pid: u64,
}

/// See the module.
#[derive(Debug)]
pub struct World {
    runtime: Runtime,
    folder: TempDir,
    name: String,
    containers: RefCell<Vec<String>>,
    bundles: Cell<u32>,
}

impl World {
    /// A world for the case `name`.
    ///
    /// # Errors
    /// Where its folder can't be made.
    pub fn new(runtime: &Runtime, name: &str) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("conformance-").tempdir();
        let folder = folder.context("make a folder for the case")?;
        // Containers with a user namespace have to get through.
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.path(), mode).context("open the folder of the case")?;
        let number = WORLDS.fetch_add(1, Ordering::Relaxed);
        let name = format!("{name}-{}-{number}", std::process::id());
        let runtime = runtime.clone();
        Ok(Self { runtime, folder, name, containers: RefCell::default(), bundles: Cell::new(0) })
    }

    /// The folder of the case.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A name that no other case uses.
    #[must_use]
    pub fn id(&self) -> String {
        self.name.clone()
    }

    /// The cgroup that the bundle of this case asks for, as a path in its hierarchy.
    #[must_use]
    pub fn cgroup(&self) -> String {
        if self.runtime.by_systemd {
            return format!("/{SLICE}/{}-{}.scope", scope_prefix(), self.name);
        }
        format!("{}/{}", cgroup_of_the_suite(), self.name)
    }

    /// What `linux.cgroupsPath` says to get it: a path, or `slice:prefix:name` where systemd makes
    /// it. With `suffix` it is another one.
    #[must_use]
    pub fn cgroups_path(&self, suffix: &str) -> String {
        if self.runtime.by_systemd {
            return format!("{SLICE}:{}:{}{suffix}", scope_prefix(), self.name);
        }
        format!("{}{suffix}", self.cgroup())
    }

    /// A bundle whose process is the probe with `arguments`.
    ///
    /// # Errors
    /// Where it can't be made.
    pub fn bundle(&self, arguments: &[&str]) -> anyhow::Result<Bundle> {
        self.bundles.set(self.bundles.get() + 1);
        let path = self.folder().join(format!("bundle{}", self.bundles.get()));
        let cgroup = self.cgroups_path("");
        Bundle::new(&path, arguments)?.change(|config| {
            config["linux"]["cgroupsPath"] = json!(cgroup);
        })
    }

    /// Calls the runtime.
    ///
    /// # Errors
    /// Where it can't be started or does not end.
    pub fn call(&self, arguments: &[&str]) -> anyhow::Result<program::Ran> {
        let mut command = self.runtime.command();
        command.arg("--root").arg(self.folder().join("state")).args(arguments);
        program::run(self.folder(), &mut command)
    }

    /// Calls the runtime, which has to succeed.
    ///
    /// # Errors
    /// As [`World::call`], and where it exits with another code than 0.
    pub fn ok(&self, arguments: &[&str]) -> anyhow::Result<program::Ran> {
        self.call(arguments)?.succeeded().with_context(|| arguments.join(" "))
    }

    /// Calls the runtime, which has to refuse and say why; gives what it said.
    ///
    /// # Errors
    /// As [`World::call`], and where it does not.
    pub fn refused(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let ran = self.call(arguments)?;
        if ran.status.success() {
            bail!("{} was not refused", arguments.join(" "));
        }
        if ran.stderr.trim().is_empty() {
            bail!("{} was refused without a word", arguments.join(" "));
        }
        Ok(ran.stderr)
    }

    /// Runs a bundle to its end.
    ///
    /// # Errors
    /// As [`World::call`].
    pub fn run(&self, bundle: &Bundle) -> anyhow::Result<Outcome> {
        let id = self.id();
        self.containers.borrow_mut().push(id.clone());
        let path = path_text(&bundle.path)?;
        self.runtime.prepare(bundle)?;
        let ran = self.call(&["run", "--bundle", path, &id])?;
        Ok(Outcome { code: ran.code(), stdout: ran.stdout, stderr: ran.stderr })
    }

    /// As [`World::run`], for a bundle that is run many times: no files of earlier runs stay.
    ///
    /// # Errors
    /// As [`World::call`].
    pub fn run_again(&self, bundle: &Bundle) -> anyhow::Result<Outcome> {
        let (id, path) = (self.id(), path_text(&bundle.path)?);
        if self.containers.borrow().is_empty() {
            self.containers.borrow_mut().push(id.clone());
        }
        self.runtime.prepare(bundle)?;
        let ran = self.call_again(&["run", "--bundle", path, &id])?;
        Ok(Outcome { code: ran.code(), stdout: ran.stdout, stderr: ran.stderr })
    }

    /// As [`World::call`], its output through the same two files each time.
    ///
    /// # Errors
    /// As [`World::call`].
    pub fn call_again(&self, arguments: &[&str]) -> anyhow::Result<program::Ran> {
        let mut command = self.runtime.command();
        command.arg("--root").arg(self.folder().join("state")).args(arguments);
        let (out, err) = (self.folder().join("again.out"), self.folder().join("again.err"));
        program::run_into(&out, &err, &mut command)
    }

    /// Runs a bundle to its end, and gives the facts that the probe told.
    ///
    /// # Errors
    /// As [`World::run`], and where the exit code is not 0 or the probe said nothing.
    pub fn facts(&self, bundle: &Bundle) -> anyhow::Result<Value> {
        let outcome = self.run(bundle)?;
        if outcome.code != 0 {
            bail!("exit {}: {:?} {:?}", outcome.code, outcome.stderr.trim(), outcome.stdout.trim());
        }
        outcome.facts()
    }

    /// A call of the runtime to be run by the case itself.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> std::process::Command {
        self.containers.borrow_mut().push(self.id());
        let mut command = self.runtime.command();
        command.arg("--root").arg(self.folder().join("state")).args(arguments);
        command
    }

    /// Creates a container of a bundle. What it writes can be read with [`World::said`].
    ///
    /// # Errors
    /// Where the runtime fails or tells no pid.
    pub fn create(&self, bundle: &Bundle) -> anyhow::Result<Created> {
        self.create_as(bundle, &self.id(), &[])
    }

    /// As [`World::create`], with an id and more options.
    ///
    /// # Errors
    /// As [`World::create`].
    pub fn create_as(&self, b: &Bundle, id: &str, options: &[&str]) -> anyhow::Result<Created> {
        if !self.containers.borrow().iter().any(|known| known == id) {
            self.containers.borrow_mut().push(id.to_owned());
        }
        let path = path_text(&b.path)?;
        let arguments = [&["create", "--bundle", path], options, &[id]].concat();
        let said = fs::File::create(self.folder().join(format!("{id}.said")));
        let said = said.context("make a file for what the container says")?;
        let mut command = self.runtime.command();
        command.arg("--root").arg(self.folder().join("state")).args(&arguments);
        command.stderr(said.try_clone().context("share a file")?).stdout(said);
        let mut child = command.spawn().context("start the runtime")?;
        let status = program::wait(&mut child, program::patience())?.context("create hangs")?;
        if !status.success() {
            bail!("create: {status}: {}", self.said(id)?.trim());
        }
        let state = self.state(id)?;
        let pid = state["pid"].as_u64().context("state tells no pid")?;
        Ok(Created { id: id.to_owned(), pid })
    }

    /// What the container `id` (and its `create`) wrote so far.
    ///
    /// # Errors
    /// Where there was no such container.
    pub fn said(&self, id: &str) -> anyhow::Result<String> {
        let bytes = fs::read(self.folder().join(format!("{id}.said")));
        Ok(String::from_utf8_lossy(&bytes.context("read what a container said")?).into_owned())
    }

    /// Waits until the container said `text`.
    ///
    /// # Errors
    /// Where it does not.
    pub fn until_said(&self, id: &str, text: &str) -> anyhow::Result<()> {
        program::until(&format!("the container says {text:?}"), || {
            Ok(self.said(id)?.contains(text).then_some(()))
        })
    }

    /// The container's state.
    ///
    /// # Errors
    /// Where the runtime fails or says no JSON.
    pub fn state(&self, id: &str) -> anyhow::Result<Value> {
        let ran = self.ok(&["state", id])?;
        serde_json::from_str(&ran.stdout).with_context(|| format!("read state {:?}", ran.stdout))
    }

    /// Waits until the container has `status`.
    ///
    /// # Errors
    /// Where it does not get there.
    pub fn until_status(&self, id: &str, status: &str) -> anyhow::Result<()> {
        program::until(&format!("status {status}"), || {
            Ok((self.state(id)?["status"] == status).then_some(()))
        })
    }

    /// Starts a bundle, waits until its process has said `text`, and gives the container.
    ///
    /// # Errors
    /// As the calls that it makes.
    pub fn started(&self, bundle: &Bundle, text: &str) -> anyhow::Result<Created> {
        let created = self.create(bundle)?;
        self.ok(&["start", &created.id])?;
        self.until_said(&created.id, text)?;
        Ok(created)
    }

    /// The bytes of the runtime's program.
    ///
    /// # Errors
    /// Where they can't be read.
    pub fn runtime_bytes(&self) -> anyhow::Result<Vec<u8>> {
        self.runtime.bytes()
    }

    /// Fails where a cgroup of this case is left.
    ///
    /// # Errors
    /// Naming them.
    pub fn no_cgroup_left(&self) -> anyhow::Result<()> {
        let left = kernel::cgroups_named(&self.cgroup());
        if !left.is_empty() {
            bail!("cgroups are left: {left:?}");
        }
        Ok(())
    }

    /// Fails where a mount below the case's folder is left.
    ///
    /// # Errors
    /// Naming them.
    pub fn no_mount_left(&self) -> anyhow::Result<()> {
        let folder = path_text(self.folder())?;
        let left: Vec<_> =
            kernel::mounts().into_iter().filter(|mount| mount.starts_with(folder)).collect();
        if !left.is_empty() {
            bail!("mounts are left: {left:?}");
        }
        Ok(())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for id in self.containers.take() {
            // Most are gone already, which the runtime calls an error.
            drop(self.call(&["delete", "--force", &id]));
        }
        for folder in kernel::cgroups_named(&self.cgroup()) {
            drop(fs::remove_dir(folder));
        }
        for folder in kernel::cgroups_named(&cgroup_of_the_suite()) {
            // Fails while other cases run, which is right.
            drop(fs::remove_dir(folder));
        }
    }
}

/// Above the cgroups of all cases, and not another suite's that runs at the same time.
fn cgroup_of_the_suite() -> String {
    format!("/{}", scope_prefix())
}

/// Where systemd makes the cgroups.
const SLICE: &str = "system.slice";

/// How the names of all scopes of this run begin.
fn scope_prefix() -> String {
    format!("conformance-{}", std::process::id())
}

/// A path as text: those of tests are.
pub(super) fn path_text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("{} is no text", path.display()))
}
