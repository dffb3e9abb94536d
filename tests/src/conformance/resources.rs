//! The resources beside memory, processors and processes: each is read back from the container's
//! cgroup, on whichever version has it. What the kernel lacks is named.
//! Source: OCI runtime-spec 1.3, config-linux.md, "Control groups"; runc's conversions.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::world::Created;
use super::{Verdict, World, cases, claim};
use crate::kernel;

cases!("resources":
    the_cpu_burst_is_set,
    an_idle_cpu_is_set,
    real_time_is_set,
    memory_nodes_are_set,
    swappiness_is_set,
    the_oom_killer_is_switched_off,
    the_throttle_of_a_disk_is_set,
    the_weight_of_input_and_output_is_set,
    the_weight_of_a_disk_is_set,
    huge_pages_are_limited,
    network_classes_are_set,
    network_priorities_are_set,
    rdma_is_limited,
    files_of_version_2_are_written,
    update_changes_a_running_container,
    an_update_below_the_memory_in_use_is_refused_where_asked,
    the_cgroup_belongs_to_the_root_of_the_user_namespace,
    a_paused_container_stands_still,
);

/// A running container with `resources`, beside the usual device rule.
fn limited(w: &World, resources: &Value) -> anyhow::Result<Created> {
    let bundle = w.bundle(&["echo", "up", "--", "sleep"])?.change(|config| {
        for (name, value) in resources.as_object().into_iter().flatten() {
            config["linux"]["resources"][name] = value.clone();
        }
    })?;
    w.started(&bundle, "up")
}

/// The container's file, where it is: version 1's, version 2's, or that of the version 2 hierarchy
/// beside version 1.
fn file(w: &World, controller: &str, v1: &str, v2: &str) -> Option<PathBuf> {
    let path = w.cgroup();
    let path = path.trim_start_matches('/');
    let root = Path::new(kernel::CGROUPS);
    let places = if kernel::is_unified() {
        vec![root.join(path).join(v2)]
    } else {
        vec![root.join(controller).join(path).join(v1), root.join("unified").join(path).join(v2)]
    };
    places.into_iter().find(|place| place.is_file())
}

/// A new cgroup of the controller has the file, so that the kernel knows the resource; asked of a
/// container that sets nothing.
fn knows(w: &World, controller: &str, v1: &str, v2: &str) -> anyhow::Result<bool> {
    let created = limited(w, &json!({}))?;
    let there = file(w, controller, v1, v2).is_some();
    w.ok(&["delete", "--force", &created.id])?;
    Ok(there)
}

fn lacks(what: &str) -> anyhow::Result<Verdict> {
    Ok(Verdict::Needs(what.to_owned()))
}

/// With `resources` the file says `expected` (on version 1, on version 2).
fn check(
    w: &World,
    (controller, v1, v2): (&str, &str, &str),
    resources: &Value,
    expected: (&str, &str),
) -> anyhow::Result<Verdict> {
    if !knows(w, controller, v1, v2)? {
        let name = if kernel::is_unified() { v2 } else { v1 };
        return lacks(&format!("{name} in cgroups (the {controller} controller)"));
    }
    limited(w, resources)?;
    let path = file(w, controller, v1, v2).context("the file is gone")?;
    let seen = kernel::read_text(&path)?;
    let is_v2 = !v2.is_empty() && path.ends_with(v2) && v1 != v2;
    let expected = if is_v2 { expected.1 } else { expected.0 };
    claim!(seen.lines().any(|line| line == expected), "{}: {seen:?}", path.display());
    Ok(Verdict::Pass)
}

fn the_cpu_burst_is_set(w: &World) -> anyhow::Result<Verdict> {
    let resources = json!({ "cpu": { "quota": 50_000, "period": 100_000, "burst": 20_000 } });
    check(w, ("cpu", "cpu.cfs_burst_us", "cpu.max.burst"), &resources, ("20000", "20000"))
}

fn an_idle_cpu_is_set(w: &World) -> anyhow::Result<Verdict> {
    check(w, ("cpu", "cpu.idle", "cpu.idle"), &json!({ "cpu": { "idle": 1 } }), ("1", "1"))
}

fn real_time_is_set(w: &World) -> anyhow::Result<Verdict> {
    if kernel::is_unified() {
        return lacks("cgroup version 1 (real-time groups are not in version 2)");
    }
    let parent = Path::new(kernel::CGROUPS).join("cpu/cpu.rt_runtime_us");
    if !parent.exists() {
        return lacks("groups of real-time processes in the kernel (CONFIG_RT_GROUP_SCHED)");
    }
    let resources = json!({ "cpu": { "realtimePeriod": 500_000, "realtimeRuntime": 0 } });
    check(w, ("cpu", "cpu.rt_period_us", ""), &resources, ("500000", ""))
}

fn memory_nodes_are_set(w: &World) -> anyhow::Result<Verdict> {
    let resources = json!({ "cpu": { "mems": "0" } });
    check(w, ("cpuset", "cpuset.mems", "cpuset.mems"), &resources, ("0", "0"))
}

fn swappiness_is_set(w: &World) -> anyhow::Result<Verdict> {
    if kernel::is_unified() {
        return lacks("cgroup version 1 (swappiness is not in version 2)");
    }
    let resources = json!({ "memory": { "swappiness": 7 } });
    check(w, ("memory", "memory.swappiness", ""), &resources, ("7", ""))
}

fn the_oom_killer_is_switched_off(w: &World) -> anyhow::Result<Verdict> {
    if kernel::is_unified() {
        return lacks("cgroup version 1 (version 2 has no such switch)");
    }
    let resources = json!({ "memory": { "limit": 64 << 20, "disableOOMKiller": true } });
    check(w, ("memory", "memory.oom_control", ""), &resources, ("oom_kill_disable 1", ""))
}

/// A disk of this machine, as major:minor.
fn disk() -> Option<(String, u64, u64)> {
    let entries = Path::new("/sys/block").read_dir().ok()?.flatten();
    let numbers = entries.filter_map(|entry| kernel::read(&entry.path().join("dev")).ok());
    let mut numbers: Vec<String> = numbers.filter(|number| !number.starts_with("7:")).collect();
    numbers.sort();
    let number = numbers.pop()?;
    let (major, minor) = number.split_once(':')?;
    Some((number.clone(), major.parse().ok()?, minor.parse().ok()?))
}

fn the_throttle_of_a_disk_is_set(w: &World) -> anyhow::Result<Verdict> {
    let Some((number, major, minor)) = disk() else { return lacks("a disk") };
    let rate = |rate: u64| json!([{ "major": major, "minor": minor, "rate": rate }]);
    let resources = json!({ "blockIO": {
        "throttleReadBpsDevice": rate(1_048_576), "throttleWriteBpsDevice": rate(2_097_152),
        "throttleReadIOPSDevice": rate(300), "throttleWriteIOPSDevice": rate(400)
    } });
    let first = ("blkio", "blkio.throttle.read_bps_device", "io.max");
    let (one, all) = (
        format!("{number} 1048576"),
        format!("{number} rbps=1048576 wbps=2097152 riops=300 wiops=400"),
    );
    let verdict = check(w, first, &resources, (&one, &all))?;
    if kernel::is_unified() || verdict != Verdict::Pass {
        return Ok(verdict);
    }
    for (name, rate) in [("write_bps", 2_097_152), ("read_iops", 300), ("write_iops", 400)] {
        let path = file(w, "blkio", &format!("blkio.throttle.{name}_device"), "io.max");
        let seen = kernel::read(&path.with_context(|| format!("no throttle of {name}"))?)?;
        claim!(seen == format!("{number} {rate}"), "{name}: {seen:?}");
    }
    Ok(Verdict::Pass)
}

fn the_weight_of_a_disk_is_set(w: &World) -> anyhow::Result<Verdict> {
    let Some((number, major, minor)) = disk() else { return lacks("a disk") };
    let scheduler = kernel::read(Path::new(&format!("/sys/dev/block/{number}/queue/scheduler")));
    if !scheduler.is_ok_and(|scheduler| scheduler.contains("[bfq]")) {
        return lacks("a disk whose scheduler is BFQ");
    }
    let weight = json!([{ "major": major, "minor": minor, "weight": 200 }]);
    let resources = json!({ "blockIO": { "weightDevice": weight } });
    let names = ("blkio", "blkio.bfq.weight_device", "io.bfq.weight");
    let expected = format!("{number} 200");
    check(w, names, &resources, (&expected, &expected))
}

fn the_weight_of_input_and_output_is_set(w: &World) -> anyhow::Result<Verdict> {
    let resources = json!({ "blockIO": { "weight": 500 } });
    // runc's conversion for BFQ's file; the other file's range is 1 to 10000.
    if knows(w, "blkio", "blkio.bfq.weight", "io.bfq.weight")? {
        let names = ("blkio", "blkio.bfq.weight", "io.bfq.weight");
        return check(w, names, &resources, ("500", "default 500"));
    }
    check(w, ("blkio", "blkio.weight", "io.weight"), &resources, ("500", "default 4950"))
}

fn huge_pages_are_limited(w: &World) -> anyhow::Result<Verdict> {
    let resources = json!({ "hugepageLimits": [{ "pageSize": "2MB", "limit": 4 << 20 }] });
    let names = ("hugetlb", "hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max");
    check(w, names, &resources, ("4194304", "4194304"))
}

fn network_classes_are_set(w: &World) -> anyhow::Result<Verdict> {
    let resources = json!({ "network": { "classID": 1_048_577 } });
    check(w, ("net_cls", "net_cls.classid", ""), &resources, ("1048577", ""))
}

fn network_priorities_are_set(w: &World) -> anyhow::Result<Verdict> {
    let resources = json!({ "network": { "priorities": [{ "name": "lo", "priority": 3 }] } });
    check(w, ("net_prio", "net_prio.ifpriomap", ""), &resources, ("lo 3", ""))
}

fn rdma_is_limited(w: &World) -> anyhow::Result<Verdict> {
    let devices = Path::new("/sys/class/infiniband").read_dir().into_iter().flatten().flatten();
    let Some(device) = devices.map(|entry| entry.file_name()).next() else {
        return lacks("an RDMA device, and the rdma controller");
    };
    let device = device.to_string_lossy().into_owned();
    let mut limits = serde_json::Map::new();
    limits.insert(device.clone(), json!({ "hcaHandles": 3 }));
    let expected = format!("{device} hca_handle=3 hca_object=max");
    let resources = json!({ "rdma": limits });
    check(w, ("rdma", "rdma.max", "rdma.max"), &resources, (&expected, &expected))
}

fn files_of_version_2_are_written(w: &World) -> anyhow::Result<Verdict> {
    let (resources, name, expected) = if kernel::is_unified() {
        (json!({ "unified": { "memory.high": "33554432" } }), "memory.high", "33554432")
    } else {
        (json!({ "unified": { "hugetlb.2MB.max": "2097152" } }), "hugetlb.2MB.max", "2097152")
    };
    if !knows(w, "none", "none", name)? {
        return lacks(&format!("cgroup version 2 with {name}"));
    }
    check(w, ("none", "none", name), &resources, ("", expected))
}

fn update_changes_a_running_container(w: &World) -> anyhow::Result<Verdict> {
    let created = limited(w, &json!({ "memory": { "limit": 64 << 20 } }))?;
    w.ok(&["update", "--memory", "50331648", "--pids-limit", "33", &created.id])?;
    let memory = file(w, "memory", "memory.limit_in_bytes", "memory.max");
    let pids = file(w, "pids", "pids.max", "pids.max");
    let seen = kernel::read(&memory.context("no memory controller")?)?;
    claim!(seen == "50331648", "memory {seen}");
    let seen = kernel::read(&pids.context("no pids controller")?)?;
    claim!(seen == "33", "pids {seen}");
    Ok(Verdict::Pass)
}

fn an_update_below_the_memory_in_use_is_refused_where_asked(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["eat-memory", "24", "1000"])?.change(|config| {
        config["linux"]["resources"]["memory"] = json!({ "limit": 64 << 20 });
    })?;
    let created = w.create(&bundle)?;
    w.ok(&["start", &created.id])?;
    let usage = file(w, "memory", "memory.usage_in_bytes", "memory.current");
    let usage = usage.context("no memory controller")?;
    crate::program::until("the memory is in use", || {
        let used: u64 = kernel::read(&usage)?.parse().context("read the memory in use")?;
        Ok((24 << 20 < used).then_some(()))
    })?;
    let path = w.folder().join("resources.json");
    let asked = json!({ "memory": { "limit": 8 << 20, "checkBeforeUpdate": true } });
    std::fs::write(&path, asked.to_string()).context("write the resources")?;
    let path = path.to_str().context("the path is no text")?;
    w.refused(&["update", "--resources", path, &created.id])?;
    let status = w.state(&created.id)?["status"].clone();
    claim!(status == "running", "the container is {status}");
    let limit = file(w, "memory", "memory.limit_in_bytes", "memory.max");
    let seen = kernel::read(&limit.context("no memory controller")?)?;
    claim!(seen == (64_u64 << 20).to_string(), "the limit is {seen}");
    Ok(Verdict::Pass)
}

/// Where the container may write to its cgroup (config-linux.md, "Cgroup ownership").
fn the_cgroup_belongs_to_the_root_of_the_user_namespace(w: &World) -> anyhow::Result<Verdict> {
    if !kernel::is_unified() {
        return lacks("cgroup version 2 alone");
    }
    let bundle = w.bundle(&["stat", "/sys/fs/cgroup/cgroup.procs"])?.change(|config| {
        if let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() {
            namespaces.extend([json!({ "type": "user" }), json!({ "type": "cgroup" })]);
        }
        config["linux"]["uidMappings"] =
            json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
        config["linux"]["gidMappings"] =
            json!([{ "containerID": 0, "hostID": 200_000, "size": 65536 }]);
        if let Some(mounts) = config["mounts"].as_array_mut() {
            mounts.push(json!({
                "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                "options": ["nosuid", "noexec", "nodev", "rw"]
            }));
        }
    })?;
    std::os::unix::fs::chown(bundle.rootfs(), Some(100_000), Some(200_000))
        .context("give the rootfs away")?;
    let facts = w.facts(&bundle)?;
    claim!(facts["uid"] == 0, "it belongs to {}", facts["uid"]);
    Ok(Verdict::Pass)
}

fn a_paused_container_stands_still(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["echo", "up", "--", "count", "1"])?;
    let created = w.started(&bundle, "up")?;
    w.ok(&["pause", &created.id])?;
    claim!(w.state(&created.id)?["status"] == "paused", "{}", w.state(&created.id)?["status"]);
    let before = w.said(&created.id)?.len();
    std::thread::sleep(std::time::Duration::from_millis(300));
    claim!(w.said(&created.id)?.len() == before, "it goes on writing");
    w.ok(&["resume", &created.id])?;
    let status = w.state(&created.id)?["status"].clone();
    claim!(status != "paused", "{status}");
    Ok(Verdict::Pass)
}
