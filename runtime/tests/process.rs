//! What the program inherits: its directory, limits, descriptors, and who is told of it.

#![cfg(test)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod world;

use std::fs;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::thread;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde_json::{Value, json};
use world::{World, push};

#[test]
fn a_working_directory_that_only_the_user_may_enter_works() {
    let Some(world) = World::new("cwd") else { return };
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
    world.script("pwd; id -u", |config| {
        config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
        config["process"]["cwd"] = json!("/private");
        push(&mut config["linux"]["namespaces"], json!({ "type": "user" }));
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map;
    });
    // With a group that is not mapped, so that the container's root has no right to it, as on a
    // filesystem whose server trusts no root.
    let private = world.rootfs().join("private");
    fs::create_dir(&private).unwrap();
    fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
    chown(&private, Some(101_000), Some(0)).unwrap();
    chown(world.rootfs(), Some(100_000), Some(100_000)).unwrap();
    let ran = world.run();
    assert_eq!(ran.out, "/private\n1000\n", "{ran:?}");
    fs::set_permissions(&private, fs::Permissions::from_mode(0o070)).unwrap();
    let ran = world.run();
    assert!(ran.err.contains("as the user"), "{ran:?}");
    world.assert_nothing_is_left();
}

#[test]
fn limits_too_small_for_the_runtime_bind_the_program_only() {
    let Some(world) = World::new("limits") else { return };
    let limit = |name: &str, n: u64| json!({ "type": name, "soft": n, "hard": n });
    let change = |config: &mut Value| {
        config["process"]["rlimits"] = json!([
            limit("RLIMIT_NOFILE", 5),
            limit("RLIMIT_FSIZE", 512_000),
            limit("RLIMIT_AS", 32 << 20),
            limit("RLIMIT_CORE", 0),
        ]);
        config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
        // Which may not know the call.
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["prlimit64", "setrlimit"], "action": "SCMP_ACT_ERRNO" }],
        });
    };
    let out = world.shell("cat /proc/self/limits", change);
    for (name, value) in [
        ("Max open files", "5"),
        ("Max file size", "512000"),
        ("Max address space", "33554432"),
        ("Max core file size", "0"),
    ] {
        let line = out.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let limits: Vec<_> = line.split_whitespace().take(2).collect();
        assert_eq!(limits, [value, value], "{name}: {out}");
    }
    // `start` reaches the first process through a descriptor that this makes.
    world.script("sleep 1000", change);
    assert_eq!(world.with_bundle("create", &[]).code, 0);
    let started = world.runtime(&["start", &world.id]);
    assert_eq!(started.code, 0, "{started:?}");
    let exec = world.runtime(&["exec", &world.id, "grep", "open files", "/proc/self/limits"]);
    assert!(exec.out.starts_with("Max open files            5 "), "{exec:?}");
}

/// That is for the container, not for its first process alone.
#[test]
fn a_container_without_a_keyring_of_its_own_has_none_for_exec_either() {
    let Some(world) = World::new("keyring") else { return };
    world.script("sleep 1000", |config| config["linux"]["maskedPaths"] = json!([]));
    // The kernel shows one that is no longer used for a while, so the other order proves nothing.
    for (flags, code) in [(&["--detach", "--no-new-keyring"][..], 1), (&["--detach"], 0)] {
        assert_eq!(world.with_bundle("run", flags).code, 0);
        let own = format!("_ses.{}", world.id);
        let found = world.runtime(&["exec", &world.id, "grep", &own, "/proc/keys"]);
        assert_eq!(found.code, code, "{flags:?}: {found:?}");
        assert_eq!(world.runtime(&["delete", "--force", &world.id]).code, 0);
    }
    world.assert_nothing_is_left();
}

/// Its file is the image's, as the program's is.
#[test]
fn a_hook_in_the_container_has_the_limits() {
    let Some(world) = World::new("limitshook") else { return };
    let out = world.shell("cat /tmp/said", |config| {
        let limit = |name: &str, n: u64| json!({ "type": name, "soft": n, "hard": n });
        config["process"]["rlimits"] =
            json!([limit("RLIMIT_NOFILE", 40), limit("RLIMIT_AS", 32 << 20)]);
        let args = json!(["sh", "-c", "cat /proc/self/limits >/tmp/said"]);
        config["hooks"] = json!({ "startContainer": [{ "path": "/bin/sh", "args": args }] });
        config["root"]["readonly"] = json!(false);
    });
    for (name, value) in [("Max open files", "40"), ("Max address space", "33554432")] {
        let line = out.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        assert_eq!(line.split_whitespace().next(), Some(value), "{name}: {out}");
    }
    world.assert_nothing_is_left();
}

#[test]
fn sockets_of_a_service_manager_reach_the_program() {
    let Some(world) = World::new("listen") else { return };
    let read = "cat <&3; cat <&4; echo $LISTEN_FDS $LISTEN_PID $$ $LISTEN_FDNAMES";
    world.script(read, |_| {});
    let run = world.command(&["run", "-b", world.bundle().to_str().unwrap()]);
    let activated = |pid: &str| {
        let mut manager = Command::new("sh");
        let script = format!(
            "echo one >{0}/1; echo two >{0}/2; exec 3<{0}/1 4<{0}/2; export LISTEN_PID={pid} \
             LISTEN_FDS=1 LISTEN_FDNAMES=web; exec \"$@\"",
            world.bundle().display()
        );
        manager.args(["-c", &script, "sh"]).arg(run.get_program()).args(run.get_args());
        manager.args(["--preserve-fds", "1", &world.id]).stdin(Stdio::null());
        manager.output().unwrap()
    };
    let output = activated("$$");
    assert_eq!(world::text(&output), "one\ntwo\n1 1 1 web\n", "{output:?}");
    // They are somebody else's.
    let output = activated("1");
    assert!(world::text(&output).starts_with("one\n1\n"), "{output:?}");
}

/// The data and the pid behind the descriptor that arrive at a socket.
fn receive_pidfd(listener: &UnixListener) -> (String, String) {
    let (stream, _) = listener.accept().unwrap();
    let mut data = [0; 64];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let (length, fd) = {
        let mut parts = [IoSliceMut::new(&mut data)];
        let message =
            recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty());
        let message = message.unwrap();
        let fd = message.cmsgs().unwrap().find_map(|control| match control {
            ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
            _ => None,
        });
        (message.bytes, fd.unwrap())
    };
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:\t")).unwrap();
    (String::from_utf8_lossy(&data[..length]).into_owned(), pid.to_owned())
}

#[test]
fn a_pidfd_is_sent_to_whoever_wants_it() {
    let Some(world) = World::new("pidfd") else { return };
    world.script("sleep 1000", |_| {});
    let (socket, pid_file) = (world.path("pidfd.sock"), world.path("pid"));
    let listener = UnixListener::bind(&socket).unwrap();
    let receiver = thread::spawn(move || [receive_pidfd(&listener), receive_pidfd(&listener)]);
    let flags = ["--pidfd-socket", socket.to_str().unwrap(), "--pid-file"];
    let flags = [flags.as_slice(), &[pid_file.to_str().unwrap()]].concat();
    let created = world.with_bundle("create", &flags);
    assert_eq!(created.code, 0, "{created:?}");
    let first = fs::read_to_string(&pid_file).unwrap();
    let mut exec = vec!["exec", "--detach"];
    exec.extend(&flags);
    exec.extend([world.id.as_str(), "sleep", "1000"]);
    assert_eq!(world.runtime(&["start", &world.id]).code, 0);
    let ran = world.runtime(&exec);
    assert_eq!(ran.code, 0, "{ran:?}");
    let second = fs::read_to_string(&pid_file).unwrap();
    let expected = [("standard".to_owned(), first), ("setns".to_owned(), second)];
    assert_eq!(receiver.join().unwrap(), expected);
    let absent = world.with_bundle("run", &["--pidfd-socket", "/nonexistent"]);
    assert!(absent.code == 1, "{absent:?}");
}

/// The signals older than the real-time ones in a line of /proc/PID/status.
fn ignored(line: &str) -> u64 {
    let mask = line.strip_prefix("SigIgn:").unwrap().trim();
    u64::from_str_radix(mask, 16).unwrap() & 0x7fff_ffff
}

/// A daemon ignores SIGCHLD, nohup SIGHUP, a shell in the background SIGINT: what of that is the
/// caller's is not the container's.
#[test]
fn what_the_caller_ignores_the_program_does_not() {
    let Some(world) = World::new("ignored") else { return };
    let said = world.path("said");
    let ignoring = |args: &[&str]| {
        let script = "trap '' HUP INT QUIT PIPE TERM USR1 CHLD; exec \"$@\"";
        let runtime = world.command(args);
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(runtime.get_program()).args(runtime.get_args());
        // Into a file: a container that outlives the command would keep a pipe open.
        command.stdin(Stdio::null()).stdout(fs::File::create(&said).unwrap());
        let status = command.stderr(Stdio::null()).status().unwrap();
        (status.code(), fs::read_to_string(&said).unwrap())
    };
    let bundle = world.bundle();
    let bundle = bundle.to_str().unwrap();
    world.script("grep SigIgn /proc/self/status; exit 7", |_| {});
    let (code, out) = ignoring(&["run", "--bundle", bundle, &world.id]);
    assert_eq!((code, ignored(&out)), (Some(7), 0), "{out}");
    let path = world.rootfs().join("tmp/out");
    world.script("exec >/tmp/out; grep SigIgn /proc/self/status; sleep 1000", |config| {
        config["root"]["readonly"] = json!(false);
    });
    let (code, out) = ignoring(&["create", "--bundle", bundle, &world.id]);
    assert_eq!(code, Some(0), "{out}");
    assert_eq!(world.runtime(&["start", &world.id]).code, 0);
    world::wait_for("output", || fs::read_to_string(&path).is_ok_and(|text| text.ends_with('\n')));
    assert_eq!(ignored(&fs::read_to_string(&path).unwrap()), 0);
    let script = "grep SigIgn /proc/self/status; exit 8";
    let (code, out) = ignoring(&["exec", &world.id, "sh", "-c", script]);
    assert_eq!((code, ignored(&out)), (Some(8), 0), "{out}");
}

#[test]
fn a_missing_interpreter_is_told() {
    let Some(world) = World::new("interpreter") else { return };
    let script = world.rootfs().join("bin/script");
    fs::write(&script, "#!/nosuch/interpreter\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    world.config(|config| config["process"]["args"] = json!(["/bin/script"]));
    let told = "what is missing is its interpreter";
    let ran = world.run();
    assert!(ran.code == 1 && ran.err.contains(told), "{ran:?}");
    assert_eq!(world.with_bundle("create", &[]).code, 0);
    let started = world.runtime(&["start", &world.id]);
    assert!(started.code == 1 && started.err.contains(told), "{started:?}");
}

#[test]
fn a_container_uses_all_cpus_whatever_the_runtimes_are() {
    let Some(world) = World::new("unbound") else { return };
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let all = status.lines().find(|line| line.starts_with("Cpus_allowed_list")).unwrap();
    let first: String = all.rsplit('\t').next().unwrap().split(['-', ',']).take(1).collect();
    if all.ends_with(&format!("\t{first}")) {
        eprintln!("SKIPPED unbound: needs two processors");
        return;
    }
    let bound = |args: &[&str]| {
        let command = world.command(args);
        let mut behind = Command::new("taskset");
        behind.args(["-c", &first]).arg(command.get_program()).args(command.get_args());
        let ran = behind.output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
        world::text(&ran)
    };
    let bundle = world.bundle();
    let bundle = bundle.to_str().unwrap();
    world.script("grep Cpus_allowed_list /proc/self/status", |_| {});
    assert_eq!(bound(&["run", "-b", bundle, &world.id]).trim_end(), all);
    world.script("exec sleep 1000 >/dev/null 2>&1", |_| {});
    bound(&["run", "--detach", "-b", bundle, &world.id]);
    let ran = bound(&["exec", &world.id, "grep", "Cpus_allowed_list", "/proc/self/status"]);
    assert_eq!(ran.trim_end(), all);
}

#[test]
fn a_process_that_joins_runs_on_the_cpus_of_its_own() {
    let Some(world) = World::new("affinity") else { return };
    world.script("sleep 1000", |_| {});
    assert_eq!(world.with_bundle("run", &["--detach"]).code, 0);
    let file = world.path("process.json");
    for (affinity, expected) in
        [(json!({ "initial": "0", "final": "0" }), "0"), (json!({ "initial": "0" }), "all")]
    {
        let mut process = world::template()["process"].clone();
        process["args"] = json!(["grep", "Cpus_allowed_list", "/proc/self/status"]);
        process["execCPUAffinity"] = affinity;
        fs::write(&file, process.to_string()).unwrap();
        let ran = world.runtime(&["exec", "-p", file.to_str().unwrap(), &world.id]);
        let own = fs::read_to_string("/proc/self/status").unwrap();
        let own = own.lines().find(|line| line.starts_with("Cpus_allowed_list")).unwrap();
        let expected = if expected == "all" { own } else { "Cpus_allowed_list:\t0" };
        assert_eq!(ran.out.trim_end(), expected, "{ran:?}");
    }
    fs::write(
        &file,
        json!({ "cwd": "/", "user": { "uid": 0, "gid": 0 }, "args": ["true"],
        "execCPUAffinity": { "final": "5000" } })
        .to_string(),
    )
    .unwrap();
    let ran = world.runtime(&["exec", "-p", file.to_str().unwrap(), &world.id]);
    assert!(ran.err.contains("process.execCPUAffinity.final is no list of CPUs"), "{ran:?}");
}

#[test]
fn a_mount_namespace_can_be_joined() {
    let Some(world) = World::new("mntns") else { return };
    world.script("echo theirs >/tmp/mark; sleep 1000", |config| {
        config["root"]["readonly"] = json!(false);
    });
    let pid_file = world.path("pid");
    let flags = ["--detach", "--pid-file", pid_file.to_str().unwrap()];
    assert_eq!(world.with_bundle("run", &flags).code, 0);
    let pid = fs::read_to_string(&pid_file).unwrap();
    let mark = world.rootfs().join("tmp/mark");
    world::wait_for("the mark", || fs::read(&mark).is_ok_and(|text| text == b"theirs\n"));
    world.script("cat /tmp/mark; readlink /proc/self/ns/mnt", |config| {
        for namespace in config["linux"]["namespaces"].as_array_mut().unwrap() {
            if ["mount", "pid"].contains(&namespace["type"].as_str().unwrap()) {
                let kind = if namespace["type"] == "mount" { "mnt" } else { "pid" };
                namespace["path"] = json!(format!("/proc/{pid}/ns/{kind}"));
            }
        }
        config["root"] = json!({ "path": "/" });
        config["mounts"] = json!([]);
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
    });
    let bundle = world.bundle();
    let second = format!("{}-2", world.id);
    let ran = world.runtime(&["run", "-b", bundle.to_str().unwrap(), &second]);
    let theirs = fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap();
    assert_eq!(ran.out, format!("theirs\n{}\n", theirs.display()), "{ran:?}");
    world.config(|config| {
        config["linux"]["namespaces"][0]["path"] = json!(format!("/proc/{pid}/ns/pid"));
        for namespace in config["linux"]["namespaces"].as_array_mut().unwrap() {
            if namespace["type"] == "mount" {
                namespace["path"] = json!(format!("/proc/{pid}/ns/mnt"));
            }
        }
    });
    let ran = world.runtime(&["run", "-b", bundle.to_str().unwrap(), &second]);
    // It is looked for there, where the bundle is not.
    assert!(ran.err.contains("(open root "), "{ran:?}");
    assert!(ran.err.contains("no such file or directory"), "{ran:?}");
}

#[test]
fn an_exec_has_the_container_s_root_in_a_joined_mount_namespace() {
    let Some(world) = World::new("mntnsexec") else { return };
    let mut other = Command::new("unshare").args(["--mount", "sleep", "1000"]).spawn().unwrap();
    let path = format!("/proc/{}/ns/mnt", other.id());
    let own = fs::read_link("/proc/self/ns/mnt").unwrap();
    world::wait_for("the namespace", || fs::read_link(&path).is_ok_and(|theirs| theirs != own));
    fs::write(world.rootfs().join("mark"), "of the container\n").unwrap();
    world.script("sleep 1000", |config| {
        for namespace in config["linux"]["namespaces"].as_array_mut().unwrap() {
            if namespace["type"] == "mount" {
                namespace["path"] = json!(path);
            }
        }
        config["root"]["readonly"] = json!(false);
        config["mounts"] = json!([]);
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
    });
    let ran = world.with_bundle("run", &["--detach"]);
    let inside = world.runtime(&["exec", &world.id, "cat", "/mark"]);
    let deleted = world.runtime(&["delete", "--force", &world.id]);
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(inside.out, "of the container\n", "{inside:?}");
    assert_eq!(deleted.code, 0, "{deleted:?}");
}

/// As podman unmounts it, before it calls the runtime for a container with a user namespace.
#[test]
fn a_profile_of_apparmor_is_set_where_securityfs_is_not_mounted() {
    let test = "a_profile_of_apparmor_is_set_where_securityfs_is_not_mounted";
    let Some(world) = World::new("profile") else { return };
    let (name, file) = (format!("loadline-profile-{}", std::process::id()), world.path("profile"));
    let rules = "file, network, capability, signal, mount, umount,";
    let flags = "flags=(attach_disconnected)";
    fs::write(&file, format!("profile {name} {flags} {{ {rules} }}\n")).unwrap();
    let parser = |word| Command::new("apparmor_parser").arg(word).arg(&file).output();
    if !parser("--add").is_ok_and(|added| added.status.success()) {
        eprintln!("SKIPPED {test}: needs AppArmor in the kernel, and apparmor_parser");
        return;
    }
    world.script("cat /proc/self/attr/current", |config| {
        config["process"]["apparmorProfile"] = json!(name);
    });
    let run = world.command(&["run", "-b", world.bundle().to_str().unwrap(), &world.id]);
    let script = "umount -l /sys/kernel/security || exit 9; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(run.get_program());
    let ran = command.args(run.get_args()).output().unwrap();
    parser("--remove").unwrap();
    assert!(ran.status.success(), "{ran:?}");
    assert_eq!(world::text(&ran), format!("{name} (enforce)\n"));
}

/// A pipe that takes no more.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    use std::io::Write as _;

    use nix::fcntl::{FcntlArg, OFlag, fcntl};

    let (reader, mut writer) = std::io::pipe().unwrap();
    let blocking = OFlag::from_bits_retain(fcntl(&writer, FcntlArg::F_GETFL).unwrap());
    fcntl(&writer, FcntlArg::F_SETFL(blocking | OFlag::O_NONBLOCK)).unwrap();
    while writer.write(&[b'x'; 512]).is_ok() {}
    fcntl(&writer, FcntlArg::F_SETFL(blocking)).unwrap();
    (reader, writer)
}

#[test]
fn a_hang_up_between_a_programs_start_and_the_wait_for_it_reaches_the_program() {
    use std::io::Read as _;

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    let Some(world) = World::new("hangup") else { return };
    world.script("sleep 1000", |_| {});
    assert_eq!(world.with_bundle("create", &[]).code, 0);
    assert_eq!(world.runtime(&["start", &world.id]).code, 0);
    // It warns of this capability once the program runs, and nobody reads that.
    let (mut reader, writer) = full_pipe();
    let seconds = (100_000 + std::process::id()).to_string();
    let mut exec = {
        // Which keeps its own end of the pipe open.
        let mut command =
            world.command(&["exec", "--cap", "NO_SUCH", &world.id, "sleep", &seconds]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(writer).spawn().unwrap()
    };
    let call = format!("/proc/{}/syscall", exec.id());
    let writes = format!("{} 0x2 ", libc::SYS_write);
    world::wait_for("the warning", || {
        fs::read_to_string(&call).unwrap_or_default().starts_with(&writes)
    });
    let line = format!("sleep\0{seconds}\0");
    let runs = || {
        let lines = fs::read_dir("/proc").unwrap().flatten();
        lines
            .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
            .any(|have| have == line.as_bytes())
    };
    // Its command line is there a moment after it was executed.
    world::wait_for("the program", runs);
    kill(Pid::from_raw(i32::try_from(exec.id()).unwrap()), Signal::SIGHUP).unwrap();
    let reading = thread::spawn(move || reader.read_to_end(&mut Vec::new()));
    assert_eq!(exec.wait().unwrap().code(), Some(128 + Signal::SIGHUP as i32));
    reading.join().unwrap().unwrap();
    assert!(!runs(), "the program is left behind");
    world.runtime(&["delete", "--force", &world.id]);
    world.assert_nothing_is_left();
}

/// Its environment is that of the runtime for a hook of the host, and of the program for one in the
/// container, unless config.json gives it another.
#[test]
fn a_hook_without_an_environment_has_that_of_its_side() {
    let Some(world) = World::new("hookenv") else { return };
    let said = world.path("said");
    let tell = |env: Option<Value>| {
        let script = format!("echo \"[$OF_RUNTIME]\" >>{}", said.display());
        let mut hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
        if let Some(env) = env {
            hook["env"] = env;
        }
        hook
    };
    world.script("cat /tmp/said", |config| {
        let inside =
            json!({"path": "/bin/sh", "args": ["sh", "-c", "echo $OF_PROGRAM $HOME >/tmp/said"]});
        push(&mut config["process"]["env"], json!("OF_PROGRAM=pears"));
        config["root"]["readonly"] = json!(false);
        config["hooks"] = json!({
            "createRuntime": [tell(None), tell(Some(json!([]))), tell(Some(json!(["A=1"])))],
            "startContainer": [inside],
        });
    });
    let bundle = world.bundle();
    let mut command = world.command(&["run", "--bundle", bundle.to_str().unwrap(), &world.id]);
    let ran = command.env("OF_RUNTIME", "apples").output().unwrap();
    assert_eq!(world::text(&ran), "pears /root\n", "{ran:?}");
    assert_eq!(fs::read_to_string(&said).unwrap(), "[apples]\n[]\n[]\n");
    world.assert_nothing_is_left();
}

#[test]
fn a_process_that_names_no_user_is_roots() {
    let Some(world) = World::new("nouser") else { return };
    world.script("sleep 1000", |config| {
        config["process"].as_object_mut().unwrap().remove("user");
    });
    let started = world.with_bundle("run", &["--detach"]);
    assert_eq!(started.code, 0, "{started:?}");
    for (user, expected) in [(None, "uid=0 gid=0\n"), (Some(json!({ "uid": 7 })), "uid=7 gid=0\n")]
    {
        let mut process = json!({ "args": ["id"], "cwd": "/", "env": ["PATH=/bin"] });
        if let Some(user) = user {
            process["user"] = user;
        }
        let file = world.path("process.json");
        fs::write(&file, process.to_string()).unwrap();
        let ran = world.runtime(&["exec", "--process", file.to_str().unwrap(), &world.id]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let numbers: Vec<&str> = ran.out.split_whitespace().take(2).collect();
        let numbers: Vec<&str> = numbers.iter().map(|n| n.split('(').next().unwrap()).collect();
        assert_eq!(numbers.join(" "), expected.trim(), "{ran:?}");
    }
    world.runtime(&["delete", "--force", &world.id]);
    world.assert_nothing_is_left();
}

/// In a file or a pipe. On a terminal of the runtime's own they are two characters again.
#[test]
fn newlines_of_a_terminal_in_the_foreground_arrive_as_they_are() {
    let Some(world) = World::new("newline") else { return };
    let out = world.shell("tty >/dev/null && printf 'a\\nb\\n'", |config| {
        config["process"]["terminal"] = json!(true);
    });
    assert_eq!(out, "a\nb\n");
}

#[test]
fn of_variables_with_one_name_the_last_one_counts() {
    let Some(world) = World::new("envlast") else { return };
    world.script("env | grep ^A; sleep 1000", |config| {
        config["process"]["env"] = json!(["A=1", "PATH=/bin", "A=2"]);
    });
    let started = world.with_bundle("run", &["--detach"]);
    assert_eq!(started.code, 0, "{started:?}");
    for (flags, expected) in [(&[][..], "A=2\n"), (&["--env", "A=3"], "A=3\n")] {
        let args = [&["exec"], flags, &[&world.id, "sh", "-c", "env | grep ^A"]].concat();
        assert_eq!(world.runtime(&args).out, expected);
    }
    world.runtime(&["delete", "--force", &world.id]);
    world.assert_nothing_is_left();
}
