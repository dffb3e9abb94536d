//! A full disk under the agent's ledger: nothing starts that was not written down, nothing that
//! runs is lost, and all is well when there is room again (law 8).

use std::fs;
use std::path::Path;

use loadline_tests::cluster::{Cluster, NodeOptions};
use loadline_tests::require;
use loadline_tests::require::Facility;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::json;

use crate::world::processes;

/// Room for the agent, its image and a few tasks.
const DISK: &str = "size=64m";

fn fill(folder: &Path) {
    let mut filler = fs::File::create(folder.join("filler")).unwrap();
    let piece = vec![1_u8; 1 << 16];
    while std::io::Write::write_all(&mut filler, &piece).is_ok() {}
    // The last bytes too.
    while std::io::Write::write_all(&mut filler, &[1]).is_ok() {}
}

#[test]
fn a_full_disk_stops_new_tasks_and_loses_none() {
    require!("a_full_disk_stops_new_tasks_and_loses_none": Facility::Root);
    let mut cluster = Cluster::start().unwrap();
    let state = cluster.folder.path().join("node0");
    fs::create_dir(&state).unwrap();
    mount(Some("disk"), &state, Some("tmpfs"), MsFlags::empty(), Some(DISK)).unwrap();
    let memory_mib = Some(1024);
    cluster.add_node(&NodeOptions { memory_mib, ..NodeOptions::default() }).unwrap();
    let size = json!({ "memory": "32" });
    let definition = cluster.define("any", &["trap", "TERM", "0"], size, json!({})).unwrap();
    let first = cluster.api.run(&definition, 1).unwrap();
    cluster.api.until(&first, "RUNNING").unwrap();
    let before = processes(&cluster, &first[0]);
    fill(&state);
    let second = cluster.api.run(&definition, 1).unwrap();
    // It must not run unwritten: it stays pending, or is given up with the reason.
    let settled = loadline_tests::program::until("the second task is refused or waits", || {
        let task = cluster.api.task(&second[0])?;
        assert_ne!(task["lastStatus"], "RUNNING", "a task runs that is in no ledger: {task}");
        let log = fs::read_to_string(cluster.folder.path().join("node0.log")).unwrap_or_default();
        let said = log.contains("No space left") || task.to_string().contains("No space left");
        Ok(said.then_some(task))
    })
    .unwrap();
    assert_eq!(processes(&cluster, &first[0]), before, "the first task was touched: {settled}");
    fs::remove_file(state.join("filler")).unwrap();
    let third = cluster.api.run(&definition, 1).unwrap();
    cluster.api.until(&third, "RUNNING").unwrap();
    assert_eq!(processes(&cluster, &first[0]), before, "the first task was touched");
    cluster.kill_agent(0).unwrap();
    cluster.start_agent(0).unwrap();
    cluster.until_connected(1).unwrap();
    assert_eq!(processes(&cluster, &first[0]), before, "the first task was lost");
    cluster.stop().unwrap();
    umount2(&state, MntFlags::MNT_DETACH).unwrap();
    let left = cluster.leftovers();
    assert!(left.is_empty(), "left behind: {left:#?}");
}
