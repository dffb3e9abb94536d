//! What people touch: the local API, logs, an orderly end, renewal, simulated nodes.

use std::os::unix::fs::PermissionsExt as _;

use loadline_model::{TaskReport, TaskStatus};

use super::world::{World, can_run};

fn is_stopped(report: &TaskReport) -> bool {
    report.status == TaskStatus::Stopped
}

fn is_running(report: &TaskReport) -> bool {
    report.status == TaskStatus::Running
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_local_api_lists_and_removes_images_and_refuses_in_words() {
    if !can_run("the_local_api_lists_and_removes_images_and_refuses_in_words") {
        return;
    }
    let world = World::start("api").await;
    let mode = std::fs::metadata(world.dir.join("agent.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let ask = |method, target, body: &str| world.http(method, target, body).unwrap();
    let images = ask("GET", "/v1/images", "");
    assert!(images.contains("probe:latest") && images.contains("sha256:"), "{images}");
    let status = ask("GET", "/v1/status", "");
    assert!(status.contains("container-instance/default/node1"), "{status}");
    for (body, expected) in [
        ("{}", "missing field `path`"),
        ("{\"path\":\"relative\"}", "is not absolute"),
        ("{\"path\":\"/x\",\"nmae\":\"y\"}", "unknown field `nmae`"),
        ("{\"path\":\"/no/such/file\"}", "/no/such/file"),
    ] {
        let answer = ask("POST", "/v1/images/import", body);
        assert!(answer.contains("\"error\"") && answer.contains(expected), "{answer}");
    }
    let gone = ask("DELETE", "/v1/images?reference=nothing%3Ahere", "");
    assert!(gone.starts_with("HTTP/1.1 404") && gone.contains("is not on this node"), "{gone}");
    let removed = ask("DELETE", "/v1/images?reference=probe%3Alatest", "");
    assert!(removed.starts_with("HTTP/1.1 200"), "{removed}");
    assert!(!ask("GET", "/v1/images", "").contains("probe:latest"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_is_removed_stays_below_the_containers_that_run_from_it() {
    if !can_run("an_image_that_is_removed_stays_below_the_containers_that_run_from_it") {
        return;
    }
    let mut world = World::start("pinned").await;
    let spec = world.task("t1", &["trap", "TERM", "0"]);
    let arn = spec.arn.as_str().to_owned();
    world.fake.assign(spec);
    world.fake.wait(&arn, is_running).await;
    world.kill_agent();
    world.start_agent(&[], &[]);
    let removed = world.http("DELETE", "/v1/images?reference=probe:latest", "").unwrap();
    assert!(removed.contains("\"freed_bytes\":0"), "a running container has it: {removed}");
    while world.fake.read_logs(&arn, "main", String::new(), 1_000).await.events.is_empty() {}
    world.fake.stop(&arn);
    let report = world.fake.wait(&arn, is_stopped).await;
    assert_eq!(report.containers[0].exit_code, Some(0));
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_output_is_bounded_on_disk_and_its_end_is_kept() {
    if !can_run("a_flood_of_output_is_bounded_on_disk_and_its_end_is_kept") {
        return;
    }
    let mut world = World::without_agent("flood").await;
    world.start_agent(&["--log-file-bytes-max", "100000", "--log-files-max", "3"], &[]);
    world.import_probe();
    let spec = world.task("t1", &["lines", "50000", "100"]);
    let arn = spec.arn.as_str().to_owned();
    world.fake.assign(spec);
    let report = world.fake.wait(&arn, is_stopped).await;
    assert_eq!(report.containers[0].exit_code, Some(0));
    let events = world.fake.logs(&arn, "main").await;
    let last = String::from_utf8(events.last().unwrap().message.clone()).unwrap();
    assert!(last.starts_with("49999"), "{last}");
    let dir = world.dir.join("tasks/t1/main/log");
    let sizes = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().metadata().unwrap().len());
    let sizes: Vec<u64> = sizes.collect();
    assert!(sizes.len() <= 3, "{sizes:?}");
    // A file may pass its bound by what one write brings.
    assert!(sizes.iter().all(|size| *size < 400_000), "{sizes:?}");
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_is_asked_to_end_leaves_its_tasks_running() {
    if !can_run("an_agent_that_is_asked_to_end_leaves_its_tasks_running") {
        return;
    }
    let mut world = World::start("end").await;
    let spec = world.task("t1", &["sleep", "1000"]);
    let arn = spec.arn.as_str().to_owned();
    world.fake.assign(spec);
    world.fake.wait(&arn, is_running).await;
    let pids = world.container_pids();
    assert!(world.end_agent().success());
    assert_eq!(world.container_pids(), pids);
    world.start_agent(&[], &[]);
    world.fake.let_go(&arn);
    world.fake.wait(&arn, is_stopped).await;
    world.assert_clean();
    assert!(world.end_agent().success());
    let parent = std::path::Path::new("/sys/fs/cgroup/pids").join(&world.cgroup_parent);
    assert!(!parent.exists(), "a node without tasks leaves no cgroup");
}

#[test]
fn an_init_gives_its_program_no_blocked_signal_and_ends_as_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let init = folder.path().join("docker-init");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_loadline-supervisor"), &init).unwrap();
    let run =
        |words: &[&str]| std::process::Command::new(&init).arg("--").args(words).output().unwrap();
    let told = run(&["sh", "-c", "cat /proc/self/status; exit 7"]);
    assert_eq!(told.status.code(), Some(7), "{told:?}");
    let said = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(said.contains("SigBlk:\t0000000000000000\n"), "{said}");
    for (word, signal) in [("TERM", 15), ("KILL", 9)] {
        let told = run(&["sh", "-c", &format!("kill -{word} $$")]);
        assert_eq!(told.status.code(), Some(128 + signal), "{told:?}");
    }
    assert_eq!(run(&["/no/such/program"]).status.code(), Some(127));
    assert_eq!(run(&["/etc"]).status.code(), Some(126));
    assert_eq!(run(&[]).status.code(), Some(127));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_past_two_thirds_of_its_life_is_renewed_before_anything_else() {
    let mut world = World::without_agent("renew").await;
    world.fake.state().old_certificates = true;
    world.start_agent(&[], &[]);
    let renewed = world.fake.until("a renewal and a session", |fake| {
        let state = fake.state();
        (0 < state.renewed && !state.hellos.is_empty()).then_some(())
    });
    renewed.await;
    let identity = std::fs::read_to_string(world.dir.join("identity.json")).unwrap();
    world.kill_agent();
    world.start_agent(&[], &[]);
    world.fake.until("a second hello", |fake| (fake.state().hellos.len() == 2).then_some(())).await;
    assert_eq!(world.fake.state().renewed, 1, "the new one is on disk");
    assert_eq!(std::fs::read_to_string(world.dir.join("identity.json")).unwrap(), identity);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hollow_nodes_join_and_pretend_to_run_tasks() {
    let world = World::without_agent("hollow").await;
    let results = world.dir.with_extension("csv");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_loadline-agent"));
    command
        .args(["hollow", "--count", "1", "--run-s", "1", "--start-ms", "10"])
        .args(["--controller", &world.fake.address, "--join-token", &world.fake.token])
        .arg("--state-dir")
        .arg(&world.dir)
        .arg("--results")
        .arg(&results);
    let mut hollow = super::world::Ended(command.spawn().unwrap());
    let spec = world.task("t1", &["true"]);
    let arn = spec.arn.as_str().to_owned();
    world.fake.assign(spec);
    let report = world.fake.wait(&arn, is_stopped).await;
    assert_eq!(report.containers[0].exit_code, Some(0));
    let csv = std::fs::read_to_string(&results).unwrap();
    assert!(csv.lines().nth(1).unwrap().starts_with("0,t1,"), "{csv}");
    hollow.0.kill().unwrap();
}
