//! Programs started by tests: each has an end, its output goes through files (a pipe that a
//! container keeps open would hang the test), and what it said is in every error.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// Longest time that one call of a program may take, on the most loaded machine.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(90);

static PATIENCE: OnceLock<Duration> = OnceLock::new();

/// [`CALL_TIMEOUT`], unless [`set_patience`] said otherwise.
#[must_use]
pub fn patience() -> Duration {
    PATIENCE.get().copied().unwrap_or(CALL_TIMEOUT)
}

/// Sets how long calls may take, once: for runtimes that are known to hang.
pub fn set_patience(patience: Duration) {
    let _ = PATIENCE.set(patience);
}

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(10);

/// What a program did.
#[derive(Debug)]
pub struct Ran {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote, bytes that are no UTF-8 replaced.
    pub stdout: String,
    /// As `stdout`.
    pub stderr: String,
}

impl Ran {
    /// The exit code; a signal reads as 128 + its number.
    #[must_use]
    pub fn code(&self) -> i32 {
        use std::os::unix::process::ExitStatusExt as _;
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// Fails with everything that was said unless the exit code is 0.
    ///
    /// # Errors
    /// Where it is not.
    pub fn succeeded(self) -> anyhow::Result<Self> {
        if !self.status.success() {
            bail!("{}", self.said());
        }
        Ok(self)
    }

    /// One line of what happened, for errors.
    #[must_use]
    pub fn said(&self) -> String {
        let cut = |text: &str| text.trim().chars().take(600).collect::<String>();
        format!("exit {}: {:?} {:?}", self.code(), cut(&self.stderr), cut(&self.stdout))
    }
}

/// Runs `command` to its end, at most [`patience`]. Output goes through files in `folder`.
///
/// # Errors
/// Where it can't be started or does not end in time (it is killed then).
pub fn run(folder: &Path, command: &mut Command) -> anyhow::Result<Ran> {
    run_into(&fresh(folder, "out")?, &fresh(folder, "err")?, command)
}

/// As [`run`], its output through these two files, which are made anew.
///
/// # Errors
/// As [`run`].
pub fn run_into(out: &Path, err: &Path, command: &mut Command) -> anyhow::Result<Ran> {
    let open = |path: &Path| File::create(path).with_context(|| format!("make {}", path.display()));
    command.stdout(open(out)?).stderr(open(err)?);
    crate::stop::keep_from(command);
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command.spawn().with_context(|| format!("start {program}"))?;
    let status = wait(&mut child, patience());
    let read = |path: &Path| -> anyhow::Result<String> {
        let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let (stdout, stderr) = (read(out)?, read(err)?);
    let Some(status) = status? else {
        bail!("{program} did not end in {:?}: {stderr:?} {stdout:?}", patience());
    };
    Ok(Ran { status, stdout, stderr })
}

/// Waits for `child`, kills and reaps it after `timeout` (none is given back then).
///
/// # Errors
/// Where the kernel refuses to wait.
pub fn wait(child: &mut Child, timeout: Duration) -> anyhow::Result<Option<ExitStatus>> {
    let begun = Instant::now();
    // Short programs are the usual ones: look often at first.
    let mut pause = Duration::from_millis(1);
    while begun.elapsed() < timeout {
        if let Some(status) = child.try_wait().context("wait for a child")? {
            return Ok(Some(status));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(POLL);
    }
    child.kill().context("kill a child that did not end")?;
    child.wait().context("reap a child that was killed")?;
    Ok(None)
}

/// Looks at `condition` until it gives a value.
///
/// # Errors
/// After [`patience`], naming `what`; or at once where the condition itself fails.
pub fn until<T>(
    what: &str,
    mut condition: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let begun = Instant::now();
    while begun.elapsed() < patience() {
        if let Some(value) = condition()? {
            return Ok(value);
        }
        std::thread::sleep(POLL);
    }
    bail!("{what}: not after {:?}", patience())
}

/// A command without stdin.
#[must_use]
pub fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    command
}

/// The program `name`: a path is taken as it is; a name is looked for among the programs of this
/// build (`LOADLINE_BIN_DIR`, or beside this program), then in PATH.
///
/// # Errors
/// Where it is nowhere.
pub fn find(name: &str) -> anyhow::Result<PathBuf> {
    if name.contains('/') {
        return std::path::absolute(name).with_context(|| format!("find {name}"));
    }
    let own = loadline_fixtures::folders::own();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let folders = [Some(loadline_fixtures::folders::programs()), own].into_iter().flatten();
    let mut places = folders.chain(std::env::split_paths(&path)).chain(more);
    let found = places.find_map(|folder| Some(folder.join(name)).filter(|path| path.is_file()));
    found.with_context(|| format!("{name} is not built or installed"))
}

/// The runtime that is meant where none is named.
const RUNTIME: &str = "loadline-runtime";

/// A runtime: `name` is a path, or a program in PATH. Without a name it is the `loadline-runtime`
/// beside this program, else that in PATH. `LOADLINE_BIN_DIR` goes before both, and the folder that
/// `cargo xtask build` fills comes last.
///
/// # Errors
/// Where there is none, or it is nothing that can be started.
pub fn runtime(name: Option<&str>) -> anyhow::Result<PathBuf> {
    if let Some(path) = name.filter(|name| name.contains('/')) {
        let path = std::path::absolute(path).with_context(|| format!("find {path}"))?;
        let found = path.metadata().with_context(|| format!("find {}", path.display()))?;
        if !found.is_file() {
            bail!("{} is no file: a runtime is a program", path.display());
        }
        if !is_program(&path) {
            bail!("{} is not executable", path.display());
        }
        return Ok(path);
    }
    let given = std::env::var_os("LOADLINE_BIN_DIR").map(PathBuf::from);
    let own = loadline_fixtures::folders::own().filter(|_| name.is_none());
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = given.into_iter().chain(own).chain(std::env::split_paths(&path));
    let mut places = places.chain([loadline_fixtures::folders::programs()]);
    let name = name.unwrap_or(RUNTIME);
    let found = places.find_map(|folder| Some(folder.join(name)).filter(|path| is_program(path)));
    found.with_context(|| format!("{name} is no program in PATH"))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

fn fresh(folder: &Path, ending: &str) -> anyhow::Result<PathBuf> {
    let file = tempfile::Builder::new()
        .suffix(&format!(".{ending}"))
        .tempfile_in(folder)
        .with_context(|| format!("make a file in {}", folder.display()))?;
    let (_, path) = file.keep().context("keep a file for output")?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_exit_code_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut shell = command(Path::new("/bin/sh"));
        let ran = run(folder.path(), shell.args(["-c", "echo a; echo b >&2; exit 3"])).unwrap();
        assert_eq!((ran.code(), ran.stdout.as_str(), ran.stderr.as_str()), (3, "a\n", "b\n"));
        assert!(ran.succeeded().is_err());
    }

    #[test]
    fn what_cannot_be_started_is_no_runtime() {
        let why = |name| format!("{:#}", runtime(Some(name)).unwrap_err());
        assert!(why("/nonexistent/runtime").contains("No such file"), "{}", why("/nonexistent"));
        assert!(why("/etc/").contains("is no file"), "{}", why("/etc/"));
        assert!(why("/etc/passwd").contains("is not executable"), "{}", why("/etc/passwd"));
        assert!(why("no-such-runtime").contains("in PATH"), "{}", why("no-such-runtime"));
        assert_eq!(runtime(Some("/bin/sh")).unwrap(), Path::new("/bin/sh"));
    }

    #[test]
    fn a_child_that_does_not_end_is_killed() {
        let mut child = command(Path::new("/bin/sleep")).arg("1000").spawn().unwrap();
        assert!(wait(&mut child, Duration::from_millis(50)).unwrap().is_none());
    }
}
