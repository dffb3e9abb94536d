//! The spawner's face: commands in, samples out.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// The program of benches/c/spawn.c.
#[derive(Debug)]
pub(crate) struct Spawner {
    pub(crate) program: PathBuf,
    /// How long a call may take, if that is bounded.
    pub(crate) patience: Option<Duration>,
}

/// What a runtime gets for a few containers before it counts as one that does not end.
const PATIENCE: Duration = Duration::from_secs(60);
/// The pause between two looks whether it has ended.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// What one command took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Which command of its round.
    pub(crate) step: usize,
    pub(crate) wall_ns: u64,
    pub(crate) user_us: u64,
    pub(crate) system_us: u64,
    pub(crate) peak_rss_kib: u64,
}

/// All samples of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Samples {
    pub(crate) each: Vec<Sample>,
    /// From the first start to the last end.
    pub(crate) total_ns: u64,
}

/// A command line; `{}` in a word becomes the round's own id.
pub(crate) type Words = Vec<OsString>;

/// The command that waits for what the others left running.
pub(crate) fn await_orphan() -> Words {
    vec!["await".into()]
}

/// A command line of anything that is text.
pub(crate) fn words<T: AsRef<OsStr>>(list: impl IntoIterator<Item = T>) -> Words {
    list.into_iter().map(|word| word.as_ref().to_owned()).collect()
}

impl Spawner {
    /// The same, for calls that may never end.
    pub(crate) fn patient(&self) -> Spawner {
        Spawner { program: self.program.clone(), patience: Some(PATIENCE) }
    }

    /// Runs the steps `rounds` times, `parallel` rounds at once.
    ///
    /// # Errors
    /// When one fails, with what it said.
    pub(crate) fn run(
        &self,
        rounds: usize,
        parallel: usize,
        steps: &[Words],
    ) -> anyhow::Result<Samples> {
        let mut command = Command::new(&self.program);
        command.arg(rounds.to_string()).arg(parallel.to_string()).arg(prefix());
        for (index, step) in steps.iter().enumerate() {
            if index > 0 {
                command.arg(",");
            }
            command.args(step);
        }
        // Files, because a container that goes on running would keep a pipe open.
        let (mut out, mut err) = (tempfile::tempfile()?, tempfile::tempfile()?);
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(err.try_clone()?);
        let started = || format!("start {}", self.program.display());
        let status = match self.patience {
            None => command.status().with_context(started)?,
            Some(patience) => {
                // A group of its own, so that all of it can be ended.
                let mut child = command.process_group(0).spawn().with_context(started)?;
                wait_within(&mut child, patience)?
            }
        };
        if !status.success() {
            bail!("{status} {}", read(&mut err)?.trim());
        }
        parse(&read(&mut out)?).context("spawn: unexpected output")
    }
}

fn wait_within(child: &mut Child, patience: Duration) -> anyhow::Result<ExitStatus> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if deadline <= Instant::now() {
            let group = Pid::from_raw(i32::try_from(child.id())?);
            killpg(group, Signal::SIGKILL).context("end what does not end")?;
            child.wait()?;
            bail!("does not end within {} s", patience.as_secs());
        }
        std::thread::sleep(LOOK_PAUSE);
    }
}

fn read(file: &mut File) -> anyhow::Result<String> {
    let mut text = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Ids are not used twice in a run, nor in two runs at once.
fn prefix() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    format!("bench-{}-{call}-", std::process::id())
}

fn parse(text: &str) -> Option<Samples> {
    let mut samples = Samples::default();
    for line in text.lines() {
        if let Some(total) = line.strip_prefix("total ") {
            samples.total_ns = total.parse().ok()?;
            continue;
        }
        let mut fields = line.split(' ').map(|field| field.parse::<u64>().ok());
        let mut field = || fields.next().flatten();
        // Containers may print lines of their own.
        let Some(step) = field() else { continue };
        samples.each.push(Sample {
            step: usize::try_from(step).ok()?,
            wall_ns: field()?,
            user_us: field()?,
            system_us: field()?,
            peak_rss_kib: field()?,
        });
    }
    (samples.total_ns > 0).then_some(samples)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;
    use std::time::Duration;

    use super::{parse, wait_within};

    #[test]
    fn what_does_not_end_is_ended_with_all_that_it_started() {
        let mut endless = Command::new("sh");
        let mut child = endless.args(["-c", "sleep 1000; true"]).process_group(0).spawn().unwrap();
        let error = wait_within(&mut child, Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().contains("does not end"), "{error}");
        let mut short = Command::new("true").process_group(0).spawn().unwrap();
        assert!(wait_within(&mut short, Duration::from_secs(60)).unwrap().success());
    }

    #[test]
    fn the_spawner_s_lines_are_read() {
        let samples = parse("0 1200000 300 700 1500\n1 5 6 7 8\ntotal 1300000\n").unwrap();
        assert_eq!(samples.total_ns, 1_300_000);
        assert_eq!(samples.each[0].wall_ns, 1_200_000);
        assert_eq!(samples.each[1].peak_rss_kib, 8);
    }

    #[test]
    fn an_output_without_its_end_is_none() {
        assert_eq!(parse("0 1 2 3 4\n"), None);
        assert_eq!(parse("0 1 2\ntotal 5\n"), None);
    }
}
