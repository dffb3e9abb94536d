//! What a process is given beside its ids: how it is scheduled, where its memory lies, its clocks,
//! names, labels. Source: OCI runtime-spec 1.3, config.md "Linux Process", config-linux.md.

use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::world::{Created, path_text};
use super::{Verdict, World, cases, claim};
use crate::{kernel, program};

cases!("settings":
    the_scheduler_is_set,
    a_priority_of_real_time_is_set,
    the_io_priority_is_set,
    an_exec_gets_its_processors,
    the_memory_policy_is_set,
    the_memory_policy_has_its_flags,
    the_personality_is_set,
    clocks_are_shifted,
    the_domain_name_is_set,
    the_terminal_has_its_size,
    a_network_device_is_moved_in,
    an_apparmor_profile_is_set,
    a_selinux_label_is_set,
    a_label_of_mounts_is_set,
    an_rdt_class_is_joined,
);

fn sleeping(w: &World, change: impl FnOnce(&mut Value)) -> anyhow::Result<Created> {
    w.started(&w.bundle(&["echo", "up", "--", "sleep"])?.change(change)?, "up")
}

/// Field `number` of /proc/PID/stat, counted as proc(5) does.
fn stat_field(pid: u64, number: usize) -> anyhow::Result<String> {
    let text = kernel::read(Path::new(&format!("/proc/{pid}/stat")))?;
    // The name in parentheses is the second field and may hold anything.
    let rest = text.rsplit(')').next().unwrap_or_default();
    let field = rest.split_whitespace().nth(number - 3);
    field.map(str::to_owned).with_context(|| format!("no field {number}: {text}"))
}

fn the_scheduler_is_set(w: &World) -> anyhow::Result<Verdict> {
    let created = sleeping(w, |config| {
        config["process"]["scheduler"] = json!({ "policy": "SCHED_BATCH", "nice": 7 });
    })?;
    let (policy, nice) = (stat_field(created.pid, 41)?, stat_field(created.pid, 19)?);
    // SCHED_BATCH is 3 (sched(7)).
    claim!(policy == "3", "policy {policy}");
    claim!(nice == "7", "nice {nice}");
    Ok(Verdict::Pass)
}

fn a_priority_of_real_time_is_set(w: &World) -> anyhow::Result<Verdict> {
    if Path::new(kernel::CGROUPS).join("cpu/cpu.rt_runtime_us").exists() {
        let needs = "a kernel in which new cgroups may run in real time (no RT_GROUP_SCHED)";
        return Ok(Verdict::Needs(needs.to_owned()));
    }
    let created = sleeping(w, |config| {
        config["process"]["scheduler"] = json!({
            "policy": "SCHED_RR", "priority": 7, "flags": ["SCHED_FLAG_RESET_ON_FORK"]
        });
    })?;
    let (policy, priority) = (stat_field(created.pid, 41)?, stat_field(created.pid, 40)?);
    // SCHED_RR is 2 (sched(7)).
    claim!(policy == "2", "policy {policy}");
    claim!(priority == "7", "priority {priority}");
    Ok(Verdict::Pass)
}

fn the_io_priority_is_set(w: &World) -> anyhow::Result<Verdict> {
    if program::find("ionice").is_err() {
        return Ok(Verdict::Needs("ionice (package util-linux)".to_owned()));
    }
    let created = sleeping(w, |config| {
        config["process"]["ioPriority"] = json!({ "class": "IOPRIO_CLASS_BE", "priority": 6 });
    })?;
    let mut ionice = Command::new("ionice");
    let ran = program::run(w.folder(), ionice.args(["-p", &created.pid.to_string()]))?;
    claim!(ran.stdout.trim() == "best-effort: prio 6", "{}", ran.said());
    Ok(Verdict::Pass)
}

fn an_exec_gets_its_processors(w: &World) -> anyhow::Result<Verdict> {
    let created = sleeping(w, |config| {
        config["process"]["execCPUAffinity"] = json!({ "initial": "0", "final": "0" });
    })?;
    let own = kernel::read_text(Path::new("/proc/self/status"))?;
    if !own.lines().any(|line| line.starts_with("Cpus_allowed_list:") && line.contains(['-', ',']))
    {
        return Ok(Verdict::Needs("more than one processor".to_owned()));
    }
    let ran = w.ok(&["exec", &created.id, "/bin/probe", "status"])?;
    let facts: Value = serde_json::from_str(ran.stdout.trim()).context("read the facts")?;
    let seen = &facts["status"]["Cpus_allowed_list"];
    claim!(seen == "0", "{seen}");
    Ok(Verdict::Pass)
}

fn the_memory_policy_is_set(w: &World) -> anyhow::Result<Verdict> {
    if !Path::new("/proc/self/numa_maps").exists() {
        return Ok(Verdict::Needs("NUMA in the kernel (/proc/self/numa_maps)".to_owned()));
    }
    let bundle = w.bundle(&["cat", "/proc/self/numa_maps"])?.change(|config| {
        config["linux"]["memoryPolicy"] = json!({ "mode": "MPOL_BIND", "nodes": "0" });
    })?;
    let facts = w.facts(&bundle)?;
    let text = facts["text"].as_str().unwrap_or_default();
    claim!(text.contains("bind:0"), "{}", text.lines().next().unwrap_or_default());
    Ok(Verdict::Pass)
}

fn the_memory_policy_has_its_flags(w: &World) -> anyhow::Result<Verdict> {
    if !Path::new("/proc/self/numa_maps").exists() {
        return Ok(Verdict::Needs("NUMA in the kernel (/proc/self/numa_maps)".to_owned()));
    }
    let bundle = w.bundle(&["cat", "/proc/self/numa_maps"])?.change(|config| {
        config["linux"]["memoryPolicy"] = json!({
            "mode": "MPOL_PREFERRED", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]
        });
    })?;
    let facts = w.facts(&bundle)?;
    let text = facts["text"].as_str().unwrap_or_default();
    claim!(text.contains("prefer=static:0"), "{}", text.lines().next().unwrap_or_default());
    Ok(Verdict::Pass)
}

fn the_personality_is_set(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["cat", "/proc/self/personality"])?.change(|config| {
        config["linux"]["personality"] = json!({ "domain": "LINUX32" });
    })?;
    let facts = w.facts(&bundle)?;
    claim!(facts["text"] == "00000008\n", "{}", facts["text"]);
    Ok(Verdict::Pass)
}

fn clocks_are_shifted(w: &World) -> anyhow::Result<Verdict> {
    if !Path::new("/proc/self/ns/time").exists() {
        return Ok(Verdict::Needs("time namespaces in the kernel".to_owned()));
    }
    let created = sleeping(w, |config| {
        if let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() {
            namespaces.push(json!({ "type": "time" }));
        }
        config["linux"]["timeOffsets"] = json!({
            "boottime": { "secs": 1_000_000, "nanosecs": 0 },
            "monotonic": { "secs": 2_000, "nanosecs": 5 }
        });
    })?;
    let own = kernel::namespace(u64::from(std::process::id()), "time")?;
    claim!(kernel::namespace(created.pid, "time")? != own, "the time namespace is the host's");
    let text = kernel::read_text(Path::new(&format!("/proc/{}/timens_offsets", created.pid)))?;
    for expected in [["boottime", "1000000", "0"], ["monotonic", "2000", "5"]] {
        let mut lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        claim!(lines.any(|words| words == expected), "{text}");
    }
    Ok(Verdict::Pass)
}

fn the_domain_name_is_set(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["host"])?.change(|c| c["domainname"] = json!("example.org"))?;
    let facts = w.facts(&bundle)?;
    claim!(facts["domainname"] == "example.org", "{facts}");
    Ok(Verdict::Pass)
}

fn the_terminal_has_its_size(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["sleep"])?.change(|config| {
        config["process"]["terminal"] = json!(true);
        config["process"]["consoleSize"] = json!({ "height": 43, "width": 121 });
    })?;
    // A socket's path has at most 108 bytes.
    let folder = tempfile::Builder::new().prefix("c").tempdir().context("make a folder")?;
    let socket = folder.path().join("s");
    let console = super::console::Console::listen(&socket)?;
    w.create_as(&bundle, &w.id(), &["--console-socket", path_text(&socket)?])?;
    let size = console.accept()?.size()?;
    claim!(size == (43, 121), "{size:?}");
    Ok(Verdict::Pass)
}

fn a_network_device_is_moved_in(w: &World) -> anyhow::Result<Verdict> {
    // At most 15 bytes each, and nobody else's: another run may be under way, or was killed.
    let id = w.id();
    let tail = id.rsplit('-').next().unwrap_or_default();
    let pair = format!("llc{:x}{tail}", std::process::id());
    let (one, two) = (format!("{pair}a"), format!("{pair}b"));
    let ip = |words: &[&str]| program::run(w.folder(), Command::new("ip").args(words));
    let made = ip(&["link", "add", &one, "type", "veth", "peer", "name", &two]);
    if !made.is_ok_and(|ran| ran.status.success()) {
        return Ok(Verdict::Needs("a pair of network devices (veth, and iproute2)".to_owned()));
    }
    let bundle = w.bundle(&["cat", "/proc/net/dev"])?.change(|config| {
        let mut devices = serde_json::Map::new();
        devices.insert(one.clone(), json!({ "name": "inside0" }));
        config["linux"]["netDevices"] = Value::Object(devices);
    })?;
    let outcome = w.run(&bundle);
    // With one end the pair is gone, wherever the other is.
    drop(ip(&["link", "del", &two]));
    drop(ip(&["link", "del", &one]));
    let facts = outcome?.facts()?;
    let text = facts["text"].as_str().unwrap_or_default();
    claim!(text.contains("inside0:"), "{text}");
    Ok(Verdict::Pass)
}

fn an_apparmor_profile_is_set(w: &World) -> anyhow::Result<Verdict> {
    if !Path::new("/sys/kernel/security/apparmor").is_dir() {
        return Ok(Verdict::Needs("AppArmor in the kernel".to_owned()));
    }
    let name = w.id();
    let rules = "file, network, capability, signal, mount, umount,";
    let text = format!("profile {name} flags=(attach_disconnected) {{ {rules} }}\n");
    let path = w.folder().join("profile");
    std::fs::write(&path, text).context("write a profile")?;
    let parser =
        |word: &str| program::run(w.folder(), Command::new("apparmor_parser").arg(word).arg(&path));
    if !parser("--add").is_ok_and(|ran| ran.status.success()) {
        return Ok(Verdict::Needs("apparmor_parser (package apparmor)".to_owned()));
    }
    let bundle = w.bundle(&["cat", "/proc/self/attr/current"])?.change(|config| {
        config["process"]["apparmorProfile"] = json!(name);
    })?;
    let facts = w.facts(&bundle);
    parser("--remove")?.succeeded()?;
    let seen = &facts?["text"];
    claim!(*seen == format!("{name} (enforce)\n"), "{seen}");
    Ok(Verdict::Pass)
}

fn a_selinux_label_is_set(w: &World) -> anyhow::Result<Verdict> {
    if !Path::new("/sys/fs/selinux/enforce").exists() {
        return Ok(Verdict::Needs("SELinux in the kernel".to_owned()));
    }
    let label = "system_u:system_r:container_t:s0:c1,c2";
    let bundle = w.bundle(&["cat", "/proc/self/attr/current"])?.change(|config| {
        config["process"]["selinuxLabel"] = json!(label);
    })?;
    let facts = w.facts(&bundle)?;
    let seen = facts["text"].as_str().unwrap_or_default();
    claim!(seen.trim_end_matches('\0') == label, "{seen}");
    Ok(Verdict::Pass)
}

fn a_label_of_mounts_is_set(w: &World) -> anyhow::Result<Verdict> {
    if !Path::new("/sys/fs/selinux/enforce").exists() {
        return Ok(Verdict::Needs("SELinux in the kernel".to_owned()));
    }
    let label = "system_u:object_r:container_file_t:s0:c1,c2";
    let bundle = w.bundle(&["mounts"])?.change(|c| c["linux"]["mountLabel"] = json!(label))?;
    let facts = w.facts(&bundle)?;
    let mut mounts = facts["mounts"].as_array().into_iter().flatten();
    let shm = mounts.find(|mount| mount["target"] == "/dev/shm").context("no /dev/shm")?;
    claim!(shm["super"].to_string().contains(label), "{shm}");
    Ok(Verdict::Pass)
}

fn an_rdt_class_is_joined(w: &World) -> anyhow::Result<Verdict> {
    let root = Path::new("/sys/fs/resctrl");
    if !root.join("tasks").exists() {
        return Ok(Verdict::Needs("resctrl, mounted at /sys/fs/resctrl".to_owned()));
    }
    let class = w.id();
    let created = sleeping(w, |config| {
        config["linux"]["intelRdt"] = json!({ "closID": class });
    })?;
    let tasks = kernel::read_text(&root.join(w.id()).join("tasks"))?;
    claim!(tasks.lines().any(|line| line == created.pid.to_string()), "not in the class: {tasks}");
    Ok(Verdict::Pass)
}
