//! An agent in another language: `tests/clients/foreign_agent.py`, which has the .proto and gRPC's
//! own Python library and nothing of ours.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use loadline_controller::command::StopTask;
use loadline_model::TaskStatus;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use crate::world::{World, default_cluster};

const PACKAGES: [&str; 4] = ["grpcio", "grpcio-tools", "grpcio-reflection", "cryptography"];
const IMPORTS: &str = "import grpc, grpc_tools.protoc, grpc_reflection.v1alpha, cryptography";
/// How long one step may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A Python with gRPC: the one named, the machine's own, or one made here from PyPI.
fn python() -> Option<PathBuf> {
    let named = std::env::var("LOADLINE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    if imports(Path::new(&named)) {
        return Some(named.into());
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("foreign-agent-python");
    let python = folder.join("bin/python3");
    if imports(&python) {
        return Some(python);
    }
    let done = |command: &mut Command| {
        command.stdout(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    let made = done(Command::new("python3").args(["-m", "venv"]).arg(&folder))
        && done(Command::new(&python).args(["-m", "pip", "install", "-q"]).args(PACKAGES));
    (made && imports(&python)).then_some(python)
}

fn imports(python: &Path) -> bool {
    let tried = Command::new(python).args(["-c", IMPORTS]).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

struct Foreign {
    said: Lines<BufReader<ChildStdout>>,
    child: Child,
}

impl Foreign {
    fn start(python: &Path, world: &World, token: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut child = tokio::process::Command::new(python)
            .arg(root.join("tests/clients/foreign_agent.py"))
            .args([&world.address.to_string(), token])
            .arg(root.join("proto"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { said, child }
    }

    /// The rest of its next line, which has to begin with `step`.
    async fn step(&mut self, step: &str) -> String {
        let line = tokio::time::timeout(PATIENCE, self.said.next_line()).await;
        let line = line.unwrap_or_else(|_| panic!("waited in vain for {step:?}")).unwrap();
        let line = line.unwrap_or_else(|| panic!("it ended before {step:?}"));
        let rest = line.strip_prefix(step);
        rest.unwrap_or_else(|| panic!("{line:?} instead of {step:?}")).trim().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_written_from_the_proto_alone_runs_a_task() {
    let Some(python) = python() else {
        eprintln!(
            "SKIPPED an_agent_written_from_the_proto_alone_runs_a_task: needs Python with {} \
             (no such Python here, and PyPI gave none)",
            PACKAGES.join(", ")
        );
        return;
    };
    let world = World::new().await;
    let token = world.token(1, 600_000).await.reveal();
    let mut foreign = Foreign::start(&python, &world, &token);
    foreign.step("trusted").await;
    let node = foreign.step("enrolled").await;
    foreign.step("registered").await;
    foreign.step("ready").await;

    let ran = world.run_task(100).await;
    assert!(ran.failures.is_empty(), "{:?}", ran.failures);
    let task = &ran.tasks[0];
    assert_eq!(task.node.as_str(), node);
    assert_eq!(foreign.step("assigned").await, task.arn.as_str());
    foreign.step("running").await;
    assert_eq!(world.task(&task.arn).last_status, TaskStatus::Running);

    let stop = StopTask { cluster: default_cluster(), task: task.arn.clone(), reason: None };
    world.engine.call(stop).await.unwrap();
    foreign.step("stopped").await;
    let stopped = world.task(&task.arn);
    assert_eq!(stopped.last_status, TaskStatus::Stopped);
    assert_eq!(stopped.containers[0].exit_code, Some(143));
    foreign.step("forgotten").await;
    let status = tokio::time::timeout(PATIENCE, foreign.child.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");
}
