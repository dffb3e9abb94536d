//! Starting other programs: what is started is shown, what fails is named with its exit status,
//! and output can be passed on and read at the same time.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail};

/// Says what is being done, on stderr, so that stdout stays for results.
pub(crate) fn step(text: &str) {
    eprintln!("\u{25b6} {text}");
}

/// A command that runs in `workspace`.
pub(crate) fn command(workspace: &Path, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(workspace);
    command
}

/// Cargo, the one that started this program.
pub(crate) fn cargo(workspace: &Path) -> Command {
    command(workspace, std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs to the end with the terminal's own output.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("start {}", name(command)))?;
    if !status.success() {
        bail!("{}: {status}", name(command));
    }
    Ok(())
}

/// The most lines of a program's output that are kept: more than any suite prints.
const LINES_MAX: usize = 200_000;

/// What a program that was run by [`tee`] left.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) status: ExitStatus,
    /// Lines of both streams, in order of arrival.
    pub(crate) lines: Vec<String>,
}

/// Runs to the end, passing output on as it comes and keeping its lines.
pub(crate) fn tee(command: &mut Command) -> anyhow::Result<Seen> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("start {}", name(command)))?;
    let lines = Arc::new(Mutex::new(Vec::new()));
    let mut readers = Vec::new();
    if let Some(out) = child.stdout.take() {
        readers.push(pass_on(out, std::io::stdout(), Arc::clone(&lines)));
    }
    if let Some(err) = child.stderr.take() {
        readers.push(pass_on(err, std::io::stderr(), Arc::clone(&lines)));
    }
    let status = child.wait().with_context(|| format!("wait for {}", name(command)))?;
    for reader in readers {
        // A reader ends with its pipe; its panic would be a defect here, and is passed on.
        if let Err(panic) = reader.join() {
            std::panic::resume_unwind(panic);
        }
    }
    let lines = std::mem::take(&mut *lines.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Seen { status, lines })
}

fn pass_on(
    from: impl Read + Send + 'static,
    mut to: impl Write + Send + 'static,
    lines: Arc<Mutex<Vec<String>>>,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n') {
            let Ok(line) = line else { return };
            let line = String::from_utf8_lossy(&line).into_owned();
            // Whoever reads our output may have gone; the suite still runs to its end.
            drop(writeln!(to, "{line}"));
            let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.len() < LINES_MAX {
                lines.push(line);
            }
        }
    })
}

/// Runs to the end and gives stdout; none where the program is missing or fails.
pub(crate) fn ask(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Where `program` lies in PATH or among the administrator's programs.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(more).map(|dir| dir.join(program)).find(|p| p.is_file())
}

fn name(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy();
    let arguments = command.get_args().take(4).map(|a| a.to_string_lossy().into_owned());
    std::iter::once(program.into_owned()).chain(arguments).collect::<Vec<_>>().join(" ")
}
