//! One health check: a command that the OCI runtime runs in the container, with a bound on its time
//! and on what is kept of its words.
//!
//! The runtime stays in front (`exec` without `--detach`), because only it learns the exit code.
//! What an earlier agent left hanging is ended before the next check begins.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

use super::execed::{end, read_pid};
use super::health::Outcome;

/// Most bytes that are kept of what a check says.
const OUTPUT_BYTES_MAX: usize = 4096;

/// How long a check that was killed may take to vanish, before its call is killed too.
const KILLED_S_MAX: u64 = 5;

/// How long output is awaited after a check's end: what it left in the background may hold it.
const DRAIN_MS_MAX: u64 = 200;

/// File in the run's folder with the pid of the check that is under way.
const PID_FILE: &str = "check.pid";

/// What to ask, and whom.
#[derive(Clone, Debug)]
pub(super) struct Probe {
    /// The OCI runtime's program.
    pub(super) runtime: PathBuf,
    /// Its `--root`.
    pub(super) runtime_root: PathBuf,
    /// The container's id for it.
    pub(super) id: String,
    /// The run's folder.
    pub(super) run_dir: PathBuf,
    /// The command, not empty.
    pub(super) arguments: Vec<String>,
    /// What takes longer has failed.
    pub(super) timeout: Duration,
}

impl Probe {
    /// Runs the check to its end. `processes` are those of the container's cgroup.
    pub(super) async fn run(&self, processes: &[i32]) -> Outcome {
        let pid_file = self.run_dir.join(PID_FILE);
        self.end_left_behind(&pid_file, processes);
        let mut command = Command::new(&self.runtime);
        command
            .arg("--root")
            .arg(&self.runtime_root)
            .args(["exec", "--pid-file"])
            .arg(&pid_file)
            .arg(&self.id)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let outcome = match command.spawn() {
            Ok(child) => self.follow(child, &pid_file).await,
            Err(error) => {
                let output = format!("run {}: {error}", self.runtime.display());
                Outcome { exit_code: None, output }
            }
        };
        // Where it stays, the next check looks at it and finds nobody.
        let _ = std::fs::remove_file(&pid_file);
        outcome
    }

    async fn follow(&self, mut child: Child, pid_file: &Path) -> Outcome {
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let reading = tokio::spawn(async move {
            let (mut said, stderr) = tokio::join!(read_all(stdout), read_all(stderr));
            keep(&mut said, &stderr);
            said
        });
        let ended = tokio::time::timeout(self.timeout, child.wait()).await;
        let Ok(ended) = ended else {
            self.kill(&mut child, pid_file).await;
            reading.abort();
            let seconds = self.timeout.as_secs();
            let output = format!("the check took longer than its timeout of {seconds} s");
            return Outcome { exit_code: None, output };
        };
        let abort = reading.abort_handle();
        let said = tokio::time::timeout(Duration::from_millis(DRAIN_MS_MAX), reading).await;
        abort.abort();
        let said = said.ok().and_then(Result::ok).unwrap_or_default();
        let output = String::from_utf8_lossy(&said).trim().to_owned();
        Outcome { exit_code: ended.ok().and_then(|status| status.code()), output }
    }

    /// Ends the check with all that it started, and then the call.
    async fn kill(&self, child: &mut Child, pid_file: &Path) {
        // The call has not ended, so it has not reaped the check: the pid is the check's own.
        if let Some(pid) = read_pid(pid_file) {
            end(pid);
        }
        let patience = Duration::from_secs(KILLED_S_MAX);
        if tokio::time::timeout(patience, child.wait()).await.is_err() {
            let _ = child.start_kill();
            let _ = tokio::time::timeout(patience, child.wait()).await;
        }
    }

    /// Ends a check of an agent that was killed meanwhile: still in the container's cgroup, with
    /// the command line of a check.
    fn end_left_behind(&self, pid_file: &Path, processes: &[i32]) {
        let Some(pid) = read_pid(pid_file) else { return };
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut own = self.arguments.join("\0").into_bytes();
        own.push(0);
        if processes.contains(&pid.as_raw()) && line == own {
            end(pid);
        }
    }
}

/// Reads to the end, and keeps the beginning.
async fn read_all(pipe: Option<impl tokio::io::AsyncRead + Unpin>) -> Vec<u8> {
    let (mut said, mut bytes) = (Vec::new(), [0; 1024]);
    let Some(mut pipe) = pipe else { return said };
    while let Ok(read) = pipe.read(&mut bytes).await
        && 0 < read
    {
        keep(&mut said, &bytes[..read]);
    }
    said
}

/// Appends up to the bound; what is above it is read and dropped, so that nobody waits for it.
fn keep(said: &mut Vec<u8>, bytes: &[u8]) {
    let room = OUTPUT_BYTES_MAX.saturating_sub(said.len());
    said.extend_from_slice(&bytes[..bytes.len().min(room)]);
}
