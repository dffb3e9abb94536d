//! The systemd units of docs/, under a real systemd: copies with names, folders and ports of their
//! own, so that an installed Loadline is not touched.
//!
//! Where process 1 is not systemd: `cargo xtask vm --init systemd -- THIS_PROGRAM`.

#![forbid(unsafe_code)]

#[cfg(test)]
mod world;

use loadline_tests::require;
use loadline_tests::require::Facility;

use crate::world::World;

#[test]
fn a_task_outlives_the_restart_and_the_crash_of_its_agents_unit() {
    let test = "a_task_outlives_the_restart_and_the_crash_of_its_agents_unit";
    require!("a_task_outlives_the_restart_and_the_crash_of_its_agents_unit": Facility::Root,
        Facility::Program("systemctl"));
    if !std::path::Path::new("/run/systemd/system").exists() {
        eprintln!("\nSKIPPED {test}: needs systemd as process 1");
        return;
    }
    let world = World::new();
    // `start` comes back when the controller has said that it is ready.
    world.systemctl(&["start", &world.controller]);
    assert!(world.loadline(&["nodes"]).status.success());
    let token = world.loadline(&["token", "create"]).stdout;
    world.let_agent_join(token.trim());
    world.systemctl(&["start", &world.agent]);
    world.until_connected();
    world.import_probe();

    let ended = world.loadline(&["run", "--follow", "probe:latest", "--", "exit", "5"]);
    assert_eq!(ended.code(), 5, "{}", ended.stderr);
    let sleep = ["run", "--stop-timeout", "2", "probe:latest", "--", "sleep"];
    let task = world.loadline(&sleep).stdout.trim().to_owned();
    world.until_running(&task);
    let supervisor = world.supervisor_of(&task);

    world.systemctl(&["restart", &world.agent]);
    world.until_connected();
    world.until_running(&task);
    assert_eq!(world.supervisor_of(&task), supervisor);

    world.systemctl(&["kill", "--kill-whom=main", "--signal=KILL", &world.agent]);
    world.until_restarted_once();
    world.until_connected();
    world.until_running(&task);
    assert_eq!(world.supervisor_of(&task), supervisor);

    world.systemctl(&["restart", &world.controller]);
    world.until_connected();
    world.until_running(&task);

    assert!(world.loadline(&["stop", "--wait", &task]).status.success());
    world.systemctl(&["stop", &world.agent, &world.controller]);
    world.left_nothing();
}
