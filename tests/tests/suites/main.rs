//! The suites' own programs, `loadline-conformance` and `loadline-engines`, as a person meets them.

#![forbid(unsafe_code)]

#[cfg(test)]
mod world;

use std::path::Path;

use loadline_tests::program;
use loadline_tests::require;
use loadline_tests::require::Facility;

use crate::world::{CASE, CONFORMANCE, call, installed, script};

#[test]
fn the_usual_runtime_and_the_probe_lie_beside_the_suite() {
    require!("the_usual_runtime_and_the_probe_lie_beside_the_suite": Facility::Root);
    let folder = tempfile::tempdir().unwrap();
    let bin = folder.path().join("bin");
    let tool = installed(&bin);
    let ran = program::run(folder.path(), &mut call(&tool, &["--filter", CASE])).unwrap();
    let line = format!("the runtime is {}\n", bin.join("loadline-runtime").display());
    assert_eq!(ran.stderr.matches(&line).count(), 1, "{}", ran.said());
    assert!(ran.stdout.contains("0 passed, 1 failed"), "{}", ran.said());
    assert!(!ran.stdout.contains("build the probe"), "{}", ran.said());
    assert_eq!(ran.code(), 1);
}

#[test]
fn a_runtime_that_is_named_is_the_one_in_path() {
    require!("a_runtime_that_is_named_is_the_one_in_path": Facility::Root);
    let folder = tempfile::tempdir().unwrap();
    let tool = installed(&folder.path().join("bin"));
    let other = folder.path().join("other");
    script(&other.join("loadline-runtime"), "exit 1");
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", other.display());
    let mut named = call(&tool, &["--runtime", "loadline-runtime", "--filter", CASE]);
    let ran = program::run(folder.path(), named.env("PATH", path)).unwrap();
    let line = format!("the runtime is {}\n", other.join("loadline-runtime").display());
    assert!(ran.stderr.contains(&line), "{}", ran.said());
}

#[test]
fn a_runtime_that_cannot_be_started_is_refused_at_once() {
    require!("a_runtime_that_cannot_be_started_is_refused_at_once": Facility::Root);
    let folder = tempfile::tempdir().unwrap();
    for runtime in ["/nonexistent", "/etc/", "/etc/passwd", "no-such-runtime"] {
        let mut suite = call(Path::new(CONFORMANCE), &["--runtime", runtime, "--filter", CASE]);
        let ran = program::run(folder.path(), &mut suite).unwrap();
        assert_eq!((ran.code(), ran.stdout.as_str()), (2, ""), "{runtime}: {}", ran.said());
    }
}
