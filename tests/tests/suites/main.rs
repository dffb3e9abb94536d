//! The suites' own programs, `loadline-conformance` and `loadline-engines`, as a person meets them.

#![forbid(unsafe_code)]

#[cfg(test)]
mod world;

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use loadline_tests::program;
use loadline_tests::require;
use loadline_tests::require::Facility;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::world::{CASE, CONFORMANCE, ENGINES, call, installed, script};

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

#[test]
fn the_first_signal_lets_what_is_under_way_end_and_clean_up() {
    require!("the_first_signal_lets_what_is_under_way_end_and_clean_up": Facility::Root);
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let folder = tempfile::tempdir().unwrap();
        let (runtime, calls) = (folder.path().join("slow"), folder.path().join("calls"));
        let log = calls.display();
        script(&runtime, &format!("echo begun >>{log}; sleep 1; echo ended >>{log}; exit 1"));
        let (made, out) = (folder.path().join("made"), folder.path().join("out"));
        fs::create_dir(&made).unwrap();
        let arguments = ["--runtime", runtime.to_str().unwrap(), "--filter", "lifecycle/"];
        let mut suite = call(Path::new(CONFORMANCE), &arguments);
        suite.env("TMPDIR", &made).env_remove("CARGO").process_group(0);
        let err = folder.path().join("err");
        suite.stdout(fs::File::create(&out).unwrap()).stderr(fs::File::create(&err).unwrap());
        let mut child = suite.spawn().unwrap();
        program::until("a call begins", || Ok(calls.exists().then_some(()))).unwrap();
        // As a terminal does it: to the whole group.
        killpg(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
        let status = program::wait(&mut child, Duration::from_secs(30)).unwrap();
        let read = |path| fs::read_to_string(path).unwrap();
        let (out, err, calls) = (read(&out), read(&err), read(&calls));
        assert_eq!(status.and_then(|status| status.code()), Some(code), "{out} {err}");
        assert!(out.ends_with("0 passed, 1 failed, 0 skipped\n"), "{out}");
        assert!(err.contains("no more cases begin") && err.contains("ended by"), "{err}");
        assert_eq!(calls.matches("begun").count(), calls.matches("ended").count(), "{calls}");
        assert_eq!(fs::read_dir(&made).unwrap().count(), 0, "folders are left");
    }
}

#[test]
fn the_second_signal_ends_the_suite_at_once() {
    require!("the_second_signal_ends_the_suite_at_once": Facility::Root);
    let folder = tempfile::tempdir().unwrap();
    let (runtime, called) = (folder.path().join("slow"), folder.path().join("called"));
    script(&runtime, &format!("touch {}; exec sleep 20", called.display()));
    let arguments = ["--runtime", runtime.to_str().unwrap(), "--filter", CASE];
    let mut suite = call(Path::new(CONFORMANCE), &arguments);
    let err = folder.path().join("err");
    suite.env("TMPDIR", folder.path()).env_remove("CARGO");
    let mut child = suite.stderr(fs::File::create(&err).unwrap()).spawn().unwrap();
    program::until("a call begins", || Ok(called.exists().then_some(()))).unwrap();
    let (pid, begun) = (Pid::from_raw(child.id().try_into().unwrap()), Instant::now());
    kill(pid, Signal::SIGINT).unwrap();
    let told = || Ok(fs::read_to_string(&err)?.contains("no more cases").then_some(()));
    program::until("the first is told", told).unwrap();
    // Two at once are one request: timeout(1) sends two.
    kill(pid, Signal::SIGTERM).unwrap();
    std::thread::sleep(Duration::from_millis(600));
    assert!(child.try_wait().unwrap().is_none(), "a second signal at once ends the suite");
    kill(pid, Signal::SIGTERM).unwrap();
    let status = program::wait(&mut child, Duration::from_secs(30)).unwrap();
    assert_eq!(status.and_then(|status| status.code()), Some(143));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn a_reader_that_leaves_ends_a_list_quietly_and_a_full_disk_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    for suite in [CONFORMANCE, ENGINES] {
        let shell = |script: &str| {
            let mut shell = program::command(Path::new("/bin/sh"));
            program::run(folder.path(), shell.args(["-c", script, "sh", suite])).unwrap()
        };
        let left = shell("{ sleep 0.2; \"$1\" --list; echo code $? >&2; } | true");
        assert_eq!(left.stderr, "code 0\n");
        let full = shell("\"$1\" --list >/dev/full");
        assert_eq!((full.code(), full.stderr.lines().count()), (1, 1), "{}", full.said());
        assert!(full.stderr.contains("No space left"), "{}", full.said());
        // Nobody can be told, and nothing panics.
        assert_eq!(shell("\"$1\" --list >/dev/full 2>&1").code(), 1);
        assert_eq!(shell("\"$1\" --filter no/such 2>/dev/full").code(), 2);
    }
}

#[test]
fn results_that_cannot_be_printed_are_written_all_the_same() {
    require!("results_that_cannot_be_printed_are_written_all_the_same": Facility::Root);
    let folder = tempfile::tempdir().unwrap();
    let runtime = folder.path().join("refuses");
    script(&runtime, "echo no >&2; exit 1");
    let run = |more: &str| {
        let script = format!(
            "\"$1\" --runtime {} --filter {CASE} --junit /dev/full --tap {}/tap {more}",
            runtime.display(),
            folder.path().display()
        );
        let mut shell = program::command(Path::new("/bin/sh"));
        program::run(folder.path(), shell.args(["-c", &script, "sh", CONFORMANCE])).unwrap()
    };
    let ran = run(">/dev/full");
    assert_eq!(ran.code(), 1, "{}", ran.said());
    assert_eq!(ran.stderr.matches("No space left").count(), 2, "{}", ran.said());
    assert!(fs::read_to_string(folder.path().join("tap")).unwrap().contains("not ok 1"));
    assert_eq!(run(">/dev/full 2>&1").code(), 1);
}

#[test]
fn a_file_that_cannot_be_written_is_told_before_the_run() {
    require!("a_file_that_cannot_be_written_is_told_before_the_run": Facility::Root);
    let folder = tempfile::tempdir().unwrap();
    let (runtime, called) = (folder.path().join("refuses"), folder.path().join("called"));
    script(&runtime, &format!("touch {}; exit 1", called.display()));
    for option in ["--tap", "--junit", "--markdown"] {
        let arguments = ["--runtime", runtime.to_str().unwrap(), option, "/nonexistent/file"];
        let ran = program::run(folder.path(), &mut call(Path::new(CONFORMANCE), &arguments));
        let ran = ran.unwrap();
        assert_eq!((ran.code(), called.exists()), (2, false), "{}", ran.said());
        assert!(ran.stderr.contains("write /nonexistent/file: No such file"), "{}", ran.said());
    }
}

#[test]
fn runtimes_with_one_file_name_are_told_apart() {
    require!("runtimes_with_one_file_name_are_told_apart": Facility::Root);
    let folder = tempfile::tempdir().unwrap();
    let [one, two] = ["one", "two"].map(|name| folder.path().join(name).join("runtime"));
    script(&one, "exit 1");
    script(&two, "exit 1");
    let (one, two) = (one.to_str().unwrap(), two.to_str().unwrap());
    let arguments = ["--runtime", one, "--peer", two, "--peer", "/bin/false", "--filter", CASE];
    let ran = program::run(folder.path(), &mut call(Path::new(CONFORMANCE), &arguments)).unwrap();
    let head = ran.stdout.lines().next().unwrap_or_default();
    assert!(head.ends_with(&format!("  {one}  {two}  false")), "{head}");
}

#[test]
fn the_suites_tell_their_version_and_refuse_no_patience() {
    let folder = tempfile::tempdir().unwrap();
    for suite in [CONFORMANCE, ENGINES] {
        let run = |arguments: &[&str]| {
            program::run(folder.path(), &mut call(Path::new(suite), arguments)).unwrap()
        };
        assert!(run(&["--version"]).stdout.ends_with(concat!(env!("CARGO_PKG_VERSION"), "\n")));
        assert_eq!(run(&["--list", "--patience", "0"]).code(), 2);
    }
}
