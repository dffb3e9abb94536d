//! Hooks: programs of the host that run at fixed points of a container's life, with its state on
//! stdin. Source: OCI runtime-spec, config.md, "POSIX-platform Hooks".

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::world::path_text;
use super::{Verdict, World, cases, claim};

cases!("hooks":
    create_runtime_hooks_get_the_state,
    poststart_hooks_run_after_start,
    poststop_hooks_run_at_delete,
    hooks_have_their_own_environment,
    hooks_before_the_start_run_in_their_order,
    create_container_hooks_are_in_the_containers_namespaces,
    start_container_hooks_are_the_containers_programs,
    a_hook_that_fails_stops_the_create,
    a_hook_that_takes_too_long_is_ended,
);

/// A hook that writes its stdin and one variable into `file`.
fn hook(file: &Path) -> Value {
    let script = format!("cat > {0}; printf '%s' \"$MARK\" > {0}.mark", file.display());
    json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["MARK=here", "PATH=/bin"] })
}

fn create_runtime_hooks_get_the_state(w: &World) -> anyhow::Result<Verdict> {
    let file = w.folder().join("hook");
    let bundle = w.bundle(&["sleep"])?;
    let bundle = bundle.change(|c| c["hooks"] = json!({ "createRuntime": [hook(&file)] }))?;
    let created = w.create(&bundle)?;
    let text = fs::read_to_string(&file).context("read what the hook was given")?;
    let state: Value = serde_json::from_str(&text).context("read the state")?;
    claim!(state["id"] == json!(created.id), "{state}");
    claim!(state["pid"] == json!(created.pid), "{state}");
    claim!(state["bundle"] == json!(bundle.path), "{state}");
    Ok(Verdict::Pass)
}

fn poststart_hooks_run_after_start(w: &World) -> anyhow::Result<Verdict> {
    let file = w.folder().join("hook");
    let bundle = w.bundle(&["echo", "up", "--", "sleep"])?;
    let bundle = bundle.change(|c| c["hooks"] = json!({ "poststart": [hook(&file)] }))?;
    let created = w.create(&bundle)?;
    claim!(!file.exists(), "it ran before start");
    w.ok(&["start", &created.id])?;
    claim!(file.exists(), "it did not run before start returned");
    Ok(Verdict::Pass)
}

fn poststop_hooks_run_at_delete(w: &World) -> anyhow::Result<Verdict> {
    let file = w.folder().join("hook");
    let bundle = w.bundle(&["exit", "0"])?;
    let bundle = bundle.change(|c| c["hooks"] = json!({ "poststop": [hook(&file)] }))?;
    let created = w.create(&bundle)?;
    w.ok(&["start", &created.id])?;
    w.until_status(&created.id, "stopped")?;
    claim!(!file.exists(), "it ran before delete");
    w.ok(&["delete", &created.id])?;
    claim!(file.exists(), "it did not run");
    Ok(Verdict::Pass)
}

fn hooks_have_their_own_environment(w: &World) -> anyhow::Result<Verdict> {
    let file = w.folder().join("hook");
    let bundle = w.bundle(&["sleep"])?;
    w.create(&bundle.change(|c| c["hooks"] = json!({ "createRuntime": [hook(&file)] }))?)?;
    let mark = fs::read_to_string(w.folder().join("hook.mark")).context("read the variable")?;
    claim!(mark == "here", "{mark:?}");
    Ok(Verdict::Pass)
}

fn hooks_before_the_start_run_in_their_order(w: &World) -> anyhow::Result<Verdict> {
    let file = w.folder().join("order");
    let line = |name: &str| {
        let script = format!("echo {name} >>{}", file.display());
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }])
    };
    let bundle = w.bundle(&["sleep"])?.change(|config| {
        config["hooks"] = json!({
            "createContainer": line("createContainer"),
            "createRuntime": line("createRuntime"),
            "prestart": line("prestart"),
        });
    })?;
    w.create(&bundle)?;
    let seen = fs::read_to_string(&file).context("read the order")?;
    claim!(seen == "prestart\ncreateRuntime\ncreateContainer\n", "{seen:?}");
    Ok(Verdict::Pass)
}

fn create_container_hooks_are_in_the_containers_namespaces(w: &World) -> anyhow::Result<Verdict> {
    let file = w.folder().join("namespaces");
    let script = format!("readlink /proc/self/ns/mnt /proc/self/ns/uts >{}", file.display());
    let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]);
    let bundle =
        w.bundle(&["sleep"])?.change(|c| c["hooks"] = json!({ "createContainer": hook }))?;
    let created = w.create(&bundle)?;
    let seen = fs::read_to_string(&file).context("read what the hook saw")?;
    let expected = ["mnt", "uts"].map(|kind| crate::kernel::namespace(created.pid, kind));
    for (seen, expected) in seen.lines().zip(expected) {
        let expected = expected?;
        claim!(seen == expected, "{seen} instead of {expected}");
    }
    claim!(seen.lines().count() == 2, "{seen:?}");
    Ok(Verdict::Pass)
}

fn start_container_hooks_are_the_containers_programs(w: &World) -> anyhow::Result<Verdict> {
    let hook = json!([{ "path": "/bin/probe", "args": ["probe", "write", "/mark", "made"] }]);
    let bundle = w.bundle(&["cat", "/mark"])?;
    let bundle = bundle.change(|c| c["hooks"] = json!({ "startContainer": hook }))?;
    let created = w.create(&bundle)?;
    claim!(!bundle.rootfs().join("mark").exists(), "it ran before start");
    w.ok(&["start", &created.id])?;
    w.until_said(&created.id, "\"text\":\"made\"")?;
    Ok(Verdict::Pass)
}

fn refused(w: &World, hook: Value) -> anyhow::Result<Verdict> {
    let good = w.run(&w.bundle(&["exit", "5"])?)?;
    claim!(good.code == 5, "a good bundle: exit {}: {}", good.code, good.stderr);
    let bundle = w.bundle(&["sleep"])?;
    let bundle = bundle.change(|c| c["hooks"] = json!({ "createRuntime": [hook] }))?;
    w.refused(&["create", "--bundle", path_text(&bundle.path)?, &w.id()])?;
    w.refused(&["state", &w.id()])?;
    w.no_cgroup_left()?;
    w.no_mount_left()?;
    Ok(Verdict::Pass)
}

fn a_hook_that_fails_stops_the_create(w: &World) -> anyhow::Result<Verdict> {
    refused(w, json!({ "path": "/bin/false" }))
}

fn a_hook_that_takes_too_long_is_ended(w: &World) -> anyhow::Result<Verdict> {
    refused(w, json!({ "path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1 }))
}
