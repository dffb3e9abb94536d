//! The machine itself: a file server for the root, QEMU, and what comes out of the serial port.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::{Options, initramfs, kernel};
use crate::{build, sh};

/// Debian's file server for virtiofs, in the places where its versions put it.
const FILE_SERVERS: &[&str] = &["/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd"];

/// How long a machine with KVM may take until its first word; one that does not truly work is
/// silent for ever.
const KVM_PATIENCE: Duration = Duration::from_secs(30);

/// Variables of ours that the command in the machine sees too.
const PASSED_ON: &[&str] = &[
    "CARGO_TARGET_DIR",
    "LOADLINE_BIN_DIR",
    "LOADLINE_PYTHON",
    "LOADLINE_TEST_FULL",
    "RUST_BACKTRACE",
    "LOADLINE_RACE_ROUNDS",
    "LOADLINE_FUZZ_MUTATIONS",
];

/// What is missing to run a machine here, none where nothing is.
pub(crate) fn missing() -> Option<&'static str> {
    if sh::find("qemu-system-x86_64").is_none() {
        return Some("qemu-system-x86_64 (package qemu-system-x86)");
    }
    if kernel().is_none() {
        return Some("a kernel (package linux-image-cloud-amd64)");
    }
    if sh::find("busybox").is_none() {
        return Some("busybox (package busybox-static)");
    }
    if !FILE_SERVERS.iter().any(|server| Path::new(server).exists()) {
        return Some("virtiofsd (package qemu-system-common)");
    }
    (sh::ask("id", &["-u"]).as_deref() != Some("0")).then_some("root, to serve the root folder")
}

/// How many containers each race of the escape suite creates, where nothing else is asked for.
const RACE_ROUNDS: &str = "20";

const NEVER_READY: &str = "the machine ended before it was ready: see the kernel's messages";

/// How many of the last lines an error shows.
const LAST_LINES: usize = 3;

/// Kills and reaps a program that is still running at the end.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // Either fails only where the child has already ended.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Runs `command` in a machine, passes its output on and gives it back with its exit status.
pub(crate) fn run_seen(
    workspace: &Path,
    command: &[String],
    options: &Options,
) -> anyhow::Result<sh::Seen> {
    let folder = build::target(workspace).join(format!("loadline/vm-{}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let result = try_both(workspace, &folder, command, options);
    // The log is named in the error; everything else is of no use afterwards.
    match &result {
        Ok(_) => drop(fs::remove_dir_all(&folder)),
        Err(_) => eprintln!("vm: the kernel's messages and other logs are in {}", folder.display()),
    }
    result
}

fn try_both(
    workspace: &Path,
    folder: &Path,
    command: &[String],
    options: &Options,
) -> anyhow::Result<sh::Seen> {
    let kernel = kernel().context("find a kernel")?;
    let name = kernel.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut environment = environment(options);
    // Snapshots are compared with the work tree, which is read only there.
    let snapshots = workspace.to_string_lossy().into_owned();
    environment.insert(0, ("INSTA_WORKSPACE_ROOT".to_owned(), snapshots));
    environment.insert(0, ("INSTA_UPDATE".to_owned(), "no".to_owned()));
    // An emulated machine is slow: there a race is short, also in a whole run.
    environment.insert(0, ("LOADLINE_RACE_ROUNDS".to_owned(), RACE_ROUNDS.to_owned()));
    let script = initramfs::script(&workspace.to_string_lossy(), &environment, command);
    let archive = folder.join("initramfs");
    fs::write(&archive, initramfs::make(&name, options.init, options.cgroups, &script)?)
        .with_context(|| format!("write {}", archive.display()))?;
    if options.counting_clock {
        return start(workspace, folder, &kernel, options, "tcg,thread=single")?
            .context(NEVER_READY);
    }
    let kvm = fs::File::options().read(true).write(true).open("/dev/kvm").is_ok();
    if kvm && let Some(seen) = start(workspace, folder, &kernel, options, "kvm")? {
        return Ok(seen);
    }
    start(workspace, folder, &kernel, options, "tcg,thread=multi")?.context(NEVER_READY)
}

fn environment(options: &Options) -> Vec<(String, String)> {
    let mut environment: Vec<(String, String)> = PASSED_ON
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
        .collect();
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let more = [("PATH", path), ("HOME", "/root"), ("TMPDIR", "/run/tmp"), ("LOADLINE_VM", "1")];
    environment.extend(more.map(|(name, value)| (name.to_owned(), value.to_owned())));
    // The last one of a name counts.
    let bin = options.bin.iter().map(|bin| bin.to_string_lossy().into_owned());
    environment.extend(bin.map(|bin| ("LOADLINE_BIN_DIR".to_owned(), bin)));
    environment
}

/// One machine. None where it never said that it is ready.
fn start(
    workspace: &Path,
    folder: &Path,
    kernel: &Path,
    options: &Options,
    accelerator: &str,
) -> anyhow::Result<Option<sh::Seen>> {
    let _server = serve_root(workspace, folder)?;
    let log = fs::File::create(folder.join("qemu.log")).context("make qemu's log")?;
    let mut qemu = qemu(folder, kernel, options, accelerator);
    qemu.stderr(log);
    let mut machine = Guard(qemu.spawn().context("start qemu-system-x86_64")?);
    let output = machine.0.stdout.take().context("the machine has no output")?;
    let (lines, arrived) = mpsc::sync_channel(1024);
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n') {
            let Ok(line) = line else { return };
            let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    let begun = Instant::now();
    let patience = if accelerator == "kvm" { KVM_PATIENCE } else { options.timeout };
    match arrived.recv_timeout(patience) {
        Ok(line) if line == initramfs::READY => {}
        Ok(line) => bail!("{line}"),
        Err(_) => return Ok(None),
    }
    let mut seen = Vec::new();
    loop {
        let left = options.timeout.saturating_sub(begun.elapsed());
        let line = match arrived.recv_timeout(left) {
            Ok(line) => line,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let last = &seen[seen.len().saturating_sub(LAST_LINES)..];
                bail!("still running after {:?}; its last words: {last:?}", options.timeout)
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => bail!("the machine ended too early"),
        };
        if let Some(code) = line.strip_prefix(initramfs::EXIT) {
            let code: i32 = code.trim().parse().with_context(|| format!("exit code {code:?}"))?;
            return Ok(Some(sh::Seen { status: ExitStatus::from_raw(code << 8), lines: seen }));
        }
        println!("{line}");
        seen.push(line);
    }
}

fn qemu(folder: &Path, kernel: &Path, options: &Options, accelerator: &str) -> Command {
    let memory = options.memory_mib;
    let cpus = if options.counting_clock { 1 } else { options.cpus };
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
        .args(["-machine", "q35", "-accel", accelerator, "-cpu", "max"])
        .args(["-smp", &cpus.to_string(), "-m", &memory.to_string()])
        .args(["-object", &format!("memory-backend-memfd,id=memory,size={memory}M,share=on")])
        .args(["-numa", "node,memdev=memory"])
        .args(["-chardev", &format!("socket,id=root,path={}", socket(folder).display())])
        .args(["-device", "vhost-user-fs-pci,chardev=root,tag=root"])
        .args(["-serial", &format!("file:{}", folder.join("console.log").display())])
        .args(["-serial", "stdio"])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(folder.join("initramfs"))
        // Without the check of its timer: an emulated one on a busy host ticks too late for it, and
        // the kernel panics.
        .args(["-append", "console=ttyS0 panic=-1 loglevel=4 fstab=no no_timer_check"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    if options.counting_clock {
        qemu.args(["-icount", "shift=0"]);
    }
    qemu
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("root.sock")
}

/// Serves the host's root, read only: the server sees it through a mount namespace of its own,
/// in which every file system that the command needs is mounted read only.
fn serve_root(workspace: &Path, folder: &Path) -> anyhow::Result<Guard> {
    let server = FILE_SERVERS.iter().find(|server| Path::new(server).exists());
    let server = server.context("find virtiofsd")?;
    let socket = socket(folder);
    // Left by a machine that was tried before.
    drop(fs::remove_file(&socket));
    let root = folder.join("root");
    fs::create_dir_all(&root).with_context(|| format!("make {}", root.display()))?;
    let script = "set -e
        mount --make-rprivate /
        root=$1 server=$2 socket=$3; shift 3
        for from in / \"$@\"; do
            mount --bind \"$from\" \"$root$from\"
            mount -o remount,bind,ro \"$root$from\"
        done
        exec \"$server\" --socket-path=\"$socket\" -o source=\"$root\" -o cache=always \
            -o sandbox=chroot -o xattr";
    let log = fs::File::create(folder.join("virtiofsd.log")).context("make virtiofsd's log")?;
    let child = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(&root)
        .arg(server)
        .arg(&socket)
        .args(own_mounts(&[workspace, &build::target(workspace)]))
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("share virtiofsd's log")?)
        .stderr(log)
        .spawn()
        .context("start unshare")?;
    let mut server = Guard(child);
    let begun = Instant::now();
    while !socket.exists() {
        if let Some(status) = server.0.try_wait().context("look at virtiofsd")? {
            let log = fs::read_to_string(folder.join("virtiofsd.log")).unwrap_or_default();
            bail!("serve the root folder: {status}: {}", log.trim());
        }
        if Duration::from_secs(30) < begun.elapsed() {
            bail!("serve the root folder: virtiofsd made no socket in 30 s");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(server)
}

/// The mount points on the way to `folders`, without the root.
fn own_mounts(folders: &[&Path]) -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = text.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    let mut found: Vec<PathBuf> = points
        .filter(|point| point.as_os_str() != "/")
        .filter(|point| folders.iter().any(|folder| folder.starts_with(point)))
        .collect();
    found.sort();
    found.dedup();
    found
}
