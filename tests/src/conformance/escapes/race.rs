//! Attacks on the moment between a check and its use: two paths of the image change places all the
//! time, by another process, while containers are created.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use loadline_fixtures::Bundle;

use super::{Outcome, World, claim, good, path_text};
use crate::program;

/// How often a container is created in a race, where nothing else is asked for.
const ROUNDS: u32 = 40;

/// As [`ROUNDS`], with `LOADLINE_TEST_FULL=1`.
const ROUNDS_FULL: u32 = 10_000;

/// How often a long race says how far it is.
const PROGRESS: Duration = Duration::from_secs(20);

/// How many containers a race creates: `LOADLINE_RACE_ROUNDS` where it is set.
pub(super) fn rounds() -> u32 {
    let asked = std::env::var("LOADLINE_RACE_ROUNDS").ok().and_then(|text| text.parse().ok());
    let full = std::env::var_os("LOADLINE_TEST_FULL").is_some_and(|value| value == "1");
    asked.unwrap_or(if full { ROUNDS_FULL } else { ROUNDS })
}

/// How far a long race is, told now and then.
pub(super) struct Progress {
    begun: Instant,
    told: Instant,
}

impl Progress {
    pub(super) fn begin() -> Self {
        Self { begun: Instant::now(), told: Instant::now() }
    }

    pub(super) fn tell(&mut self, w: &World, round: u32) {
        if PROGRESS < self.told.elapsed() {
            self.told = Instant::now();
            let (rounds, took) = (rounds(), self.begun.elapsed());
            eprintln!("{}: {round} of {rounds} rounds in {took:.0?}", w.id());
        }
    }
}

/// A process that lets two paths change places until this is stopped or dropped.
pub(super) struct Racer {
    child: Child,
    said: PathBuf,
}

impl Racer {
    pub(super) fn start(w: &World, one: &Path, other: &Path) -> anyhow::Result<Self> {
        let said = w.folder().join("racer.said");
        let out = std::fs::File::create(&said).context("make a file for the racer")?;
        let mut command = Command::new(loadline_fixtures::probe::probe()?);
        command.args(["exchange", path_text(one)?, path_text(other)?]);
        command.stderr(Stdio::null()).stdin(Stdio::piped()).stdout(out);
        Ok(Self { child: command.spawn().context("start the racer")?, said })
    }

    /// How often the paths changed places.
    pub(super) fn stop(mut self) -> anyhow::Result<u64> {
        drop(self.child.stdin.take());
        program::wait(&mut self.child, program::patience())?.context("the racer hangs")?;
        let text = std::fs::read_to_string(&self.said).context("read what the racer said")?;
        let said: serde_json::Value = serde_json::from_str(&text).context("read the racer")?;
        said["exchanges"].as_u64().with_context(|| format!("the racer failed: {text}"))
    }
}

impl Drop for Racer {
    fn drop(&mut self) {
        // Either fails only where it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs the bundle [`rounds`] times while `one` and `other` change places; `look` is called after
/// each, and fails where something got out.
pub(super) fn race(
    w: &World,
    bundle: &Bundle,
    (one, other): (&Path, &Path),
    look: &mut dyn FnMut(&Outcome) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let racer = Racer::start(w, one, other)?;
    let mut progress = Progress::begin();
    let rounds = rounds();
    for round in 0..rounds {
        let outcome = w.run_again(bundle)?;
        if outcome.code != 0 {
            claim!(!outcome.stderr.trim().is_empty() || !outcome.stdout.is_empty(), "no word");
            // Some runtimes leave a record of what they could not create.
            drop(w.call_again(&["delete", "--force", &w.id()]));
        }
        look(&outcome).with_context(|| format!("round {round} of {rounds}"))?;
        progress.tell(w, round);
    }
    let exchanges = racer.stop()?;
    claim!(u64::from(rounds) < exchanges, "no race: {exchanges} exchanges in {rounds} rounds");
    w.no_mount_left()?;
    good(w)
}
