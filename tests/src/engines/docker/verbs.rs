//! docker's verbs for containers that run.

use anyhow::Context as _;
use serde_json::json;

use super::super::world::IMAGE;
use super::super::{World, claims, holds, same};
use super::ended_with;
use crate::conformance::Verdict;
use crate::{kernel, program};

claims!("docker":
    exec_gives_output_and_exit_code,
    exec_has_user_folder_and_environment,
    exec_has_a_terminal,
    exec_detached_runs_on,
    exec_of_a_program_that_is_not_there_is_told,
    exec_privileged_has_more_capabilities,
    pause_stops_and_unpause_continues,
    top_lists_the_processes,
    kill_sends_the_signal,
    stop_gives_time_and_then_kills,
    restart_gives_a_new_process,
    a_restart_policy_starts_it_again,
    a_health_check_is_run_inside,
    inspect_tells_the_real_process,
    removing_by_force_leaves_no_process,
);

fn exec_gives_output_and_exit_code(w: &World) -> anyhow::Result<Verdict> {
    let docker = w.docker()?;
    let held = docker.detached(&[], &["sleep", "1000"])?;
    let links = "readlink /proc/1/ns/pid; readlink /proc/self/ns/pid";
    let script = format!("echo out; echo err >&2; {links}; exit 6");
    let ran = docker.typed(&["exec", &held.name, "sh", "-c", &script])?;
    ended_with(&ran, 6)?;
    same!(ran.stderr, "err\n");
    let lines: Vec<&str> = ran.stdout.lines().collect();
    same!(lines.first().copied().unwrap_or_default(), "out");
    same!(lines.get(1), lines.get(2));
    Ok(Verdict::Pass)
}

fn exec_has_user_folder_and_environment(w: &World) -> anyhow::Result<Verdict> {
    let docker = w.docker()?;
    let held = docker.detached(&["-e", "A=container"], &["sleep", "1000"])?;
    let options = ["exec", "-u", "1000", "-w", "/tmp", "-e", "B=exec", &held.name];
    let script = ["sh", "-c", "id -u; pwd; echo $A $B; grep CapEff /proc/self/status"];
    let said = docker.out(&[&options[..], &script].concat())?;
    holds!(said, "1000\n/tmp\ncontainer exec\n");
    holds!(said, "0000000000000000");
    Ok(Verdict::Pass)
}

fn exec_has_a_terminal(w: &World) -> anyhow::Result<Verdict> {
    let docker = w.docker()?;
    let held = docker.detached(&[], &["sleep", "1000"])?;
    let mut session = docker.at_terminal(&["exec", "-it", &held.name, "sh"])?;
    session.until("#")?;
    session.type_in("tty; echo $((6 * 7))\n")?;
    session.until("42\r\n")?;
    session.type_in("exit 4\n")?;
    let (code, said) = session.end()?;
    holds!(said, "/dev/pts/");
    same!(code, 4);
    Ok(Verdict::Pass)
}

fn exec_detached_runs_on(w: &World) -> anyhow::Result<Verdict> {
    let docker = w.docker()?;
    let held = docker.detached(&[], &["sleep", "1000"])?;
    docker.out(&["exec", "-d", &held.name, "sleep", "4321"])?;
    program::until("top lists what was executed", || {
        Ok(held.verb("top", &[])?.contains("sleep 4321").then_some(()))
    })?;
    Ok(Verdict::Pass)
}

fn exec_of_a_program_that_is_not_there_is_told(w: &World) -> anyhow::Result<Verdict> {
    let docker = w.docker()?;
    let held = docker.detached(&[], &["sleep", "1000"])?;
    let ran = docker.typed(&["exec", &held.name, "no-such-program"])?;
    let said = format!("{}{}", ran.stdout, ran.stderr);
    holds!(said, "\"no-such-program\": executable file not found");
    // docker before version 23 says 126 for both.
    same!([126, 127].contains(&ran.code()), true);
    ended_with(&docker.typed(&["exec", &held.name, "/etc/passwd"])?, 126)?;
    Ok(Verdict::Pass)
}

fn exec_privileged_has_more_capabilities(w: &World) -> anyhow::Result<Verdict> {
    let docker = w.docker()?;
    let held = docker.detached(&["--cap-drop", "ALL"], &["sleep", "1000"])?;
    let ask = ["grep", "CapEff", "/proc/self/status"];
    holds!(held.exec(&ask)?, "0000000000000000");
    let said = docker.out(&[&["exec", "--privileged", &held.name], &ask[..]].concat())?;
    same!(said.contains("0000000000000000"), false);
    Ok(Verdict::Pass)
}

fn pause_stops_and_unpause_continues(w: &World) -> anyhow::Result<Verdict> {
    let docker = w.docker()?;
    let script = "i=0; while :; do i=$((i + 1)); echo $i > /tmp/i; sleep 0.05; done";
    let held = docker.detached(&[], &["sh", "-c", script])?;
    same!(held.verb("pause", &[])?, held.name);
    same!(held.inspect("/State/Status")?, "paused");
    let name = format!("name={}", held.name);
    holds!(docker.out(&["ps", "--filter", &name, "--format", "{{.Status}}"])?, "(Paused)");
    let refused = docker.typed(&["exec", &held.name, "true"])?;
    holds!(refused.stderr, "paused");
    held.verb("unpause", &[])?;
    same!(held.inspect("/State/Status")?, "running");
    let first = held.exec(&["cat", "/tmp/i"])?;
    program::until("the program goes on", || {
        Ok((held.exec(&["cat", "/tmp/i"])? != first).then_some(()))
    })?;
    Ok(Verdict::Pass)
}

fn top_lists_the_processes(w: &World) -> anyhow::Result<Verdict> {
    let held = w.docker()?.detached(&[], &["sh", "-c", "sleep 1111 & sleep 2222"])?;
    program::until("top lists both", || {
        let top = held.verb("top", &[])?;
        Ok((top.contains("sleep 1111") && top.contains("sleep 2222")).then_some(()))
    })?;
    holds!(held.verb("top", &[])?, "PID");
    Ok(Verdict::Pass)
}

fn kill_sends_the_signal(w: &World) -> anyhow::Result<Verdict> {
    let script = "trap 'echo caught; exit 8' USR1; echo up; while :; do sleep 0.1; done";
    let held = w.docker()?.detached(&[], &["sh", "-c", script])?;
    held.until_logs("up")?;
    held.verb("kill", &["--signal", "USR1"])?;
    same!(held.verb("wait", &[])?, "8");
    holds!(held.verb("logs", &[])?, "caught");
    Ok(Verdict::Pass)
}

fn stop_gives_time_and_then_kills(w: &World) -> anyhow::Result<Verdict> {
    let docker = w.docker()?;
    let script = "trap 'exit 3' TERM; echo up; while :; do sleep 0.1; done";
    let held = docker.detached(&[], &["sh", "-c", script])?;
    held.until_logs("up")?;
    held.verb("stop", &[])?;
    same!(held.inspect("/State/ExitCode")?, 3);
    // Process 1 without a handler does not see SIGTERM.
    let deaf = docker.detached(&[], &["sleep", "1000"])?;
    deaf.verb("stop", &["--time", "1"])?;
    same!(deaf.inspect("/State/ExitCode")?, 137);
    Ok(Verdict::Pass)
}

fn restart_gives_a_new_process(w: &World) -> anyhow::Result<Verdict> {
    let held = w.docker()?.detached(&[], &["sleep", "1000"])?;
    let first = held.inspect("/State/Pid")?;
    held.exec(&["touch", "/kept"])?;
    held.verb("restart", &["--time", "1"])?;
    same!(held.inspect("/State/Running")?, true);
    same!(held.inspect("/State/Pid")? == first, false);
    held.exec(&["test", "-e", "/kept"])?;
    Ok(Verdict::Pass)
}

fn a_restart_policy_starts_it_again(w: &World) -> anyhow::Result<Verdict> {
    let held =
        w.docker()?.detached(&["--restart", "on-failure:2"], &["sh", "-c", "echo x; exit 1"])?;
    held.until("/RestartCount", &json!(2))?;
    held.until("/State/Status", &json!("exited"))?;
    same!(held.verb("logs", &[])?, "x\nx\nx");
    Ok(Verdict::Pass)
}

fn a_health_check_is_run_inside(w: &World) -> anyhow::Result<Verdict> {
    let options = ["--health-cmd", "test -e /well", "--health-interval", "1s"];
    let held = w.docker()?.detached(&options, &["sh", "-c", "touch /well; sleep 1000"])?;
    held.until("/State/Health/Status", &json!("healthy"))?;
    Ok(Verdict::Pass)
}

fn inspect_tells_the_real_process(w: &World) -> anyhow::Result<Verdict> {
    let held = w.docker()?.detached(&[], &["sleep", "5432"])?;
    let pid = held.inspect("/State/Pid")?.as_u64().context("no pid")?;
    same!(kernel::processes().get(&pid).cloned().unwrap_or_default(), "sleep 5432");
    Ok(Verdict::Pass)
}

fn removing_by_force_leaves_no_process(w: &World) -> anyhow::Result<Verdict> {
    let docker = w.docker()?;
    let held = docker.detached(&[], &["sh", "-c", "sleep 6543 & sleep 6543"])?;
    let pid = held.inspect("/State/Pid")?.as_u64().context("no pid")?;
    let id = held.inspect("/Id")?;
    let id = id.as_str().context("no id")?.to_owned();
    held.verb("rm", &["--force"])?;
    same!(kernel::lives(pid), false);
    let left = kernel::processes().into_values().any(|line| line == "sleep 6543");
    same!(left, false);
    let parent = format!("{}/{id}", w.place.cgroup);
    same!(kernel::cgroups_named(&parent).len(), 0);
    holds!(docker.out(&["images", "--quiet", "--no-trunc", IMAGE])?, "sha256:");
    Ok(Verdict::Pass)
}
