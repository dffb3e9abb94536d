//! The program's verbs, from create to delete.

#![cfg(test)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod world;

use std::fs;
use std::io::{BufRead, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr};
use serde_json::{Value, json};
use world::{World, wait_for};

#[test]
fn a_container_is_created_started_killed_and_deleted() {
    let Some(world) = World::new("life") else { return };
    world.script("sleep 1000", |_| {});
    let pid_file = world.path("pid");
    let created = world.with_bundle("create", &["--pid-file", pid_file.to_str().unwrap()]);
    assert_eq!(created.code, 0, "{created:?}");
    assert_eq!(world.status(), "created");
    let state = world.runtime(&["state", &world.id]);
    let state: Value = serde_json::from_str(&state.out).unwrap();
    assert_eq!(state["pid"].to_string(), fs::read_to_string(&pid_file).unwrap());
    assert_eq!(state["bundle"], world.bundle().to_str().unwrap());
    assert_eq!(world.runtime(&["start", &world.id]).code, 0);
    assert_eq!(world.status(), "running");
    let refused = world.runtime(&["delete", &world.id]);
    assert!(refused.err.contains("not stopped: running"), "{refused:?}");
    assert_eq!(world.runtime(&["kill", &world.id, "KILL"]).code, 0);
    world.await_status("stopped");
    let late = world.runtime(&["kill", &world.id]);
    assert!(late.err.contains("container not running"), "{late:?}");
    assert_eq!(world.runtime(&["delete", &world.id]).code, 0);
    assert!(world.status().contains("does not exist"), "{}", world.status());
    world.assert_nothing_is_left();
}

#[test]
fn a_run_with_too_little_memory_to_begin_says_so() {
    let Some(world) = World::new("little") else { return };
    world.script("true", |config| {
        config["linux"]["resources"]["memory"] = json!({ "limit": 4096 });
    });
    let ran = world.run();
    assert!(ran.code != 0 && ran.err.contains("memory"), "{ran:?}");
    world.assert_nothing_is_left();
}

#[test]
fn a_poststop_hook_that_fails_keeps_no_other_from_running() {
    let Some(world) = World::new("poststop") else { return };
    let mark = world.path("mark");
    world.script("true", |config| {
        let args = json!(["touch", mark]);
        config["hooks"]["poststop"] =
            json!([{ "path": "/bin/false" }, { "path": "/usr/bin/touch", "args": args }]);
    });
    let ran = world.run();
    assert!(ran.err.contains("warning: run poststop hook: /bin/false"), "{ran:?}");
    assert!(ran.code == 0 && mark.exists(), "{ran:?}");
    world.assert_nothing_is_left();
    let log = world.path("log");
    assert_eq!(world.with_bundle("create", &[]).code, 0);
    let log_flags = ["--log", log.to_str().unwrap(), "--log-format", "json"];
    let deleted = world.runtime(&[&log_flags[..], &["delete", &world.id]].concat());
    assert_eq!(deleted.code, 0, "{deleted:?}");
    let line: Value = serde_json::from_str(&fs::read_to_string(&log).unwrap()).unwrap();
    assert_eq!(line["level"], "warning", "{line}");
    // An engine with a log takes what stands here for the container's own words.
    assert_eq!(deleted.err, "");
}

/// The kernel keeps such a signal from the first process of a pid namespace.
#[test]
fn a_signal_that_ends_processes_ends_a_container_that_awaits_its_start() {
    let Some(world) = World::new("killwait") else { return };
    world.script("echo > /ran", |config| config["root"]["readonly"] = json!(false));
    let mark = world.bundle().join("rootfs/ran");
    for (signal, ends) in [("TERM", true), ("HUP", true), ("WINCH", false), ("USR1", false)] {
        assert_eq!(world.with_bundle("create", &[]).code, 0);
        assert_eq!(world.runtime(&["kill", &world.id, signal]).code, 0, "{signal}");
        if ends {
            wait_for("the end", || world.status() == "stopped");
        } else {
            assert_eq!(world.runtime(&["start", &world.id]).code, 0, "{signal}");
            wait_for("what the program does", || mark.exists());
            fs::remove_file(&mark).unwrap();
        }
        assert_eq!(world.runtime(&["delete", "--force", &world.id]).code, 0);
    }
    world.assert_nothing_is_left();
}

/// Its socket ends as if the program were executed.
#[test]
fn start_tells_that_the_process_was_ended_before_its_program() {
    let Some(world) = World::new("endedhook") else { return };
    let mark = world.bundle().join("rootfs/hooked");
    world.script("true", |config| {
        config["root"]["readonly"] = json!(false);
        let args = json!(["sh", "-c", "echo > /hooked; sleep 30"]);
        config["hooks"]["startContainer"] = json!([{ "path": "/bin/sh", "args": args }]);
    });
    assert_eq!(world.with_bundle("create", &[]).code, 0);
    let mut start = world.command(&["start", &world.id]);
    let start = start.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("the hook", || mark.exists());
    assert_eq!(world.runtime(&["kill", &world.id, "TERM"]).code, 0);
    let started = start.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&started.stderr);
    assert_eq!(started.status.code(), Some(1), "{said}");
    assert!(said.contains("it was ended before"), "{said}");
    assert_eq!(world.runtime(&["delete", "--force", &world.id]).code, 0);
}

#[test]
fn an_error_does_not_tell_the_arguments_of_the_program() {
    let Some(world) = World::new("secretarg") else { return };
    let path = world.bundle().join("rootfs/broken");
    fs::write(&path, "#!/none\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    world.script("", |config| {
        config["process"]["args"] = json!(["/broken", "--password=secret"]);
    });
    let ran = world.run();
    assert!(ran.code != 0 && ran.err.contains("exec /broken)"), "{ran:?}");
    assert!(!ran.err.contains("secret"), "{ran:?}");
    assert_eq!(world.with_bundle("create", &[]).code, 0);
    let started = world.runtime(&["start", &world.id]);
    assert!(started.code != 0 && started.err.contains("program /broken ["), "{started:?}");
    assert!(!started.err.contains("secret"), "{started:?}");
    assert_eq!(world.runtime(&["delete", "--force", &world.id]).code, 0);
    world.assert_nothing_is_left();
}

#[test]
fn a_poststart_hook_that_fails_stops_the_container() {
    let Some(world) = World::new("poststart") else { return };
    world.script("sleep 1000", |config| {
        config["hooks"]["poststart"] = json!([{ "path": "/bin/false" }]);
    });
    assert_eq!(world.with_bundle("create", &[]).code, 0);
    let started = world.runtime(&["start", &world.id]);
    assert!(started.code == 1 && started.err.contains("run poststart hook"), "{started:?}");
    assert_eq!(world.status(), "stopped");
    assert_eq!(world.runtime(&["delete", &world.id]).code, 0);
    for flags in [&[][..], &["--detach"]] {
        let ran = world.with_bundle("run", flags);
        assert!(ran.code == 1 && ran.err.contains("run poststart hook"), "{ran:?}");
        world.assert_nothing_is_left();
    }
}

#[test]
fn hooks_of_start_and_delete_have_no_descriptor_of_the_caller() {
    let Some(world) = World::new("hookfds") else { return };
    let seen = world.path("seen");
    world.script("true", |config| {
        let script = format!("test -e /proc/self/fd/9; echo $? >>{}", seen.display());
        let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]);
        config["hooks"] = json!({ "poststart": hook, "poststop": hook });
    });
    assert_eq!(world.with_bundle("create", &[]).code, 0);
    for verb in [&["start"][..], &["delete", "--force"]] {
        let command = world.command(verb);
        let mut caller = Command::new("sh");
        caller.args(["-c", "exec 9</etc/passwd; exec \"$@\"", "sh"]).arg(command.get_program());
        let status = caller.args(command.get_args()).arg(&world.id).status().unwrap();
        assert!(status.success(), "{verb:?}: {status}");
    }
    assert_eq!(fs::read_to_string(&seen).unwrap(), "1\n1\n");
    world.assert_nothing_is_left();
}

#[test]
fn a_hook_may_write_more_than_is_kept() {
    let Some(world) = World::new("hookoutput") else { return };
    world.script("true", |config| {
        let script = "head -c 100000000 /dev/zero; echo the end >&2; exit 3";
        config["hooks"]["createRuntime"] =
            json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]);
    });
    let ran = world.run();
    assert!(ran.err.contains("the end") && ran.err.len() < 100_000, "{} bytes", ran.err.len());
    world.assert_nothing_is_left();
}

#[test]
fn a_start_that_was_killed_half_way_leaves_a_running_container() {
    let Some(world) = World::new("halfway") else { return };
    world.script("sleep 1000", |_| {});
    assert_eq!(world.with_bundle("create", &[]).code, 0);
    let socket = world.path("records").join(&world.id).join("start.sock");
    let (family, kind) = (AddressFamily::Unix, SockType::SeqPacket);
    let starter = nix::sys::socket::socket(family, kind, SockFlag::SOCK_CLOEXEC, None).unwrap();
    let address = UnixAddr::new(&socket).unwrap();
    nix::sys::socket::connect(starter.as_raw_fd(), &address).unwrap();
    world.await_status("running");
    assert!(socket.exists());
    let second = world.runtime(&["start", &world.id]);
    assert!(second.err.contains("has been started already"), "{second:?}");
    assert_eq!(world.runtime(&["delete", "--force", &world.id]).code, 0);
    world.assert_nothing_is_left();
}

#[test]
fn a_damaged_record_hides_no_other_container() {
    let Some(world) = World::new("damaged") else { return };
    world.script("sleep 1000", |_| {});
    assert_eq!(world.with_bundle("run", &["--detach"]).code, 0);
    let broken = world.path("records").join("broken");
    fs::create_dir(&broken).unwrap();
    fs::write(broken.join("container.json"), "{ not json").unwrap();
    let list = world.runtime(&["list", "--format", "json"]);
    assert_eq!(list.code, 0, "{list:?}");
    let rows: Value = serde_json::from_str(&list.out).unwrap();
    assert_eq!((rows.as_array().unwrap().len(), &rows[0]["id"]), (1, &json!(world.id)));
    assert!(list.err.contains("warning: container broken: "), "{list:?}");
    assert_eq!(world.runtime(&["delete", "--force", "broken"]).code, 0);
}

#[test]
fn a_mistake_on_the_command_line_is_logged_too() {
    let Some(world) = World::new("cli") else { return };
    let log = world.path("log");
    let words = ["--log", log.to_str().unwrap(), "--log-format", "json", "create", "--nosuch", "x"];
    let ran = world.runtime(&words);
    assert!(ran.code == 1 && ran.err.contains("flag provided but not defined"), "{ran:?}");
    let line: Value = serde_json::from_str(&fs::read_to_string(&log).unwrap()).unwrap();
    assert_eq!(line["msg"], "flag provided but not defined: --nosuch");
    let ran = world.runtime(&["frobnicate"]);
    assert!(ran.code == 3 && ran.err.contains("No help topic for 'frobnicate'"), "{ran:?}");
    for verb in ["create", "exec", "update", "ps"] {
        let ran = world.runtime(&[verb, "--help"]);
        let usage = format!("usage: loadline-runtime {verb}");
        assert!(ran.code == 0 && ran.out.contains(&usage), "{verb}: {ran:?}");
    }
}

#[test]
fn an_id_is_used_once() {
    let Some(world) = World::new("once") else { return };
    world.script("sleep 1000", |_| {});
    assert_eq!(world.with_bundle("create", &[]).code, 0);
    let second = world.with_bundle("create", &[]);
    assert_eq!(second.code, 1);
    assert!(second.err.contains("container with given ID already exists"), "{second:?}");
    assert_eq!(world.status(), "created");
}

#[test]
fn a_container_is_started_once() {
    let Some(world) = World::new("started") else { return };
    world.script("sleep 1000", |_| {});
    assert_eq!(world.with_bundle("create", &[]).code, 0);
    assert_eq!(world.runtime(&["start", &world.id]).code, 0);
    let second = world.runtime(&["start", &world.id]);
    assert_eq!(second.code, 1);
    assert!(second.err.contains("has been started already"), "{second:?}");
}

#[test]
fn run_gives_the_program_s_exit_code_and_leaves_nothing() {
    let Some(world) = World::new("exit") else { return };
    for (script, code) in [("exit 7", 7), ("true", 0), ("sh -c 'kill -9 $$'; exit $?", 137)] {
        world.script(script, |_| {});
        assert_eq!(world.run().code, code, "{script}");
        world.assert_nothing_is_left();
    }
}

#[test]
fn a_detached_run_returns_at_once_and_is_listed() {
    let Some(world) = World::new("detached") else { return };
    world.script("sleep 1000", |_| {});
    assert_eq!(world.with_bundle("run", &["--detach"]).code, 0);
    let list = world.runtime(&["list", "--format", "json"]);
    let list: Value = serde_json::from_str(&list.out).unwrap();
    assert_eq!(list[0]["id"], world.id.as_str());
    assert_eq!(list[0]["status"], "running");
    let ids = world.runtime(&["list", "--quiet"]);
    assert_eq!(ids.out, format!("{}\n", world.id));
    assert_eq!(world.runtime(&["delete", "--force", &world.id]).code, 0);
    assert_eq!(world.runtime(&["list", "-f", "json"]).out, "[]\n");
    world.assert_nothing_is_left();
}

#[test]
fn deleting_by_force_what_does_not_exist_is_no_error() {
    let Some(world) = World::new("absent") else { return };
    assert_eq!(world.runtime(&["delete", "--force", &world.id]).code, 0);
    assert_eq!(world.runtime(&["delete", &world.id]).code, 1);
}

#[test]
fn a_created_container_survives_the_death_of_nobody() {
    let Some(world) = World::new("unstarted") else { return };
    world.script("sleep 1000", |_| {});
    assert_eq!(world.with_bundle("create", &[]).code, 0);
    assert_eq!(world.runtime(&["kill", &world.id, "9"]).code, 0);
    world.await_status("stopped");
    assert_eq!(world.runtime(&["start", &world.id]).code, 1);
    assert_eq!(world.runtime(&["delete", &world.id]).code, 0);
    world.assert_nothing_is_left();
}

#[test]
fn every_process_is_killed_where_the_pid_namespace_is_the_host_s() {
    let Some(world) = World::new("hostpid") else { return };
    let marker = format!("{}-child", world.id);
    world.script(&format!("sh -c 'sleep 1000; : {marker}' & exec sleep 1000"), |config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "pid");
        config["mounts"][0] = json!({
            "destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"],
        });
    });
    assert_eq!(world.with_bundle("run", &["--detach"]).code, 0);
    assert_eq!(world.runtime(&["kill", &world.id, "KILL"]).code, 0);
    world.await_status("stopped");
    assert_eq!(world.runtime(&["delete", &world.id]).code, 0);
    world.assert_nothing_is_left();
}

#[test]
fn signal_0_asks_whether_the_process_is_there() {
    let Some(world) = World::new("zero") else { return };
    world.script("sleep 1000", |_| {});
    assert_eq!(world.with_bundle("run", &["--detach"]).code, 0);
    let asked = world.runtime(&["kill", &world.id, "0"]);
    assert_eq!(asked.code, 0, "{asked:?}");
    assert_eq!(world.status(), "running");
    assert_eq!(world.runtime(&["kill", &world.id, "KILL"]).code, 0);
    world.await_status("stopped");
    let asked = world.runtime(&["kill", &world.id, "0"]);
    assert!(asked.code == 1 && asked.err.contains("container not running"), "{asked:?}");
}

#[test]
fn the_version_has_runcs_lines_and_each_verb_its_help() {
    let Some(world) = World::new("help") else { return };
    let told = world.runtime(&["--version"]).out;
    let names: Vec<&str> = told.lines().filter_map(|line| line.split([':', ' ']).next()).collect();
    assert_eq!(names, ["loadline-runtime", "commit", "spec"], "{told}");
    let general = world.runtime(&["--help"]).out;
    let verbs = general.split("verbs:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let verbs = verbs.lines().flat_map(|line| line.trim().split(";  "));
    for verb in verbs.map(|line| line.split(' ').next().unwrap()) {
        for words in [[verb, "--help"], [verb, "-h"], ["help", verb]] {
            let ran = world.runtime(&words);
            let usage = format!("usage: loadline-runtime {verb}");
            assert!(ran.code == 0 && ran.out.starts_with(&usage), "{words:?}: {ran:?}");
        }
    }
}

#[test]
fn errors_are_logged_as_containerd_reads_them() {
    let Some(world) = World::new("log") else { return };
    let log = world.path("log.json");
    let log_flag = log.to_str().unwrap();
    let ran = world.runtime(&["--log", log_flag, "--log-format", "json", "state", &world.id]);
    assert_eq!(ran.code, 1);
    let line: Value = serde_json::from_str(&fs::read_to_string(&log).unwrap()).unwrap();
    assert_eq!(line["level"], "error");
    let message = line["msg"].as_str().unwrap();
    let expected = format!("container does not exist: {} (no record of it in ", world.id);
    assert!(message.starts_with(&expected), "{message}");
}

#[test]
fn a_configuration_of_spec_runs() {
    let Some(world) = World::new("spec") else { return };
    let bundle = world.path("fresh");
    fs::create_dir(&bundle).unwrap();
    let flag = bundle.to_str().unwrap();
    assert_eq!(world.runtime(&["spec", "--bundle", flag]).code, 0);
    let again = world.runtime(&["spec", "--bundle", flag]);
    assert!(again.err.contains("exists"), "{again:?}");
    let written = fs::read_to_string(bundle.join("config.json")).unwrap();
    fs::write(world.bundle().join("config.json"), written).unwrap();
    // The template has a terminal; `script` gives the runtime one.
    let line = format!(
        "{} --root {} run --bundle {} {}",
        env!("CARGO_BIN_EXE_loadline-runtime"),
        world.path("records").display(),
        world.bundle().display(),
        world.id,
    );
    let script = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut script) = script else {
        eprintln!("SKIPPED a_configuration_of_spec_runs: needs script(1)");
        return;
    };
    let mut keyboard = script.stdin.take().unwrap();
    keyboard.write_all(b"echo typed; exit 5\n").unwrap();
    let ran = script.wait_with_output().unwrap();
    assert_eq!(ran.status.code(), Some(5), "{ran:?}");
    assert!(String::from_utf8_lossy(&ran.stdout).contains("typed"), "{ran:?}");
    world.assert_nothing_is_left();
}

/// As `spec` and then `run` in a job without a terminal.
#[test]
fn input_that_ends_is_the_end_of_input_for_a_program_with_a_terminal() {
    let Some(world) = World::new("ttyend") else { return };
    let input = world.path("input");
    for (text, script, said) in [
        ("", "exec sh", ""),
        ("whole line\n", "exec cat", "whole line"),
        ("half a line", "exec cat; echo never", "half a line"),
        ("echo $((6 * 7))\nexit 3\n", "exec sh", "42"),
        ("echo $((6 * 7))\n", "exec sh", "42"),
        ("echo $((6 * 7))\n", "exec sh -i", "42"),
        ("echo a\nsleep 1\necho $((6 * 7))\n", "exec sh -i", "42"),
        ("echo $((6 * 7))\nsleep 1\n", "exec sh -i", "42"),
        // Each reader finds the end, not only the first.
        ("", "cat; cat; read line; echo $((6 * 7))", "42"),
        ("", "busybox stty -icanon; busybox head -c 3 >/dev/null; echo $((6 * 7))", "42"),
        ("", "busybox stty -icanon; sleep 1; busybox stty icanon; cat; exec sh -i", ""),
        ("", "busybox stty -icanon; busybox head -c 7 >/dev/null; busybox stty icanon; cat", ""),
    ] {
        world.script(script, |config| config["process"]["terminal"] = json!(true));
        fs::write(&input, text).unwrap();
        let bundle = world.bundle();
        let mut run = world.command(&["run", "-b", bundle.to_str().unwrap(), &world.id]);
        run.stdin(fs::File::open(&input).unwrap()).stdout(Stdio::piped());
        let mut run = run.spawn().unwrap();
        // A program that finds no end would stay, and its claim would say nothing.
        let began = Instant::now();
        while run.try_wait().unwrap().is_none() && began.elapsed() < Duration::from_secs(60) {
            sleep(Duration::from_millis(5));
        }
        if run.try_wait().unwrap().is_none() {
            assert_eq!(world.runtime(&["kill", &world.id, "KILL"]).code, 0);
        }
        let ran = run.wait_with_output().unwrap();
        let out = String::from_utf8_lossy(&ran.stdout).into_owned();
        assert!(out.contains(said), "{text:?}: {out:?}");
        let code = if text.ends_with("3\n") { 3 } else { 0 };
        assert_eq!(ran.status.code(), Some(code), "{text:?} for {script}: {out:?}");
    }
    world.assert_nothing_is_left();
}

/// The terminal takes a few thousand characters, and the program reads no more of them before its
/// own are read.
#[test]
fn input_of_any_length_reaches_a_program_that_writes_as_it_reads() {
    let Some(world) = World::new("ttylong") else { return };
    world.script("busybox stty -echo -opost; echo ready; exec cat", |config| {
        config["process"]["terminal"] = json!(true);
    });
    let bundle = world.bundle();
    let mut run = world.command(&["run", "-b", bundle.to_str().unwrap(), &world.id]);
    let mut run = run.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut input, output) = (run.stdin.take().unwrap(), run.stdout.take().unwrap());
    let mut output = std::io::BufReader::new(output);
    let mut first = String::new();
    output.read_line(&mut first).unwrap();
    assert_eq!(first, "ready\n");
    let text: String = (0..50_000).map(|number| format!("{number}\n")).collect();
    let told = text.clone();
    let writer = std::thread::spawn(move || input.write_all(told.as_bytes()));
    let id = world.id.clone();
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    let mut kill = world.command(&["kill", &id, "KILL"]);
    // What stands still says so, and does not stay.
    let guard = std::thread::spawn(move || {
        if is_done.recv_timeout(Duration::from_secs(60)).is_err() {
            let _ = kill.status();
        }
    });
    let mut all = String::new();
    output.read_to_string(&mut all).unwrap();
    done.send(()).unwrap();
    guard.join().unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(0));
    writer.join().unwrap().unwrap();
    assert!(all == text, "{} bytes of {}", all.len(), text.len());
    world.assert_nothing_is_left();
}

/// Whoever edits a whole screen writes a bare newline to go down.
#[test]
fn a_terminal_in_the_foreground_leaves_newlines_to_a_program_that_wants_them() {
    let Some(world) = World::new("rawtty") else { return };
    world.script("printf 'a\nb\n'; busybox stty raw; printf 'c\nd\n'", |config| {
        config["process"]["terminal"] = json!(true);
    });
    let bundle = world.bundle();
    let run = world.command(&["run", "-b", bundle.to_str().unwrap(), &world.id]);
    let words: Vec<&str> = std::iter::once(run.get_program())
        .chain(run.get_args())
        .map(|word| word.to_str().unwrap())
        .collect();
    let mut script = Command::new("script");
    script.args(["-qec", &words.join(" "), "/dev/null"]);
    let Ok(mut script) = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() else {
        eprintln!("SKIPPED rawtty: needs script(1)");
        return;
    };
    // Held, because it types the end of its input.
    let _keyboard = script.stdin.take();
    let ran = script.wait_with_output().unwrap();
    assert!(world::text(&ran).contains("a\r\nb\r\nc\nd\n"), "{ran:?}");
    world.assert_nothing_is_left();
}

#[test]
fn a_create_that_is_killed_takes_its_process_along_and_delete_finds_the_rest() {
    let Some(world) = World::new("killed") else { return };
    world.script("sleep 1000", |_| {});
    let bundle = world.bundle();
    for milliseconds in 0..25 {
        let mut create = world
            .command(&["create", "--bundle", bundle.to_str().unwrap(), &world.id])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Whatever it has done by then: the claim holds at every moment.
        sleep(Duration::from_millis(milliseconds));
        create.kill().unwrap();
        create.wait().unwrap();
        let deleted = world.runtime(&["delete", "--force", &world.id]);
        assert_eq!(deleted.code, 0, "{deleted:?}");
        world.assert_nothing_is_left();
    }
}

/// A `create` that was killed when it was about to refuse the cgroup, with which it had begun.
#[test]
fn a_delete_of_what_a_killed_create_left_spares_the_cgroup_of_others() {
    let Some(world) = World::new("spared") else { return };
    world.script("sleep 1000", |_| {});
    assert_eq!(world.with_bundle("run", &["--detach"]).code, 0);
    let record = world.path("records").join(&world.id).join("container.json");
    let record: Value = serde_json::from_slice(&fs::read(record).unwrap()).unwrap();
    let delete = |root: &str, since_ticks: u64, records_first: bool, is_damaged: bool| {
        let left = json!({
            "cgroup": record["cgroup"], "since_ticks": since_ticks, "records_first": records_first,
        });
        let folder = world.path(root).join("left");
        fs::create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink(left.to_string(), folder.join("cgroup")).unwrap();
        if is_damaged {
            fs::write(folder.join("container.json"), "{").unwrap();
        }
        let root = world.path(root);
        let deleted =
            world.runtime(&["--root", root.to_str().unwrap(), "delete", "--force", "left"]);
        assert_eq!((deleted.code, folder.exists()), (0, false), "{deleted:?}");
    };
    // Older than what was killed; of a container that is known; and of one that took the cgroup
    // since, as what executes a program was not what was killed before its record.
    delete("other", u64::MAX, false, false);
    assert_eq!(world.status(), "running");
    delete("records", 0, false, false);
    assert_eq!(world.status(), "running");
    delete("other", 0, true, false);
    assert_eq!(world.status(), "running");
    // Its own, which had a record.
    delete("other", 0, true, true);
    world.await_status("stopped");
    assert_eq!(world.runtime(&["delete", &world.id]).code, 0);
    // And its own, which may be a hook.
    assert_eq!(world.with_bundle("run", &["--detach"]).code, 0);
    delete("other", 0, false, false);
    world.await_status("stopped");
    assert_eq!(world.runtime(&["delete", &world.id]).code, 0);
    world.assert_nothing_is_left();
}

/// A hook of the container executes before there is a record, and may leave something running.
#[test]
fn a_create_that_is_killed_in_a_hook_of_the_container_leaves_nothing_after_a_forced_delete() {
    let Some(world) = World::new("killedhook") else { return };
    let (begun, go) = (world.path("begun"), world.path("go"));
    world.script("true", |config| {
        let (begun, go) = (begun.display(), go.display());
        let script = format!(
            "sleep 1000 < /dev/null > /dev/null 2>&1 & touch {begun}; \
             until [ -e {go} ]; do sleep 0.05; done"
        );
        let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]);
        config["hooks"] = json!({ "createContainer": hook });
        // Else what the hook left would end with the first process.
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "pid");
    });
    let bundle = world.bundle();
    let mut create = world.command(&["create", "--bundle", bundle.to_str().unwrap(), &world.id]);
    create.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut create = create.spawn().unwrap();
    wait_for("the hook", || begun.exists());
    create.kill().unwrap();
    create.wait().unwrap();
    fs::write(go, "").unwrap();
    let deleted = world.runtime(&["delete", "--force", &world.id]);
    assert_eq!(deleted.code, 0, "{deleted:?}");
    world.assert_nothing_is_left();
}

#[test]
fn features_are_json() {
    let Some(world) = World::new("features") else { return };
    let features: Value = serde_json::from_str(&world.runtime(&["features"]).out).unwrap();
    assert_eq!(features["ociVersionMin"], "1.0.0");
    assert!(features["mountOptions"].as_array().unwrap().contains(&json!("rro")));
}

#[test]
fn a_container_of_run_is_creating_until_its_program_is_executed() {
    let Some(world) = World::new("untilexec") else { return };
    world.script("sleep 1000", |config| {
        let wait = "until [ -e /tmp/go ]; do sleep 0.05; done";
        let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", wait] }]);
        config["hooks"] = json!({ "startContainer": hook });
    });
    let bundle = world.bundle();
    let args = ["run", "--detach", "--bundle", bundle.to_str().unwrap(), &world.id];
    let mut command = world.command(&args);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = command.spawn().unwrap();
    world.await_status("creating");
    let ran = world.runtime(&["exec", &world.id, "true"]);
    assert!(ran.code != 0 && ran.err.contains("not been created"), "{ran:?}");
    fs::write(world.rootfs().join("tmp/go"), "").unwrap();
    assert!(running.wait().unwrap().success());
    assert_eq!(world.status(), "running");
    assert_eq!(world.runtime(&["exec", &world.id, "true"]).code, 0);
    assert_eq!(world.runtime(&["delete", "--force", &world.id]).code, 0);
}

#[test]
fn debug_tells_each_step_in_the_log_or_on_standard_error() {
    let Some(world) = World::new("debug") else { return };
    world.script("true", |_| {});
    let bundle = world.bundle();
    let bundle = bundle.to_str().unwrap();
    let ran = world.runtime(&["--debug", "run", "-b", bundle, &world.id]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines: Vec<&str> = ran.err.lines().collect();
    assert!(lines.iter().all(|line| line.contains(" level=debug msg=\"")), "{ran:?}");
    let steps = lines.iter().filter(|line| line.contains("msg=\"step ")).count();
    assert!(steps > 5 && ran.err.contains("are the first process's"), "{ran:?}");
    assert!(ran.err.ends_with("msg=\"exit code 0\"\n"), "{ran:?}");
    let log = world.path("log.json");
    let to_log = ["--debug", "--log", log.to_str().unwrap(), "--log-format", "json"];
    let ran = world.runtime(&[&to_log[..], &["run", "-b", bundle, &world.id]].concat());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let logged = fs::read_to_string(&log).unwrap();
    let all: Vec<Value> = logged.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(all.len(), lines.len());
    assert!(all.iter().all(|line| line["level"] == "debug"), "{logged}");
    assert_eq!(world.run().err, "");
}

#[test]
fn a_log_that_cannot_be_opened_is_told_before_anything_is_done() {
    let Some(world) = World::new("nolog") else { return };
    world.script("true", |_| {});
    let bundle = world.bundle();
    let run = ["run", "-b", bundle.to_str().unwrap(), &world.id];
    let log = world.path("nosuch/log");
    let ran = world.runtime(&[&["--log", log.to_str().unwrap()], &run[..]].concat());
    let told = format!("loadline-runtime: open log {}: No such file", log.display());
    assert!(ran.code == 1 && ran.err.starts_with(&told), "{ran:?}");
    assert!(!world.path("records").exists());
    // One that is full is told once, and keeps nobody from running.
    let ran = world.runtime(&[&["--debug", "--log", "/dev/full"], &run[..]].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.err.starts_with("loadline-runtime: write log /dev/full: No space"), "{ran:?}");
    assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
}

#[test]
fn an_output_that_takes_nothing_is_named() {
    let Some(world) = World::new("fullout") else { return };
    world.script("sleep 1000", |_| {});
    assert_eq!(world.with_bundle("run", &["--detach"]).code, 0);
    let id = world.id.as_str();
    for words in [&["state", id][..], &["list"], &["ps", id], &["events", "--stats", id]] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let ran = world.command(words).stdout(full).output().unwrap();
        let err = String::from_utf8_lossy(&ran.stderr).into_owned();
        let told = "loadline-runtime: write to standard output: No space left";
        assert!(ran.status.code() == Some(1) && err.starts_with(told), "{words:?}: {err}");
    }
    assert_eq!(world.runtime(&["delete", "--force", id]).code, 0);
}

#[test]
fn a_process_is_in_the_cgroup_of_every_hierarchy() {
    let Some(world) = World::new("joined") else { return };
    world.script("sleep 1000", |_| {});
    assert_eq!(world.with_bundle("run", &["--detach"]).code, 0);
    let file = world.path("second.pid");
    let file = file.to_str().unwrap();
    let more = ["exec", "--detach", "--pid-file", file, &world.id, "sleep", "1000"];
    assert_eq!(world.runtime(&more).code, 0);
    let first = world.runtime(&["state", &world.id]).out;
    let first: Value = serde_json::from_str(&first).unwrap();
    let pids = [first["pid"].to_string(), fs::read_to_string(file).unwrap()];
    let cgroups = world.cgroups();
    assert!(!cgroups.is_empty());
    for cgroup in cgroups {
        let procs = fs::read_to_string(Path::new(&cgroup).join("cgroup.procs")).unwrap();
        let inside: Vec<&str> = procs.lines().collect();
        assert!(pids.iter().all(|pid| inside.contains(&pid.as_str())), "{cgroup}: {procs}");
    }
}

#[test]
fn a_process_that_dies_before_it_is_the_program_is_told_to_who_does_not_wait() {
    let Some(world) = World::new("early") else { return };
    world.script("sleep 1000", |config| {
        config["linux"]["resources"]["memory"] = json!({ "limit": 4096 });
    });
    let ran = world.with_bundle("run", &["--detach"]);
    assert_ne!(ran.code, 0, "{ran:?}");
    world.assert_nothing_is_left();
}

/// As one that is still being set up is.
#[test]
fn a_first_process_outside_of_its_cgroup_is_signalled_with_the_others() {
    let Some(world) = World::new("outside") else { return };
    world.script("sleep 1000", |config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "pid");
        config["process"]["args"] = json!(["sleep", "1000"]);
    });
    assert_eq!(world.with_bundle("run", &["--detach"]).code, 0);
    let state: Value = serde_json::from_str(&world.runtime(&["state", &world.id]).out).unwrap();
    let root = ["freezer", "."].map(|name| Path::new("/sys/fs/cgroup").join(name));
    let root = root.iter().find(|root| root.join("cgroup.procs").exists()).unwrap();
    fs::write(root.join("cgroup.procs"), state["pid"].to_string()).unwrap();
    assert_eq!(world.runtime(&["kill", "--all", &world.id, "TERM"]).code, 0);
    world.await_status("stopped");
}
