//! systemd's readiness protocol (sd_notify(3)): a container whose creator has `NOTIFY_SOCKET` gets
//! a socket of its own below `/run/notify`, and its `READY=1` goes on to its creator's, with the
//! main process's pid as the host sees it.
//!
//! What else the container says stays here: it is no service manager's business which pids, or
//! which state of the host's unit, a container names.

use std::ffi::{CString, OsStr};
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::sys::stat::{Mode, umask};
use nix::unistd::pipe2;

use super::Error;
use super::create::CreateOptions;
use super::store::Folder;
use crate::spec::{Mount, MountKind, MountOptions, NamespaceKind, Spec};

/// The folder with the container's socket, in the folder of its record.
const FOLDER: &str = "notify";
/// The socket, below the folder of the record.
const SOCKET: &str = "notify/notify.sock";
/// Where the folder is in the container. It, and not the socket, is mounted, because the socket
/// is made anew by `start`.
const PLACE: &str = "run/notify";
const VARIABLE: &str = "NOTIFY_SOCKET=";
const PLACE_OF_SOCKET: &str = "/run/notify/notify.sock";

/// A message is short: systemd itself takes no longer one.
const MESSAGE_BYTES_MAX: usize = 4096;
/// How long a service manager may take to hear a message, and to handle it.
const MANAGER_TIME_MAX: Duration = Duration::from_secs(30);
/// How long the container's last messages may take behind its end.
const REST_TIME_MAX: Duration = Duration::from_secs(1);
/// More messages wait at no socket (`net.unix.max_dgram_qlen` is 10, and 512 with systemd).
const QUEUE_MAX: usize = 1024;

/// Whether a container can have a socket: its folder is mounted where nobody else sees it.
pub(super) fn is_possible(spec: &Spec) -> bool {
    spec.linux.creates(NamespaceKind::Mount)
}

/// Adds the mount and the variable to what a configuration says.
pub(super) fn add_to(spec: &mut Spec, folder: &Path) {
    spec.mounts.push(Mount {
        destination: PathBuf::from(PLACE),
        kind: MountKind::Bind { source: folder.join(FOLDER), recursive: false, id_mapping: None },
        options: MountOptions {
            set: libc::MOUNT_ATTR_RDONLY
                | libc::MOUNT_ATTR_NOSUID
                | libc::MOUNT_ATTR_NODEV
                | libc::MOUNT_ATTR_NOEXEC,
            ..MountOptions::default()
        },
        ignored: Vec::new(),
    });
    let variable = CString::new(format!("{VARIABLE}{PLACE_OF_SOCKET}"));
    spec.process.env.retain(|entry| !entry.to_bytes().starts_with(VARIABLE.as_bytes()));
    spec.process.env.extend(variable);
}

/// Whether a container was created for somebody who waits for its word.
pub(super) fn has_folder(folder: &Folder) -> bool {
    folder.path().join(FOLDER).is_dir()
}

/// Makes the folder of the socket, where `options` and the configuration have one: whether they do.
///
/// # Errors
/// When it cannot be made.
pub(super) fn make_folder(
    folder: &Folder,
    spec: &Spec,
    options: &CreateOptions,
) -> Result<bool, Error> {
    if options.notify_socket.is_none() || !is_possible(spec) {
        return Ok(false);
    }
    let path = folder.path().join(FOLDER);
    let made = DirBuilder::new().mode(0o755).create(&path);
    // Whatever the umask is: the container's user goes through.
    let made = made.and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o755)));
    made.map(|()| true).map_err(|source| Error::io("make folder", path, source))
}

/// A container's socket, and who waits for its word.
#[derive(Debug)]
pub struct Readiness {
    container: UnixDatagram,
    manager: UnixDatagram,
    name: PathBuf,
}

/// A container runs also where nobody waits for it any more: what a service manager has started,
/// and what that starts, keep the variable.
pub(super) fn or_warning(
    listened: Result<Option<Readiness>, Error>,
) -> (Option<Readiness>, Option<Error>) {
    match listened {
        Ok(readiness) => (readiness, None),
        Err(error) => (None, Some(error)),
    }
}

/// What is done with what the container says behind its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// Nobody hears it: who waited goes away.
    Stop,
    /// It is taken and thrown away until the container ends: a program whose messages nobody takes
    /// stands still after a few.
    Discard,
}

impl Readiness {
    /// Listens to the container, whose program does not run yet. `None` for a container that was
    /// created without `NOTIFY_SOCKET`.
    ///
    /// # Errors
    /// When nobody listens at `name`, or the container's socket cannot be made.
    pub(super) fn listen(folder: &Folder, name: &OsStr) -> Result<Option<Readiness>, Error> {
        if !has_folder(folder) {
            return Ok(None);
        }
        let step = "nobody is told of readiness: reach NOTIFY_SOCKET";
        let failed = |source| Error::io(step, name, source);
        let manager = connect(name).map_err(failed)?;
        let container = bind(folder.fd());
        let container = container
            .map_err(|source| Error::io("listen at", folder.path().join(SOCKET), source))?;
        Ok(Some(Readiness { container, manager, name: PathBuf::from(name) }))
    }

    /// Waits until the container is ready, which it tells, or the process has ended; and then until
    /// the service manager has handled that, because systemd looks for whoever said it.
    ///
    /// # Errors
    /// When the service manager can't be told.
    pub fn wait(self, process: BorrowedFd<'_>, main_pid: u32) -> Result<(), Error> {
        self.hear(process, main_pid, After::Stop)?.wait(process)
    }

    /// Passes the word on whenever it comes, for a caller that stays until the container ends.
    ///
    /// # Errors
    /// When no thread can be had for it.
    pub(super) fn pass_on(self, process: BorrowedFd<'_>) -> Result<Hearing, Error> {
        self.hear(process, std::process::id(), After::Discard)
    }

    /// In a thread, because others decide how long it takes: a message of the container may carry a
    /// socket that lingers when it is closed, and the service manager's queue may be full.
    fn hear(self, process: BorrowedFd<'_>, main_pid: u32, after: After) -> Result<Hearing, Error> {
        let name = self.name.clone();
        let failed = |source| Error::io("begin to hear what is for", &name, source);
        let process = process.try_clone_to_owned().map_err(failed)?;
        let (ended, end) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| failed(errno.into()))?;
        let (tell, told) = channel();
        let hear = move || {
            // Nobody may be there any more who wants to know.
            let _ = tell.send(self.hear_until_the_end(process.as_fd(), main_pid, after));
            drop(end);
        };
        thread::Builder::new().spawn(hear).map_err(failed)?;
        Ok(Hearing { told, ended })
    }

    fn hear_until_the_end(
        &self,
        process: BorrowedFd<'_>,
        main_pid: u32,
        after: After,
    ) -> Result<(), Error> {
        let (mut is_ready, mut told, mut left) = (false, Ok(()), QUEUE_MAX);
        while !(is_ready && after == After::Stop) {
            let mut fds = [
                PollFd::new(self.container.as_fd(), PollFlags::POLLIN),
                PollFd::new(process, PollFlags::POLLIN),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                other => other.map_err(|errno| self.failed(errno.into()))?,
            };
            let [has_said, has_ended] = fds.map(|fd| fd.any() == Some(true));
            // What it said before its end counts; others may hold the socket and say more for ever.
            if has_ended && (!has_said || left == 0) {
                break;
            }
            left -= usize::from(has_ended);
            if has_said && self.take()? && !is_ready {
                is_ready = true;
                told = self.tell(main_pid, after);
            }
        }
        told
    }

    /// Takes one message of the container: whether it is ready.
    fn take(&self) -> Result<bool, Error> {
        let mut bytes = [0; MESSAGE_BYTES_MAX];
        match self.container.recv(&mut bytes) {
            Ok(length) => Ok(bytes[..length].split(|byte| *byte == b'\n').any(|l| l == b"READY=1")),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            Err(source) => Err(self.failed(source)),
        }
    }

    fn tell(&self, main_pid: u32, after: After) -> Result<(), Error> {
        let told = self.manager.send(format!("READY=1\nMAINPID={main_pid}").as_bytes());
        told.map_err(|source| self.failed(source))?;
        match after {
            After::Stop => self.barrier().map_err(|errno| self.failed(errno.into())),
            After::Discard => Ok(()),
        }
    }

    /// sd_notify_barrier(3): the manager closes the descriptor when it has come so far. One that
    /// knows no barrier throws the message away, and with it the descriptor.
    fn barrier(&self) -> nix::Result<()> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
        let fds = [write.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&fds)];
        let data = [IoSlice::new(b"BARRIER=1")];
        let (to, flags) = (self.manager.as_raw_fd(), MsgFlags::MSG_NOSIGNAL);
        sendmsg::<()>(to, &data, &rights, flags, None)?;
        drop(write);
        await_end(read.as_fd(), MANAGER_TIME_MAX)
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::io("tell NOTIFY_SOCKET that the container is ready:", &self.name, source)
    }
}

/// The thread that hears a container.
#[derive(Debug)]
pub(super) struct Hearing {
    told: Receiver<Result<(), Error>>,
    /// Ends with the thread.
    ended: OwnedFd,
}

impl Hearing {
    /// Until the word was passed on, or the process has ended.
    fn wait(self, process: BorrowedFd<'_>) -> Result<(), Error> {
        let mut fds = [
            PollFd::new(self.ended.as_fd(), PollFlags::POLLIN),
            PollFd::new(process, PollFlags::POLLIN),
        ];
        while poll(&mut fds, PollTimeout::NONE) == Err(Errno::EINTR) {}
        self.finish()
    }

    /// Behind the container's end: what came of its word. A thread that is held up then ends with
    /// this process, and has nothing to tell.
    pub(super) fn finish(self) -> Result<(), Error> {
        await_end(self.ended.as_fd(), REST_TIME_MAX)
            .ok()
            .and_then(|()| self.told.try_recv().ok())
            .unwrap_or(Ok(()))
    }
}

/// Waits until the far side of a pipe is closed, or for so long.
fn await_end(pipe: BorrowedFd<'_>, time_max: Duration) -> nix::Result<()> {
    let timeout = PollTimeout::try_from(time_max).map_err(|_| Errno::EINVAL)?;
    let mut fds = [PollFd::new(pipe, PollFlags::POLLIN)];
    loop {
        match poll(&mut fds, timeout) {
            Err(Errno::EINTR) => {}
            other => return other.map(drop),
        }
    }
}

/// A name that begins with `@` is in the abstract namespace (unix(7)).
fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => {
            let why = "it is neither an absolute path nor a name that begins with @";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
    };
    let manager = UnixDatagram::unbound()?;
    manager.set_write_timeout(Some(MANAGER_TIME_MAX))?;
    manager.connect_addr(&address)?;
    Ok(manager)
}

/// By a relative name, because a socket's address is too short for some folders; for everybody,
/// because the program may run as any user.
fn bind(folder: BorrowedFd<'_>) -> io::Result<UnixDatagram> {
    nix::unistd::fchdir(folder)?;
    match fs::remove_file(SOCKET) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let usual = umask(Mode::empty());
    let bound = UnixDatagram::bind(SOCKET);
    umask(usual);
    let socket = bound?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_named_by_an_absolute_path_or_in_the_abstract_namespace() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manager");
        let name = format!("@loadline-readiness-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name.as_bytes()[1..]).unwrap();
        let sockets =
            [UnixDatagram::bind(&path).unwrap(), UnixDatagram::bind_addr(&address).unwrap()];
        for (socket, name) in sockets.iter().zip([path.as_os_str(), OsStr::new(&name)]) {
            connect(name).unwrap().send(b"READY=1").unwrap();
            let mut buffer = [0; 16];
            assert_eq!(socket.recv(&mut buffer).unwrap(), 7, "{name:?}");
        }
        let error = connect(OsStr::new("manager")).unwrap_err();
        assert!(error.to_string().contains("absolute path"), "{error}");
    }
}
