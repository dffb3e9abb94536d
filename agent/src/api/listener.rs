//! The socket, and who may speak on it.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream, unix};

/// A listener that lets go of connections of other users than root and the agent's own.
#[derive(Debug)]
pub struct LocalListener {
    listener: UnixListener,
}

impl LocalListener {
    /// Listens at `path`, in place of what an earlier agent left there.
    ///
    /// # Errors
    /// Of the file system; `InvalidInput` for a path of more than 107 bytes.
    pub fn bind(path: &Path) -> io::Result<Self> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // The folder is 0700, so nobody gets in between these two.
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener })
    }
}

impl axum::serve::Listener for LocalListener {
    type Io = UnixStream;
    type Addr = unix::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) if is_allowed(&stream) => return (stream, address),
                Ok(_) => tracing::warn!("another user's connection to the local API is refused"),
                Err(error) => {
                    tracing::warn!(%error, "the local API can't accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

fn is_allowed(stream: &UnixStream) -> bool {
    let own = nix::unistd::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == own)
}
