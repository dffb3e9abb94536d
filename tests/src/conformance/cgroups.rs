//! Control groups: where the process is put, what limits it, and what the limits do. Every claim is
//! read from the host's side, on version 1 or 2, whichever the machine has.
//! Source: OCI runtime-spec, config-linux.md, "Control groups"; runc's conversions to version 2.

use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::world::Created;
use super::{Verdict, World, cases, claim};
use crate::kernel;

cases!("cgroups":
    the_process_is_in_the_cgroup_asked_for,
    the_memory_limit_is_set,
    the_memory_reservation_is_set,
    swap_is_limited,
    the_cpu_quota_is_set,
    cpu_shares_are_set,
    the_number_of_processes_is_limited,
    the_cpuset_is_set,
    the_process_that_passes_its_memory_is_killed,
    a_device_that_is_not_allowed_can_not_be_opened,
    every_cgroup_is_removed,
);

const MIB: u64 = 1 << 20;

/// A running container with `resources`, beside the usual device rule.
fn limited(w: &World, resources: &Value) -> anyhow::Result<Created> {
    let bundle = w.bundle(&["echo", "up", "--", "sleep"])?.change(|config| {
        for (name, value) in resources.as_object().into_iter().flatten() {
            config["linux"]["resources"][name] = value.clone();
        }
    })?;
    w.started(&bundle, "up")
}

/// The file of the container's cgroup, by its names on version 1 and 2.
fn file(w: &World, controller: &str, v1: &str, v2: &str) -> PathBuf {
    let folder = kernel::cgroup(controller, &w.cgroup());
    folder.join(if kernel::is_unified() { v2 } else { v1 })
}

/// Whether the machine has the controller at all.
fn missing(controller: &str) -> Option<Verdict> {
    let there = if kernel::is_unified() {
        let file = PathBuf::from(kernel::CGROUPS).join("cgroup.controllers");
        kernel::read(&file).is_ok_and(|all| all.split(' ').any(|one| one == controller))
    } else {
        PathBuf::from(kernel::CGROUPS).join(controller).is_dir()
    };
    (!there).then(|| Verdict::Needs(format!("the {controller} cgroup controller")))
}

fn the_process_is_in_the_cgroup_asked_for(w: &World) -> anyhow::Result<Verdict> {
    let created = w.create(&w.bundle(&["sleep"])?)?;
    let cgroups = kernel::cgroups_of(created.pid)?;
    let controllers = if kernel::is_unified() { vec![""] } else { vec!["memory", "cpu", "pids"] };
    for controller in controllers {
        let seen = cgroups.get(controller).with_context(|| format!("no {controller} cgroup"))?;
        claim!(seen.ends_with(&w.cgroup()), "{controller}: {seen}");
    }
    Ok(Verdict::Pass)
}

fn the_memory_limit_is_set(w: &World) -> anyhow::Result<Verdict> {
    if let Some(missing) = missing("memory") {
        return Ok(missing);
    }
    limited(w, &json!({ "memory": { "limit": 64 * MIB } }))?;
    let seen = kernel::read(&file(w, "memory", "memory.limit_in_bytes", "memory.max"))?;
    claim!(seen == (64 * MIB).to_string(), "{seen}");
    Ok(Verdict::Pass)
}

fn the_memory_reservation_is_set(w: &World) -> anyhow::Result<Verdict> {
    if let Some(missing) = missing("memory") {
        return Ok(missing);
    }
    limited(w, &json!({ "memory": { "limit": 64 * MIB, "reservation": 32 * MIB } }))?;
    let seen = kernel::read(&file(w, "memory", "memory.soft_limit_in_bytes", "memory.low"))?;
    claim!(seen == (32 * MIB).to_string(), "{seen}");
    Ok(Verdict::Pass)
}

fn swap_is_limited(w: &World) -> anyhow::Result<Verdict> {
    let names = ("memory.memsw.limit_in_bytes", "memory.swap.max");
    let root = PathBuf::from(kernel::CGROUPS);
    let counted = if kernel::is_unified() {
        PathBuf::from("/proc/swaps").exists()
    } else {
        root.join("memory").join(names.0).exists()
    };
    if !counted {
        return Ok(Verdict::Needs("accounting of swap".to_owned()));
    }
    limited(w, &json!({ "memory": { "limit": 64 * MIB, "swap": 64 * MIB } }))?;
    let path = file(w, "memory", names.0, names.1);
    if !path.exists() {
        return Ok(Verdict::Needs(format!("{} in the kernel", names.1)));
    }
    let seen = kernel::read(&path)?;
    // The specification's value counts memory too; version 2 counts swap alone.
    let expected = if kernel::is_unified() { 0 } else { 64 * MIB };
    claim!(seen == expected.to_string(), "{seen}");
    Ok(Verdict::Pass)
}

fn the_cpu_quota_is_set(w: &World) -> anyhow::Result<Verdict> {
    if let Some(missing) = missing("cpu") {
        return Ok(missing);
    }
    limited(w, &json!({ "cpu": { "quota": 25_000, "period": 100_000 } }))?;
    let seen = if kernel::is_unified() {
        kernel::read(&file(w, "cpu", "", "cpu.max"))?
    } else {
        let quota = kernel::read(&file(w, "cpu", "cpu.cfs_quota_us", ""))?;
        format!("{quota} {}", kernel::read(&file(w, "cpu", "cpu.cfs_period_us", ""))?)
    };
    claim!(seen == "25000 100000", "{seen}");
    Ok(Verdict::Pass)
}

fn cpu_shares_are_set(w: &World) -> anyhow::Result<Verdict> {
    if let Some(missing) = missing("cpu") {
        return Ok(missing);
    }
    limited(w, &json!({ "cpu": { "shares": 512 } }))?;
    let seen: u64 = kernel::read(&file(w, "cpu", "cpu.shares", "cpu.weight"))?.parse()?;
    // Two conversions are in use: 1 + (shares-2)*9999/262142 = 20, and one through the logarithm.
    let good = if kernel::is_unified() { (15..=60).contains(&seen) } else { seen == 512 };
    claim!(good, "{seen}");
    Ok(Verdict::Pass)
}

fn the_number_of_processes_is_limited(w: &World) -> anyhow::Result<Verdict> {
    if let Some(missing) = missing("pids") {
        return Ok(missing);
    }
    let bundle = w.bundle(&["fork", "50", "0.2"])?.change(|config| {
        config["linux"]["resources"]["pids"] = json!({ "limit": 20 });
    })?;
    let facts = w.facts(&bundle)?;
    let started = facts["started"].as_u64().context("no number is told")?;
    claim!((10..20).contains(&started), "{started} of 50 processes were started");
    let refused = facts["refused"].as_str().unwrap_or_default();
    claim!(refused.contains("EAGAIN"), "{facts}");
    Ok(Verdict::Pass)
}

fn the_cpuset_is_set(w: &World) -> anyhow::Result<Verdict> {
    if let Some(missing) = missing("cpuset") {
        return Ok(missing);
    }
    let bundle = w.bundle(&["status"])?.change(|config| {
        config["linux"]["resources"]["cpu"] = json!({ "cpus": "0" });
    })?;
    let facts = w.facts(&bundle)?;
    let seen = &facts["status"]["Cpus_allowed_list"];
    claim!(seen == "0", "{seen}");
    Ok(Verdict::Pass)
}

fn the_process_that_passes_its_memory_is_killed(w: &World) -> anyhow::Result<Verdict> {
    if let Some(missing) = missing("memory") {
        return Ok(missing);
    }
    let bundle = w.bundle(&["eat-memory", "64"])?.change(|config| {
        config["linux"]["resources"]["memory"] = json!({ "limit": 24 * MIB, "swap": 24 * MIB });
    })?;
    let outcome = w.run(&bundle)?;
    claim!(outcome.code == 137, "exit {}: {}", outcome.code, outcome.stderr);
    claim!(!outcome.stdout.contains("ate_mib"), "it could take all of it");
    Ok(Verdict::Pass)
}

fn a_device_that_is_not_allowed_can_not_be_opened(w: &World) -> anyhow::Result<Verdict> {
    let verbs = ["try-mknod", "/tmp/kmsg", "1", "11", "--", "try-open", "/tmp/kmsg", "r"];
    let bundle = w.bundle(&verbs)?.change(|config| {
        let caps = json!(["CAP_MKNOD", "CAP_SYSLOG"]);
        config["process"]["capabilities"] =
            json!({ "bounding": caps, "permitted": caps, "effective": caps });
        config["linux"]["resources"]["devices"] = json!([
            { "allow": false, "access": "rwm" },
            { "allow": true, "type": "c", "access": "m" }
        ]);
    })?;
    let outcome = w.run(&bundle)?;
    let lines: Vec<Value> =
        outcome.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    claim!(lines.len() == 2, "{:?} {}", outcome.stdout, outcome.stderr);
    claim!(lines[0]["ok"] == true, "mknod was allowed: {}", lines[0]);
    claim!(lines[1]["errno"] == "EPERM", "open was not: {}", lines[1]);
    Ok(Verdict::Pass)
}

fn every_cgroup_is_removed(w: &World) -> anyhow::Result<Verdict> {
    let created = limited(w, &json!({ "memory": { "limit": 64 * MIB }, "pids": { "limit": 9 } }))?;
    let there = kernel::cgroups_named(&w.cgroup());
    claim!(!there.is_empty(), "there never was a cgroup");
    w.ok(&["kill", &created.id, "KILL"])?;
    w.until_status(&created.id, "stopped")?;
    w.ok(&["delete", &created.id])?;
    w.no_cgroup_left()?;
    Ok(Verdict::Pass)
}
