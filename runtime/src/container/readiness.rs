//! systemd's readiness protocol (sd_notify(3)): a container whose creator has `NOTIFY_SOCKET` gets
//! a socket of its own below `/run/notify`, and its `READY=1` goes on to its creator's, with the
//! main process's pid as the host sees it.
//!
//! What else the container says stays here: it is no service manager's business which pids, or
//! which state of the host's unit, a container names.

use std::ffi::{CString, OsStr};
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::sys::stat::{Mode, umask};

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
/// How long a service manager may take to handle what it was told, in milliseconds.
const BARRIER_MS: u16 = 30_000;

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
        let failed = |source| Error::io("reach NOTIFY_SOCKET", name, source);
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
    pub fn wait(&self, process: BorrowedFd<'_>, main_pid: u32) -> Result<(), Error> {
        loop {
            let mut fds = [
                PollFd::new(self.container.as_fd(), PollFlags::POLLIN),
                PollFd::new(process, PollFlags::POLLIN),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                other => other.map_err(|errno| self.failed(errno.into()))?,
            };
            if fds[0].any() == Some(true) {
                if self.pass_on(main_pid)? {
                    return self.barrier().map_err(|errno| self.failed(errno.into()));
                }
            } else if fds[1].any() == Some(true) {
                return Ok(());
            }
        }
    }

    /// Takes one message of the container, and tells the service manager if it is the word: whether
    /// it was.
    ///
    /// # Errors
    /// When the service manager can't be told.
    pub(super) fn pass_on(&self, main_pid: u32) -> Result<bool, Error> {
        let mut bytes = [0; MESSAGE_BYTES_MAX];
        let said = match self.container.recv(&mut bytes) {
            Ok(length) => &bytes[..length],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(false),
            Err(source) => return Err(self.failed(source)),
        };
        if !said.split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
            return Ok(false);
        }
        let told = self.manager.send(format!("READY=1\nMAINPID={main_pid}").as_bytes());
        told.map(|_| true).map_err(|source| self.failed(source))
    }

    /// sd_notify_barrier(3): the manager closes the descriptor when it has come so far. One that
    /// knows no barrier throws the message away, and with it the descriptor.
    fn barrier(&self) -> nix::Result<()> {
        let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
        let fds = [write.as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&fds)];
        let data = [IoSlice::new(b"BARRIER=1")];
        let (to, flags) = (self.manager.as_raw_fd(), MsgFlags::MSG_NOSIGNAL);
        sendmsg::<()>(to, &data, &rights, flags, None)?;
        drop(write);
        let mut fds = [PollFd::new(read.as_fd(), PollFlags::empty())];
        loop {
            match poll(&mut fds, PollTimeout::from(BARRIER_MS)) {
                Err(Errno::EINTR) => {}
                other => return other.map(drop),
            }
        }
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::io("tell NOTIFY_SOCKET that the container is ready:", &self.name, source)
    }
}

impl AsFd for Readiness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.container.as_fd()
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
