//! System call filters. Source: OCI runtime-spec, config-linux.md, "Seccomp"; seccomp(2).

use anyhow::Context as _;
use loadline_fixtures::Bundle;
use serde_json::{Value, json};

use super::listener::Listener;
use super::{Verdict, World, cases, claim};

cases!("seccomp":
    a_call_is_refused_with_the_errno_asked_for,
    a_call_that_is_not_allowed_is_refused,
    a_filter_can_look_at_arguments,
    a_filter_can_end_the_process,
    no_call_is_refused_where_all_are_only_logged,
    calls_that_no_rule_names_get_the_default_errno,
    every_operator_decides_by_its_argument,
    a_call_that_is_trapped_is_a_signal,
    a_call_that_nobody_traces_fails,
    a_filter_with_flags_holds,
    an_exec_has_the_filter,
    a_call_waits_for_the_listener,
    an_exec_has_a_listener_of_its_own,
);

/// What a program of C and Rust calls, and what runtimes do between the filter and the exec.
const USUAL: &[&str] = &[
    "access",
    "arch_prctl",
    "brk",
    "capget",
    "capset",
    "chdir",
    "clock_gettime",
    "clone",
    "clone3",
    "close",
    "close_range",
    "dup",
    "dup2",
    "dup3",
    "epoll_create1",
    "epoll_ctl",
    "epoll_pwait",
    "epoll_wait",
    "execve",
    "execveat",
    "exit",
    "exit_group",
    "faccessat",
    "faccessat2",
    "fchdir",
    "fcntl",
    "fstat",
    "fstatfs",
    "futex",
    "getcwd",
    "getdents64",
    "getegid",
    "geteuid",
    "getgid",
    "getpid",
    "getppid",
    "getrandom",
    "gettid",
    "getuid",
    "ioctl",
    "kill",
    "lseek",
    "madvise",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    "nanosleep",
    "newfstatat",
    "open",
    "openat",
    "openat2",
    "pipe2",
    "poll",
    "ppoll",
    "prctl",
    "pread64",
    "prlimit64",
    "read",
    "readlink",
    "readlinkat",
    "recvmsg",
    "restart_syscall",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sched_getaffinity",
    "sched_yield",
    "sendmsg",
    "sendto",
    "set_robust_list",
    "set_tid_address",
    "setgid",
    "setgroups",
    "setresgid",
    "setresuid",
    "setsid",
    "setuid",
    "sigaltstack",
    "stat",
    "statfs",
    "statx",
    "tgkill",
    "tkill",
    "umask",
    "wait4",
    "waitid",
    "write",
    "writev",
];

/// A runtime that says it has no filters is not asked for one; one that says nothing is.
fn missing(w: &World) -> anyhow::Result<Option<Verdict>> {
    let ran = w.call(&["features"])?;
    let told: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
    let off = told["linux"]["seccomp"]["enabled"] == false;
    Ok(off.then(|| Verdict::Needs("seccomp, which `features` tells to be off".to_owned())))
}

fn filtered(w: &World, verbs: &[&str], seccomp: Value) -> anyhow::Result<Value> {
    let bundle = w.bundle(verbs)?.change(|config| {
        config["linux"]["seccomp"] = seccomp;
    })?;
    w.facts(&bundle)
}

fn a_call_is_refused_with_the_errno_asked_for(w: &World) -> anyhow::Result<Verdict> {
    if let Some(missing) = missing(w)? {
        return Ok(missing);
    }
    let seccomp = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{
            "names": ["sethostname"], "action": "SCMP_ACT_ERRNO", "errnoRet": 62
        }]
    });
    let facts = filtered(w, &["try-sethostname", "x", "--", "ids"], seccomp)?;
    claim!(facts["errno"] == "ETIME", "{}", facts["errno"]);
    claim!(facts["seccomp"] == "2", "mode {}", facts["seccomp"]);
    Ok(Verdict::Pass)
}

fn a_call_that_is_not_allowed_is_refused(w: &World) -> anyhow::Result<Verdict> {
    if let Some(missing) = missing(w)? {
        return Ok(missing);
    }
    let seccomp = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["unshare", "no_such_call"], "action": "SCMP_ACT_ERRNO" }]
    });
    let facts = filtered(w, &["try-unshare"], seccomp)?;
    claim!(facts["errno"] == "EPERM", "{}", facts["errno"]);
    Ok(Verdict::Pass)
}

fn a_filter_can_look_at_arguments(w: &World) -> anyhow::Result<Verdict> {
    if let Some(missing) = missing(w)? {
        return Ok(missing);
    }
    // kill(1, 0) is refused, and kill of another process is not.
    let seccomp = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{
            "names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 62,
            "args": [{ "index": 0, "value": 1, "op": "SCMP_CMP_EQ" }]
        }]
    });
    let facts = filtered(w, &["try-kill", "1"], seccomp.clone())?;
    claim!(facts["errno"] == "ETIME", "{}", facts["errno"]);
    let facts = filtered(w, &["try-kill", "9999"], seccomp)?;
    claim!(facts["errno"] == "ESRCH", "{}", facts["errno"]);
    Ok(Verdict::Pass)
}

fn a_filter_can_end_the_process(w: &World) -> anyhow::Result<Verdict> {
    if let Some(missing) = missing(w)? {
        return Ok(missing);
    }
    let bundle = w.bundle(&["echo", "up", "--", "try-sethostname", "x", "--", "echo", "on"])?;
    let bundle = bundle.change(|config| {
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["sethostname"], "action": "SCMP_ACT_KILL_PROCESS" }]
        });
    })?;
    let outcome = w.run(&bundle)?;
    // SIGSYS is 31.
    claim!(outcome.code == 128 + 31, "exit {}: {}", outcome.code, outcome.stderr);
    claim!(outcome.stdout == "up\n", "{:?}", outcome.stdout);
    Ok(Verdict::Pass)
}

fn no_call_is_refused_where_all_are_only_logged(w: &World) -> anyhow::Result<Verdict> {
    if let Some(missing) = missing(w)? {
        return Ok(missing);
    }
    let seccomp = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["getuid", "uname"], "action": "SCMP_ACT_LOG" }]
    });
    let facts = filtered(w, &["host", "--", "ids"], seccomp)?;
    claim!(facts["seccomp"] == "2", "mode {}", facts["seccomp"]);
    claim!(facts["hostname"] == "probe", "{facts}");
    Ok(Verdict::Pass)
}

fn calls_that_no_rule_names_get_the_default_errno(w: &World) -> anyhow::Result<Verdict> {
    if let Some(missing) = missing(w)? {
        return Ok(missing);
    }
    let seccomp = json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 62,
        "syscalls": [{ "names": USUAL, "action": "SCMP_ACT_ALLOW" }]
    });
    let facts = filtered(w, &["try-sethostname", "x"], seccomp)?;
    claim!(facts["errno"] == "ETIME", "{}", facts["errno"]);
    Ok(Verdict::Pass)
}

/// kill(PID, 0) is refused or not by its first argument; no process has such a PID.
fn every_operator_decides_by_its_argument(w: &World) -> anyhow::Result<Verdict> {
    if let Some(missing) = missing(w)? {
        return Ok(missing);
    }
    // Operator, value, the second value, a PID that is refused, one that is not.
    let table = [
        ("SCMP_CMP_NE", 5000, 0, "5001", "5000"),
        ("SCMP_CMP_LT", 5000, 0, "4999", "5000"),
        ("SCMP_CMP_LE", 5000, 0, "5000", "5001"),
        ("SCMP_CMP_EQ", 5000, 0, "5000", "5001"),
        ("SCMP_CMP_GE", 5000, 0, "5000", "4999"),
        ("SCMP_CMP_GT", 5000, 0, "5001", "5000"),
        ("SCMP_CMP_MASKED_EQ", 0x1000, 0x1000, "5000", "3000"),
    ];
    for (operator, value, second, refused, free) in table {
        let bundle = w.bundle(&["try-kill", refused, "--", "try-kill", free])?;
        let bundle = bundle.change(|config| {
            config["linux"]["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{
                    "names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 62,
                    "args": [{ "index": 0, "value": value, "valueTwo": second, "op": operator }]
                }]
            });
        })?;
        let outcome = w.run(&bundle)?;
        let errnos: Vec<Value> = outcome
            .stdout
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .map(|told| told["errno"].clone())
            .collect();
        claim!(
            errnos == ["ETIME", "ESRCH"],
            "{operator}: {errnos:?}, exit {}: {}",
            outcome.code,
            outcome.stderr
        );
    }
    Ok(Verdict::Pass)
}

fn a_call_that_is_trapped_is_a_signal(w: &World) -> anyhow::Result<Verdict> {
    if let Some(missing) = missing(w)? {
        return Ok(missing);
    }
    for action in ["SCMP_ACT_TRAP", "SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD"] {
        let bundle = w.bundle(&["echo", "up", "--", "try-sethostname", "x", "--", "echo", "on"])?;
        let bundle = bundle.change(|config| {
            config["linux"]["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{ "names": ["sethostname"], "action": action }]
            });
        })?;
        let outcome = w.run(&bundle)?;
        // SIGSYS is 31.
        claim!(outcome.code == 128 + 31, "{action}: exit {}: {}", outcome.code, outcome.stderr);
        claim!(outcome.stdout == "up\n", "{action}: {:?}", outcome.stdout);
    }
    Ok(Verdict::Pass)
}

fn a_call_that_nobody_traces_fails(w: &World) -> anyhow::Result<Verdict> {
    if let Some(missing) = missing(w)? {
        return Ok(missing);
    }
    let seccomp = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["sethostname"], "action": "SCMP_ACT_TRACE", "errnoRet": 7 }]
    });
    let facts = filtered(w, &["try-sethostname", "x"], seccomp)?;
    claim!(facts["errno"] == "ENOSYS", "{}", facts["errno"]);
    Ok(Verdict::Pass)
}

fn a_filter_with_flags_holds(w: &World) -> anyhow::Result<Verdict> {
    if let Some(missing) = missing(w)? {
        return Ok(missing);
    }
    let seccomp = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"],
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [{
            "names": ["sethostname"], "action": "SCMP_ACT_ERRNO", "errnoRet": 62
        }]
    });
    let facts = filtered(w, &["try-sethostname", "x"], seccomp)?;
    claim!(facts["errno"] == "ETIME", "{}", facts["errno"]);
    Ok(Verdict::Pass)
}

fn an_exec_has_the_filter(w: &World) -> anyhow::Result<Verdict> {
    if let Some(missing) = missing(w)? {
        return Ok(missing);
    }
    let bundle = w.bundle(&["echo", "up", "--", "sleep"])?.change(|config| {
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{
                "names": ["sethostname"], "action": "SCMP_ACT_ERRNO", "errnoRet": 62
            }]
        });
    })?;
    let created = w.started(&bundle, "up")?;
    let ran = w.ok(&["exec", &created.id, "/bin/probe", "try-sethostname", "x"])?;
    claim!(ran.stdout.contains("\"ETIME\""), "{}", ran.said());
    Ok(Verdict::Pass)
}

/// A socket, and a bundle whose calls of sethostname go to it. The socket is in a folder of its
/// own, because its path has at most 108 bytes.
fn notified(w: &World, verbs: &[&str]) -> anyhow::Result<(tempfile::TempDir, Listener, Bundle)> {
    let folder = tempfile::Builder::new().prefix("n").tempdir().context("make a folder")?;
    let socket = folder.path().join("s");
    let listener = Listener::listen(&socket)?;
    let bundle = w.bundle(verbs)?.change(|config| {
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": socket, "listenerMetadata": "of the case",
            "syscalls": [{ "names": ["sethostname"], "action": "SCMP_ACT_NOTIFY" }]
        });
    })?;
    Ok((folder, listener, bundle))
}

/// The call waits as long as somebody holds the filter's descriptor, and fails then.
fn a_call_waits_for_the_listener(w: &World) -> anyhow::Result<Verdict> {
    if let Some(missing) = missing(w)? {
        return Ok(missing);
    }
    let verbs = ["echo", "up", "--", "try-sethostname", "x", "--", "sleep"];
    let (_folder, listener, bundle) = notified(w, &verbs)?;
    let created = w.started(&bundle, "up")?;
    let filter = listener.accept()?;
    let state = &filter.state;
    claim!(state["metadata"] == "of the case", "metadata {}", state["metadata"]);
    claim!(state["fds"] == json!(["seccompFd"]), "fds {}", state["fds"]);
    claim!(state["pid"] == json!(created.pid), "pid {} of {}", state["pid"], created.pid);
    claim!(state["state"]["id"] == json!(created.id), "state {}", state["state"]);
    filter.until_a_call_waits()?;
    claim!(!w.said(&created.id)?.contains("errno"), "the call did not wait");
    drop(filter);
    w.until_said(&created.id, "\"ENOSYS\"")?;
    Ok(Verdict::Pass)
}

fn an_exec_has_a_listener_of_its_own(w: &World) -> anyhow::Result<Verdict> {
    if let Some(missing) = missing(w)? {
        return Ok(missing);
    }
    let (_folder, listener, bundle) = notified(w, &["echo", "up", "--", "sleep"])?;
    let created = w.started(&bundle, "up")?;
    let of_init = listener.accept()?;
    let said = std::fs::File::create(w.folder().join("exec.said")).context("make a file")?;
    let mut exec = w.command(&["exec", &created.id, "/bin/probe", "try-sethostname", "x"]);
    exec.stdout(said).stdin(std::process::Stdio::null());
    let mut exec = exec.spawn().context("start the runtime")?;
    let seen = listener.accept().and_then(|filter| {
        filter.until_a_call_waits()?;
        Ok(filter.state["pid"].clone())
    });
    drop(of_init);
    let ended = crate::program::wait(&mut exec, crate::program::patience())?;
    let pid = seen?;
    claim!(pid != json!(created.pid), "the pid of the exec is the container's");
    claim!(ended.context("the exec hangs")?.success(), "the exec failed: {ended:?}");
    let told = std::fs::read_to_string(w.folder().join("exec.said")).context("read a file")?;
    claim!(told.contains("\"ENOSYS\""), "{told:?}");
    Ok(Verdict::Pass)
}
