//! Law 8 on a real node: the agent is killed, and nothing is lost, doubled or leaked.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use loadline_model::{
    Condition, Dependency, MountPoint, TaskReport, TaskSpec, TaskStatus, Volume, VolumeSource,
};
use loadline_proto::v1;

use super::order::check;
use super::world::{World, can_run, container};

fn is_stopped(report: &TaskReport) -> bool {
    report.status == TaskStatus::Stopped
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_tasks_outlive_the_agent_and_every_exit_code_is_reported() {
    if !can_run("twenty_tasks_outlive_the_agent_and_every_exit_code_is_reported") {
        return;
    }
    let mut world = World::start("twenty").await;
    let arns: Vec<String> = (0..20)
        .map(|n| {
            let spec = world.task(&format!("t{n}"), &["trap", "TERM", &n.to_string()]);
            let arn = spec.arn.as_str().to_owned();
            world.fake.assign(spec);
            arn
        })
        .collect();
    for arn in &arns {
        world.fake.wait(arn, |report| report.status == TaskStatus::Running).await;
        while world.fake.read_logs(arn, "main", String::new(), 1_000).await.events.is_empty() {}
    }
    let (pids, supervisors) = (world.container_pids(), world.supervisors());
    assert_eq!((pids.len(), supervisors.len()), (20, 20));
    world.kill_agent();
    // Some end while nobody looks.
    for pid in &pids[..5] {
        let pid = nix::unistd::Pid::from_raw(*pid);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    }
    world.until("five containers' end", |w| (w.container_pids().len() == 15).then_some(()));
    let left: BTreeSet<i32> = world.container_pids().into_iter().collect();
    world.start_agent(&[], &[]);
    world.fake.until("a second hello", |fake| (fake.state().hellos.len() == 2).then_some(())).await;
    for arn in &arns {
        world.fake.stop(arn);
    }
    for (n, arn) in arns.iter().enumerate() {
        let report = world.fake.wait(arn, is_stopped).await;
        let exit_code = i32::try_from(n).unwrap();
        assert_eq!(report.containers[0].exit_code, Some(exit_code), "{arn}");
    }
    assert!(left.is_subset(&pids.iter().copied().collect()), "the same processes, no new one");
    assert_eq!(world.fake.state().enrolled, 1, "the node joined once");
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_agent_does_not_begin_a_stop_timeout_anew() {
    const TIMEOUT: Duration = Duration::from_secs(30);
    if !can_run("another_agent_does_not_begin_a_stop_timeout_anew") {
        return;
    }
    let mut world = World::start("timeout").await;
    let mut spec = world.task("t1", &["ignore", "TERM"]);
    spec.containers[0].stop_timeout_s = Some(TIMEOUT.as_secs().try_into().unwrap());
    let arn = spec.arn.as_str().to_owned();
    world.fake.assign(spec);
    world.fake.wait(&arn, |report| report.status == TaskStatus::Running).await;
    let began = Instant::now();
    world.fake.stop(&arn);
    world.fake.wait(&arn, |report| report.status == TaskStatus::Stopping).await;
    tokio::time::sleep(TIMEOUT * 3 / 4).await;
    world.kill_agent();
    let again = Instant::now();
    world.start_agent(&[], &[]);
    let report = world.fake.wait(&arn, is_stopped).await;
    assert_eq!(report.containers[0].exit_code, Some(137));
    assert!(TIMEOUT <= began.elapsed(), "{:?}", began.elapsed());
    // One that began anew could not have passed.
    assert!(again.elapsed() < TIMEOUT, "{:?}", again.elapsed());
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_failpoint_nothing_is_lost_doubled_or_leaked() {
    if !can_run("killed_at_every_failpoint_nothing_is_lost_doubled_or_leaked") {
        return;
    }
    let mut world = World::start("sweep").await;
    world.kill_agent();
    // A restart takes a minute: `order` has a test of its own for that place.
    for name in loadline_agent::failpoint::ALL.into_iter().filter(|n| *n != "restart-recorded") {
        let before = world.fake.state().reports.len();
        // It writes one line for each start: a second start would show. A short one may come to
        // its end before it was ever seen running.
        let is_checked = matches!(name, "checked" | "health-recorded");
        let is_long = is_checked || name == "running-recorded";
        let command: &[&str] = if is_long { &["trap", "TERM", "0"] } else { &["echo", "started"] };
        let mut spec = world.task(&format!("at-{name}"), command);
        spec.containers[0].health_check = is_checked.then(|| check(&["true"]));
        let arn = spec.arn.as_str().to_owned();
        world.start_agent_that_may_die(&[("LOADLINE_FAILPOINT", name)]);
        world.fake.assign(spec);
        world.wait_for_agents_death();
        world.start_agent(&[], &[]);
        if is_long {
            // The probe says when it is ready for the signal.
            while world.fake.read_logs(&arn, "main", String::new(), 999).await.events.is_empty() {}
            world.fake.stop(&arn);
        }
        let report = world.fake.wait(&arn, is_stopped).await;
        assert_eq!(report.containers[0].exit_code, Some(0), "{name}: {report:#?}");
        let lines = world.fake.logs(&arn, "main").await;
        let is_start = |line: &&v1::LogEvent| {
            line.message.starts_with(b"started") || line.message.starts_with(b"{\"ready\"")
        };
        assert_eq!(lines.iter().filter(is_start).count(), 1, "{name}: started exactly once");
        assert!(before < world.fake.state().reports.len());
        world.assert_clean();
        world.fake.let_go(&arn);
        world.kill_agent();
    }
}

/// An init that writes into a volume, and who waits for it and for a secret.
fn with_all(world: &World, id: &str) -> (TaskSpec, v1::TaskSecrets) {
    let mount = MountPoint {
        source_volume: "data".into(),
        container_path: "/data".into(),
        read_only: false,
    };
    let mut spec = world.task(id, &["cat", "/data/x", "--", "env", "--", "echo", "started"]);
    spec.volumes = vec![Volume { name: "data".into(), source: VolumeSource::Task }];
    spec.awaits_secrets = true;
    let mut init = container("init", &["write", "/data/x", "hello"]);
    init.essential = false;
    let on = init.name.clone();
    spec.containers[0].depends_on =
        vec![Dependency { container: on, condition: Condition::Success }];
    spec.containers.insert(0, init);
    for container in &mut spec.containers {
        container.mount_points = vec![mount.clone()];
    }
    let pair = v1::KeyValue { name: "TOLD".into(), value: "hush".into() };
    let secrets = v1::TaskSecrets {
        task_arn: spec.arn.as_str().to_owned(),
        containers: vec![v1::ContainerSecrets {
            container_name: "main".into(),
            environment: vec![pair],
        }],
        error: None,
    };
    (spec, secrets)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_each_step_of_a_container_that_waits_for_another_nothing_is_lost_or_doubled() {
    const TEST: &str =
        "killed_at_each_step_of_a_container_that_waits_for_another_nothing_is_lost_or_doubled";
    if !can_run(TEST) {
        return;
    }
    let mut world = World::start("sweep-second").await;
    world.kill_agent();
    for name in [
        "prepared",
        "run-recorded",
        "settings-written",
        "supervisor-spawned",
        "created-seen",
        "start-sent",
    ] {
        let (spec, secrets) = with_all(&world, &format!("at-{name}"));
        let arn = spec.arn.as_str().to_owned();
        world.fake.state().secrets = vec![secrets];
        world.fake.desire(spec);
        let failpoint = format!("second:{name}");
        world.start_agent_that_may_die(&[("LOADLINE_FAILPOINT", &failpoint)]);
        world.wait_for_agents_death();
        world.start_agent(&[], &[]);
        let report = world.fake.wait(&arn, is_stopped).await;
        let codes: Vec<_> = report.containers.iter().map(|one| one.exit_code).collect();
        assert_eq!(codes, [Some(0), Some(0)], "{name}: {report:#?}");
        let lines = world.fake.logs(&arn, "main").await;
        let text: String =
            lines.iter().map(|line| String::from_utf8_lossy(&line.message).into_owned()).collect();
        assert_eq!(text.matches("started").count(), 1, "{name}: started exactly once: {text}");
        assert!(text.contains("hello") && text.contains("\"TOLD\":\"hush\""), "{name}: {text}");
        world.assert_clean();
        world.fake.let_go(&arn);
        world.kill_agent();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_supervisor_is_found_out_and_no_exit_code_is_invented() {
    if !can_run("a_dead_supervisor_is_found_out_and_no_exit_code_is_invented") {
        return;
    }
    let mut world = World::start("orphan").await;
    let arn = |id: &str| format!("arn:aws:ecs:us-east-1:000000000000:task/default/{id}");
    for (id, restart) in [("alive", false), ("away", true)] {
        world.fake.assign(world.task(id, &["sleep", "1000"]));
        world.fake.wait(&arn(id), |report| report.status == TaskStatus::Running).await;
        if restart {
            world.kill_agent();
        }
        let supervisor = nix::unistd::Pid::from_raw(world.supervisors()[0]);
        nix::sys::signal::kill(supervisor, nix::sys::signal::Signal::SIGKILL).unwrap();
        if restart {
            world.start_agent(&[], &[]);
        }
        let report = world.fake.wait(&arn(id), is_stopped).await;
        let container = &report.containers[0];
        // Stopped by the agent, and the kernel says so where it is new enough.
        let kept = kernel_keeps_ends().then_some(137);
        assert_eq!(container.exit_code, kept, "{id}");
        let reason = container.reason.as_ref().unwrap();
        assert!(reason.starts_with("ContainerVanishedError: "), "{reason}");
        world.assert_clean();
    }
}

/// Whether the kernel tells how a process ended that another one waited for (Linux 6.15).
pub(crate) fn kernel_keeps_ends() -> bool {
    use std::os::fd::AsFd as _;
    let own = rustix::process::getpid();
    let pidfd = rustix::process::pidfd_open(own, rustix::process::PidfdFlags::empty());
    pidfd.is_ok_and(|fd| loadline_runtime::sys::process::exit_status_of(fd.as_fd()).is_ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exit_that_a_dying_supervisor_saw_and_did_not_write_is_known_from_the_kernel() {
    const TEST: &str =
        "an_exit_that_a_dying_supervisor_saw_and_did_not_write_is_known_from_the_kernel";
    if !can_run(TEST) {
        return;
    }
    if !kernel_keeps_ends() {
        eprintln!("SKIPPED {TEST}: needs Linux 6.15");
        return;
    }
    let mut world = World::start("exit-seen").await;
    world.kill_agent();
    world.start_agent(&[], &[("LOADLINE_FAILPOINT", "exit-seen")]);
    let spec = world.task("t1", &["trap", "TERM", "5"]);
    let arn = spec.arn.as_str().to_owned();
    world.fake.assign(spec);
    world.fake.wait(&arn, |report| report.status == TaskStatus::Running).await;
    while world.fake.read_logs(&arn, "main", String::new(), 999).await.events.is_empty() {}
    // It ends by itself; its supervisor reaps it and dies.
    let init = nix::unistd::Pid::from_raw(world.container_pids()[0]);
    nix::sys::signal::kill(init, nix::sys::signal::Signal::SIGTERM).unwrap();
    let report = world.fake.wait(&arn, is_stopped).await;
    let container = &report.containers[0];
    assert_eq!(container.exit_code, Some(5), "{report:#?}");
    let reason = container.reason.as_ref().unwrap();
    assert!(reason.ends_with("its exit code is the kernel's"), "{reason}");
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervisor_that_dies_in_the_middle_of_a_create_leaves_no_container() {
    const TEST: &str = "a_supervisor_that_dies_in_the_middle_of_a_create_leaves_no_container";
    if !can_run(TEST) {
        return;
    }
    let mut world = World::without_agent("create").await;
    std::fs::create_dir(&world.dir).unwrap();
    let (slow, mark) = (world.dir.join("slow-runtime"), world.dir.join("creating"));
    let real = world.runtime.replace(slow.clone()).unwrap();
    let (real, mark_path) = (real.display(), mark.display());
    let create = format!("*\" create \"*) echo > {mark_path}; read -t 3 x <> {mark_path}.fifo;;");
    let script = format!("#!/bin/bash\ncase \"$*\" in {create} esac\nexec {real} \"$@\"\n");
    let fifo = world.dir.join("creating.fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::fs::write(&slow, script).unwrap();
    std::fs::set_permissions(&slow, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    world.start_agent(&[], &[]);
    world.import_probe();
    let spec = world.task("t1", &["sleep", "1000"]);
    let arn = spec.arn.as_str().to_owned();
    world.fake.assign(spec);
    world.until("the create", |_| mark.exists().then_some(()));
    let supervisor = nix::unistd::Pid::from_raw(world.supervisors()[0]);
    nix::sys::signal::kill(supervisor, nix::sys::signal::Signal::SIGKILL).unwrap();
    let report = world.fake.wait(&arn, is_stopped).await;
    let reason = report.containers[0].reason.clone().unwrap();
    assert!(reason.starts_with("ContainerVanishedError: "), "{reason}");
    // Longer than the create would still have taken.
    tokio::time::sleep(Duration::from_secs(4)).await;
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_ledger_does_not_know_is_swept_away() {
    if !can_run("what_the_ledger_does_not_know_is_swept_away") {
        return;
    }
    let mut world = World::start("swept").await;
    let spec = world.task("t1", &["sleep", "1000"]);
    let arn = spec.arn.as_str().to_owned();
    world.fake.assign(spec);
    world.fake.wait(&arn, |report| report.status == TaskStatus::Running).await;
    world.kill_agent();
    std::fs::remove_file(world.dir.join("ledger")).unwrap();
    world.fake.let_go(&arn);
    world.start_agent(&[], &[]);
    world.assert_clean();
    assert_eq!(std::fs::read_dir(world.dir.join("tasks")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervisor_killed_at_every_failpoint_doubles_leaks_and_invents_nothing() {
    const TEST: &str = "a_supervisor_killed_at_every_failpoint_doubles_leaks_and_invents_nothing";
    if !can_run(TEST) {
        return;
    }
    let mut world = World::start("supervisors").await;
    world.kill_agent();
    for name in loadline_agent::failpoint::SUPERVISOR {
        // A short one may come to its end before it was ever seen running.
        let is_long = name == "running-written";
        let command: &[&str] = if is_long { &["sleep", "1000"] } else { &["echo", "started"] };
        let spec = world.task(&format!("at-{name}"), command);
        let arn = spec.arn.as_str().to_owned();
        world.start_agent(&[], &[("LOADLINE_FAILPOINT", name)]);
        world.fake.assign(spec);
        let report = world.fake.wait(&arn, is_stopped).await;
        let container = &report.containers[0];
        // What it really was, or nothing: where the kernel keeps it, it is told.
        let possible: &[Option<i32>] = match name {
            "exit-written" => &[Some(0)],
            "exit-seen" => &[None, Some(0)],
            "running-written" => &[None, Some(137)],
            _ => &[None],
        };
        assert!(possible.contains(&container.exit_code), "{name}: {report:#?}");
        assert!(name == "exit-written" || container.reason.is_some(), "{name}: {report:#?}");
        let lines = world.fake.logs(&arn, "main").await;
        assert!(lines.len() <= 1, "{name}: started at most once");
        world.assert_clean();
        world.fake.let_go(&arn);
        world.kill_agent();
    }
}
