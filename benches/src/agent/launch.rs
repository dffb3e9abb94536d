//! Launches of containers that stay, a number of them at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use loadline_bench::times::Times;
use serde::Serialize;

use super::subject::{Launcher, Network, Subject};

/// One subject in one scenario.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    pub(crate) network: Network,
    pub(crate) at_once: usize,
    pub(crate) subject: &'static str,
    pub(crate) per_second: f64,
    /// From the call to the answer that it runs, in milliseconds.
    pub(crate) launch_ms: Times,
    /// Why it could not be measured.
    pub(crate) missing: Option<String>,
}

/// How often each subject has its turn.
const TURNS: usize = 2;

/// Seconds before each turn. A subject's containers are gone before the kernel has taken away their
/// network namespaces: it does so later, with the lock that new interfaces need, too.
const SETTLE_S: u64 = 3;

/// All subjects, in turn; each has its containers alone on the machine.
pub(crate) fn compare(
    subjects: &[Box<dyn Subject>],
    network: Network,
    at_once: usize,
    launches: usize,
) -> anyhow::Result<Vec<Row>> {
    let mut samples: Vec<(Vec<f64>, f64, Option<String>)> =
        vec![(Vec::new(), 0.0, None); subjects.len()];
    for _ in 0..TURNS {
        for (subject, (times, seconds, missing)) in subjects.iter().zip(&mut samples) {
            if missing.is_some() {
                continue;
            }
            let name = subject.name();
            eprintln!("{} launches, {at_once} at once, {network:?}: {name}", launches / TURNS);
            thread::sleep(Duration::from_secs(SETTLE_S));
            match launch(subject.as_ref(), network, at_once, launches / TURNS) {
                Ok((of, took)) => {
                    times.extend(of);
                    *seconds += took;
                }
                Err(error) => *missing = Some(format!("{error:#}")),
            }
            subject.clear().with_context(|| format!("clear {name}"))?;
        }
    }
    let mut rows = Vec::new();
    for (subject, (times, seconds, missing)) in subjects.iter().zip(samples) {
        let (subject, per_second) = (subject.name(), times.len() as f64 / seconds);
        let launch_ms = Times::of(times);
        rows.push(Row { network, at_once, subject, per_second, launch_ms, missing });
    }
    Ok(rows)
}

/// Milliseconds of each launch, and seconds of all.
fn launch(
    subject: &dyn Subject,
    network: Network,
    at_once: usize,
    launches: usize,
) -> anyhow::Result<(Vec<f64>, f64)> {
    let launchers =
        (0..at_once).map(|_| subject.launcher(network)).collect::<anyhow::Result<Vec<_>>>()?;
    run(launchers, launches)
}

/// Launches with all of these at once, until there are so many.
pub(crate) fn run(
    launchers: Vec<Box<dyn Launcher>>,
    launches: usize,
) -> anyhow::Result<(Vec<f64>, f64)> {
    let left = AtomicUsize::new(launches);
    let began = Instant::now();
    let times = thread::scope(|scope| {
        let threads: Vec<_> = launchers
            .into_iter()
            .map(|mut launcher| {
                let left = &left;
                scope.spawn(move || each(launcher.as_mut(), left))
            })
            .collect();
        let joined = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.collect::<anyhow::Result<Vec<_>>>()
    })?;
    Ok((times.into_iter().flatten().collect(), began.elapsed().as_secs_f64()))
}

fn each(launcher: &mut dyn Launcher, left: &AtomicUsize) -> anyhow::Result<Vec<f64>> {
    let mut times = Vec::new();
    let take = |left: usize| left.checked_sub(1);
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
        let began = Instant::now();
        launcher.launch()?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times)
}
