//! Every target on its corpus, and on a fixed number of mutations of it.

#![cfg(test)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use loadline_fuzz::mutate::{Random, mutate};
use loadline_fuzz::{TARGETS, Target};

/// How long one input may take at most, on the most loaded machine: a hang, not a measure of speed.
const INPUT_TIME_MAX: Duration = Duration::from_secs(20);

fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> =
        target.corpus().read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Mutations of each target: `LOADLINE_FUZZ_MUTATIONS`, or what the target says, or fifty times as
/// many with `LOADLINE_TEST_FULL=1`.
fn mutations(target: &Target) -> u64 {
    let asked = std::env::var("LOADLINE_FUZZ_MUTATIONS").ok().and_then(|text| text.parse().ok());
    let full = std::env::var_os("LOADLINE_TEST_FULL").is_some_and(|value| value == "1");
    asked.unwrap_or(u64::from(target.mutations) * if full { 50 } else { 1 })
}

fn check(name: &str) {
    let target = Target::named(name).unwrap();
    let corpus = corpus(&target);
    assert!(!corpus.is_empty(), "{name} has no corpus");
    let try_one = |input: &[u8], what: &str| {
        let begun = Instant::now();
        let ended = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
        let slow = INPUT_TIME_MAX < begun.elapsed();
        if ended.is_err() || slow {
            let path = std::env::temp_dir().join(format!("loadline-fuzz-{name}"));
            std::fs::write(&path, input).unwrap();
            panic!(
                "{name}, {what}: {} (the input is in {})",
                if slow { "slow" } else { "panic" },
                path.display()
            );
        }
    };
    for (at, input) in corpus.iter().enumerate() {
        try_one(input, &format!("file {at} of the corpus"));
    }
    for seed in 0..mutations(&target) {
        try_one(&mutate(&corpus, &mut Random::new(seed)), &format!("seed {seed}"));
    }
}

#[test]
fn no_configuration_makes_planning_panic_or_hang() {
    check("plan");
}

#[test]
fn every_profile_is_refused_or_becomes_a_program_that_the_kernel_takes() {
    check("seccomp");
}

#[test]
fn no_record_makes_its_reader_panic() {
    check("record");
}

#[test]
fn no_list_of_mounts_makes_its_reader_panic() {
    check("layout");
}

#[test]
fn no_command_line_makes_its_reader_panic() {
    check("words");
}

#[test]
fn every_target_is_run_above() {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names, ["plan", "seccomp", "record", "layout", "words"]);
}
