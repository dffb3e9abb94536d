//! Law 9 on a real node: without a controller everything goes on, and the newest state of each
//! task is told when it is back. Law 10: desired state never goes backwards.

use std::path::Path;

use loadline_model::{Assignment, DesiredStatus, TaskReport, TaskSpec, TaskStatus};
use loadline_proto::v1;
use loadline_proto::v1::controller_message::Kind;
use nix::sys::signal::Signal;

use super::world::{World, can_run};

fn is_stopped(report: &TaskReport) -> bool {
    report.status == TaskStatus::Stopped
}

fn is_running(report: &TaskReport) -> bool {
    report.status == TaskStatus::Running
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_ends_while_the_controller_is_away_is_reported_later() {
    if !can_run("a_task_that_ends_while_the_controller_is_away_is_reported_later") {
        return;
    }
    let mut world = World::start("away").await;
    let spec = world.task("t1", &["trap", "TERM", "5"]);
    let arn = spec.arn.as_str().to_owned();
    world.fake.assign(spec);
    world.fake.wait(&arn, is_running).await;
    while world.fake.read_logs(&arn, "main", String::new(), 1_000).await.events.is_empty() {}
    world.fake.go_away().await;
    let pid = nix::unistd::Pid::from_raw(world.container_pids()[0]);
    nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
    world.assert_clean();
    // The agent may die too before the controller is back.
    world.kill_agent();
    world.start_agent(&[], &[]);
    world.fake.come_back().await;
    let report = world.fake.wait(&arn, is_stopped).await;
    assert_eq!(report.containers[0].exit_code, Some(5));
    assert_eq!(world.fake.state().enrolled, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_acknowledged_is_sent_again_in_the_next_session() {
    if !can_run("what_is_not_acknowledged_is_sent_again_in_the_next_session") {
        return;
    }
    let mut world = World::start("unacked").await;
    world.fake.state().acknowledge = false;
    let spec = world.task("t1", &["true"]);
    let arn = spec.arn.as_str().to_owned();
    world.fake.assign(spec);
    let first = world.fake.wait(&arn, is_stopped).await;
    world.fake.go_away().await;
    let lost = "the connection to the controller was lost: ";
    world.until("the loss, in words", |world| world.agent_log().contains(lost).then_some(()));
    world.fake.state().reports.clear();
    world.fake.come_back().await;
    let again = world.fake.wait(&arn, is_stopped).await;
    assert_eq!(first, again);
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_made_of_an_older_backup_is_told_again_how_every_task_is() {
    if !can_run("a_controller_made_of_an_older_backup_is_told_again_how_every_task_is") {
        return;
    }
    let mut world = World::start("backup").await;
    let (runs, ends) = (world.task("t1", &["sleep", "1000"]), world.task("t2", &["true"]));
    let arns = [&runs, &ends].map(|spec| spec.arn.as_str().to_owned());
    world.fake.assign(runs);
    world.fake.assign(ends);
    let running = world.fake.wait(&arns[0], is_running).await;
    let stopped = world.fake.wait(&arns[1], is_stopped).await;
    // Each is acknowledged at once, and then forgotten as with the disk of a controller.
    world.fake.go_away().await;
    world.fake.state().reports.clear();
    world.fake.come_back().await;
    assert_eq!(world.fake.wait(&arns[0], is_running).await, running);
    assert_eq!(world.fake.wait(&arns[1], is_stopped).await, stopped);
    world.fake.stop(&arns[0]);
    world.fake.wait(&arns[0], is_stopped).await;
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_generation_is_refused_in_words_and_changes_nothing() {
    if !can_run("an_older_generation_is_refused_in_words_and_changes_nothing") {
        return;
    }
    let world = World::start("older").await;
    let spec = world.task("t1", &["sleep", "1000"]);
    let arn = spec.arn.as_str().to_owned();
    world.fake.assign(spec);
    world.fake.wait(&arn, is_running).await;
    let generation = world.fake.state().generation;
    let none = v1::Snapshot { generation: generation - 1, assignments: vec![], last: true };
    world.fake.say(Kind::Snapshot(none)).await;
    let change = v1::Change {
        generation: generation + 9,
        base_generation: generation + 8,
        assignments: vec![],
        forget_task_arns: vec![],
    };
    world.fake.say(Kind::Change(change)).await;
    let refused = world.fake.until("two refusals", |fake| {
        let refusals = fake.state().refusals.clone();
        (refusals.len() == 2).then_some(refusals)
    });
    let refused = refused.await;
    assert!(refused[0].contains("is older than"), "{}", refused[0]);
    assert!(refused[1].contains("send a snapshot"), "{}", refused[1]);
    assert_eq!(world.container_pids().len(), 1, "it runs on");
    world.fake.stop(&arn);
    let report = world.fake.wait(&arn, is_stopped).await;
    assert_eq!(report.containers[0].exit_code, Some(137));
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_replaced_has_stopped_before_its_replacement_begins() {
    if !can_run("what_was_replaced_has_stopped_before_its_replacement_begins") {
        return;
    }
    let world = World::start("replaced").await;
    let mut old = world.task("old", &["ignore", "TERM"]);
    old.containers[0].stop_timeout_s = Some(2);
    let (old_arn, new) = (old.arn.as_str().to_owned(), world.task("new", &["true"]));
    let new_arn = new.arn.as_str().to_owned();
    world.fake.assign(old);
    world.fake.wait(&old_arn, is_running).await;
    world.fake.state().assignments.clear();
    world.fake.assign(new);
    world.fake.wait(&new_arn, is_stopped).await;
    let state = world.fake.state();
    let place = |wanted: &dyn Fn(&TaskReport) -> bool| state.reports.iter().position(wanted);
    let old_end = place(&|r| r.task.as_str() == old_arn && is_stopped(r));
    let new_begin = place(&|r| r.task.as_str() == new_arn && r.status != TaskStatus::Pending);
    assert!(old_end.unwrap() < new_begin.unwrap());
    drop(state);
    world.assert_clean();
}

/// A stop that is told in the session in which it was decided.
async fn tell_to_stop(world: &World, spec: TaskSpec) {
    let arn = spec.arn.as_str().to_owned();
    let desired = DesiredStatus::Stopped;
    let assignment = Assignment { task: spec, desired, stop_reason: None };
    let base_generation = world.fake.state().generation;
    let generation = base_generation + 1;
    world.fake.state().generation = generation;
    world.fake.state().assignments.insert(arn.clone(), assignment.clone());
    let assignments = vec![assignment.into()];
    let change = v1::Change { generation, base_generation, assignments, forget_task_arns: vec![] };
    world.fake.say(Kind::Change(change)).await;
    world.fake.wait(&arn, |report| report.status == TaskStatus::Stopping).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_was_stopping_before_a_restart_keeps_no_other_waiting() {
    if !can_run("a_task_that_was_stopping_before_a_restart_keeps_no_other_waiting") {
        return;
    }
    let mut world = World::start("stopping").await;
    let mut old = world.task("old", &["ignore", "TERM"]);
    old.containers[0].stop_timeout_s = Some(120);
    let (old_arn, new) = (old.arn.as_str().to_owned(), world.task("new", &["true"]));
    let new_arn = new.arn.as_str().to_owned();
    world.fake.assign(old.clone());
    world.fake.wait(&old_arn, is_running).await;
    tell_to_stop(&world, old).await;
    world.kill_agent();
    world.fake.desire(new);
    world.start_agent(&[], &[]);
    let report = world.fake.wait(&new_arn, is_stopped).await;
    assert_eq!(report.containers[0].exit_code, Some(0), "{report:#?}");
    assert_eq!(world.fake.report(&old_arn).unwrap().status, TaskStatus::Stopping);
    signal(&world, "old", Signal::SIGKILL);
    world.fake.wait(&old_arn, is_stopped).await;
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_new_begins_beside_what_was_replaced_also_over_the_agents_death() {
    if !can_run("nothing_new_begins_beside_what_was_replaced_also_over_the_agents_death") {
        return;
    }
    let mut world = World::start("beside").await;
    let mut old = world.task("old", &["ignore", "TERM"]);
    old.containers[0].stop_timeout_s = Some(20);
    // A service may have gone on with another definition meanwhile.
    let other = TaskSpec { family: "other".into(), ..world.task("other", &["true"]) };
    let replacement = world.task("replacement", &["true"]);
    let arn = |spec: &TaskSpec| spec.arn.as_str().to_owned();
    let [old_arn, other_arn, new_arn] = [&old, &other, &replacement].map(arn);
    world.fake.assign(old);
    world.fake.wait(&old_arn, is_running).await;
    [other, replacement].into_iter().for_each(|spec| world.fake.desire(spec));
    world.fake.stop(&old_arn);
    for arn in [&other_arn, &new_arn] {
        let why = "it waits for the end of task old, which it may replace";
        let is_told = |report: &TaskReport| report.containers[0].reason.as_deref() == Some(why);
        world.fake.wait(arn, is_told).await;
    }
    // Another agent knows as well that the task was given up.
    world.kill_agent();
    world.start_agent(&[], &[]);
    for arn in [&other_arn, &new_arn] {
        let report = world.fake.wait(arn, is_stopped).await;
        assert_eq!(report.containers[0].exit_code, Some(0), "{report:#?}");
        assert_eq!(report.containers[0].reason, None, "what it waited for is past");
    }
    let state = world.fake.state();
    let place = |wanted: &dyn Fn(&TaskReport) -> bool| state.reports.iter().position(wanted);
    let old_end = place(&|r| r.task.as_str() == old_arn && is_stopped(r)).unwrap();
    for arn in [other_arn, new_arn] {
        let begin = place(&|r| r.task.as_str() == arn && r.containers[0].runtime_id.is_some());
        assert!(old_end < begin.unwrap(), "{arn}");
    }
    drop(state);
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_beside_a_stopping_task_waits_and_the_rest_begins() {
    if !can_run("what_does_not_fit_beside_a_stopping_task_waits_and_the_rest_begins") {
        return;
    }
    let mut world = World::start("fits").await;
    let registered = world.fake.until("a node", |fake| fake.state().registered.first().cloned());
    let cpu_units = registered.await.resources.unwrap().cpu_units;
    let mut old = world.task("old", &["ignore", "TERM"]);
    old.containers[0].stop_timeout_s = Some(120);
    old.cpu_units = Some(cpu_units - 20);
    let mut large = world.task("large", &["true"]);
    large.cpu_units = Some(cpu_units - 20);
    let fits = world.task("fits", &["true"]);
    let arn = |spec: &TaskSpec| spec.arn.as_str().to_owned();
    let [old_arn, large_arn, fits_arn] = [&old, &large, &fits].map(arn);
    world.fake.assign(old.clone());
    world.fake.wait(&old_arn, is_running).await;
    tell_to_stop(&world, old).await;
    world.kill_agent();
    [large, fits].into_iter().for_each(|spec| world.fake.desire(spec));
    world.start_agent(&[], &[]);
    let report = world.fake.wait(&fits_arn, is_stopped).await;
    assert_eq!(report.containers[0].exit_code, Some(0), "{report:#?}");
    assert!(!is_stopped(&world.fake.report(&old_arn).unwrap()));
    let why = "it waits for the end of task old: RESOURCE:CPU";
    let is_told = |report: &TaskReport| {
        report.containers[0].reason.as_ref().is_some_and(|said| said.starts_with(why))
    };
    world.fake.wait(&large_arn, is_told).await;
    signal(&world, "old", Signal::SIGKILL);
    let report = world.fake.wait(&large_arn, is_stopped).await;
    assert_eq!(report.containers[0].exit_code, Some(0), "{report:#?}");
    assert!(is_stopped(&world.fake.report(&old_arn).unwrap()));
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_new_tasks_in_words_and_loses_nothing() {
    const TEST: &str = "a_full_disk_refuses_new_tasks_in_words_and_loses_nothing";
    if !can_run(TEST) {
        return;
    }
    let mut world = World::without_agent("full").await;
    std::fs::create_dir(&world.dir).unwrap();
    let none: Option<&str> = None;
    let flags = nix::mount::MsFlags::empty();
    let options = Some("size=64m,mode=700");
    nix::mount::mount(none, &world.dir, Some("tmpfs"), flags, options).unwrap();
    world.mount_is_ours = true;
    world.start_agent(&[], &[]);
    world.import_probe();
    let running = world.task("running", &["trap", "TERM", "3"]);
    let running_arn = running.arn.as_str().to_owned();
    world.fake.assign(running);
    world.fake.wait(&running_arn, is_running).await;
    while world.fake.read_logs(&running_arn, "main", String::new(), 999).await.events.is_empty() {}
    // All that is left, and the reserve with it.
    let filler = world.dir.join("filler");
    let _ = std::fs::write(&filler, vec![b'x'; 80 << 20]);
    let _ = std::fs::remove_file(world.dir.join("ledger.ballast"));
    let more = std::fs::OpenOptions::new().append(true).open(&filler).unwrap();
    let _ = std::io::Write::write_all(&mut &more, &vec![b'x'; 2 << 20]);
    drop(more);
    let refused = world.task("refused", &["true"]);
    let refused_arn = refused.arn.as_str().to_owned();
    world.fake.assign(refused);
    let report = world.fake.wait(&refused_arn, is_stopped).await;
    let reason = report.stopped_reason.unwrap();
    assert!(reason.contains("the disk of the ledger"), "{reason}");
    assert!(reason.contains("is full: free some space there"), "{reason}");
    // The exit code of what runs is not lost: it is told once there is room.
    let pid = nix::unistd::Pid::from_raw(world.container_pids()[0]);
    nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
    world.until("its end", |world| world.container_pids().is_empty().then_some(()));
    std::fs::remove_file(&filler).unwrap();
    let report = world.fake.wait(&running_arn, is_stopped).await;
    assert_eq!(report.containers[0].exit_code, Some(3));
    let later = world.task("later", &["true"]);
    let later_arn = later.arn.as_str().to_owned();
    world.fake.assign(later);
    let report = world.fake.wait(&later_arn, is_stopped).await;
    assert_eq!(report.containers[0].exit_code, Some(0), "there is room again");
}

const DAY_MS: u64 = 24 * 3600 * 1000;

/// The first process of a task's container, while it runs.
fn pid_of(world: &World, id: &str) -> Option<nix::unistd::Pid> {
    let is_its = |pid: &i32| {
        let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        cgroups.contains(&format!("/{id}/"))
    };
    world.container_pids().into_iter().find(is_its).map(nix::unistd::Pid::from_raw)
}

fn signal(world: &World, id: &str, signal: Signal) {
    let pid = world.until("its process", |world| pid_of(world, id));
    nix::sys::signal::kill(pid, signal).unwrap();
}

/// Sets the clock of the node ahead, and starts an agent there in place of the one that is killed.
fn next_day(world: &mut World, offset: &Path, day: u64) {
    std::fs::write(offset, (day * DAY_MS).to_string()).unwrap();
    world.kill_agent();
    world.start_agent(&[], &[("LOADLINE_CLOCK_OFFSET", offset.to_str().unwrap())]);
}

/// Tasks that end on the first, second and third day, and one that only runs; all are running, and
/// have said so.
async fn begin_days(world: &World) -> Vec<String> {
    let mut specs: Vec<TaskSpec> = ["5", "6", "7"]
        .iter()
        .enumerate()
        .map(|(n, code)| world.task(&format!("ends-{}", n + 1), &["trap", "TERM", code]))
        .collect();
    specs.push(world.task("runs", &["trap", "TERM", "0"]));
    let arns: Vec<String> = specs.iter().map(|spec| spec.arn.as_str().to_owned()).collect();
    specs.into_iter().for_each(|spec| world.fake.desire(spec));
    world.fake.say_snapshot();
    for arn in &arns {
        world.fake.wait(arn, is_running).await;
        while world.fake.read_logs(arn, "main", String::new(), 999).await.events.is_empty() {}
    }
    arns
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn days_without_a_controller_lose_no_end_and_grow_no_ledger() {
    if !can_run("days_without_a_controller_lose_no_end_and_grow_no_ledger") {
        return;
    }
    let mut world = World::without_agent("days").await;
    let folder = tempfile::tempdir().unwrap();
    let offset = folder.path().join("offset");
    std::fs::write(&offset, "0").unwrap();
    world.start_agent(&[], &[("LOADLINE_CLOCK_OFFSET", offset.to_str().unwrap())]);
    world.import_probe();
    let arns = begin_days(&world).await;
    let ledger = world.dir.join("ledger");
    let (began_ms, bytes) = (loadline_agent::clock::now_ms(), ledger.metadata().unwrap().len());
    world.fake.go_away().await;
    world.fake.state().reports.clear();
    for day in 1..=3 {
        next_day(&mut world, &offset, day);
        let ends = format!("ends-{day}");
        signal(&world, &ends, Signal::SIGTERM);
        world.until("its end", |world| pid_of(world, &ends).is_none().then_some(()));
    }
    // The last end is on the disk of its supervisor, whatever becomes of the agent.
    next_day(&mut world, &offset, 4);
    world.fake.come_back().await;
    for (n, arn) in arns[..3].iter().enumerate() {
        let report = world.fake.wait(arn, is_stopped).await;
        assert_eq!(report.containers[0].exit_code, Some(5 + i32::try_from(n).unwrap()));
        let day = (report.stopped_at_ms.unwrap() - began_ms) / DAY_MS;
        // The day's agent may have been killed before it saw the end; the next one did.
        assert!((n as u64 + 1..=4).contains(&day), "by the clock of the day: {report:#?}");
    }
    world.fake.wait(&arns[3], is_running).await;
    let grown = ledger.metadata().unwrap().len().saturating_sub(bytes);
    assert!(grown < 64 * 1024, "the ledger grew by {grown} bytes");
    for arn in &arns[3..] {
        world.fake.stop(arn);
        world.fake.wait(arn, is_stopped).await;
    }
    world.assert_clean();
}
