//! The readiness protocol of systemd, as runtimes carry it through: what a container tells by
//! `NOTIFY_SOCKET` goes on to whom the runtime's caller named by it.
//! Source: sd_notify(3); the words of runc's and crun's documentation.

use std::fs;

use anyhow::Context as _;

use super::world::path_text;
use super::{Verdict, World, cases, claim};
use crate::program;
use crate::service_manager::Manager;

cases!("readiness":
    start_tells_that_the_container_is_ready,
    a_user_of_the_container_tells_that_it_is_ready,
    a_detached_run_tells_that_the_container_is_ready,
);

const PROGRAM: [&str; 5] = ["notify", "READY=1", "X_OWN=1", "--", "sleep"];

fn start_tells(w: &World, uid: u32) -> anyhow::Result<Verdict> {
    let manager = Manager::listen(w.folder())?;
    let bundle = w.bundle(&PROGRAM)?.change(|config| {
        config["process"]["user"]["uid"] = uid.into();
    })?;
    let (id, path) = (w.id(), path_text(&bundle.path)?.to_owned());
    let said = fs::File::create(w.folder().join("said")).context("make a file")?;
    let mut create = manager.of(w.command(&["create", "--bundle", &path, &id]));
    let created = create.stdout(said.try_clone()?).stderr(said).status().context("create")?;
    claim!(created.success(), "create: {}", fs::read_to_string(w.folder().join("said"))?);
    let pid = w.state(&id)?["pid"].as_u64().context("state tells no pid")?;
    let mut start = manager.of(w.command(&["start", &id]));
    program::run(w.folder(), &mut start)?.succeeded()?;
    hears_of(&manager, pid)
}

fn start_tells_that_the_container_is_ready(w: &World) -> anyhow::Result<Verdict> {
    start_tells(w, 0)
}

fn a_user_of_the_container_tells_that_it_is_ready(w: &World) -> anyhow::Result<Verdict> {
    start_tells(w, 1000)
}

fn a_detached_run_tells_that_the_container_is_ready(w: &World) -> anyhow::Result<Verdict> {
    let manager = Manager::listen(w.folder())?;
    let bundle = w.bundle(&PROGRAM)?;
    let (id, path) = (w.id(), path_text(&bundle.path)?.to_owned());
    let mut run = manager.of(w.command(&["run", "--detach", "--bundle", &path, &id]));
    program::run(w.folder(), &mut run)?.succeeded()?;
    let pid = w.state(&id)?["pid"].as_u64().context("state tells no pid")?;
    hears_of(&manager, pid)
}

/// The word and the main process, in one message or in several, and nothing else that was said.
fn hears_of(manager: &Manager, pid: u64) -> anyhow::Result<Verdict> {
    let heard = manager.hears(&["READY=1", &format!("MAINPID={pid}")])?;
    claim!(!heard.contains("X_OWN"), "the container's other words went on: {heard:?}");
    Ok(Verdict::Pass)
}
