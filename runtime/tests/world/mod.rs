//! A small world for tests of the program: a bundle around busybox, a folder of records, and an
//! audit that nothing of a container is left.
//!
//! A test that cannot run prints `SKIPPED <test>: needs <facility>` and returns; these lines are
//! counted.

#![allow(dead_code, reason = "each test binary uses a part of this")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long a condition is waited for on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

const BUSYBOX: &str = "/bin/busybox";
const APPLETS: [&str; 24] = [
    "sh", "cat", "ls", "id", "mount", "env", "sleep", "true", "false", "grep", "stat", "tty",
    "touch", "mkdir", "pwd", "wc", "kill", "head", "dd", "readlink", "hostname", "rm", "echo",
    "printf",
];

/// A bundle, a folder of records, and an id that no other test has.
pub(crate) struct World {
    dir: tempfile::TempDir,
    /// The container's id.
    pub(crate) id: String,
}

/// What a command gave.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The exit code; 128 and more for a signal.
    pub(crate) code: i32,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

impl World {
    /// A world for this test, or `None` (and a line that says why) where it cannot run.
    pub(crate) fn new(test: &str) -> Option<World> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("SKIPPED {test}: needs root");
            return None;
        }
        if !Path::new(BUSYBOX).exists() {
            eprintln!("SKIPPED {test}: needs {BUSYBOX} (Debian's busybox-static)");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let id = format!("rt-{test}-{}", std::process::id());
        let world = World { dir, id };
        let rootfs = world.rootfs();
        for folder in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
            fs::create_dir_all(rootfs.join(folder)).unwrap();
        }
        copy_program(BUSYBOX, &rootfs.join("bin/busybox"));
        for applet in APPLETS {
            symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
        }
        fs::write(rootfs.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
        world.config(|_| {});
        Some(world)
    }

    /// The bundle's folder.
    pub(crate) fn bundle(&self) -> PathBuf {
        self.dir.path().join("bundle")
    }

    /// The root filesystem's folder.
    pub(crate) fn rootfs(&self) -> PathBuf {
        self.bundle().join("rootfs")
    }

    /// A path in the world's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes config.json: the template, changed.
    pub(crate) fn config(&self, change: impl FnOnce(&mut Value)) {
        let mut config = template();
        change(&mut config);
        fs::write(self.bundle().join("config.json"), config.to_string()).unwrap();
    }

    /// Writes config.json with this shell script as the program, and changes it.
    pub(crate) fn script(&self, script: &str, change: impl FnOnce(&mut Value)) {
        self.config(|config| {
            config["process"]["args"] = json!(["sh", "-c", script]);
            change(config);
        });
    }

    /// Runs the program with these arguments.
    pub(crate) fn runtime(&self, args: &[&str]) -> Ran {
        // Into files: a container that outlives the command would keep a pipe open.
        let (out, err) = (self.path("out"), self.path("err"));
        let status = self
            .command(args)
            .stdin(Stdio::null())
            .stdout(fs::File::create(&out).unwrap())
            .stderr(fs::File::create(&err).unwrap())
            .status()
            .unwrap();
        let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        Ran { code: status.code().unwrap_or(255), out: read(&out), err: read(&err) }
    }

    /// The command with these arguments.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_loadline-runtime"));
        command.arg("--root").arg(self.path("records")).args(args);
        command
    }

    /// Runs a verb that takes the bundle.
    pub(crate) fn with_bundle(&self, verb: &str, flags: &[&str]) -> Ran {
        let bundle = self.bundle();
        let mut args = vec![verb, "--bundle", bundle.to_str().unwrap()];
        args.extend(flags);
        args.push(&self.id);
        self.runtime(&args)
    }

    /// `run`, and what it gave.
    pub(crate) fn run(&self) -> Ran {
        self.with_bundle("run", &[])
    }

    /// Runs a shell script in a container of this configuration; it must succeed.
    pub(crate) fn shell(&self, script: &str, change: impl FnOnce(&mut Value)) -> String {
        self.script(script, change);
        let ran = self.run();
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.out
    }

    /// The status that `state` prints, or what it says instead.
    pub(crate) fn status(&self) -> String {
        let ran = self.runtime(&["state", &self.id]);
        match serde_json::from_str::<Value>(&ran.out) {
            Ok(state) => state["status"].as_str().unwrap().to_owned(),
            Err(_) => ran.err,
        }
    }

    /// Waits for a status.
    pub(crate) fn await_status(&self, expected: &str) {
        wait_for(&format!("status {expected}"), || self.status() == expected);
    }

    /// Asserts that no record, cgroup, process or mount of the container is left.
    pub(crate) fn assert_nothing_is_left(&self) {
        let mut left = self.left();
        let started = Instant::now();
        // A process that was killed may take a moment to be gone.
        while !left.is_empty() && started.elapsed() < PATIENCE {
            sleep(Duration::from_millis(20));
            left = self.left();
        }
        assert_eq!(left, Vec::<String>::new());
    }

    fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        let records = fs::read_dir(self.path("records")).into_iter().flatten().flatten();
        left.extend(records.map(|entry| entry.path().display().to_string()));
        left.extend(self.cgroups());
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let inside = self.dir.path().to_str().unwrap().to_owned();
        left.extend(mounts.lines().filter(|line| line.contains(&inside)).map(str::to_owned));
        left.extend(processes_with(&self.id));
        left
    }

    /// The container's cgroups that are left.
    pub(crate) fn left_cgroups(&self) -> Vec<String> {
        self.cgroups()
    }

    /// By the name that the cgroupfs driver gives them, or systemd.
    /// The directories of the container's cgroup, in every hierarchy.
    pub(crate) fn cgroups(&self) -> Vec<String> {
        let scope = format!("*-{}.scope", self.id);
        let find = Command::new("find")
            .args(["/sys/fs/cgroup", "-maxdepth", "6", "-type", "d"])
            .args(["(", "-name", &self.id, "-o", "-name", &scope, ")"])
            .output()
            .unwrap();
        String::from_utf8(find.stdout).unwrap().lines().map(str::to_owned).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A failed test must not leave a container behind for the next one.
        let _ = self.command(&["delete", "--force", &self.id]).output();
    }
}

/// `spec`'s configuration, without a terminal.
pub(crate) fn template() -> Value {
    let mut config: Value = serde_json::from_str(include_str!("../../src/template.json")).unwrap();
    config["process"]["terminal"] = json!(false);
    config
}

/// Copies a program. By another process: a descriptor of this one, open for writing, would be
/// inherited by what other tests start at that moment, and the kernel executes no such file.
pub(crate) fn copy_program(from: &str, to: &Path) {
    let copied = Command::new("cp").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

/// Waits until something is so.
pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "{what} did not come");
        sleep(Duration::from_millis(10));
    }
}

/// Adds an element to an array of the configuration.
pub(crate) fn push(array: &mut Value, element: Value) {
    array.as_array_mut().unwrap().push(element);
}

/// Processes whose command line has this text, zombies and the test itself left out.
fn processes_with(text: &str) -> Vec<String> {
    let own = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let is_zombie = stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z"));
        if line.contains(text) && name != own && !is_zombie {
            found.push(format!("process {name}: {line}"));
        }
    }
    found
}

/// Standard output as text.
pub(crate) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
