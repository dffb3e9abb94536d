//! Fuzz targets: functions that take any bytes, and may neither panic nor hang nor run out of
//! memory, and whose results keep the promises that are checked here.
//!
//! `cargo xtask fuzz TARGET` runs one under libFuzzer. `cargo test` runs each on its corpus, which
//! holds what once went wrong, and on a fixed number of mutations of it ([`mutate`]).

#![forbid(unsafe_code)]

pub mod mutate;
mod targets;

use std::path::PathBuf;

/// A target.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, and that of its corpus's folder.
    pub name: &'static str,
    /// What is fuzzed. Panics where a promise is broken.
    pub run: fn(&[u8]),
    /// How many mutations `cargo test` runs, where nothing else is asked for.
    pub mutations: u32,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "plan", run: targets::plan, mutations: 6_000 },
    Target { name: "seccomp", run: targets::seccomp, mutations: 3_000 },
    Target { name: "record", run: targets::record, mutations: 6_000 },
    Target { name: "layout", run: targets::layout, mutations: 10_000 },
    Target { name: "words", run: targets::words, mutations: 10_000 },
];

impl Target {
    /// The target of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Target> {
        TARGETS.iter().copied().find(|target| target.name == name)
    }

    /// The folder of its corpus.
    #[must_use]
    pub fn corpus(&self) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(self.name)
    }
}
