//! Attempts at what a container may be forbidden: each says `ok` or the errno, and neither is a
//! failure of the probe.

use std::fs::OpenOptions;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{self, Pid, Uid};
use serde_json::json;

use super::{Said, number, word};

/// How long a connection may take before it counts as refused.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Tries what `verb` asks for; none where it is no attempt.
pub(super) fn attempt(words: &[&str]) -> Option<Said> {
    let result: Result<(), Errno> = match words[0] {
        "try-mount" => mount(Some("none"), "/", Some("tmpfs"), MsFlags::empty(), None::<&str>),
        "try-mknod" => mknod(
            word(words, 1),
            SFlag::S_IFCHR,
            Mode::S_IRUSR | Mode::S_IWUSR,
            makedev(number(words, 2, 1), number(words, 3, 3)),
        ),
        "try-sethostname" => unistd::sethostname(word(words, 1)),
        "try-chroot" => unistd::chroot("/"),
        "try-unshare" => unshare(CloneFlags::CLONE_NEWUSER),
        "try-open" => open(word(words, 1), word(words, 2)),
        "try-setuid" => unistd::setuid(Uid::from_raw(number(words, 1, 0))),
        "try-kill" => nix::sys::signal::kill(Pid::from_raw(number(words, 1, 1)), None),
        "try-connect" => connect(word(words, 1)),
        "try-oom-adj" => oom_score_adj(word(words, 1)),
        _ => return None,
    };
    let errno = |errno: Errno| json!({ "ok": false, "errno": format!("{errno:?}") });
    Some(Ok(result.map_or_else(errno, |()| json!({ "ok": true }))))
}

fn errno(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw)
}

/// `mode` is any of `r`, `w` and `c` (create).
fn open(path: &str, mode: &str) -> Result<(), Errno> {
    let mut options = OpenOptions::new();
    options.read(mode.contains('r')).write(mode.contains('w')).create(mode.contains('c'));
    options.open(path).map(drop).map_err(|error| errno(&error))
}

fn connect(address: &str) -> Result<(), Errno> {
    let mut addresses = address.to_socket_addrs().map_err(|_| Errno::EINVAL)?;
    let address = addresses.next().ok_or(Errno::EINVAL)?;
    match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => Err(Errno::ETIMEDOUT),
        Err(error) => Err(errno(&error)),
    }
}

/// Lowering it asks for CAP_SYS_RESOURCE.
fn oom_score_adj(value: &str) -> Result<(), Errno> {
    std::fs::write("/proc/self/oom_score_adj", value).map_err(|error| errno(&error))
}
