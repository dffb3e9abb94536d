//! Namespaces: made, shared, or joined, as config.json says.
//! Source: OCI runtime-spec, config-linux.md, "Namespaces" and "User namespace mappings".

use std::os::unix::fs::chown;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::world::{Created, path_text};
use super::{Verdict, World, cases, claim};
use crate::kernel;

cases!("namespaces":
    namespaces_that_are_listed_are_new,
    namespaces_that_are_not_listed_are_shared,
    mounts_are_made_where_no_mount_namespace_is_listed,
    a_namespace_is_joined_by_its_path,
    the_process_is_the_first_of_its_pid_namespace,
    the_host_name_is_set,
    loopback_is_alone_in_a_new_network,
    loopback_is_up_in_a_new_network,
    a_cgroup_namespace_hides_the_path,
    a_user_namespace_maps_ids,
    a_user_namespace_maps_several_ranges,
    a_user_namespace_is_joined,
    a_pid_namespace_is_joined,
    sysctls_are_set_in_their_namespace,
    a_sysctl_of_the_host_is_refused,
);

/// The kinds of the base configuration, by the names of /proc/PID/ns.
const KINDS: &[&str] = &["pid", "net", "ipc", "uts", "mnt"];

fn own(kind: &str) -> anyhow::Result<String> {
    kernel::namespace(u64::from(std::process::id()), kind)
}

fn namespaces_that_are_listed_are_new(w: &World) -> anyhow::Result<Verdict> {
    let facts = w.facts(&w.bundle(&["ns"])?)?;
    for kind in KINDS {
        let seen = facts["ns"][kind].as_str().context("no such fact")?;
        claim!(seen != own(kind)?, "the {kind} namespace is the host's");
    }
    Ok(Verdict::Pass)
}

fn namespaces_that_are_not_listed_are_shared(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["ns"])?.change(|config| {
        config["linux"]["namespaces"] = json!([{ "type": "mount" }, { "type": "pid" }]);
        if let Some(config) = config.as_object_mut() {
            config.remove("hostname");
        }
        drop_mount(config, "/dev/mqueue");
        bind_sys(config);
    })?;
    let facts = w.facts(&bundle)?;
    for kind in ["net", "ipc", "uts", "user"] {
        claim!(facts["ns"][kind] == json!(own(kind)?), "the {kind} namespace is not the host's");
    }
    Ok(Verdict::Pass)
}

fn mounts_are_made_where_no_mount_namespace_is_listed(w: &World) -> anyhow::Result<Verdict> {
    let source = w.folder().join("source");
    std::fs::create_dir(&source).context("make a folder")?;
    std::fs::write(source.join("file"), "of the host").context("write a file")?;
    let bundle = w.bundle(&["ns", "--", "cat", "/data/file"])?.change(|config| {
        let linux = &mut config["linux"];
        if let Some(namespaces) = linux["namespaces"].as_array_mut() {
            namespaces.retain(|namespace| namespace["type"] != "mount");
        }
        linux["maskedPaths"] = json!([]);
        linux["readonlyPaths"] = json!([]);
        if let Some(mounts) = config["mounts"].as_array_mut() {
            mounts.push(json!({
                "destination": "/data", "type": "bind", "source": source, "options": ["bind"]
            }));
        }
    })?;
    // In a mount namespace of our own, as some runtimes change the host's propagation for it, or
    // leave its mounts behind.
    let inner = w.command(&["run", "--bundle", path_text(&bundle.path)?, &w.id()]);
    let script = "readlink /proc/self/ns/mnt >\"$0\" && exec \"$@\"";
    let own = w.folder().join("own");
    let mut outer = std::process::Command::new("unshare");
    outer.args(["--mount", "sh", "-c", script]).arg(&own);
    outer.arg(inner.get_program()).args(inner.get_args()).stdin(std::process::Stdio::null());
    let ran = crate::program::run(w.folder(), &mut outer)?.succeeded()?;
    let own = std::fs::read_to_string(own).context("read the namespace's name")?;
    let lines = ran.stdout.lines().map(serde_json::from_str::<Value>);
    let facts: Vec<Value> = lines.collect::<Result<_, _>>().context("read the facts")?;
    let [namespaces, file] = &facts[..] else { anyhow::bail!("facts: {facts:?}") };
    claim!(namespaces["ns"]["mnt"] == own.trim(), "{namespaces} and not {own}");
    claim!(file["text"] == "of the host", "{file}");
    Ok(Verdict::Pass)
}

fn drop_mount(config: &mut Value, destination: &str) {
    if let Some(mounts) = config["mounts"].as_array_mut() {
        mounts.retain(|mount| mount["destination"] != destination);
    }
}

/// A new sysfs can be mounted only where the network namespace is owned: elsewhere it is bound.
fn bind_sys(config: &mut Value) {
    drop_mount(config, "/sys");
    if let Some(mounts) = config["mounts"].as_array_mut() {
        mounts.push(json!({
            "destination": "/sys", "type": "none", "source": "/sys", "options": ["rbind", "ro"]
        }));
    }
}

fn a_namespace_is_joined_by_its_path(w: &World) -> anyhow::Result<Verdict> {
    let holder = w.create(&w.bundle(&["sleep"])?)?;
    let bundle = w.bundle(&["ns"])?.change(|config| {
        for namespace in config["linux"]["namespaces"].as_array_mut().into_iter().flatten() {
            for (kind, file) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts")] {
                if namespace["type"] == kind {
                    namespace["path"] = json!(format!("/proc/{}/ns/{file}", holder.pid));
                }
            }
        }
        // The name of a joined host is not ours to set.
        if let Some(config) = config.as_object_mut() {
            config.remove("hostname");
        }
        config["linux"]["cgroupsPath"] = json!(w.cgroups_path("-joined"));
    })?;
    let id = format!("{}-joined", w.id());
    let joined = w.create_as(&bundle, &id, &[])?;
    for kind in ["net", "ipc", "uts"] {
        let (seen, expected) =
            (kernel::namespace(joined.pid, kind)?, kernel::namespace(holder.pid, kind)?);
        claim!(seen == expected, "{kind}: {seen} is not {expected}");
    }
    let (seen, other) =
        (kernel::namespace(joined.pid, "mnt")?, kernel::namespace(holder.pid, "mnt")?);
    claim!(seen != other, "the mount namespace was to be new");
    w.ok(&["delete", "--force", &id])?;
    Ok(Verdict::Pass)
}

fn the_process_is_the_first_of_its_pid_namespace(w: &World) -> anyhow::Result<Verdict> {
    let facts = w.facts(&w.bundle(&["ids"])?)?;
    claim!(facts["pid"] == 1 && facts["ppid"] == 0, "pid {} of {}", facts["pid"], facts["ppid"]);
    Ok(Verdict::Pass)
}

fn the_host_name_is_set(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["host"])?.change(|c| c["hostname"] = json!("a-name.example"))?;
    let facts = w.facts(&bundle)?;
    claim!(facts["hostname"] == "a-name.example", "{facts}");
    let own = nix::unistd::gethostname().context("ask for the host's name")?;
    claim!(own != "a-name.example", "the host was renamed");
    Ok(Verdict::Pass)
}

fn loopback_is_alone_in_a_new_network(w: &World) -> anyhow::Result<Verdict> {
    let facts = w.facts(&w.bundle(&["cat", "/proc/net/dev"])?)?;
    let text = facts["text"].as_str().unwrap_or_default();
    let names: Vec<&str> =
        text.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim()).collect();
    claim!(names.contains(&"lo"), "no loopback: {names:?}");
    // Tunnel devices appear in every network namespace where their modules are loaded.
    claim!(!names.iter().any(|name| name.starts_with("eth")), "devices of the host: {names:?}");
    Ok(Verdict::Pass)
}

/// The specification is silent; programs that listen on 127.0.0.1 are not.
fn loopback_is_up_in_a_new_network(w: &World) -> anyhow::Result<Verdict> {
    let facts = w.facts(&w.bundle(&["cat", "/sys/class/net/lo/flags"])?)?;
    let flags = facts["text"].as_str().context("no flags")?.trim().to_owned();
    let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).context("read flags")?;
    claim!(flags & 1 == 1, "lo is down: flags {flags:#x}");
    Ok(Verdict::Pass)
}

fn a_cgroup_namespace_hides_the_path(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["cgroup"])?.change(|config| {
        if let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() {
            namespaces.push(json!({ "type": "cgroup" }));
        }
    })?;
    let facts = w.facts(&bundle)?;
    let lines = facts["cgroup"].as_array().cloned().unwrap_or_default();
    claim!(!lines.is_empty(), "no cgroup is told");
    for line in &lines {
        let line = line.as_str().unwrap_or_default();
        claim!(!line.contains("conformance"), "the path shows: {line}");
    }
    Ok(Verdict::Pass)
}

fn a_user_namespace_maps_ids(w: &World) -> anyhow::Result<Verdict> {
    if std::fs::read_to_string("/proc/sys/user/max_user_namespaces").is_ok_and(|n| n.trim() == "0")
    {
        return Ok(Verdict::Needs("user namespaces (user.max_user_namespaces is 0)".to_owned()));
    }
    let bundle = w.bundle(&["ids", "--", "write", "/mine", "x", "--", "sleep"])?;
    let bundle = bundle.change(|config| {
        if let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() {
            namespaces.push(json!({ "type": "user" }));
        }
        config["linux"]["uidMappings"] =
            json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
        config["linux"]["gidMappings"] =
            json!([{ "containerID": 0, "hostID": 200_000, "size": 65536 }]);
    })?;
    chown(bundle.rootfs(), Some(100_000), Some(200_000)).context("give the rootfs away")?;
    let created = w.started(&bundle, "wrote")?;
    let said = w.said(&created.id)?;
    let facts: Value = serde_json::from_str(said.lines().next().unwrap_or_default())?;
    claim!(facts["uid"] == 0, "uid {} inside", facts["uid"]);
    let map = facts["uid_map"][0].as_str().unwrap_or_default();
    let map: Vec<&str> = map.split_whitespace().collect();
    claim!(map == ["0", "100000", "65536"], "map {map:?}");
    let meta = std::fs::metadata(bundle.rootfs().join("mine")).context("look at the file")?;
    use std::os::unix::fs::MetadataExt as _;
    claim!((meta.uid(), meta.gid()) == (100_000, 200_000), "a file of {}", meta.uid());
    Ok(Verdict::Pass)
}

/// The ids of /proc/PID/uid_map and gid_map: inside, outside, and how many.
fn ranges(lines: &Value) -> Vec<Vec<String>> {
    let lines = lines.as_array().into_iter().flatten().filter_map(Value::as_str);
    lines.map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

fn a_user_namespace_maps_several_ranges(w: &World) -> anyhow::Result<Verdict> {
    let bundle = w.bundle(&["ids"])?.change(|config| {
        if let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() {
            namespaces.push(json!({ "type": "user" }));
        }
        config["linux"]["uidMappings"] = json!([
            { "containerID": 0, "hostID": 100_000, "size": 1000 },
            { "containerID": 5000, "hostID": 300_000, "size": 10 }
        ]);
        config["linux"]["gidMappings"] = json!([
            { "containerID": 0, "hostID": 200_000, "size": 2000 },
            { "containerID": 7000, "hostID": 400_000, "size": 20 }
        ]);
        config["process"]["user"] = json!({ "uid": 5003, "gid": 7004 });
    })?;
    chown(bundle.rootfs(), Some(100_000), Some(200_000)).context("give the rootfs away")?;
    let facts = w.facts(&bundle)?;
    let (uids, gids) = (ranges(&facts["uid_map"]), ranges(&facts["gid_map"]));
    claim!(uids == [["0", "100000", "1000"], ["5000", "300000", "10"]], "uids {uids:?}");
    claim!(gids == [["0", "200000", "2000"], ["7000", "400000", "20"]], "gids {gids:?}");
    claim!(facts["uid"] == 5003 && facts["gid"] == 7004, "{}:{}", facts["uid"], facts["gid"]);
    Ok(Verdict::Pass)
}

/// A container that joins namespaces of `holder`, and whose cgroup is its own.
fn joining(
    w: &World,
    holder: &Created,
    kinds: &[(&str, &str)],
    verbs: &[&str],
) -> anyhow::Result<Created> {
    let bundle = w.bundle(verbs)?.change(|config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut();
        if let Some(namespaces) = namespaces {
            for (kind, file) in kinds {
                namespaces.retain(|namespace| namespace["type"] != *kind);
                let path = format!("/proc/{}/ns/{file}", holder.pid);
                namespaces.push(json!({ "type": kind, "path": path }));
            }
        }
        config["linux"]["cgroupsPath"] = json!(w.cgroups_path("-joined"));
    })?;
    let id = format!("{}-joined", w.id());
    let joined = w.create_as(&bundle, &id, &[])?;
    w.ok(&["start", &id])?;
    w.until_said(&id, "up")?;
    Ok(joined)
}

fn a_user_namespace_is_joined(w: &World) -> anyhow::Result<Verdict> {
    let map = json!([{ "containerID": 0, "hostID": 0, "size": 65536 }]);
    let bundle = w.bundle(&["sleep"])?.change(|config| {
        if let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() {
            namespaces.push(json!({ "type": "user" }));
        }
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map.clone();
    })?;
    let holder = w.create(&bundle)?;
    let joined = joining(w, &holder, &[("user", "user")], &["echo", "up", "--", "sleep"])?;
    let (seen, expected) =
        (kernel::namespace(joined.pid, "user")?, kernel::namespace(holder.pid, "user")?);
    claim!(seen == expected && seen != own("user")?, "{seen} is not {expected}");
    let (seen, other) =
        (kernel::namespace(joined.pid, "mnt")?, kernel::namespace(holder.pid, "mnt")?);
    claim!(seen != other, "the mount namespace was to be new");
    w.ok(&["delete", "--force", &joined.id])?;
    Ok(Verdict::Pass)
}

fn a_pid_namespace_is_joined(w: &World) -> anyhow::Result<Verdict> {
    let holder = w.started(&w.bundle(&["echo", "up", "--", "sleep"])?, "up")?;
    let verbs = ["ids", "--", "echo", "up", "--", "sleep"];
    let joined = joining(w, &holder, &[("pid", "pid")], &verbs)?;
    let (seen, expected) =
        (kernel::namespace(joined.pid, "pid")?, kernel::namespace(holder.pid, "pid")?);
    claim!(seen == expected, "{seen} is not {expected}");
    let said = w.said(&joined.id)?;
    let facts: Value = serde_json::from_str(said.lines().next().unwrap_or_default())
        .with_context(|| format!("read the facts: {said:?}"))?;
    claim!(facts["pid"].as_u64().is_some_and(|pid| 1 < pid), "pid {}", facts["pid"]);
    w.ok(&["delete", "--force", &joined.id])?;
    Ok(Verdict::Pass)
}

fn sysctls_are_set_in_their_namespace(w: &World) -> anyhow::Result<Verdict> {
    let files = ["/proc/sys/net/ipv4/ip_unprivileged_port_start", "/proc/sys/kernel/msgmax"];
    let bundle = w.bundle(&["cat", files[0], "--", "echo", "{}"])?.change(|config| {
        config["linux"]["sysctl"] =
            json!({ "net.ipv4.ip_unprivileged_port_start": "77", "kernel.msgmax": "7777" });
    })?;
    let facts = w.facts(&bundle)?;
    claim!(facts["text"] == "77\n", "{}", facts["text"]);
    let bundle =
        bundle.change(|c| c["process"]["args"] = json!(["/bin/probe", "cat", files[1]]))?;
    let facts = w.facts(&bundle)?;
    claim!(facts["text"] == "7777\n", "{}", facts["text"]);
    claim!(kernel::read(std::path::Path::new(files[1]))? != "7777", "the host's was set");
    Ok(Verdict::Pass)
}

fn a_sysctl_of_the_host_is_refused(w: &World) -> anyhow::Result<Verdict> {
    let good = w.run(&w.bundle(&["exit", "5"])?)?;
    claim!(good.code == 5, "a good bundle: exit {}: {}", good.code, good.stderr);
    let bundle = w.bundle(&["exit", "0"])?.change(|config| {
        config["linux"]["sysctl"] = json!({ "vm.swappiness": "61" });
    })?;
    let outcome = w.run(&bundle)?;
    claim!(outcome.code != 0, "a setting of the whole host was accepted");
    claim!(outcome.stderr.contains("vm.swappiness"), "it is not named: {}", outcome.stderr);
    Ok(Verdict::Pass)
}
