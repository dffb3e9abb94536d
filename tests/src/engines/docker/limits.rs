//! `docker run` and `docker update`: limits, as the container and the host see them.

use anyhow::Context as _;
use serde_json::json;

use super::super::{World, claims, holds, same};
use super::Docker;
use crate::conformance::Verdict;
use crate::kernel;

claims!("docker":
    cpus_is_a_quota,
    cpu_shares_are_a_weight,
    cpuset_is_where_it_runs,
    out_of_memory_is_exit_137_and_told,
    pids_limit_refuses_the_next_process,
    oom_score_adj_is_set,
    update_changes_a_running_container,
    stats_tell_memory_and_processes,
);

/// A file of the container's own cgroup: `controller/name` on version 1, `name` on version 2.
fn limit(
    docker: &Docker,
    options: &[&str],
    (controller, v1): (&str, &str),
    v2: &str,
) -> anyhow::Result<String> {
    docker.printed(options, &["cat", &file(controller, v1, v2)])
}

fn file(controller: &str, v1: &str, v2: &str) -> String {
    if kernel::is_unified() {
        return format!("/sys/fs/cgroup/{v2}");
    }
    format!("/sys/fs/cgroup/{controller}/{v1}")
}

fn cpus_is_a_quota(w: &World) -> anyhow::Result<Verdict> {
    let docker = w.docker()?;
    let seen = limit(docker, &["--cpus", "0.25"], ("cpu", "cpu.cfs_quota_us"), "cpu.max")?;
    same!(seen, if kernel::is_unified() { "25000 100000" } else { "25000" });
    Ok(Verdict::Pass)
}

fn cpu_shares_are_a_weight(w: &World) -> anyhow::Result<Verdict> {
    let docker = w.docker()?;
    let seen = limit(docker, &["--cpu-shares", "512"], ("cpu", "cpu.shares"), "cpu.weight")?;
    // 512 of 2..262144 shares, as runc of the day converts them to 1..10000.
    same!(seen, if kernel::is_unified() { "20" } else { "512" });
    Ok(Verdict::Pass)
}

fn cpuset_is_where_it_runs(w: &World) -> anyhow::Result<Verdict> {
    let ask = ["grep", "Cpus_allowed_list", "/proc/self/status"];
    let said = w.docker()?.printed(&["--cpuset-cpus", "1"], &ask)?;
    same!(said.split_whitespace().last().unwrap_or_default(), "1");
    Ok(Verdict::Pass)
}

fn out_of_memory_is_exit_137_and_told(w: &World) -> anyhow::Result<Verdict> {
    let options = ["--memory", "24m", "--memory-swap", "24m"];
    // docker looks for OOM kills only when the start is through. On version 2, containerd 1.6
    // misses every second one that ends the container, with any runtime: the cgroup is gone too
    // soon. So the container ends when the kill is told.
    let script = "until test -e /go; do sleep 0.1; done; tail /dev/zero; code=$?; \
                  until test -e /told; do sleep 0.1; done; exit $code";
    let held = w.docker()?.detached(&options, &["sh", "-c", script])?;
    held.exec(&["touch", "/go"])?;
    held.until_event("oom")?;
    held.exec(&["touch", "/told"])?;
    same!(held.verb("wait", &[])?, "137");
    same!(held.inspect("/State/OOMKilled")?, true);
    same!(held.inspect("/State/ExitCode")?, 137);
    Ok(Verdict::Pass)
}

fn pids_limit_refuses_the_next_process(w: &World) -> anyhow::Result<Verdict> {
    let script = "for i in 1 2 3 4 5 6 7 8; do sleep 100 & done; echo all";
    let ran = w.docker()?.run(&["--pids-limit", "5"], &["sh", "-c", script])?;
    holds!(ran.stderr, "can't fork");
    same!(ran.stdout, "");
    Ok(Verdict::Pass)
}

fn oom_score_adj_is_set(w: &World) -> anyhow::Result<Verdict> {
    let ask = ["cat", "/proc/self/oom_score_adj"];
    same!(w.docker()?.printed(&["--oom-score-adj", "321"], &ask)?, "321");
    Ok(Verdict::Pass)
}

fn update_changes_a_running_container(w: &World) -> anyhow::Result<Verdict> {
    let held = w.docker()?.detached(&["--memory", "64m", "--cpus", "1"], &["sleep", "1000"])?;
    let options = ["--memory", "48m", "--memory-swap", "96m", "--cpus", "0.5", "--pids-limit", "9"];
    same!(held.verb("update", &options)?, held.name);
    let memory = file("memory", "memory.limit_in_bytes", "memory.max");
    same!(held.exec(&["cat", &memory])?, "50331648");
    holds!(held.exec(&["cat", &file("cpu", "cpu.cfs_quota_us", "cpu.max")])?, "50000");
    same!(held.exec(&["cat", &file("pids", "pids.max", "pids.max")])?, "9");
    Ok(Verdict::Pass)
}

fn stats_tell_memory_and_processes(w: &World) -> anyhow::Result<Verdict> {
    let docker = w.docker()?;
    let held = docker.detached(&["--memory", "64m"], &["sh", "-c", "sleep 1000 & wait"])?;
    held.until("/State/Running", &json!(true))?;
    let format = "{{.PIDs}} {{.MemUsage}}";
    let read = || docker.out(&["stats", "--no-stream", "--format", format, &held.name]);
    crate::program::until("stats tell two processes", || {
        Ok(read()?.starts_with("2 ").then_some(()))
    })?;
    let seen = read()?;
    holds!(seen, " / 64MiB");
    let used = seen.split(' ').nth(1).context("no memory in stats")?;
    same!(used.starts_with("0B"), false);
    Ok(Verdict::Pass)
}
