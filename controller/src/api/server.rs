//! HTTP/1.1 on a socket: how many, how large, how slow a client may be, and how it all ends.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::{Api, Gate, dispatch, exec};

/// Most connections at once; further ones wait in the kernel's backlog. Half of the 1,024 file
/// descriptors that a process usually has: the other half is for agents and the store.
const CONNECTIONS_MAX: usize = 512;
/// Largest request head, in bytes. Its headers are at most 100, hyper's own bound.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Largest read buffer of a connection, in bytes.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// How long a client may take for a request's head, and stay idle between two requests.
const HEAD_S_MAX: u64 = 30;
/// How long one connection lives: also bounds a client that never reads its answers.
const CONNECTION_S_MAX: u64 = 600;
/// How long requests in flight may go on once the server or the connection is to end.
const GRACE_S_MAX: u64 = 25;
/// Pause after `accept` failed, as it does while the process is out of file descriptors.
const ACCEPT_RETRY_MS: u64 = 100;

/// The API can't be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Development mode would let in everybody who can reach the address.
    #[error(
        "development mode takes any key and listens on loopback only, not on {0}: use \
         --api-listen 127.0.0.1:PORT, or leave --dev out"
    )]
    NotLoopback(SocketAddr),
    /// The listener is of no use.
    #[error("can't tell the API listener's own address")]
    Address(#[source] std::io::Error),
}

/// Serves the API until `closing` turns true (or its sender is gone); requests in flight are
/// answered first, for at most 25 s.
///
/// # Errors
/// [`ServeError`]
pub async fn serve(
    listener: TcpListener,
    api: Api,
    closing: watch::Receiver<bool>,
) -> Result<(), ServeError> {
    let address = listener.local_addr().map_err(ServeError::Address)?;
    if matches!(api.gate, Gate::AnyKey) && !address.ip().is_loopback() {
        return Err(ServeError::NotLoopback(address));
    }
    let api = Arc::new(api);
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let mut ended = closing.clone();
    let ended = ended.wait_for(|closing| *closing);
    tokio::pin!(ended);
    loop {
        while connections.try_join_next().is_some() {}
        let next = async {
            let permit = Arc::clone(&room).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            _ = &mut ended => break,
            next = next => next,
        };
        match (permit, accepted) {
            (Ok(permit), Ok((stream, peer))) => {
                let connection = serve_connection(stream, peer, Arc::clone(&api), closing.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            (_, Err(error)) => {
                tracing::warn!(%error, "can't accept an API connection");
                tokio::time::sleep(Duration::from_millis(ACCEPT_RETRY_MS)).await;
            }
            // Nobody closes the semaphore.
            (Err(_), Ok(_)) => break,
        }
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    let _overdue = tokio::time::timeout(Duration::from_secs(GRACE_S_MAX), all).await.is_err();
    Ok(())
}

async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    api: Arc<Api>,
    closing: watch::Receiver<bool>,
) {
    let mut ended = closing.clone();
    // An answer is one small write: waiting for more to send with it only delays it. Where this
    // fails the client is gone already.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let (api, closing) = (Arc::clone(&api), closing.clone());
        async move {
            if exec::is_for_session(&request) {
                return Ok::<_, Infallible>(exec::answer(&api, peer, request, closing));
            }
            Ok(dispatch::answer(&api, peer, request).await)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(HEAD_S_MAX))
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    // A client that hangs up, or speaks no HTTP, is its own business: there is nobody to tell.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = ended.wait_for(|closing| *closing) => {}
        () = tokio::time::sleep(Duration::from_secs(CONNECTION_S_MAX)) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _late = tokio::time::timeout(Duration::from_secs(GRACE_S_MAX), connection).await;
}
