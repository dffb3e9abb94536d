//! Verbs on a container that lives, by the program's command line: exec, pause, resume, ps, update
//! and events. The containers run a static busybox.

#![cfg(test)]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, IoSliceMut, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde_json::{Value, json};

const RUNTIME: &str = env!("CARGO_BIN_EXE_loadline-runtime");
const BUSYBOX: &str = "/bin/busybox";
const DEADLINE: Duration = Duration::from_secs(30);
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// A container that sleeps, with a state folder of its own. Deleted on drop.
struct World {
    folder: tempfile::TempDir,
    id: String,
}

#[derive(Debug)]
struct Outcome {
    code: Option<i32>,
    out: String,
    err: String,
}

impl World {
    /// `None` (said on stderr) without what the test needs.
    fn new(test: &str, change: impl FnOnce(&mut Value)) -> Option<World> {
        let skip = |what: &str| {
            eprintln!("SKIPPED {test}: needs {what}");
            None
        };
        if !nix::unistd::geteuid().is_root() {
            return skip("root");
        }
        if !Path::new(BUSYBOX).exists() {
            return skip("a static /bin/busybox");
        }
        let folder = tempfile::tempdir().unwrap();
        // So that a user who is root in a user namespace only can go through.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let bin = folder.path().join("bundle/rootfs/bin");
        fs::create_dir_all(&bin).unwrap();
        for place in ["proc", "sys", "dev"] {
            fs::create_dir(folder.path().join("bundle/rootfs").join(place)).unwrap();
        }
        // By another process: a descriptor of this one, open for writing, would be inherited by
        // what other tests start at that moment, and the kernel executes no such file.
        let copied = Command::new("cp").arg(BUSYBOX).arg(bin.join("busybox")).status();
        assert!(copied.unwrap().success());
        for applet in ["sh", "sleep", "id", "ls", "cat", "env", "pwd", "tty", "tail"] {
            std::os::unix::fs::symlink("busybox", bin.join(applet)).unwrap();
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("cgt-live-{}-{number}", std::process::id());
        let world = World { folder, id };
        assert_eq!(world.runtime(&["spec", "--bundle", world.bundle()]).code, Some(0));
        let config = world.path("bundle/config.json");
        let mut spec: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
        spec["process"]["terminal"] = json!(false);
        spec["process"]["args"] = json!(["sleep", "1000"]);
        spec["root"]["readonly"] = json!(false);
        change(&mut spec);
        fs::write(&config, spec.to_string()).unwrap();
        let run = world.runtime(&["run", "--detach", "--bundle", world.bundle(), &world.id]);
        assert_eq!(run.code, Some(0), "{}", run.err);
        Some(world)
    }

    fn plain(test: &str) -> Option<World> {
        World::new(test, |_| {})
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    fn bundle(&self) -> &str {
        Box::leak(self.path("bundle").to_str().unwrap().to_owned().into_boxed_str())
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(RUNTIME);
        command.arg("--root").arg(self.path("state")).args(words);
        command.stdin(Stdio::null());
        command
    }

    fn runtime(&self, words: &[&str]) -> Outcome {
        // Files, not pipes: a container's process keeps what it inherits open.
        let mut command = self.command(words);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let out = self.path(&format!("out-{number}"));
        let err = self.path(&format!("err-{number}"));
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        let status = command.status().unwrap();
        let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        Outcome { code: status.code(), out: read(&out), err: read(&err) }
    }

    /// `exec` with these flags and this program.
    fn exec(&self, flags: &[&str], program: &[&str]) -> Outcome {
        let mut words = vec!["exec"];
        words.extend(flags);
        words.push(&self.id);
        words.extend(program);
        self.runtime(&words)
    }

    fn sh(&self, flags: &[&str], script: &str) -> Outcome {
        self.exec(flags, &["sh", "-c", script])
    }

    fn status(&self) -> String {
        let state: Value = serde_json::from_str(&self.runtime(&["state", &self.id]).out).unwrap();
        state["status"].as_str().unwrap().to_owned()
    }

    fn pid(&self) -> i64 {
        let state: Value = serde_json::from_str(&self.runtime(&["state", &self.id]).out).unwrap();
        state["pid"].as_i64().unwrap()
    }

    fn pids(&self) -> Vec<i64> {
        serde_json::from_str(&self.runtime(&["ps", "--format", "json", &self.id]).out).unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let deleted = self.runtime(&["delete", "--force", &self.id]);
        if !thread::panicking() {
            assert_eq!(deleted.code, Some(0), "{}", deleted.err);
        }
    }
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < DEADLINE, "still not: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn exec_is_inside_every_namespace_and_the_cgroup() {
    let Some(world) = World::plain("exec-inside") else { return };
    let pid = world.pid();
    let script =
        "for n in cgroup ipc mnt net pid time user uts; do readlink /proc/self/ns/$n; done";
    let out =
        world.exec(&[], &["busybox", "sh", "-c", &script.replace("readlink", "busybox readlink")]);
    let expected: String = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"]
        .map(|name| fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap())
        .map(|link| format!("{}\n", link.display()))
        .concat();
    assert_eq!(out.out, expected, "{}", out.err);
    let groups = world.exec(&[], &["cat", "/proc/self/cgroup"]).out;
    let first = world.sh(&[], "cat /proc/1/cgroup").out;
    assert_eq!(groups, first);
}

#[test]
fn exec_ends_as_its_program_does() {
    let Some(world) = World::plain("exec-codes") else { return };
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)] {
        assert_eq!(world.sh(&[], script).code, Some(code), "{script}");
    }
    let missing = world.exec(&[], &["nosuch"]);
    assert_eq!(missing.code, Some(255));
    assert!(
        missing.err.contains("\"nosuch\": executable file not found in $PATH"),
        "{}",
        missing.err
    );
    assert!(missing.err.contains("exec failed: "), "{}", missing.err);
    assert_eq!(world.status(), "running");
    wait_until("only the first process is left", || world.pids() == [world.pid()]);
}

#[test]
fn exec_takes_user_directory_environment_and_capabilities() {
    let Some(world) = World::plain("exec-flags") else { return };
    let flags = ["-u", "7:8", "-g", "9,10", "--cwd", "/proc", "-e", "A=b", "-e", "PATH=/bin"];
    let out = world.sh(&flags, "id; pwd; echo $A");
    assert_eq!(out.out, "uid=7 gid=8 groups=9,10\n/proc\nb\n", "{}", out.err);
    let caps = |flags: &[&str]| {
        let status = world.exec(flags, &["cat", "/proc/self/status"]).out;
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            u64::from_str_radix(line.trim(), 16).unwrap()
        };
        (value("CapEff:"), value("CapBnd:"), value("CapInh:"), value("CapAmb:"))
    };
    let (effective, bounding, _, _) = caps(&[]);
    let sys_time = 1 << 25;
    assert_eq!((effective & sys_time, bounding & sys_time), (0, 0));
    let expected = (effective | sys_time, bounding | sys_time, 0, 0);
    assert_eq!(caps(&["--cap", "CAP_SYS_TIME"]), expected);
    let status = world.exec(&["--no-new-privs=false"], &["cat", "/proc/self/status"]).out;
    assert!(status.contains("NoNewPrivs:\t0"), "{status}");
}

#[test]
fn exec_warns_of_what_is_no_capability_and_runs() {
    let Some(world) = World::plain("exec-caps") else { return };
    let told = "process.capabilities has what is no capability: CAP_NEXT";
    let out = world.exec(&["--cap", "CAP_NEXT,CAP_KILL"], &["id"]);
    assert!(out.code == Some(0) && out.err.contains(told), "{out:?}");
    let file = world.path("process.json");
    let process = json!({"cwd": "/", "args": ["id"], "user": {"uid": 0, "gid": 0},
        "env": ["PATH=/bin"], "capabilities": {"bounding": ["CAP_NEXT", "CAP_KILL"]}});
    fs::write(&file, process.to_string()).unwrap();
    let out = world.runtime(&["exec", "--process", file.to_str().unwrap(), &world.id]);
    assert!(out.code == Some(0) && out.err.contains(told), "{out:?}");
}

/// As runc's: what cannot be executed is 255, and a command line of another form is 1.
#[test]
fn exec_tells_a_program_that_did_not_run_from_a_wrong_command_line() {
    let Some(world) = World::plain("exec-codes") else { return };
    let id = world.id.clone();
    for (words, code, told) in [
        (vec!["exec"], 1, "exec: expected a container id"),
        (vec!["exec", "--nosuch", &id, "true"], 1, "flag provided but not defined: --nosuch"),
        (vec!["exec", "--preserve-fds", "x", &id, "true"], 1, "--preserve-fds"),
        (vec!["exec", &id], 255, "exec failed: process args cannot be empty"),
        (vec!["exec", "--user", "root", &id, "true"], 255, "exec failed: invalid value"),
        (vec!["exec", "--process", "/nosuch", &id], 255, "exec failed: read /nosuch"),
        (vec!["exec", "nosuch", "true"], 255, "exec failed: container does not exist: nosuch"),
        (vec!["exec", "../x", "true"], 255, "invalid container ID format: \"../x\""),
        (vec!["pause", "../x"], 1, "invalid container ID format: \"../x\""),
        (vec!["kill", &id, "NOPE"], 1, "unknown signal: \"NOPE\""),
        (vec!["nosuch"], 3, "No help topic for 'nosuch'"),
    ] {
        let out = world.runtime(&words);
        assert!(out.code == Some(code) && out.err.contains(told), "{words:?}: {out:?}");
    }
}

#[test]
fn limits_that_cannot_be_read_are_told_with_the_reason() {
    let Some(world) = World::plain("update-read") else { return };
    for (text, told) in [
        ("{bad", "line 1 column 2"),
        ("[]", "it is no JSON object"),
        (r#"{"memory":{"limit":"x"}}"#, "memory.limit: invalid type: string"),
    ] {
        let file = world.path("resources.json");
        fs::write(&file, text).unwrap();
        let out = world.runtime(&["update", "-r", file.to_str().unwrap(), &world.id]);
        let named = format!("read --resources {}: expected an object", file.display());
        assert!(out.err.contains(&named) && out.err.contains(told), "{text}: {out:?}");
        assert_eq!(out.code, Some(1), "{out:?}");
    }
    let out = world.runtime(&["update", "-r", "/nosuch", &world.id]);
    assert!(out.err.contains("read --resources /nosuch: ") && out.err.contains("No such file"));
}

#[test]
fn a_cgroup_that_is_not_there_and_a_number_out_of_range_are_told_in_words() {
    let Some(world) = World::plain("words") else { return };
    let out = world.runtime(&["exec", "--cgroup", "nosuch", &world.id, "true"]);
    assert!(out.err.contains("/nosuch: No such file or directory"), "{out:?}");
    let file = world.path("resources.json");
    fs::write(&file, r#"{"unified":{"cgroup.max.depth":"-5"}}"#).unwrap();
    let out = world.runtime(&["update", "-r", file.to_str().unwrap(), &world.id]);
    assert!(out.err.contains("the kernel takes no number as small"), "{out:?}");
}

#[test]
fn a_program_has_all_standard_descriptors_though_its_caller_has_none() {
    let Some(world) = World::plain("closed") else { return };
    let seen = "for n in 0 1 2; do [ -c /proc/self/fd/$n ] || exit 7$n; done";
    let exec = world.command(&["exec", &world.id, "sh", "-c", seen]);
    let mut caller = Command::new("sh");
    caller.args(["-c", "exec \"$@\" <&- >&- 2>&-", "sh"]).arg(exec.get_program());
    let status = caller.args(exec.get_args()).status().unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn exec_takes_a_process_file() {
    let Some(world) = World::plain("exec-file") else { return };
    let file = world.path("process.json");
    let process = json!({"cwd": "/", "args": ["sh", "-c", "echo $X; id -u"],
        "env": ["X=from-file", "PATH=/bin"], "user": {"uid": 5, "gid": 5}});
    fs::write(&file, process.to_string()).unwrap();
    let out = world.runtime(&["exec", "--process", file.to_str().unwrap(), &world.id]);
    assert_eq!((out.out.as_str(), out.code), ("from-file\n5\n", Some(0)), "{}", out.err);
    fs::write(&file, "{\"cwd\": 3}").unwrap();
    let out = world.runtime(&["exec", "--process", file.to_str().unwrap(), &world.id]);
    assert_eq!(out.code, Some(255));
    assert!(out.err.contains("process.json"), "{}", out.err);
    fs::write(
        &file,
        json!({"cwd": "bad", "args": ["x"], "user": {"uid": 0, "gid": 0}}).to_string(),
    )
    .unwrap();
    let out = world.runtime(&["exec", "--process", file.to_str().unwrap(), &world.id]);
    assert!(out.err.contains("process.cwd"), "{}", out.err);
}

#[test]
fn a_detached_exec_lives_on_and_says_its_pid() {
    let Some(world) = World::plain("exec-detach") else { return };
    let file = world.path("pid");
    let flags = ["--detach", "--pid-file", file.to_str().unwrap()];
    assert_eq!(world.exec(&flags, &["sleep", "1000"]).code, Some(0));
    let pid: i64 = fs::read_to_string(&file).unwrap().parse().unwrap();
    assert!(world.pids().contains(&pid));
    let table = world.runtime(&["ps", &world.id]).out;
    assert!(table.lines().any(|line| line.contains(&pid.to_string())), "{table}");
}

#[test]
fn exec_leaks_no_descriptor_and_passes_what_was_asked_for() {
    let Some(world) = World::plain("exec-fds") else { return };
    // 3 is what ls itself opens.
    let secret = File::open("/etc/passwd").unwrap();
    nix::fcntl::fcntl(&secret, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    let out = world.exec(&[], &["ls", "/proc/self/fd"]);
    assert_eq!(out.out, "0\n1\n2\n3\n", "{}", out.err);
    let passed = world.path("passed");
    fs::write(&passed, "hello").unwrap();
    let script = format!(
        "exec 3<{} ; exec \"$0\" --root {} exec --preserve-fds 1 {} sh -c 'cat <&3'",
        passed.display(),
        world.path("state").display(),
        world.id
    );
    let output = Command::new("sh").args(["-c", &script, RUNTIME]).stdin(Stdio::null()).output();
    assert_eq!(text(&output.unwrap()), "hello");
}

#[test]
fn exec_has_a_terminal_that_its_caller_receives() {
    let Some(world) = World::plain("exec-tty") else { return };
    let socket = world.path("console.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let mut command = world.command(&["exec", "--tty", "--detach", "--console-socket"]);
    command.arg(&socket).args([&world.id, "sh", "-c", "tty; exec sleep 1000"]);
    command.stdout(Stdio::null()).stderr(Stdio::inherit());
    let mut child = command.spawn().unwrap();
    let (stream, _) = listener.accept().unwrap();
    let mut data = [0; 64];
    let mut data = [IoSliceMut::new(&mut data)];
    let mut space = nix::cmsg_space!([i32; 1]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut data, Some(&mut space), flags).unwrap();
    let master = message
        .cmsgs()
        .unwrap()
        .find_map(|control| match control {
            ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
            _ => None,
        })
        .unwrap();
    assert!(child.wait().unwrap().success());
    let mut lines = BufReader::new(File::from(loadline_runtime::sys::fd::received(master))).lines();
    assert_eq!(lines.next().unwrap().unwrap().trim(), "/dev/pts/0");
    let without = world.exec(&["--console-socket", socket.to_str().unwrap()], &["id"]);
    assert!(without.err.contains("no terminal"), "{}", without.err);
}

#[test]
fn a_paused_container_stands_still_and_refuses_exec() {
    let Some(world) = World::plain("pause") else { return };
    let not_paused = world.runtime(&["resume", &world.id]);
    assert_eq!(not_paused.code, Some(1));
    assert!(not_paused.err.contains("container not paused"), "{}", not_paused.err);
    assert_eq!(world.runtime(&["pause", &world.id]).code, Some(0));
    assert_eq!(world.status(), "paused");
    let refused = world.exec(&[], &["id"]);
    assert_eq!(refused.code, Some(255));
    assert!(refused.err.contains("--ignore-paused"), "{}", refused.err);
    assert_eq!(world.runtime(&["pause", &world.id]).code, Some(1));
    assert_eq!(world.runtime(&["resume", &world.id]).code, Some(0));
    assert_eq!(world.status(), "running");
}

#[test]
fn a_stopped_container_refuses_what_needs_a_live_one() {
    let Some(world) = World::plain("stopped") else { return };
    assert_eq!(world.runtime(&["kill", &world.id, "KILL"]).code, Some(0));
    wait_until("stopped", || world.status() == "stopped");
    for words in [&["exec", "ID", "id"][..], &["pause", "ID"], &["update", "ID"]] {
        let words: Vec<&str> =
            words.iter().map(|word| if *word == "ID" { world.id.as_str() } else { word }).collect();
        let outcome = world.runtime(&words);
        assert_ne!(outcome.code, Some(0), "{words:?}");
        assert!(outcome.err.lines().count() == 1, "{words:?}: {}", outcome.err);
    }
    assert_ne!(world.runtime(&["events", "--stats", &world.id]).code, Some(0));
}

#[test]
fn update_changes_what_the_kernel_enforces() {
    let Some(world) = World::plain("update") else { return };
    let stats = |world: &World| -> Value {
        serde_json::from_str(&world.runtime(&["events", "--stats", &world.id]).out).unwrap()
    };
    let update = world.runtime(&["update", "--memory", "64m", "--pids-limit", "9", &world.id]);
    assert_eq!(update.code, Some(0), "{}", update.err);
    let data = &stats(&world)["data"];
    assert_eq!(data["memory"]["usage"]["limit"], 64 << 20);
    assert_eq!(data["pids"]["limit"], 9);
    assert!(data["cpu"]["usage"]["total"].as_u64().unwrap() > 0);
    let file = world.path("resources.json");
    fs::write(&file, json!({"memory": {"limit": 128 << 20}}).to_string()).unwrap();
    let update = world.runtime(&["update", "-r", file.to_str().unwrap(), &world.id]);
    assert_eq!(update.code, Some(0), "{}", update.err);
    let mut child =
        world.command(&["update", "-r", "-", &world.id]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"{\"pids\": {\"limit\": 10}}").unwrap();
    assert!(child.wait().unwrap().success());
    let data = &stats(&world)["data"];
    assert_eq!(data["memory"]["usage"]["limit"], 128 << 20);
    assert_eq!(data["pids"]["limit"], 10);
    let record = fs::read(world.path("state").join(&world.id).join("container.json")).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    let recorded = &record["config"]["linux"]["resources"];
    assert_eq!(recorded["memory"]["limit"], 128 << 20);
    assert_eq!(recorded["pids"]["limit"], 10);
    // There is no such disk, which the kernel says when the other values are written already.
    let disk = json!([{ "major": 4000, "minor": 0, "rate": 1 << 20 }]);
    let wrong = json!({ "memory": { "limit": 256 << 20 }, "pids": { "limit": 11 },
        "blockIO": { "throttleReadBpsDevice": disk } });
    fs::write(&file, wrong.to_string()).unwrap();
    let wrong = world.runtime(&["update", "-r", file.to_str().unwrap(), &world.id]);
    assert!(wrong.code == Some(1) && wrong.err.contains("nothing was changed: "), "{wrong:?}");
    let data = &stats(&world)["data"];
    assert_eq!(data["memory"]["usage"]["limit"], 128 << 20, "{wrong:?}");
    assert_eq!(data["pids"]["limit"], 10, "{wrong:?}");
    let refused = world.runtime(&["update", "--cpu-quota", "3", &world.id]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("at least 1000 us"), "{}", refused.err);
}

#[test]
fn events_tell_statistics_and_oom_kills_and_end_with_the_container() {
    let limit = |spec: &mut Value| {
        spec["linux"]["resources"]["memory"] = json!({"limit": 32 << 20, "swap": 32 << 20});
    };
    let Some(world) = World::new("events", limit) else { return };
    let mut command = world.command(&["events", "--interval", "20ms", &world.id]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || -> Option<Value> {
        lines.next().map(|line| serde_json::from_str(&line.unwrap()).unwrap())
    };
    let first = next().unwrap();
    assert_eq!((&first["type"], &first["id"]), (&json!("stats"), &json!(world.id)));
    assert_eq!(world.exec(&[], &["tail", "/dev/zero"]).code, Some(137));
    let started = Instant::now();
    while next().unwrap()["type"] != "oom" {
        assert!(started.elapsed() < DEADLINE, "no oom event");
    }
    assert_eq!(world.status(), "running");
    assert_eq!(world.runtime(&["kill", &world.id, "KILL"]).code, Some(0));
    while next().is_some() {}
    assert!(child.wait().unwrap().success());
}

#[test]
fn exec_enters_a_user_namespace_as_its_root() {
    let map = |spec: &mut Value| {
        let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.push(json!({"type": "user"}));
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
        spec["linux"]["uidMappings"] = map.clone();
        spec["linux"]["gidMappings"] = map;
    };
    let Some(world) = World::new("exec-userns", map) else { return };
    let out = world.sh(&[], "id -u; cat /proc/self/uid_map");
    assert_eq!(out.out.split_whitespace().collect::<Vec<_>>(), ["0", "0", "100000", "65536"]);
    let mut host_uid = String::new();
    let flags = ["--detach", "--user", "3"];
    assert_eq!(world.exec(&flags, &["sleep", "1000"]).code, Some(0));
    let first = world.pid();
    let pid = world.pids().into_iter().find(|pid| *pid != first).unwrap();
    File::open(format!("/proc/{pid}/status")).unwrap().read_to_string(&mut host_uid).unwrap();
    assert!(host_uid.contains("Uid:\t100003\t"), "{host_uid}");
}
