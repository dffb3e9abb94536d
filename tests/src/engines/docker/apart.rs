//! `docker run`: what a container sees of the host, and what it may do.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use nix::mount::{MsFlags, mount};
use serde_json::json;

use super::super::{World, claims, holds, same};
use super::ended_with;
use crate::conformance::Verdict;
use crate::kernel;

claims!("docker":
    the_default_capabilities_are_dockers_own,
    cap_drop_and_cap_add_leave_what_was_typed,
    privileged_has_every_capability_and_device,
    read_only_refuses_writes,
    tmpfs_has_its_options,
    a_device_is_there_and_others_are_not,
    a_seccomp_profile_refuses_what_it_names,
    no_new_privileges_is_set,
    a_volume_is_read_only_where_asked,
    mounts_reach_a_volume_that_is_a_slave,
    mounts_in_a_shared_volume_reach_the_host,
    the_network_of_another_container_is_shared,
    a_published_port_answers,
    loopback_is_up_without_a_network,
    pid_host_sees_the_host,
    ipc_and_pid_of_another_container_are_shared,
    sysctl_ulimit_and_shm_size_are_set,
    masked_paths_are_empty,
);

/// The line of /proc/self/status.
fn status(w: &World, options: &[&str], line: &str) -> anyhow::Result<String> {
    let said = w.docker()?.printed(options, &["grep", line, "/proc/self/status"])?;
    let value = said.split_once(':').with_context(|| format!("no {line} in {said:?}"))?.1;
    Ok(value.trim().to_owned())
}

fn the_default_capabilities_are_dockers_own(w: &World) -> anyhow::Result<Verdict> {
    same!(status(w, &[], "CapEff")?, "00000000a80425fb");
    same!(status(w, &[], "CapInh")?, "0000000000000000");
    Ok(Verdict::Pass)
}

fn cap_drop_and_cap_add_leave_what_was_typed(w: &World) -> anyhow::Result<Verdict> {
    let options = ["--cap-drop", "ALL", "--cap-add", "NET_BIND_SERVICE"];
    for line in ["CapPrm", "CapEff", "CapBnd"] {
        same!(status(w, &options, line)?, "0000000000000400");
    }
    Ok(Verdict::Pass)
}

fn privileged_has_every_capability_and_device(w: &World) -> anyhow::Result<Verdict> {
    let number = |text: &str| u64::from_str_radix(text, 16).context("read capabilities");
    let own = fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let own = own.lines().find_map(|line| line.strip_prefix("CapBnd:")).context("no CapBnd")?;
    let (own, seen) = (number(own.trim())?, number(&status(w, &["--privileged"], "CapEff")?)?);
    // docker of 2021 does not know the capabilities that came after it.
    let known = (1 << 38) - 1;
    same!(seen & known, own & known);
    let script = "test -c /dev/kmsg && mount -t tmpfs none /mnt && grep -c ' /mnt ' /proc/mounts";
    same!(w.docker()?.shell(&["--privileged"], &format!("mkdir /mnt; {script}"))?, "1");
    same!(status(w, &["--privileged"], "Seccomp:")?, "0");
    Ok(Verdict::Pass)
}

fn read_only_refuses_writes(w: &World) -> anyhow::Result<Verdict> {
    let ran = w.docker()?.run(&["--read-only"], &["touch", "/new"])?;
    ended_with(&ran, 1)?;
    holds!(ran.stderr, "Read-only file system");
    Ok(Verdict::Pass)
}

fn tmpfs_has_its_options(w: &World) -> anyhow::Result<Verdict> {
    let script = "grep ' /x ' /proc/mounts; stat -c %a /x; touch /x/new && echo written";
    let options = ["--read-only", "--tmpfs", "/x:size=1m,mode=1700,noexec"];
    let said = w.docker()?.shell(&options, script)?;
    holds!(said, "size=1024k,mode=1700");
    holds!(said, "noexec");
    holds!(said, "\n1700\nwritten");
    Ok(Verdict::Pass)
}

fn a_device_is_there_and_others_are_not(w: &World) -> anyhow::Result<Verdict> {
    let docker = w.docker()?;
    let options = ["--device", "/dev/kmsg:/dev/messages:r", "--cap-add", "SYSLOG"];
    let said = docker.shell(&options, "stat -c '%F %t:%T' /dev/messages; : < /dev/messages")?;
    same!(said, "character special file 1:b");
    let ran = docker.run(&options, &["sh", "-c", ": > /dev/messages"])?;
    ended_with(&ran, 1)?;
    holds!(ran.stderr, "Operation not permitted");
    let ran = docker.run(&["--cap-add", "MKNOD"], &["sh", "-c", "mknod k c 1 11; : < k"])?;
    holds!(ran.stderr, "Operation not permitted");
    Ok(Verdict::Pass)
}

fn a_seccomp_profile_refuses_what_it_names(w: &World) -> anyhow::Result<Verdict> {
    let docker = w.docker()?;
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            { "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95 }
        ]
    });
    let file = docker.folder.join("profile.json");
    fs::write(&file, profile.to_string()).context("write a profile")?;
    let option = format!("seccomp={}", file.display());
    let ran = docker.run(&["--security-opt", &option], &["mkdir", "/new"])?;
    ended_with(&ran, 1)?;
    // Error 95 in the C library's words.
    holds!(ran.stderr, "not supported");
    same!(status(w, &["--security-opt", &option], "Seccomp:")?, "2");
    same!(status(w, &["--security-opt", "seccomp=unconfined"], "Seccomp:")?, "0");
    Ok(Verdict::Pass)
}

fn no_new_privileges_is_set(w: &World) -> anyhow::Result<Verdict> {
    same!(status(w, &["--security-opt", "no-new-privileges"], "NoNewPrivs")?, "1");
    same!(status(w, &[], "NoNewPrivs")?, "0");
    Ok(Verdict::Pass)
}

fn a_volume_is_read_only_where_asked(w: &World) -> anyhow::Result<Verdict> {
    let folder = w.place.make("volume")?;
    fs::write(folder.join("file"), "from the host\n").context("write a file")?;
    let volume = format!("{}:/data:ro", folder.display());
    let ran = w.docker()?.run(&["-v", &volume], &["sh", "-c", "cat /data/file; : > /data/new"])?;
    same!(ran.stdout, "from the host\n");
    holds!(ran.stderr, "Read-only file system");
    Ok(Verdict::Pass)
}

/// A mount point of its own, shared with whoever binds it.
fn shared(w: &World, name: &str) -> anyhow::Result<std::path::PathBuf> {
    let folder = w.place.make(name)?;
    let none: Option<&str> = None;
    mount(Some("tmpfs"), &folder, Some("tmpfs"), MsFlags::empty(), none).context("mount")?;
    mount(none, &folder, none, MsFlags::MS_SHARED, none).context("share a mount")?;
    fs::create_dir(folder.join("sub")).context("make a folder")?;
    Ok(folder)
}

fn mounts_reach_a_volume_that_is_a_slave(w: &World) -> anyhow::Result<Verdict> {
    let folder = shared(w, "slave")?;
    let volume = format!("{}:/data:rslave", folder.display());
    let held = w.docker()?.detached(&["-v", &volume], &["sleep", "1000"])?;
    let none: Option<&str> = None;
    let sub = folder.join("sub");
    mount(Some("tmpfs"), &sub, Some("tmpfs"), MsFlags::empty(), none).context("mount")?;
    holds!(held.exec(&["cat", "/proc/mounts"])?, " /data/sub ");
    Ok(Verdict::Pass)
}

fn mounts_in_a_shared_volume_reach_the_host(w: &World) -> anyhow::Result<Verdict> {
    let folder = shared(w, "shared")?;
    let volume = format!("{}:/data:rshared", folder.display());
    let options = ["--cap-add", "SYS_ADMIN", "--security-opt", "apparmor=unconfined"];
    let options = [&options[..], &["-v", &volume]].concat();
    let held = w.docker()?.detached(&options, &["sleep", "1000"])?;
    held.exec(&["mount", "-t", "tmpfs", "none", "/data/sub"])?;
    let sub = folder.join("sub");
    let sub = sub.to_str().context("a path is no text")?;
    same!(kernel::mounts().iter().any(|point| point == sub), true);
    Ok(Verdict::Pass)
}

fn the_network_of_another_container_is_shared(w: &World) -> anyhow::Result<Verdict> {
    let docker = w.docker()?;
    let script = "echo found > index.html; httpd -p 8000; echo up; sleep 1000";
    let held = docker.detached(&["-w", "/tmp"], &["sh", "-c", script])?;
    held.until_logs("up")?;
    let network = format!("container:{}", held.name);
    let ask = ["wget", "-q", "-O", "-", "http://127.0.0.1:8000/"];
    same!(docker.printed(&["--network", &network], &ask)?, "found");
    Ok(Verdict::Pass)
}

fn a_published_port_answers(w: &World) -> anyhow::Result<Verdict> {
    let docker = w.docker()?;
    let script = "echo published > index.html; httpd -p 80; echo up; sleep 1000";
    let held = docker.detached(&["-w", "/tmp", "-p", "18080:80"], &["sh", "-c", script])?;
    held.until_logs("up")?;
    let ask = ["wget", "-q", "-O", "-", "http://127.0.0.1:18080/"];
    same!(docker.printed(&["--network", "host"], &ask)?, "published");
    Ok(Verdict::Pass)
}

fn loopback_is_up_without_a_network(w: &World) -> anyhow::Result<Verdict> {
    let ask = ["ping", "-c", "1", "-W", "5", "127.0.0.1"];
    holds!(w.docker()?.printed(&["--network", "none"], &ask)?, "1 packets received");
    Ok(Verdict::Pass)
}

fn pid_host_sees_the_host(w: &World) -> anyhow::Result<Verdict> {
    let own = format!("/proc/{}/comm", std::process::id());
    let comm = fs::read_to_string(&own).context("read the own name")?;
    same!(w.docker()?.printed(&["--pid", "host"], &["cat", &own])?, comm.trim());
    Ok(Verdict::Pass)
}

fn ipc_and_pid_of_another_container_are_shared(w: &World) -> anyhow::Result<Verdict> {
    let docker = w.docker()?;
    let held = docker.detached(&["--ipc", "shareable"], &["sleep", "1234"])?;
    let other = format!("container:{}", held.name);
    let script =
        "tr '\\0' ' ' < /proc/1/cmdline; readlink /proc/self/ns/ipc; readlink /proc/self/ns/pid";
    let said = docker.shell(&["--ipc", &other, "--pid", &other], script)?;
    holds!(said, "sleep 1234");
    let pid = held.inspect("/State/Pid")?.as_u64().context("no pid")?;
    for kind in ["ipc", "pid"] {
        holds!(said, kernel::namespace(pid, kind)?);
    }
    Ok(Verdict::Pass)
}

fn sysctl_ulimit_and_shm_size_are_set(w: &World) -> anyhow::Result<Verdict> {
    let options = ["--sysctl", "net.ipv4.ip_default_ttl=33", "--ulimit", "nofile=100:200"];
    let script = "cat /proc/sys/net/ipv4/ip_default_ttl; ulimit -n; ulimit -Hn; df -k /dev/shm";
    let said = w.docker()?.shell(&[&options[..], &["--shm-size", "2m"]].concat(), script)?;
    holds!(said, "33\n100\n200\n");
    holds!(said, " 2048 ");
    Ok(Verdict::Pass)
}

fn masked_paths_are_empty(w: &World) -> anyhow::Result<Verdict> {
    let said = w.docker()?.shell(&[], "wc -c < /proc/keys; ls /sys/firmware | wc -l")?;
    same!(said, "0\n0");
    let ran = w.docker()?.run(&[], &["sh", "-c", "echo 1 > /proc/sys/kernel/panic"])?;
    holds!(ran.stderr, "Read-only file system");
    same!(Path::new("/proc/sys/kernel/panic").exists(), true);
    Ok(Verdict::Pass)
}
