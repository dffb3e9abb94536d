//! Programs are replaced under running tasks, and none of them notices.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use loadline_model::{TaskReport, TaskStatus};
use loadline_proto::v1::LogEvent;

use super::world::{World, can_run};

fn is_stopped(report: &TaskReport) -> bool {
    report.status == TaskStatus::Stopped
}

fn is_running(report: &TaskReport) -> bool {
    report.status == TaskStatus::Running
}

/// The supervisor's program as another file, as a package's new version is.
fn new_version(world: &World, name: &str) -> PathBuf {
    let folder = world.dir.with_extension(name);
    std::fs::create_dir_all(&folder).unwrap();
    let program = folder.join("loadline-supervisor");
    std::fs::copy(env!("CARGO_BIN_EXE_loadline-supervisor"), &program).unwrap();
    program
}

/// Which file each supervisor runs.
fn programs(world: &World) -> Vec<PathBuf> {
    let exe = |pid: &i32| std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    world.supervisors().iter().map(exe).collect()
}

/// The run's folder of a task's only container.
fn run_dir(world: &World, id: &str) -> PathBuf {
    world.dir.join("tasks").join(id).join("main/run.1")
}

/// Every number that it wrote, put together from the parts of its lines.
fn numbers(events: &[LogEvent]) -> Vec<usize> {
    let mut text = String::new();
    for event in events {
        text.push_str(std::str::from_utf8(&event.message).unwrap());
        text.push_str(if event.partial { "" } else { "\n" });
    }
    text.lines().map(|line| line.parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_tasks_do_not_notice_that_agent_and_supervisors_are_upgraded() {
    if !can_run("running_tasks_do_not_notice_that_agent_and_supervisors_are_upgraded") {
        return;
    }
    let is_full = std::env::var_os("LOADLINE_TEST_FULL").is_some();
    let count = if is_full { 100 } else { 10 };
    let mut world = World::without_agent("upgrade").await;
    world.supervisor = new_version(&world, "v1");
    world.start_agent(&[], &[]);
    world.import_probe();
    let mut arns = Vec::new();
    for n in 0..count {
        let spec = world.task(&format!("t{n}"), &["count", "20", &n.to_string()]);
        arns.push(spec.arn.as_str().to_owned());
        world.fake.assign(spec);
    }
    for arn in &arns {
        world.fake.wait(arn, is_running).await;
    }
    let before = (world.container_pids(), sorted(world.supervisors()));
    assert_eq!((before.0.len(), before.1.len()), (count, count));
    // Twice, so that a supervisor that was upgraded is upgraded again.
    for version in ["v2", "v3"] {
        world.kill_agent();
        world.supervisor = new_version(&world, version);
        world.start_agent(&[], &[]);
        // One that becomes another program has no command line for a moment, and is not listed.
        world.until("the new program everywhere", |world| {
            let programs = programs(world);
            let is_new = |program: &PathBuf| *program == world.supervisor;
            (programs.len() == count && programs.iter().all(is_new)).then_some(())
        });
        world.until("the same processes", |world| {
            ((world.container_pids(), sorted(world.supervisors())) == before).then_some(())
        });
    }
    for arn in &arns {
        world.fake.stop(arn);
    }
    for (n, arn) in arns.iter().enumerate() {
        let report = world.fake.wait(arn, is_stopped).await;
        let container = &report.containers[0];
        assert_eq!(container.exit_code, Some(i32::try_from(n).unwrap()), "{report:#?}");
        let numbers = numbers(&world.fake.logs(arn, "main").await);
        let whole: Vec<usize> = (0..numbers.len()).collect();
        assert!(1 < whole.len() && numbers == whole, "{arn}: {numbers:?}");
    }
    world.assert_clean();
}

fn sorted(mut pids: Vec<i32>) -> Vec<i32> {
    pids.sort_unstable();
    pids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervisor_that_can_not_become_the_new_program_goes_on() {
    if !can_run("a_supervisor_that_can_not_become_the_new_program_goes_on") {
        return;
    }
    let mut world = World::start("stays").await;
    for id in ["mute", "broken"] {
        let spec = world.task(id, &["trap", "TERM", "6"]);
        let arn = spec.arn.as_str().to_owned();
        world.fake.assign(spec);
        world.fake.wait(&arn, is_running).await;
        while world.fake.read_logs(&arn, "main", String::new(), 999).await.events.is_empty() {}
        let before = programs(&world);
        if id == "mute" {
            // A program that does not say which runs it understands.
            world.kill_agent();
            let script = world.dir.with_extension("mute");
            std::fs::write(&script, "#!/bin/sh\nexit 0\n").unwrap();
            std::fs::set_permissions(&script, PermissionsExt::from_mode(0o700)).unwrap();
            world.supervisor = script;
            world.start_agent(&[], &[]);
            world.until("what it says of it", |world| {
                let log = world.agent_log();
                log.contains("running supervisors stay what they are").then_some(())
            });
        } else {
            ask_to_become(&run_dir(&world, id), Path::new("/etc/passwd"));
            world.until("why not", |world| {
                let path = run_dir(world, id).join("upgrade.failed");
                let text = std::fs::read_to_string(path).unwrap_or_default();
                text.contains("Permission denied").then_some(())
            });
        }
        assert_eq!(programs(&world), before, "{id}");
        world.fake.stop(&arn);
        let report = world.fake.wait(&arn, is_stopped).await;
        assert_eq!(report.containers[0].exit_code, Some(6), "{id}");
        world.assert_clean();
        world.kill_agent();
        world.supervisor = env!("CARGO_BIN_EXE_loadline-supervisor").into();
        world.start_agent(&[], &[]);
    }
}

/// What an agent does.
fn ask_to_become(run_dir: &Path, program: &Path) {
    use std::io::Write as _;
    std::fs::write(run_dir.join("upgrade"), program.as_os_str().as_encoded_bytes()).unwrap();
    let dir = std::fs::File::open(run_dir).unwrap();
    let socket = format!("/proc/self/fd/{}/control", std::os::fd::AsRawFd::as_raw_fd(&dir));
    let mut control = UnixStream::connect(socket).unwrap();
    control.write_all(b"upgrade\n").unwrap();
    // It is told the state, and so has heard of us, before this end closes.
    let mut state = [0; 1];
    std::io::Read::read_exact(&mut control, &mut state).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervisor_killed_in_its_upgrade_invents_and_leaks_nothing() {
    if !can_run("a_supervisor_killed_in_its_upgrade_invents_and_leaks_nothing") {
        return;
    }
    let mut world = World::start("upgrade-dies").await;
    for name in loadline_agent::failpoint::UPGRADE {
        world.kill_agent();
        world.supervisor = env!("CARGO_BIN_EXE_loadline-supervisor").into();
        world.start_agent(&[], &[("LOADLINE_FAILPOINT", name)]);
        let spec = world.task(&format!("at-{name}"), &["sleep", "1000"]);
        let arn = spec.arn.as_str().to_owned();
        world.fake.assign(spec);
        world.fake.wait(&arn, is_running).await;
        world.kill_agent();
        world.supervisor = new_version(&world, name);
        world.start_agent(&[], &[]);
        let report = world.fake.wait(&arn, is_stopped).await;
        let container = &report.containers[0];
        let reason = container.reason.clone().unwrap_or_default();
        assert!(reason.starts_with("ContainerVanishedError: "), "{name}: {report:#?}");
        world.assert_clean();
        world.fake.let_go(&arn);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_speaks_what_an_older_controller_does_and_nothing_that_it_did_not_offer() {
    const TEST: &str =
        "an_agent_speaks_what_an_older_controller_does_and_nothing_that_it_did_not_offer";
    if !can_run(TEST) {
        return;
    }
    let mut world = World::start("versions").await;
    world.fake.until("a session", |fake| (0 < fake.state().beats).then_some(())).await;
    {
        let state = world.fake.state();
        assert_eq!(state.registered[0].protocol_version_min, Some(1));
        assert_eq!(state.hellos[0].protocol_version, 1, "no version was answered");
    }
    let spec = world.task("t1", &["trap", "TERM", "4"]);
    let arn = spec.arn.as_str().to_owned();
    world.fake.assign(spec);
    world.fake.wait(&arn, is_running).await;
    world.fake.go_away().await;
    world.fake.state().protocol_version = Some(9);
    world.fake.come_back().await;
    world.until("a refusal in words", |world| {
        let log = world.agent_log();
        log.contains("wants to speak protocol version 9, which this agent does not").then_some(())
    });
    assert_eq!(world.container_pids().len(), 1, "the task runs on");
    world.fake.state().protocol_version = Some(1);
    world.fake.until("a session", |fake| (fake.state().hellos.len() == 2).then_some(())).await;
    world.fake.stop(&arn);
    world.fake.wait(&arn, is_stopped).await;
    world.assert_clean();
}
