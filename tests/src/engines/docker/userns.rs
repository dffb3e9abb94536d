//! A docker daemon that gives every container a user namespace.

use std::fs;

use anyhow::Context as _;

use super::super::{World, claims, holds, same};
use crate::conformance::Verdict;

claims!("docker-userns":
    root_of_a_container_is_nobody_outside,
    volumes_belong_to_the_mapped_ids,
    exec_is_in_the_user_namespace,
    a_container_can_opt_out,
);

/// The first id of the range that root is mapped to.
pub(in crate::engines) const FIRST: u32 = 200_000;

fn root_of_a_container_is_nobody_outside(w: &World) -> anyhow::Result<Verdict> {
    let docker = w.docker_userns()?;
    let held = docker.detached(&[], &["sleep", "1000"])?;
    let pid = held.inspect("/State/Pid")?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("read a status")?;
    holds!(status, format!("Uid:\t{FIRST}\t"));
    same!(held.exec(&["sh", "-c", "id -u; tr -s ' ' < /proc/self/uid_map"])?, "0\n 0 200000 65536");
    Ok(Verdict::Pass)
}

fn volumes_belong_to_the_mapped_ids(w: &World) -> anyhow::Result<Verdict> {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let folder = w.place.make("mapped")?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).context("open a folder")?;
    let volume = format!("{}:/data", folder.display());
    w.docker_userns()?.shell(&["-v", &volume, "-u", "1000"], "touch /data/new")?;
    same!(fs::metadata(folder.join("new")).context("look at a file")?.uid(), FIRST + 1000);
    Ok(Verdict::Pass)
}

fn exec_is_in_the_user_namespace(w: &World) -> anyhow::Result<Verdict> {
    let held = w.docker_userns()?.detached(&["--read-only"], &["sleep", "1000"])?;
    let script =
        "readlink /proc/1/ns/user; readlink /proc/self/ns/user; echo 1 > /proc/sys/vm/panic_on_oom";
    let ran = held.docker.typed(&["exec", &held.name, "sh", "-c", script])?;
    let lines: Vec<&str> = ran.stdout.lines().collect();
    same!(lines.len(), 2);
    same!(lines.first(), lines.last());
    Ok(Verdict::Pass)
}

fn a_container_can_opt_out(w: &World) -> anyhow::Result<Verdict> {
    let said = w.docker_userns()?.shell(&["--userns", "host"], "tr -s ' ' < /proc/self/uid_map")?;
    same!(said, "0 0 4294967295");
    Ok(Verdict::Pass)
}
