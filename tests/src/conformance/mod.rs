//! A conformance suite for OCI runtimes: any program with the usual command line (create, start,
//! state, kill, delete, run, list). A case is a claim with a name; it passes, fails with a reason,
//! or is skipped because the machine lacks a facility.
//!
//! Two rules keep the suite honest. A case that every known runtime fails is suspect, so it is
//! developed against runc and crun. A case that passes on a stub, a program that says nothing and
//! exits 0, tests nothing: `cases_fail_on_a_stub` runs all of them on one.

mod cgroups;
mod console;
mod escapes;
mod failures;
mod hooks;
mod lifecycle;
mod listener;
mod mount_options;
mod mounts;
mod namespaces;
mod process;
mod readiness;
pub mod report;
mod resources;
mod runtime;
mod seccomp;
mod settings;
mod world;

pub use runtime::Runtime;
pub use world::World;

/// What a case found, where it did not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The claim holds.
    Pass,
    /// The machine lacks what is named here.
    Needs(String),
}

/// A claim about OCI runtimes.
#[derive(Clone, Copy)]
pub struct Case {
    /// The group that it is shown in.
    pub group: &'static str,
    /// The claim.
    pub name: &'static str,
    /// Fails with the reason where the claim does not hold.
    pub run: fn(&World) -> anyhow::Result<Verdict>,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.group, self.name)
    }
}

/// A group of cases, from the names of the functions.
macro_rules! cases {
    ($group:literal: $($name:ident),* $(,)?) => {
        pub(in $crate::conformance) const CASES: &[$crate::conformance::Case] = &[$(
            $crate::conformance::Case { group: $group, name: stringify!($name), run: $name },
        )*];
    };
}
use cases;

/// Fails the case with a reason unless the condition holds.
macro_rules! claim {
    ($condition:expr, $($reason:tt)*) => {
        if !$condition {
            anyhow::bail!($($reason)*);
        }
    };
}
use claim;

/// All cases, in the order in which they are shown.
#[must_use]
pub fn all() -> Vec<Case> {
    let groups = [
        lifecycle::CASES,
        failures::CASES,
        process::CASES,
        readiness::CASES,
        settings::CASES,
        namespaces::CASES,
        mounts::CASES,
        mount_options::CASES,
        cgroups::CASES,
        resources::CASES,
        hooks::CASES,
        seccomp::CASES,
    ];
    groups.into_iter().chain(escapes::GROUPS).flatten().copied().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_case_has_a_name_of_its_own() {
        let names: BTreeSet<&str> = all().iter().map(|case| case.name).collect();
        assert_eq!(names.len(), all().len());
    }

    #[test]
    fn cases_fail_on_a_stub() {
        let stub = Runtime::new(Some("/bin/true")).unwrap();
        for case in all() {
            let verdict = World::new(&stub, case.name).and_then(|world| (case.run)(&world));
            assert!(
                !matches!(verdict, Ok(Verdict::Pass)),
                "{case:?} passes on a program that does nothing"
            );
        }
    }
}
