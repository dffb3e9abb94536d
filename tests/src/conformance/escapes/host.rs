//! Attacks on what belongs to the whole host: its settings, its devices, its cgroups.

use serde_json::json;

use super::{Verdict, World, attack, capabilities, cases, claim, fs, good, lines, push_mount};
use crate::kernel;

cases!("escapes":
    cve_2022_0492_the_release_agent_can_not_be_written,
    cve_2023_25809_cgroups_of_the_host_are_read_only_in_a_user_namespace,
    cve_2022_0811_a_setting_of_the_host_is_not_smuggled_in,
    settings_of_the_kernel_can_not_be_written,
    a_device_of_the_host_can_not_be_opened,
);

/// The container writes what the kernel runs when a cgroup is empty.
fn cve_2022_0492_the_release_agent_can_not_be_written(w: &World) -> anyhow::Result<Verdict> {
    let agent = "/sys/fs/cgroup/memory/release_agent";
    let other = "/sys/fs/cgroup/cgroup.subtree_control";
    let verbs = ["try-open", agent, "w", "--", "try-open", other, "w", "--", "mounts"];
    let bundle = w.bundle(&verbs)?.change(|config| {
        push_mount(
            config,
            json!({
                "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]
            }),
        );
    })?;
    let outcome = w.run(&bundle)?;
    let facts = lines(&outcome);
    claim!(facts.len() == 3, "exit {}: {} {}", outcome.code, outcome.stderr, outcome.stdout);
    for open in &facts[..2] {
        claim!(open["ok"] == false, "it can be written: {open}");
    }
    Ok(Verdict::Pass)
}

/// A container with a user namespace in which root is the host's, and without a cgroup namespace:
/// its cgroup mount, asked for as read only, lets it make nothing.
fn cve_2023_25809_cgroups_of_the_host_are_read_only_in_a_user_namespace(
    w: &World,
) -> anyhow::Result<Verdict> {
    let name = format!("escape-{}", w.id());
    // On version 1 the folder above the hierarchies is a file system of the container's own.
    let unified: &[&str] = &[""];
    let folders = if kernel::is_unified() { unified } else { &["memory/", "pids/", "systemd/"] };
    let paths = folders.iter().map(|folder| format!("/sys/fs/cgroup/{folder}{name}"));
    let paths: Vec<String> = paths.collect();
    let mut verbs: Vec<&str> = vec!["mounts"];
    for path in &paths {
        verbs.extend(["--", "mkdir", path]);
    }
    let bundle = w.bundle(&verbs)?.change(|config| {
        if let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() {
            namespaces.push(json!({ "type": "user" }));
        }
        let map = json!([{ "containerID": 0, "hostID": 0, "size": 65536 }]);
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map;
        super::drop_mounts(config, "/sys");
        push_mount(
            config,
            json!({
                "destination": "/sys", "type": "none", "source": "/sys",
                "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]
            }),
        );
        push_mount(
            config,
            json!({
                "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]
            }),
        );
        capabilities(config, &["CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN"]);
    })?;
    let outcome = attack(w, &bundle)?;
    let left: Vec<_> = kernel::cgroups_named(&name);
    left.iter().for_each(|folder| drop(fs::remove_dir(folder)));
    claim!(left.is_empty(), "cgroups of the host were made: {left:?}");
    if let Some(outcome) = outcome {
        claim!(!outcome.stdout.contains("\"made\""), "made: {}", outcome.stdout);
        claim!(lines(&outcome).len() == paths.len() + 1, "{}", outcome.stderr);
    }
    Ok(Verdict::Pass)
}

/// Names of settings that look like a namespace's own and lead to the host's: each is refused. They
/// are given the value that they have already.
fn cve_2022_0811_a_setting_of_the_host_is_not_smuggled_in(w: &World) -> anyhow::Result<Verdict> {
    good(w)?;
    let names = [
        ("vm.swappiness", "vm/swappiness"),
        ("vm/swappiness", "vm/swappiness"),
        ("net.ipv4/../../vm/swappiness", "vm/swappiness"),
        ("net.../vm/swappiness", "vm/swappiness"),
        ("net/../vm.swappiness", "vm/swappiness"),
        ("kernel.shm_rmid_forced/../../vm/swappiness", "vm/swappiness"),
        ("kernel.core_pattern", "kernel/core_pattern"),
        ("kernel.shm_rmid_forced/../core_pattern", "kernel/core_pattern"),
    ];
    for (name, file) in names {
        let value = kernel::read(&std::path::Path::new("/proc/sys").join(file))?;
        let bundle = w.bundle(&["echo", "up"])?.change(|config| {
            config["linux"]["sysctl"] = json!({ name: value });
        })?;
        let outcome = w.run(&bundle)?;
        claim!(outcome.code != 0, "{name} was accepted");
        claim!(!outcome.stderr.trim().is_empty(), "{name} was refused without a word");
    }
    Ok(Verdict::Pass)
}

/// The container writes settings of the host below /proc/sys.
fn settings_of_the_kernel_can_not_be_written(w: &World) -> anyhow::Result<Verdict> {
    let files =
        ["/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/vm/swappiness"];
    let verbs: Vec<&str> = files.iter().flat_map(|file| ["try-open", file, "w", "--"]).collect();
    let outcome = w.run(&w.bundle(&verbs)?)?;
    let facts = lines(&outcome);
    claim!(facts.len() == files.len(), "exit {}: {}", outcome.code, outcome.stderr);
    for (file, open) in files.iter().zip(&facts) {
        claim!(open["ok"] == false, "{file} can be written");
    }
    Ok(Verdict::Pass)
}

/// The container makes a device of its own, the host's log, and reads it.
fn a_device_of_the_host_can_not_be_opened(w: &World) -> anyhow::Result<Verdict> {
    // 1:11 is /dev/kmsg, which a privileged image could make.
    let verbs =
        [["try-mknod", "/tmp/log", "1", "11", "--"], ["try-open", "/tmp/log", "r", "--", "true"]];
    let verbs = verbs.concat();
    let bundle = w.bundle(&verbs)?.change(|config| {
        capabilities(config, &["CAP_MKNOD", "CAP_SYSLOG", "CAP_DAC_OVERRIDE"]);
    })?;
    let outcome = w.run(&bundle)?;
    let facts = lines(&outcome);
    claim!(facts.len() == 2, "exit {}: {}", outcome.code, outcome.stderr);
    claim!(facts[1]["ok"] == false, "{}", outcome.stdout);
    Ok(Verdict::Pass)
}
