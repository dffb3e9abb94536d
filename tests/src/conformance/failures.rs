//! What must be refused, in words, with nothing left behind.
//! Source: OCI runtime-spec, runtime.md, "Operations": each says when it MUST generate an error.

use std::fs;

use anyhow::Context as _;
use serde_json::json;

use super::world::path_text;
use super::{Verdict, World, cases, claim};
use crate::kernel;

cases!("failures":
    the_state_of_an_unknown_container_is_an_error,
    create_with_an_id_in_use_is_refused,
    create_with_an_id_that_leaves_the_state_folder_is_refused,
    start_of_a_running_container_is_refused,
    start_of_a_stopped_container_is_refused,
    kill_of_a_stopped_container_is_refused,
    kill_with_an_unknown_signal_is_refused,
    delete_of_a_running_container_is_refused,
    a_broken_configuration_leaves_nothing,
    a_missing_configuration_leaves_nothing,
    a_missing_rootfs_leaves_nothing,
    a_missing_program_leaves_nothing,
    a_missing_mount_source_leaves_nothing,
    an_unknown_property_is_ignored,
);

fn the_state_of_an_unknown_container_is_an_error(w: &World) -> anyhow::Result<Verdict> {
    let created = w.create(&w.bundle(&["sleep"])?)?;
    w.state(&created.id)?;
    w.refused(&["state", "no-such-container"])?;
    Ok(Verdict::Pass)
}

fn create_with_an_id_in_use_is_refused(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["sleep"])?;
    let created = w.create(&bundle)?;
    w.refused(&["create", "--bundle", path_text(&bundle.path)?, &created.id])?;
    let state = w.state(&created.id)?;
    claim!(state["pid"] == json!(created.pid), "the container was touched: {state}");
    claim!(state["status"] == "created", "the container was touched: {state}");
    claim!(kernel::lives(created.pid), "the container was ended");
    Ok(Verdict::Pass)
}

fn create_with_an_id_that_leaves_the_state_folder_is_refused(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["sleep"])?;
    for id in ["../up", "a/b", "..", "."] {
        w.refused(&["create", "--bundle", path_text(&bundle.path)?, id])?;
    }
    Ok(Verdict::Pass)
}

fn start_of_a_running_container_is_refused(w: &World) -> anyhow::Result<Verdict> {
    let created = w.started(&w.bundle(&["echo", "up", "--", "sleep"])?, "up")?;
    w.refused(&["start", &created.id])?;
    claim!(w.state(&created.id)?["status"] == "running", "the container was touched");
    Ok(Verdict::Pass)
}

fn start_of_a_stopped_container_is_refused(w: &World) -> anyhow::Result<Verdict> {
    let created = w.create(&w.bundle(&["exit", "0"])?)?;
    w.ok(&["start", &created.id])?;
    w.until_status(&created.id, "stopped")?;
    w.refused(&["start", &created.id])?;
    Ok(Verdict::Pass)
}

fn kill_of_a_stopped_container_is_refused(w: &World) -> anyhow::Result<Verdict> {
    let created = w.create(&w.bundle(&["exit", "0"])?)?;
    w.ok(&["start", &created.id])?;
    w.until_status(&created.id, "stopped")?;
    w.refused(&["kill", &created.id, "TERM"])?;
    Ok(Verdict::Pass)
}

fn kill_with_an_unknown_signal_is_refused(w: &World) -> anyhow::Result<Verdict> {
    let created = w.started(&w.bundle(&["echo", "up", "--", "sleep"])?, "up")?;
    w.refused(&["kill", &created.id, "SIGNOTHING"])?;
    claim!(kernel::lives(created.pid), "the container was ended");
    Ok(Verdict::Pass)
}

fn delete_of_a_running_container_is_refused(w: &World) -> anyhow::Result<Verdict> {
    let created = w.started(&w.bundle(&["echo", "up", "--", "sleep"])?, "up")?;
    w.refused(&["delete", &created.id])?;
    claim!(w.state(&created.id)?["status"] == "running", "the container was touched");
    Ok(Verdict::Pass)
}

/// The bundle is refused and no state, cgroup or mount stays. Before, one that is good runs: a
/// runtime that refuses everything proves nothing.
fn refused_without_a_trace(w: &World, spoil: &dyn Fn(&loadline_fixtures::Bundle)) -> Outcome {
    let good = w.run(&w.bundle(&["exit", "5"])?)?;
    claim!(good.code == 5, "a good bundle: exit {}: {}", good.code, good.stderr);
    let bundle = w.bundle(&["sleep"])?;
    spoil(&bundle);
    let said = w.refused(&["create", "--bundle", path_text(&bundle.path)?, &w.id()])?;
    w.refused(&["state", &w.id()])?;
    w.no_cgroup_left()?;
    w.no_mount_left()?;
    Ok(said)
}

type Outcome = anyhow::Result<String>;

fn a_broken_configuration_leaves_nothing(w: &World) -> anyhow::Result<Verdict> {
    refused_without_a_trace(w, &|bundle| {
        let broken = "{ \"ociVersion\": \"1.0.2\", \"process\": ";
        drop(fs::write(bundle.path.join("config.json"), broken));
    })?;
    Ok(Verdict::Pass)
}

fn a_missing_configuration_leaves_nothing(w: &World) -> anyhow::Result<Verdict> {
    let said = refused_without_a_trace(w, &|bundle| {
        drop(fs::remove_file(bundle.path.join("config.json")));
    })?;
    claim!(said.contains("config.json"), "the file is not named: {said}");
    Ok(Verdict::Pass)
}

fn a_missing_rootfs_leaves_nothing(w: &World) -> anyhow::Result<Verdict> {
    let said = refused_without_a_trace(w, &|bundle| {
        drop(fs::remove_dir_all(bundle.rootfs()));
    })?;
    claim!(said.contains("rootfs"), "the folder is not named: {said}");
    Ok(Verdict::Pass)
}

fn a_missing_program_leaves_nothing(w: &World) -> anyhow::Result<Verdict> {
    let good = w.run(&w.bundle(&["exit", "5"])?)?;
    claim!(good.code == 5, "a good bundle: exit {}: {}", good.code, good.stderr);
    let bundle = w.bundle(&[])?;
    let bundle = bundle.change(|c| c["process"]["args"] = json!(["/bin/no-such-program"]))?;
    let outcome = w.run(&bundle)?;
    claim!(outcome.code != 0, "running no program succeeds");
    claim!(outcome.stderr.contains("no-such-program"), "not named: {}", outcome.stderr);
    // Some runtimes tell it at create, some at start: then the container has to be deleted.
    drop(w.call(&["delete", "--force", &w.id()])?);
    w.refused(&["state", &w.id()])?;
    w.no_cgroup_left()?;
    w.no_mount_left()?;
    Ok(Verdict::Pass)
}

fn a_missing_mount_source_leaves_nothing(w: &World) -> anyhow::Result<Verdict> {
    let good = w.run(&w.bundle(&["exit", "5"])?)?;
    claim!(good.code == 5, "a good bundle: exit {}: {}", good.code, good.stderr);
    let bundle = w.bundle(&["sleep"])?.change(|config| {
        let mount = json!({
            "destination": "/data", "type": "bind", "source": "/no/such/place",
            "options": ["bind"]
        });
        config["mounts"].as_array_mut().map(|mounts| mounts.push(mount)).unwrap_or_default();
    })?;
    let said = w.refused(&["create", "--bundle", path_text(&bundle.path)?, &w.id()])?;
    claim!(said.contains("/no/such/place"), "the source is not named: {said}");
    w.refused(&["state", &w.id()])?;
    w.no_cgroup_left()?;
    w.no_mount_left()?;
    Ok(Verdict::Pass)
}

fn an_unknown_property_is_ignored(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["exit", "6"])?.change(|config| {
        config["com.example.unknown"] = json!({ "a": [1, 2] });
        config["process"]["unknownField"] = json!("x");
        config["linux"]["unknownField"] = json!(true);
    })?;
    let outcome = w.run(&bundle).context("run")?;
    claim!(outcome.code == 6, "exit {}: {}", outcome.code, outcome.stderr);
    Ok(Verdict::Pass)
}
