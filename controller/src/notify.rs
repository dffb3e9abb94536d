//! Tells systemd how the service stands (sd_notify(3): one datagram to `$NOTIFY_SOCKET`).

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Sends a state such as `READY=1`, where somebody asked for it.
pub(crate) fn send(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send_to(path.as_bytes(), state) {
        tracing::warn!("can't tell systemd {state}: {error}");
    }
}

/// A name that begins with `@` is in the abstract namespace (unix(7)).
fn send_to(name: &[u8], state: &str) -> io::Result<()> {
    let address = match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_reaches_sockets_of_both_kinds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("@loadline-notify-test-{}", std::process::id());
        let in_folder = UnixDatagram::bind(&path).unwrap();
        let address = SocketAddr::from_abstract_name(&name.as_bytes()[1..]).unwrap();
        let abstract_one = UnixDatagram::bind_addr(&address).unwrap();
        send_to(path.as_os_str().as_bytes(), "READY=1").unwrap();
        send_to(name.as_bytes(), "READY=1").unwrap();
        for socket in [in_folder, abstract_one] {
            let mut buffer = [0; 16];
            let length = socket.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"READY=1");
        }
    }
}
