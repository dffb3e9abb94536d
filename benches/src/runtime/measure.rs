//! The scenarios, and the order in which subjects take their turns.

use std::collections::{BTreeMap, BTreeSet};

use crate::bundle::{Config, World};
use crate::spawn::{Samples, Spawner, Words, await_orphan};
use crate::subject::{Kind, OURS, Subject};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scenario {
    /// `run` of a program that ends at once, one after the other.
    Run,
    /// The same with an engine's profile of system calls.
    RunSeccomp,
    /// `create`, `start`, the end of the program, `delete`.
    Lifecycle,
    /// `exec` in a container that runs.
    Exec,
    /// `run`, eight at once.
    Run8,
    /// `run`, 64 at once.
    Run64,
}

/// All of them, in the order of a block.
pub(crate) const SCENARIOS: [Scenario; 6] = [
    Scenario::Run,
    Scenario::RunSeccomp,
    Scenario::Lifecycle,
    Scenario::Exec,
    Scenario::Run8,
    Scenario::Run64,
];

impl Scenario {
    /// In results.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::RunSeccomp => "run with seccomp",
            Self::Lifecycle => "create, start, delete",
            Self::Exec => "exec",
            Self::Run8 => "run, 8 at once",
            Self::Run64 => "run, 64 at once",
        }
    }

    const fn parallel(self) -> usize {
        match self {
            Self::Run8 => 8,
            Self::Run64 => 64,
            _ => 1,
        }
    }

    /// The floor knows one container, without seccomp.
    const fn has_floor(self) -> bool {
        matches!(self, Self::Run | Self::Run8 | Self::Run64)
    }
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    blocks: usize,
    /// Rounds of a subject in a block, for scenarios without parallelism.
    rounds: usize,
    rounds_of_8: usize,
    rounds_of_64: usize,
}

/// Enough for a table on a quiet machine.
pub(crate) const FULL: Extent =
    Extent { blocks: 15, rounds: 40, rounds_of_8: 160, rounds_of_64: 192 };
/// A first look.
pub(crate) const QUICK: Extent =
    Extent { blocks: 7, rounds: 20, rounds_of_8: 80, rounds_of_64: 128 };

impl Extent {
    const fn rounds(self, scenario: Scenario) -> usize {
        match scenario {
            Scenario::Run8 => self.rounds_of_8,
            Scenario::Run64 => self.rounds_of_64,
            Scenario::Lifecycle => self.rounds / 2,
            _ => self.rounds,
        }
    }
}

/// The samples of one block, by scenario and subject's index.
pub(crate) type Block = BTreeMap<(Scenario, usize), Samples>;

/// What does not run here, by scenario and subject's index.
pub(crate) type LeftOut = BTreeSet<(Scenario, usize)>;

/// Measures everything. The subject that begins is another one in each block. A peer that fails in
/// a block, or does not come to an end, is left out of that scenario in all blocks.
///
/// # Errors
/// When the floor or Loadline fails.
pub(crate) fn run(
    spawner: &Spawner,
    world: &World,
    subjects: &[Subject],
    extent: Extent,
    left_out: &mut LeftOut,
) -> anyhow::Result<Vec<Block>> {
    let spawner = spawner.patient();
    let mut blocks = Vec::with_capacity(extent.blocks);
    for number in 0..extent.blocks {
        eprintln!("bench: block {} of {}", number + 1, extent.blocks);
        let mut block = Block::new();
        for scenario in SCENARIOS {
            for turn in 0..subjects.len() {
                let index = (number + turn) % subjects.len();
                let subject = &subjects[index];
                let has_none = subject.kind == Kind::Floor && !scenario.has_floor();
                if has_none || left_out.contains(&(scenario, index)) {
                    continue;
                }
                let rounds = extent.rounds(scenario);
                match sample(&spawner, world, subject, scenario, rounds) {
                    Ok(samples) => {
                        block.insert((scenario, index), samples);
                    }
                    Err(error) => leave_out(subject, (scenario, index), left_out, error)?,
                }
            }
        }
        blocks.push(block);
    }
    for block in &mut blocks {
        block.retain(|measured, _| !left_out.contains(measured));
    }
    Ok(blocks)
}

/// Goes on without a peer that does not run here.
fn leave_out(
    subject: &Subject,
    (scenario, index): (Scenario, usize),
    left_out: &mut LeftOut,
    error: anyhow::Error,
) -> anyhow::Result<()> {
    let (name, scenario_name) = (&subject.name, scenario.name());
    if subject.kind != Kind::Runtime || subject.name == OURS {
        return Err(error.context(format!("{name}: {scenario_name}")));
    }
    println!("left out: {name}: {scenario_name}: {error:#}");
    left_out.insert((scenario, index));
    Ok(())
}

/// Programs come into memory, caches of compiled filters are filled. A peer that fails here, or
/// does not come to an end, is left out of that scenario.
///
/// # Errors
/// When the floor or Loadline fails.
pub(crate) fn warm_up(
    spawner: &Spawner,
    world: &World,
    subjects: &[Subject],
) -> anyhow::Result<LeftOut> {
    const ROUNDS: usize = 3;
    let mut left_out = LeftOut::new();
    for (index, subject) in subjects.iter().enumerate() {
        for scenario in SCENARIOS {
            if subject.kind == Kind::Floor && !scenario.has_floor() {
                continue;
            }
            let ran = sample(&spawner.patient(), world, subject, scenario, ROUNDS);
            if let Err(error) = ran {
                leave_out(subject, (scenario, index), &mut left_out, error)?;
            }
        }
    }
    Ok(left_out)
}

fn sample(
    spawner: &Spawner,
    world: &World,
    subject: &Subject,
    scenario: Scenario,
    rounds: usize,
) -> anyhow::Result<Samples> {
    match scenario {
        Scenario::Run | Scenario::Run8 | Scenario::Run64 => {
            spawner.run(rounds, scenario.parallel(), &[subject.run(world, Config::Plain)])
        }
        Scenario::RunSeccomp => spawner.run(rounds, 1, &[subject.run(world, Config::Seccomp)]),
        Scenario::Lifecycle => spawner.run(rounds, 1, &lifecycle(world, subject)),
        Scenario::Exec => exec(spawner, world, subject, rounds),
    }
}

fn lifecycle(world: &World, subject: &Subject) -> Vec<Words> {
    let mut create = subject.verb(world, &["create", "--bundle"]);
    create.extend([world.bundle(Config::Plain).into(), "{}".into()]);
    let start = subject.verb(world, &["start", "{}"]);
    let delete = subject.verb(world, &["delete", "{}"]);
    vec![create, start, await_orphan(), delete]
}

fn exec(
    spawner: &Spawner,
    world: &World,
    subject: &Subject,
    rounds: usize,
) -> anyhow::Result<Samples> {
    let id = format!("bench-exec-{}-{}", std::process::id(), subject.name);
    let mut run = subject.verb(world, &["run", "--detach", "--bundle"]);
    run.extend([world.bundle(Config::Pause).into(), id.as_str().into()]);
    spawner.run(1, 1, &[run])?;
    let samples = spawner.run(rounds, 1, &[subject.verb(world, &["exec", &id, "/noop"])]);
    spawner.run(1, 1, &[subject.verb(world, &["delete", "--force", &id])])?;
    samples
}
