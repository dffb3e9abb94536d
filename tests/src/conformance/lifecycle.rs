//! The life of a container: create, start, state, kill, delete, run, list.
//! Source: OCI runtime-spec, runtime.md, "Lifecycle" and "Operations".

use std::fs;

use anyhow::Context as _;
use serde_json::json;

use super::world::path_text;
use super::{Verdict, World, cases, claim};
use crate::{kernel, program};

cases!("lifecycle":
    run_returns_the_exit_code,
    run_returns_128_plus_the_signal,
    create_does_not_run_the_process,
    start_runs_the_process,
    the_state_of_a_stopped_container_is_stopped,
    a_container_in_the_foreground_reads_stdin,
    run_detached_returns_at_once,
    kill_sends_the_signal_by_name,
    kill_sends_the_signal_by_number,
    kill_without_a_signal_is_sigterm,
    delete_forgets_the_container,
    delete_force_ends_a_running_container,
    an_id_can_be_used_again_after_delete,
    list_names_the_container,
    the_pid_file_holds_the_pid,
    annotations_are_in_the_state,
    the_console_socket_gets_a_terminal,
    features_is_an_object,
    spec_writes_a_configuration_that_runs,
);

fn run_returns_the_exit_code(w: &World) -> anyhow::Result<Verdict> {
    let outcome = w.run(&w.bundle(&["exit", "7"])?)?;
    claim!(outcome.code == 7, "exit {}: {}", outcome.code, outcome.stderr);
    w.no_cgroup_left()?;
    w.no_mount_left()?;
    Ok(Verdict::Pass)
}

fn run_returns_128_plus_the_signal(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["echo", "up", "--", "sleep"])?;
    let id = w.id();
    let out = w.folder().join("out");
    let file = fs::File::create(&out).context("make a file")?;
    let mut command = w.command(&["run", "--bundle", path_text(&bundle.path)?, &id]);
    let mut child = command.stdout(file).spawn().context("start the runtime")?;
    let up = program::until("the container runs", || {
        let ended = child.try_wait().context("look at the runtime")?;
        claim!(ended.is_none(), "run ended early: {ended:?}");
        Ok(fs::read_to_string(&out)?.contains("up").then_some(()))
    });
    up?;
    w.ok(&["kill", &id, "KILL"])?;
    let status = program::wait(&mut child, program::patience())?.context("run does not end")?;
    claim!(status.code() == Some(137), "{status}");
    Ok(Verdict::Pass)
}

fn create_does_not_run_the_process(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["write", "/ran", "yes"])?;
    let created = w.create(&bundle)?;
    let state = w.state(&created.id)?;
    claim!(state["status"] == "created", "status {}", state["status"]);
    claim!(state["id"] == json!(created.id), "id {}", state["id"]);
    claim!(state["bundle"] == json!(bundle.path), "bundle {}", state["bundle"]);
    claim!(state["ociVersion"].is_string(), "no ociVersion");
    claim!(kernel::lives(created.pid), "process {} does not live", created.pid);
    claim!(!bundle.rootfs().join("ran").exists(), "the process ran before start");
    Ok(Verdict::Pass)
}

fn start_runs_the_process(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["write", "/ran", "yes", "--", "echo", "up", "--", "sleep"])?;
    let created = w.started(&bundle, "up")?;
    let state = w.state(&created.id)?;
    claim!(state["status"] == "running", "status {}", state["status"]);
    claim!(state["pid"] == json!(created.pid), "the pid changed to {}", state["pid"]);
    claim!(bundle.rootfs().join("ran").exists(), "the process did not run");
    Ok(Verdict::Pass)
}

fn the_state_of_a_stopped_container_is_stopped(w: &World) -> anyhow::Result<Verdict> {
    let created = w.create(&w.bundle(&["exit", "0"])?)?;
    w.ok(&["start", &created.id])?;
    w.until_status(&created.id, "stopped")?;
    Ok(Verdict::Pass)
}

fn a_container_in_the_foreground_reads_stdin(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["read-line"])?;
    let input = w.folder().join("in");
    fs::write(&input, "good morning\n").context("write a file")?;
    let mut command = w.command(&["run", "--bundle", path_text(&bundle.path)?, &w.id()]);
    command.stdin(fs::File::open(&input).context("open a file")?);
    let ran = program::run(w.folder(), &mut command)?.succeeded()?;
    claim!(ran.stdout.contains("good morning"), "{}", ran.said());
    Ok(Verdict::Pass)
}

fn run_detached_returns_at_once(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["sleep"])?;
    let id = w.id();
    let mut command = w.command(&["run", "--detach", "--bundle", path_text(&bundle.path)?, &id]);
    program::run(w.folder(), &mut command)?.succeeded()?;
    let state = w.state(&id)?;
    claim!(state["status"] == "running", "status {}", state["status"]);
    Ok(Verdict::Pass)
}

fn trapped(w: &World, arguments: &[&str]) -> anyhow::Result<Verdict> {
    let created = w.started(&w.bundle(&["trap", "TERM", "0"])?, "ready")?;
    w.ok(&[&["kill", &created.id], arguments].concat())?;
    w.until_said(&created.id, "SIGTERM")?;
    w.until_status(&created.id, "stopped")?;
    Ok(Verdict::Pass)
}

fn kill_sends_the_signal_by_name(w: &World) -> anyhow::Result<Verdict> {
    trapped(w, &["SIGTERM"])
}

fn kill_sends_the_signal_by_number(w: &World) -> anyhow::Result<Verdict> {
    trapped(w, &["15"])
}

fn kill_without_a_signal_is_sigterm(w: &World) -> anyhow::Result<Verdict> {
    trapped(w, &[])
}

fn delete_forgets_the_container(w: &World) -> anyhow::Result<Verdict> {
    let created = w.create(&w.bundle(&["exit", "0"])?)?;
    w.ok(&["start", &created.id])?;
    w.until_status(&created.id, "stopped")?;
    w.ok(&["delete", &created.id])?;
    w.refused(&["state", &created.id])?;
    w.no_cgroup_left()?;
    w.no_mount_left()?;
    Ok(Verdict::Pass)
}

fn delete_force_ends_a_running_container(w: &World) -> anyhow::Result<Verdict> {
    let created = w.started(&w.bundle(&["ignore", "TERM"])?, "ready")?;
    w.ok(&["delete", "--force", &created.id])?;
    w.refused(&["state", &created.id])?;
    program::until("the process ends", || Ok((!kernel::lives(created.pid)).then_some(())))?;
    w.no_cgroup_left()?;
    Ok(Verdict::Pass)
}

fn an_id_can_be_used_again_after_delete(w: &World) -> anyhow::Result<Verdict> {
    for code in [3, 4] {
        let outcome = w.run(&w.bundle(&["exit", &code.to_string()])?)?;
        claim!(outcome.code == code, "exit {}: {}", outcome.code, outcome.stderr);
    }
    Ok(Verdict::Pass)
}

fn list_names_the_container(w: &World) -> anyhow::Result<Verdict> {
    let created = w.create(&w.bundle(&["sleep"])?)?;
    let table = w.ok(&["list"])?.stdout;
    claim!(table.contains(&created.id), "the table has no {}: {table}", created.id);
    let names = w.ok(&["list", "--quiet"])?.stdout;
    claim!(names.trim() == created.id, "list --quiet says {names:?}");
    let listed = w.ok(&["list", "--format", "json"])?.stdout;
    let listed: serde_json::Value = serde_json::from_str(&listed).context("read the list")?;
    claim!(listed[0]["id"] == json!(created.id), "{listed}");
    claim!(listed[0]["pid"] == json!(created.pid), "{listed}");
    claim!(listed[0]["status"] == "created", "{listed}");
    Ok(Verdict::Pass)
}

fn the_pid_file_holds_the_pid(w: &World) -> anyhow::Result<Verdict> {
    let file = w.folder().join("pid");
    let created =
        w.create_as(&w.bundle(&["sleep"])?, &w.id(), &["--pid-file", path_text(&file)?])?;
    let text = kernel::read(&file)?;
    claim!(text == created.pid.to_string(), "{text:?} is not {}", created.pid);
    Ok(Verdict::Pass)
}

fn annotations_are_in_the_state(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["sleep"])?;
    let bundle = bundle.change(|c| c["annotations"] = json!({ "com.example.key": "value" }))?;
    let state = w.state(&w.create(&bundle)?.id)?;
    claim!(state["annotations"]["com.example.key"] == "value", "{state}");
    Ok(Verdict::Pass)
}

fn the_console_socket_gets_a_terminal(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["tty", "--", "read-line"])?;
    let bundle = bundle.change(|c| c["process"]["terminal"] = json!(true))?;
    // A socket's path has at most 108 bytes.
    let folder = tempfile::Builder::new().prefix("c").tempdir().context("make a folder")?;
    let socket = folder.path().join("s");
    let console = super::console::Console::listen(&socket)?;
    let created = w.create_as(&bundle, &w.id(), &["--console-socket", path_text(&socket)?])?;
    let mut terminal = console.accept()?;
    w.ok(&["start", &created.id])?;
    let said = terminal.read_until("name")?;
    let line = said.lines().find(|line| line.contains("\"tty\"")).context("no facts")?;
    let facts: serde_json::Value = serde_json::from_str(line.trim()).context("read the facts")?;
    for fact in ["stdin", "stdout", "stderr", "controlling"] {
        claim!(facts["tty"][fact] == true, "{fact} is no terminal: {facts}");
    }
    terminal.write("typed\n")?;
    terminal.read_until("{\"line\":\"typed\"}")?;
    w.until_status(&created.id, "stopped")?;
    Ok(Verdict::Pass)
}

fn features_is_an_object(w: &World) -> anyhow::Result<Verdict> {
    let ran = w.ok(&["features"])?;
    let told: serde_json::Value = serde_json::from_str(&ran.stdout).context("read features")?;
    claim!(told["ociVersionMin"].is_string(), "no ociVersionMin: {told}");
    let namespaces = &told["linux"]["namespaces"];
    claim!(namespaces.as_array().is_some_and(|n| n.contains(&json!("mount"))), "{namespaces}");
    Ok(Verdict::Pass)
}

fn spec_writes_a_configuration_that_runs(w: &World) -> anyhow::Result<Verdict> {
    let mut bundle = w.bundle(&["ids"])?;
    let process = bundle.config["process"].clone();
    fs::remove_file(bundle.path.join("config.json")).context("remove config.json")?;
    w.ok(&["spec", "--bundle", path_text(&bundle.path)?])?;
    let text = fs::read_to_string(bundle.path.join("config.json")).context("read config.json")?;
    let mut config: serde_json::Value = serde_json::from_str(&text).context("read config.json")?;
    let inheritable = &config["process"]["capabilities"]["inheritable"];
    let empty = inheritable.as_array().is_none_or(Vec::is_empty);
    claim!(empty, "an inheritable set nobody asked for: {inheritable}");
    config["process"]["args"] = process["args"].clone();
    config["process"]["terminal"] = json!(false);
    config["linux"]["cgroupsPath"] = json!(w.cgroups_path(""));
    bundle.config = config;
    bundle.write()?;
    let facts = w.facts(&bundle)?;
    claim!(facts["uid"] == 0, "{facts}");
    Ok(Verdict::Pass)
}
