//! What fails or hangs on a node is survived, and said: a disk, a supervisor, the host itself; and
//! a node that was removed joins again.

use std::process::Command;

use loadline_model::{RestartPolicy, TaskReport, TaskStatus};

use super::world::{World, can_run};

fn is_stopped(report: &TaskReport) -> bool {
    report.status == TaskStatus::Stopped
}

fn is_running(report: &TaskReport) -> bool {
    report.status == TaskStatus::Running
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_heartbeat_waits_for_a_disk_that_hangs() {
    if !can_run("no_heartbeat_waits_for_a_disk_that_hangs") {
        return;
    }
    let mut world = World::without_agent("hang").await;
    // Its keeper hangs at the first snapshot, so that nothing answers on the local API either.
    world.start_agent_that_may_die(&[("LOADLINE_FAILPOINT", "hang:task-admitted")]);
    world.fake.until("a session", |fake| (0 < fake.state().beats).then_some(())).await;
    let before = world.fake.state().beats;
    world.fake.assign(world.task("t1", &["true"]));
    let beats = before + 30;
    world.fake.until("heartbeats", |fake| (beats < fake.state().beats).then_some(())).await;
    let state = world.fake.state();
    assert_eq!((state.hellos.len(), state.applied), (1, 0), "in the same session");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_whose_keeper_fails_ends_and_the_next_one_goes_on() {
    if !can_run("an_agent_whose_keeper_fails_ends_and_the_next_one_goes_on") {
        return;
    }
    let mut world = World::start("panic").await;
    world.kill_agent();
    world.start_agent_that_may_die(&[("LOADLINE_FAILPOINT", "panic:task-accepted")]);
    let spec = world.task("t1", &["echo", "hello"]);
    let arn = spec.arn.as_str().to_owned();
    world.fake.assign(spec);
    world.wait_for_agents_death();
    assert!(world.agent_log().contains("the node's keeper has failed"), "{}", world.agent_log());
    world.start_agent(&[], &[]);
    let report = world.fake.wait(&arn, is_stopped).await;
    assert_eq!(report.containers[0].exit_code, Some(0));
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervisor_that_hangs_does_not_keep_its_task_for_ever() {
    if !can_run("a_supervisor_that_hangs_does_not_keep_its_task_for_ever") {
        return;
    }
    let world = World::start("hung").await;
    let mut spec = world.task("t1", &["sleep", "1000"]);
    spec.containers[0].stop_timeout_s = Some(1);
    let arn = spec.arn.as_str().to_owned();
    world.fake.assign(spec);
    world.fake.wait(&arn, is_running).await;
    let supervisor = nix::unistd::Pid::from_raw(world.supervisors()[0]);
    nix::sys::signal::kill(supervisor, nix::sys::signal::Signal::SIGSTOP).unwrap();
    world.fake.stop(&arn);
    let report = world.fake.wait(&arn, is_stopped).await;
    let container = &report.containers[0];
    let kept = super::restart::kernel_keeps_ends().then_some(137);
    assert_eq!(container.exit_code, kept, "as the kernel keeps it, or unknown");
    let reason = container.reason.as_ref().unwrap();
    assert!(reason.starts_with("ContainerVanishedError: "), "{reason}");
    world.assert_clean();
}

/// A group of the v1 freezer: a process in it is held in state D, and a kill waits for its thaw.
struct Freezer(std::path::PathBuf);

impl Freezer {
    /// None where this host has no such hierarchy.
    fn freeze(name: &str, pid: i32) -> Option<Self> {
        let folder = std::path::Path::new("/sys/fs/cgroup/freezer").join(name);
        std::fs::create_dir(&folder).ok()?;
        let freezer = Self(folder);
        std::fs::write(freezer.0.join("cgroup.procs"), pid.to_string()).ok()?;
        std::fs::write(freezer.0.join("freezer.state"), "FROZEN").ok()?;
        Some(freezer)
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        let _ = std::fs::write(self.0.join("freezer.state"), "THAWED");
        let until = std::time::Instant::now() + super::fake::PATIENCE;
        while std::fs::remove_dir(&self.0).is_err() && std::time::Instant::now() < until {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervisor_that_the_kernel_holds_is_named_and_its_task_ends() {
    const TEST: &str = "a_supervisor_that_the_kernel_holds_is_named_and_its_task_ends";
    if !can_run(TEST) {
        return;
    }
    let world = World::start("held").await;
    let mut spec = world.task("t1", &["sleep", "1000"]);
    spec.containers[0].stop_timeout_s = Some(1);
    let arn = spec.arn.as_str().to_owned();
    world.fake.assign(spec);
    world.fake.wait(&arn, is_running).await;
    let supervisor = world.supervisors()[0];
    // Not a name that the node's audit takes for a task's.
    let name = format!("frozen-{supervisor}");
    let Some(freezer) = Freezer::freeze(&name, supervisor) else {
        eprintln!("SKIPPED {TEST}: needs the freezer of cgroup v1");
        return;
    };
    world.fake.stop(&arn);
    let report = world.fake.wait(&arn, is_stopped).await;
    let container = &report.containers[0];
    assert_eq!(container.exit_code, None, "{report:#?}");
    let reason = container.reason.as_ref().unwrap();
    let named = format!("its supervisor, pid {supervisor}, does not end though it was killed");
    assert!(reason.contains(&named) && reason.contains("in state D at"), "{reason}");
    assert_eq!(world.container_pids(), [0; 0], "nothing of the container runs");
    drop(freezer);
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_neither_hurries_nor_delays_what_is_waited_for() {
    const TEST: &str = "a_clock_that_is_set_neither_hurries_nor_delays_what_is_waited_for";
    const DAY_MS: i64 = 86_400_000;
    if !can_run(TEST) {
        return;
    }
    let mut world = World::without_agent("clock").await;
    let offset = world.dir.with_extension("clock");
    let set = |ms: i64| std::fs::write(&offset, ms.to_string()).unwrap();
    set(0);
    world.start_agent(&[], &[("LOADLINE_CLOCK_OFFSET", offset.to_str().unwrap())]);
    world.import_probe();
    for (id, jump) in [("back", -30 * DAY_MS), ("ahead", 30 * DAY_MS)] {
        // It needs a while after SIGTERM; killed by a deadline that came too early it ends by 137,
        // and one that never comes keeps the stubborn one for a month.
        let mut polite = world.task(&format!("polite-{id}"), &["trap-slowly", "TERM", "3", "2"]);
        polite.containers[0].stop_timeout_s = Some(40);
        let mut stubborn = world.task(&format!("stubborn-{id}"), &["ignore", "TERM"]);
        stubborn.containers[0].stop_timeout_s = Some(3);
        let arns = [polite.arn.as_str().to_owned(), stubborn.arn.as_str().to_owned()];
        for spec in [polite, stubborn] {
            let arn = spec.arn.as_str().to_owned();
            world.fake.assign(spec);
            world.fake.wait(&arn, is_running).await;
            while world.fake.read_logs(&arn, "main", String::new(), 999).await.events.is_empty() {}
        }
        for arn in &arns {
            world.fake.stop(arn);
            let is_ending = |report: &TaskReport| !is_running(report);
            world.fake.wait(arn, is_ending).await;
        }
        set(jump);
        let ends = [Some(3), Some(137)];
        for (arn, end) in arns.iter().zip(ends) {
            let report = world.fake.wait(arn, is_stopped).await;
            assert_eq!(report.containers[0].exit_code, end, "{id}: {report:#?}");
            world.fake.let_go(arn);
        }
        world.assert_clean();
        set(0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_makes_no_run_longer_for_a_restart_policy() {
    const TEST: &str = "a_clock_that_is_set_makes_no_run_longer_for_a_restart_policy";
    const MONTH_MS: i64 = 30 * 86_400_000;
    if !can_run(TEST) {
        return;
    }
    let mut world = World::without_agent("clockrun").await;
    let offset = world.dir.with_extension("clock");
    std::fs::write(&offset, "0").unwrap();
    world.start_agent(&[], &[("LOADLINE_CLOCK_OFFSET", offset.to_str().unwrap())]);
    world.import_probe();
    let mut spec = world.task("t1", &["trap-slowly", "TERM", "3", "2"]);
    let policy = RestartPolicy { enabled: true, ignored_exit_codes: vec![], attempt_period_s: 60 };
    spec.containers[0].restart_policy = Some(policy);
    let arn = spec.arn.as_str().to_owned();
    world.fake.assign(spec);
    world.fake.wait(&arn, is_running).await;
    while world.fake.read_logs(&arn, "main", String::new(), 999).await.events.is_empty() {}
    std::fs::write(&offset, MONTH_MS.to_string()).unwrap();
    // It ends by itself, seconds after its start and a month after it by the wall clock.
    let pid = world.container_pids()[0];
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGTERM).unwrap();
    let report = world.fake.wait(&arn, is_stopped).await;
    let container = &report.containers[0];
    assert_eq!((container.exit_code, container.restarts), (Some(3), 0), "{report:#?}");
    world.fake.let_go(&arn);
    world.assert_clean();
}

/// The agent's command in a mount namespace in which the kernel has another boot id.
fn after_a_reboot(world: &World) -> Command {
    let boot_id = world.dir.with_extension("boot-id");
    std::fs::write(&boot_id, "11111111-2222-3333-4444-555555555555\n").unwrap();
    let agent = world.command(&[]);
    let mut command = Command::new("unshare");
    let bind = "mount --bind \"$0\" /proc/sys/kernel/random/boot_id && exec \"$@\"";
    command.args(["--mount", "sh", "-c", bind]).arg(boot_id).arg(agent.get_program());
    command.args(agent.get_args());
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_reboot_tasks_of_the_old_boot_are_told_as_stopped_with_the_reason() {
    const TEST: &str = "after_a_reboot_tasks_of_the_old_boot_are_told_as_stopped_with_the_reason";
    if !can_run(TEST) {
        return;
    }
    let mut world = World::start("reboot").await;
    let spec = world.task("t1", &["sleep", "1000"]);
    let arn = spec.arn.as_str().to_owned();
    world.fake.assign(spec);
    let before = world.fake.wait(&arn, is_running).await;
    world.kill_agent();
    world.kill_tasks();
    world.until("the end of all", |world| world.supervisors().is_empty().then_some(()));
    let command = after_a_reboot(&world);
    world.start_agent_as(command);
    let report = world.fake.wait(&arn, is_stopped).await;
    assert!(before.version < report.version);
    let container = &report.containers[0];
    assert_eq!(container.exit_code, None, "no exit code is invented");
    let reason = container.reason.as_deref();
    assert_eq!(reason, Some("ContainerVanishedError: the host was restarted"));
    let spec = world.task("t2", &["true"]);
    let arn = spec.arn.as_str().to_owned();
    world.fake.assign(spec);
    let report = world.fake.wait(&arn, is_stopped).await;
    assert_eq!(report.containers[0].exit_code, Some(0), "the node takes tasks again");
    world.end_agent();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_node_joins_again_with_its_token_and_says_what_to_do_without_one() {
    const TEST: &str = "a_removed_node_joins_again_with_its_token_and_says_what_to_do_without_one";
    if !can_run(TEST) {
        return;
    }
    let mut world = World::start("removed").await;
    world.fake.until("a session", |fake| (0 < fake.state().beats).then_some(())).await;
    // The first enrolment used the token that this agent was started with.
    world.fake.state().removed = true;
    world.fake.go_away().await;
    world.fake.come_back().await;
    let log = |world: &World| {
        let log = world.agent_log();
        log.contains("was removed from its cluster: to let this host join again").then_some(())
    };
    world.until("what to do", log);
    world.kill_agent();
    world.start_agent(&[], &[]);
    world.fake.until("a new node", |fake| (fake.state().enrolled == 2).then_some(())).await;
    let before = world.fake.state().beats;
    world.fake.until("beats", |fake| (before < fake.state().beats).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_token_is_in_no_command_line_and_no_environment() {
    if !can_run("a_join_token_is_in_no_command_line_and_no_environment") {
        return;
    }
    let mut world = World::without_agent("hidden").await;
    let token = world.fake.token.clone();
    world.start_agent(&[], &[("LOADLINE_JOIN_TOKEN", &token)]);
    for file in ["cmdline", "environ"] {
        let path = format!("/proc/{}/{file}", world.agent_pid());
        let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        assert!(!text.contains(&token) && !text.is_empty(), "{path}: {text}");
    }
    assert_eq!(world.fake.state().enrolled, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_without_a_port_and_a_port_without_tls_are_refused_at_once() {
    const TEST: &str = "a_controller_without_a_port_and_a_port_without_tls_are_refused_at_once";
    if !can_run(TEST) {
        return;
    }
    let mut world = World::without_agent("ports").await;
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = plain.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            use tokio::io::AsyncWriteExt as _;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    });
    for (controller, expected) in [
        ("localhost", "is not HOST:PORT"),
        ("localhost:0", "is not HOST:PORT"),
        ("http://localhost:7071", "is not HOST:PORT, without a scheme"),
        (&address, "answers, but not in TLS"),
    ] {
        controller.clone_into(&mut world.fake.address);
        let mut command = world.command(&[]);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(expected), "{said}");
    }
}
