//! The first process, which sets the container up by plain paths, and exec. Each step says which
//! mistake it makes.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl, open};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::Value;

use super::Call;
use super::outside::quiet;

/// Sets the container up and executes its program.
pub(super) fn init(call: &Call) -> anyhow::Result<u8> {
    let bundle = Path::new(call.option("--bundle").context("no bundle is given")?);
    let text = fs::read(bundle.join("config.json")).context("read config.json")?;
    let config: Value = serde_json::from_slice(&text).context("read config.json")?;
    let root = bundle.join("rootfs");
    bind(&root, &root)?;
    // A handler's file is written through a link of the image.
    if config["annotations"]["run.oci.handler"] == "krun" {
        fs::write(root.join(".krun_config.json"), "{}").context("write the handler's file")?;
    }
    for entry in config["mounts"].as_array().into_iter().flatten() {
        // One that can't be is passed over, as if it had never been asked for.
        let _ = place(&root, entry);
    }
    devices(&root, &config);
    for hook in config["hooks"]["createContainer"].as_array().into_iter().flatten() {
        self::hook(hook, &config)?;
    }
    let terminal = match call.option("--terminal") {
        Some(path) => Some(File::open(path).context("open the terminal")?),
        None => None,
    };
    leak_the_host()?;
    nix::unistd::chroot(&root).context("chroot")?;
    nix::unistd::chdir("/").context("chdir")?;
    settings(&config);
    if let Some(terminal) = terminal {
        // Emptied, and mounted over, whatever a link there leads to.
        drop(File::create("/dev/console"));
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&terminal));
        let _ = bind(Path::new(&path), Path::new("/dev/console"));
    }
    for path in config["linux"]["maskedPaths"].as_array().into_iter().flatten() {
        let path = Path::new(path.as_str().unwrap_or_default());
        // What the image has as null is what hides files.
        let _ = bind(Path::new("/dev/null"), path);
    }
    if let Some(ready) = call.option("--ready") {
        leave_word(ready);
    }
    if let Some(fifo) = call.option("--fifo") {
        await_start(fifo);
    }
    // The working directory is where it says, wherever that is.
    let cwd = config["process"]["cwd"].as_str().unwrap_or("/");
    std::env::set_current_dir(cwd).context("enter the working directory")?;
    let words = config["process"]["args"].as_array().cloned().unwrap_or_default();
    let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
    Err(Command::new(words[0]).args(&words[1..]).exec()).context("execute")
}

fn bind(from: &Path, to: &Path) -> nix::Result<()> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
}

/// The descriptors through which the host stays reachable after chroot.
static HOST: std::sync::OnceLock<std::os::fd::OwnedFd> = std::sync::OnceLock::new();

/// A folder of the host stays open, also in the program.
fn leak_the_host() -> anyhow::Result<()> {
    let host = open("/", OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty()).context("open /")?;
    fcntl(&host, FcntlArg::F_SETFD(FdFlag::empty())).context("keep / open")?;
    drop(HOST.set(host));
    Ok(())
}

fn of_the_host(path: &str) -> PathBuf {
    use std::os::fd::AsRawFd as _;
    let fd = HOST.get().map_or(-1, std::os::fd::OwnedFd::as_raw_fd);
    Path::new(&format!("/proc/self/fd/{fd}")).join(path.trim_start_matches('/'))
}

fn leave_word(ready: &str) {
    drop(fs::write(of_the_host(ready), ""));
}

fn await_start(fifo: &str) {
    drop(fs::read(of_the_host(fifo)));
}

/// By its path as text, links followed, folders made on the way.
fn place(root: &Path, entry: &Value) -> anyhow::Result<()> {
    let text = |name: &str| entry[name].as_str().unwrap_or_default();
    let target = root.join(text("destination").trim_start_matches('/'));
    let source = Path::new(text("source"));
    let options = entry["options"].as_array().cloned().unwrap_or_default();
    let has = |word: &str| options.iter().any(|option| option == word);
    if source.is_file() {
        fs::create_dir_all(target.parent().context("no parent")?)?;
        fs::OpenOptions::new().append(true).create(true).open(&target)?;
    } else {
        fs::create_dir_all(&target)?;
    }
    if text("type") == "cgroup" {
        // All of the host's, and writable.
        return Ok(bind(Path::new("/sys/fs/cgroup"), &target)?);
    }
    if text("type") == "bind" || has("bind") || has("rbind") {
        return Ok(bind(source, &target)?);
    }
    let copied: Vec<(PathBuf, Vec<u8>)> = if has("tmpcopyup") {
        let files = fs::read_dir(&target)?.flatten().map(|entry| entry.path());
        files.filter_map(|file| Some((file.clone(), fs::read(&file).ok()?))).collect()
    } else {
        Vec::new()
    };
    // What a link leads to was copied; the mount goes where it leads inside.
    let link = fs::read_link(&target).ok().filter(|_| has("tmpcopyup"));
    let inside = link.and_then(|link| Some(root.join(link.strip_prefix("/").ok()?)));
    let target = inside.unwrap_or(target);
    fs::create_dir_all(&target)?;
    let (kind, flags) = (text("type"), MsFlags::empty());
    mount(Some(source), &target, Some(kind), flags, None::<&str>)?;
    for (file, bytes) in &copied {
        fs::write(target.join(file.file_name().unwrap_or_default()), bytes)?;
    }
    Ok(())
}

/// Where the image's /dev leads to.
fn devices(root: &Path, config: &Value) {
    let dev = root.join("dev");
    let node = |name: &str, major, minor| {
        let mode = Mode::from_bits_truncate(0o666);
        let _ = mknod(&dev.join(name), SFlag::S_IFCHR, mode, makedev(major, minor));
    };
    node("null", 1, 3);
    node("tty", 5, 0);
    for device in config["linux"]["devices"].as_array().into_iter().flatten() {
        let number = |name: &str| device[name].as_u64().unwrap_or(0);
        let name = device["path"].as_str().unwrap_or_default().trim_start_matches("/dev/");
        node(name, number("major"), number("minor"));
    }
    drop(fs::remove_file(dev.join("ptmx")));
    drop(symlink("pts/ptmx", dev.join("ptmx")));
    drop(symlink("/proc/self/fd", dev.join("fd")));
}

/// Written to whatever lies at /proc, settings of the whole host too.
fn settings(config: &Value) {
    for (name, value) in config["linux"]["sysctl"].as_object().into_iter().flatten() {
        let dots = if name.contains('/') { name.clone() } else { name.replace('.', "/") };
        let path = Path::new("/proc/sys").join(dots);
        drop(fs::write(path, value.as_str().unwrap_or_default()));
    }
    if let Some(score) = config["process"]["oomScoreAdj"].as_i64() {
        drop(fs::write("/proc/self/oom_score_adj", score.to_string()));
    }
}

/// The hook gets the container's environment beside its own.
pub(super) fn hook(hook: &Value, config: &Value) -> anyhow::Result<()> {
    let words = hook["args"].as_array().cloned().unwrap_or_default();
    let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
    let mut command = quiet(hook["path"].as_str().unwrap_or_default());
    command.args(words.iter().skip(1)).env_clear();
    for list in [&config["process"]["env"], &hook["env"]] {
        let pairs = list.as_array().into_iter().flatten().filter_map(Value::as_str);
        // Not the library that does not exist, with which the hook could not run.
        let pairs =
            pairs.filter_map(|pair| pair.split_once('=')).filter(|(k, _)| *k != "LD_PRELOAD");
        command.envs(pairs);
    }
    command.status().context("run a hook")?;
    Ok(())
}

/// Enters the container with everything that the caller has.
pub(super) fn exec(call: &Call) -> anyhow::Result<u8> {
    let pid = call.read_record()?["pid"].as_u64().context("no pid")?;
    let root = File::open(format!("/proc/{pid}/root")).context("open the root")?;
    leak_the_host()?;
    for kind in ["pid", "mnt"] {
        let space = File::open(format!("/proc/{pid}/ns/{kind}")).context("open a namespace")?;
        setns(space, CloneFlags::empty()).context("enter a namespace")?;
    }
    nix::unistd::fchdir(&root).context("enter the root")?;
    nix::unistd::chroot(".").context("chroot")?;
    // A descriptor of this process, where the working directory names one.
    let cwd = call.option("--cwd").unwrap_or("/");
    let mut command = Command::new(&call.words[1]);
    command.args(&call.words[2..]).current_dir(cwd);
    if let Some(user) = call.option("--user") {
        // What is no number is root, and too large a one is cut.
        let number = |text: &str| text.trim().parse::<i64>().unwrap_or(0) as u32;
        let (uid, gid) = user.split_once(':').unwrap_or((user, "0"));
        command.uid(number(uid)).gid(number(gid));
    }
    let status = command.status().context("execute")?;
    Ok(u8::try_from(status.code().unwrap_or(137)).unwrap_or(1))
}
