//! Facts about the process and its surroundings, as the kernel tells them from inside.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use nix::unistd;
use serde_json::{Map, Value, json};

use super::{Said, word};

/// What `verb` asks for; none where it is no fact.
pub(super) fn tell(words: &[&str]) -> Option<Said> {
    Some(match words[0] {
        "args" => Ok(json!({ "args": std::env::args().collect::<Vec<_>>() })),
        "env" => Ok(json!({ "env": env() })),
        "ids" => ids(),
        "caps" => caps(),
        "mounts" => mounts(),
        "limits" => limits(),
        "cgroup" => read("/proc/self/cgroup").map(|text| json!({ "cgroup": lines(&text) })),
        "fds" => links("/proc/self/fd").map(|fds| json!({ "fds": fds })),
        "ns" => links("/proc/self/ns").map(|ns| json!({ "ns": ns })),
        "host" => host(),
        "devices" => devices(),
        "tty" => Ok(tty()),
        "status" => status().map(|status| json!({ "status": status })),
        "facts" => all(),
        "cat" => read(word(words, 1)).map(|text| json!({ "text": text })),
        "ls" => ls(word(words, 1)),
        "stat" => stat(word(words, 1)),
        "link" => link(word(words, 1)),
        _ => return None,
    })
}

fn all() -> Said {
    let mut facts = Map::new();
    for verb in ["args", "env", "ids", "caps", "mounts", "limits", "cgroup", "fds", "ns", "host"] {
        match tell(&[verb]) {
            Some(Ok(Value::Object(told))) => facts.extend(told),
            Some(Err(error)) => {
                facts.insert(verb.to_owned(), json!({ "error": error }));
            }
            _ => {}
        }
    }
    Ok(Value::Object(facts))
}

fn read(path: &str) -> Result<String, String> {
    let bytes = fs::read(path).map_err(|error| format!("read {path}: {error}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

fn env() -> BTreeMap<String, String> {
    let text = |part: std::ffi::OsString| part.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
}

fn status() -> Result<BTreeMap<String, String>, String> {
    let text = read("/proc/self/status")?;
    let pair = |line: &str| {
        line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
    };
    Ok(text.lines().filter_map(pair).collect())
}

fn ids() -> Said {
    let status = status()?;
    let field = |name: &str| status.get(name).cloned().unwrap_or_default();
    let groups: Vec<u32> =
        field("Groups").split_whitespace().filter_map(|group| group.parse().ok()).collect();
    let cwd = std::env::current_dir().map_err(|error| format!("read the cwd: {error}"))?;
    Ok(json!({
        "uid": unistd::getuid().as_raw(),
        "euid": unistd::geteuid().as_raw(),
        "gid": unistd::getgid().as_raw(),
        "egid": unistd::getegid().as_raw(),
        "groups": groups,
        "umask": field("Umask"),
        "cwd": cwd,
        "pid": unistd::getpid().as_raw(),
        "ppid": unistd::getppid().as_raw(),
        "no_new_privs": field("NoNewPrivs") == "1",
        "seccomp": field("Seccomp"),
        "oom_score_adj": read("/proc/self/oom_score_adj")?.trim(),
        "uid_map": lines(&read("/proc/self/uid_map")?),
        "gid_map": lines(&read("/proc/self/gid_map")?),
    }))
}

/// Names in the order of their bits (capabilities(7), Linux 5.9 and later).
const CAPABILITIES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

fn caps() -> Said {
    let status = status()?;
    let set = |field: &str| -> Result<Vec<&str>, String> {
        let text = status.get(field).ok_or_else(|| format!("/proc/self/status has no {field}"))?;
        let bits = u64::from_str_radix(text, 16).map_err(|error| format!("{field}: {error}"))?;
        let named = CAPABILITIES.iter().enumerate();
        Ok(named.filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, name)| *name).collect())
    };
    Ok(json!({ "caps": {
        "inheritable": set("CapInh")?,
        "permitted": set("CapPrm")?,
        "effective": set("CapEff")?,
        "bounding": set("CapBnd")?,
        "ambient": set("CapAmb")?,
    } }))
}

/// Each line of mountinfo: target, type, source, options, super options, propagation.
fn mounts() -> Said {
    let text = read("/proc/self/mountinfo")?;
    let mount = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let left: Vec<&str> = before.split(' ').collect();
        let right: Vec<&str> = after.split(' ').collect();
        Some(json!({
            "root": left.get(3)?,
            "target": left.get(4)?,
            "options": left.get(5)?.split(',').collect::<Vec<_>>(),
            "propagation": left.get(6..)?,
            "type": right.first()?,
            "source": right.get(1)?,
            "super": right.get(2)?.split(',').collect::<Vec<_>>(),
        }))
    };
    Ok(json!({ "mounts": text.lines().filter_map(mount).collect::<Vec<_>>() }))
}

/// Soft and hard limits under the kernel's names ("Max open files").
fn limits() -> Said {
    let text = read("/proc/self/limits")?;
    let mut found = Map::new();
    for line in text.lines().skip(1) {
        let Some((name, rest)) = line.split_at_checked(26) else { continue };
        let mut values = rest.split_whitespace();
        let (soft, hard) = (values.next(), values.next());
        found.insert(name.trim().to_owned(), json!([soft, hard]));
    }
    Ok(json!({ "limits": found }))
}

fn links(folder: &str) -> Result<BTreeMap<String, String>, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(|error| format!("list {folder}: {error}"))? {
        let entry = entry.map_err(|error| format!("list {folder}: {error}"))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // The folder's own descriptor is gone when its link is read, unless it is still this one.
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        if !target.to_string_lossy().ends_with("/fd") {
            found.insert(name, target.to_string_lossy().into_owned());
        }
    }
    Ok(found)
}

fn host() -> Said {
    let name = unistd::gethostname().map_err(|errno| format!("gethostname: {errno}"))?;
    let uname = nix::sys::utsname::uname().map_err(|errno| format!("uname: {errno}"))?;
    let domain = uname.domainname().to_string_lossy().into_owned();
    Ok(json!({ "hostname": name.to_string_lossy(), "domainname": domain }))
}

fn devices() -> Said {
    let mut found = Map::new();
    for entry in fs::read_dir("/dev").map_err(|error| format!("list /dev: {error}"))? {
        let entry = entry.map_err(|error| format!("list /dev: {error}"))?;
        let path = entry.path().to_string_lossy().into_owned();
        found.insert(path.clone(), stat(&path).unwrap_or_else(|error| json!({ "error": error })));
    }
    Ok(json!({ "devices": found }))
}

fn tty() -> Value {
    let name = |fd: std::os::fd::BorrowedFd<'_>| {
        unistd::ttyname(fd).ok().map(|path| path.to_string_lossy().into_owned())
    };
    let is = |fd: std::os::fd::BorrowedFd<'_>| unistd::isatty(fd).unwrap_or(false);
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    json!({ "tty": {
        "stdin": is(stdin.as_fd()),
        "stdout": is(stdout.as_fd()),
        "stderr": is(stderr.as_fd()),
        "name": name(stdin.as_fd()),
        "controlling": fs::File::open("/dev/tty").is_ok(),
        "size": rustix::termios::tcgetwinsize(&stdin).ok().map(|size| [size.ws_row, size.ws_col]),
    } })
}

fn ls(path: &str) -> Said {
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(|error| format!("list {path}: {error}"))? {
        let entry = entry.map_err(|error| format!("list {path}: {error}"))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(json!({ "names": names }))
}

fn stat(path: &str) -> Said {
    let meta = fs::symlink_metadata(path).map_err(|error| format!("stat {path}: {error}"))?;
    let kind = meta.file_type();
    let name = if kind.is_dir() {
        "directory"
    } else if kind.is_symlink() {
        "link"
    } else if kind.is_char_device() {
        "character"
    } else if kind.is_block_device() {
        "block"
    } else if kind.is_fifo() {
        "fifo"
    } else if kind.is_socket() {
        "socket"
    } else {
        "file"
    };
    Ok(json!({
        "type": name,
        "mode": format!("{:o}", meta.mode() & 0o7777),
        "uid": meta.uid(),
        "gid": meta.gid(),
        "size": meta.size(),
        "major": nix::sys::stat::major(meta.rdev()),
        "minor": nix::sys::stat::minor(meta.rdev()),
    }))
}

fn link(path: &str) -> Said {
    let target = fs::read_link(path).map_err(|error| format!("read link {path}: {error}"))?;
    Ok(json!({ "target": target }))
}
