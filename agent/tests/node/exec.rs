//! Programs in a running container, on a real node: terminals, pipes, sizes, exit codes, and ends.

use loadline_model::{TaskReport, TaskStatus};
use loadline_proto::v1;
use loadline_proto::v1::controller_message::Kind as Ours;
use loadline_proto::v1::exec_input::Kind as Input;

use super::fake::Exec;
use super::world::{World, can_run};

fn is_running(report: &TaskReport) -> bool {
    report.status == TaskStatus::Running
}

const SIZE: v1::WindowSize = v1::WindowSize { rows: 24, columns: 80 };

impl World {
    /// A task that runs for long.
    async fn running(&self, id: &str) -> String {
        let spec = self.task(id, &["trap", "TERM", "0"]);
        let arn = spec.arn.as_str().to_owned();
        self.fake.assign(spec);
        self.fake.wait(&arn, is_running).await;
        arn
    }

    /// Asks for a program; its id.
    async fn exec(&self, arn: &str, terminal: Option<v1::WindowSize>, verbs: &[&str]) -> String {
        let exec_id = format!("{:032x}", rand::random::<u128>());
        let command = std::iter::once("/bin/probe").chain(verbs.iter().copied());
        self.fake
            .say(Ours::OpenExec(v1::OpenExec {
                exec_id: exec_id.clone(),
                task_arn: arn.to_owned(),
                container_name: "main".to_owned(),
                command: command.map(str::to_owned).collect(),
                terminal,
                interactive: true,
            }))
            .await;
        exec_id
    }

    async fn until_exec<T>(&self, id: &str, what: &str, look: impl Fn(&Exec) -> Option<T>) -> T {
        self.fake.until(what, |fake| look(fake.state().execs.get(id)?)).await
    }

    /// Its exit code, once the agent has told it and ended the call.
    async fn ended(&self, id: &str) -> v1::ExecEnd {
        self.until_exec(id, "its end", |exec| exec.end.clone()).await
    }

    async fn tell(&self, id: &str, kind: Input) {
        let input = self.until_exec(id, "its input", |exec| exec.input.clone()).await;
        input.send(Ok(v1::ExecInput { kind: Some(kind) })).await.unwrap();
    }

    fn stdout(&self, id: &str) -> String {
        String::from_utf8_lossy(&self.fake.state().execs[id].stdout).into_owned()
    }
}

fn code(end: &v1::ExecEnd) -> Option<i32> {
    assert_eq!(end.error, None);
    end.exit_code
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_with_pipes_gives_both_outputs_apart_and_its_exit_code() {
    if !can_run("a_program_with_pipes_gives_both_outputs_apart_and_its_exit_code") {
        return;
    }
    let world = World::start("exec-pipes").await;
    let arn = world.running("t1").await;
    let verbs = ["echo", "out", "--", "echo-err", "err", "--", "exit", "42"];
    let id = world.exec(&arn, None, &verbs).await;
    assert_eq!(code(&world.ended(&id).await), Some(42));
    assert_eq!(world.stdout(&id), "out\n");
    assert_eq!(world.fake.state().execs[&id].stderr, b"err\n");
    // Input, and its end.
    let id = world.exec(&arn, None, &["read-line", "--", "read-line"]).await;
    world.tell(&id, Input::Stdin(b"first\n".to_vec())).await;
    world.tell(&id, Input::StdinEnd(v1::ExecInputEnd {})).await;
    assert_eq!(code(&world.ended(&id).await), Some(0));
    assert_eq!(world.stdout(&id), "{\"line\":\"first\"}\n{\"line\":\"\"}\n");
    world.fake.stop(&arn);
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_has_the_containers_cgroup_and_namespaces() {
    if !can_run("a_program_has_the_containers_cgroup_and_namespaces") {
        return;
    }
    let world = World::start("exec-where").await;
    let arn = world.running("t1").await;
    let init = world.container_pids()[0];
    let id = world.exec(&arn, None, &["read-line"]).await;
    // Not what the runtime has on its way there.
    let is_it = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        *pid != init && line == b"/bin/probe\0read-line\0"
    };
    let mine = world
        .until("its process", |world| world.container_pids().into_iter().find(|pid| is_it(pid)));
    let cgroups = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert_eq!(cgroups(mine), cgroups(init));
    for kind in ["pid", "mnt", "ipc", "uts", "net"] {
        let of = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
        assert_eq!(of(mine), of(init), "{kind}");
    }
    world.tell(&id, Input::StdinEnd(v1::ExecInputEnd {})).await;
    assert_eq!(code(&world.ended(&id).await), Some(0));
    world.fake.stop(&arn);
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_with_a_terminal_sees_its_size_and_is_interrupted_by_a_key() {
    if !can_run("a_program_with_a_terminal_sees_its_size_and_is_interrupted_by_a_key") {
        return;
    }
    let world = World::start("exec-tty").await;
    let arn = world.running("t1").await;
    let verbs = ["read-line", "--", "tty", "--", "read-line", "--", "tty", "--", "sleep", "1000"];
    let id = world.exec(&arn, Some(SIZE), &verbs).await;
    let says = |text: &'static str| {
        move |exec: &Exec| String::from_utf8_lossy(&exec.stdout).contains(text).then_some(())
    };
    // A runtime may set it a moment behind the start.
    let has_size = |size: &'static str| {
        move |world: &World| terminal_sizes(world).iter().any(|have| have == size).then_some(())
    };
    world.until("the first size", has_size("24 80"));
    world.tell(&id, Input::Stdin(b"go\r".to_vec())).await;
    world.until_exec(&id, "the first size", says("[24,80]")).await;
    world.tell(&id, Input::Resize(v1::WindowSize { rows: 40, columns: 132 })).await;
    world.until("the second size", has_size("40 132"));
    world.tell(&id, Input::Stdin(b"go\r".to_vec())).await;
    world.until_exec(&id, "the second size", says("[40,132]")).await;
    world.tell(&id, Input::Stdin(vec![3])).await;
    assert_eq!(code(&world.ended(&id).await), Some(128 + 2), "Ctrl-C is SIGINT");
    world.fake.stop(&arn);
    world.assert_clean();
}

/// Of the terminals of all processes in containers, as stty tells them.
fn terminal_sizes(world: &World) -> Vec<String> {
    let of = |pid: i32| {
        let terminal = std::fs::File::open(format!("/proc/{pid}/fd/0")).ok()?;
        let told = std::process::Command::new("stty").arg("size").stdin(terminal).output().ok()?;
        Some(String::from_utf8_lossy(&told.stdout).trim().to_owned())
    };
    world.container_pids().into_iter().filter_map(of).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_whose_client_leaves_is_hung_up() {
    if !can_run("a_program_whose_client_leaves_is_hung_up") {
        return;
    }
    let world = World::start("exec-leave").await;
    let arn = world.running("t1").await;
    for (terminal, verbs) in [
        (Some(SIZE), ["sleep", "1000", "--", "true"]),
        (None, ["sleep", "1000", "--", "true"]),
        // One that does not care is killed.
        (None, ["ignore", "HUP", "--", "true"]),
    ] {
        let before = world.container_pids();
        let id = world.exec(&arn, terminal, &verbs).await;
        world.until("its process", |w| (before.len() < w.container_pids().len()).then_some(()));
        world.until_exec(&id, "its input", |exec| exec.input.clone()).await;
        world.fake.state().execs.get_mut(&id).unwrap().input = None;
        world.until("its end", |w| (w.container_pids() == before).then_some(()));
    }
    world.fake.stop(&arn);
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_run_is_told_with_the_reason() {
    if !can_run("what_can_not_run_is_told_with_the_reason") {
        return;
    }
    let world = World::start("exec-refused").await;
    let arn = world.running("t1").await;
    let nowhere = arn.replace("/t1", "/t2");
    let id = world.exec(&nowhere, None, &["true"]).await;
    let why = world.fake.until("a refusal", |f| f.state().exec_refusals.get(&id).cloned()).await;
    assert!(why.contains("no such task"), "{why}");
    let exec_id = "f".repeat(32);
    let command = vec!["/no/such/program".to_owned()];
    let open = v1::OpenExec {
        exec_id: exec_id.clone(),
        task_arn: arn.clone(),
        container_name: "main".to_owned(),
        command,
        terminal: None,
        interactive: false,
    };
    world.fake.say(Ours::OpenExec(open.clone())).await;
    let end = world.ended(&exec_id).await;
    assert_eq!(end.exit_code, None);
    assert!(end.error.as_ref().is_some_and(|why| why.contains("no/such/program")), "{end:?}");
    world.fake.stop(&arn);
    world.assert_clean();
    let id = "e".repeat(32);
    world.fake.say(Ours::OpenExec(v1::OpenExec { exec_id: id.clone(), ..open })).await;
    let why = world.fake.until("a refusal", |f| f.state().exec_refusals.get(&id).cloned()).await;
    assert!(why.contains("STOPPED"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_ends_with_its_container() {
    if !can_run("a_program_ends_with_its_container") {
        return;
    }
    let world = World::start("exec-stop").await;
    let arn = world.running("t1").await;
    let terminal = world.exec(&arn, Some(SIZE), &["sleep", "1000"]).await;
    let pipes = world.exec(&arn, None, &["sleep", "1000"]).await;
    for id in [&terminal, &pipes] {
        world.until_exec(id, "its input", |exec| exec.input.clone()).await;
    }
    // Not what the runtime has on its way there, which would end without the program's code.
    let run_dir = world.dir.join("tasks/t1/main/run.1");
    world.until("both", |_| {
        let has_begun = |id: &&String| run_dir.join(format!("exec-{id}.pid")).exists();
        [&terminal, &pipes].iter().all(has_begun).then_some(())
    });
    world.fake.stop(&arn);
    for id in [&terminal, &pipes] {
        assert_eq!(code(&world.ended(id).await), Some(128 + 9));
    }
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_end_with_an_agent_that_is_killed() {
    if !can_run("programs_end_with_an_agent_that_is_killed") {
        return;
    }
    let mut world = World::start("exec-killed").await;
    let arn = world.running("t1").await;
    for terminal in [Some(SIZE), None] {
        world.exec(&arn, terminal, &["sleep", "1000"]).await;
    }
    world.until("both", |w| (3 == w.container_pids().len()).then_some(()));
    world.kill_agent();
    world.until("their end", |w| (1 == w.container_pids().len()).then_some(()));
    world.start_agent(&[], &[]);
    world.fake.stop(&arn);
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_killed_while_a_program_begins_leaves_none_of_it_and_the_task_alone() {
    const TEST: &str =
        "an_agent_killed_while_a_program_begins_leaves_none_of_it_and_the_task_alone";
    if !can_run(TEST) {
        return;
    }
    let mut world = World::start("exec-sweep").await;
    let arn = world.running("t1").await;
    let before = world.container_pids();
    for name in loadline_agent::failpoint::EXEC {
        for (terminal, verbs) in [
            (Some(SIZE), ["sleep", "1000", "--", "true"]),
            (None, ["sleep", "1000", "--", "true"]),
            // One that does not care that it is hung up is ended by the next agent.
            (None, ["ignore", "HUP", "--", "true"]),
        ] {
            world.kill_agent();
            world.start_agent_that_may_die(&[("LOADLINE_FAILPOINT", name)]);
            let sessions = world.fake.state().hellos.len();
            let back =
                |fake: &super::fake::Fake| (sessions < fake.state().hellos.len()).then_some(());
            world.fake.until("a session", back).await;
            let id = world.exec(&arn, terminal, &verbs).await;
            world.wait_for_agents_death();
            // Whoever waits for it is told: nobody else holds the connection.
            let is_over = |exec: &Exec| exec.over.then_some(());
            world.until_exec(&id, "the end of its call", is_over).await;
            world.start_agent(&[], &[]);
            world.until("its end", |w| (w.container_pids() == before).then_some(()));
        }
    }
    world.fake.stop(&arn);
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_that_nobody_reads_holds_the_program_up_and_nothing_else() {
    if !can_run("output_that_nobody_reads_holds_the_program_up_and_nothing_else") {
        return;
    }
    const LINES: usize = 40_000;
    let world = World::start("exec-slow").await;
    let arn = world.running("t1").await;
    let id = format!("{:032x}", 7);
    let slow = Exec { is_slow: true, ..Exec::default() };
    world.fake.state().execs.insert(id.clone(), slow);
    let command = ["/bin/probe", "lines", &LINES.to_string(), "100"].map(str::to_owned).to_vec();
    world
        .fake
        .say(Ours::OpenExec(v1::OpenExec {
            exec_id: id.clone(),
            task_arn: arn.clone(),
            container_name: "main".to_owned(),
            command,
            terminal: None,
            interactive: false,
        }))
        .await;
    world.until_exec(&id, "its input", |exec| exec.input.clone()).await;
    let beats = world.fake.state().beats;
    // Heartbeats go on meanwhile, and the program can't have ended: 4 MB are more than all buffers.
    world.fake.until("heartbeats", |f| (beats + 10 < f.state().beats).then_some(())).await;
    world.until("it waits", |w| (2 == w.container_pids().len()).then_some(()));
    world.fake.state().execs.get_mut(&id).unwrap().is_slow = false;
    assert_eq!(code(&world.ended(&id).await), Some(0));
    assert_eq!(world.fake.state().execs[&id].stdout.len(), LINES * 100);
    world.fake.stop(&arn);
    world.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_container_has_its_root_filesystem_and_the_host_no_mount_of_it() {
    if !can_run("a_running_container_has_its_root_filesystem_and_the_host_no_mount_of_it") {
        return;
    }
    let world = World::start("let-go").await;
    let arn = world.running("t1").await;
    world.until("the host lets go of the root filesystem", |world| {
        let points = loadline_agent::rootfs::mounts_below(&world.dir).unwrap();
        (!points.iter().any(|point| point.ends_with("rootfs"))).then_some(())
    });
    let id = world.exec(&arn, None, &["write", "/new", "kept", "--", "cat", "/new"]).await;
    assert_eq!(world.ended(&id).await.exit_code, Some(0));
    assert!(world.stdout(&id).contains("kept"), "{}", world.stdout(&id));
    world.fake.stop(&arn);
    world.assert_clean();
}
