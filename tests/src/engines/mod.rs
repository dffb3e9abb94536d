//! Real container engines on an OCI runtime: docker, podman, buildah and containerd, each started
//! by the suite with folders, sockets and namespaces of its own, on an image made here. A claim
//! types what a user types, and looks at what the user would see.
//!
//! The same claims run on any runtime (`--runtime runc`), which tells whether a failure is the
//! runtime's or the claim's.

mod buildah;
mod containerd;
mod daemon;
mod docker;
mod place;
mod podman;
mod rootless;
mod terminal;
mod world;

pub use place::Place;
pub use world::World;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::conformance::Verdict;
use crate::{output, stop};

/// A claim about an engine on the runtime.
#[derive(Clone, Copy)]
pub struct Claim {
    /// The engine.
    pub engine: &'static str,
    /// The claim.
    pub name: &'static str,
    /// Fails with the reason where the claim does not hold.
    pub run: fn(&World) -> anyhow::Result<Verdict>,
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.engine, self.name)
    }
}

/// The claims of an engine, from the names of the functions.
macro_rules! claims {
    ($engine:literal: $($name:ident),* $(,)?) => {
        pub(in crate::engines) const CLAIMS: &[$crate::engines::Claim] = &[$(
            $crate::engines::Claim { engine: $engine, name: stringify!($name), run: $name },
        )*];
    };
}
use claims;

/// Fails the claim unless both texts are the same.
macro_rules! same {
    ($seen:expr, $wanted:expr) => {
        let (seen, wanted) = (&$seen, &$wanted);
        if seen != wanted {
            anyhow::bail!("{} is {seen:?}, and not {wanted:?}", stringify!($seen));
        }
    };
}
use same;

/// Fails the claim unless the text holds the part.
macro_rules! holds {
    ($seen:expr, $part:expr) => {
        let (seen, part) = (&$seen, &$part);
        if !seen.contains(&part[..]) {
            anyhow::bail!("{} has no {part:?}: {seen:?}", stringify!($seen));
        }
    };
}
use holds;

/// All claims, in the order in which they are run.
#[must_use]
pub fn all() -> Vec<Claim> {
    let engines = [
        docker::run::CLAIMS,
        docker::apart::CLAIMS,
        docker::limits::CLAIMS,
        docker::verbs::CLAIMS,
        docker::userns::CLAIMS,
        containerd::CLAIMS,
        buildah::CLAIMS,
        podman::CLAIMS,
        rootless::CLAIMS,
    ];
    engines.into_iter().flatten().copied().collect()
}

/// What must be installed for an engine, by the name of its claims.
const PROGRAMS: &[(&str, &[&str])] = &[
    ("docker", &["docker", "dockerd", "docker-init", "containerd", "iptables", "ip"]),
    ("docker-userns", &["docker", "dockerd", "docker-init", "containerd", "iptables", "ip"]),
    ("containerd", &["containerd", "ctr"]),
    ("buildah", &["buildah"]),
    ("podman", &["podman", "conmon", "docker-init"]),
    ("podman-rootless", &["podman", "conmon", "newuidmap", "newgidmap"]),
];

/// A program that an engine needs and this machine lacks.
fn missing(engine: &str) -> Option<&'static str> {
    let needed = PROGRAMS.iter().filter(|(name, _)| *name == engine);
    let mut programs = needed.flat_map(|(_, programs)| *programs);
    programs.find(|name| crate::program::find(name).is_err()).copied()
}

/// How many passed, failed and were skipped.
pub type Count = (usize, usize, usize);

/// Runs the claims, several at a time, and prints what each found: until a signal asks for an end,
/// or what is found can't be printed.
pub fn run(world: &World, claims: &[Claim], at_once: usize) -> (Count, anyhow::Result<()>) {
    let (next, seen) = (AtomicUsize::new(0), Mutex::new(((0, 0, 0), Ok(()))));
    // Whoever panicked did so after counting.
    let seen_now = || seen.lock().unwrap_or_else(PoisonError::into_inner);
    let work = || {
        while let Some(claim) = claims.get(next.fetch_add(1, Ordering::Relaxed))
            && stop::asked().is_none()
            && seen_now().1.is_ok()
        {
            let begun = Instant::now();
            let found = match missing(claim.engine) {
                Some(what) => Ok(Verdict::Needs(what.to_owned())),
                None => (claim.run)(world),
            };
            let took = begun.elapsed().as_secs_f32();
            let mut seen = seen_now();
            let (count, told) = &mut *seen;
            let line = match found {
                Ok(Verdict::Pass) => {
                    count.0 += 1;
                    format!("ok {claim:?} ({took:.1} s)\n")
                }
                Ok(Verdict::Needs(what)) => {
                    count.2 += 1;
                    format!("SKIPPED {claim:?}: needs {what}\n")
                }
                Err(error) => {
                    count.1 += 1;
                    format!("FAILED {claim:?}: {}\n", format!("{error:#}").replace('\n', " "))
                }
            };
            if told.is_ok() {
                *told = output::print(&line);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(work);
        }
    });
    seen.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_claim_has_a_name_of_its_own() {
        let names: BTreeSet<String> = all().iter().map(|claim| format!("{claim:?}")).collect();
        assert_eq!(names.len(), all().len());
        assert!(all().iter().all(|claim| PROGRAMS.iter().any(|(name, _)| *name == claim.engine)));
    }
}
