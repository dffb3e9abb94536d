//! Containers that wait for each other, are asked whether they are well, and start again.

use loadline_model::{
    Condition, ContainerName, ContainerReport, ContainerSpec, ContainerStatus, Dependency,
    HealthCheck, HealthStatus, RestartPolicy, StopCode, TaskReport, TaskSpec, TaskStatus,
};

use super::world::{World, can_run, container};

fn is_stopped(report: &TaskReport) -> bool {
    report.status == TaskStatus::Stopped
}

fn is_running(report: &TaskReport) -> bool {
    report.status == TaskStatus::Running
}

fn named<'a>(report: &'a TaskReport, name: &str) -> &'a ContainerReport {
    report.containers.iter().find(|container| container.name.as_str() == name).unwrap()
}

/// A check by the probe, every 5 s (ECS's least), that fails at its first failure. It has as long
/// as there can be (ECS), because machines may be busy.
pub(crate) fn check(words: &[&str]) -> HealthCheck {
    let command = ["CMD", "/bin/probe"].iter().chain(words).map(|&word| word.to_owned());
    HealthCheck {
        command: command.collect(),
        interval_s: 5,
        timeout_s: 60,
        retries: 1,
        start_period_s: 0,
    }
}

fn waits(mut container: ContainerSpec, on: &str, condition: Condition) -> ContainerSpec {
    let on = ContainerName::parse(on).unwrap();
    container.depends_on.push(Dependency { container: on, condition });
    container
}

/// An init that ends with `exit_code`, a web server with a health check, and a sidecar for it.
fn trio(world: &World, id: &str, exit_code: &str) -> TaskSpec {
    let mut spec = world.task(id, &["exit", exit_code]);
    spec.containers[0].name = ContainerName::parse("init").unwrap();
    spec.containers[0].essential = false;
    let mut web = container("web", &["trap", "TERM", "7"]);
    web.health_check = Some(check(&["true"]));
    spec.containers.push(waits(web, "init", Condition::Success));
    let side = container("side", &["trap", "TERM", "8"]);
    spec.containers.push(waits(side, "web", Condition::Healthy));
    spec
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_start_when_what_they_wait_for_holds_and_stop_in_the_reverse_order() {
    const TEST: &str =
        "containers_start_when_what_they_wait_for_holds_and_stop_in_the_reverse_order";
    if !can_run(TEST) {
        return;
    }
    let world = World::start("order").await;
    let spec = trio(&world, "t1", "0");
    let arn = spec.arn.as_str().to_owned();
    world.fake.assign(spec);
    let report = world.fake.wait(&arn, is_running).await;
    let (init, web) = (named(&report, "init"), named(&report, "web"));
    assert_eq!((init.exit_code, init.status), (Some(0), ContainerStatus::Stopped));
    assert!(init.finished_at_ms <= web.started_at_ms, "{report:#?}");
    assert_eq!(web.health, HealthStatus::Healthy);
    let side = named(&report, "side");
    assert!(web.started_at_ms.unwrap() + 5_000 <= side.started_at_ms.unwrap(), "{report:#?}");
    assert_eq!(side.health, HealthStatus::Unknown, "nobody asks it");
    for name in ["web", "side"] {
        while world.fake.read_logs(&arn, name, String::new(), 1_000).await.events.is_empty() {}
    }
    world.fake.stop(&arn);
    let report = world.fake.wait(&arn, is_stopped).await;
    let (web, side) = (named(&report, "web"), named(&report, "side"));
    assert_eq!((web.exit_code, side.exit_code), (Some(7), Some(8)));
    assert!(side.finished_at_ms <= web.finished_at_ms, "{report:#?}");
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_in_vain_is_not_started_and_says_why() {
    if !can_run("what_waits_in_vain_is_not_started_and_says_why") {
        return;
    }
    let world = World::start("vain").await;
    let failing = trio(&world, "failing", "3");
    let mut late = trio(&world, "late", "0");
    late.containers[0].command = Some(vec!["sleep".into(), "1000".into()]);
    late.containers[0].start_timeout_s = Some(2);
    let mut cycle = trio(&world, "cycle", "0");
    let first = cycle.containers[0].clone();
    cycle.containers[0] = waits(first, "side", Condition::Start);
    for (spec, reason) in [
        (
            failing,
            "TaskDependencyError: SUCCESS of container 'init' was awaited, but it ended \
                   with 3",
        ),
        (
            late,
            "TaskDependencyError: SUCCESS of container 'init' was awaited, and did not come \
                within its startTimeout of 2 s",
        ),
        (
            cycle,
            "TaskDependencyError: the containers 'init' -> 'side' -> 'web' -> 'init' wait for \
                 each other in a circle",
        ),
    ] {
        let arn = spec.arn.as_str().to_owned();
        world.fake.assign(spec);
        let report = world.fake.wait(&arn, is_stopped).await;
        assert_eq!(report.stopped_reason.as_deref(), Some(reason));
        assert_eq!(report.stop_code, Some(StopCode::TaskFailedToStart));
        assert_eq!(named(&report, "web").started_at_ms, None);
        assert_eq!(named(&report, "side").started_at_ms, None);
    }
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_checks_go_on_without_the_controller_and_over_the_agents_death() {
    if !can_run("health_checks_go_on_without_the_controller_and_over_the_agents_death") {
        return;
    }
    let mut world = World::start("health").await;
    let mut spec = world.task("t1", &["trap", "TERM", "0"]);
    // The folder can be made once: the first check succeeds, all others fail.
    spec.containers[0].health_check = Some(check(&["mkdir", "/made"]));
    let arn = spec.arn.as_str().to_owned();
    world.fake.assign(spec);
    let health =
        |wanted: HealthStatus| move |report: &TaskReport| report.containers[0].health == wanted;
    world.fake.wait(&arn, health(HealthStatus::Healthy)).await;
    world.kill_agent();
    world.fake.go_away().await;
    world.start_agent(&[], &[]);
    // Longer than the interval: the second check is made while nobody listens.
    tokio::time::sleep(std::time::Duration::from_secs(7)).await;
    world.fake.come_back().await;
    let report = world.fake.wait(&arn, health(HealthStatus::Unhealthy)).await;
    assert_eq!(report.status, TaskStatus::Running, "an unhealthy task of nobody runs on");
    world.fake.stop(&arn);
    world.fake.wait(&arn, is_stopped).await;
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_that_hangs_is_a_failure_and_leaves_no_process() {
    if !can_run("a_check_that_hangs_is_a_failure_and_leaves_no_process") {
        return;
    }
    let mut world = World::start("hang").await;
    let mut spec = world.task("t1", &["trap", "TERM", "0"]);
    spec.containers[0].health_check =
        Some(HealthCheck { timeout_s: 2, ..check(&["sleep", "999"]) });
    let arn = spec.arn.as_str().to_owned();
    world.fake.assign(spec);
    world.fake.wait(&arn, |report| report.containers[0].health == HealthStatus::Unhealthy).await;
    world.until("the check's end", |w| (w.container_pids().len() == 1).then_some(()));
    // Not what the runtime has on its way there.
    let checks = |world: &World| {
        let is_one = |pid: &i32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line == b"/bin/probe\0sleep\x00999\0"
        };
        world.container_pids().into_iter().filter(is_one).collect::<Vec<_>>()
    };
    let old = world.until("the next check", |w| checks(w).pop());
    world.kill_agent();
    world.start_agent(&[], &[]);
    // What the dead agent left hanging is ended when the new one makes a check of its own.
    world.until("a check in its place", |w| {
        let now = checks(w);
        (!now.is_empty() && !now.contains(&old)).then_some(())
    });
    world.until("the end of that", |w| (w.container_pids().len() == 1).then_some(()));
    world.fake.stop(&arn);
    world.fake.wait(&arn, is_stopped).await;
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_policy_starts_a_container_again_exactly_once_also_over_the_agents_death() {
    const TEST: &str =
        "a_restart_policy_starts_a_container_again_exactly_once_also_over_the_agents_death";
    if !can_run(TEST) {
        return;
    }
    let mut world = World::without_agent("restart").await;
    world.start_agent_that_may_die(&[("LOADLINE_FAILPOINT", "restart-recorded")]);
    world.until("the local API", |world| world.http("GET", "/v1/status", "").ok());
    world.import_probe();
    // It runs for longer than the shortest period of ECS, and says when it begins.
    let mut spec = world.task("t1", &["ignore", "TERM", "61"]);
    let policy = RestartPolicy { enabled: true, ignored_exit_codes: vec![], attempt_period_s: 60 };
    spec.containers[0].restart_policy = Some(policy);
    spec.containers[0].stop_timeout_s = Some(1);
    let short = {
        let mut short = world.task("short", &["exit", "3"]);
        short.containers[0].restart_policy = spec.containers[0].restart_policy.clone();
        short
    };
    let (arn, short_arn) = (spec.arn.as_str().to_owned(), short.arn.as_str().to_owned());
    world.fake.desire(short);
    world.fake.assign(spec);
    let report = world.fake.wait(&short_arn, is_stopped).await;
    assert_eq!(report.containers[0].exit_code, Some(3), "too short a run is not taken back");
    tokio::time::sleep(std::time::Duration::from_secs(50)).await;
    world.wait_for_agents_death();
    world.start_agent(&[], &[]);
    let again = |report: &TaskReport| {
        report.containers[0].restarts == 1 && report.containers[0].exit_code.is_none()
    };
    let report = world.fake.wait(&arn, again).await;
    assert_eq!(report.containers[0].status, ContainerStatus::Running);
    let both = |events: &[loadline_proto::v1::LogEvent]| events.len() == 2;
    while !both(&world.fake.read_logs(&arn, "main", String::new(), 999).await.events) {
        let ended = world.fake.state().reports.iter().rev().find(|r| is_stopped(r)).cloned();
        assert!(ended.is_none_or(|r| r.task.as_str() != arn), "{:?}", world.fake.state().reports);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    world.fake.stop(&arn);
    let report = world.fake.wait(&arn, is_stopped).await;
    assert_eq!(report.containers[0].exit_code, Some(137));
    let starts = world.fake.logs(&arn, "main").await;
    assert_eq!(starts.len(), 2, "started once, and once again: {starts:?}");
    world.assert_clean();
}
