//! The supervisor's socket: agents connect, are told the state, and give commands.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
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
