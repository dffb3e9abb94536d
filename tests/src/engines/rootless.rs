//! podman of an ordinary user, whom the suite makes in its own mount namespace.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use super::podman::Podman;
use super::{World, claims, holds, same};
use crate::conformance::Verdict;
use crate::{kernel, program};

claims!("podman-rootless":
    the_ids_are_the_users_own,
    a_user_of_the_image_is_a_subordinate_one,
    keep_id_is_the_user_inside,
    run_gives_the_exit_code,
    exec_and_top_look_into_it,
    kill_and_wait_give_the_exit_code,
    a_pod_shares_its_network,
    a_limit_without_the_right_is_told,
);

/// The user and the first subordinate id.
const USER: (&str, u32, u32) = ("loadline-user", 6543, 300_000);

/// Makes the user, in files that only the suite sees, and a podman of that user.
pub(super) fn start(world: &World) -> anyhow::Result<Podman> {
    let (name, id, first) = USER;
    let folder = world.place.make("user")?;
    world.place.add_user(name, id, first)?;
    let run = folder.join("run");
    fs::create_dir(&run).context("make the user's runtime folder")?;
    for path in [&folder, &run] {
        std::os::unix::fs::chown(path, Some(id), Some(id)).context("give a folder away")?;
    }
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let environment = [
        ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
        ("USER", name.to_owned()),
        ("HOME", text(&folder)),
        ("XDG_RUNTIME_DIR", text(&run)),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value)).to_vec();
    Podman::of_user(world, folder, id, environment)
}

fn the_ids_are_the_users_own(w: &World) -> anyhow::Result<Verdict> {
    let said =
        w.rootless()?.printed(&[], &["sh", "-c", "id -u; tr -s ' ' < /proc/self/uid_map"])?;
    same!(said, "0\n 0 6543 1\n 1 300000 65536");
    Ok(Verdict::Pass)
}

fn a_user_of_the_image_is_a_subordinate_one(w: &World) -> anyhow::Result<Verdict> {
    let podman = w.rootless()?;
    let held = podman.held("subordinate", &["-u", "1000"], &["sleep", "1000"])?;
    let pid = held.field("{{.State.Pid}}")?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("read a status")?;
    holds!(status, "Uid:\t300999\t");
    Ok(Verdict::Pass)
}

fn keep_id_is_the_user_inside(w: &World) -> anyhow::Result<Verdict> {
    same!(w.rootless()?.printed(&["--userns", "keep-id"], &["id", "-u"])?, "6543");
    Ok(Verdict::Pass)
}

fn run_gives_the_exit_code(w: &World) -> anyhow::Result<Verdict> {
    same!(w.rootless()?.run(&[], &["sh", "-c", "exit 7"])?.code(), 7);
    same!(w.rootless()?.run(&[], &["no-such-program"])?.code(), 127);
    Ok(Verdict::Pass)
}

fn exec_and_top_look_into_it(w: &World) -> anyhow::Result<Verdict> {
    let podman = w.rootless()?;
    let held = podman.held("looked-at", &[], &["sleep", "2468"])?;
    let ask = ["exec", "looked-at", "cat", "/proc/1/comm"];
    same!(podman.out(&ask)?, "sleep");
    holds!(held.verb("top", &[])?, "sleep 2468");
    Ok(Verdict::Pass)
}

fn kill_and_wait_give_the_exit_code(w: &World) -> anyhow::Result<Verdict> {
    let held = w.rootless()?.held("killed", &[], &["sleep", "1000"])?;
    held.verb("kill", &["--signal", "KILL"])?;
    same!(held.verb("wait", &[])?, "137");
    // Until podman has cleaned up it says that it has stopped.
    let has_exited = || Ok((held.field("{{.State.Status}}")? == "exited").then_some(()));
    program::until("podman cleans up", has_exited)?;
    Ok(Verdict::Pass)
}

fn a_pod_shares_its_network(w: &World) -> anyhow::Result<Verdict> {
    let podman = w.rootless()?;
    let image = super::world::IMAGE;
    let infra = ["--infra-image", image, "--infra-command", "sleep 1000", "--network", "none"];
    podman.out(&[&["pod", "create", "--name", "own"], &infra[..]].concat())?;
    let link = ["readlink", "/proc/self/ns/net"];
    let inside = || podman.out(&[&["run", "--rm", "--pod", "own", image], &link[..]].concat());
    same!(inside()?, inside()?);
    podman.out(&["pod", "rm", "--force", "--time", "0", "own"])?;
    Ok(Verdict::Pass)
}

/// podman itself leaves limits out on version 1, where users have no cgroups.
fn a_limit_without_the_right_is_told(w: &World) -> anyhow::Result<Verdict> {
    if kernel::is_unified() {
        return Ok(Verdict::Needs("cgroup version 1".to_owned()));
    }
    let ran = w.rootless()?.run(&["--memory", "32m"], &["true"])?;
    same!(ran.code(), 0);
    holds!(ran.stderr, "not supported");
    Ok(Verdict::Pass)
}
