//! The supervisor's socket: agents connect, are told the state, and give commands.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::sys::stat::{Mode, umask};

use crate::supervise::{COMMAND_BYTES_MAX, CONTROL_SOCKET, Command};

/// Most connections at once: one agent, and one that is dying.
const CLIENTS_MAX: usize = 4;

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    inbox: Vec<u8>,
}

/// The listening socket and who is connected.
#[derive(Debug)]
pub(super) struct Server {
    listener: UnixListener,
    clients: Vec<Client>,
}

impl Server {
    /// Listens in the current folder: a path that is relative has no length to worry about.
    pub(super) fn listen() -> io::Result<Self> {
        match std::fs::remove_file(CONTROL_SOCKET) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let before = umask(Mode::from_bits_truncate(0o177));
        let listener = UnixListener::bind(CONTROL_SOCKET);
        umask(before);
        let listener = listener?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, clients: Vec::new() })
    }

    /// Goes on with a listener and with clients that another program had, and what those had begun
    /// to say.
    pub(super) fn resumed(listener: OwnedFd, clients: Vec<(OwnedFd, String)>) -> Self {
        let client = |(fd, begun): (OwnedFd, String)| Client {
            stream: UnixStream::from(fd),
            inbox: begun.into_bytes(),
        };
        let clients = clients.into_iter().map(client).collect();
        Self { listener: UnixListener::from(listener), clients }
    }

    /// What each client has begun to say. Commands are words, so nothing is lost as text.
    pub(super) fn begun(&self) -> Vec<String> {
        let text = |client: &Client| String::from_utf8_lossy(&client.inbox).into_owned();
        self.clients.iter().map(text).collect()
    }

    /// What to poll for reading: the listener, then each client in order.
    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(self.listener.as_fd()).chain(self.clients.iter().map(|c| c.stream.as_fd()))
    }

    /// Takes new connections; each is told the state at once.
    pub(super) fn accept(&mut self, state: &[u8]) {
        while let Ok((stream, _)) = self.listener.accept() {
            if self.clients.len() < CLIENTS_MAX && is_ours(&stream) {
                self.clients.extend(greeted(stream, state));
            }
        }
    }

    /// Reads what the clients sent. Who closed, failed or talked nonsense is let go.
    pub(super) fn commands(&mut self) -> Vec<Command> {
        let mut commands = Vec::new();
        self.clients.retain_mut(|client| client.read(&mut commands));
        commands
    }

    /// Tells everybody. Who does not take it at once is let go, and will find it on disk.
    pub(super) fn tell(&mut self, state: &[u8]) {
        self.clients.retain_mut(|client| client.stream.write_all(state).is_ok());
    }
}

/// The folder is closed to others already; this is the second lock on the door.
fn is_ours(stream: &UnixStream) -> bool {
    let ours = nix::unistd::geteuid().as_raw();
    getsockopt(stream, PeerCredentials).is_ok_and(|peer| peer.uid() == ours || peer.uid() == 0)
}

fn greeted(mut stream: UnixStream, state: &[u8]) -> Option<Client> {
    stream.set_nonblocking(true).ok()?;
    stream.write_all(state).ok()?;
    Some(Client { stream, inbox: Vec::new() })
}

impl Client {
    /// Whether the client stays.
    fn read(&mut self, commands: &mut Vec<Command>) -> bool {
        let mut bytes = [0; COMMAND_BYTES_MAX];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return false,
                Ok(length) => self.inbox.extend_from_slice(&bytes[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return error.kind() == io::ErrorKind::WouldBlock;
                }
            }
            while let Some(at) = self.inbox.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.inbox.drain(..=at).collect();
                match Command::parse(&line[..at]) {
                    Some(command) => commands.push(command),
                    None => return false,
                }
            }
            if COMMAND_BYTES_MAX < self.inbox.len() {
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::{Command, Stdio};

    use super::*;

    /// CVE-2020-15257: a process of another user connects, where the socket's mode would let it.
    #[test]
    fn cve_2020_15257_another_user_is_no_client() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("SKIPPED cve_2020_15257_another_user_is_no_client: needs root");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        for (path, mode) in [(folder.path(), 0o755), (&path, 0o666)] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let mut server = Server { listener, clients: Vec::new() };
        server.listener.set_nonblocking(true).unwrap();
        let script = "import os, socket, sys; os.setgid(65534); os.setuid(65534); \
                      s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); \
                      print(len(s.recv(100)))";
        let mut python = Command::new("python3");
        python.args(["-c", script]).arg(&path).stdout(Stdio::piped());
        let Ok(mut stranger) = python.spawn() else {
            eprintln!("SKIPPED cve_2020_15257_another_user_is_no_client: needs python3");
            return;
        };
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while stranger.try_wait().unwrap().is_none() {
            assert!(
                std::time::Instant::now() < deadline,
                "the stranger was neither let in nor out"
            );
            server.accept(b"state");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let output = stranger.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n", "it was told the state");
        assert!(server.clients.is_empty());
        let mut own = UnixStream::connect(&path).unwrap();
        server.accept(b"state");
        let mut told = [0; 5];
        own.read_exact(&mut told).unwrap();
        assert_eq!(&told, b"state");
    }
}
