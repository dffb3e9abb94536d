//! A task's life on a real node: started, heard, stopped, ended, cleaned up.

use loadline_model::{ContainerStatus, StopCode, TaskReport, TaskStatus};

use super::world::{World, can_run, container};

fn is_stopped(report: &TaskReport) -> bool {
    report.status == TaskStatus::Stopped
}

fn is_running(report: &TaskReport) -> bool {
    report.status == TaskStatus::Running
}

fn text(events: &[loadline_proto::v1::LogEvent]) -> String {
    events.iter().map(|e| String::from_utf8_lossy(&e.message).into_owned() + "\n").collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_runs_and_its_output_and_exit_code_are_reported() {
    if !can_run("a_task_runs_and_its_output_and_exit_code_are_reported") {
        return;
    }
    let world = World::start("life").await;
    let spec = world.task("t1", &["echo", "hello", "world"]);
    let arn = spec.arn.as_str().to_owned();
    world.fake.assign(spec);
    let report = world.fake.wait(&arn, is_stopped).await;
    let container = &report.containers[0];
    assert_eq!((container.exit_code, container.status), (Some(0), ContainerStatus::Stopped));
    assert_eq!(report.stop_code, Some(StopCode::EssentialContainerExited));
    assert!(container.image_digest.as_ref().unwrap().starts_with("sha256:"));
    let (began, ended) = (report.pull_started_at_ms.unwrap(), report.pull_stopped_at_ms.unwrap());
    assert!(began <= ended && ended <= container.started_at_ms.unwrap(), "{report:#?}");
    assert_eq!(text(&world.fake.logs(&arn, "main").await), "hello world\n");
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statuses_only_go_forward_and_versions_only_grow() {
    if !can_run("statuses_only_go_forward_and_versions_only_grow") {
        return;
    }
    let world = World::start("forward").await;
    let mut spec = world.task("t1", &["trap", "TERM", "0"]);
    spec.containers.push(container("other", &["trap", "TERM", "9"]));
    let arn = spec.arn.as_str().to_owned();
    world.fake.assign(spec);
    world.fake.wait(&arn, is_running).await;
    for name in ["main", "other"] {
        while world.fake.read_logs(&arn, name, String::new(), 1_000).await.events.is_empty() {}
    }
    // The first ends by itself.
    let main = world.container_pids().into_iter().find(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        line.ends_with(b"TERM\x000\0")
    });
    let main = nix::unistd::Pid::from_raw(main.unwrap());
    nix::sys::signal::kill(main, nix::sys::signal::Signal::SIGTERM).unwrap();
    let last = world.fake.wait(&arn, is_stopped).await;
    let state = world.fake.state();
    for pair in state.reports.windows(2) {
        assert!(pair[0].version < pair[1].version);
        pair[0].status.advance(pair[1].status).unwrap();
    }
    let seen: Vec<_> = state.reports.iter().map(|report| report.status).collect();
    assert!(seen.contains(&TaskStatus::Running), "{seen:?}");
    let codes: Vec<_> = last.containers.iter().map(|container| container.exit_code).collect();
    assert_eq!(codes, [Some(0), Some(9)], "the other one got SIGTERM");
    drop(state);
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_waits_for_its_secrets_can_be_stopped() {
    if !can_run("a_task_that_waits_for_its_secrets_can_be_stopped") {
        return;
    }
    let world = World::start("unsecret").await;
    let mut spec = world.task("t1", &["true"]);
    spec.awaits_secrets = true;
    let arn = spec.arn.as_str().to_owned();
    world.fake.assign(spec);
    world.fake.wait(&arn, |report| report.status == TaskStatus::Pending).await;
    world.fake.stop(&arn);
    // They would be awaited for longer than the test waits.
    let report = world.fake.wait(&arn, is_stopped).await;
    assert_eq!(report.stop_code, Some(StopCode::UserInitiated));
    assert_eq!(report.containers[0].started_at_ms, None);
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_is_polite_first_and_a_kill_after_the_timeout() {
    if !can_run("a_stop_is_polite_first_and_a_kill_after_the_timeout") {
        return;
    }
    let world = World::start("stop").await;
    let polite = world.task("polite", &["trap", "TERM", "42"]);
    let mut deaf = world.task("deaf", &["ignore", "TERM"]);
    deaf.containers[0].stop_timeout_s = Some(1);
    for (spec, exit_code) in [(polite, 42), (deaf, 137)] {
        let arn = spec.arn.as_str().to_owned();
        world.fake.assign(spec);
        world.fake.wait(&arn, is_running).await;
        // The probe says when it is ready for the signal.
        while world.fake.read_logs(&arn, "main", String::new(), 1_000).await.events.is_empty() {}
        world.fake.stop(&arn);
        world.fake.stop(&arn);
        let report = world.fake.wait(&arn, is_stopped).await;
        assert_eq!(report.containers[0].exit_code, Some(exit_code), "{arn}");
        assert_eq!(report.stop_code, Some(StopCode::UserInitiated));
        assert_eq!(report.stopped_reason.as_deref(), Some("the test stops it"));
    }
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_below_the_line_is_refused_with_ecs_reason() {
    if !can_run("what_does_not_fit_below_the_line_is_refused_with_ecs_reason") {
        return;
    }
    let world = World::start("line").await;
    let running = world.task("fits", &["sleep", "100"]);
    world.fake.assign(running);
    let (mut memory, mut cpu) = (world.task("memory", &["true"]), world.task("cpu", &["true"]));
    memory.memory_mib = Some(1 << 40);
    cpu.cpu_units = Some(1 << 40);
    for (spec, reason) in [(memory, "RESOURCE:MEMORY"), (cpu, "RESOURCE:CPU")] {
        let arn = spec.arn.as_str().to_owned();
        world.fake.assign(spec);
        let report = world.fake.wait(&arn, is_stopped).await;
        assert_eq!(report.stop_code, Some(StopCode::TaskFailedToStart));
        let told = report.stopped_reason.unwrap();
        assert!(told.starts_with(reason), "{told}");
    }
    let arn = "arn:aws:ecs:us-east-1:000000000000:task/default/fits";
    world.fake.wait(arn, is_running).await;
    world.fake.stop(arn);
    world.fake.wait(arn, is_stopped).await;
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_started_says_why_and_leaves_nothing() {
    if !can_run("what_can_not_be_started_says_why_and_leaves_nothing") {
        return;
    }
    let world = World::start("fail").await;
    let mut image = world.task("image", &["true"]);
    image.containers[0].image = "nowhere/to/be:found".into();
    let mut program = world.task("program", &["true"]);
    program.containers[0].entry_point = Some(vec!["/no/such/program".into()]);
    let mut user = world.task("user", &["true"]);
    user.containers[0].user = Some("nobody-of-that-name".into());
    for (spec, name) in [
        (image, "CannotPullContainerError: "),
        (program, "CannotCreateContainerError: "),
        (user, "CannotCreateContainerError: "),
    ] {
        let arn = spec.arn.as_str().to_owned();
        world.fake.assign(spec);
        let report = world.fake.wait(&arn, is_stopped).await;
        let reason = report.containers[0].reason.clone().unwrap();
        assert!(reason.starts_with(name), "{reason}");
        assert_eq!(report.stopped_reason, Some(reason));
        assert_eq!(report.stop_code, Some(StopCode::TaskFailedToStart));
        assert_eq!(report.containers[0].exit_code, None);
    }
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_oom_kill_is_reported_as_ecs_does_and_a_childs_too() {
    if !can_run("an_oom_kill_is_reported_as_ecs_does_and_a_childs_too") {
        return;
    }
    let world = World::start("oom").await;
    let spec = world.task("main", &["eat-memory", "200"]);
    let arn = spec.arn.as_str().to_owned();
    world.fake.assign(spec);
    let report = world.fake.wait(&arn, is_stopped).await;
    let container = &report.containers[0];
    assert_eq!(container.exit_code, Some(137));
    let killed = "OutOfMemoryError: Container killed due to memory usage";
    assert_eq!(container.reason.as_deref(), Some(killed));

    let spec = world.task("child", &["oom-child", "200", "100"]);
    let arn = spec.arn.as_str().to_owned();
    world.fake.assign(spec);
    let report = world.fake.wait(&arn, |report| report.containers[0].reason.is_some()).await;
    assert_eq!(report.containers[0].status, ContainerStatus::Running, "its main process lives");
    let reason = report.containers[0].reason.clone().unwrap();
    assert!(reason.starts_with("OutOfMemoryError: 1 process of the container"), "{reason}");
    world.fake.let_go(&arn);
    world.fake.wait(&arn, is_stopped).await;
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_tasks_at_once_all_run_and_all_stop() {
    if !can_run("a_hundred_tasks_at_once_all_run_and_all_stop") {
        return;
    }
    let world = World::start("hundred").await;
    let arns: Vec<String> = (0..100)
        .map(|n| {
            let spec = world.task(&format!("t{n}"), &["sleep", "1000"]);
            let arn = spec.arn.as_str().to_owned();
            world.fake.desire(spec);
            arn
        })
        .collect();
    let began = std::time::Instant::now();
    world.fake.say_snapshot();
    for arn in &arns {
        world.fake.wait(arn, is_running).await;
    }
    println!("100 tasks run after {:?}", began.elapsed());
    assert_eq!(world.container_pids().len(), 100);
    world.fake.state().assignments.clear();
    world.fake.say_snapshot();
    for arn in &arns {
        let report = world.fake.wait(arn, is_stopped).await;
        assert_eq!(report.containers[0].exit_code, Some(137));
    }
    println!("and have stopped after {:?}", began.elapsed());
    world.assert_clean();
}
