//! checkpoint and restore, by the program's command line. What needs a criu that works on this
//! kernel is skipped where there is none; how failures end is tested everywhere.

#![cfg(test)]

mod world;

use std::fs;
use std::io::{BufRead, BufReader, IoSliceMut, Write};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde_json::{Value, json};
use world::{World, wait_for};

/// Counts in a file of the container, for ever.
const COUNT: &str = "i=0; while :; do i=$((i + 1)); echo $i > /tmp/i; sleep 0.05; done";

fn writable(config: &mut Value) {
    config["root"]["readonly"] = json!(false);
}

/// A world with a criu that works, or `None` and a line that says why not.
fn with_criu(test: &str) -> Option<World> {
    let world = World::new(test)?;
    let check = Command::new("criu").arg("check").output();
    if !check.is_ok_and(|check| check.status.success()) {
        eprintln!("SKIPPED {test}: needs a criu that works on this kernel");
        return None;
    }
    Some(world)
}

/// Does a verb that a container outlives: nothing of it leads to files of the host.
fn quiet(world: &World, verb: &[&str], output: impl Into<Stdio>) {
    let log = world.path("log");
    let args = [&["--log", log.to_str().unwrap()], verb].concat();
    let mut command = world.command(&args);
    command.stdin(Stdio::null()).stdout(output).stderr(Stdio::null());
    let status = command.status().unwrap();
    let said = || fs::read_to_string(&log).unwrap_or_default();
    assert!(status.success(), "{verb:?}: {}", said());
}

fn start(world: &World, output: impl Into<Stdio>) {
    let bundle = world.bundle();
    quiet(world, &["run", "--detach", "--bundle", bundle.to_str().unwrap(), &world.id], output);
}

fn checkpoint(world: &World, images: &str, flags: &[&str]) {
    let images = world.path(images);
    let verb = ["checkpoint", "--image-path", images.to_str().unwrap()];
    quiet(world, &[&verb[..], flags, &[&world.id]].concat(), Stdio::null());
}

fn restore(world: &World, images: &str, output: impl Into<Stdio>) {
    let (bundle, images) = (world.bundle(), world.path(images));
    let paths = ["--bundle", bundle.to_str().unwrap(), "--image-path", images.to_str().unwrap()];
    quiet(world, &[&["restore", "--detach"], &paths[..], &[&world.id]].concat(), output);
}

/// How far the container has counted.
fn count(world: &World) -> u64 {
    let text = fs::read_to_string(world.rootfs().join("tmp/i")).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

fn end(world: &World) {
    assert_eq!(world.runtime(&["delete", "--force", &world.id]).code, 0);
    world.assert_nothing_is_left();
}

#[test]
fn a_container_goes_on_where_it_was() {
    let Some(world) = with_criu("a_container_goes_on_where_it_was") else { return };
    world.script(COUNT, writable);
    start(&world, Stdio::null());
    wait_for("a count", || count(&world) > 3);
    checkpoint(&world, "images", &[]);
    world.assert_nothing_is_left();
    let reached = count(&world);
    restore(&world, "images", Stdio::null());
    assert_eq!(world.status(), "running");
    wait_for("a higher count", || count(&world) > reached);
    let ran = world.runtime(&["exec", &world.id, "cat", "/proc/1/comm"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "sh\n"), "{ran:?}");
    assert!(!world.left_cgroups().is_empty(), "it has no cgroup of its own");
    end(&world);
}

#[test]
fn a_container_of_a_service_manager_is_restored_for_one() {
    let Some(world) = with_criu("a_container_of_a_service_manager_is_restored_for_one") else {
        return;
    };
    world.script(COUNT, writable);
    let (bundle, images) = (world.bundle(), world.path("images"));
    let bundle = ["--bundle", bundle.to_str().unwrap()];
    let with_manager = |verb: &[&str]| {
        let mut command = world.command(&[verb, &bundle, &[&world.id]].concat());
        command.env("NOTIFY_SOCKET", "/run/nobody").stdin(Stdio::null());
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(status.unwrap().success(), "{verb:?}");
    };
    with_manager(&["create"]);
    assert_eq!(world.runtime(&["start", &world.id]).code, 0);
    wait_for("a count", || count(&world) > 3);
    checkpoint(&world, "images", &[]);
    let reached = count(&world);
    with_manager(&["restore", "--detach", "--image-path", images.to_str().unwrap()]);
    wait_for("a higher count", || count(&world) > reached);
    let ran = world.runtime(&["exec", &world.id, "grep", "-c", "/run/notify", "/proc/self/mounts"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "1\n"), "{ran:?}");
    end(&world);
}

#[test]
fn leave_running_leaves_it_running() {
    let Some(world) = with_criu("leave_running_leaves_it_running") else { return };
    world.script(COUNT, writable);
    start(&world, Stdio::null());
    wait_for("a count", || count(&world) > 3);
    checkpoint(&world, "images", &["--leave-running"]);
    let reached = count(&world);
    wait_for("a higher count", || count(&world) > reached);
    assert_eq!(world.status(), "running");
    end(&world);
}

#[test]
fn a_pre_dump_is_the_parent_of_the_checkpoint() {
    let Some(world) = with_criu("a_pre_dump_is_the_parent_of_the_checkpoint") else { return };
    world.script(COUNT, writable);
    start(&world, Stdio::null());
    wait_for("a count", || count(&world) > 3);
    checkpoint(&world, "first", &["--pre-dump"]);
    assert_eq!(world.status(), "running");
    checkpoint(&world, "second", &["--parent-path", "../first"]);
    assert!(world.path("second/parent").is_symlink());
    let reached = count(&world);
    restore(&world, "second", Stdio::null());
    wait_for("a higher count", || count(&world) > reached);
    end(&world);
}

/// A pipe of which the container has one end.
fn pipe() -> (BufReader<std::io::PipeReader>, std::io::PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    (BufReader::new(reader), writer)
}

fn next_number(from: &mut impl BufRead) -> u64 {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    line.trim().parse().unwrap_or_else(|_| panic!("{line:?}"))
}

#[test]
fn a_restored_container_writes_to_the_pipe_of_whoever_restores() {
    let test = "a_restored_container_writes_to_the_pipe_of_whoever_restores";
    let Some(world) = with_criu(test) else { return };
    let script = "i=0; while :; do i=$((i + 1)); echo $i; sleep 0.05; done";
    world.script(script, |_| {});
    let (mut reader, writer) = pipe();
    start(&world, writer);
    let reached = (0..3).map(|_| next_number(&mut reader)).max().unwrap();
    checkpoint(&world, "images", &[]);
    let (mut reader, writer) = pipe();
    restore(&world, "images", writer);
    assert!(next_number(&mut reader) > reached);
    end(&world);
}

/// A process beside the container; killed on drop.
struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_was_outside_is_outside_again() {
    let Some(world) = with_criu("what_was_outside_is_outside_again") else { return };
    let holder = Command::new("unshare").args(["--net", "sleep", "1000"]).spawn().unwrap();
    let holder = Holder(holder);
    let network = format!("/proc/{}/ns/net", holder.0.id());
    let of = |path: &str| fs::read_link(path).unwrap();
    wait_for("a network namespace", || of(&network) != of("/proc/self/ns/net"));
    let data = world.path("data");
    fs::create_dir(&data).unwrap();
    world.script("while :; do echo x >> /data/x; sleep 0.05; done", |config| {
        let source = data.to_str().unwrap();
        let options = json!(["rbind", "rw"]);
        world::push(
            &mut config["mounts"],
            json!({ "destination": "/data", "type": "bind", "source": source, "options": options }),
        );
        for namespace in config["linux"]["namespaces"].as_array_mut().unwrap() {
            if namespace["type"] == "network" {
                namespace["path"] = json!(network);
            }
        }
    });
    let length = || fs::metadata(data.join("x")).map_or(0, |metadata| metadata.len());
    start(&world, Stdio::null());
    wait_for("data", || length() > 0);
    checkpoint(&world, "images", &[]);
    let reached = length();
    restore(&world, "images", Stdio::null());
    wait_for("more data", || length() > reached);
    let ran = world.runtime(&["exec", &world.id, "readlink", "/proc/1/ns/net"]);
    assert_eq!(Path::new(ran.out.trim()), of(&network), "{ran:?}");
    end(&world);
}

#[test]
fn a_restore_in_the_foreground_gives_the_exit_code() {
    let Some(world) = with_criu("a_restore_in_the_foreground_gives_the_exit_code") else { return };
    world.script("until test -e /tmp/go; do sleep 0.05; done; exit 7", |_| {});
    start(&world, Stdio::null());
    checkpoint(&world, "images", &[]);
    fs::write(world.rootfs().join("tmp/go"), "").unwrap();
    let (bundle, images) = (world.bundle(), world.path("images"));
    let paths = ["--bundle", bundle.to_str().unwrap(), "--image-path", images.to_str().unwrap()];
    let mut command = world.command(&[&["restore"], &paths[..], &[&world.id]].concat());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    assert_eq!(command.status().unwrap().code(), Some(7));
    world.assert_nothing_is_left();
}

/// criu's processes have executed nothing since they were made, which tells nothing of them.
#[test]
fn a_restored_program_that_is_killed_gives_its_signal() {
    let test = "a_restored_program_that_is_killed_gives_its_signal";
    let Some(world) = with_criu(test) else { return };
    world.script(COUNT, writable);
    start(&world, Stdio::null());
    wait_for("a count", || count(&world) > 3);
    checkpoint(&world, "images", &[]);
    let reached = count(&world);
    let (bundle, images) = (world.bundle(), world.path("images"));
    let paths = ["--bundle", bundle.to_str().unwrap(), "--image-path", images.to_str().unwrap()];
    let mut command = world.command(&[&["restore"], &paths[..], &[&world.id]].concat());
    let said = world.path("said");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(&said).unwrap());
    let mut restored = command.spawn().unwrap();
    // The record is written before criu lets the program run, and criu is not done before that.
    wait_for("a higher count", || count(&world) > reached);
    assert_eq!(world.runtime(&["kill", &world.id, "KILL"]).code, 0);
    assert_eq!(restored.wait().unwrap().code(), Some(128 + 9));
    assert_eq!(fs::read_to_string(&said).unwrap(), "");
    world.assert_nothing_is_left();
}

/// The master of a terminal that comes over a console socket.
fn terminal(listener: &UnixListener) -> fs::File {
    let (stream, _) = listener.accept().unwrap();
    let mut data = [0; 64];
    let mut data = [IoSliceMut::new(&mut data)];
    let mut space = nix::cmsg_space!([i32; 1]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut data, Some(&mut space), flags).unwrap();
    let fd = message.cmsgs().unwrap().find_map(|control| match control {
        ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
        _ => None,
    });
    fs::File::from(loadline_runtime::sys::fd::received(fd.unwrap()))
}

/// Types a line, and reads until the answer to it.
fn answer(terminal: &fs::File, line: &str, expected: &str) {
    (&*terminal).write_all(format!("{line}\n").as_bytes()).unwrap();
    let mut lines = BufReader::new(terminal).lines();
    assert!(lines.any(|line| line.unwrap().contains(expected)), "no {expected:?}");
}

#[test]
fn a_restored_terminal_is_handed_over() {
    let Some(world) = with_criu("a_restored_terminal_is_handed_over") else { return };
    let script = "n=0; while read line; do n=$((n + 1)); echo got $line as $n; done";
    world.script(script, |config| config["process"]["terminal"] = json!(true));
    let (bundle, images) = (world.bundle(), world.path("images"));
    let (bundle, images) = (bundle.to_str().unwrap(), images.to_str().unwrap());
    let socket = world.path("first.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let socket = ["--console-socket", socket.to_str().unwrap()];
    let run = [&["run", "--detach", "--bundle", bundle], &socket[..], &[&world.id]].concat();
    quiet(&world, &run, Stdio::null());
    let first = terminal(&listener);
    answer(&first, "apples", "got apples as 1");
    checkpoint(&world, "images", &[]);
    drop(first);
    let socket = world.path("second.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let socket = ["--console-socket", socket.to_str().unwrap()];
    let paths = ["restore", "--detach", "--bundle", bundle, "--image-path", images];
    quiet(&world, &[&paths, &socket[..], &[&world.id]].concat(), Stdio::null());
    answer(&terminal(&listener), "pears", "got pears as 2");
    end(&world);
}

/// A port that nobody listens on.
fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}

/// Whether somebody listens on it; a connection would be taken for the one that is awaited.
fn is_open(port: &str) -> bool {
    let port = format!(":{:04X}", port.parse::<u16>().unwrap());
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // 0A is TCP_LISTEN.
        fields.get(1).is_some_and(|local| local.ends_with(&port)) && fields.get(3) == Some(&"0A")
    })
}

#[test]
fn memory_goes_to_a_page_server() {
    let Some(world) = with_criu("memory_goes_to_a_page_server") else { return };
    world.script(COUNT, writable);
    start(&world, Stdio::null());
    wait_for("a count", || count(&world) > 3);
    let (pages, port) = (world.path("pages"), free_port());
    fs::create_dir(&pages).unwrap();
    let mut server = Command::new("criu");
    server.args(["page-server", "--address", "127.0.0.1", "--port", &port, "--images-dir"]);
    let server = server.arg(&pages).stdout(Stdio::null()).stderr(Stdio::null());
    let _server = Holder(server.spawn().unwrap());
    wait_for("a page server", || is_open(&port));
    checkpoint(&world, "images", &["--page-server", &format!("127.0.0.1:{port}")]);
    let is_pages = |name: &str| name.starts_with("pages-") || name.starts_with("pagemap-");
    let names = |folder: &str| -> Vec<String> {
        let entries = fs::read_dir(world.path(folder)).unwrap().flatten();
        entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
    };
    assert!(!names("images").iter().any(|name| name.starts_with("pages-")), "pages stayed here");
    for name in names("pages").iter().filter(|name| is_pages(name)) {
        fs::copy(pages.join(name), world.path("images").join(name)).unwrap();
    }
    let reached = count(&world);
    restore(&world, "images", Stdio::null());
    wait_for("a higher count", || count(&world) > reached);
    end(&world);
}

#[test]
fn lazy_pages_are_moved_when_they_are_used() {
    let test = "lazy_pages_are_moved_when_they_are_used";
    let Some(world) = with_criu(test) else { return };
    let uffd = Command::new("criu").args(["check", "--feature", "uffd-noncoop"]).output();
    if !uffd.is_ok_and(|check| check.status.success()) {
        eprintln!("SKIPPED {test}: needs userfaultfd with events in the kernel");
        return;
    }
    world.script(COUNT, writable);
    start(&world, Stdio::null());
    wait_for("a count", || count(&world) > 3);
    let (images, status, port) = (world.path("images"), world.path("status"), free_port());
    // The checkpoint waits until all of its memory was asked for.
    let mut writing = Command::new("sh");
    writing.args(["-c", "exec 9>\"$0\"; exec \"$@\""]).arg(&status);
    let flags = ["checkpoint", "--lazy-pages", "--status-fd", "9", "--page-server"];
    let inner = world.command(&flags);
    writing.arg(inner.get_program()).args(inner.get_args()).arg(format!("127.0.0.1:{port}"));
    writing.arg("--image-path").arg(&images).arg(&world.id).stdin(Stdio::null());
    let mut writing = Holder(writing.spawn().unwrap());
    wait_for("the word on --status-fd", || fs::read(&status).is_ok_and(|text| text == [0]));
    assert!(writing.0.try_wait().unwrap().is_none(), "it did not wait for its memory to be moved");
    let reached = count(&world);
    let mut pages = Command::new("criu");
    pages.args(["lazy-pages", "--page-server", "--address", "127.0.0.1", "--port", &port]);
    pages.arg("--images-dir").arg(&images).stdout(Stdio::null()).stderr(Stdio::null());
    let mut pages = Holder(pages.spawn().unwrap());
    wait_for("the socket for pages", || images.join("lazy-pages.socket").exists());
    let (second, bundle) = (format!("{}-second", world.id), world.bundle());
    let paths = ["--bundle", bundle.to_str().unwrap(), "--image-path", images.to_str().unwrap()];
    let verb = [&["restore", "--detach", "--lazy-pages"], &paths[..], &[&second]].concat();
    quiet(&world, &verb, Stdio::null());
    wait_for("a higher count", || count(&world) > reached);
    assert!(writing.0.wait().unwrap().success(), "the checkpoint failed");
    assert!(pages.0.wait().unwrap().success(), "not all memory was moved");
    assert!(world.status().contains("does not exist"), "the first container is left");
    assert_eq!(world.runtime(&["delete", "--force", &second]).code, 0);
    world.assert_nothing_is_left();
}

#[test]
fn a_file_that_has_lost_its_name_is_restored_where_asked() {
    let test = "a_file_that_has_lost_its_name_is_restored_where_asked";
    let Some(world) = with_criu(test) else { return };
    // The file has another name, so it is no ghost, and its own is gone.
    let setup = "echo text > /tmp/a; ln /tmp/a /tmp/b; exec 5< /tmp/a; rm /tmp/a";
    let script = format!("{setup}; until test -e /tmp/go; do sleep 0.05; done; cat <&5 > /tmp/c");
    world.script(&script, writable);
    start(&world, Stdio::null());
    let tmp = world.rootfs().join("tmp");
    wait_for("a file without its name", || tmp.join("b").exists() && !tmp.join("a").exists());
    let images = world.path("refused");
    let verb = ["checkpoint", "--image-path", images.to_str().unwrap(), &world.id];
    let refused = world.runtime(&verb);
    assert!(refused.code == 1 && refused.err.contains("criu"), "{refused:?}");
    checkpoint(&world, "images", &["--link-remap"]);
    restore(&world, "images", Stdio::null());
    fs::write(tmp.join("go"), "").unwrap();
    wait_for("the text", || fs::read_to_string(tmp.join("c")).is_ok_and(|text| text == "text\n"));
    world.await_status("stopped");
    end(&world);
}

/// Two profiles that allow everything, loaded; removed on drop.
struct Profiles {
    file: PathBuf,
    first: String,
    second: String,
}

impl Profiles {
    /// `None` where there is no AppArmor.
    fn load(world: &World) -> Option<Profiles> {
        let name = |word: &str| format!("loadline-{word}-{}", std::process::id());
        let (file, first, second) = (world.path("profiles"), name("first"), name("second"));
        let rules = "file, network, capability, signal, ptrace, unix, mount, umount, pivot_root,";
        let flags = "flags=(attach_disconnected)";
        let text = |name: &str| format!("profile {name} {flags} {{ {rules} }}\n");
        fs::write(&file, text(&first) + &text(&second)).unwrap();
        let loaded = Command::new("apparmor_parser").arg("--add").arg(&file).output();
        let is_loaded = loaded.is_ok_and(|loaded| loaded.status.success());
        is_loaded.then_some(Profiles { file, first, second })
    }
}

impl Drop for Profiles {
    fn drop(&mut self) {
        let _ = Command::new("apparmor_parser").arg("--remove").arg(&self.file).status();
    }
}

#[test]
fn a_profile_of_apparmor_is_replaced_and_never_ignored() {
    let test = "a_profile_of_apparmor_is_replaced_and_never_ignored";
    let Some(world) = with_criu(test) else { return };
    let Some(profiles) = Profiles::load(&world) else {
        eprintln!("SKIPPED {test}: needs AppArmor in the kernel, and apparmor_parser");
        return;
    };
    let (bundle, images) = (world.bundle(), world.path("images"));
    let paths = ["--bundle", bundle.to_str().unwrap(), "--image-path", images.to_str().unwrap()];
    let flag = format!("--lsm-profile=apparmor:{}", profiles.second);
    let verb = [&["restore", "--detach", &flag], &paths[..], &[&world.id]].concat();
    world.script(COUNT, |config| {
        writable(config);
        config["process"]["apparmorProfile"] = json!(profiles.first);
    });
    start(&world, Stdio::null());
    wait_for("a count", || count(&world) > 3);
    checkpoint(&world, "images", &[]);
    quiet(&world, &verb, Stdio::null());
    let state: Value = serde_json::from_str(&world.runtime(&["state", &world.id]).out).unwrap();
    let current = fs::read_to_string(format!("/proc/{}/attr/current", state["pid"])).unwrap();
    assert!(current.starts_with(&profiles.second), "{current:?}");
    assert_eq!(world.runtime(&["delete", "--force", &world.id]).code, 0);
    // One that had none gets none.
    fs::remove_dir_all(&images).unwrap();
    world.script(COUNT, writable);
    start(&world, Stdio::null());
    checkpoint(&world, "images", &[]);
    let reached = count(&world);
    let ran = world.runtime(&verb);
    assert!(ran.code == 1 && ran.err.contains("unconfined"), "{ran:?}");
    assert_eq!(count(&world), reached, "it ran");
    world.assert_nothing_is_left();
}

#[test]
fn a_security_module_that_the_kernel_lacks_is_refused_by_name() {
    let test = "a_security_module_that_the_kernel_lacks_is_refused_by_name";
    let Some(world) = World::new(test) else { return };
    let flags = [
        ("--lsm-profile=apparmor:web", "AppArmor", "/sys/module/apparmor/parameters/enabled"),
        ("--lsm-profile=selinux:a:b:c:s0", "SELinux", "/sys/fs/selinux/status"),
        ("--lsm-mount-context=a:b:c:s0", "SELinux", "/sys/fs/selinux/status"),
    ];
    for (flag, module, place) in flags.iter().filter(|(_, _, place)| !Path::new(place).exists()) {
        let ran = world.with_bundle("restore", &[flag]);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.err.contains(module) && ran.err.contains(place), "{ran:?}");
        world.assert_nothing_is_left();
    }
}

/// A program in criu's place.
fn fake_criu(world: &World, script: &str) -> String {
    let path = world.path("criu");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_checkpoint_that_fails_leaves_the_container_running() {
    let Some(world) = World::new("a_checkpoint_that_fails_leaves_the_container_running") else {
        return;
    };
    world.script(COUNT, writable);
    start(&world, Stdio::null());
    let images = world.path("images");
    let failing = fake_criu(&world, "exit 1");
    let verb = ["checkpoint", "--image-path", images.to_str().unwrap(), &world.id];
    for (criu, said) in [(failing.as_str(), "criu ended without"), ("/none", "install criu")] {
        let ran = world.runtime(&[&["--criu", criu], &verb[..]].concat());
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.err.contains(said), "{ran:?}");
        assert_eq!(world.status(), "running");
    }
    end(&world);
}

#[test]
fn a_restore_that_fails_leaves_nothing() {
    let Some(world) = World::new("a_restore_that_fails_leaves_nothing") else { return };
    let images = world.path("images");
    fs::create_dir(&images).unwrap();
    fs::write(images.join("descriptors.json"), "[\"/dev/null\",\"pipe:[1]\",\"\"]").unwrap();
    let criu = fake_criu(&world, "exit 1");
    let restore = ["--criu", &criu, "restore", "--image-path", images.to_str().unwrap()];
    let bundle = world.bundle();
    let rest = ["--bundle", bundle.to_str().unwrap(), &world.id];
    let ran = world.runtime(&[&restore[..], &rest].concat());
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("criu ended without an answer"), "{ran:?}");
    world.assert_nothing_is_left();
}

#[test]
fn only_what_runs_can_be_checkpointed() {
    let Some(world) = World::new("only_what_runs_can_be_checkpointed") else { return };
    assert_eq!(world.with_bundle("create", &[]).code, 0);
    let images = world.path("images");
    let ran = world.runtime(&["checkpoint", "--image-path", images.to_str().unwrap(), &world.id]);
    assert!(ran.err.contains("cannot checkpoint a container that has been created"), "{ran:?}");
    assert!(!images.exists());
    end(&world);
}

#[test]
fn what_criu_cannot_restore_into_is_refused_by_name() {
    let Some(world) = World::new("what_criu_cannot_restore_into_is_refused_by_name") else {
        return;
    };
    world.config(|config: &mut Value| {
        let own = json!({ "type": "time", "path": "/proc/self/ns/time" });
        world::push(&mut config["linux"]["namespaces"], own);
    });
    let ran = world.with_bundle("restore", &[]);
    assert!(ran.err.contains("cannot restore into a time namespace that exists"), "{ran:?}");
    world.assert_nothing_is_left();
}
