//! The verbs that stay on the host, and the process that makes the namespaces.

use std::fs::File;
use std::io::IoSlice;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill as send};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::unistd::Pid;
use serde_json::json;

use super::Call;

/// Makes the namespaces and starts the first process in them. Its user namespace is forgotten.
pub(super) fn create(call: &Call) -> anyhow::Result<u8> {
    let bundle = Path::new(call.option("--bundle").context("no bundle is given")?);
    let text = std::fs::read(bundle.join("config.json")).context("read config.json")?;
    let config: serde_json::Value = serde_json::from_slice(&text).context("read config.json")?;
    std::fs::create_dir_all(&call.root).context("make the state folder")?;
    for hook in config["hooks"]["createRuntime"].as_array().into_iter().flatten() {
        super::inside::hook(hook, &config)?;
    }
    let flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC;
    unshare(flags | CloneFlags::CLONE_NEWUTS).context("unshare")?;
    let spaces = config["linux"]["namespaces"].as_array().into_iter().flatten();
    match spaces.filter(|space| space["type"] == "pid").find_map(|space| space["path"].as_str()) {
        Some(path) => setns(File::open(path).context("open a namespace")?, CloneFlags::empty()),
        None => unshare(CloneFlags::CLONE_NEWPID),
    }
    .context("enter a pid namespace")?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).context("make / private")?;
    let id = call.id()?;
    let fifo = call.root.join(format!("{id}.start"));
    let mut init = Command::new("/proc/self/exe");
    init.arg("--root").arg(&call.root).arg("init").arg("--bundle").arg(bundle);
    let pty = match call.option("--console-socket") {
        Some(socket) => Some(send_terminal(socket)?),
        None => None,
    };
    if let Some(pty) = &pty {
        let name = nix::unistd::ttyname(&pty.slave).context("name the terminal")?;
        init.arg("--terminal").arg(name);
    }
    let waits = call.verb == "create";
    if waits {
        let mode = nix::sys::stat::Mode::S_IRWXU;
        nix::unistd::mkfifo(&fifo, mode).context("make a fifo")?;
        init.arg("--fifo").arg(&fifo);
    }
    let ready = call.root.join(format!("{id}.ready"));
    let mut child = init.arg("--ready").arg(&ready).arg(id).spawn().context("start init")?;
    let record = json!({ "pid": child.id(), "bundle": bundle });
    std::fs::write(call.record()?, record.to_string()).context("write the record")?;
    if waits {
        while !ready.exists() {
            if let Some(status) = child.try_wait().context("wait for init")? {
                bail!("init: {status}");
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        return Ok(0);
    }
    let status = child.wait().context("wait for init")?;
    delete(call)?;
    Ok(u8::try_from(status.code().unwrap_or(137)).unwrap_or(1))
}

fn send_terminal(socket: &str) -> anyhow::Result<nix::pty::OpenptyResult> {
    let pty = nix::pty::openpty(None, None).context("open a terminal")?;
    let stream = UnixStream::connect(socket).context("connect to the console socket")?;
    let fds = [pty.master.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&fds)];
    let data = [IoSlice::new(b"terminal")];
    sendmsg::<()>(stream.as_raw_fd(), &data, &rights, MsgFlags::empty(), None)
        .context("send the terminal")?;
    Ok(pty)
}

pub(super) fn start(call: &Call) -> anyhow::Result<u8> {
    let fifo = call.root.join(format!("{}.start", call.id()?));
    std::fs::write(&fifo, "x").context("tell init to go on")?;
    std::fs::remove_file(&fifo).context("remove the fifo")?;
    Ok(0)
}

pub(super) fn state(call: &Call) -> anyhow::Result<u8> {
    let record = call.read_record()?;
    let pid = record["pid"].as_u64().context("no pid")?;
    let waits = call.root.join(format!("{}.start", call.id()?)).exists();
    let status = match (loadline_tests::kernel::lives(pid), waits) {
        (false, _) => "stopped",
        (true, true) => "created",
        (true, false) => "running",
    };
    println!("{}", json!({ "id": call.id()?, "pid": pid, "status": status }));
    Ok(0)
}

pub(super) fn kill(call: &Call) -> anyhow::Result<u8> {
    let pid = call.read_record()?["pid"].as_i64().context("no pid")?;
    send(Pid::from_raw(i32::try_from(pid)?), Signal::SIGKILL).context("kill")?;
    Ok(0)
}

pub(super) fn delete(call: &Call) -> anyhow::Result<u8> {
    if call.record()?.exists() {
        // Gone already is what is wanted.
        drop(kill(call));
        std::fs::remove_file(call.record()?).context("remove the record")?;
        for end in ["start", "ready"] {
            drop(std::fs::remove_file(call.root.join(format!("{}.{end}", call.id()?))));
        }
    }
    Ok(0)
}

/// A command whose input is nothing.
pub(super) fn quiet(program: &str) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    command
}
