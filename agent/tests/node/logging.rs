//! Where a container's output goes on a real node: a terminal's, and that of the log drivers.

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use loadline_model::{LogConfiguration, TaskReport, TaskStatus};

use super::world::{World, can_run};

fn is_stopped(report: &TaskReport) -> bool {
    report.status == TaskStatus::Stopped
}

fn text(events: &[loadline_proto::v1::LogEvent]) -> String {
    events.iter().map(|e| String::from_utf8_lossy(&e.message).into_owned() + "\n").collect()
}

fn log(driver: &str, options: &[(&str, &str)]) -> Option<LogConfiguration> {
    let options: BTreeMap<String, String> =
        options.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Some(LogConfiguration { driver: driver.into(), options })
}

/// What one datagram says, waited for.
fn received(socket: &UnixDatagram) -> String {
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut bytes = [0; 64 * 1024];
    let length = socket.recv(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_with_a_terminal_writes_its_lines_to_the_log() {
    if !can_run("a_container_with_a_terminal_writes_its_lines_to_the_log") {
        return;
    }
    let world = World::start("terminal").await;
    let mut spec = world.task("t1", &["tty", "--", "echo", "a line", "--", "env"]);
    spec.containers[0].pseudo_terminal = true;
    let arn = spec.arn.as_str().to_owned();
    world.fake.assign(spec);
    let report = world.fake.wait(&arn, is_stopped).await;
    assert_eq!(report.containers[0].exit_code, Some(0), "{report:?}");
    let said = text(&world.fake.logs(&arn, "main").await);
    assert!(said.contains("\"controlling\":true"), "{said}");
    assert!(said.contains("\na line\n"), "no carriage returns: {said:?}");
    assert!(said.contains("\"TERM\":\"xterm\""), "{said}");
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interactive_container_has_input_that_does_not_end() {
    if !can_run("an_interactive_container_has_input_that_does_not_end") {
        return;
    }
    let world = World::start("interactive").await;
    for (id, interactive) in [("t1", true), ("t2", false)] {
        let mut spec = world.task(id, &["read-line", "--", "exit", "3"]);
        spec.containers[0].interactive = interactive;
        let arn = spec.arn.as_str().to_owned();
        world.fake.assign(spec);
        if !interactive {
            let report = world.fake.wait(&arn, is_stopped).await;
            assert_eq!(report.containers[0].exit_code, Some(3), "it read the end at once");
            continue;
        }
        world.fake.wait(&arn, |report| report.status == TaskStatus::Running).await;
        let reader = world.container_pids()[0];
        // It sleeps in read(2) on its standard input.
        world.until("a read of its input", |_| {
            let call = std::fs::read_to_string(format!("/proc/{reader}/syscall")).ok()?;
            call.starts_with("0 0x0 ").then_some(())
        });
        world.fake.stop(&arn);
        world.fake.wait(&arn, is_stopped).await;
    }
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn syslog_and_journal_get_what_a_container_writes_and_so_do_the_files() {
    if !can_run("syslog_and_journal_get_what_a_container_writes_and_so_do_the_files") {
        return;
    }
    let mut world = World::without_agent("drivers").await;
    let folder = tempfile::tempdir().unwrap();
    let (syslog_path, journal_path) = (folder.path().join("log"), folder.path().join("journal"));
    let syslog = UnixDatagram::bind(&syslog_path).unwrap();
    let journal = UnixDatagram::bind(&journal_path).unwrap();
    world.start_agent(&["--journal-socket", journal_path.to_str().unwrap()], &[]);
    world.import_probe();
    let journald = "com.amazonaws.ecs.capability.logging-driver.journald";
    let told = |request: &loadline_proto::v1::RegisterRequest| {
        request.attributes.iter().any(|attribute| attribute.name == journald)
    };
    let registered = |fake: &super::fake::Fake| fake.state().registered.last().map(told);
    assert!(world.fake.until("the node's attributes", registered).await);
    let address = format!("unixgram://{}", syslog_path.display());
    let options = [("syslog-address", address.as_str()), ("tag", "{{.Name}}")];
    for (id, log, socket) in
        [("t1", log("syslog", &options), &syslog), ("t2", log("journald", &[]), &journal)]
    {
        let mut spec = world.task(id, &["echo", "hello", "--", "echo-err", "oh"]);
        spec.containers[0].log = log;
        let arn = spec.arn.as_str().to_owned();
        world.fake.assign(spec);
        let messages = [received(socket), received(socket)].concat();
        if id == "t1" {
            assert!(messages.contains("<30>") && messages.contains("<27>"), "{messages}");
            assert!(messages.contains(" test-1-main["), "{messages}");
        } else {
            assert!(messages.contains("\nMESSAGE=hello\n"), "{messages}");
            assert!(messages.contains("PRIORITY=3\n"), "{messages}");
            assert!(messages.contains(&format!("\nECS_TASK_ARN={arn}\n")), "{messages}");
        }
        world.fake.wait(&arn, is_stopped).await;
        let said = text(&world.fake.logs(&arn, "main").await);
        assert!(said.contains("hello\n") && said.contains("oh\n"), "{said}");
    }
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_destination_that_is_away_holds_neither_container_nor_files_up() {
    if !can_run("a_log_destination_that_is_away_holds_neither_container_nor_files_up") {
        return;
    }
    let world = World::start("driver-away").await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let address = format!("unixgram://{}", path.display());
    let mut spec = world.task("t1", &["lines", "2000", "100", "--", "trap", "TERM", "0"]);
    let options = [("syslog-address", address.as_str()), ("max-buffer-size", "128k")];
    spec.containers[0].log = log("syslog", &options);
    let arn = spec.arn.as_str().to_owned();
    world.fake.assign(spec);
    world.fake.wait(&arn, |report| report.status == TaskStatus::Running).await;
    // 200 kB, and the buffer holds 128.
    let (mut cursor, mut lines) = (String::new(), 0);
    while lines < 2001 {
        let chunk = world.fake.read_logs(&arn, "main", cursor, 20_000).await;
        assert_eq!(chunk.error, None);
        lines += chunk.events.len();
        cursor = chunk.next_cursor;
    }
    let server = UnixDatagram::bind(&path).unwrap();
    let first = received(&server);
    assert!(first.contains("messages are missing here"), "{first}");
    assert!(received(&server).contains("]: 0...."), "then the oldest");
    let draining = std::thread::spawn(move || {
        server.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        while server.recv(&mut [0; 1024]).is_ok() {}
    });
    world.fake.stop(&arn);
    world.fake.wait(&arn, is_stopped).await;
    draining.join().unwrap();
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_driver_none_keeps_nothing_and_one_that_is_not_known_is_refused() {
    if !can_run("the_driver_none_keeps_nothing_and_one_that_is_not_known_is_refused") {
        return;
    }
    let world = World::start("driver-none").await;
    let mut spec = world.task("t1", &["echo", "hello"]);
    spec.containers[0].log = log("none", &[]);
    let arn = spec.arn.as_str().to_owned();
    world.fake.assign(spec);
    let report = world.fake.wait(&arn, is_stopped).await;
    assert_eq!(report.containers[0].exit_code, Some(0));
    assert_eq!(world.fake.logs(&arn, "main").await, []);
    let files = std::fs::read_dir(world.dir.join("tasks/t1/main/log")).unwrap();
    assert_eq!(files.count(), 0);
    let mut spec = world.task("t2", &["echo", "hello"]);
    spec.containers[0].log = log("syslog", &[("syslog-adress", "udp://x")]);
    let arn = spec.arn.as_str().to_owned();
    world.fake.assign(spec);
    let report = world.fake.wait(&arn, is_stopped).await;
    let why = report.stopped_reason.unwrap_or_default();
    assert!(why.contains("syslog-adress"), "{why}");
    world.assert_clean();
}
